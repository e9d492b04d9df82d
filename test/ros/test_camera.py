"""Intrinsics out of CameraInfo, and mounts out of tf."""

import sys
import types

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='ROS 2 (ros-rclpy) not installed')

from builtin_interfaces.msg import Time
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header

from linknet_ros.errors import CalibrationError, ParameterError
from linknet_ros.ground.camera_info import camera_model_of
from linknet_ros.ground.mount import Mount
from linknet_ros.ros.camera import TfMounts, check_tf
from linknet_ros.ros.images import camera_info_for

HEADER = Header(stamp=Time(sec=12, nanosec=5), frame_id='camera_optical')


def info(**changes):
    values = dict(
        width=640,
        height=480,
        distortion_model='plumb_bob',
        d=[0.1, 0.2, 0.01, 0.02, 0.3],
        k=[500.0, 0, 320, 0, 510, 240, 0, 0, 1],
        p=[400.0, 0, 310, 0, 0, 410, 230, 0, 0, 0, 1, 0],
    )
    return CameraInfo(**values | changes)


def model(message, width, height, rectified=False):
    fitting = camera_info_for(message, HEADER, width, height)
    return camera_model_of(fitting, rectified)


def numbers(camera):
    return camera.width, camera.height, camera.fx, camera.fy, camera.cx, camera.cy


def test_numbers():
    camera = model(info(), 640, 480)
    assert numbers(camera) == (640, 480, 500, 510, 320, 240)
    assert camera.model == 'plumb_bob'
    assert camera.distortion == (0.1, 0.2, 0.01, 0.02, 0.3)
    assert {type(value) for value in camera.distortion} == {float}
    camera = model(info(), 640, 480, rectified=True)
    assert numbers(camera) == (640, 480, 400, 410, 310, 230)
    assert camera.distortion == ()


def test_not_calibrated():
    with pytest.raises(CalibrationError, match='not calibrated'):
        model(CameraInfo(), 640, 480)
    with pytest.raises(CalibrationError, match='not calibrated'):
        model(info(p=np.zeros(12)), 640, 480, rectified=True)


# tf, of which only a stand-in is here.


@pytest.fixture
def fake_tf(monkeypatch):
    """Stand-in for tf2_ros: `fake_tf.found` is (translation, rotation) or an error's text."""
    module = types.ModuleType('tf2_ros')
    module.asked = []
    module.found = ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0))
    module.listeners = []

    class TransformException(Exception):  # noqa: N818
        pass

    class Buffer:
        def lookup_transform(self, target, source, time):
            module.asked.append((target, source, time.nanoseconds))
            if isinstance(module.found, str):
                raise TransformException(module.found)
            (x, y, z), (qx, qy, qz, qw) = module.found
            return types.SimpleNamespace(
                transform=types.SimpleNamespace(
                    translation=types.SimpleNamespace(x=x, y=y, z=z),
                    rotation=types.SimpleNamespace(x=qx, y=qy, z=qz, w=qw),
                )
            )

    class TransformListener:
        def __init__(self, buffer, node):
            module.listeners.append(node)

        def unregister(self):
            module.listeners.pop()

    module.TransformException = TransformException
    module.Buffer = Buffer
    module.TransformListener = TransformListener
    monkeypatch.setitem(sys.modules, 'tf2_ros', module)
    return module


def test_mount_of_tf(fake_tf):
    fake_tf.found = ((0.5, 0.1, 1.2), (-0.5, 0.5, -0.5, 0.5))
    mounts = TfMounts('the node')
    mount = mounts.mount('base_footprint', HEADER)
    # Into the base frame, out of the optical one, when the frame was taken.
    assert fake_tf.asked == [('base_footprint', 'camera_optical', 12_000_000_005)]
    assert mount.near(Mount.from_angles(0.5, 0.1, 1.2), 1e-9, 1e-6)
    assert fake_tf.listeners == ['the node']
    mounts.close()
    assert fake_tf.listeners == []


def test_tf_does_not_know(fake_tf):
    fake_tf.found = '"base_link" passed to lookupTransform does not exist.\nmore'
    message = (
        "^tf does not say where 'camera_optical' is in 'base_link' "
        r'\("base_link" passed to lookupTransform does not exist\.\)$'
    )
    with pytest.raises(CalibrationError, match=message):
        TfMounts(None).mount('base_link', HEADER)


def test_without_tf2_ros(monkeypatch):
    monkeypatch.setitem(sys.modules, 'tf2_ros', None)
    for attempt in (check_tf, lambda: TfMounts(None)):
        with pytest.raises(ParameterError, match=r'^ground\.use_tf needs tf2_ros, .* install'):
            attempt()
