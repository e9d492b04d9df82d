"""The doctor's look at a camera topic, over real DDS."""

import threading

import cv2
import numpy as np
import pytest

pytest.importorskip('rclpy', reason='needs ROS 2 (pip install .[ros])')

import rclpy
from rclpy.qos import QoSProfile, qos_profile_sensor_data
from sensor_msgs.msg import CompressedImage, Image

from linknet_ros.doctor import ros_checks
from linknet_ros.doctor.ros_checks import topic
from linknet_ros.system.child_process import ask

#: The probe, with other times until it gives up.
PATIENT = """
import sys
from linknet_ros.doctor import ros_probes
from linknet_ros.system.child_process import answer
ros_probes._DISCOVERY, ros_probes._FIRST_FRAME = {discovery}, {first_frame}
probe, *given = sys.argv[1:]
answer(lambda: ros_probes.PROBES[probe](*given))
"""


@pytest.fixture
def patient(stand_in, monkeypatch):
    """Let a busy machine take longer than a user wants to wait: `patient(first_frame=1)`."""

    def make(discovery=60, first_frame=60):
        stand_in('patient', '')
        stand_in('patient/__main__', PATIENT.format(discovery=discovery, first_frame=first_frame))
        monkeypatch.setattr(ros_checks, 'probe', lambda *a: ask('patient', *a, seconds=300))

    return make


@pytest.fixture
def publish(context):
    """Publish a message on /camera/image ten times a second, or offer the topic only."""
    node = rclpy.create_node('camera', context=context)
    done = threading.Event()
    threads = []

    def start(kind, message, qos=qos_profile_sensor_data, topic='/camera/image'):
        publisher = node.create_publisher(kind, topic, qos)

        def run():
            while not done.wait(0.1):
                publisher.publish(message)

        if message is not None:
            threads.append(threading.Thread(target=run))
            threads[-1].start()

    yield start
    done.set()
    for thread in threads:
        thread.join()
    node.destroy_node()


def image(encoding):
    return Image(height=2, width=4, encoding=encoding, step=12, data=bytes(24))


def test_camera(publish, patient):
    patient()
    publish(Image, image('bgr8'))
    finding = topic('/camera/image')
    assert finding.state == 'ok', finding
    expected = '/camera/image: /camera (sensor_msgs/msg/Image, best effort, volatile): bgr8 4x2, '
    assert finding.text.startswith(expected)


def test_reliable_camera_of_an_encoding_that_cannot_be_used(publish, patient):
    patient()
    publish(Image, image('32FC3'), QoSProfile(depth=1))
    finding = topic('/camera/image')
    assert finding.state == 'error'
    assert '(sensor_msgs/msg/Image, reliable, volatile): 32FC3 4x2' in finding.text
    assert "image encoding '32FC3' cannot be converted to BGR" in finding.text
    assert finding.fix.startswith('set the camera driver to bgr8')


def test_camera_that_is_silent(publish, patient):
    patient(first_frame=1)
    publish(Image, None)
    finding = topic('camera/image')
    assert finding.state == 'warning'
    assert finding.text.endswith(': no frame came')


JPEG = cv2.imencode('.jpg', np.zeros((24, 32, 3), np.uint8))[1].tobytes()


@pytest.mark.parametrize(
    ('data', 'state', 'text'),
    [
        (JPEG, 'ok', "'rgb8; jpeg compressed bgr8' of 1 kB, 32x24, "),
        (JPEG[:-9], 'error', 'is cut short: the end of the JPEG is missing'),
    ],
)
def test_compressed_camera(publish, patient, data, state, text):
    patient()
    image = CompressedImage(format='rgb8; jpeg compressed bgr8', data=data)
    publish(CompressedImage, image, topic='/camera/image/compressed')
    finding = topic('/camera/image/compressed')
    assert finding.state == state, finding
    assert '(sensor_msgs/msg/CompressedImage, best effort, volatile)' in finding.text
    assert text in finding.text
    if state == 'ok':
        assert finding.text.endswith('; for image:=/camera/image image_transport:=compressed')


def test_other_topics_of_cameras_are_named(publish, patient):
    patient(discovery=12)
    publish(CompressedImage, None, topic='/camera/image/compressed')
    publish(Image, None, topic='/camera/raw')
    finding = topic('/camera/image')
    assert finding.state == 'error'
    assert finding.text.endswith('image topics here: /camera/image/compressed, /camera/raw')
    assert finding.fix.startswith('set image_transport:=compressed')


def test_name_that_is_none(context):
    finding = topic('/no topic')
    assert finding.state == 'error'
    assert finding.fix == 'use a topic name like /camera/image_raw'
    # Not where in its sources rcl found that.
    assert finding.text.endswith("'_', '~', '{', or '}'")
