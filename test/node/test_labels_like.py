"""Labels of another size than the frame's: label_width, label_height and labels_like."""

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='ROS 2 (ros-rclpy) not installed')
pytest.importorskip('onnxruntime', reason='ONNX Runtime (extra "cpu") not installed')

from rclpy.parameter import Parameter
from rig import latched, plane, random_labels
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2

SIZE = (96, 64)
INFO = CameraInfo(
    width=96,
    height=64,
    k=[80.0, 0, 47.5, 0, 80, 31.5, 0, 0, 1],
    p=[80.0, 0, 47.5, 0, 0, 80, 31.5, 0, 0, 0, 1, 0],
)
SIZED = ('labels', 'confidence', 'drivable', 'masks/car', 'color')


@pytest.fixture
def robot(open_told_robot):
    def make(**parameters):
        robot = open_told_robot(SIZE, INFO, mask_classes=['car'], **parameters)
        robot.subscribe(*SIZED, 'overlay')
        robot.subscribe('camera_info', kind=CameraInfo)
        return robot

    return make


def shown(robot, labels):
    """Sizes by topic of what a frame brings, and the messages."""
    for messages in robot.received.values():
        messages.clear()
    robot.show(labels)
    robot.until(lambda: robot.received['overlay'])
    robot.spin(0.1)
    newest = {name: messages[-1] for name, messages in robot.received.items() if messages}
    return {name: (m.width, m.height) for name, m in newest.items()}, newest


def expected(size):
    return {**dict.fromkeys((*SIZED, 'camera_info'), size), 'overlay': SIZE}


def test_size_is_live_and_camera_info_follows(robot):
    robot, labels = robot(), random_labels()
    assert shown(robot, labels)[0] == expected(SIZE)
    robot.set(label_width=48, label_height=16)
    sizes, newest = shown(robot, labels)
    assert sizes == expected((48, 16))
    # The middle of a new pixel is the corner of two by four: the nearest is right and below.
    np.testing.assert_array_equal(plane(newest['labels']), labels[2::4, 1::2])
    # The middle of the image stays its middle.
    info = newest['camera_info']
    assert info.k.tolist() == [40, 0, 23.5, 0, 20, 7.5, 0, 0, 1]
    assert info.p.tolist() == [40, 0, 23.5, 0, 0, 20, 7.5, 0, 0, 0, 1, 0]
    assert info.header == newest['labels'].header
    # One side alone keeps the shape.
    robot.set(label_width=0, label_height=32)
    assert shown(robot, labels)[0] == expected((48, 32))
    robot.set(label_height=0)
    assert shown(robot, labels)[0] == expected(SIZE)


@pytest.mark.parametrize(
    ('message', 'size'),
    [
        (Image(width=48, height=32), (48, 32)),
        (PointCloud2(width=24, height=16), (24, 16)),
        (CameraInfo(width=192, height=128, binning_x=2, binning_y=2), (96, 64)),
    ],
)
def test_like_a_topic(robot, message, size):
    robot = robot(labels_like='/depth')
    labels = random_labels()
    # Nothing of a size that nobody asked for; the overlay is for people.
    assert set(shown(robot, labels)[0]) == {'overlay'}
    assert robot.node.cameras.all[0].topics.problems() == ['labels_like /depth: no publisher']
    # One that was sent once comes too.
    robot.publisher(type(message), '/depth', latched(1)).publish(message)
    robot.until(lambda: not robot.node.cameras.all[0].topics.problems(), 'the size')
    sizes, newest = shown(robot, labels)
    assert sizes == expected(size)
    assert not robot.subscriptions('/depth')
    step = SIZE[0] // size[0]
    np.testing.assert_array_equal(
        plane(newest['labels']), labels[step // 2 :: step, step // 2 :: step]
    )
    robot.set(labels_like='')
    assert shown(robot, labels)[0] == expected(SIZE)


def test_a_later_size_counts(robot):
    robot = robot(labels_like='/depth')
    depth = robot.publisher(Image, '/depth')

    def sends(size):
        def send():
            depth.publish(Image(width=size[0], height=size[1]))

        robot.until(
            lambda: robot.node.cameras.all[0].topics._like.size('/depth') == size,
            str(size),
            meanwhile=send,
        )

    sends((48, 32))
    sends((24, 16))
    assert shown(robot, random_labels())[0] == expected((24, 16))


@pytest.mark.parametrize(
    ('kind', 'message', 'problem'),
    [
        (PointCloud2, PointCloud2(width=100, height=1), 'the cloud is not organised'),
        (CompressedImage, CompressedImage(), 'CompressedImage, not Image, CameraInfo or'),
    ],
)
def test_what_has_no_size(robot, kind, message, problem):
    robot = robot(labels_like='/depth')
    robot.publisher(kind, '/depth', latched(1)).publish(message)
    robot.until(
        lambda: any(problem in line for line in robot.node.cameras.all[0].topics.problems()),
        problem,
    )
    assert set(shown(robot, random_labels())[0]) == {'overlay'}


def test_impossible_name(robot):
    robot = robot()
    for name, value in (('labels_like', 'no topic'), ('label_width', -1)):
        [result] = robot.node.set_parameters([Parameter(name, value=value)])
        assert not result.successful
        assert name in result.reason
    assert shown(robot, random_labels())[0] == expected(SIZE)
