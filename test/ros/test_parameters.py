"""Settings as parameters: descriptors, declaration, and what is said of wrong values."""

import pytest

pytest.importorskip('rclpy', reason='ROS 2 (ros-rclpy) not installed')

from rclpy.parameter import Parameter

from linknet_ros.errors import ParameterError
from linknet_ros.ros import parameters as module
from linknet_ros.ros.parameters import declare, descriptor_of
from linknet_ros.system.settings import Setting

FRACTION = Setting('opacity', 0.5, 'Of the colours.', (0, 1), live=True)
WHOLE = Setting('threads', 0, 'Of the processor.', (0, 256), unit='threads')
CHOICE = Setting('back.end', 'auto', 'Which one.', choices=('auto', 'cpu'))
NAMES = Setting('classes', (), 'To be marked.')


def test_descriptors():
    (limits,) = descriptor_of(FRACTION).floating_point_range
    assert (limits.from_value, limits.to_value) == (0.0, 1.0)
    # Humble takes nothing but floats here.
    assert type(limits.from_value) is type(limits.to_value) is float
    (limits,) = descriptor_of(WHOLE).integer_range
    assert (limits.from_value, limits.to_value) == (0, 256)
    assert type(limits.from_value) is type(limits.to_value) is int
    assert descriptor_of(WHOLE).description == 'Of the processor. [threads]'
    descriptor = descriptor_of(CHOICE)
    assert (descriptor.name, descriptor.description) == ('back.end', 'Which one.')
    assert descriptor.additional_constraints == 'one of: auto, cpu'
    assert (len(descriptor.integer_range), len(descriptor.floating_point_range)) == (0, 0)


def test_values_and_live_changes(open_node):
    node = open_node('-p', 'opacity:=0.25', '-p', "classes:=['', car]")
    values = declare(node, (FRACTION, WHOLE, CHOICE, NAMES))
    assert values == {'opacity': 0.25, 'threads': 0, 'back.end': 'auto', 'classes': ('car',)}
    assert node.describe_parameter('threads').integer_range == descriptor_of(WHOLE).integer_range
    for name, value in (('classes', ['a']), ('opacity', 1.0), ('threads', 256)):
        assert node.set_parameters([Parameter(name, value=value)])[0].successful
    for name, value in (('opacity', 1.5), ('threads', 257), ('classes', 'a')):
        assert not node.set_parameters([Parameter(name, value=value)])[0].successful


def test_parameters_that_are_read_once(open_node, capfd):
    node = open_node(threads=3, hosts=['robot'], thraeds=1)
    settings = (WHOLE, FRACTION, Setting('hosts', ('',), 'Names.'))
    values = declare(node, settings, read_only=True)
    assert values == {'threads': 3, 'opacity': 0.5, 'hosts': ('robot',)}
    assert "unknown parameter 'thraeds' is ignored" in capfd.readouterr().err
    assert all(d.read_only for d in node.describe_parameters(list(values)))
    (result,) = node.set_parameters([Parameter('opacity', value=0.7)])
    assert not result.successful


@pytest.mark.parametrize(
    ('argument', 'message'),
    [
        ('back.end:=5', 'back.end is 5, an integer; it takes a string'),
        (
            'back.end:=off',
            'back.end is False, a bool; it takes a string; off, on, yes and no need quotes in '
            "YAML: 'off'",
        ),
        ('threads:=many', "threads is 'many', a string; it takes an integer"),
        ('threads:=2.0', 'threads is 2.0, a double; it takes an integer'),
        (
            'classes:=car',
            "classes is 'car', a string; it takes a list of strings, e.g. [road, car]",
        ),
        (
            'opacity:=1',
            'opacity is 1, an integer; it takes a number with a decimal point, e.g. 0.5',
        ),
        ('opacity:=.nan', 'opacity is nan; use 0 to 1'),
        ('opacity:=.inf', 'opacity is inf; use 0 to 1'),
        ('opacity:=-0.1', 'opacity is -0.1; use 0 to 1'),
        ('threads:=-1', 'threads is -1; use 0 to 256'),
        ('threads:=257', 'threads is 257; use 0 to 256'),
    ],
)
def test_wrong_value(open_node, argument, message):
    with pytest.raises(ParameterError) as refused:
        declare(open_node('-p', argument), (FRACTION, WHOLE, CHOICE, NAMES))
    assert str(refused.value) == f'parameter {message}'


def test_wrong_value_where_rclpy_keeps_its_overrides_elsewhere(open_node, monkeypatch):
    node = open_node(opacity='fast')
    monkeypatch.setattr(module, '_overrides', lambda node: {})
    with pytest.raises(ParameterError, match=r"^parameter opacity: .*'fast'.*'DOUBLE'"):
        declare(node, (FRACTION,))


@pytest.mark.parametrize(
    ('name', 'hint'),
    [
        ('thraeds', "did you mean 'threads'?"),
        ('end', "did you mean 'back.end'?"),
        ('qos', 'there are threads, back.end'),
    ],
)
def test_unknown_parameter_is_named_once_with_the_nearest(open_node, capfd, name, hint):
    known = {
        'threads': 2,
        'use_sim_time': False,
        'start_type_description_service': False,
        'qos_overrides./image.subscription.depth': 3,
    }
    node = open_node(**known, **{name: 1})
    capfd.readouterr()
    declare(node, (WHOLE, CHOICE))
    (line,) = capfd.readouterr().err.splitlines()
    assert line.endswith(f"unknown parameter '{name}' is ignored; {hint}")
