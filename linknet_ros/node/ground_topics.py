"""The topics of the ground projection: what a planner takes in."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from nav_msgs.msg import OccupancyGrid
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, LaserScan, PointCloud2
from std_msgs.msg import Header

from linknet_ros.errors import CalibrationError
from linknet_ros.ground.camera import CameraModel
from linknet_ros.ground.mount import Mount
from linknet_ros.ground.projection import GroundProjection
from linknet_ros.inference.segmenter import Segmentation
from linknet_ros.node.parameters import Ground
from linknet_ros.node.state import GroundState
from linknet_ros.ros.camera import TfMounts, camera_model_of
from linknet_ros.ros.ground_messages import cloud_message, grid_message, scan_message
from linknet_ros.ros.images import camera_info_for
from linknet_ros.ros.qos import create_publisher

#: A camera that tf moves or turns by less keeps its tables: at 10 m, half a milliradian is 3 cm of
#: range for a camera at 1.5 m [m, rad].
_SAME_METRES, _SAME_RADIANS = 0.005, 0.0005
#: A fault that repeats with every frame is logged once in this many seconds.
_LOG_PERIOD = 5.0

#: Type of each topic.
_TOPICS = {
    'drivable_grid': OccupancyGrid,
    'drivable_scan': LaserScan,
    'drivable_cloud': PointCloud2,
}


@dataclass(frozen=True)
class _Tables:
    """Tables, or why there are none, and what they were made of."""

    state: GroundState
    camera: CameraModel
    mount: Mount
    projection: GroundProjection | CalibrationError


class GroundTopics:
    """Publishers of ~/drivable_grid, ~/drivable_scan and ~/drivable_cloud.

    Tables are made with the first frame, and again when camera_info, the camera's place or a
    parameter of the ground changes; all that is `publish`, which runs in a thread of its own.

    :param latched: whether the grid is transient local, as maps are (REP 2003).
    """

    def __init__(self, node: Node, *, latched: bool) -> None:
        self._node = node
        self._tf: TfMounts | None = None
        self._tf_is_open = False
        self._tables: _Tables | None = None
        self._publishers = {
            name: create_publisher(
                node, kind, f'~/{name}', latched=latched and kind is OccupancyGrid
            )
            for name, kind in _TOPICS.items()
        }

    def prepare(self, state: GroundState) -> None:
        """Open what frames of another state need, before the first comes."""
        if state.parameters.use_tf and not self._tf_is_open:
            self._tf = TfMounts(self._node)
            self._tf_is_open = True

    def release(self, state: GroundState) -> None:
        """Close what frames of this state do not need; one under way may still ask tf."""
        if not state.parameters.use_tf:
            self._close_tf()

    def has_subscribers(self) -> bool:
        """Whether anybody subscribes."""
        return any(p.get_subscription_count() > 0 for p in self._publishers.values())

    def publish(
        self,
        state: GroundState,
        result: Segmentation,
        header: Header,
        camera_info: CameraInfo | None,
    ) -> float:
        """Compute and publish what somebody subscribes to.

        What is missing is logged, at intervals.

        :param state: what the frame is made with.
        :param result: of a frame.
        :param header: of the frame.
        :param camera_info: the newest of the camera, or None.
        :returns: seconds spent on sending.
        """
        wanted = {n for n, p in self._publishers.items() if p.get_subscription_count()}
        if not wanted:
            return 0.0
        try:
            projection = self._projection_for(state, result, header, camera_info)
        except CalibrationError as error:
            self._node.get_logger().warning(
                f'no ~/drivable_grid, scan or cloud: {error}', throttle_duration_sec=_LOG_PERIOD
            )
            return 0.0
        sending = 0.0
        for name, message in self._messages(projection, state, result, header, wanted):
            start = time.perf_counter()
            self._publishers[name].publish(message)
            sending += time.perf_counter() - start
        return sending

    def destroy(self) -> None:
        """Take the topics away."""
        for publisher in self._publishers.values():
            self._node.destroy_publisher(publisher)
        self._publishers.clear()
        self._close_tf()

    def _projection_for(
        self,
        state: GroundState,
        result: Segmentation,
        header: Header,
        camera_info: CameraInfo | None,
    ) -> GroundProjection:
        """The tables for a frame.

        :raises CalibrationError: when something is missing or cannot be used.
        """
        if camera_info is None:
            topic = self._node.resolve_topic_name('camera_info')
            raise CalibrationError(f'no camera_info on {topic}', 'remap it to the camera')
        height, width = result.labels.shape
        fitting = camera_info_for(camera_info, header, width, height)
        camera = camera_model_of(fitting, state.parameters.rectified)
        mount = self._mount_at(state.parameters, header)
        tables = self._tables
        if (
            tables is None
            or tables.state is not state
            or tables.camera != camera
            or not mount.near(tables.mount, _SAME_METRES, _SAME_RADIANS)
        ):
            try:
                made = GroundProjection(camera, mount, state.options, state.ego_mask)
                tables = _Tables(state, camera, mount, made)
            except CalibrationError as error:
                # Kept, so that it is not found out again with every frame.
                tables = _Tables(state, camera, mount, error)
            self._tables = tables
        if isinstance(tables.projection, CalibrationError):
            raise tables.projection
        return tables.projection

    def _mount_at(self, parameters: Ground, header: Header) -> Mount:
        if parameters.use_tf and self._tf is not None:
            return self._tf.mount(parameters.base_frame, header)
        if not parameters.height:
            raise CalibrationError(
                "the camera's place is not known",
                'set ground.height (and pitch), or ground.use_tf',
            )
        return Mount.from_angles(
            parameters.x,
            parameters.y,
            parameters.height + parameters.plane_z,
            parameters.roll,
            parameters.pitch,
            parameters.yaw,
        )

    def _messages(
        self,
        projection: GroundProjection,
        state: GroundState,
        result: Segmentation,
        header: Header,
        wanted: set[str],
    ) -> Iterator[tuple[str, OccupancyGrid | LaserScan | PointCloud2]]:
        """What goes out where; each is computed when the one before has been sent."""
        parameters = state.parameters
        stamp = header.stamp.sec + 1e-9 * header.stamp.nanosec
        contacts = projection.contacts(
            result.labels,
            state.table,
            result.confidence,
            round(255 * parameters.min_confidence),
            parameters.clearance,
            stamp if parameters.filter else None,
        )
        based = Header(stamp=header.stamp, frame_id=parameters.base_frame)
        if 'drivable_scan' in wanted:
            ranges = projection.scan.fill(contacts)
            yield 'drivable_scan', scan_message(ranges, projection.scan, based)
        if 'drivable_cloud' in wanted:
            yield 'drivable_cloud', cloud_message(projection.points(contacts), based)
        if 'drivable_grid' in wanted:
            cells = projection.grid.fill(contacts)
            message = grid_message(cells, state.options.area, state.options.plane_z, based)
            yield 'drivable_grid', message

    def _close_tf(self) -> None:
        if self._tf is not None and self._tf_is_open:
            self._tf.close()
        self._tf_is_open = False
