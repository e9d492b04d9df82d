"""The replay node, over real DDS."""

import subprocess
import sys

import cv2
import numpy as np
import pytest

pytest.importorskip('rclpy', reason='needs ROS 2 (pip install .[ros])')

from diagnostic_msgs.msg import DiagnosticArray
from nav_msgs.msg import OccupancyGrid
from rig import RELIABLE
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from linknet_ros.ground.grid import GridArea
from linknet_ros.ros.images import image_to_bgr
from linknet_ros.simulation.street import StreetDrive
from linknet_ros.simulation.truth import StreetTruth

#: The node waits for a subscriber of images: whoever subscribed before is known by then too.
TOPICS = {'camera_info': CameraInfo, 'ground_truth/labels': Image, 'image_raw': Image}


@pytest.fixture
def replay(open_rig):
    """Run the node to its end; returns messages by topic, log and exit code."""
    rig = open_rig('listener')
    received = {'diagnostics': []}
    take = received['diagnostics'].append
    rig.peer.create_subscription(DiagnosticArray, '/diagnostics', take, 10)

    def run(*remappings, topics=TOPICS, **parameters):
        for topic, kind in topics.items():
            messages = received[topic] = []
            rig.peer.create_subscription(kind, topic, messages.append, RELIABLE)
        command = [sys.executable, '-m', 'linknet_ros', 'replay_node', '--ros-args']
        for name, value in {'wait_for': 1, **parameters}.items():
            command += ['-p', f'{name}:={value}']
        for remapping in remappings:
            command += ['-r', remapping]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            rig.until(lambda: process.poll() is not None, 'the end of the node')
            # What it sent last is still on its way.
            before = -1
            while before != (before := sum(map(len, received.values()))):
                rig.spin(0.4)
            return received, process.stderr.read(), process.returncode

    return run


def test_records_what_nobody_listens_to(replay, tmp_path):
    pytest.importorskip('rosbags', reason='needs rosbags (pip install .[bags])')
    from rosbags.highlevel import AnyReader

    bag = tmp_path / 'drive'
    values = {'bag': bag, 'wait_for': 0, 'rate': 20.0, 'count': 3, 'seed': 3, 'look': 'snow'}
    _, _, code = replay(topics={}, width=160, height=120, **values)
    assert code == 0
    with AnyReader([bag]) as reader:
        read = [(c.topic, reader.deserialize(raw, c.msgtype)) for c, _, raw in reader.messages()]
    infos = [message for topic, message in read if topic == '/camera_info']
    images = [message for topic, message in read if topic == '/image_raw/compressed']
    assert [image.header for image in images] == [info.header for info in infos]
    street = StreetDrive(3, 160, 120, look='snow')
    assert [info.k[0] for info in infos] == [pytest.approx(street.camera.fx)] * 3
    for i, image in enumerate(images):
        pixels = cv2.imdecode(image.data, cv2.IMREAD_COLOR).astype(int)
        assert np.abs(pixels - street.frame(i / 20.0).bgr).mean() < 4
    cv2.imwrite(str(tmp_path / 'frame.png'), pixels)
    _, log, code = replay(topics={}, bag=bag, wait_for=0, source=tmp_path)
    assert code == 1
    assert f'{bag} exists already; name another bag, or delete it' in log


def test_street_with_camera_info_and_truth_at_one_stamp(replay):
    received, _, code = replay(count=5, rate=20.0, seed=3, width=160, height=120)
    assert code == 0
    street = StreetDrive(3, 160, 120)
    images = received['image_raw']
    assert len(images) == 5
    for i, image in enumerate(images):
        expected = street.frame(i / 20.0)
        np.testing.assert_array_equal(image_to_bgr(image), expected.bgr)
        for truth in received['ground_truth/labels']:
            if truth.header == image.header:
                labels = np.frombuffer(truth.data, np.uint8).reshape(120, 160)
                np.testing.assert_array_equal(labels, expected.labels)
    stamps = {(i.header.stamp.sec, i.header.stamp.nanosec) for i in images}
    assert len(stamps) == 5
    for topic in ('camera_info', 'ground_truth/labels'):
        headers = [message.header for message in received[topic]]
        assert len(headers) >= 3
        assert all(header in [image.header for image in images] for header in headers)
    info = received['camera_info'][0]
    assert info.k[0] == pytest.approx(street.camera.fx)
    assert info.k[5] == pytest.approx(street.camera.cy)
    assert images[0].header.frame_id == 'camera_optical_frame'


def test_true_ground_of_the_street_at_the_stamps_of_the_images(replay):
    grids = 'ground_truth/drivable_grid'
    topics = {grids: OccupancyGrid, 'image_raw': Image}
    received, log, code = replay(topics=topics, count=4, rate=10.0, seed=1)
    assert code == 0, log
    street = StreetDrive(1)
    truth = StreetTruth(street, street.camera, step=0.05)
    area = GridArea()
    stamps = [image.header.stamp for image in received['image_raw']]
    assert len(received[grids]) >= 2
    for grid in received[grids]:
        time = stamps.index(grid.header.stamp) / 10.0
        assert grid.header.frame_id == 'base_link'
        assert grid.info.resolution == pytest.approx(area.resolution)
        position = grid.info.origin.position
        assert (position.x, position.y, position.z) == (*area.corner, 0.0)
        cells = np.array(grid.data).reshape(grid.info.height, grid.info.width)
        free = truth.at(time, street.frame(time).labels).free(*area.centres())
        np.testing.assert_array_equal(cells, np.where(free, 0, -1))
        assert 3000 < free.sum() < 20000


def test_compressed_images(replay, tmp_path):
    """Alone, and with the raw ones at the same stamps wherever they are remapped to."""
    options = {'count': 3, 'rate': 20.0, 'seed': 3, 'width': 160, 'height': 120}
    received, log, code = replay(topics={'image_raw/compressed': CompressedImage}, **options)
    assert code == 0, log
    street = StreetDrive(3, 160, 120)
    images = received['image_raw/compressed']
    assert len(images) == 3
    for i, image in enumerate(images):
        assert image.format == 'bgr8; jpeg compressed bgr8'
        assert image.header.frame_id == 'camera_optical_frame'
        expected = street.frame(i / 20.0).bgr
        assert np.abs(image_to_bgr(image).astype(int) - expected).mean() < 6
    topics = {'/front/image': Image, '/front/image/compressed': CompressedImage}
    cv2.imwrite(str(tmp_path / 'frame.png'), expected)
    options = {'count': 3, 'rate': 20.0, 'source': tmp_path}
    received, _, _ = replay('image_raw:=/front/image', wait_for=2, topics=topics, **options)
    raw, compressed = (received[topic] for topic in topics)
    assert len(raw) == 3
    assert [m.header for m in raw] == [m.header for m in compressed]
    for image, jpeg in zip(raw, compressed, strict=True):
        difference = image_to_bgr(jpeg).astype(int) - image_to_bgr(image)
        assert np.abs(difference).mean() < 6


def test_folder_once_skips_the_broken_image_and_counts_it(replay, tmp_path):
    for i in range(4):
        cv2.imwrite(str(tmp_path / f'{i}.png'), np.full((24, 32, 3), 50 * i, np.uint8))
    whole = (tmp_path / '2.png').read_bytes()
    (tmp_path / '2.png').write_bytes(whole[: len(whole) // 2])
    received, log, code = replay(source=tmp_path, rate=20.0, loop='false')
    assert code == 0
    assert [image.data[0] for image in received['image_raw']] == [0, 50, 150]
    assert 'frame skipped' in log
    assert '2.png is cut short' in log
    assert '3 frames sent, 1 unreadable' in log
    last = {value.key: value.value for value in received['diagnostics'][-1].status[0].values}
    assert last == {'sent': '3', 'unreadable': '1'}


def test_folder_loops(replay, tmp_path):
    for i in range(2):
        cv2.imwrite(str(tmp_path / f'{i}.png'), np.full((24, 32, 3), 50 * i, np.uint8))
    received, log, _ = replay(source=tmp_path, rate=20.0, count=5, sourec='street')
    assert "unknown parameter 'sourec' is ignored; did you mean 'source'?" in log
    assert [image.data[0] for image in received['image_raw']] == [0, 50, 0, 50, 0]
    info = received['camera_info'][0]
    assert (info.width, info.height, info.k[0]) == (32, 24, 0.0)
    assert received['ground_truth/labels'] == []


@pytest.mark.parametrize(
    ('source', 'message'),
    [
        ('/nowhere', "no folder or video '/nowhere'; use an existing path, or 'street'"),
        ('{empty}', 'no image in folder'),
        (__file__, 'neither a folder of images nor a video'),
        ('{broken}', 'has no readable frame; use another source'),
    ],
)
def test_nothing_to_replay_is_one_line_and_exit_code_1(replay, tmp_path, source, message):
    (tmp_path / 'broken').mkdir()
    (tmp_path / 'broken' / '0.png').write_bytes(b'')
    received, log, code = replay(source=source.format(empty=tmp_path, broken=tmp_path / 'broken'))
    assert code == 1
    assert [message in line for line in log.splitlines()].count(True) == 1
    assert 'Traceback' not in log
    assert received['image_raw'] == []


def test_invalid_parameter_is_one_line_and_exit_code_1(replay):
    """What is said of others: test/ros/test_parameters.py."""
    _, log, code = replay(rate='0.0')
    assert code == 1
    [line] = [line for line in log.splitlines() if line]
    assert 'parameter rate is 0.0; use 0.1 to 1000' in line
