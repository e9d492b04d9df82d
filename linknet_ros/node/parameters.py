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
from linknet_ros.ground.settings import GroundSettings
from linknet_ros.inference.settings import InferenceSettings
from linknet_ros.inference.tensorrt.options import (
    LIBRARIES,
    ZERO_COPY,
    TensorrtOptions,
    default_cache_dir,
)
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
