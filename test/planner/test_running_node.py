"""What a running node says of its camera and mount."""

from concurrent.futures import ThreadPoolExecutor

import pytest

pytest.importorskip('rclpy', reason='needs ROS 2 (pip install .[ros])')
pytest.importorskip('onnxruntime', reason='ONNX Runtime (extra "cpu") not installed')

from rig import OK
from sensor_msgs.msg import CameraInfo

from linknet_ros.errors import CalibrationError, LinknetError
from linknet_ros.planner.running_node import ask

INFO = CameraInfo(width=480, height=360, k=[456.0, 0.0, 239.5, 0.0, 456.0, 179.5, 0.0, 0.0, 1.0])


def answer(robot, name='/linknet', timeout=300.0):
    """What `ask` returns while the robot's nodes spin and its camera publishes."""
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(ask, name, timeout)

        def done():
            robot.info.publish(INFO)
            return future.done()

        robot.until(done, 'the answer')
        return future.result()


def test_parameters_and_camera_info_of_the_node(open_told_robot):
    values = {'ground.height': 1.5, 'ground.pitch': 0.055, 'ground.base_frame': 'base'}
    robot = open_told_robot((480, 360), INFO, **values, **{'ground.latched': True})
    placed = answer(robot)
    assert (placed.node, placed.settings.base_frame, placed.settings.latched) == (
        '/linknet',
        'base',
        True,
    )
    assert placed.camera.fx == 456.0
    assert placed.blind.ahead == pytest.approx(3.26, abs=0.01)
    robot.set(ground__height=0.0)
    with pytest.raises(CalibrationError, match='place is not known; set ground'):
        answer(robot)


def test_one_of_several_cameras(open_robot, model):
    values = {'ground.height': 1.5, 'ground.pitch': 0.1, 'front.ground.pitch': 0.055}
    values |= {'cameras': ['rear', 'front'], 'front.camera_info_topic': 'camera_info'}
    robot = open_robot(model=str(model.path), backend='onnxruntime', **values)
    assert robot.node.trigger_configure() == robot.node.trigger_activate() == OK
    robot.info = robot.publisher(CameraInfo, 'camera_info')
    placed = answer(robot, '/linknet/front')
    assert (placed.node, placed.settings.height) == ('/linknet/front', 1.5)
    assert placed.blind.ahead == pytest.approx(3.26, abs=0.01)
    with pytest.raises(LinknetError, match="/linknet has no camera 'left'; see"):
        answer(robot, '/linknet/left')
    with pytest.raises(LinknetError, match='/linknet has several cameras; name one: --node /lin'):
        answer(robot, '/linknet')


def test_node_that_is_not_running(open_told_robot):
    robot = open_told_robot((480, 360), INFO)
    with pytest.raises(LinknetError, match='/front/linknet is not running; start it, or name it'):
        answer(robot, '/front/linknet', timeout=1.0)
