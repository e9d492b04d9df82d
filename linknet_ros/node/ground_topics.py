"""The topics of the ground projection: what a planner takes in."""

from __future__ import annotations

import time
from collections.abc import Iterator

from nav_msgs.msg import OccupancyGrid
from rclpy.node import Node
from rclpy.publisher import Publisher
from sensor_msgs.msg import CameraInfo, LaserScan, PointCloud2
from std_msgs.msg import Header

from linknet_ros.classes import ClassTable
from linknet_ros.errors import CalibrationError
from linknet_ros.ground.camera import CameraModel
from linknet_ros.ground.contacts import kind_table
from linknet_ros.ground.grid import GridArea
from linknet_ros.ground.mount import Mount
from linknet_ros.ground.projection import GroundOptions, GroundProjection, load_ego_mask
from linknet_ros.inference.segmenter import Segmentation
from linknet_ros.node.ground_parameters import GROUND_SPECS
from linknet_ros.node.parameters import Parameters
from linknet_ros.ros.camera import TfMounts, camera_model_of, check_tf
from linknet_ros.ros.ground_messages import cloud_message, grid_message, scan_message
from linknet_ros.ros.images import camera_info_for
from linknet_ros.ros.qos import offer

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


def check_ground(classes: ClassTable, parameters: Parameters) -> None:
    """Check what the ground projection needs of the parameters.

    :raises ClassNameError: for a class that the model does not know.
    :raises ParameterError: for a grid that is empty or too large, and for ground.use_tf without
        tf2_ros.
    :raises SourceError: for an ego mask that cannot be read.
    """
    classes.ids((*parameters.ground_unknown_classes, *parameters.ground_overhanging_classes))
    _options(parameters)
    if parameters.ground_ego_mask:
        load_ego_mask(parameters.ground_ego_mask)
    if parameters.ground_use_tf:
        check_tf()


class GroundOutputs:
    """Publishers of ~/drivable_grid, ~/drivable_scan and ~/drivable_cloud.

    Tables are made with the first frame, and again when camera_info, the camera's place or a
    parameter changes.

    :param classes: the model's class table.
    :param parameters: of the node; checked, see check_ground.
    """

    def __init__(self, node: Node, classes: ClassTable, parameters: Parameters) -> None:
        self._node = node
        self._classes = classes
        self._tf: TfMounts | None = None
        self._camera: CameraModel | None = None
        self._mount: Mount | None = None
        self._projection: GroundProjection | CalibrationError | None = None
        self._decided: tuple[object, ...] = ()
        self._publishers = {
            # Maps are transient local (REP 2003).
            name: offer(
                node,
                kind,
                f'~/{name}',
                latched=parameters.ground_latched and kind is OccupancyGrid,
            )
            for name, kind in _TOPICS.items()
        }
        self.configure(parameters)

    def configure(self, parameters: Parameters) -> None:
        """Take the parameters over; checked ones, see check_ground."""
        if _decides(parameters) != self._decided:
            # Another opacity of the overlay is no reason to make tables anew.
            self._decided = _decides(parameters)
            self._projection = None
        self._parameters = parameters
        self._options = _options(parameters)
        path = parameters.ground_ego_mask
        self._ego_mask = load_ego_mask(path) if path else None
        classes = self._classes
        sky = [name for name in classes.names if name == 'sky']
        self._table = kind_table(
            len(classes),
            drivable=classes.ids(parameters.drivable_classes or classes.drivable_names),
            unsure=classes.ids(parameters.ground_unknown_classes or sky),
            overhanging=classes.ids(parameters.ground_overhanging_classes),
        )
        if parameters.ground_use_tf and self._tf is None:
            self._tf = TfMounts(self._node)
        elif not parameters.ground_use_tf:
            self._close_tf()

    def wanted(self) -> bool:
        """Whether anybody subscribes."""
        return any(p.get_subscription_count() > 0 for p in self._publishers.values())

    def publish(
        self, result: Segmentation, header: Header, camera_info: CameraInfo | None
    ) -> float:
        """Compute and publish what somebody subscribes to.

        What is missing is logged, at intervals.

        :param result: of a frame.
        :param header: of the frame.
        :param camera_info: the newest of the camera, or None.
        :returns: seconds spent on sending.
        """
        if not self.wanted():
            return 0.0
        try:
            projection = self._projection_for(result, header, camera_info)
        except CalibrationError as error:
            self._node.get_logger().warning(
                f'no ~/drivable_grid, scan or cloud: {error}', throttle_duration_sec=_LOG_PERIOD
            )
            return 0.0
        sending = 0.0
        for publisher, message in self._messages(projection, result, header):
            start = time.perf_counter()
            publisher.publish(message)
            sending += time.perf_counter() - start
        return sending

    def destroy(self) -> None:
        """Take the topics away."""
        for publisher in self._publishers.values():
            self._node.destroy_publisher(publisher)
        self._publishers.clear()
        self._close_tf()

    def _projection_for(
        self, result: Segmentation, header: Header, camera_info: CameraInfo | None
    ) -> GroundProjection:
        """The tables for a frame.

        :raises CalibrationError: when something is missing or cannot be used.
        """
        parameters = self._parameters
        if camera_info is None:
            topic = self._node.resolve_topic_name('camera_info')
            raise CalibrationError(f'no camera_info on {topic}; remap it to the camera')
        height, width = result.labels.shape
        fitting = camera_info_for(camera_info, header, width, height)
        camera = camera_model_of(fitting, parameters.ground_rectified)
        mount = self._mount_at(header)
        if (
            self._projection is None
            or camera != self._camera
            or not mount.near(self._mount, _SAME_METRES, _SAME_RADIANS)
        ):
            self._camera, self._mount = camera, mount
            try:
                self._projection = GroundProjection(camera, mount, self._options, self._ego_mask)
            except CalibrationError as error:
                # Kept, so that it is not found out anew with every frame.
                self._projection = error
        if isinstance(self._projection, CalibrationError):
            raise self._projection
        return self._projection

    def _mount_at(self, header: Header) -> Mount:
        parameters = self._parameters
        if self._tf is not None:
            return self._tf.mount(parameters.ground_base_frame, header)
        if not parameters.ground_height:
            raise CalibrationError(
                "the camera's place is not known; set ground.height (and pitch), or ground.use_tf"
            )
        return Mount.from_angles(
            parameters.ground_x,
            parameters.ground_y,
            parameters.ground_height + parameters.ground_plane_z,
            parameters.ground_roll,
            parameters.ground_pitch,
            parameters.ground_yaw,
        )

    def _messages(
        self, projection: GroundProjection, result: Segmentation, header: Header
    ) -> Iterator[tuple[Publisher, OccupancyGrid | LaserScan | PointCloud2]]:
        """What goes out where; each is computed when the one before has been sent."""
        parameters, publishers = self._parameters, self._publishers
        stamp = header.stamp.sec + 1e-9 * header.stamp.nanosec
        contacts = projection.contacts(
            result.labels,
            self._table,
            result.confidence,
            round(255 * parameters.ground_min_confidence),
            parameters.ground_clearance,
            stamp if parameters.ground_filter else None,
        )
        based = Header(stamp=header.stamp, frame_id=parameters.ground_base_frame)
        heard = {name for name, p in publishers.items() if p.get_subscription_count() > 0}
        if 'drivable_scan' in heard:
            ranges = projection.scan.fill(contacts)
            yield publishers['drivable_scan'], scan_message(ranges, projection.scan, based)
        if 'drivable_cloud' in heard:
            yield publishers['drivable_cloud'], cloud_message(projection.points(contacts), based)
        if 'drivable_grid' in heard:
            cells = projection.grid.fill(contacts)
            message = grid_message(cells, self._options.area, self._options.plane_z, based)
            yield publishers['drivable_grid'], message

    def _close_tf(self) -> None:
        if self._tf is not None:
            self._tf.close()
        self._tf = None


def _decides(parameters: Parameters) -> tuple[object, ...]:
    """The values that tables and filter depend on."""
    ours = [spec.field for spec in GROUND_SPECS]
    return (parameters.drivable_classes, *(getattr(parameters, name) for name in ours))


def _options(parameters: Parameters) -> GroundOptions:
    return GroundOptions(
        max_range=parameters.ground_max_range,
        plane_z=parameters.ground_plane_z,
        area=GridArea(
            forward=parameters.ground_forward,
            backward=parameters.ground_backward,
            sideways=parameters.ground_sideways,
            resolution=parameters.ground_resolution,
        ),
    )
