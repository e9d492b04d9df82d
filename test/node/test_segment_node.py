"""The node over real DDS: what it publishes is what Segmenter computes, and every frame counts."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import cv2
import numpy as np
import pytest
from checkout import FAKES

pytest.importorskip('rclpy', reason='needs ROS 2 (pip install .[ros])')

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.srv import ChangeState
from rclpy.duration import Duration
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.time import Time
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

from linknet_ros.inference.model_file import load_model
from linknet_ros.inference.segmenter import Segmenter
from linknet_ros.node import pipeline as ros_pipeline
from linknet_ros.node.segment_node import SegmentNode
from linknet_ros.node.statistics import Drop
from linknet_ros.products.masks import class_mask, mask_table
from linknet_ros.ros.images import array_to_image
from linknet_ros.simulation.street import StreetDrive
from linknet_ros.system.package_files import SHIPPED_MODEL, package_file, shipped_model

RELIABLE = QoSProfile(depth=20, reliability=ReliabilityPolicy.RELIABLE)
OK = TransitionCallbackReturn.SUCCESS


class Robot:
    """A SegmentNode, and a second node that is camera and planner; one executor spins both."""

    def __init__(self, context, cli_args=(), **parameters):
        overrides = [Parameter(name, value=value) for name, value in parameters.items()]
        self.node = SegmentNode(context=context, cli_args=cli_args, parameter_overrides=overrides)
        self.peer = rclpy.create_node('peer', context=context)
        self.received = {}
        if parameters.get('image_transport') == 'compressed':
            topic = '/front/image_raw/compressed'
            self.camera = self.peer.create_publisher(CompressedImage, topic, RELIABLE)
        else:
            self.camera = self.peer.create_publisher(Image, 'image', RELIABLE)
        self.info = self.peer.create_publisher(CameraInfo, 'camera_info', RELIABLE)
        self.executor = SingleThreadedExecutor(context=context)
        self.executor.add_node(self.node)
        self.executor.add_node(self.peer)

    def start(self):
        assert self.node.trigger_configure() == OK
        assert self.node.trigger_activate() == OK
        self.until(lambda: self.camera.get_subscription_count() == 1)

    def subscribe(self, *topics, kind=Image):
        for topic in topics:
            messages = self.received[topic] = []
            self.peer.create_subscription(kind, f'linknet/{topic}', messages.append, RELIABLE)
            publisher = f'/linknet/{topic}'
            self.until(lambda t=publisher: self.node.count_subscribers(t) == 1)
        if kind is not CameraInfo:
            # What counts is that the publishers know.
            self.until(self.node._topics.has_subscribers)

    def until(self, condition, seconds=30):
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, 'nothing came of it in time'
            self.executor.spin_once(timeout_sec=0.02)

    def settle(self, frames):
        """Wait until a number of frames has come and gone."""

        def done():
            now = self.node.statistics.snapshot()
            return now.received == frames == now.published + sum(now.dropped.values())

        self.until(done)
        return self.node.statistics.snapshot()

    def close(self):
        self.executor.shutdown()
        self.node.destroy_node()
        self.peer.destroy_node()


@pytest.fixture
def robot(context, model):
    """Started, with the tiny model of three classes whose label is the largest channel."""
    robot = Robot(context, model=str(model.path), backend='onnxruntime')
    robot.start()
    yield robot
    robot.close()


def header(number):
    stamp = {'sec': 100 + number, 'nanosec': 7 * number}
    message = Header(frame_id='camera_optical_frame')
    message.stamp.sec, message.stamp.nanosec = stamp['sec'], stamp['nanosec']
    return message


def random_frame(width, height, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def plane(message):
    assert message.encoding == 'mono8'
    assert message.step == message.width
    assert len(message.data) == message.width * message.height
    return np.frombuffer(message.data, np.uint8).reshape(message.height, message.width)


def test_int8_without_a_model_takes_the_int8_file(context):
    robot = Robot(context, backend='openvino', precision='int8')
    robot.start()
    try:
        segmenter = robot.node._segmenter
        assert segmenter.model.path == package_file(shipped_model('int8'))
        assert segmenter.model.precision == 'int8'
    finally:
        robot.close()


@pytest.mark.skipif(not package_file(SHIPPED_MODEL).is_file(), reason='no shipped model yet')
def test_labels_of_the_shipped_model_are_the_segmenters(context):
    robot = Robot(context, backend='openvino', precision='fp32')
    robot.start()
    robot.subscribe('labels', 'confidence', 'drivable')
    model = load_model(package_file(SHIPPED_MODEL))
    segmenter = Segmenter(model, backend='openvino', precision='fp32')
    drivable = mask_table(model.classes.ids(model.classes.drivable_names))
    try:
        for number, (width, height) in enumerate([(480, 360), (640, 360), (97, 51)]):
            frame = StreetDrive(3, width, height).frame(2.0).bgr
            robot.camera.publish(array_to_image(frame, 'bgr8', header(number)))
            robot.until(lambda n=number: all(len(m) > n for m in robot.received.values()))
            expected = segmenter.segment(frame)
            last = {topic: messages[-1] for topic, messages in robot.received.items()}
            assert all(message.header == header(number) for message in last.values())
            np.testing.assert_array_equal(plane(last['labels']), expected.labels)
            np.testing.assert_array_equal(plane(last['confidence']), expected.confidence)
            mask = class_mask(expected.labels, drivable)
            np.testing.assert_array_equal(plane(last['drivable']), mask)
    finally:
        segmenter.close()
        robot.close()


@pytest.mark.parametrize('size', [(640, 360), (480, 360), (1280, 720), (1920, 1080), (97, 51)])
def test_every_size_comes_back_at_its_own(robot, model, size):
    robot.subscribe('labels')
    frame = random_frame(*size)
    robot.camera.publish(array_to_image(frame, 'bgr8', header(1)))
    robot.until(lambda: robot.received['labels'])
    segmenter = Segmenter(model, backend='onnxruntime')
    message = robot.received['labels'][0]
    np.testing.assert_array_equal(plane(message), segmenter.segment(frame).labels)
    assert message.header == header(1)


def test_row_padding_and_other_encodings_give_the_same_labels(robot, model):
    robot.subscribe('labels')
    frame = random_frame(96, 64)
    rgb = np.zeros((64, 96 * 3 + 32), np.uint8)
    rgb[:, : 96 * 3] = frame[..., ::-1].reshape(64, -1)
    message = Image(header=header(1), height=64, width=96, encoding='rgb8', step=96 * 3 + 32)
    message.data.frombytes(rgb.tobytes())
    robot.camera.publish(message)
    robot.until(lambda: robot.received['labels'])
    expected = Segmenter(model, backend='onnxruntime').segment(frame).labels
    np.testing.assert_array_equal(plane(robot.received['labels'][0]), expected)


@pytest.fixture(params=['image:=/front/image_raw', 'image:=/front/image_raw/compressed'])
def compressed_robot(context, model, request):
    """As robot, with a compressed camera in another namespace."""
    robot = Robot(
        context,
        cli_args=['--ros-args', '-r', request.param],
        model=str(model.path),
        backend='onnxruntime',
        image_transport='compressed',
    )
    robot.start()
    yield robot
    robot.close()


def compressed(number, suffix, image):
    data = cv2.imencode(suffix, image)[1].tobytes()
    kind = {'.jpg': 'jpeg', '.png': 'png'}[suffix]
    form = f'bgr8; {kind} compressed bgr8'
    return CompressedImage(header=header(number), format=form, data=data)


def test_compressed_camera_gives_the_labels_of_the_decoded_frame(compressed_robot, model):
    robot = compressed_robot
    robot.subscribe('labels')
    robot.subscribe('labels/compressed', kind=CompressedImage)
    segmenter = Segmenter(model, backend='onnxruntime')
    frame = StreetDrive(3, 160, 120).frame(2.0).bgr
    for number, suffix in enumerate(('.jpg', '.png')):
        message = compressed(number, suffix, frame)
        robot.camera.publish(message)
        robot.until(lambda n=number: all(len(m) > n for m in robot.received.values()))
        decoded = cv2.imdecode(np.frombuffer(message.data, np.uint8), cv2.IMREAD_COLOR)
        expected = segmenter.segment(decoded).labels
        assert len(np.unique(expected)) == 3
        labels, png = (robot.received[t][-1] for t in ('labels', 'labels/compressed'))
        np.testing.assert_array_equal(plane(labels), expected)
        ids = cv2.imdecode(np.frombuffer(png.data, np.uint8), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(ids, expected)
        assert labels.header == png.header == header(number)


def test_broken_jpegs_are_counted_and_the_next_one_is_published(compressed_robot):
    robot = compressed_robot
    robot.subscribe('labels/compressed', kind=CompressedImage)
    whole = compressed(9, '.jpg', random_frame(96, 64))
    broken = [compressed(number, '.jpg', random_frame(96, 64)) for number in range(3)]
    broken[0].data = whole.data[: len(whole.data) // 2]
    broken[1].data = whole.data[: len(whole.data) // 2] + whole.data[-2:]
    broken[2].data = whole.data[:0]
    for number, message in enumerate(broken):
        robot.camera.publish(message)
        robot.settle(number + 1)
    robot.camera.publish(whole)
    counts = robot.settle(4)
    assert counts.dropped == {Drop.BAD_FRAME: 3}
    robot.until(lambda: robot.received['labels/compressed'])
    assert [m.header for m in robot.received['labels/compressed']] == [header(9)]


def test_compressed_frames_are_decoded_off_the_executor_and_only_if_wanted(
    compressed_robot, monkeypatch
):
    robot, threads = compressed_robot, []
    imdecode = cv2.imdecode

    def spy(*arguments):
        threads.append(threading.current_thread().name)
        return imdecode(*arguments)

    monkeypatch.setattr(cv2, 'imdecode', spy)
    robot.camera.publish(compressed(1, '.png', random_frame(96, 64)))
    assert robot.settle(1).dropped == {Drop.NO_SUBSCRIBER: 1}
    assert threads == []
    robot.subscribe('overlay/compressed', kind=CompressedImage)
    robot.camera.publish(compressed(2, '.png', random_frame(96, 64)))
    robot.settle(2)
    assert threads == ['fit']


def test_nobody_subscribed_means_nothing_is_computed(robot, monkeypatch):
    monkeypatch.setattr(robot.node._segmenter, 'infer', lambda *_: pytest.fail('computed'))
    for number in range(3):
        robot.camera.publish(array_to_image(random_frame(96, 64), 'bgr8', header(number)))
        robot.until(lambda n=number: robot.node.statistics.snapshot().received > n)
    assert robot.settle(3).dropped == {Drop.NO_SUBSCRIBER: 3}


@contextmanager
def slow_network(robot, monkeypatch):
    """Hold the network with the first frame until the block ends; gives an event for `has it`."""
    infer = robot.node._segmenter.infer
    has_it, go_on = threading.Event(), threading.Event()

    def slow(fitted):
        has_it.set()
        assert go_on.wait(30)
        return infer(fitted)

    monkeypatch.setattr(robot.node._segmenter, 'infer', slow)
    yield has_it
    go_on.set()


def test_newest_frame_wins_and_every_frame_is_counted(robot, monkeypatch):
    robot.subscribe('labels')
    with slow_network(robot, monkeypatch) as network_has_it:
        for number in range(8):
            frame = random_frame(96, 64, number)
            robot.camera.publish(array_to_image(frame, 'bgr8', header(number)))
            robot.until(lambda n=number: robot.node.statistics.snapshot().received > n)
            assert network_has_it.wait(30)
    counts = robot.settle(8)
    robot.until(lambda: len(robot.received['labels']) == counts.published)
    stamps = [message.header.stamp.sec for message in robot.received['labels']]
    # One is in the network, at most one more is fitted; the newest of all comes out last.
    assert stamps[0] == 100
    assert stamps[-1] == 107
    assert stamps == sorted(stamps)
    assert len(stamps) in (2, 3)
    assert counts.dropped == {Drop.REPLACED: 8 - len(stamps)}
    for message in robot.received['labels']:
        frame = random_frame(96, 64, message.header.stamp.sec - 100)
        np.testing.assert_array_equal(plane(message), frame.argmax(2))


def test_overload_is_accounted_for_frame_by_frame(robot, monkeypatch):
    """Input at ten times the capacity: received = published + dropped, and labels are right."""
    robot.subscribe('labels')
    infer = robot.node._segmenter.infer

    def slow(fitted):
        time.sleep(0.02)
        return infer(fitted)

    monkeypatch.setattr(robot.node._segmenter, 'infer', slow)
    frames = [random_frame(96, 64, seed) for seed in range(10)]
    messages = [array_to_image(frame, 'bgr8', header(0)) for frame in frames]
    for number in range(400):
        messages[number % 10].header = header(number)
        robot.camera.publish(messages[number % 10])
        for _ in range(3):
            robot.executor.spin_once(timeout_sec=0.0007)
    counts = robot.settle(400)
    assert counts.dropped == {Drop.REPLACED: 400 - counts.published}
    assert 2 <= counts.published < 400 / 2
    robot.until(lambda: len(robot.received['labels']) == counts.published)
    numbers = [message.header.stamp.sec - 100 for message in robot.received['labels']]
    assert numbers == sorted(set(numbers))
    assert numbers[-1] == 399
    for number, message in zip(numbers, robot.received['labels'], strict=True):
        np.testing.assert_array_equal(plane(message), frames[number % 10].argmax(2))


@pytest.mark.parametrize('max_age', [0.0, 5.0])
@pytest.mark.parametrize('second', [-1, -(2**31)])
def test_a_stamp_below_zero_is_counted_once_and_the_next_frame_is_published(
    robot, max_age, second
):
    robot.subscribe('labels')
    [result] = robot.node.set_parameters([Parameter('max_age', value=max_age)])
    assert result.successful
    before = header(0)
    before.stamp.sec = second
    robot.camera.publish(array_to_image(random_frame(96, 64), 'bgr8', before))
    counts = robot.settle(1)
    assert (counts.published, counts.dropped) == ((0, {Drop.TOO_OLD: 1}) if max_age else (1, {}))
    now = header(0)
    now.stamp = robot.peer.get_clock().now().to_msg()
    robot.camera.publish(array_to_image(random_frame(96, 64), 'bgr8', now))
    assert robot.settle(2).published == counts.published + 1


@pytest.mark.parametrize('age', [0.0, 86400.0, None])
def test_overlay_says_latency_only_where_the_stamp_is_of_this_clock(robot, monkeypatch, age):
    said = []

    def status_line(*values):
        said.append(values)
        return 'x'

    monkeypatch.setattr(ros_pipeline, 'status_line', status_line)
    robot.subscribe('overlay')
    for number in range(4):
        stamp = header(0)
        stamp.stamp = Time().to_msg()
        if age is not None:
            stamp.stamp = (robot.peer.get_clock().now() - Duration(seconds=age)).to_msg()
        robot.camera.publish(array_to_image(random_frame(96, 64), 'bgr8', stamp))
        robot.settle(number + 1)
    assert len(said) == 4
    rates, ages, seconds = zip(*said, strict=True)
    # The rate is that of the frames before.
    assert rates[:3] == (None, None, None)
    assert rates[3] > 0
    if age is None:
        assert ages == (None,) * 4
    else:
        assert all(age < value < age + 30 for value in ages)
    assert all(0 < value < 30 for value in seconds)


def test_old_frames_are_dropped_and_counted(robot):
    robot.subscribe('labels')
    [result] = robot.node.set_parameters([Parameter('max_age', value=5.0)])
    assert result.successful
    now = robot.peer.get_clock().now()
    ages = [60.0, 1.0, None, 0.0]
    for number, age in enumerate(ages):
        stamp = header(0)
        stamp.stamp = Time(clock_type=now.clock_type).to_msg()
        if age is not None:
            stamp.stamp = (robot.peer.get_clock().now() - Duration(seconds=age)).to_msg()
        robot.camera.publish(array_to_image(random_frame(96, 64), 'bgr8', stamp))
        robot.settle(number + 1)
    counts = robot.settle(4)
    # The one of a minute ago, and the one that does not say how old it is.
    assert counts.dropped == {Drop.TOO_OLD: 2}
    assert counts.published == 2
    [result] = robot.node.set_parameters([Parameter('max_age', value=0.0)])
    assert result.successful
    robot.camera.publish(array_to_image(random_frame(96, 64), 'bgr8', header(1)))
    assert robot.settle(5).published == 3


def test_bad_frames_are_counted_and_the_next_one_is_published(robot):
    robot.subscribe('labels')
    good = array_to_image(random_frame(96, 64), 'bgr8', header(9))
    bad = [
        Image(header=header(1), height=64, width=96, encoding='bgr8', step=288),
        Image(header=header(2), height=64, width=96, encoding='32FC1', step=384),
        Image(header=header(3), height=0, width=0, encoding='bgr8'),
    ]
    bad[1].data.frombytes(bytes(64 * 384))
    for number, message in enumerate(bad):
        robot.camera.publish(message)
        robot.settle(number + 1)
    robot.camera.publish(good)
    counts = robot.settle(4)
    robot.until(lambda: robot.received['labels'])
    assert counts.published == 1
    assert counts.dropped == {Drop.BAD_FRAME: 3}
    assert robot.received['labels'][0].header == header(9)


@pytest.mark.parametrize('step', ['fit', 'infer', 'finish'])
def test_an_exception_below_costs_one_frame_only(robot, monkeypatch, step):
    robot.subscribe('labels')
    works = getattr(robot.node._segmenter, step)
    monkeypatch.setattr(robot.node._segmenter, step, lambda *_: 1 / 0)
    for number in (1, 2):
        robot.camera.publish(array_to_image(random_frame(96, 64), 'bgr8', header(number)))
        assert robot.settle(number).dropped == {Drop.FAILED: number}
    monkeypatch.setattr(robot.node._segmenter, step, works)
    robot.camera.publish(array_to_image(random_frame(96, 64), 'bgr8', header(3)))
    assert robot.settle(3).published == 1


def test_camera_info_follows_the_labels(robot):
    robot.subscribe('camera_info', kind=CameraInfo)
    robot.subscribe('labels')
    info = CameraInfo(width=192, height=128, k=[200.0, 0, 96, 0, 180, 64, 0, 0, 1])
    info.header.frame_id = 'camera_optical_frame'
    robot.info.publish(info)
    robot.until(lambda: robot.node._pipeline._camera_info is not None)
    robot.camera.publish(array_to_image(random_frame(96, 64), 'bgr8', header(4)))
    robot.until(lambda: robot.received['camera_info'])
    published = robot.received['camera_info'][0]
    assert published.header == header(4)
    assert (published.width, published.height) == (96, 64)
    assert list(published.k) == [100.0, 0, 48, 0, 90, 32, 0, 0, 1]


def test_camera_info_of_another_camera_is_not_published(robot):
    robot.subscribe('camera_info', kind=CameraInfo)
    robot.subscribe('labels')
    info = CameraInfo(width=96, height=64)
    info.header.frame_id = 'rear_camera'
    robot.info.publish(info)
    robot.until(lambda: robot.node._pipeline._camera_info is not None)
    robot.camera.publish(array_to_image(random_frame(96, 64), 'bgr8', header(4)))
    robot.until(lambda: robot.received['labels'])
    assert robot.received['camera_info'] == []


def test_live_parameters_hold_from_the_next_frame(robot, model):
    robot.subscribe('labels', 'drivable')
    frame = random_frame(96, 64)
    name = model.classes.names[2]
    results = robot.node.set_parameters(
        [
            Parameter('min_confidence', value=0.8),
            Parameter('drivable_classes', value=[name]),
        ]
    )
    assert all(result.successful for result in results)
    robot.camera.publish(array_to_image(frame, 'bgr8', header(1)))
    robot.until(lambda: robot.received['labels'] and robot.received['drivable'])
    labels = Segmenter(model, backend='onnxruntime').segment(frame, 0.8).labels
    assert (labels == 255).any()
    np.testing.assert_array_equal(plane(robot.received['labels'][0]), labels)
    np.testing.assert_array_equal(plane(robot.received['drivable'][0]), (labels == 2) * 255)


def test_a_frame_shows_one_state_of_the_parameters(robot, monkeypatch):
    """Parameters that change between min_confidence and the masks hold from the next frame."""
    robot.subscribe('labels', 'drivable')
    frame = random_frame(96, 64)
    finish = robot.node._segmenter.finish
    changer = []

    def change_meanwhile(inferred, min_confidence):
        result = finish(inferred, min_confidence)
        values = [
            Parameter('min_confidence', value=0.8),
            Parameter('drivable_classes', value=['sky']),
        ]
        changer.append(
            threading.Thread(target=robot.node.set_parameters_atomically, args=(values,))
        )
        changer[0].start()
        changer[0].join(0.3)
        return result

    monkeypatch.setattr(robot.node._segmenter, 'finish', change_meanwhile)
    for number in range(2):
        robot.camera.publish(array_to_image(frame, 'bgr8', header(number)))
        robot.until(lambda n=number: len(robot.received['drivable']) > n)
        changer[0].join(30)
        monkeypatch.setattr(robot.node._segmenter, 'finish', finish)
    plain, sure = frame.argmax(2), frame.argmax(2)
    sure[frame.max(2) < 204] = 255
    for number, (labels, drivable) in enumerate([(plain, plain == 0), (sure, sure == 2)]):
        np.testing.assert_array_equal(plane(robot.received['labels'][number]), labels)
        np.testing.assert_array_equal(plane(robot.received['drivable'][number]), drivable * 255)


def test_parameters_that_cannot_work_change_nothing(robot):
    before = robot.node.parameters
    together = [
        Parameter('overlay_opacity', value=0.9),
        Parameter('drivable_classes', value=['unicorn']),
    ]
    result = robot.node.set_parameters_atomically(together)
    assert not result.successful
    assert "unknown class 'unicorn'" in result.reason
    [refused] = robot.node.set_parameters([Parameter('backend', value='openvino')])
    assert not refused.successful
    assert 'backend is read when the node is configured' in refused.reason
    assert robot.node.parameters == before
    assert robot.node.get_parameter('overlay_opacity').value == 0.5


def test_masks_can_be_added_and_removed_while_running(robot, model):
    names = model.classes.names
    for chosen in ([names[0]], [names[1], names[2]], [names[0]]):
        [result] = robot.node.set_parameters([Parameter('mask_classes', value=chosen)])
        assert result.successful, result.reason
        topics = {t for t, _ in robot.node.get_topic_names_and_types() if '/masks/' in t}
        assert topics == {f'/linknet/masks/{name}' for name in chosen}


def test_lifecycle_round_trips_leave_nothing_behind(robot):
    threads = threading.active_count()
    for _ in range(5):
        assert robot.node.trigger_deactivate() == OK
        assert robot.node.trigger_cleanup() == OK
        assert threading.active_count() == threads - 3
        assert '/linknet/labels' not in dict(robot.node.get_topic_names_and_types())
        assert robot.node.trigger_configure() == OK
        assert robot.node.trigger_activate() == OK
    assert threading.active_count() == threads
    robot.subscribe('labels')
    robot.until(lambda: robot.camera.get_subscription_count() == 1)
    robot.camera.publish(array_to_image(random_frame(96, 64), 'bgr8', header(1)))
    robot.until(lambda: robot.received['labels'])


def test_frame_left_at_deactivation_is_counted(robot, monkeypatch):
    robot.subscribe('labels')
    started, go_on = threading.Event(), threading.Event()

    def slow(*_):
        started.set()
        go_on.wait(30)
        raise RuntimeError('never mind')

    monkeypatch.setattr(robot.node._segmenter, 'infer', slow)
    for number in range(3):
        robot.camera.publish(array_to_image(random_frame(96, 64), 'bgr8', header(number)))
        robot.until(lambda n=number: robot.node.statistics.snapshot().received > n)
        assert started.wait(30)
        if number == 1:
            # The first is in the network, the second fitted; the third has to wait.
            robot.until(lambda: robot.node._pipeline._slot._item is None)
    threading.Timer(0.3, go_on.set).start()
    assert robot.node.trigger_deactivate() == OK
    counts = robot.node.statistics.snapshot()
    assert counts.dropped == {Drop.FAILED: 2, Drop.INACTIVE: 1}


def test_failed_configure_can_be_put_right(context, model, tmp_path):
    robot = Robot(context, model=str(tmp_path / 'none.onnx'))
    try:
        assert robot.node.trigger_configure() == TransitionCallbackReturn.FAILURE
        [result] = robot.node.set_parameters([Parameter('model', value=str(model.path))])
        assert result.successful
        robot.start()
    finally:
        robot.close()


def test_each_transition_is_logged(context, model, capfd):
    robot = Robot(context, model=str(model.path), backend='onnxruntime')
    try:
        robot.start()
        for transition, line in (
            (robot.node.trigger_deactivate, 'deactivated: no longer subscribed'),
            (robot.node.trigger_cleanup, 'cleaned up: model and topics are given back'),
            (robot.node.trigger_shutdown, 'shut down'),
        ):
            capfd.readouterr()
            assert transition() == OK
            [said] = capfd.readouterr().err.splitlines()
            assert said.endswith(f'[linknet]: {line}')
    finally:
        robot.close()


def test_what_goes_wrong_in_a_transition_is_said(context, model, monkeypatch, capfd):
    def broken(path):
        raise RuntimeError('the library below is broken')

    monkeypatch.setattr('linknet_ros.node.segment_node.load_model', broken)
    robot = Robot(context, model=str(model.path))
    try:
        assert robot.node.trigger_configure() == TransitionCallbackReturn.ERROR
        assert 'on_configure failed: RuntimeError: the library below' in capfd.readouterr().err
        monkeypatch.undo()
        robot.start()
    finally:
        robot.close()


@pytest.mark.parametrize('transition', [1, 2, 5, 99])
def test_a_transition_that_cannot_be_is_refused_and_frames_go_on(robot, transition, capfd):
    client = robot.peer.create_client(ChangeState, '/linknet/change_state')
    robot.until(client.service_is_ready)
    request = ChangeState.Request()
    request.transition.id = transition
    future = client.call_async(request)
    robot.until(future.done)
    assert not future.result().success
    assert f"transition '{transition}' is refused in state 'active'" in capfd.readouterr().err
    robot.subscribe('labels')
    robot.camera.publish(array_to_image(random_frame(96, 64), 'bgr8', header(1)))
    robot.until(lambda: robot.received['labels'])


def test_a_configure_that_fails_halfway_leaves_no_topic(context, model):
    bad = {'qos_overrides./linknet/drivable.publisher.depth': 'deep'}
    robot = Robot(context, model=str(model.path), **bad)
    try:
        before = {p.topic_name for p in robot.node.publishers}
        assert robot.node.trigger_configure() == TransitionCallbackReturn.ERROR
        assert {p.topic_name for p in robot.node.publishers} == before
    finally:
        robot.close()


@pytest.mark.filterwarnings('ignore::pytest.PytestUnhandledThreadExceptionWarning')
def test_a_thread_that_dies_does_not_keep_the_node_from_ending(robot, monkeypatch):
    def die():
        raise SystemExit

    monkeypatch.setattr(robot.node._pipeline._pace, 'free', die)
    robot.subscribe('labels')
    robot.camera.publish(array_to_image(random_frame(96, 64), 'bgr8', header(1)))
    robot.until(lambda: not robot.node._pipeline._threads[1].is_alive())
    ending = threading.Thread(target=robot.node._stop, daemon=True)
    ending.start()
    ending.join(30)
    assert not ending.is_alive()


def diagnostics_of(robot):
    """Newest status that the node published, as (level, message, values)."""
    [status] = robot.received['/diagnostics'][-1].status
    values = {value.key: value.value for value in status.values}
    return status.level, status.message, values


@pytest.fixture
def gpu_robot(context, model, tmp_path):
    """A robot whose TensorRT is a stand-in: `gpu_robot(parameter=value) -> Robot`, started."""
    robots = []

    def start(**parameters):
        cache = {'tensorrt.cache_dir': str(tmp_path / 'engines')}
        robot = Robot(context, model=str(model.path), **cache, **parameters)
        robots.append(robot)
        robot.start()
        robot.subscribe('labels')
        messages = robot.received['/diagnostics'] = []
        robot.peer.create_subscription(DiagnosticArray, '/diagnostics', messages.append, 10)
        return robot

    yield start
    for robot in robots:
        robot.close()


def send_until(robot, condition):
    """Send frames, each with its own labels, until a condition holds."""

    def sent():
        number = len(robot.received['labels'])
        frame = random_frame(64, 64, number)
        robot.camera.publish(array_to_image(frame, 'bgr8', header(number)))
        robot.until(lambda: len(robot.received['labels']) > number)
        np.testing.assert_array_equal(plane(robot.received['labels'][-1]), frame.argmax(2))
        return condition()

    robot.until(sent, 60)


def test_processor_serves_until_the_engine_takes_over(gpu_robot, fake_gpu):
    fake_gpu()
    robot = gpu_robot(network_width=64, network_height=64)
    robot.until(lambda: robot.received['/diagnostics'])
    _, _, values = diagnostics_of(robot)
    assert values['backend'] in ('openvino', 'onnxruntime')
    send_until(robot, lambda: diagnostics_of(robot)[2]['backend'] == 'tensorrt')
    _, _, values = diagnostics_of(robot)
    assert (values['precision'], values['engine']) == ('fp16', 'tensorrt takes over, in fp16')
    assert 'passed over' not in values
    counts = robot.node.statistics.snapshot()
    assert counts.received == counts.published


def test_failed_build_is_a_warning_for_those_who_asked_for_tensorrt(gpu_robot, fake_gpu):
    fake_gpu(build='fails')
    robot = gpu_robot(backend='tensorrt')

    robot.until(lambda: robot.received['/diagnostics'])
    send_until(robot, lambda: 'passed over' in diagnostics_of(robot)[2])
    level, message, values = diagnostics_of(robot)
    assert 'TensorRT' in values['passed over']
    assert values['passed over'].endswith(f'; {values["backend"]} goes on')
    assert level == b'\x01'
    assert message.startswith(values['passed over'])


def test_auto_says_why_tensorrt_was_passed_over(gpu_robot, fake_gpu):
    fake_gpu(devices=[])
    robot = gpu_robot()
    robot.until(lambda: robot.received['/diagnostics'])
    _, _, values = diagnostics_of(robot)
    assert 'cudaErrorInsufficientDriver (35)' in values['passed over']


def environment():
    changes = {
        'ROS_DOMAIN_ID': str(random.randrange(1, 100)),
        'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST',
    }
    return {**os.environ, **changes}


def run_node(*parameters):
    command = [sys.executable, '-m', 'linknet_ros', 'segment_node', '--ros-args']
    for parameter in parameters:
        command += ['-p', parameter]
    return subprocess.run(
        command, env=environment(), capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize(
    ('parameters', 'message'),
    [
        (['model:=/nowhere.onnx'], "no model file '/nowhere.onnx'; check the model parameter"),
        (['model:=README.md'], 'README.md is not a readable ONNX file'),
        (['backend:=tpu'], "parameter backend is 'tpu'; use one of auto, tensorrt"),
        (['min_confidence:=1.5'], 'parameter min_confidence is 1.5; use 0 to 1'),
        (['min_confidence:=1'], 'it takes a number with a decimal point, e.g. 0.5'),
        (['threads:=many'], "parameter threads is 'many', a string; it takes an integer"),
    ],
)
def test_a_users_mistake_is_one_line_and_exit_code_1(parameters, message):
    result = run_node(*parameters)
    errors = [line for line in result.stderr.splitlines() if line]
    assert result.returncode == 1
    assert len(errors) == 1, result.stderr
    assert message in errors[0]


def test_unknown_class_is_one_line(model):
    result = run_node(f'model:={model.path}', 'backend:=openvino', 'mask_classes:=[unicorn]')
    assert result.returncode == 1
    [line] = [line for line in result.stderr.splitlines() if line]
    assert f"unknown class 'unicorn'; the model knows: {model.classes.names[0]}" in line


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_signals_end_a_node_that_waits_for_an_engine(model, fake_gpu, tmp_path, number):
    fake_gpu(build='hangs')
    command = [sys.executable, '-m', 'linknet_ros', 'segment_node', '--ros-args']
    for parameter in (
        f'model:={model.path}',
        f'tensorrt.cache_dir:={tmp_path / "engines"}',
        'tensorrt.wait_for_engine:=true',
        'backend:=tensorrt',
    ):
        command += ['-p', parameter]
    fakes = str(FAKES)
    paths = os.pathsep.join([fakes, *filter(None, [os.environ.get('PYTHONPATH')])])
    process = subprocess.Popen(
        command, env=environment() | {'PYTHONPATH': paths}, stderr=subprocess.PIPE, text=True
    )
    for line in process.stderr:
        if 'building an engine: ' in line:
            break
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 0, errors
    assert 'Traceback' not in errors


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_signals_end_the_node_cleanly(model, number):
    command = [sys.executable, '-m', 'linknet_ros', 'segment_node', '--ros-args']
    process = subprocess.Popen(
        [*command, '-p', f'model:={model.path}'],
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in process.stderr:
        if 'waiting for frames' in line:
            break
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 0
    assert 'Traceback' not in errors


def test_a_peer_that_qos_keeps_away_is_named_in_the_log_once(robot, monkeypatch, capfd):
    monkeypatch.setattr('linknet_ros.node.segment_node._QOS_LOOKS', 1)
    latched = QoSProfile(
        depth=1,
        reliability=ReliabilityPolicy.RELIABLE,
        durability=DurabilityPolicy.TRANSIENT_LOCAL,
    )
    robot.peer.create_subscription(Image, 'linknet/labels', print, latched)
    robot.until(lambda: robot.node.count_subscribers('/linknet/labels') == 1)
    for _ in range(3):
        robot.node._publish_diagnostics()
    said = [line for line in capfd.readouterr().err.splitlines() if 'qos_overrides' in line]
    assert len(said) == 1
    assert '[linknet]: /linknet/labels and /peer: ' in said[0]
