"""The node over real DDS: what it publishes is what Segmenter computes, and every frame counts."""

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from checkout import FAKES

pytest.importorskip('rclpy', reason='needs ROS 2 (pip install .[ros])')

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.srv import ChangeState
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from rig import OK, latched, plane, told_frame
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header
from std_srvs.srv import SetBool, Trigger

from linknet_ros.classes import ClassTable
from linknet_ros.frames.raw import compressed_to_bgr
from linknet_ros.inference.model_file import load_model
from linknet_ros.inference.segmenter import Segmenter
from linknet_ros.node import engine as engine_module
from linknet_ros.node import pipeline as pipeline_module
from linknet_ros.node.statistics import Drop
from linknet_ros.products.masks import class_mask, mask_table
from linknet_ros.simulation.street import StreetDrive
from linknet_ros.system.package_files import SHIPPED_INT8_MODEL, SHIPPED_MODEL, package_file

FAILURE, ERROR = TransitionCallbackReturn.FAILURE, TransitionCallbackReturn.ERROR


def header(number):
    message = Header(frame_id='camera_optical_frame')
    message.stamp.sec, message.stamp.nanosec = 100 + number, 7 * number
    return message


def random_frame(width=96, height=64, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@contextmanager
def infer_replaced(robot, monkeypatch, replacement):
    """Let something else be called in place of the network; it gets the network's function."""
    segmenter = robot.node._engine.segmenter
    infer = segmenter.infer
    monkeypatch.setattr(segmenter, 'infer', lambda fitted: replacement(infer, fitted))
    yield
    monkeypatch.setattr(segmenter, 'infer', infer)


@contextmanager
def network_held(robot, monkeypatch):
    """The network waits with its first frame: `held.begun`, until the test sets `held.go_on`."""
    held = SimpleNamespace(begun=threading.Event(), go_on=threading.Event())

    def hold(infer, fitted):
        held.begun.set()
        assert held.go_on.wait(300)
        return infer(fitted)

    with infer_replaced(robot, monkeypatch, hold):
        yield held


# Labels.


@pytest.fixture(scope='module')
def street():
    return StreetDrive(3, 160, 120).frame(2.0).bgr


def test_labels_of_the_shipped_model_are_the_segmenters(open_robot, street):
    size = {'network_width': 160, 'network_height': 96}
    robot = open_robot(backend='openvino', precision='fp32', **size).start()
    robot.subscribe('labels', 'confidence', 'drivable')
    model = load_model(package_file(SHIPPED_MODEL))
    segmenter = Segmenter(model, backend='openvino', precision='fp32', network_size=(160, 96))
    drivable = mask_table(model.classes.ids(model.classes.drivable_names))
    for number, (width, height) in enumerate([(480, 360), (640, 360), (97, 51)]):
        frame = cv2.resize(street, (width, height))
        robot.send(frame, header(number))
        robot.until(lambda n=number: all(len(m) > n for m in robot.received.values()))
        expected = segmenter.segment(frame)
        last = {topic: messages[-1] for topic, messages in robot.received.items()}
        assert all(message.header == header(number) for message in last.values())
        np.testing.assert_array_equal(plane(last['labels']), expected.labels)
        np.testing.assert_array_equal(plane(last['confidence']), expected.confidence)
        mask = class_mask(expected.labels, drivable)
        np.testing.assert_array_equal(plane(last['drivable']), mask)
    segmenter.close()


def test_int8_without_a_model_takes_the_int8_file(open_robot):
    size = {'network_width': 96, 'network_height': 64}
    robot = open_robot(backend='openvino', precision='int8', **size).start()
    assert robot.node._engine.segmenter.model.path == package_file(SHIPPED_INT8_MODEL)
    assert robot.node._engine.segmenter.model.precision == 'int8'


def test_every_size_comes_back_at_its_own(robot, model):
    robot.subscribe('labels')
    segmenter = Segmenter(model, backend='onnxruntime')
    sizes = [(640, 360), (480, 360), (1280, 720), (1920, 1080), (97, 51)]
    for number, size in enumerate(sizes):
        frame = random_frame(*size)
        robot.send(frame, header(number))
        robot.until(lambda n=number: len(robot.received['labels']) > n)
        message = robot.received['labels'][-1]
        np.testing.assert_array_equal(plane(message), segmenter.segment(frame).labels)
        assert message.header == header(number)


def test_row_padding_and_another_encoding_give_the_same_labels(robot):
    robot.subscribe('labels')
    frame = random_frame()
    rgb = np.zeros((64, 96 * 3 + 32), np.uint8)
    rgb[:, : 96 * 3] = frame[..., ::-1].reshape(64, -1)
    message = Image(header=header(1), height=64, width=96, encoding='rgb8', step=96 * 3 + 32)
    message.data.frombytes(rgb.tobytes())
    robot.camera.publish(message)
    robot.until(lambda: robot.received['labels'])
    np.testing.assert_array_equal(plane(robot.received['labels'][0]), frame.argmax(2))


def compressed(number, suffix, image):
    data = cv2.imencode(suffix, image)[1].tobytes()
    kind = {'.jpg': 'jpeg', '.png': 'png'}[suffix]
    form = f'bgr8; {kind} compressed bgr8'
    return CompressedImage(header=header(number), format=form, data=data)


@pytest.mark.parametrize('remap', ['/front/image_raw', '/front/image_raw/compressed'])
def test_compressed_camera(open_robot, model, monkeypatch, street, remap):
    values = {'backend': 'onnxruntime', 'image_transport': 'compressed'}
    robot = open_robot('-r', f'image:={remap}', model=str(model.path), **values).start()
    assert robot.camera.topic_name == '/front/image_raw/compressed'
    threads = []
    convert = pipeline_module.image_to_bgr

    def spy(message, *options):
        threads.append(threading.current_thread().name)
        return convert(message, *options)

    monkeypatch.setattr(pipeline_module, 'image_to_bgr', spy)
    robot.camera.publish(compressed(1, '.png', street))
    assert robot.settle(1).dropped == {Drop.NO_SUBSCRIBER: 1}
    # Decoded off the executor, and only for a subscriber.
    assert threads == []
    robot.subscribe('labels')
    robot.subscribe('labels/compressed', kind=CompressedImage)
    segmenter = Segmenter(model, backend='onnxruntime')
    for number, suffix in enumerate(('.jpg', '.png')):
        message = compressed(number, suffix, street)
        robot.camera.publish(message)
        robot.until(lambda n=number: all(len(m) > n for m in robot.received.values()))
        expected = segmenter.segment(compressed_to_bgr(message)).labels
        assert len(np.unique(expected)) == 3
        labels, png = (robot.received[t][-1] for t in ('labels', 'labels/compressed'))
        np.testing.assert_array_equal(plane(labels), expected)
        ids = cv2.imdecode(np.frombuffer(png.data, np.uint8), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(ids, expected)
        assert labels.header == png.header == header(number)
    assert threads == ['fit', 'fit']
    # Broken ones are counted, and the next one is published.
    whole = compressed(9, '.jpg', street)
    half = whole.data[: len(whole.data) // 2]
    for number, data in enumerate((half, half + whole.data[-2:], whole.data[:0])):
        broken = compressed(number, '.jpg', street)
        broken.data = data
        robot.camera.publish(broken)
        robot.settle(4 + number)
    robot.camera.publish(whole)
    assert robot.settle(7).dropped == {Drop.NO_SUBSCRIBER: 1, Drop.BAD_FRAME: 3}
    robot.until(lambda: len(robot.received['labels']) == 3)
    assert robot.received['labels'][-1].header == header(9)


# Every frame counts.


def test_newest_frame_wins_and_every_frame_is_counted(robot, monkeypatch):
    with infer_replaced(robot, monkeypatch, lambda *_: pytest.fail('computed for nobody')):
        robot.send(random_frame())
        assert robot.settle(1).dropped == {Drop.NO_SUBSCRIBER: 1}
    robot.subscribe('labels')
    with network_held(robot, monkeypatch) as held:
        for number in range(8):
            robot.send(random_frame(seed=number), header(number))
            received = number + 2
            robot.until(lambda n=received: robot.counts().received == n)
            assert held.begun.wait(300)
        held.go_on.set()
        counts = robot.settle(9)
    robot.until(lambda: len(robot.received['labels']) == counts.published)
    stamps = [message.header.stamp.sec for message in robot.received['labels']]
    # One is in the network, at most one more is fitted; the newest of all comes out last.
    assert stamps == sorted(stamps)
    assert (stamps[0], stamps[-1]) == (100, 107)
    assert len(stamps) in (2, 3)
    assert counts.dropped == {Drop.NO_SUBSCRIBER: 1, Drop.REPLACED: 8 - len(stamps)}
    for message in robot.received['labels']:
        frame = random_frame(seed=message.header.stamp.sec - 100)
        np.testing.assert_array_equal(plane(message), frame.argmax(2))


def test_overload_is_accounted_for_frame_by_frame(robot, monkeypatch):
    """Input faster than the network: received = published + dropped, and labels are right."""
    robot.subscribe('labels')
    frames = [random_frame(seed=seed) for seed in range(10)]

    def slow(infer, fitted):
        # As long as three more frames take to come, however busy the machine is.
        until = min(robot.counts().received + 3, 400)
        while robot.counts().received < until:
            time.sleep(0.001)
        return infer(fitted)

    with infer_replaced(robot, monkeypatch, slow):
        for number in range(400):
            robot.send(frames[number % 10], header(number))
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


def test_bad_frames_are_counted_and_the_next_one_is_published(robot):
    robot.subscribe('labels')
    bad = [
        Image(header=header(1), height=64, width=96, encoding='bgr8', step=288),
        Image(header=header(2), height=64, width=96, encoding='32FC3', step=384),
        Image(header=header(3), height=0, width=0, encoding='bgr8'),
    ]
    bad[1].data.frombytes(bytes(64 * 384))
    for number, message in enumerate(bad):
        robot.camera.publish(message)
        robot.settle(number + 1)
    robot.send(random_frame(), header(9))
    assert robot.settle(4).dropped == {Drop.BAD_FRAME: 3}
    robot.until(lambda: robot.received['labels'])
    assert [message.header for message in robot.received['labels']] == [header(9)]


@pytest.mark.parametrize('step', ['fit', 'infer', 'finish'])
def test_an_exception_below_costs_one_frame_only(robot, monkeypatch, step):
    robot.subscribe('labels')
    works = getattr(robot.node._engine.segmenter, step)
    monkeypatch.setattr(robot.node._engine.segmenter, step, lambda *_: 1 / 0)
    for number in (1, 2):
        robot.send(random_frame())
        assert robot.settle(number).dropped == {Drop.FAILED: number}
    monkeypatch.setattr(robot.node._engine.segmenter, step, works)
    robot.send(random_frame())
    assert robot.settle(3).published == 1


def test_old_frames_are_dropped_and_counted(robot):
    robot.subscribe('labels')
    robot.set(max_age=60.0)
    unstamped, ancient = Header(), Header()
    # Below 0, which a message can hold but rclpy's Time cannot.
    ancient.stamp.sec = -(2**31)
    stamps = [robot.stamped(600.0), robot.stamped(1.0), unstamped, ancient, robot.stamped()]
    for number, stamp in enumerate(stamps):
        robot.send(random_frame(), stamp)
        robot.settle(number + 1)
    # The one of ten minutes ago, and those that do not say how old they are.
    assert robot.settle(5).dropped == {Drop.TOO_OLD: 3}
    robot.set(max_age=0.0)
    for number, stamp in enumerate((header(1), ancient, unstamped)):
        robot.send(random_frame(), stamp)
        assert robot.settle(6 + number).published == 3 + number


@pytest.mark.parametrize('age', [0.0, 86400.0, None])
def test_overlay_says_latency_only_where_the_stamp_is_of_this_clock(robot, monkeypatch, age):
    said = []
    # A busy machine may pause as long as a camera that has stopped.
    monkeypatch.setattr('linknet_ros.node.statistics._PAUSE', 300.0)

    def status_line(*values):
        said.append(values)
        return 'x'

    monkeypatch.setattr(pipeline_module, 'status_line', status_line)
    robot.subscribe('overlay')
    for number in range(4):
        robot.send(random_frame(), Header() if age is None else robot.stamped(age))
        robot.settle(number + 1)
    rates, ages, seconds, faults = zip(*said, strict=True)
    assert faults == ('',) * 4
    # The rate is that of the frames before.
    assert rates[:3] == (None, None, None)
    assert rates[3] > 0
    if age is None:
        assert ages == (None,) * 4
    else:
        assert all(age < value < age + 60 for value in ages)
    assert all(0 < value < 60 for value in seconds)


def test_camera_info_follows_the_labels_of_its_own_camera(robot):
    robot.subscribe('camera_info', kind=CameraInfo)
    robot.subscribe('labels')
    info = CameraInfo(width=192, height=128, k=[200.0, 0, 96, 0, 180, 64, 0, 0, 1])
    robot.tell_camera_info(info, 'rear_camera')
    robot.send(random_frame(), header(3))
    robot.until(lambda: robot.received['labels'])
    robot.tell_camera_info(info)
    robot.send(random_frame(), header(4))
    robot.until(lambda: robot.received['camera_info'])
    [published] = robot.received['camera_info']
    assert published.header == header(4)
    assert (published.width, published.height) == (96, 64)
    assert list(published.k) == [100.0, 0, 48, 0, 90, 32, 0, 0, 1]


def test_frames_beyond_the_rate_are_counted_and_never_converted(robot, monkeypatch):
    robot.subscribe('labels')
    robot.set(max_rate=0.001)
    robot.send(random_frame(), header(5))
    robot.settle(1)
    monkeypatch.setattr(pipeline_module, 'image_to_bgr', None)
    # A recording that starts again: stamps go back, and that changes nothing.
    for number in (1, 2):
        robot.send(random_frame(), header(number))
    assert robot.settle(3).dropped == {Drop.BEYOND_RATE: 2}
    monkeypatch.undo()
    robot.set(max_rate=0.0)
    robot.send(random_frame(), header(3))
    assert robot.settle(4).published == 2


def test_while_disabled_nothing_comes_in_or_goes_out(robot, monkeypatch):
    robot.subscribe('labels')
    robot.subscribe('/diagnostics', kind=DiagnosticArray)
    with network_held(robot, monkeypatch) as held:
        robot.send(random_frame(), header(1))
        robot.until(held.begun.is_set)
        answer = robot.call(SetBool, '/linknet/enable', data=False)
        assert (answer.success, answer.message) == (True, 'disabled')
        held.go_on.set()
        # What was under way is not published, but counted.
        assert robot.settle(1).dropped == {Drop.DISABLED: 1}
    robot.until(lambda: not robot.node.count_subscribers('/image'))
    robot.received['/diagnostics'].clear()
    robot.until(lambda: robot.received['/diagnostics'])
    level, message, values = diagnostics_of(robot)
    assert (level, message) == (b'\x00', 'disabled by ~/enable')
    assert (values['state'], values['enabled']) == ('active', 'false')
    # It stays so, until somebody says otherwise.
    assert robot.node.trigger_deactivate() == robot.node.trigger_activate() == OK
    assert not robot.node.count_subscribers('/image')
    assert robot.call(SetBool, '/linknet/enable', data=True).success
    robot.matched(robot.camera.topic_name)
    robot.send(random_frame(), header(2))
    robot.until(lambda: robot.received['labels'])
    assert [message.header for message in robot.received['labels']] == [header(2)]


@pytest.mark.parametrize('rotate', [90, 180])
def test_a_camera_that_is_mounted_turned(robot, monkeypatch, rotate):
    robot.subscribe('labels', 'confidence', 'drivable', 'color', 'overlay')
    robot.subscribe('camera_info', kind=CameraInfo)
    info = CameraInfo(width=96, height=64, k=[50.0, 0, 48, 0, 50, 32, 0, 0, 1])
    robot.tell_camera_info(info)
    robot.set(rotate=rotate, overlay_opacity=0.0, overlay_legend=False)
    # Blocks, since what is turned by 90 degrees has to be scaled.
    frame = random_frame(6, 4).repeat(16, 0).repeat(16, 1)
    upright = np.rot90(frame, -rotate // 90)
    seen = []

    def look(infer, fitted):
        seen.append(fitted.fitter.crop(fitted.image).copy())
        return infer(fitted)

    with infer_replaced(robot, monkeypatch, look):
        robot.send(frame, header(1))
        robot.until(lambda: all(robot.received.values()))
    [image] = seen
    assert image.shape[0] > image.shape[1] if rotate == 90 else image.shape[0] < image.shape[1]
    height, width = image.shape[:2]
    expected = cv2.resize(np.ascontiguousarray(upright), (width, height))
    np.testing.assert_allclose(image, expected, atol=1)
    last = {topic: messages[-1] for topic, messages in robot.received.items()}
    # All match image and camera_info pixel for pixel, but the overlay is for people.
    labels = plane(last['labels'])
    assert labels.shape == (64, 96)
    assert (labels == frame.argmax(2)).mean() > 0.9
    np.testing.assert_array_equal(plane(last['drivable']), 255 * (labels == 0))
    assert (last['camera_info'].width, last['camera_info'].height) == (96, 64)
    assert list(last['camera_info'].k) == list(info.k)
    assert (last['color'].width, last['color'].height) == (96, 64)
    overlay = last['overlay']
    pixels = np.frombuffer(overlay.data, np.uint8).reshape(overlay.height, overlay.width, 3)
    np.testing.assert_array_equal(pixels, upright)


# Parameters that change while the node runs.


def test_a_frame_shows_one_state_of_the_parameters(robot, monkeypatch):
    """Parameters that change between min_confidence and the masks hold from the next frame."""
    robot.subscribe('labels', 'drivable')
    frame = random_frame()
    finish = robot.node._engine.segmenter.finish

    def change_meanwhile(inferred, min_confidence):
        result = finish(inferred, min_confidence)
        # From another thread, and without waiting for the frame.
        robot.set(min_confidence=0.8, drivable_classes=['sky'])
        return result

    monkeypatch.setattr(robot.node._engine.segmenter, 'finish', change_meanwhile)
    for number in range(2):
        robot.send(frame, header(number))
        robot.until(lambda n=number: len(robot.received['drivable']) > n)
        monkeypatch.setattr(robot.node._engine.segmenter, 'finish', finish)
    plain, sure = frame.argmax(2), frame.argmax(2)
    sure[frame.max(2) < 204] = 255
    assert (sure != plain).any()
    for number, (labels, drivable) in enumerate([(plain, plain == 0), (sure, sure == 2)]):
        np.testing.assert_array_equal(plane(robot.received['labels'][number]), labels)
        np.testing.assert_array_equal(plane(robot.received['drivable'][number]), drivable * 255)


def test_changes_at_any_moment_cost_no_frame(robot):
    robot.set(mask_classes=['road', 'car', 'sky'])
    robot.subscribe('labels', 'overlay', 'masks/road', 'masks/car', 'masks/sky')
    masks = [['car'], ['road', 'sky'], ['car', 'sky'], ['road']]
    for number in range(60):
        robot.send(random_frame())
        robot.executor.spin_once(timeout_sec=0.01)
        robot.set(mask_classes=masks[number % 4], overlay_opacity=number / 60)

    def settled():
        now = robot.counts()
        return now.published and now.received == now.published + sum(now.dropped.values())

    robot.until(settled)
    assert set(robot.counts().dropped) <= {Drop.REPLACED}


def test_parameters_that_cannot_work_change_nothing(robot):
    before = robot.node.parameters
    for name, value, reason in (
        ('drivable_classes', ['unicorn'], "unknown class 'unicorn'"),
        ('ground.sideways', 0.0, 'make 0 cells'),
        ('backend', 'openvino', 'backend is read when the node is configured'),
    ):
        together = [Parameter('overlay_opacity', value=0.9), Parameter(name, value=value)]
        result = robot.node.set_parameters_atomically(together)
        assert not result.successful
        assert reason in result.reason
    assert robot.node.parameters == before
    assert robot.node.get_parameter('overlay_opacity').value == 0.5
    for chosen in (['road'], ['car', 'sky'], ['road']):
        robot.set(mask_classes=chosen)
        topics = {t for t, _ in robot.node.get_topic_names_and_types() if '/masks/' in t}
        assert topics == {f'/linknet/masks/{name}' for name in chosen}


# Another model.

FIVE = ClassTable(
    ('floor', 'wall', 'box', 'person', 'shelf'), ((9, 9, 9),) * 5, (True, *(False,) * 4)
)


@pytest.fixture
def loading(monkeypatch):
    """Models are loaded when the test says: `loading.begun`, and set `loading.go_on`."""
    load = engine_module.load_model
    loading = SimpleNamespace(begun=threading.Event(), go_on=threading.Event())

    def hold(path):
        loading.begun.set()
        assert loading.go_on.wait(300)
        return load(path)

    monkeypatch.setattr(engine_module, 'load_model', hold)
    yield loading
    loading.go_on.set()


def ask_for(robot, path):
    """Call ~/load_model without waiting; the answer to come."""
    robot.set(model=str(path))
    client = robot.peer.create_client(Trigger, '/linknet/load_model')
    robot.until(client.service_is_ready)
    return client.call_async(Trigger.Request())


def told(value):
    """A frame that the model of FIVE gives this label, and the other one 0."""
    return told_frame(np.full((64, 96), value, np.uint8), 1)


def test_another_model_takes_over_between_two_frames(
    label_infos, robot, loading, write_label_model, monkeypatch
):
    robot.subscribe('labels', 'drivable')
    [names] = label_infos
    counts = []
    answer = ask_for(robot, write_label_model(FIVE))
    robot.until(loading.begun.is_set)
    # Labels of the old one until the new one is ready.
    robot.send(told(4), header(1))
    robot.settle(1)
    publish = names.publish

    def note(message):
        counts.append((robot.counts().published, len(message.class_map)))
        publish(message)

    monkeypatch.setattr(names, 'publish', note)
    with network_held(robot, monkeypatch) as held:
        before = robot.node._engine
        robot.send(told(4), header(2))
        robot.until(held.begun.is_set)
        loading.go_on.set()
        # The next one waits for the new model, and the executor does all else meanwhile.
        robot.until(lambda: not robot.node.cameras.slots._open)
        robot.send(told(4), header(3))
        robot.set(overlay_opacity=0.7)
        assert (robot.node._engine, counts) == (before, [])
        held.go_on.set()
        robot.until(answer.done)
    assert (answer.result().success, answer.result().message) == (True, 'told.onnx runs')
    assert robot.settle(3).dropped == {}
    robot.until(lambda: all(len(messages) == 3 for messages in robot.received.values()))
    labels = [plane(message) for message in robot.received['labels']]
    assert [np.unique(plane_).tolist() for plane_ in labels] == [[0], [0], [4]]
    assert [plane(m).any() for m in robot.received['drivable']] == [True, True, False]
    # The names came after the last labels of the old one, before the first of the new one.
    assert counts == [(2, 5)]
    robot.until(lambda: before._segmenter is None, 'the old one to be freed')


def test_a_model_that_cannot_take_over_leaves_the_old_one_running(
    robot, model, write_label_model, tmp_path
):
    robot.subscribe('labels')
    robot.set(mask_classes=['car'])
    (tmp_path / 'text.onnx').write_text('no model')
    for number, (path, reason) in enumerate(
        [
            (tmp_path / 'none.onnx', "no model file '"),
            (tmp_path / 'text.onnx', 'is not a readable ONNX file'),
            (write_label_model(FIVE), "unknown class 'car'"),
        ]
    ):
        answer = ask_for(robot, path)
        robot.until(answer.done)
        assert not answer.result().success
        assert reason in answer.result().message
        assert answer.result().message.endswith('; model.onnx goes on')
        # Who reads the classes there reads the right ones.
        assert robot.node.get_parameter('model').value == str(model.path)
        robot.send(told(4), header(number))
        assert robot.settle(number + 1).published == number + 1
    robot.until(lambda: len(robot.received['labels']) == 3)
    assert not any(plane(message).any() for message in robot.received['labels'])
    robot.subscribe('/diagnostics', kind=DiagnosticArray)
    robot.until(lambda: robot.received['/diagnostics'])
    _, _, values = diagnostics_of(robot)
    assert values['model'] == 'model.onnx'
    assert values['load_model'] == f'failed: {answer.result().message}'


@pytest.mark.parametrize('end', ['deactivate', 'cleanup', 'cleanup and activate'])
def test_a_model_that_is_ready_after_the_node_was_stopped(
    robot, loading, write_label_model, monkeypatch, end
):
    answer = ask_for(robot, write_label_model(FIVE))
    robot.until(loading.begun.is_set)
    assert robot.node.trigger_deactivate() == OK
    if end != 'deactivate':
        assert robot.node.trigger_cleanup() == OK
    if end == 'cleanup and activate':
        with monkeypatch.context() as patch:
            patch.setattr(engine_module, 'load_model', load_model)
            assert robot.node.trigger_configure() == robot.node.trigger_activate() == OK
    loading.go_on.set()
    robot.until(answer.done)
    if end != 'deactivate':
        message = 'the node was cleaned up meanwhile; configure it'
        assert answer.result().success is False
        assert answer.result().message.startswith(message)
    if end == 'cleanup':
        assert robot.node.trigger_configure() == OK
    if end != 'cleanup and activate':
        assert robot.node.trigger_activate() == OK
    robot.matched(robot.camera.topic_name)
    robot.subscribe('labels')
    robot.send(told(4))
    robot.until(lambda: robot.received['labels'])
    assert np.unique(plane(robot.received['labels'][0])).tolist() == [4]


# Lifecycle.


def test_lifecycle_round_trips_leave_nothing_behind(robot, capfd):
    threads = threading.active_count()
    capfd.readouterr()
    for _ in range(3):
        assert robot.node.trigger_deactivate() == OK
        assert robot.node.trigger_cleanup() == OK
        assert threading.active_count() == threads - 3
        assert '/linknet/labels' not in dict(robot.node.get_topic_names_and_types())
        assert robot.node.trigger_configure() == OK
        assert robot.node.trigger_activate() == OK
    assert threading.active_count() == threads
    robot.matched(robot.camera.topic_name)
    robot.subscribe('labels')
    robot.send(random_frame())
    robot.until(lambda: robot.received['labels'])
    robot.node.trigger_shutdown()
    said = [line.partition(']: ')[2] for line in capfd.readouterr().err.splitlines()]
    for line in (
        'deactivated: no longer subscribed to the camera',
        'cleaned up: the model is freed, the topics are gone',
        'waiting for frames on /image',
        'shut down',
    ):
        assert said.count(line) == (1 if line == 'shut down' else 3)


def test_frame_left_at_deactivation_is_counted(robot, monkeypatch):
    robot.subscribe('labels')
    started, go_on = threading.Event(), threading.Event()

    def slow(*_):
        started.set()
        go_on.wait(300)
        raise RuntimeError('never mind')

    monkeypatch.setattr(robot.node._engine.segmenter, 'infer', slow)
    for number in range(3):
        robot.send(random_frame())
        robot.until(lambda n=number: robot.counts().received > n)
        assert started.wait(300)
        if number == 1:
            # The first is in the network, the second fitted; the third has to wait.
            robot.until(lambda: robot.node.cameras.slots._items == [None])
    shut = robot.node.cameras.slots.shut

    def shut_and_go_on():
        shut()
        go_on.set()

    monkeypatch.setattr(robot.node.cameras.slots, 'shut', shut_and_go_on)
    assert robot.node.trigger_deactivate() == OK
    counts = robot.counts()
    assert counts.dropped == {Drop.FAILED: 2, Drop.INACTIVE: 1}


def test_configure_that_fails_can_be_put_right(open_robot, model, tmp_path, monkeypatch, capfd):
    robot = open_robot(model=str(tmp_path / 'none.onnx'))
    before = {p.topic_name for p in robot.node.publishers}
    assert robot.node.trigger_configure() == FAILURE
    assert f"no model file '{tmp_path}/none.onnx'" in capfd.readouterr().err

    def broken(path):
        raise RuntimeError('the library below is broken')

    with monkeypatch.context() as patch:
        patch.setattr('linknet_ros.node.engine.load_model', broken)
        assert robot.node.trigger_configure() == ERROR
    assert 'on_configure failed: RuntimeError: the library below' in capfd.readouterr().err
    assert {p.topic_name for p in robot.node.publishers} == before
    robot.set(model=str(model.path))
    robot.start()


def test_configure_that_fails_halfway_leaves_no_topic(open_robot, model):
    bad = {'qos_overrides./linknet/drivable.publisher.depth': 'deep'}
    robot = open_robot(model=str(model.path), **bad)
    before = {p.topic_name for p in robot.node.publishers}
    assert robot.node.trigger_configure() == ERROR
    assert {p.topic_name for p in robot.node.publishers} == before


def test_a_transition_that_cannot_be_is_refused_and_frames_go_on(robot, capfd):
    for transition in (1, 2, 5, 99):
        request = {'transition': ChangeState.Request().transition}
        request['transition'].id = transition
        assert not robot.call(ChangeState, '/linknet/change_state', **request).success
        said = f"transition '{transition}' is refused in state 'active'"
        assert said in capfd.readouterr().err
    robot.subscribe('labels')
    robot.send(random_frame())
    robot.until(lambda: robot.received['labels'])


@pytest.mark.filterwarnings('ignore::pytest.PytestUnhandledThreadExceptionWarning')
def test_a_thread_that_dies_does_not_keep_the_node_from_ending(robot, monkeypatch):
    def die():
        raise SystemExit

    monkeypatch.setattr(robot.node._pipeline._pace, 'free', die)
    robot.subscribe('labels')
    robot.send(random_frame())
    robot.until(lambda: not robot.node._pipeline._threads[1].is_alive())
    ending = threading.Thread(target=robot.node._stop, daemon=True)
    ending.start()
    ending.join(60)
    assert not ending.is_alive()


# Diagnostics.


def test_a_peer_that_qos_keeps_away_is_named_in_the_log_once(robot, monkeypatch, capfd):
    monkeypatch.setattr('linknet_ros.node.diagnostics._QOS_EVERY', 1)
    robot.peer.create_subscription(Image, 'linknet/labels', print, latched(1))
    # Subscriptions are seen before the names of their nodes are.
    robot.until(
        lambda: (
            [
                other.node_name
                for other in robot.node.get_subscriptions_info_by_topic('/linknet/labels')
            ]
            == ['peer']
        )
    )
    for _ in range(3):
        robot.node._publish_diagnostics()
    [said] = [line for line in capfd.readouterr().err.splitlines() if 'qos_overrides' in line]
    assert '[linknet]: /linknet/labels and /peer: ' in said


@pytest.fixture
def gpu_robot(open_robot, model, tmp_path):
    """A robot whose TensorRT is a stand-in: `gpu_robot(parameter=value) -> Robot`, started."""

    def start(**parameters):
        cache = {'tensorrt.cache_dir': str(tmp_path / 'engines')}
        robot = open_robot(model=str(model.path), **cache, **parameters).start()
        robot.subscribe('labels')
        robot.subscribe('/diagnostics', kind=DiagnosticArray)
        robot.until(lambda: robot.received['/diagnostics'])
        return robot

    return start


def diagnostics_of(robot):
    """Newest status that the node published, as (level, message, values)."""
    [status] = robot.received['/diagnostics'][-1].status
    return status.level, status.message, {value.key: value.value for value in status.values}


def send_until(robot, condition):
    """Send frames, each with its own labels, until a condition holds."""

    def sent():
        number = len(robot.received['labels'])
        frame = random_frame(64, 64, number)
        robot.send(frame, header(number))
        robot.until(lambda: len(robot.received['labels']) > number)
        np.testing.assert_array_equal(plane(robot.received['labels'][-1]), frame.argmax(2))
        return condition()

    robot.until(sent)


def test_processor_serves_until_the_engine_takes_over(gpu_robot, fake_gpu):
    fake_gpu()
    robot = gpu_robot(network_width=64, network_height=64)
    assert diagnostics_of(robot)[2]['backend'] in ('openvino', 'onnxruntime')
    send_until(robot, lambda: diagnostics_of(robot)[2]['backend'] == 'tensorrt')
    _, _, values = diagnostics_of(robot)
    assert (values['precision'], values['engine']) == ('fp16', 'tensorrt takes over, in fp16')
    assert 'passed over' not in values
    # The last one is counted a moment after its labels have come.
    counts = robot.settle(robot.counts().received)
    assert counts.received == counts.published


def test_another_model_takes_over_with_its_engine(gpu_robot, fake_gpu, write_label_model):
    fake_gpu()
    robot = gpu_robot(network_width=64, network_height=64)
    send_until(robot, lambda: robot.node._engine.segmenter.backend == 'tensorrt')
    robot.set(model=str(write_label_model(FIVE)))
    answer = robot.call(Trigger, '/linknet/load_model')
    assert (answer.success, answer.message) == (True, 'told.onnx runs')
    # Not by way of the processor, which would be slower than what ran before.
    assert robot.node._engine.segmenter.backend == 'tensorrt'


def test_failed_build_is_a_warning_for_those_who_asked_for_tensorrt(gpu_robot, fake_gpu):
    fake_gpu(build='fails')
    robot = gpu_robot(backend='tensorrt')
    send_until(robot, lambda: 'passed over' in diagnostics_of(robot)[2])
    level, message, values = diagnostics_of(robot)
    assert 'TensorRT' in values['passed over']
    assert values['passed over'].endswith(f'; {values["backend"]} goes on')
    assert level == b'\x01'
    assert message.startswith(values['passed over'])


def test_auto_says_why_tensorrt_was_passed_over(gpu_robot, fake_gpu):
    fake_gpu(devices=[])
    _, _, values = diagnostics_of(gpu_robot())
    assert 'cudaErrorInsufficientDriver (35)' in values['passed over']


# As a process.


def start_node(*parameters, **environment):
    command = [sys.executable, '-m', 'linknet_ros', 'segment_node', '--ros-args']
    for parameter in parameters:
        command += ['-p', parameter]
    return subprocess.Popen(
        command, env={**os.environ, **environment}, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize(
    ('parameters', 'message'),
    [
        (['model:=/nowhere.onnx'], "no model file '/nowhere.onnx'; check the model parameter"),
        (['backend:=tpu'], "parameter backend is 'tpu'; use one of auto, tensorrt"),
        (['min_confidence:=1'], 'it takes a number with a decimal point, e.g. 0.5'),
        (['mask_classes:=[unicorn]'], "unknown class 'unicorn'; the model knows: "),
    ],
)
def test_a_users_mistake_is_one_line_and_exit_code_1(model, parameters, message):
    process = start_node(f'model:={model.path}', 'backend:=onnxruntime', *parameters)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 1
    [line] = [line for line in errors.splitlines() if line]
    assert message in line


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize('waits', [False, True], ids=['for frames', 'for an engine'])
def test_signals_end_the_node_quietly(model, fake_gpu, tmp_path, number, waits):
    parameters, environment, sign = [f'model:={model.path}'], {}, 'waiting for frames'
    if waits:
        fake_gpu(build='hangs')
        parameters += [f'tensorrt.cache_dir:={tmp_path / "engines"}', 'backend:=tensorrt']
        parameters += ['tensorrt.wait_for_engine:=true']
        paths = [str(FAKES), *filter(None, [os.environ.get('PYTHONPATH')])]
        environment, sign = {'PYTHONPATH': os.pathsep.join(paths)}, 'building an engine: '
    process = start_node(*parameters, **environment)
    for line in process.stderr:
        if sign in line:
            break
    process.send_signal(number)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert 'Traceback' not in errors


def test_camera_info_that_was_published_once_before_the_node_came(context, open_robot, model):
    driver = rclpy.create_node('driver', context=context)
    info = CameraInfo(width=96, height=64, k=[50.0, 0, 48, 0, 50, 32, 0, 0, 1])
    driver.create_publisher(CameraInfo, '/camera_info', latched(1)).publish(info)
    robot = open_robot(model=str(model.path), backend='onnxruntime').start()
    robot.subscribe('labels')
    robot.subscribe('camera_info', kind=CameraInfo)

    def arrived():
        robot.send(np.zeros((64, 96, 3), np.uint8))
        return robot.received['camera_info']

    robot.until(arrived, 'the camera_info')
    driver.destroy_node()
    assert robot.received['camera_info'][0].k[0] == 50
    # Without a frame_id it is that of the image.
    assert robot.received['camera_info'][0].header.frame_id == robot.header.frame_id
