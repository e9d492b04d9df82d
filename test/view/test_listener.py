"""What the view hears: a stand-in for the segmentation node and its camera, over real DDS."""

import time
from array import array

import cv2
import numpy as np
import pytest

pytest.importorskip('rclpy', reason='ROS 2 (ros-rclpy) not installed')

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from nav_msgs.msg import OccupancyGrid
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from linknet_ros.errors import FrameError
from linknet_ros.ros.compressed import bgr_to_jpeg
from linknet_ros.ros.images import array_to_image
from linknet_ros.view.board import Board
from linknet_ros.view.listener import View

GREEN = np.full((48, 64, 3), (0, 200, 0), np.uint8)


class Robot:
    """A view with its board, and publishers in the places of node and camera."""

    def __init__(self, context):
        self.executor = SingleThreadedExecutor(context=context)
        self.node = Node('linknet', context=context, namespace='/front')
        self.camera_node = Node('camera', context=context)
        self.viewer = Node('view', context=context, namespace='/front')
        self.node.declare_parameter('overlay_opacity', 0.5)
        self.node.declare_parameter('min_confidence', 0.0)
        self.node.declare_parameter('model', '')
        self.node.declare_parameter('precision', 'auto')
        self.node.declare_parameter('drivable_classes', ['road'])
        self.overlay = self.node.create_publisher(CompressedImage, '~/overlay/compressed', 1)
        self.grid = self.node.create_publisher(OccupancyGrid, '~/drivable_grid', 1)
        self.diagnostics = self.node.create_publisher(DiagnosticArray, '/diagnostics', 10)
        self.board = Board('/front/linknet')
        self.view = View(self.viewer, self.board, '')
        for node in (self.node, self.camera_node, self.viewer):
            self.executor.add_node(node)

    def listen(self, kind, topic):
        """What the node does when it becomes active."""
        return self.node.create_subscription(kind, topic, lambda _: None, qos_profile_sensor_data)

    def camera(self, kind, topic):
        return self.camera_node.create_publisher(kind, topic, 1)

    def until(self, ready, meanwhile=lambda: None):
        end = time.monotonic() + 30
        while not ready():
            assert time.monotonic() < end, self.board.facts
            meanwhile()
            self.executor.spin_once(timeout_sec=0.02)

    def spin(self, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.executor.spin_once(timeout_sec=0.02)

    def data(self, channel, publisher, message):
        """Bytes of a picture that a message makes."""
        self.until(lambda: self.board.picture(channel), lambda: publisher.publish(message))
        return self.board.picture(channel).data()

    def close(self):
        self.view.close()
        self.executor.shutdown()
        for node in (self.viewer, self.node, self.camera_node):
            node.destroy_node()


@pytest.fixture
def robot(context):
    made = Robot(context)
    yield made
    made.close()


def diagnostics(name, message, level=DiagnosticStatus.OK, **values):
    pairs = [KeyValue(key=k, value=v) for k, v in values.items()]
    status = DiagnosticStatus(name=name, message=message, level=level, values=pairs)
    return DiagnosticArray(status=[status])


def test_nothing_is_subscribed_to_while_nobody_looks(robot):
    camera = robot.camera(Image, '/image')
    robot.listen(Image, '/image')
    publishers = (robot.overlay, robot.grid, robot.diagnostics)

    def heard():
        return [p.get_subscription_count() for p in publishers]

    robot.spin(0.5)
    assert heard() == [0, 0, 0]
    assert camera.get_subscription_count() == 1
    for _ in range(2):
        robot.view.look(True)
        robot.until(lambda: heard() == [1, 1, 1] and camera.get_subscription_count() == 2)
        robot.view.look(False)
        robot.until(lambda: heard() == [0, 0, 0] and camera.get_subscription_count() == 1)
    # Nor are there looks at the graph, or questions about parameters.
    robot.spin(1.2)
    facts = robot.board.facts
    assert (facts.since, facts.present, facts.camera) == (None, None, '')
    assert facts.parameters == {}


def test_overlay_goes_through_as_it_came(robot):
    robot.view.look(True)
    message = bgr_to_jpeg(GREEN, 80, Header())
    assert robot.data('overlay', robot.overlay, message) == bytes(message.data)


def test_camera_is_found_and_followed(robot):
    """The node's own subscription says where the frames are, whatever was remapped."""
    first = robot.camera(Image, '/left/image_rect')
    subscription = robot.listen(Image, '/left/image_rect')
    robot.view.look(True)
    robot.until(lambda: robot.board.facts.senders == 1)
    assert robot.board.facts.camera == '/left/image_rect'
    picture = cv2.imdecode(
        np.frombuffer(robot.data('camera', first, array_to_image(GREEN, 'bgr8', Header())), 'u1'),
        cv2.IMREAD_COLOR,
    )
    np.testing.assert_allclose(picture, GREEN, atol=6)
    # Configured again, with another topic and transport.
    robot.node.destroy_subscription(subscription)
    robot.until(lambda: robot.board.facts.camera == '')
    second = robot.camera(CompressedImage, '/right/compressed')
    robot.listen(CompressedImage, '/right/compressed')
    robot.until(lambda: robot.board.facts.camera == '/right/compressed')
    robot.until(lambda: first.get_subscription_count() == 0)
    before = robot.board.picture('camera')
    message = bgr_to_jpeg(GREEN[..., ::-1], 90, Header())
    robot.until(
        lambda: robot.board.picture('camera') is not before, lambda: second.publish(message)
    )
    assert robot.board.picture('camera').caption == '/right/compressed'


def test_damaged_frame_is_a_fault_of_its_picture_only(robot):
    camera = robot.camera(Image, '/image')
    robot.listen(Image, '/image')
    robot.view.look(True)
    broken = array_to_image(GREEN, 'bgr8', Header())
    broken.encoding = 'nonsense'
    with pytest.raises(FrameError, match='nonsense'):
        robot.data('camera', camera, broken)


def grid(cells, width, height):
    message = OccupancyGrid(data=array('b', cells))
    message.info.width, message.info.height, message.info.resolution = width, height, 0.5
    return message


def test_grid(robot):
    robot.view.look(True)
    data = robot.data('grid', robot.grid, grid([0, 100, -1, 0, 0, 0], 3, 2))
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    height, width = picture.shape[:2]
    assert picture[height // 2, width * 3 // 4].tolist() == [40, 40, 200]
    assert robot.board.picture('grid').caption == '1.5 m (ahead is up) by 1 m, cells of 0.5 m'


def test_grid_whose_size_is_a_lie(robot):
    robot.view.look(True)
    with pytest.raises(FrameError, match='6 cells, not 4000x2'):
        robot.data('grid', robot.grid, grid([0] * 6, 4000, 2))


def test_diagnostics_of_this_node(robot):
    robot.view.look(True)
    others = diagnostics('linknet: segmentation', 'of another camera', state='active')
    mine = diagnostics(
        'front/linknet: segmentation', '3 x bad frame', DiagnosticStatus.WARN, state='active'
    )

    def publish():
        robot.diagnostics.publish(mine)
        robot.diagnostics.publish(others)

    robot.until(lambda: robot.board.facts.report, publish)
    robot.spin(0.2)
    report = robot.board.facts.report
    assert (report.fault, report.message) == (True, '3 x bad frame')
    assert report.values == {'state': 'active'}
    assert abs(time.monotonic() - report.time) < 10


def test_parameters_whoever_changes_them(robot):
    robot.view.look(True)
    robot.until(lambda: robot.board.facts.parameters.get('overlay_opacity') == 0.5)
    robot.until(lambda: len(robot.board.facts.legend) == 11)
    robot.node.set_parameters([Parameter('overlay_opacity', value=0.75)])
    robot.until(lambda: robot.board.facts.parameters.get('overlay_opacity') == 0.75)
    answer = robot.view.set_parameter('min_confidence', 0.5)
    robot.until(answer.done)
    assert answer.result() == ''
    assert robot.node.get_parameter('min_confidence').value == 0.5
    robot.until(lambda: robot.board.facts.parameters.get('min_confidence') == 0.5)


def test_nobody_who_does_not_look_sets_anything(robot):
    answer = robot.view.set_parameter('min_confidence', 0.5)
    robot.until(answer.done)
    assert answer.result() == 'nobody looks'
    assert robot.node.get_parameter('min_confidence').value == 0.0


def test_presence(robot):
    robot.view.look(True)
    robot.until(lambda: robot.board.facts.present)
    robot.executor.remove_node(robot.node)
    robot.node.destroy_node()
    robot.until(lambda: robot.board.facts.present is False)
    answer = robot.view.set_parameter('min_confidence', 0.5)
    robot.until(answer.done)
    assert answer.result() == '/front/linknet is not there'


def test_old_pictures_are_not_there_for_who_looks_again(robot):
    robot.view.look(True)
    robot.data('overlay', robot.overlay, bgr_to_jpeg(GREEN, 80, Header()))
    robot.view.look(False)
    robot.until(lambda: robot.board.facts.since is None)
    robot.view.look(True)
    robot.until(lambda: robot.board.facts.since is not None)
    assert robot.board.picture('overlay') is None


def test_close_listens_no_more(robot):
    robot.view.look(True)
    robot.until(lambda: robot.overlay.get_subscription_count() == 1)
    robot.view.close()
    robot.until(lambda: robot.overlay.get_subscription_count() == 0)
    # The server is stopped after it.
    robot.view.look(False)
    robot.view.look(True)
    robot.spin(0.2)
    assert robot.overlay.get_subscription_count() == 0
