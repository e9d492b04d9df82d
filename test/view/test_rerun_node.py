"""A running node in a file of the Rerun viewer."""

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='needs ROS 2 (pip install .[ros])')
pytest.importorskip('rerun', reason='needs rerun-sdk (pip install .[rerun])')
pytest.importorskip('onnxruntime', reason='ONNX Runtime (extra "cpu") not installed')

from rclpy.parameter import Parameter
from rerun_files import content
from sensor_msgs.msg import CameraInfo

from linknet_ros.view.rerun_node import RerunNode

INFO = CameraInfo(width=96, height=64, k=[80.0, 0, 48, 0, 80, 32, 0, 0, 1])
PATHS = {
    '/',
    '/world/camera',
    '/world/camera/image',
    '/world/camera/image/labels',
    '/confidence',
    '/world/ground/grid',
    '/world/ground/scan',
    '/world/ground/cloud',
    '/stages/infer',
}


@pytest.fixture
def open_rerun(open_robot, model):
    """`open_rerun(**parameters) -> robot, node`: a started robot, and the viewer's node."""

    def make(robot_parameters, **values):
        robot = open_robot(model=str(model.path), backend='onnxruntime', **robot_parameters)
        robot.start(INFO)
        overrides = [Parameter(name, value=value) for name, value in values.items()]
        return robot, robot.add(RerunNode(context=robot.context, parameter_overrides=overrides))

    return make


def test_everything_of_a_running_node(open_rerun, frames, tmp_path):
    path = tmp_path / 'live.rrd'
    ground = {'ground.height': 1.5, 'ground.pitch': 0.3}
    robot, node = open_rerun(ground, save=str(path))
    topics = [f'/linknet/{name}' for name in ('labels', 'confidence', 'drivable_grid')]
    robot.matched(*topics, robot.camera.topic_name, '/diagnostics')
    frame = frames(1)[0]

    def shown():
        robot.send(frame, robot.stamped())
        robot.info.publish(INFO)
        return node.shown >= {'labels', 'confidence', 'camera_info', 'drivable_grid', 'stages'}

    robot.until(shown, 'a whole scene')
    robot.executor.remove_node(node)
    node.close()
    assert node.failure is None
    assert content(path) >= PATHS


def test_what_cannot_be_shown_ends_it(open_rerun, tmp_path):
    robot, node = open_rerun({}, save=str(tmp_path / 'missing' / 'live.rrd'))
    robot.until(lambda: node.failure is not None, 'the failure')
    assert 'missing/live.rrd' in str(node.failure)
    np.testing.assert_equal(node.shown, set())
