"""The view's ROS side over real DDS, with stand-ins for the segmentation node and its camera."""

import time
from array import array

import cv2
import numpy as np
import pytest

pytest.importorskip('rclpy', reason='needs ROS 2 (pip install .[ros])')

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from nav_msgs.msg import OccupancyGrid
from rclpy.parameter import Parameter
from rclpy.qos import qos_profile_sensor_data
from rig import Rig
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from linknet_ros.errors import FrameError
from linknet_ros.ros.images import array_to_image, bgr_to_jpeg
from linknet_ros.view import listener as view_listener
from linknet_ros.view.board import Board
from linknet_ros.view.listener import NodeListener

GREEN = np.full((48, 64, 3), (0, 200, 0), np.uint8)
PARAMETERS = {
    'overlay_opacity': 0.5,
    'min_confidence': 0.0,
    'model': '',
    'precision': 'auto',
    'drivable_classes': [''],
}


class Robot(Rig):
    """A listener with its board, and publishers in the places of node and camera."""

    def __init__(self, context):
        super().__init__(context, 'camera')
        self.node = self.new_node('linknet', '/front')
        self.viewer = self.new_node('view', '/front')
        for name, value in PARAMETERS.items():
            self.node.declare_parameter(name, value)
        self.overlay = self.node.create_publisher(CompressedImage, '~/overlay/compressed', 1)
        self.grid = self.node.create_publisher(OccupancyGrid, '~/drivable_grid', 1)
        self.diagnostics = self.node.create_publisher(DiagnosticArray, '/diagnostics', 10)
        self.listener = None
        self.open()

    def open(self, model=''):
        """Start the listener, with a copy of the model file or without."""
        if self.listener is not None:
            self.listener.close()
        self.board = Board('/front/linknet')
        self.listener = NodeListener(self.viewer, self.board, model)

    def subscribe(self, kind, topic):
        """Subscribe to the camera, as the segmentation node does once it is active."""
        return self.node.create_subscription(kind, topic, lambda _: None, qos_profile_sensor_data)

    def camera(self, kind, topic):
        return self.publisher(kind, topic, 1)

    def set(self, **values):
        self.node.set_parameters([Parameter(name, value=v) for name, v in values.items()])

    def last_words(self):
        return str(self.board.facts)

    def picture(self, channel, publisher, message):
        """Publish a message until its picture is on the board; returns the encoded bytes."""
        self.until(
            lambda: self.board.picture(channel), meanwhile=lambda: publisher.publish(message)
        )
        return self.board.picture(channel).data()

    def close(self):
        self.listener.close()
        super().close()


@pytest.fixture
def robot(context):
    made = Robot(context)
    yield made
    made.close()


def decoded(data):
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)


def test_subscribes_only_while_watched(robot):
    camera = robot.camera(Image, '/image')
    robot.subscribe(Image, '/image')
    publishers = (robot.overlay, robot.grid, robot.diagnostics, camera)

    def subscribers():
        return [publisher.get_subscription_count() for publisher in publishers]

    robot.spin(0.5)
    assert subscribers() == [0, 0, 0, 1]
    for _ in range(2):
        robot.listener.set_watched(True)
        robot.until(lambda: subscribers() == [1, 1, 1, 2])
        message = bgr_to_jpeg(GREEN, 80, Header())
        # As it was published.
        assert robot.picture('overlay', robot.overlay, message) == bytes(message.data)
        robot.listener.set_watched(False)
        robot.until(lambda: subscribers() == [0, 0, 0, 1])
        # Nobody who opens the page again sees an old picture as new.
        assert robot.board.picture('overlay') is None
        assert robot.board.times() == {}
    # It neither polls the graph nor requests parameters.
    robot.spin(1.2)
    facts = robot.board.facts
    assert (facts.watched_since, facts.present, facts.camera) == (None, None, '')
    assert facts.parameters == {}
    robot.listener.set_watched(True)
    robot.until(lambda: subscribers() == [1, 1, 1, 2])
    robot.listener.close()
    robot.until(lambda: subscribers() == [0, 0, 0, 1])
    # The server is stopped later.
    robot.listener.set_watched(False)
    robot.listener.set_watched(True)
    robot.spin(0.2)
    assert subscribers() == [0, 0, 0, 1]


def test_follows_the_camera_of_the_node(robot):
    """The node's own subscription says where the frames are, whatever was remapped."""
    first = robot.camera(Image, '/left/image_rect')
    subscription = robot.subscribe(Image, '/left/image_rect')
    robot.listener.set_watched(True)
    robot.until(lambda: robot.board.facts.publishers == 1)
    assert robot.board.facts.camera == '/left/image_rect'
    data = robot.picture('camera', first, array_to_image(GREEN, 'bgr8', Header()))
    np.testing.assert_allclose(decoded(data), GREEN, atol=6)
    # Configured again, with another topic and transport.
    robot.node.destroy_subscription(subscription)
    robot.until(lambda: robot.board.facts.camera == '')
    second = robot.camera(CompressedImage, '/right/compressed')
    robot.subscribe(CompressedImage, '/right/compressed')
    robot.until(lambda: robot.board.facts.camera == '/right/compressed')
    robot.until(lambda: first.get_subscription_count() == 0)
    before = robot.board.picture('camera')
    message = bgr_to_jpeg(GREEN[..., ::-1], 90, Header())
    robot.until(
        lambda: robot.board.picture('camera') is not before,
        meanwhile=lambda: second.publish(message),
    )
    assert robot.board.picture('camera').caption == '/right/compressed'


def test_damaged_frame_is_an_error_of_its_picture_only(robot):
    camera = robot.camera(Image, '/image')
    robot.subscribe(Image, '/image')
    robot.listener.set_watched(True)
    broken = array_to_image(GREEN, 'bgr8', Header())
    broken.encoding = 'nonsense'
    with pytest.raises(FrameError, match='nonsense'):
        robot.picture('camera', camera, broken)


@pytest.mark.parametrize(('width', 'height'), [(3, 2), (4000, 2)])
def test_grid(robot, width, height):
    message = OccupancyGrid(data=array('b', [0, 100, -1, 0, 0, 0]))
    message.info.width, message.info.height, message.info.resolution = width, height, 0.5
    robot.listener.set_watched(True)
    if width > 3:
        with pytest.raises(FrameError, match='6 cells, not 4000x2'):
            robot.picture('grid', robot.grid, message)
        return
    picture = decoded(robot.picture('grid', robot.grid, message))
    rows, columns = picture.shape[:2]
    assert picture[rows // 2, columns * 3 // 4].tolist() == [40, 40, 200]
    assert robot.board.picture('grid').caption == '1.5 m (ahead is up) by 1 m, cells of 0.5 m'


def test_diagnostics_of_this_node_only(robot):
    robot.listener.set_watched(True)

    def publish():
        for name, text in (('front/linknet', '3 x bad frame'), ('linknet', 'another camera')):
            status = DiagnosticStatus(
                name=f'{name}: segmentation',
                message=text,
                level=DiagnosticStatus.WARN,
                values=[KeyValue(key='state', value='active')],
            )
            robot.diagnostics.publish(DiagnosticArray(status=[status]))

    robot.until(lambda: robot.board.facts.diagnostics, meanwhile=publish)
    robot.spin(0.2)
    newest = robot.board.facts.diagnostics
    assert (newest.fault, newest.message) == (True, '3 x bad frame')
    assert newest.values == {'state': 'active'}
    assert abs(time.monotonic() - newest.time) < 10


def test_parameters_are_shown_and_set(robot):
    answer = robot.listener.set_parameter('min_confidence', 0.5)
    robot.until(answer.done)
    assert answer.result() == 'no page is visible'
    assert robot.node.get_parameter('min_confidence').value == 0.0
    robot.listener.set_watched(True)
    robot.until(lambda: robot.board.facts.parameters.get('overlay_opacity') == 0.5)
    # Set by somebody else.
    robot.set(overlay_opacity=0.75)
    robot.until(lambda: robot.board.facts.parameters.get('overlay_opacity') == 0.75)
    answer = robot.listener.set_parameter('min_confidence', 0.5)
    robot.until(answer.done)
    assert answer.result() == ''
    assert robot.node.get_parameter('min_confidence').value == 0.5
    robot.until(lambda: robot.board.facts.parameters.get('min_confidence') == 0.5)


def test_node_that_disappears(robot):
    robot.listener.set_watched(True)
    robot.until(lambda: robot.board.facts.present)
    robot.executor.remove_node(robot.node)
    robot.node.destroy_node()
    robot.until(lambda: robot.board.facts.present is False)
    answer = robot.listener.set_parameter('min_confidence', 0.5)
    robot.until(answer.done)
    assert answer.result() == '/front/linknet is not running'


def legend(robot):
    return {entry.name: entry.drivable for entry in robot.board.facts.legend}


def test_legend_of_the_model_that_ships(robot):
    robot.listener.set_watched(True)
    robot.until(lambda: legend(robot))
    assert len(legend(robot)) == 11
    assert [name for name, drivable in legend(robot).items() if drivable] == ['road']
    # The board is cleared, and filled again.
    robot.listener.set_watched(False)
    robot.until(lambda: not legend(robot))
    robot.listener.set_watched(True)
    robot.until(lambda: legend(robot))


def test_legend_of_the_nodes_model(robot, model_path):
    robot.set(model=str(model_path))
    robot.listener.set_watched(True)
    robot.until(lambda: legend(robot) == {'road': True, 'car': False, 'sky': False})
    assert robot.board.facts.legend[0].color == (128, 64, 128)
    robot.set(drivable_classes=['car', 'sky'])
    robot.until(lambda: legend(robot) == {'road': False, 'car': True, 'sky': True})


def test_legend_of_a_file_on_another_machine(robot, model_path):
    robot.set(model='/on/the/robot.onnx')
    robot.listener.set_watched(True)
    robot.until(lambda: robot.board.facts.legend_problem)
    assert robot.board.facts.legend_problem.startswith("no model file '/on/the/robot.onnx'")
    assert 'parameter model of the view' in robot.board.facts.legend_problem
    # With a copy of it.
    robot.open(str(model_path))
    robot.listener.set_watched(True)
    robot.until(lambda: legend(robot))
    assert robot.board.facts.legend_problem == ''


def test_bug_in_reading_the_legend_is_shown(robot, monkeypatch):
    def fail(path):
        raise ZeroDivisionError('a bug')

    monkeypatch.setattr(view_listener, 'load_model', fail)
    robot.listener.set_watched(True)
    robot.until(lambda: robot.board.facts.legend_problem == 'ZeroDivisionError: a bug')
