"""The node's parameters: each is declared once, here or in the room that it is about.

After a change `python -m linknet_ros.node.parameter_pages` updates docs/node.md and
config/camvid.yaml.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rclpy.node import Node
from rclpy.parameter import Parameter

from linknet_ros.errors import ParameterError
from linknet_ros.ground.settings import CloudSettings, GroundSettings
from linknet_ros.inference.settings import InferenceSettings
from linknet_ros.inference.tensorrt.options import (
    LIBRARIES,
    ZERO_COPY,
    TensorrtOptions,
    default_cache_dir,
)
from linknet_ros.products.products import ProductSettings
from linknet_ros.ros.parameters import (
    declare_optional,
    declare_some,
    plain_value,
    warn_of_unknown,
)
from linknet_ros.system.settings import checked, group, made_of, setting, settings_of


@dataclass(frozen=True)
class Tensorrt:
    """How TensorRT builds and runs an engine; see TensorrtOptions."""

    wait_for_engine: bool = setting(
        False,
        'An engine is built once for each GPU and network size, in a process of its own, which '
        'takes minutes. false: the processor serves meanwhile; true: wait. '
        '`ros2 run linknet_ros build_engine` builds ahead of time.',
    )
    cache_dir: str = setting(
        '', 'Folder of built engines; empty for ~/.cache/linknet_ros/engines.'
    )
    library: str = setting(
        TensorrtOptions.library,
        'TensorRT (classic), or TensorRT-RTX (rtx) for a PC with an RTX card; auto takes the '
        'first that is installed, classic first.',
        choices=LIBRARIES,
    )
    device: int = setting(TensorrtOptions.device, 'Index of the GPU.', (0, 15))
    zero_copy: str = setting(
        TensorrtOptions.zero_copy,
        "Let the GPU read frames from the processor's memory; auto does where they share it, as "
        'on a Jetson. YAML reads a bare on as true: put it into quotes.',
        choices=ZERO_COPY,
    )
    cuda_graph: bool = setting(
        TensorrtOptions.cuda_graph, 'Replay the network as one CUDA graph, where that works.'
    )
    workspace_mib: int = setting(
        TensorrtOptions.workspace_mib,
        'Most memory for what the layers compute; 0 for as much as they need.',
        (0, 65536),
        unit='MiB',
    )
    optimization_level: int = setting(
        TensorrtOptions.optimization_level,
        'Effort of a build: 0 builds fast, 5 runs fast.',
        (0, 5),
    )

    def options(self, report: Callable[[str], None]) -> TensorrtOptions:
        """What the back end takes.

        :param report: gets a line at a time; see TensorrtOptions.
        """
        folder = os.path.abspath(os.path.expanduser(self.cache_dir))
        return TensorrtOptions(
            cache_dir=Path(folder) if self.cache_dir else default_cache_dir(),
            library=self.library,
            device=self.device,
            zero_copy=self.zero_copy,
            cuda_graph=self.cuda_graph,
            workspace_mib=self.workspace_mib,
            optimization_level=self.optimization_level,
            report=report,
        )


@dataclass(frozen=True)
class Parameters:
    """Values of all parameters. The names of groups are prefixes where they end with a dot."""

    autostart: bool = setting(
        True,
        "Configure and activate without a lifecycle manager; false waits for nav2's or `ros2 "
        'lifecycle set`.',
    )
    cameras: tuple[str, ...] = setting(
        (),
        'Names of the cameras, where one node serves several with one network, e.g. [front, '
        'rear]: `front.ground.height` is that of one of them, `ground.height` that of those that '
        'have none of their own. Read when the node starts.',
    )
    image_topic: str = setting(
        '', 'Topic of the images; empty for `image`, and with several cameras `front/image_raw`.'
    )
    camera_info_topic: str = setting(
        '',
        'Topic of their camera_info; empty for `camera_info`, and with several cameras '
        '`front/camera_info`.',
    )
    image_transport: str = setting(
        'raw',
        'What the camera sends: images on `image`, or JPEG or PNG on `image/compressed`.',
        choices=('raw', 'compressed'),
    )
    inference: InferenceSettings = group(InferenceSettings)  # noqa: RUF009
    tensorrt: Tensorrt = group(Tensorrt, 'tensorrt.')  # noqa: RUF009
    max_rate: float = setting(
        0.0,
        'Most frames per second, by when they arrive; more are dropped and counted, and never '
        'converted. 0 for no limit.',
        (0, 1000),
        unit='Hz',
        live=True,
    )
    max_age: float = setting(
        0.0,
        'Frames older than this by their stamp, and those without one, are dropped and counted '
        'when their turn comes; 0 for no limit.',
        (0, 3600),
        unit='s',
        live=True,
    )
    merge_timeout: float = setting(
        0.5,
        'How far apart frames of several cameras may have been taken for one `~/drivable_grid` '
        'and `~/drivable_scan`; what is older is left out.',
        (0, 10),
        unit='s',
        live=True,
    )
    outputs: ProductSettings = group(ProductSettings)  # noqa: RUF009
    cloud: CloudSettings = group(CloudSettings)  # noqa: RUF009
    ground: GroundSettings = group(GroundSettings, 'ground.')  # noqa: RUF009

    def changed(self, values: Mapping[str, Any]) -> Parameters:
        """These parameters with other values.

        :param values: by the parameters' names, e.g. 'ground.height'.
        :raises ParameterError: for a value that cannot work.
        """
        plain = {name: plain_value(value) for name, value in values.items()}
        return made_of(Parameters, plain, self)


#: All parameters, in the order of tables and files.
SETTINGS = tuple(settings_of(Parameters))


#: What cameras share: the network, the robot's frame and the grid around it.
_OF_THE_NODE = (
    *('autostart', 'cameras', 'merge_timeout', 'model', 'backend', 'precision', 'threads'),
    *('network_width', 'network_height', 'ground.base_frame', 'ground.plane_z'),
    *('ground.max_range', 'ground.forward', 'ground.backward', 'ground.sideways'),
    *('ground.resolution', 'ground.latched'),
)

#: What a camera can have a value of its own for.
CAMERA_SETTINGS = tuple(
    about
    for about in SETTINGS
    if about.name not in _OF_THE_NODE and not about.name.startswith('tensorrt.')
)

#: What a camera cannot be called: the first parts of names of parameters.
_TAKEN = {about.name.partition('.')[0] for about in SETTINGS} | {'qos_overrides'}


@dataclass(frozen=True)
class NodeParameters:
    """The parameters of the node and, where it has several cameras, of each of them.

    :param common: what holds where a camera has no value of its own.
    :param own: values by camera and name, as 'ground.height'.
    """

    common: Parameters
    own: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def cameras(self) -> tuple[str, ...]:
        """Names of the cameras; one without a name if it is the only one."""
        return self.common.cameras or ('',)

    def of(self, camera: str) -> Parameters:
        """The parameters of a camera."""
        return self.common.changed(self.own[camera]) if camera else self.common

    def changed(self, values: Mapping[str, Any]) -> NodeParameters:
        """These parameters with other values.

        :param values: by name, as 'ground.height' or 'front.ground.height'; None for that of a
            camera that shall be the common one again.
        :raises ParameterError: for a value that cannot work.
        """
        common = {name: value for name, value in values.items() if not self._of_camera(name)}
        own = {camera: dict(mine) for camera, mine in self.own.items()}
        for name in values.keys() - common.keys():
            camera, _, rest = name.partition('.')
            if values[name] is None:
                own[camera].pop(rest, None)
            else:
                own[camera][rest] = values[name]
        return NodeParameters(self.common.changed(common), own)

    def changes_of(self, parameters: Iterable[Parameter], configured: bool) -> dict[str, Any]:
        """New values by name, of the node's own parameters; see changed.

        :param configured: whether the node has loaded its model, after which only live parameters
            can change.
        :raises ParameterError: when another one is among them, or has a wrong type.
        """
        settings = {about.name: about for about in SETTINGS}
        changes = {}
        for parameter in parameters:
            name, value = parameter.name, parameter.value
            camera = self._of_camera(name)
            about = settings.get(name.removeprefix(f'{camera}.') if camera else name)
            if about is None:
                continue
            if about.name == 'cameras':
                raise ParameterError('cameras is read when the node starts', 'start it again')
            if configured and not about.live:
                raise ParameterError(
                    f'{name} is read when the node is configured',
                    'first call `ros2 lifecycle set <node> deactivate` and `cleanup`',
                )
            if camera and value is not None:
                value = checked(about, value, f'the parameters of {camera}')
            changes[name] = value
        return changes

    def _of_camera(self, name: str) -> str:
        """The camera that a parameter is of; '' for one of the node."""
        camera = name.partition('.')[0]
        return camera if camera in self.own else ''


def declare_parameters(node: Node) -> NodeParameters:
    """Declare all parameters on a node, read them, and warn of those that it does not have.

    :raises ParameterError: when a value from outside cannot work.
    """
    common = Parameters().changed(declare_some(node, SETTINGS))
    _check_cameras(common)
    own = {
        camera: declare_optional(node, CAMERA_SETTINGS, f'{camera}.') for camera in common.cameras
    }
    names = [about.name for about in SETTINGS]
    names += [f'{camera}.{about.name}' for camera in own for about in CAMERA_SETTINGS]
    warn_of_unknown(node, names)
    return NodeParameters(common, own)


def declare_again(node: Node, cameras: Iterable[str]) -> None:
    """Declare what cameras no longer have a value for; see declare_optional."""
    for camera in cameras:
        declare_optional(node, CAMERA_SETTINGS, f'{camera}.', again=True)


def _check_cameras(parameters: Parameters) -> None:
    """Check names that become parts of names of topics and parameters.

    :raises ParameterError: for one that cannot be.
    """
    cameras = parameters.cameras
    for camera in cameras:
        good = re.fullmatch('[A-Za-z][A-Za-z0-9_]*', camera) and '__' not in camera
        if not good or camera in _TAKEN or cameras.count(camera) > 1:
            raise ParameterError(
                f"cameras cannot have a camera '{camera}'",
                'use letters, digits and _, each name once, and none of a parameter',
            )
    if cameras and (parameters.image_topic or parameters.camera_info_topic):
        raise ParameterError(
            'all cameras would have one image_topic or camera_info_topic',
            f'set {cameras[0]}.image_topic and so on',
        )
