"""The node's parameters: each is declared once, here or in the room that it is about.

After a change `python -m linknet_ros.node.parameter_pages` updates docs/node.md and
config/camvid.yaml.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rclpy.node import Node
from rclpy.parameter import Parameter

from linknet_ros.errors import ParameterError
from linknet_ros.ground.grid import GridArea
from linknet_ros.ground.projection import GroundOptions
from linknet_ros.inference.settings import InferenceSettings
from linknet_ros.inference.tensorrt.options import ZERO_COPY, TensorrtOptions, default_cache_dir
from linknet_ros.products.products import ProductSettings
from linknet_ros.ros.parameters import declare, plain_value
from linknet_ros.system.settings import group, made_of, setting, settings_of


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
        'Memory that a layer may use while it runs.',
        (1, 65536),
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
            device=self.device,
            zero_copy=self.zero_copy,
            cuda_graph=self.cuda_graph,
            workspace_mib=self.workspace_mib,
            optimization_level=self.optimization_level,
            report=report,
        )


_AREA = GridArea()


@dataclass(frozen=True)
class Ground:
    """The ground projection: ~/drivable_grid, ~/drivable_scan and ~/drivable_cloud."""

    base_frame: str = setting('base_link', 'Frame of grid, scan and cloud.', live=True)
    use_tf: bool = setting(
        False,
        "Take the camera's place from tf at the frame's stamp (needs tf2_ros), not from the next "
        'six numbers.',
        live=True,
    )
    height: float = setting(
        0.0,
        'Height of the camera above the ground; 0: not known, and without tf nothing is '
        'projected.',
        (0, 100),
        unit='m',
        live=True,
    )
    x: float = setting(0.0, 'Camera ahead of the base frame.', (-100, 100), unit='m', live=True)
    y: float = setting(
        0.0, 'Camera to the left of the base frame.', (-100, 100), unit='m', live=True
    )
    roll: float = setting(
        0.0,
        "Camera leans to the right; as in URDF, of the camera's body, not of its optical frame.",
        (-3.15, 3.15),
        unit='rad',
        live=True,
    )
    pitch: float = setting(0.0, 'Camera looks down.', (-3.15, 3.15), unit='rad', live=True)
    yaw: float = setting(0.0, 'Camera looks to the left.', (-6.3, 6.3), unit='rad', live=True)
    plane_z: float = setting(
        GroundOptions.plane_z,
        'Height of the ground in the base frame; below 0 where its origin is at the axles.',
        (-100, 100),
        unit='m',
        live=True,
    )
    rectified: bool = setting(
        False, 'The image is rectified: take P of camera_info, not K and D.', live=True
    )
    max_range: float = setting(
        GroundOptions.max_range,
        'How far from the base frame the ground is projected.',
        (0.5, 200),
        unit='m',
        live=True,
    )
    forward: float = setting(
        _AREA.forward, 'Grid ahead of the base frame.', (0, 200), unit='m', live=True
    )
    backward: float = setting(
        _AREA.backward, 'Grid behind the base frame.', (0, 200), unit='m', live=True
    )
    sideways: float = setting(
        _AREA.sideways, 'Grid to each side of the base frame.', (0, 200), unit='m', live=True
    )
    resolution: float = setting(
        _AREA.resolution, 'Side of a cell.', (0.01, 5), unit='m', live=True
    )
    latched: bool = setting(
        False, 'Publish `~/drivable_grid` transient local, as maps are for a static layer of Nav2.'
    )
    min_confidence: float = setting(
        0.0,
        'Drivable pixels less certain than this are not free, but unknown.',
        (0, 1),
        live=True,
    )
    unknown_classes: tuple[str, ...] = setting(
        (),
        'Classes that end free ground without being an obstacle; empty for sky, where the model '
        'has it.',
        live=True,
    )
    overhanging_classes: tuple[str, ...] = setting(
        (),
        'Classes of obstacles whose undersides do not touch the ground, e.g. car: seen over their '
        'lower edge they seem further away, and are moved back.',
        live=True,
    )
    clearance: float = setting(
        0.2, 'Height of their undersides above the ground.', (0, 5), unit='m', live=True
    )
    ego_mask: str = setting(
        '',
        'Path of an 8-bit image, white where the vehicle itself is in the picture.',
        live=True,
    )
    filter: bool = setting(
        False,
        'Leave out what only one frame says; a new obstacle is hidden for one frame.',
        live=True,
    )

    def options(self) -> GroundOptions:
        """What of the ground is projected.

        :raises ParameterError: for a grid that is empty or too large.
        """
        area = GridArea(
            forward=self.forward,
            backward=self.backward,
            sideways=self.sideways,
            resolution=self.resolution,
        )
        return GroundOptions(max_range=self.max_range, plane_z=self.plane_z, area=area)


@dataclass(frozen=True)
class Parameters:
    """Values of all parameters. The names of groups are prefixes where they end with a dot."""

    autostart: bool = setting(
        True,
        "Configure and activate without a lifecycle manager; false waits for nav2's or `ros2 "
        'lifecycle set`.',
    )
    image_transport: str = setting(
        'raw',
        'What the camera sends: images on `image`, or JPEG or PNG on `image/compressed`.',
        choices=('raw', 'compressed'),
    )
    inference: InferenceSettings = group(InferenceSettings)  # noqa: RUF009
    tensorrt: Tensorrt = group(Tensorrt, 'tensorrt.')  # noqa: RUF009
    max_age: float = setting(
        0.0,
        'Frames older than this by their stamp, and those without one, are dropped and counted '
        'when their turn comes; 0 for no limit.',
        (0, 3600),
        unit='s',
        live=True,
    )
    outputs: ProductSettings = group(ProductSettings)  # noqa: RUF009
    ground: Ground = group(Ground, 'ground.')  # noqa: RUF009

    def changed(self, values: Mapping[str, Any]) -> Parameters:
        """These parameters with other values.

        :param values: by the parameters' names, e.g. 'ground.height'.
        :raises ParameterError: for a value that cannot work.
        """
        plain = {name: plain_value(value) for name, value in values.items()}
        return made_of(Parameters, plain, self)


#: All parameters, in the order of tables and files.
SETTINGS = tuple(settings_of(Parameters))


def declare_parameters(node: Node) -> Parameters:
    """Declare all parameters on a node, read them, and warn of those that it does not have.

    :raises ParameterError: when a value from outside cannot work.
    """
    return Parameters().changed(declare(node, SETTINGS))


def changes_of(parameters: Iterable[Parameter], configured: bool) -> dict[str, Any]:
    """New values by name, of the node's own parameters.

    :param configured: whether the node has loaded its model, after which only live parameters
        can change.
    :raises ParameterError: when another one is among them.
    """
    settings = {about.name: about for about in SETTINGS}
    changes = {}
    for parameter in parameters:
        about = settings.get(parameter.name)
        if about is None:
            continue
        if configured and not about.live:
            raise ParameterError(
                f'{about.name} is read when the node is configured',
                'first call `ros2 lifecycle set <node> deactivate` and `cleanup`',
            )
        changes[about.name] = parameter.value
    return changes
