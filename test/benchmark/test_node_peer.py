"""Camera and planner against a node of a few lines in a process of its own."""

import json
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='needs ROS 2 (pip install .[ros])')

from linknet_ros.system.child_process import ask

#: Answers a frame with labels of its stamp after 40 ms; the planner must not count other frames.
NODE = """
import time, rclpy
from sensor_msgs.msg import Image
rclpy.init()
node = rclpy.create_node('linknet', namespace='/here')
labels = node.create_publisher(Image, 'linknet/labels', 10)
def take(message):
    assert (message.height, message.width, message.encoding) == (4, 6, 'bgr8')
    assert bytes(message.data) in (bytes([0] * 72), bytes([1] * 72))
    assert message.header.frame_id == 'camera_optical_frame'
    time.sleep(0.04)
    labels.publish(Image(header=message.header))
node.create_subscription(Image, 'image', take, rclpy.qos.qos_profile_sensor_data)
rclpy.spin(node)
"""


@pytest.fixture
def node(context):
    process = subprocess.Popen([sys.executable, '-c', NODE])
    yield process
    process.kill()
    process.wait()


def measure(pid, pictures, **changes):
    cell = {'namespace': '/here', 'pictures': str(pictures), 'outputs': ['labels'], 'rate': 8.0}
    cell |= {'warm_up': 0.1, 'seconds': 1.0, **changes}
    return ask('linknet_ros.benchmark.node_peer', json.dumps([pid, *cell.values()]), seconds=300)


@pytest.fixture
def pictures(tmp_path):
    path = tmp_path / 'pictures.npy'
    np.save(path, np.arange(2, dtype=np.uint8)[:, None, None, None] * np.ones((1, 4, 6, 3), 'u1'))
    return path


def test_window(node, pictures):
    outcome = measure(node.pid, pictures)
    assert outcome.works, outcome
    found = outcome.value
    assert 40 <= found['latency_ms'] <= found['latency_p90_ms']
    # No camera is ahead of its clock, and none sends twice for what it missed.
    assert 0 < found['camera_fps'] < 8 * 1.3
    assert found['fps'] > 0
    assert found['cpu_ms'] >= 0
    assert found['peer_cpu_ms'] > 0
    # Clocks of 10 ms: a little less than nothing can come out.
    assert found['others'] > -0.2
    assert 0 < found['pss_mb'] <= found['rss_mb'] <= found['peak_mb']


def test_node_that_has_ended(pictures, context):
    ended = subprocess.Popen([sys.executable, '-c', ''])
    ended.wait(300)
    outcome = measure(ended.pid, pictures)
    assert outcome.failure == 'LinknetError'
    assert f'cannot read /proc/{ended.pid}/stat' in outcome.message
