"""A running segmentation node in the Rerun viewer: `ros2 run linknet_ros rerun_node`.

Subscribes to the node's topics and to its camera while it runs, so the node computes all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from nav_msgs.msg import OccupancyGrid
from numpy.typing import NDArray
from rclpy.clock import Clock, ClockType
from rclpy.node import Node, NodeNameNonExistentError
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, LaserScan, PointCloud2

from linknet_ros.errors import CalibrationError, FrameError, LinknetError
from linknet_ros.ground.camera_info import scaled_matrices
from linknet_ros.ground.mount import Mount
from linknet_ros.ground.settings import GroundSettings
from linknet_ros.inference.fitting import nearest
from linknet_ros.inference.model_file import load_model
from linknet_ros.products.rerun_scene import RerunScene
from linknet_ros.ros.camera import TfMounts
from linknet_ros.ros.images import image_to_bgr, nanoseconds
from linknet_ros.ros.parameters import declare
from linknet_ros.ros.process import ros_process
from linknet_ros.system.package_files import model_path
from linknet_ros.system.settings import Setting
from linknet_ros.view.listener import NEWEST, camera_of
from linknet_ros.view.remote_parameters import RemoteParameters

SETTINGS = (
    Setting('node', '/linknet', 'Full name of the segmentation node.'),
    Setting(
        'address',
        '',
        'Of a running viewer, e.g. rerun+http://127.0.0.1:9876/proxy; empty to start one here.',
    ),
    Setting('save', '', 'Path of a file (.rrd) to write instead of showing anything.'),
    Setting('model', '', "Model file to read the classes from; empty for the node's own."),
)

#: Seconds between two attempts to find the node, its parameters and its camera.
_POLL_PERIOD = 1.0

#: Parameters of the node that decide what is shown, and how.
_GROUND = ('base_frame', 'use_tf', 'height', 'x', 'y', 'roll', 'pitch', 'yaw', 'plane_z')
_PARAMETERS = ('model', 'precision', *(f'ground.{name}' for name in _GROUND))

#: Ends of the keys in diagnostics that are milliseconds of a stage.
_MS = ' ms'


class RerunNode(Node):
    """Node `rerun`: what the segmentation node publishes, as a scene.

    :param options: of rclpy's Node.
    :raises LinknetError: without rerun-sdk, and when there is no viewer.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__('rerun', **options)
        self._values = declare(self, SETTINGS, read_only=True)
        self._target: str = self._values['node']
        self._parameters = RemoteParameters(self, self._target)
        self._scene: RerunScene | None = None
        self._ground = GroundSettings()
        self._tf: TfMounts | None = None
        self._camera: Any = None
        #: Width and height of the picture.
        self._size: tuple[int, int] | None = None
        #: What has been shown so far, by the names of topics, and 'stages'.
        self.shown: set[str] = set()
        #: For whoever spins this node to raise: what a callback found out.
        self.failure: LinknetError | None = None
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(_POLL_PERIOD, self._poll, clock=steady)
        self.get_logger().info(f'waiting for {self._target}')

    def close(self) -> None:
        """End the scene: what is left is sent or written."""
        if self._scene is not None:
            self._scene.close()
            self._scene = None

    def destroy_node(self) -> None:
        """End the scene first."""
        self.close()
        if self._tf is not None:
            self._tf.close()
            self._tf = None
        self._parameters.close()
        super().destroy_node()

    def _poll(self) -> None:
        if self._scene is None:
            self._parameters.forget_unanswered()
            self._parameters.get(_PARAMETERS, self._open)
        else:
            self._find_camera()

    def _open(self, values: dict[str, Any]) -> None:
        """Begin the scene with what the node says of itself."""
        if self._scene is not None or 'model' not in values:
            return
        try:
            given = self._values['model'] or values['model']
            path = model_path(given, values.get('precision', ''))
            scene = RerunScene(load_model(path).classes)
            if self._values['save']:
                scene.save(Path(self._values['save']))
            else:
                scene.show(self._values['address'])
            self._ground = GroundSettings(**{name: values[f'ground.{name}'] for name in _GROUND})
            if self._ground.use_tf:
                self._tf = TfMounts(self)
        except (LinknetError, OSError) as error:
            self.failure = error if isinstance(error, LinknetError) else LinknetError(str(error))
            return
        self._scene = scene
        self._subscribe('labels', Image, self._on_labels)
        self._subscribe('confidence', Image, self._on_confidence)
        self._subscribe('camera_info', CameraInfo, self._on_camera_info)
        self._subscribe('drivable_grid', OccupancyGrid, self._on_grid)
        self._subscribe('drivable_scan', LaserScan, self._on_scan)
        self._subscribe('drivable_cloud', PointCloud2, self._on_cloud)
        self.create_subscription(DiagnosticArray, '/diagnostics', self._on_diagnostics, 10)
        self._find_camera()
        self.get_logger().info(f'showing {self._target}')

    def _subscribe(
        self, name: str, kind: type, callback: Callable[[RerunScene, Any], None]
    ) -> None:
        def received(message: Any) -> None:
            if self._scene is not None:
                self._scene.at(nanoseconds(message.header))
                callback(self._scene, message)
                self.shown.add(name)

        self.create_subscription(kind, f'{self._target}/{name}', received, NEWEST)

    def _find_camera(self) -> None:
        """Subscribe to the topic that the node takes frames from."""
        if self._camera is not None:
            return
        with suppress(NodeNameNonExistentError):
            topic, kind = camera_of(self, self._target)
            if kind is not None:
                self._camera = self.create_subscription(kind, topic, self._on_frame, NEWEST)

    def _on_frame(self, message: Image | CompressedImage) -> None:
        if self._scene is None:
            return
        try:
            bgr = image_to_bgr(message)
        except FrameError as error:
            self.get_logger().warning(str(error), throttle_duration_sec=5.0)
            return
        self._scene.at(nanoseconds(message.header))
        self._size = bgr.shape[1], bgr.shape[0]
        self._scene.picture(bgr)

    def _on_labels(self, scene: RerunScene, message: Image) -> None:
        # The picture is not known yet, or has the same size, unless label_width is set.
        size = self._size or (message.width, message.height)
        scene.labels(nearest(_plane(message), *size))

    def _on_confidence(self, scene: RerunScene, message: Image) -> None:
        scene.confidence(_plane(message))

    def _on_camera_info(self, scene: RerunScene, message: CameraInfo) -> None:
        mount: Mount | None = None
        try:
            if self._tf is not None:
                mount = self._tf.mount(self._ground.base_frame, message.header)
            else:
                mount = self._ground.mount()
        except CalibrationError as error:
            self.get_logger().info(f'the camera stands at the origin: {error}', once=True)
        size = self._size or (message.width, message.height)
        scene.camera(scaled_matrices(message, *size)[0], size, mount)

    def _on_grid(self, scene: RerunScene, message: OccupancyGrid) -> None:
        info, at = message.info, message.info.origin.position
        cells = np.asarray(message.data, np.int8).reshape(info.height, info.width)
        scene.grid(cells, info.resolution, (at.x, at.y, at.z))

    def _on_scan(self, scene: RerunScene, message: LaserScan) -> None:
        ranges = np.asarray(message.ranges, np.float32)
        scene.scan(ranges, message.angle_min, message.angle_increment, self._ground.plane_z)

    def _on_cloud(self, scene: RerunScene, message: PointCloud2) -> None:
        data = np.frombuffer(message.data, np.uint8).reshape(-1, message.point_step)
        scene.cloud(np.ascontiguousarray(data[:, :12]).view(np.float32))

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        if self._scene is None:
            return
        for status in message.status:
            if status.name == f'{self._target.lstrip("/")}: segmentation':
                stages = {
                    entry.key.removesuffix(_MS): 1e-3 * float(entry.value)
                    for entry in status.values
                    if entry.key.endswith(_MS) and _is_number(entry.value)
                }
                if stages:
                    self._scene.at(nanoseconds(message.header))
                    self._scene.seconds(stages)
                    self.shown.add('stages')


def _plane(message: Image) -> NDArray[np.uint8]:
    """Pixels of a mono8 image of the node, which has no padding."""
    return np.frombuffer(message.data, np.uint8).reshape(message.height, message.width)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def main(arguments: list[str] | None = None) -> None:
    """Entry point of `ros2 run linknet_ros rerun_node`."""
    with ros_process('rerun', arguments) as executor:
        node = RerunNode()
        try:
            executor.add_node(node)
            while node.failure is None:
                executor.spin_once(timeout_sec=1.0)
            raise node.failure
        finally:
            node.destroy_node()
