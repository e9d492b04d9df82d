"""The topics of the ground projection: what a planner takes in."""

from __future__ import annotations

import time
from collections.abc import Iterator

from nav_msgs.msg import OccupancyGrid
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, LaserScan, PointCloud2
from std_msgs.msg import Header

from linknet_ros.errors import CalibrationError
from linknet_ros.ground.blind import BlindRange
from linknet_ros.ground.camera_info import camera_model_of, check_camera_info
from linknet_ros.ground.projector import GroundProjector, ProjectedGround
from linknet_ros.ground.settings import GroundState
from linknet_ros.inference.segmenter import Segmentation
from linknet_ros.ros.camera import TfMounts
from linknet_ros.ros.ground_messages import cloud_message, grid_message, scan_message
from linknet_ros.ros.images import camera_info_for
from linknet_ros.ros.qos import create_publisher

#: A fault that repeats with every frame is logged once in this many seconds.
_LOG_PERIOD = 5.0

#: Type of each topic.
_TOPICS = {
    'drivable_grid': OccupancyGrid,
    'drivable_scan': LaserScan,
    'drivable_cloud': PointCloud2,
}


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
        self._projector = GroundProjector()
        self._blind: BlindRange | None = None
        #: Why nothing could be published with the newest frame; '' if it could.
        self._problem = ''
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
            projected = self._project(state, result, header, camera_info)
        except CalibrationError as error:
            self._problem = f'no ~/drivable_grid, scan or cloud: {error}'
            self._node.get_logger().warning(self._problem, throttle_duration_sec=_LOG_PERIOD)
            return 0.0
        self._problem = ''
        self._report(projected.projection.blind)
        sending = 0.0
        for name, message in self._messages(projected, state, header, wanted):
            start = time.perf_counter()
            self._publishers[name].publish(message)
            sending += time.perf_counter() - start
        return sending

    def values(self) -> dict[str, str]:
        """What diagnostics say of the mount, once the tables are made."""
        return {'blind range': str(self._blind)} if self._blind else {}

    def problem(self) -> str:
        """Why subscribers get nothing; '' if they do, or if there are none."""
        return self._problem if self.has_subscribers() else ''

    def destroy(self) -> None:
        """Take the topics away."""
        for publisher in self._publishers.values():
            self._node.destroy_publisher(publisher)
        self._publishers.clear()
        self._close_tf()

    def _project(
        self,
        state: GroundState,
        result: Segmentation,
        header: Header,
        camera_info: CameraInfo | None,
    ) -> ProjectedGround:
        """Project a frame.

        :raises CalibrationError: when something is missing or cannot be used.
        """
        topic = self._node.resolve_topic_name('camera_info')
        check_camera_info(camera_info, topic, header.frame_id)
        height, width = result.labels.shape
        fitting = camera_info_for(camera_info, header, width, height)
        settings = state.parameters
        camera = camera_model_of(fitting, settings.rectified)
        if settings.use_tf and self._tf is not None:
            mount = self._tf.mount(settings.base_frame, header)
        else:
            mount = settings.mount()
        stamp = header.stamp.sec + 1e-9 * header.stamp.nanosec
        return self._projector.project(
            state, camera, mount, result.labels, result.confidence, stamp
        )

    def _report(self, blind: BlindRange) -> None:
        """Log the blind range of the mount, if it is another one."""
        before, self._blind = self._blind, blind
        if blind is before or str(blind) == str(before):
            return
        slivers = ''
        if blind.slivers >= 0.005:
            slivers = (
                f'; {blind.slivers:.0%} of the bearings begin later and are not in ~/drivable_scan'
            )
        self._node.get_logger().info(
            f'the camera sees the ground from {blind}{slivers}. Nearer obstacles are invisible: '
            f'Nav2 needs raytrace_min_range of at least {blind.clearing_from:.1f}, see `ros2 run '
            'linknet_ros planner_config`'
        )

    def _messages(
        self, ground: ProjectedGround, state: GroundState, header: Header, wanted: set[str]
    ) -> Iterator[tuple[str, OccupancyGrid | LaserScan | PointCloud2]]:
        """What goes out where; each is computed when the one before has been sent."""
        based = Header(stamp=header.stamp, frame_id=state.parameters.base_frame)
        if 'drivable_scan' in wanted:
            yield 'drivable_scan', scan_message(ground.ranges(), ground.scan, based)
        if 'drivable_cloud' in wanted:
            yield 'drivable_cloud', cloud_message(ground.points(), based)
        if 'drivable_grid' in wanted:
            options = state.options
            message = grid_message(ground.cells(), options.area, options.plane_z, based)
            yield 'drivable_grid', message

    def _close_tf(self) -> None:
        if self._tf is not None and self._tf_is_open:
            self._tf.close()
        self._tf_is_open = False
