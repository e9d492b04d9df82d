"""One parameter: its descriptor, its declaration, and what is said of a value that cannot work."""

import pytest

pytest.importorskip('rclpy', reason='ROS 2 (ros-rclpy) not installed')

from rcl_interfaces.msg import ParameterDescriptor
from rclpy.parameter import Parameter

from linknet_ros.errors import ParameterError
from linknet_ros.ros import parameters as ros_parameter_declaration
from linknet_ros.ros.parameters import (
    Spec,
    declare_parameter,
    declare_read_once,
    warn_of_unknown_parameters,
)

FRACTION = Spec('opacity', 0.5, 'Of the colours.', (0, 1), live=True)
WHOLE = Spec('threads', 0, 'Of the processor.', (0, 256))
CHOICE = Spec('back.end', 'auto', 'Which one.', options=('auto', 'cpu'))


def test_field_of_a_name_with_a_dot():
    assert (FRACTION.field, CHOICE.field) == ('opacity', 'back_end')


def test_range_of_a_fraction():
    descriptor = FRACTION.descriptor()
    (limits,) = descriptor.floating_point_range
    assert (limits.from_value, limits.to_value) == (0.0, 1.0)
    # Humble takes nothing but floats here.
    assert type(limits.from_value) is type(limits.to_value) is float
    assert len(descriptor.integer_range) == 0


def test_range_of_a_whole_number():
    descriptor = WHOLE.descriptor()
    (limits,) = descriptor.integer_range
    assert (limits.from_value, limits.to_value) == (0, 256)
    assert type(limits.from_value) is type(limits.to_value) is int
    assert len(descriptor.floating_point_range) == 0


def test_options():
    descriptor = CHOICE.descriptor()
    assert descriptor.name == 'back.end'
    assert descriptor.description == 'Which one.'
    assert descriptor.additional_constraints == 'one of: auto, cpu'
    assert (len(descriptor.integer_range), len(descriptor.floating_point_range)) == (0, 0)


def test_one_parameter(open_node):
    node = open_node('-p', 'rate:=2.5')
    descriptor = ParameterDescriptor(description='Frames per second.', read_only=True)
    assert declare_parameter(node, 'rate', 10.0, descriptor) == 2.5
    assert declare_parameter(node, 'loop', True, ParameterDescriptor()) is True
    assert declare_parameter(node, 'topics', [], ParameterDescriptor()) == []
    assert node.describe_parameter('rate').read_only
    (result,) = node.set_parameters([Parameter('topics', value=['a'])])
    assert result.successful


def test_one_parameter_of_a_wrong_type(open_node):
    node = open_node(rate='fast')
    message = (
        r"^parameter rate is 'fast', a string; it takes a number with a decimal point, as 0.5\Z"
    )
    with pytest.raises(ParameterError, match=message):
        declare_parameter(node, 'rate', 10.0, ParameterDescriptor())


def test_one_parameter_where_rclpy_keeps_its_overrides_elsewhere(open_node, monkeypatch):
    node = open_node(rate='fast')
    monkeypatch.setattr(ros_parameter_declaration, '_overrides', lambda node: {})
    with pytest.raises(ParameterError, match=r"^parameter rate: .*'fast'.*'DOUBLE'"):
        declare_parameter(node, 'rate', 10.0, ParameterDescriptor())


def test_one_parameter_out_of_range(open_node):
    node = open_node(threads=1000)
    with pytest.raises(ParameterError, match=r'^parameter threads is 1000; use 0 to 256\Z'):
        declare_parameter(node, 'threads', 0, WHOLE.descriptor())


def test_parameters_that_are_read_once(open_node, capfd):
    specs = (WHOLE, FRACTION, Spec('hosts', ('',), 'Names.'))
    node = open_node(threads=3, hosts=['robot'], thraeds=1)
    assert declare_read_once(node, specs) == {'threads': 3, 'opacity': 0.5, 'hosts': ['robot']}
    assert "unknown parameter 'thraeds' is ignored" in capfd.readouterr().err
    described = node.describe_parameters(['threads', 'opacity', 'hosts'])
    assert all(descriptor.read_only for descriptor in described)
    assert described[0].integer_range[0].to_value == 256
    (result,) = node.set_parameters([Parameter('opacity', value=0.7)])
    assert not result.successful


def test_unknown_parameter_is_named_with_the_nearest(open_node, capfd):
    node = open_node(thraeds=1, threads=2)
    declare_parameter(node, 'threads', 0, WHOLE.descriptor())
    capfd.readouterr()
    warn_of_unknown_parameters(node, ['threads'])
    said = capfd.readouterr().err
    assert "unknown parameter 'thraeds' is ignored; did you mean 'threads'?" in said
    assert said.count('unknown parameter') == 1
