"""The node's parameters: one table of names, defaults, ranges and descriptions."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import (
    InvalidParameterTypeException,
    InvalidParameterValueException,
    ParameterException,
)
from rclpy.node import Node
from rclpy.parameter import Parameter

from linknet_ros.backends import BACKENDS, PRECISIONS
from linknet_ros.backends.tensorrt_options import ZERO_COPY, TensorrtOptions, default_cache_dir
from linknet_ros.errors import ParameterError

#: How a message calls the type of a value: a default's, or one from outside.
_KINDS = {
    bool: 'true or false',
    int: 'an integer',
    float: 'a number with a decimal point, as 0.5',
    str: 'a string',
    list: 'a list of strings, as [road, car]',
}

#: Parameters of rclpy's own, which not every version declares.
_OF_RCLPY = ('use_sim_time', 'start_type_description_service')


@dataclass(frozen=True)
class Spec:
    """One parameter.

    :param default: its type is the parameter's type; a tuple stands for a list of strings.
    :param limits: smallest and largest number, or None.
    :param options: allowed values of a string, or () for any.
    :param live: whether it can be changed while the node runs.
    """

    name: str
    default: Any
    description: str
    limits: tuple[float, float] | None = None
    options: tuple[str, ...] = ()
    live: bool = False

    @property
    def field(self) -> str:
        """Its field in Parameters."""
        return self.name.replace('.', '_')

    def descriptor(self) -> ParameterDescriptor:
        """What `ros2 param describe` shows and rclpy checks."""
        descriptor = ParameterDescriptor(name=self.name, description=self.description)
        if self.options:
            descriptor.additional_constraints = f'one of: {", ".join(self.options)}'
        if self.limits and isinstance(self.default, float):
            low, high = map(float, self.limits)
            descriptor.floating_point_range = [FloatingPointRange(from_value=low, to_value=high)]
        elif self.limits:
            low, high = map(int, self.limits)
            descriptor.integer_range = [IntegerRange(from_value=low, to_value=high)]
        return descriptor


#: Ground projection: ~/drivable_grid, ~/drivable_scan and ~/drivable_cloud.
GROUND_SPECS = (
    Spec('ground.base_frame', 'base_link', 'Frame of grid, scan and cloud.', live=True),
    Spec(
        'ground.use_tf',
        False,
        "Take the camera's place from tf at the frame's stamp, not from the parameters below.",
        live=True,
    ),
    Spec(
        'ground.height',
        0.0,
        'Height of the camera above the ground, metres; 0 for not known.',
        (0.0, 100.0),
        live=True,
    ),
    Spec('ground.x', 0.0, 'Camera ahead of the base frame, metres.', (-100.0, 100.0), live=True),
    Spec('ground.y', 0.0, 'Camera to the left of it, metres.', (-100.0, 100.0), live=True),
    Spec('ground.roll', 0.0, 'Camera leans to the right, radians.', (-3.15, 3.15), live=True),
    Spec('ground.pitch', 0.0, 'Camera looks down, radians.', (-3.15, 3.15), live=True),
    Spec('ground.yaw', 0.0, 'Camera looks to the left, radians.', (-6.3, 6.3), live=True),
    Spec(
        'ground.plane_z',
        0.0,
        'Height of the ground in the base frame, metres; below 0 where its origin is higher.',
        (-100.0, 100.0),
        live=True,
    ),
    Spec(
        'ground.rectified',
        False,
        'The image is rectified: take P of camera_info, not K and D.',
        live=True,
    ),
    Spec(
        'ground.max_range',
        20.0,
        'How far from the base frame the ground is looked at, metres.',
        (0.5, 200.0),
        live=True,
    ),
    Spec('ground.forward', 20.0, 'Grid ahead of the base frame, metres.', (0.0, 200.0), live=True),
    Spec('ground.backward', 0.0, 'Grid behind it, metres.', (0.0, 200.0), live=True),
    Spec('ground.sideways', 10.0, 'Grid to each side of it, metres.', (0.0, 200.0), live=True),
    Spec('ground.resolution', 0.1, 'Side of a cell, metres.', (0.01, 5.0), live=True),
    Spec('ground.latched', False, 'Offer ~/drivable_grid transient local, as maps are.'),
    Spec(
        'ground.min_confidence',
        0.0,
        'Drivable pixels less certain than this are not free, but unknown.',
        (0.0, 1.0),
        live=True,
    ),
    Spec(
        'ground.unknown_classes',
        (),
        'Classes that end free ground without being an obstacle; empty for sky, where there is '
        'such a class.',
        live=True,
    ),
    Spec(
        'ground.overhanging_classes',
        (),
        'Classes of obstacles whose undersides do not touch the ground, as car.',
        live=True,
    ),
    Spec(
        'ground.clearance',
        0.2,
        'Height of their undersides above the ground, metres.',
        (0.0, 5.0),
        live=True,
    ),
    Spec(
        'ground.ego_mask',
        '',
        'Path of an 8-bit image, white where the vehicle itself is in the picture.',
        live=True,
    ),
    Spec('ground.filter', False, 'Leave out what only one frame says.', live=True),
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
            tell=tell,
        )


def declare_parameter(node: Node, name: str, default: Any, descriptor: ParameterDescriptor) -> Any:
    """Declare one parameter.

    :returns: its value, from outside or the default.
    :raises ParameterError: when a value from outside has the wrong type or is out of range.
    """
    try:
        if default == []:
            # rclpy takes an empty list for one of bytes, so the type is said by name.
            kind = Parameter.Type.STRING_ARRAY
            if node.declare_parameter(name, kind, descriptor).value is None:
                node.set_parameters([Parameter(name, kind, [])])
            return node.get_parameter(name).value
        return node.declare_parameter(name, default, descriptor).value
    except ParameterException as error:
        reason = _reason(error, _overrides(node).get(name), default, descriptor)
        raise ParameterError(f'parameter {name}{reason}') from error


def _overrides(node: Node) -> Mapping[str, Parameter]:
    """Parameters from outside, of code, command line and files, by name.

    rclpy has no public way to them but to declare them all, of any type; without its private one
    messages say less, and nothing is said of parameters that do not exist.
    """
    return getattr(node, '_parameter_overrides', {})


def _reason(
    error: ParameterException,
    given: Parameter | None,
    default: Any,
    descriptor: ParameterDescriptor,
) -> str:
    """What follows a parameter's name in a message, in fewer words than rclpy's."""
    if given is None:
        return f': {error}'
    value = given.value
    if isinstance(error, InvalidParameterTypeException):
        kind = given.type_.name.lower().replace('_', ' ')
        article = 'an' if kind[0] in 'aeiou' else 'a'
        return f' is {value!r}, {article} {kind}; it takes {_KINDS[type(default)]}'
    for limits in (*descriptor.integer_range, *descriptor.floating_point_range):
        if isinstance(error, InvalidParameterValueException):
            ends = [
                f'{end:g}' if isinstance(end, float) else str(end)
                for end in (limits.from_value, limits.to_value)
            ]
            return f' is {value}; use {" to ".join(ends)}'
    return f': {error}'


def warn_of_unknown_parameters(node: Node, known: Iterable[str]) -> None:
    """Say which parameters from outside nobody reads, once all are declared.

    :param known: names of the node's own, to find what was meant.
    """
    known = list(known)
    for name in sorted(_overrides(node)):
        if node.has_parameter(name) or name in _OF_RCLPY or name.startswith('qos_overrides.'):
            # A topic's QoS is declared when the topic is made.
            continue
        near = [n for n in known if n.endswith(f'.{name}')] or difflib.get_close_matches(
            name, known
        )
        hint = f"did you mean '{near[0]}'?" if near else f'there are {", ".join(known)}'
        node.get_logger().warning(f"unknown parameter '{name}' is ignored; {hint}")


def declare_parameters(node: Node) -> Parameters:
    """Declare all parameters of SPECS on a node, read them, and warn of those that it has not.

    :raises ParameterError: when a value from outside cannot work.
    """
    values = {}
    for spec in SPECS:
        default = list(spec.default) if isinstance(spec.default, tuple) else spec.default
        value = declare_parameter(node, spec.name, default, spec.descriptor())
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
