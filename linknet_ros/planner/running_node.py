"""Asks a running segmentation node for its camera and its mount."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node, NodeNameNonExistentError
from rclpy.parameter import parameter_value_to_python
from rclpy.parameter_client import AsyncParameterClient
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.task import Future
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header

from linknet_ros.errors import CalibrationError, LinknetError
from linknet_ros.ground.camera_info import camera_model_of
from linknet_ros.ground.mount import Mount
from linknet_ros.ground.settings import GroundSettings
from linknet_ros.planner.placed_camera import PlacedCamera
from linknet_ros.ros.camera import TfMounts
from linknet_ros.ros.parameters import plain_value
from linknet_ros.ros.process import ros_context
from linknet_ros.system.settings import made_of, settings_of

#: Seconds to wait for the node, for its camera_info, and for tf.
_TIMEOUT = 10.0


def ask(name: str, timeout: float = _TIMEOUT) -> PlacedCamera:
    """Get the ground.* parameters, the camera_info and the mount of a node.

    :param name: full name of the node, or /linknet/front for the camera `front` of a node that has
        several.
    :raises LinknetError: when one of them does not arrive.
    :raises CalibrationError: when the camera or its mount cannot be used.
    """
    with ros_context() as context:
        node = Node('planner_config', context=context)
        executor = SingleThreadedExecutor(context=context)
        executor.add_node(node)
        try:
            return _Asker(node, executor, name, timeout).placed()
        finally:
            executor.shutdown()
            node.destroy_node()


class _Asker:
    def __init__(
        self, node: Node, executor: SingleThreadedExecutor, name: str, timeout: float
    ) -> None:
        self._node, self._executor, self._name, self._timeout = node, executor, name, timeout
        #: Of a node that has several; '' for the only one.
        self._camera = ''
        #: How the name of its camera_info ends.
        self._info = ''

    def placed(self) -> PlacedCamera:
        settings = self._settings()
        info = self._camera_info()
        camera = camera_model_of(info, settings.rectified)
        mount = self._mount(settings, info.header.frame_id) if settings.use_tf else None
        return PlacedCamera.of(self._name, settings, camera, mount or settings.mount())

    def _settings(self) -> GroundSettings:
        above, _, last = self._name.rpartition('/')
        clients = {'': AsyncParameterClient(self._node, self._name)}
        if above:
            clients[last] = AsyncParameterClient(self._node, above)
        ready: list[str] = []

        def answered() -> bool:
            ready.extend(c for c, client in clients.items() if client.services_are_ready())
            return bool(ready)

        fix = 'start it, or name it with --node; ROS_DOMAIN_ID must be the same'
        self._wait(answered, f'{self._name} is not running', fix)
        self._camera = ready[0]
        client = clients[self._camera]
        names = [f'ground.{about.name}' for about in settings_of(GroundSettings)]
        values = self._values(client, [*names, 'cameras'])
        cameras = [name for name in values.pop('cameras', ()) if name]
        if cameras and not self._camera:
            raise LinknetError(
                f'{self._name} has several cameras', f'name one: --node {self._name}/{cameras[0]}'
            )
        if self._camera:
            listing = self._answer(lambda: client.list_parameters([f'{self._camera}.ground']))
            own = list(listing.result.names)
            if not own:
                raise LinknetError(f"{above} has no camera '{last}'", 'see its parameter cameras')
            # What a camera has no value for is not set.
            prefix, topic = f'{self._camera}.', f'{self._camera}.camera_info_topic'
            given = self._values(client, [*own, topic])
            info = given.pop(topic, '') or f'{self._camera}/camera_info'
            self._info = '/' + info.lstrip('/')
            values |= {name.removeprefix(prefix): value for name, value in given.items()}
        plain = {name.removeprefix('ground.'): value for name, value in values.items()}
        return made_of(GroundSettings, plain)

    def _values(self, client: AsyncParameterClient, names: list[str]) -> dict[str, Any]:
        """Values that a node has, by name."""
        values = self._answer(lambda: client.get_parameters(names)).values
        if len(values) != len(names):
            raise LinknetError(f'{self._name} is not a segmentation node of this version')
        plain = [plain_value(parameter_value_to_python(value)) for value in values]
        pairs = zip(names, plain, strict=True)
        return {name: value for name, value in pairs if value is not None}

    def _answer(self, request: Callable[[], Future]) -> Any:
        """Answer of a service.

        Asked again every second: what a node answers before it knows of this client is lost.
        """
        futures = [request()]
        asked = time.monotonic()

        def answered() -> bool:
            nonlocal asked
            if time.monotonic() > asked + 1:
                asked = time.monotonic()
                futures.append(request())
            return any(future.done() for future in futures)

        self._wait(answered, f'{self._name} does not answer', 'see its log')
        return next(future.result() for future in futures if future.done())

    def _camera_info(self) -> CameraInfo:
        topic = self._camera_info_topic()
        received: list[CameraInfo] = []
        qos = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        self._node.create_subscription(CameraInfo, topic, received.append, qos)
        self._wait(
            lambda: bool(received),
            f'nothing arrives on {topic}',
            'start the camera, or remap camera_info of the node',
        )
        return received[-1]

    def _camera_info_topic(self) -> str:
        found: list[str] = []

        def subscribed() -> bool:
            node = self._name.removesuffix(f'/{self._camera}') if self._camera else self._name
            namespace, _, name = node.rpartition('/')
            try:
                topics = self._node.get_subscriber_names_and_types_by_node(name, namespace or '/')
            except NodeNameNonExistentError:
                return False
            infos = [t for t, kinds in topics if 'sensor_msgs/msg/CameraInfo' in kinds]
            found.extend(t for t in infos if t.endswith(self._info))
            return bool(found)

        self._wait(
            subscribed,
            f'{self._name} subscribes to no camera_info',
            f'activate it: ros2 lifecycle set {self._name} activate',
        )
        return found[0]

    def _mount(self, settings: GroundSettings, frame_id: str) -> Mount:
        tf = TfMounts(self._node)
        found: list[Any] = []

        def transformed() -> bool:
            try:
                # Stamp 0 asks for the newest.
                found.append(tf.mount(settings.base_frame, Header(frame_id=frame_id)))
            except CalibrationError:
                return False
            return True

        try:
            self._wait(transformed, '', '')
        except LinknetError:
            found.append(tf.mount(settings.base_frame, Header(frame_id=frame_id)))
        finally:
            tf.close()
        mount: Mount = found[-1]
        return mount

    def _wait(self, ready: Callable[[], bool], problem: str, fix: str) -> None:
        end = time.monotonic() + self._timeout
        while not ready():
            if time.monotonic() > end:
                raise LinknetError(problem, fix)
            self._executor.spin_once(timeout_sec=0.1)
