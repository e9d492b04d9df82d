"""The scene check in the node: a camera that sees nothing frees no ground, and it is said why."""

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='needs ROS 2 (pip install .[ros])')
pytest.importorskip('onnxruntime', reason='ONNX Runtime (extra "cpu") not installed')

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from nav_msgs.msg import OccupancyGrid
from rig import plane
from sensor_msgs.msg import CameraInfo

from linknet_ros.inference.frame_sequence import FROZEN, RECOVERY
from linknet_ros.inference.scene_model import MEASURES, SceneModel

BLACK = MEASURES['black'].fault
INFO = CameraInfo(width=96, height=64, k=[80.0, 0, 48, 0, 80, 32, 0, 0, 1])
#: To the tiny model road is what is blue, and it is no surer than it is bright.
ROAD = np.zeros((64, 96, 3), np.uint8)
ROAD[..., 0] = 200
DARK = ROAD // 40


@pytest.fixture
def picky(open_robot, channel_proto, with_metadata, write_model):
    """A robot whose model file takes no black frames."""
    proto = with_metadata(channel_proto, scene_check=SceneModel({'black': 0.5}).text())

    def make(**parameters):
        path = str(write_model(proto))
        ground = {'ground.height': 1.5, 'ground.pitch': 0.3}
        robot = open_robot(model=path, backend='onnxruntime', **ground, **parameters).start(INFO)
        robot.subscribe('labels', 'drivable', 'confidence')
        robot.subscribe('drivable_grid', kind=OccupancyGrid)
        robot.subscribe('/diagnostics', kind=DiagnosticArray)
        return robot

    return make


def show(robot, frame):
    """Send a frame of now; its labels, drivable area, confidence, and cells of the grid."""
    topics = ('labels', 'drivable', 'confidence', 'drivable_grid')
    before = len(robot.received['labels'])
    robot.send(frame, robot.stamped())
    robot.until(lambda: all(len(robot.received[t]) > before for t in topics), 'the outputs')
    labels, drivable, confidence, grid = (robot.received[topic][-1] for topic in topics)
    return plane(labels), plane(drivable), plane(confidence), np.array(grid.data)


def status_of(robot):
    """Level, message and values of diagnostics that are published from now on."""
    [status] = robot.new_diagnostics()
    return status.level, status.message, {v.key: v.value for v in status.values}


def test_a_black_frame_frees_nothing(picky):
    robot = picky()
    labels, drivable, _, cells = show(robot, ROAD)
    assert (labels == 0).all()
    assert (drivable == 255).all()
    assert (cells == 0).any()
    robot.received['/diagnostics'].clear()
    labels, drivable, confidence, cells = show(robot, DARK)
    assert (labels == 255).all()
    assert not drivable.any()
    assert not confidence.any()
    assert (cells == -1).all()

    def warned():
        # Of the first after the frame; there may be one from while it was on its way.
        said = [message.status[0] for message in robot.received['/diagnostics']]
        return [status for status in said if f'scene: {BLACK}' in status.message]

    robot.until(warned, 'the warning')
    [status] = warned()
    assert status.level == DiagnosticStatus.WARN
    for number in range(RECOVERY):
        frame = ROAD.copy()
        frame[number] = 100
        labels, *_, cells = show(robot, frame)
        assert (labels == 255).all() == (cells == -1).all() == (number < RECOVERY - 1)
    _, _, values = status_of(robot)
    assert (values['scene'], values['scene, frames with faults']) == ('good', str(RECOVERY))


def test_modes_can_be_changed_while_it_runs(picky):
    robot = picky(scene_check='warn')
    labels, *_, cells = show(robot, DARK)
    assert (labels == 0).all()
    assert (cells == 0).any()
    assert status_of(robot)[2]['scene'] == BLACK
    robot.set(scene_check='off')
    assert (show(robot, DARK)[0] == 0).all()
    assert status_of(robot)[2]['scene'] == 'not checked'
    robot.set(scene_check='unlabel')
    assert (show(robot, DARK)[0] == 255).all()


def test_a_frozen_camera(picky):
    robot = picky(frozen_frames=2)
    seen = [(show(robot, ROAD)[0] == 255).all() for _ in range(4)]
    assert seen == [False, False, True, True]
    assert status_of(robot)[2]['scene'] == FROZEN
