"""Launch files: their arguments are parameters that exist, and they start what they say."""

import importlib.util

import pytest
from checkout import ROOT
from launch_files import LAUNCH, rows

pytest.importorskip('rclpy', reason='needs ROS 2 (pip install .[ros])')

from linknet_ros.errors import ParameterError
from linknet_ros.node.parameters import SPECS
from linknet_ros.simulation.replay_node import SPECS as REPLAY_SPECS


def test_arguments_of_segment_are_parameters_of_the_node():
    specs = {spec.name: spec for spec in SPECS}
    for name, text in rows('segment.launch.py', 'PARAMETER_ARGUMENTS'):
        assert name in specs
        for option in specs[name].options:
            assert option in text


def test_arguments_of_replay_are_parameters_of_its_node_with_the_same_type_and_default():
    parameters = {spec.name: spec.default for spec in REPLAY_SPECS}
    for name, default, _, kind in rows('replay.launch.py', 'PARAMETER_ARGUMENTS'):
        assert type(parameters[name]).__name__ == kind
        assert default.lower() == str(parameters[name]).lower()


def test_segment_has_the_arguments_that_the_readme_names():
    names = {row[0] for row in rows('segment.launch.py', 'ARGUMENTS')}
    names |= {row[0] for row in rows('segment.launch.py', 'PARAMETER_ARGUMENTS')}
    expected = {
        'image',
        'image_transport',
        'camera_info',
        'model',
        'backend',
        'precision',
        'params_file',
        'namespace',
        'rviz',
        'shm_profile',
        'log_level',
    }
    assert names == expected
    readme = (ROOT / 'README.md').read_text()
    assert all(f'`{name}`' in readme for name in expected)


@pytest.fixture
def described(monkeypatch):
    """Function that describes a launch file with arguments: its nodes and environment."""
    pytest.importorskip('launch_ros', reason='launch_ros is not on PyPI')
    launch = pytest.importorskip('launch')
    from ament_index_python import packages
    from launch.actions import OpaqueFunction, SetEnvironmentVariable
    from launch_ros.actions import Node

    monkeypatch.setattr(packages, 'get_package_share_directory', lambda _: str(ROOT))
    monkeypatch.setattr(packages, 'get_package_prefix', lambda _: '/opt/ros/jazzy')

    def describe(file, **arguments):
        spec = importlib.util.spec_from_file_location('launch_file', LAUNCH / file)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        context = launch.LaunchContext()
        context.launch_configurations.update(arguments)
        entities = []
        for entity in module.generate_launch_description().entities:
            # Declared arguments and functions; anything else would be started unchecked.
            entities += entity.execute(context) or []
            assert isinstance(entity, (launch.actions.DeclareLaunchArgument, OpaqueFunction))
        nodes = [entity for entity in entities if isinstance(entity, Node)]
        environment = [e for e in entities if isinstance(e, SetEnvironmentVariable)]
        assert entities == [*environment, *nodes]
        for node in nodes:
            node._perform_substitutions(context)
        return nodes, environment

    return describe


def level_of(node):
    """Argument after --log-level, as text."""
    words = [''.join(part.text for part in word if hasattr(part, 'text')) for word in node.cmd]
    return words[words.index('--log-level') + 1]


def test_segment_starts_one_node_with_the_profile(described):
    [node], environment = described('segment.launch.py')
    assert node.node_executable == 'segment_node'
    assert node.node_name == '/linknet'
    assert len(environment) == 2


def test_segment_starts_rviz_first_and_leaves_the_profile_out(described):
    nodes, environment = described('segment.launch.py', rviz='true', shm_profile='false')
    assert [node.node_executable for node in nodes] == ['rviz2', 'segment_node']
    assert environment == []


def test_segment_without_an_installed_rviz_starts_nothing(described, monkeypatch):
    from ament_index_python import packages

    def nowhere(name):
        raise packages.PackageNotFoundError(name)

    monkeypatch.setattr(packages, 'get_package_prefix', nowhere)
    monkeypatch.setenv('ROS_DISTRO', 'jazzy')
    message = (
        '^rviz:=true, but rviz2 is not installed; sudo apt install ros-jazzy-rviz2, or use '
        r'rviz:=false\Z'
    )
    with pytest.raises(RuntimeError, match=message):
        described('segment.launch.py', rviz='true')
    assert len(described('segment.launch.py')[0]) == 1


def test_replay_starts_one_node(described):
    [node], environment = described('replay.launch.py')
    assert node.node_executable == 'replay_node'
    assert node.node_name == '/camera/replay'
    assert len(environment) == 2


@pytest.mark.parametrize('file', ['segment.launch.py', 'replay.launch.py'])
@pytest.mark.parametrize(
    ('namespace', 'outer', 'expected'),
    [
        ('', '', ''),
        ('front', '', 'front.'),
        ('/front', '', 'front.'),
        ('front/left', '', 'front.left.'),
        ('front', '/robot', 'robot.front.'),
    ],
)
def test_log_level_is_that_of_the_nodes_own_logger(described, file, namespace, outer, expected):
    arguments = {'namespace': namespace, 'log_level': 'debug'}
    [node], _ = described(file, **arguments, **({'ros_namespace': outer} if outer else {}))
    assert level_of(node) == f'{node.node_name[1:].replace("/", ".")}:=debug'
    assert level_of(node).startswith(expected)


@pytest.mark.parametrize(
    ('file', 'name', 'value', 'message'),
    [
        ('segment.launch.py', 'rviz', 'maybe', "rviz is 'maybe'; it takes true or false"),
        ('segment.launch.py', 'shm_profile', '', "shm_profile is ''; it takes true or false"),
        ('segment.launch.py', 'log_level', 'loud', "log_level is 'loud'; use one of debug, info"),
        ('replay.launch.py', 'log_level', 'loud', "log_level is 'loud'; use one of debug, info"),
        ('replay.launch.py', 'shm_profile', 'x', "shm_profile is 'x'; it takes true or false"),
        ('replay.launch.py', 'rate', 'fast', "rate is 'fast'; it takes a number"),
        ('replay.launch.py', 'seed', 'a', "seed is 'a'; it takes an integer"),
        ('replay.launch.py', 'loop', 'perhaps', "loop is 'perhaps'; it takes true or false"),
    ],
)
def test_bad_argument_starts_nothing_and_is_named(described, file, name, value, message):
    with pytest.raises(ParameterError, match=f'^{message}'):
        described(file, **{name: value})


def test_missing_params_file_is_an_error(described):
    with pytest.raises(FileNotFoundError, match="no params_file '/nowhere"):
        described('segment.launch.py', params_file='/nowhere.yaml')
