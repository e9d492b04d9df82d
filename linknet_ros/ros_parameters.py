"""The node's parameters: one table of names, defaults, ranges and descriptions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import InvalidParameterTypeException, ParameterException
from rclpy.node import Node
from rclpy.parameter import Parameter

from linknet_ros.backends import BACKENDS, PRECISIONS
from linknet_ros.errors import ParameterError


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


SPECS = (
    Spec('autostart', True, 'Configure and activate without a lifecycle manager.'),
    Spec('model', '', 'Path of the model file (.onnx); empty for the CamVid model that ships.'),
    Spec(
        'backend',
        'auto',
        'Inference back end; auto takes the first that works.',
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
        'drivable_classes',
        (),
        'Classes that ~/drivable joins; empty for those the model flags as drivable.',
        live=True,
    ),
    Spec('mask_classes', (), 'Classes that get a mask of their own, ~/masks/<class>.', live=True),
    Spec('overlay_opacity', 0.5, 'Opacity of the class colours in ~/overlay.', (0, 1), live=True),
)


@dataclass(frozen=True)
class Parameters:
    """Values of all parameters; see SPECS."""

    autostart: bool
    model: str
    backend: str
    precision: str
    threads: int
    network_width: int
    network_height: int
    min_confidence: float
    drivable_classes: tuple[str, ...]
    mask_classes: tuple[str, ...]
    overlay_opacity: float

    def __post_init__(self) -> None:
        for spec in SPECS:
            value = getattr(self, spec.name)
            if spec.options and value not in spec.options:
                raise ParameterError(
                    f"parameter {spec.name} is '{value}'; use one of {', '.join(spec.options)}"
                )

    def changed(self, values: Mapping[str, Any]) -> Parameters:
        """These parameters with some values replaced.

        :raises ParameterError: for a value that cannot work.
        """
        known = {field.name: getattr(self, field.name) for field in fields(self)}
        known.update({name: _plain(v) for name, v in values.items() if name in known})
        return Parameters(**known)


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
        number = isinstance(error, InvalidParameterTypeException) and isinstance(default, float)
        hint = '; write it with a decimal point, as 0.5' if number else ''
        raise ParameterError(f'parameter {name}: {error}{hint}') from error


def declare_parameters(node: Node) -> Parameters:
    """Declare all parameters of SPECS on a node and read them.

    :raises ParameterError: when a value from outside cannot work.
    """
    values = {}
    for spec in SPECS:
        default = list(spec.default) if isinstance(spec.default, tuple) else spec.default
        value = declare_parameter(node, spec.name, default, spec.descriptor())
        values[spec.name] = _plain(value)
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
