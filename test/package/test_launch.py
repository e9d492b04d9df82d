"""Launch files: their arguments are parameters that exist, and they start what they say."""

import importlib.util
import math

import pytest
import yaml
from checkout import ROOT
from launch_files import LAUNCH, arguments

pytest.importorskip('rclpy', reason='needs ROS 2 (pip install .[ros])')

from linknet_ros.ground.mount import Mount
from linknet_ros.ground.settings import GroundSettings
from linknet_ros.node.parameters import SETTINGS
from linknet_ros.simulation.replay_node import SETTINGS as REPLAY_SETTINGS


def test_arguments_of_segment_are_parameters_of_the_node():
    specs = {spec.name: spec for spec in SETTINGS}
    for name, argument in arguments('segment.launch.py', 'PARAMETER_ARGUMENTS').items():
        options = specs[name].choices
        # The empty one leaves it to the parameter file.
        assert argument.default == ''
        assert argument.choices == (('', *options) if options else ())


def test_arguments_of_replay_are_parameters_of_its_node_with_the_same_default():
    defaults = {spec.name: spec.default for spec in REPLAY_SETTINGS}
    for name, argument in arguments('replay.launch.py', 'PARAMETER_ARGUMENTS').items():
        assert argument.default.lower() == str(defaults[name]).lower()
        assert bool(argument.choices) == isinstance(defaults[name], bool)


@pytest.mark.parametrize('file', ['segment.launch.py', 'replay.launch.py'])
def test_arguments_are_in_the_readme(file):
    readme = (ROOT / 'README.md').read_text()
    assert [name for name in arguments(file) if f'`{name}`' not in readme] == []


@pytest.fixture
def described(monkeypatch):
    """Function that describes a launch file with arguments: its nodes and environment."""
    pytest.importorskip('launch_ros', reason='launch_ros is not on PyPI')
    launch = pytest.importorskip('launch')
    from ament_index_python import packages
    from launch.actions import SetEnvironmentVariable
    from launch_ros.actions import Node

    monkeypatch.setattr(packages, 'get_package_share_directory', lambda _: str(ROOT))

    def describe(file, **given):
        spec = importlib.util.spec_from_file_location('launch_file', LAUNCH / file)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        context = launch.LaunchContext()
        context.launch_configurations.update(given)
        nodes, environment = [], []
        pending = module.generate_launch_description().entities
        while pending:
            entity, *pending = pending
            if entity.condition is not None and not entity.condition.evaluate(context):
                continue
            if isinstance(entity, Node):
                entity._perform_substitutions(context)
                nodes.append(entity)
            elif isinstance(entity, SetEnvironmentVariable):
                environment.append(entity)
            else:
                # Arguments and functions: nothing is started before all arguments are checked.
                assert nodes == [] or isinstance(entity, launch.actions.OpaqueFunction)
                pending = [*(entity.execute(context) or []), *pending]
        return nodes, environment

    return describe


def level_of(node):
    """Argument after --log-level, as text."""
    words = [''.join(part.text for part in word if hasattr(part, 'text')) for word in node.cmd]
    return words[words.index('--log-level') + 1]


@pytest.mark.parametrize(
    ('file', 'given', 'executables', 'names', 'variables'),
    [
        ('segment.launch.py', {}, ['segment_node'], ['/linknet'], 2),
        # RViz first: where it cannot be started, no node is left behind.
        (
            'segment.launch.py',
            {'rviz': 'true', 'shm_profile': 'false'},
            ['rviz2', 'segment_node'],
            [None, '/linknet'],
            0,
        ),
        ('replay.launch.py', {'shm_profile': 'False'}, ['replay_node'], ['/camera/replay'], 0),
    ],
)
def test_what_is_started(described, file, given, executables, names, variables):
    nodes, environment = described(file, **given)
    assert [node.node_executable for node in nodes] == executables
    found = [None if 'node_name' in node.node_name else node.node_name for node in nodes]
    assert found == names
    assert len(environment) == variables


def test_street_says_where_its_camera_is(described, monkeypatch):
    """base_link to the optical frame, as the node's ground is told by config/street.yaml."""
    from ament_index_python import packages

    monkeypatch.setattr(packages, 'get_package_prefix', lambda _: '/opt')
    nodes, _ = described('replay.launch.py')
    assert [node.node_executable for node in nodes] == [
        'replay_node',
        'static_transform_publisher',
    ]
    words = [''.join(part.text for part in word if hasattr(part, 'text')) for word in nodes[1].cmd]
    given = dict(zip(words[1::2], words[2::2], strict=False))
    assert (given['--frame-id'], given['--child-frame-id']) == (
        'base_link',
        'camera_optical_frame',
    )
    roll, pitch, yaw = (float(given.get(f'--{name}', 0)) for name in ('roll', 'pitch', 'yaw'))
    turned = Mount.from_quaternion((0, 0, float(given['--z'])), quaternion(roll, pitch, yaw))
    ground = yaml.safe_load((ROOT / 'config/street.yaml').read_text())['/**']['ros__parameters']
    assert turned.near(GroundSettings(**ground['ground']).mount(), 1e-6, 1e-4)
    nodes, _ = described('replay.launch.py', source='images')
    assert [node.node_executable for node in nodes] == ['replay_node']


def quaternion(roll, pitch, yaw):
    """x, y, z, w of rotations about the fixed axes x, y, z in this order."""
    (sr, sp, sy), (cr, cp, cy) = (
        [function(angle / 2) for angle in (roll, pitch, yaw)] for function in (math.sin, math.cos)
    )
    return (
        sr * cp * cy - cr * sp * sy,
        cr * sp * cy + sr * cp * sy,
        cr * cp * sy - sr * sp * cy,
        cr * cp * cy + sr * sp * sy,
    )


@pytest.mark.parametrize('file', ['segment.launch.py', 'replay.launch.py'])
@pytest.mark.parametrize(
    ('namespace', 'outer', 'expected'),
    [
        ('', '', ''),
        ('front', '', 'front.'),
        ('/front', '', 'front.'),
        ('front/left', '', 'front.left.'),
        ('front', '/robot', 'robot.front.'),
        ('/front', '/robot', 'front.'),
    ],
)
def test_log_level_is_that_of_the_nodes_own_logger(described, file, namespace, outer, expected):
    given = {'namespace': namespace, 'log_level': 'debug'}
    [node], _ = described(file, **given, **({'ros_namespace': outer} if outer else {}))
    assert level_of(node) == f'{node.node_name[1:].replace("/", ".")}:=debug'
    assert level_of(node).startswith(expected)


@pytest.mark.parametrize(
    ('file', 'name', 'value', 'message'),
    [
        ('segment.launch.py', 'rviz', 'maybe', '"rviz" provided value "maybe" is not valid'),
        ('segment.launch.py', 'backend', 'cuda', '"backend" provided value "cuda" is not valid'),
        ('segment.launch.py', 'params_file', '/no.yaml', "'/no.yaml' does not exist"),
        ('replay.launch.py', 'log_level', 'loud', '"log_level" provided value "loud" is not val'),
        ('replay.launch.py', 'loop', '', '"loop" provided value "" is not valid'),
        ('replay.launch.py', 'rate', 'fast', r"invalid rate 'fast' \(expected a number\)"),
        ('replay.launch.py', 'seed', '1.5', r"invalid seed '1.5' \(expected a whole number\)"),
    ],
)
def test_wrong_argument_is_named(described, file, name, value, message):
    with pytest.raises((RuntimeError, ValueError, FileNotFoundError), match=message):
        described(file, **{name: value})
