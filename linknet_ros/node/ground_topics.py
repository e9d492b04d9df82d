"""The topics of the ground projection: what a planner takes in."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from nav_msgs.msg import OccupancyGrid
from rclpy.node import Node
from rclpy.publisher import Publisher
from sensor_msgs.msg import CameraInfo, LaserScan, PointCloud2
from std_msgs.msg import Header

from linknet_ros.errors import CalibrationError
from linknet_ros.ground.blind import BlindRange
from linknet_ros.ground.camera_info import camera_model_of, check_camera_info
from linknet_ros.ground.projector import GroundProjector, ProjectedGround
from linknet_ros.ground.settings import GroundState
from linknet_ros.inference.segmenter import Segmentation
from linknet_ros.node.camera_names import LOG_PERIOD, ONLY_CAMERA, CameraNames
from linknet_ros.node.depth_cloud import DepthCloud
from linknet_ros.node.merged_ground import MergedGround
from linknet_ros.ros.camera import TfMounts
from linknet_ros.ros.ground_messages import (
    cloud_message,
    grid_message,
    labelled_cloud_message,
    scan_message,
)
from linknet_ros.ros.images import camera_info_for, nanoseconds
from linknet_ros.ros.qos import create_publisher

#: Type of each topic.
_TOPICS = {
    'drivable_grid': OccupancyGrid,
    'class_cost_grid': OccupancyGrid,
    'drivable_scan': LaserScan,
    'drivable_cloud': PointCloud2,
    'labeled_cloud': PointCloud2,
}


class GroundTopics:
    """Publishers of grids, scan and clouds.

    Tables are made with the first frame, and again when camera_info, the camera's place or a
    parameter of the ground changes; all that is `publish`, which runs in a thread of its own.

    :param latched: whether the grids are transient local, as maps are (REP 2003).
    :param names: how the topics are called.
    :param merged: gets what this camera sees too, if there are several.
    """

    def __init__(
        self,
        node: Node,
        *,
        latched: bool,
        names: CameraNames = ONLY_CAMERA,
        merged: MergedGround | None = None,
    ) -> None:
        self._node = node
        self._log = names.logger(node)
        self._names = names
        self._merged = merged
        self._tf: TfMounts | None = None
        self._tf_is_open = False
        self._projector = GroundProjector()
        self._blind: BlindRange | None = None
        #: Why something could not be published with the newest frame, by what it is.
        self._problems: dict[str, str] = {}
        #: Makes ~/labeled_cloud where depth is given.
        self.depth = DepthCloud(node, names.camera_info)
        self._publishers = {
            name: create_publisher(
                node, kind, names.output(name), latched=latched and kind is OccupancyGrid
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
        mine = any(p.get_subscription_count() > 0 for p in self._publishers.values())
        return mine or (self._merged is not None and self._merged.has_subscribers())

    def update_subscriptions(self) -> None:
        """Called every second: subscribe to depth while somebody wants it."""
        wanted = self._publishers['labeled_cloud'].get_subscription_count() > 0
        self.depth.update_subscription(needed=wanted)

    def publish(
        self,
        state: GroundState,
        result: Segmentation,
        header: Header,
        camera_info: CameraInfo | None,
        *,
        depth: bool = False,
    ) -> float:
        """Compute and publish what somebody subscribes to.

        What is missing is logged, at intervals.

        :param state: what the frame is made with.
        :param result: of a frame.
        :param header: of the frame.
        :param camera_info: the newest of the camera, or None.
        :param depth: whether ~/labeled_cloud is of depth, and needs no projection.
        :returns: seconds spent on sending.
        """
        wanted = {n for n, p in self._publishers.items() if p.get_subscription_count()}
        whole = wanted & {'labeled_cloud'} if depth else set()
        ground = wanted - whole
        merged = self._merged.subscribed_topics() if self._merged is not None else set()
        sending = 0.0
        if ground | merged:
            messages = self._ground_messages(state, result, header, camera_info, ground)
            sending += self._send(messages, 'ground', ground | merged)
        if whole:
            rectified = state.parameters.rectified
            clouds = self.depth.clouds(result, header, camera_info, rectified=rectified)
            publisher = self._publishers['labeled_cloud']
            sending += self._send(((publisher, cloud) for cloud in clouds), 'depth', whole)
        self._problems = {
            kind: text
            for kind, text in self._problems.items()
            if {'ground': ground | merged, 'depth': whole}[kind]
        }
        return sending

    def _send(
        self, messages: Iterable[tuple[Publisher, Any]], kind: str, names: Collection[str]
    ) -> float:
        """Publish what can be made; the seconds that it took.

        :param kind: of a problem, if there is one.
        :param names: of the topics that are made.
        """
        sending = 0.0
        try:
            for publisher, message in messages:
                start = time.perf_counter()
                publisher.publish(message)
                sending += time.perf_counter() - start
        except CalibrationError as error:
            listed = ', '.join(f'~/{name}' for name in _TOPICS if name in names)
            problem = self._problems[kind] = f'no {listed}: {error}'
            self._log.warning(problem, throttle_duration_sec=LOG_PERIOD)
        else:
            self._problems.pop(kind, None)
        return sending

    def values(self) -> dict[str, str]:
        """What diagnostics say of the mount, once the tables are made."""
        return {'blind range': str(self._blind)} if self._blind else {}

    def problems(self) -> list[str]:
        """Why subscribers get nothing, a line each; none if they do, or if there are none."""
        return list(self._problems.values()) if self.has_subscribers() else []

    def destroy(self) -> None:
        """Take the topics away."""
        for publisher in self._publishers.values():
            self._node.destroy_publisher(publisher)
        self._publishers.clear()
        self.depth.close()
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
        topic = self._node.resolve_topic_name(self._names.camera_info)
        check_camera_info(camera_info, topic, header.frame_id)
        height, width = result.labels.shape
        fitting = camera_info_for(camera_info, header, width, height)
        settings = state.parameters
        camera = camera_model_of(fitting, settings.rectified)
        if settings.use_tf and self._tf is not None:
            mount = self._tf.mount(settings.base_frame, header)
        else:
            mount = settings.mount()
        stamp = 1e-9 * nanoseconds(header)
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
        self._log.info(
            f'the camera sees the ground from {blind}{slivers}. Nearer obstacles are invisible: '
            f'Nav2 needs raytrace_min_range of at least {blind.clearing_from:.1f}, see `ros2 run '
            'linknet_ros planner_config`'
        )

    def _ground_messages(
        self,
        state: GroundState,
        result: Segmentation,
        header: Header,
        camera_info: CameraInfo | None,
        wanted: Collection[str],
    ) -> Iterator[tuple[Publisher, Any]]:
        """What goes out where; each is computed when the one before has been sent.

        :raises CalibrationError: see _project.
        """
        ground = self._project(state, result, header, camera_info)
        self._report(ground.projection.blind)
        topics = self._publishers
        based = Header(stamp=header.stamp, frame_id=state.parameters.base_frame)
        if 'drivable_scan' in wanted:
            yield topics['drivable_scan'], scan_message(ground.scan_ranges(), based)
        if 'drivable_cloud' in wanted:
            yield topics['drivable_cloud'], cloud_message(ground.points(), based)
        if 'labeled_cloud' in wanted:
            yield topics['labeled_cloud'], labelled_cloud_message(ground.labelled_points(), based)
        area, plane_z = state.options.area, state.options.plane_z
        if 'drivable_grid' in wanted:
            yield topics['drivable_grid'], grid_message(ground.cells(), area, plane_z, based)
        if 'class_cost_grid' in wanted:
            yield (
                topics['class_cost_grid'],
                grid_message(ground.cost_cells(), area, plane_z, based),
            )
        if self._merged is not None:
            yield from self._merged.messages(self._names.camera, ground, state, header)

    def _close_tf(self) -> None:
        if self._tf is not None and self._tf_is_open:
            self._tf.close()
        self._tf_is_open = False
