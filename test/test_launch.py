"""Launch files: their arguments are parameters that exist, and they start what they say."""

import ast
import importlib.util
from pathlib import Path

import pytest

pytest.importorskip('rclpy', reason='needs ROS 2 (pip install .[ros])')

from linknet_ros.replay_node import PARAMETERS
from linknet_ros.ros_parameters import SPECS

ROOT = Path(__file__).parents[1]
LAUNCH = ROOT / 'launch'


def constant(file, name):
    """Value of a module constant, read without importing what the launch file imports."""
    for node in ast.parse((LAUNCH / file).read_text()).body:
        if isinstance(node, ast.Assign) and node.targets[0].id == name:
            return node.value
    raise AssertionError(f'{file} has no {name}')


def rows(file, name):
    return [
        [e.value if isinstance(e, ast.Constant) else ast.unparse(e) for e in row.elts]
        for row in constant(file, name).elts
        if isinstance(row, ast.Tuple)
    ]


def test_arguments_of_segment_are_parameters_of_the_node():
    specs = {spec.name: spec for spec in SPECS}
    for name, text in rows('segment.launch.py', 'PARAMETER_ARGUMENTS'):
        assert name in specs
        for option in specs[name].options:
            assert option in text


def test_arguments_of_replay_are_parameters_of_its_node_with_the_same_type_and_default():
    parameters = {name: default for name, default, _, _ in PARAMETERS}
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


def test_rviz_shows_the_topics_that_the_launch_file_remaps():
    topics = ast.literal_eval(constant('segment.launch.py', 'RVIZ_TOPICS'))
    shown = (ROOT / 'config' / 'segment.rviz').read_text()
    assert all(f'Value: /linknet/{topic}\n' in shown for topic in topics)
    assert 'Value: /camera/image_raw\n' in shown


@pytest.fixture
def described(monkeypatch):
    """Function that describes a launch file with arguments: its nodes and environment."""
    pytest.importorskip('launch_ros', reason='launch_ros is not on PyPI')
    launch = pytest.importorskip('launch')
    import ament_index_python.packages
    from launch.actions import (
        DeclareLaunchArgument,
        OpaqueFunction,
        SetEnvironmentVariable,
    )
    from launch_ros.actions import Node

    monkeypatch.setattr(
        ament_index_python.packages, 'get_package_share_directory', lambda _: str(ROOT)
    )

    def describe(file, **arguments):
        spec = importlib.util.spec_from_file_location('launch_file', LAUNCH / file)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        context = launch.LaunchContext()
        context.launch_configurations.update(arguments)
        nodes, environment = [], []
        for entity in module.generate_launch_description().entities:
            if isinstance(entity, DeclareLaunchArgument):
                entity.execute(context)
            elif isinstance(entity, SetEnvironmentVariable):
                if entity.condition is None or entity.condition.evaluate(context):
                    environment.append(entity)
            elif isinstance(entity, OpaqueFunction):
                nodes += entity.execute(context)
            elif isinstance(entity, Node):
                nodes.append(entity)
        started = [n for n in nodes if n.condition is None or n.condition.evaluate(context)]
        return started, environment

    return describe


def test_segment_starts_one_node_with_the_profile(described):
    nodes, environment = described('segment.launch.py')
    assert [node.node_executable for node in nodes] == ['segment_node']
    assert len(environment) == 2


def test_segment_starts_rviz_and_leaves_the_profile_out(described):
    nodes, environment = described('segment.launch.py', rviz='true', shm_profile='false')
    assert [node.node_executable for node in nodes] == ['segment_node', 'rviz2']
    assert environment == []


def test_replay_starts_one_node(described):
    nodes, environment = described('replay.launch.py')
    assert [node.node_executable for node in nodes] == ['replay_node']
    assert len(environment) == 2


def test_missing_params_file_is_an_error(described):
    with pytest.raises(FileNotFoundError, match="no params_file '/nowhere"):
        described('segment.launch.py', params_file='/nowhere.yaml')
