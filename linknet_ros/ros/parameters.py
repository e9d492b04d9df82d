"""Settings as parameters of a node: how they are declared, and what is said of wrong values."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import (
    InvalidParameterTypeException,
    InvalidParameterValueException,
    InvalidTopicNameException,
    ParameterException,
)
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.validate_topic_name import validate_topic_name

from linknet_ros.errors import ParameterError, first_line
from linknet_ros.system.settings import Setting, checked

#: How a message calls the type of a setting.
_KINDS = {
    bool: 'true or false',
    int: 'an integer',
    float: 'a number with a decimal point, e.g. 0.5',
    str: 'a string',
    tuple: 'a list of strings, e.g. [road, car]',
}

#: Parameters of rclpy's own, which not every version declares.
_OF_RCLPY = ('use_sim_time', 'start_type_description_service')


def declare(node: Node, settings: Sequence[Setting], *, read_only: bool = False) -> dict[str, Any]:
    """Declare all parameters of a node, and warn of those from outside that it does not have.

    :param read_only: for a node that reads them once: a later change would be ignored silently.
    :returns: values by name, from outside or the defaults, see plain_value.
    :raises ParameterError: when a value from outside has the wrong type or is out of range.
    """
    values = declare_some(node, settings, read_only=read_only)
    warn_of_unknown(node, list(values))
    return values


def declare_some(
    node: Node, settings: Iterable[Setting], *, read_only: bool = False
) -> dict[str, Any]:
    """Declare some of a node's parameters; see declare. warn_of_unknown comes after all."""
    return {about.name: plain_value(_declare(node, about, read_only)) for about in settings}


def declare_optional(
    node: Node, settings: Iterable[Setting], prefix: str, *, again: bool = False
) -> dict[str, Any]:
    """Declare parameters that need not have a value; ROS calls them `not set` then.

    :param prefix: of their names, e.g. 'front.'.
    :param again: those that are missing, without a value: rclpy takes one away that is unset
        (`ros2 param delete`), and it could never be set again.
    :returns: the values from outside, by name without the prefix.
    :raises ParameterError: when one of them has the wrong type or is out of range.
    """
    given = {}
    for about in settings:
        if again and node.has_parameter(prefix + about.name):
            continue
        descriptor = descriptor_of(about)
        # A value of any type, or none: `checked` says what ROS cannot.
        descriptor.dynamic_typing = True
        descriptor.floating_point_range, descriptor.integer_range = [], []
        declared = node.declare_parameter(prefix + about.name, None, descriptor, again)
        value = declared.value
        if value is not None:
            given[about.name] = checked(about, value, f'the parameters of {prefix[:-1]}')
    return given


def plain_value(value: Any) -> Any:
    """Lists as tuples, without the empty names that stand for an empty list in YAML."""
    return tuple(name for name in value if name) if isinstance(value, (list, tuple)) else value


def check_topic(name: str, topic: str) -> None:
    """Check that a parameter names a topic, or none.

    :param name: of the parameter.
    :param topic: its value, absolute or relative; '' for none.
    :raises ParameterError: if not.
    """
    try:
        if topic:
            validate_topic_name(topic)
    except InvalidTopicNameException as error:
        problem = first_line(error).removesuffix(':')
        raise ParameterError(
            f"parameter {name} is '{topic}': {problem}", 'use a name as /camera/depth/points'
        ) from error


def descriptor_of(about: Setting) -> ParameterDescriptor:
    """What `ros2 param describe` shows and rclpy checks."""
    unit = f' [{about.unit}]' if about.unit else ''
    descriptor = ParameterDescriptor(name=about.name, description=about.help + unit)
    if about.choices:
        descriptor.additional_constraints = f'one of: {", ".join(map(str, about.choices))}'
    if about.limits and isinstance(about.default, float):
        low, high = map(float, about.limits)
        descriptor.floating_point_range = [FloatingPointRange(from_value=low, to_value=high)]
    elif about.limits:
        low, high = map(int, about.limits)
        descriptor.integer_range = [IntegerRange(from_value=low, to_value=high)]
    return descriptor


def _declare(node: Node, about: Setting, read_only: bool) -> Any:
    descriptor = descriptor_of(about)
    descriptor.read_only = read_only
    name, default = about.name, about.default
    try:
        if default == ():
            # rclpy takes an empty list for one of bytes, so the type is said by name.
            kind = Parameter.Type.STRING_ARRAY
            if node.declare_parameter(name, kind, descriptor).value is None:
                node.set_parameters([Parameter(name, kind, [])])
            return node.get_parameter(name).value
        if isinstance(default, tuple):
            default = list(default)
        return node.declare_parameter(name, default, descriptor).value
    except ParameterException as error:
        problem, fix = _reason(error, _overrides(node).get(name), about)
        raise ParameterError(f'parameter {name}{problem}', fix) from error


def _overrides(node: Node) -> Mapping[str, Parameter]:
    """Parameters from outside, of code, command line and files, by name.

    rclpy has no public way to them but to declare them all, of any type; without its private one
    messages say less, and nothing is said of parameters that do not exist.
    """
    return getattr(node, '_parameter_overrides', {})


def _reason(error: ParameterException, given: Parameter | None, about: Setting) -> tuple[str, str]:
    """What follows a parameter's name in a message, in fewer words than rclpy's, and the fix."""
    if given is not None and isinstance(error, InvalidParameterTypeException):
        kind = given.type_.name.lower().replace('_', ' ')
        article = 'an' if kind[0] in 'aeiou' else 'a'
        takes = _KINDS[type(about.default)]
        if isinstance(about.default, str) and isinstance(given.value, bool):
            takes += "; off, on, yes and no need quotes in YAML: 'off'"
        return f' is {given.value!r}, {article} {kind}', f'it takes {takes}'
    if given is not None and about.limits and isinstance(error, InvalidParameterValueException):
        low, high = about.limits
        ends = (f'{low:g}', f'{high:g}') if isinstance(about.default, float) else (low, high)
        return f' is {given.value}', f'use {ends[0]} to {ends[1]}'
    return f': {error}', ''


def warn_of_unknown(node: Node, known: Sequence[str]) -> None:
    """Say which parameters from outside nobody reads, once all are declared."""
    for name in sorted(_overrides(node)):
        if node.has_parameter(name) or name in _OF_RCLPY or name.startswith('qos_overrides.'):
            # A topic's QoS is declared when the topic is made.
            continue
        near = [n for n in known if n.endswith(f'.{name}')]
        near = near or difflib.get_close_matches(name, known)
        hint = f"did you mean '{near[0]}'?" if near else f'there are {", ".join(known)}'
        node.get_logger().warning(f"unknown parameter '{name}' is ignored; {hint}")
