"""One parameter of a node: what it is, and how a value that cannot work is called."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import (
    InvalidParameterTypeException,
    InvalidParameterValueException,
    ParameterException,
)
from rclpy.node import Node
from rclpy.parameter import Parameter

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

    @property
    def value(self) -> Any:
        """The default as rclpy takes it."""
        return list(self.default) if isinstance(self.default, tuple) else self.default

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


def declare_read_once(node: Node, specs: Sequence[Spec]) -> dict[str, Any]:
    """Declare all parameters of a node that reads them once, and warn of those that it has not.

    They are read-only: a later change would be ignored without a word.

    :returns: values by name.
    :raises ParameterError: as declare_parameter does.
    """
    values = {}
    for spec in specs:
        descriptor = spec.descriptor()
        descriptor.read_only = True
        values[spec.name] = declare_parameter(node, spec.name, spec.value, descriptor)
    warn_of_unknown_parameters(node, (spec.name for spec in specs))
    return values


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
