"""The node's parameters: one table of names, defaults, ranges and descriptions."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rclpy.node import Node
from rclpy.parameter import Parameter

from linknet_ros.errors import ParameterError
from linknet_ros.inference.backend import BACKENDS, PRECISIONS
from linknet_ros.inference.tensorrt.options import ZERO_COPY, TensorrtOptions, default_cache_dir
from linknet_ros.node.ground_parameters import GROUND_SPECS
from linknet_ros.ros.parameters import (
    Spec,
    declare_parameter,
    warn_of_unknown_parameters,
)

SPECS = (
    Spec('autostart', True, 'Configure and activate without a lifecycle manager.'),
    Spec(
        'image_transport',
        'raw',
        'What the camera sends: images on `image`, or JPEG or PNG on `image/compressed`.',
        options=('raw', 'compressed'),
    ),
    Spec('model', '', 'Path of the model file (.onnx); empty for the CamVid model that ships.'),
    Spec(
        'backend',
        'auto',
        'Inference back end; auto takes the first that works, in this order.',
        options=('auto', *BACKENDS),
    ),
    Spec(
        'precision',
        'auto',
        'Arithmetic; auto takes bf16 where the processor has it, fp16 with tensorrt. int8 takes a '
        'model file made for it: with model empty, the one that ships.',
        options=PRECISIONS,
    ),
    Spec('threads', 0, 'Processor threads for inference; 0 lets the back end choose.', (0, 256)),
    Spec(
        'tensorrt.wait_for_engine',
        False,
        'Wait while TensorRT builds an engine, which takes minutes; else the processor serves '
        'meanwhile.',
    ),
    Spec(
        'tensorrt.cache_dir',
        '',
        'Folder of built engines; empty for ~/.cache/linknet_ros/engines.',
    ),
    Spec('tensorrt.device', 0, 'Index of the GPU.', (0, 15)),
    Spec(
        'tensorrt.zero_copy',
        'auto',
        "Let the GPU read frames from the processor's memory; auto does where they share it.",
        options=ZERO_COPY,
    ),
    Spec('tensorrt.cuda_graph', True, 'Replay the network as one CUDA graph.'),
    Spec(
        'tensorrt.workspace_mib',
        512,
        'Memory that a layer may use while it runs, MiB.',
        (1, 65536),
    ),
    Spec(
        'tensorrt.optimization_level',
        3,
        'Effort of a build: 0 builds fast, 5 runs fast.',
        (0, 5),
    ),
    Spec(
        'network_width',
        0,
        "Width in pixels that frames are fitted into; 0 for the model's own. Larger sees finer "
        'things and takes longer.',
        (0, 4096),
    ),
    Spec('network_height', 0, 'Height in pixels, likewise.', (0, 4096)),
    Spec(
        'min_confidence',
        0.0,
        'Pixels less certain than this become 255, unlabelled, and are not drivable.',
        (0.0, 1.0),
        live=True,
    ),
    Spec(
        'max_age',
        0.0,
        'Frames older than this by their stamp, seconds, are dropped when their turn comes; 0 for '
        'no limit.',
        (0.0, 3600.0),
        live=True,
    ),
    Spec(
        'drivable_classes',
        (),
        'Classes that ~/drivable joins; empty for those the model flags as drivable.',
        live=True,
    ),
    Spec(
        'mask_classes',
        (),
        'Classes that get a mask of their own, ~/masks/<class>; car+bicyclist is one of both.',
        live=True,
    ),
    Spec('overlay_opacity', 0.5, 'Opacity of the class colours in ~/overlay.', (0, 1), live=True),
    Spec(
        'overlay_legend',
        True,
        'Write the classes of the frame, frames per second and latency into ~/overlay.',
        live=True,
    ),
    Spec('jpeg_quality', 80, 'Of ~/overlay/compressed; higher is larger.', (1, 100), live=True),
    *GROUND_SPECS,
)


@dataclass(frozen=True)
class Parameters:
    """Values of all parameters; see SPECS. A dot in a name is an underscore here."""

    autostart: bool
    image_transport: str
    model: str
    backend: str
    precision: str
    threads: int
    tensorrt_wait_for_engine: bool
    tensorrt_cache_dir: str
    tensorrt_device: int
    tensorrt_zero_copy: str
    tensorrt_cuda_graph: bool
    tensorrt_workspace_mib: int
    tensorrt_optimization_level: int
    network_width: int
    network_height: int
    min_confidence: float
    max_age: float
    drivable_classes: tuple[str, ...]
    mask_classes: tuple[str, ...]
    overlay_opacity: float
    overlay_legend: bool
    jpeg_quality: int
    ground_base_frame: str
    ground_use_tf: bool
    ground_height: float
    ground_x: float
    ground_y: float
    ground_roll: float
    ground_pitch: float
    ground_yaw: float
    ground_plane_z: float
    ground_rectified: bool
    ground_max_range: float
    ground_forward: float
    ground_backward: float
    ground_sideways: float
    ground_resolution: float
    ground_latched: bool
    ground_min_confidence: float
    ground_unknown_classes: tuple[str, ...]
    ground_overhanging_classes: tuple[str, ...]
    ground_clearance: float
    ground_ego_mask: str
    ground_filter: bool

    def __post_init__(self) -> None:
        for spec in SPECS:
            value = getattr(self, spec.field)
            if spec.options and value not in spec.options:
                raise ParameterError(
                    f"parameter {spec.name} is '{value}'; use one of {', '.join(spec.options)}"
                )

    def changed(self, values: Mapping[str, Any]) -> Parameters:
        """These parameters with some values replaced.

        :raises ParameterError: for a value that cannot work.
        """
        known = {spec.name: spec.field for spec in SPECS}
        return replace(self, **{known[n]: _plain(v) for n, v in values.items() if n in known})

    def tensorrt_options(self, tell: Callable[[str], None]) -> TensorrtOptions:
        """What the parameters say about TensorRT.

        :param tell: see TensorrtOptions.
        """
        folder = self.tensorrt_cache_dir
        return TensorrtOptions(
            cache_dir=Path(os.path.abspath(os.path.expanduser(folder)))
            if folder
            else default_cache_dir(),
            device=self.tensorrt_device,
            zero_copy=self.tensorrt_zero_copy,
            cuda_graph=self.tensorrt_cuda_graph,
            workspace_mib=self.tensorrt_workspace_mib,
            optimization_level=self.tensorrt_optimization_level,
            report=tell,
        )


def declare_parameters(node: Node) -> Parameters:
    """Declare all parameters of SPECS on a node, read them, and warn of those that it has not.

    :raises ParameterError: when a value from outside cannot work.
    """
    values = {}
    for spec in SPECS:
        value = declare_parameter(node, spec.name, spec.value, spec.descriptor())
        values[spec.field] = _plain(value)
    warn_of_unknown_parameters(node, (spec.name for spec in SPECS))
    return Parameters(**values)


def changes_of(parameters: Iterable[Parameter], configured: bool) -> dict[str, Any]:
    """New values by name, of the parameters in SPECS.

    :param configured: whether the node has loaded its model, after which only live parameters
        can change.
    :raises ParameterError: when another one is among them.
    """
    specs = {spec.name: spec for spec in SPECS}
    changes = {}
    for parameter in parameters:
        spec = specs.get(parameter.name)
        if spec is None:
            continue
        if configured and not spec.live:
            raise ParameterError(
                f'{spec.name} is read when the node is configured; first call '
                '`ros2 lifecycle set <node> deactivate` and `cleanup`'
            )
        changes[spec.name] = parameter.value
    return changes


def _plain(value: Any) -> Any:
    """Lists as tuples, without the empty names that stand for an empty list in YAML."""
    return tuple(name for name in value if name) if isinstance(value, (list, tuple)) else value
