"""Parameters of another node, over its services."""

import time

import pytest

pytest.importorskip('rclpy', reason='ROS 2 (ros-rclpy) not installed')

from rcl_interfaces.msg import SetParametersResult
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

from linknet_ros.view import remote_parameters as ros_view_parameters
from linknet_ros.view.remote_parameters import RemoteParameters


@pytest.fixture
def nodes(context):
    """(asking node, asked node, executor of both)."""
    asking = Node('asking', context=context)
    asked = Node('asked', context=context, namespace='/front')
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(asking)
    executor.add_node(asked)
    asked.declare_parameter('opacity', 0.5)
    asked.declare_parameter('model', 'a.onnx')
    asked.declare_parameter('classes', ['road', 'car'])
    asked.declare_parameter('numbers', [1, 2])
    yield asking, asked, executor
    executor.shutdown()
    asking.destroy_node()
    asked.destroy_node()


@pytest.fixture
def remote(nodes):
    parameters = RemoteParameters(nodes[0], '/front/asked')
    wait_for(nodes, parameters._set.service_is_ready)
    wait_for(nodes, parameters._get.service_is_ready)
    yield parameters
    parameters.close()


def wait_for(nodes, ready):
    end = time.monotonic() + 20
    while not ready():
        assert time.monotonic() < end
        nodes[2].spin_once(timeout_sec=0.05)


def test_get(nodes, remote):
    answers = []
    remote.get(['opacity', 'model', 'classes'], answers.append)
    wait_for(nodes, lambda: answers)
    assert answers == [{'opacity': 0.5, 'model': 'a.onnx', 'classes': ('road', 'car')}]


def test_values_of_other_types_are_left_out(nodes, remote):
    answers = []
    remote.get(['opacity', 'numbers'], answers.append)
    wait_for(nodes, lambda: answers)
    assert answers == [{'opacity': 0.5}]


def test_parameter_that_is_not_there(nodes, remote):
    answers = []
    remote.get(['nothing', 'opacity'], answers.append)
    wait_for(nodes, lambda: answers)
    assert answers == [{}]


def test_one_question_at_a_time(nodes, remote):
    answers = []
    for _ in range(5):
        remote.get(['opacity'], answers.append)
    wait_for(nodes, lambda: answers)
    for _ in range(10):
        nodes[2].spin_once(timeout_sec=0.02)
    assert len(answers) == 1
    remote.get(['opacity'], answers.append)
    wait_for(nodes, lambda: len(answers) == 2)


def test_set(nodes, remote):
    answers = []
    remote.set({'opacity': 0.25}, answers.append)
    wait_for(nodes, lambda: answers)
    assert answers == ['']
    assert nodes[1].get_parameter('opacity').value == 0.25


def test_refusal_has_its_reason(nodes, remote):
    def refuse(parameters):
        return SetParametersResult(successful=False, reason='too large')

    nodes[1].add_on_set_parameters_callback(refuse)
    answers = []
    remote.set({'opacity': 9.0}, answers.append)
    wait_for(nodes, lambda: answers)
    assert answers == ['too large']
    assert nodes[1].get_parameter('opacity').value == 0.5


def test_node_that_is_not_there(nodes):
    remote = RemoteParameters(nodes[0], '/nobody')
    answers = []
    remote.get(['opacity'], answers.append)
    remote.set({'opacity': 0.1}, answers.append)
    assert answers == ['/nobody is not there']
    remote.close()


def test_node_that_never_answers_is_asked_again(nodes, remote, monkeypatch):
    monkeypatch.setattr(ros_view_parameters, '_PATIENCE', 0.05)
    _, asked, executor = nodes
    answers = []
    executor.remove_node(asked)
    remote.get(['opacity'], answers.append)
    time.sleep(0.1)
    executor.spin_once(timeout_sec=0.05)
    remote.forget_unanswered()
    executor.add_node(asked)
    remote.get(['opacity'], answers.append)
    wait_for(nodes, lambda: answers)
    for _ in range(10):
        executor.spin_once(timeout_sec=0.02)
    # The late answer to the first is nobody's.
    assert answers == [{'opacity': 0.5}]
