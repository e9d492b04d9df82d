"""The doctor's checks of ROS and DDS, each with its failure made real."""

from types import SimpleNamespace

import pytest

from linknet_ros.doctor import ros_checks as module
from linknet_ros.doctor.finding import ok
from linknet_ros.doctor.ros_checks import (
    SHIPPED_SEGMENT,
    camera,
    cv_bridge,
    dds_profile,
    node,
    ros,
    segment_size,
    shared_memory,
    topic,
)
from linknet_ros.system.child_process import Outcome
from linknet_ros.system.package_files import SHM_PROFILE, package_file

DIES = 'import os, signal; os.kill(os.getpid(), signal.SIGSEGV)'
MIB = 2**20


@pytest.fixture(autouse=True)
def plain_shell(monkeypatch):
    """A shell in which nothing of ROS is set."""
    for name in (
        *('ROS_DISTRO', 'RMW_IMPLEMENTATION', 'ROS_DOMAIN_ID', 'ROS_LOCALHOST_ONLY'),
        *('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE'),
        'ROS_AUTOMATIC_DISCOVERY_RANGE',
    ):
        monkeypatch.delenv(name, raising=False)


# ROS.


def test_ros(monkeypatch):
    pytest.importorskip('rclpy', reason='needs ROS 2 (pip install .[ros])')
    monkeypatch.setenv('ROS_DISTRO', 'jazzy')
    monkeypatch.setenv('ROS_DOMAIN_ID', '77')
    monkeypatch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    finding, rmw = ros()
    assert rmw.startswith('rmw_')
    assert finding == ok('ROS', f'jazzy, {rmw}, domain 77, this machine only')
    monkeypatch.setenv('RMW_IMPLEMENTATION', 'rmw_none_cpp')
    finding, rmw = ros()
    assert (finding.state, rmw) == ('error', '')
    assert finding.text.startswith('does not start: ')
    assert finding.fix.startswith('unset RMW_IMPLEMENTATION (it is rmw_none_cpp)')


HUMBLE = '/opt/ros/humble/setup.bash'
AGAIN = 'source the setup.bash of ROS again'


@pytest.mark.parametrize(
    ('source', 'setups', 'text', 'fix'),
    [
        (None, [], 'not installed: no module rclpy', 'install ROS 2'),
        (None, [HUMBLE], 'installed, but this Python does not find it', f'source {HUMBLE}'),
        (DIES, [], 'does not start: the process died of SIGSEGV', AGAIN),
        ('raise ImportError("librcl.so: gone")', [], 'does not start: librcl.so: gone', AGAIN),
        # Of a ROS built for another Python.
        (
            'import rclpy._rclpy_pybind11',
            [],
            "does not start: No module named 'rclpy._rclpy_pybind11'",
            AGAIN,
        ),
    ],
)
def test_ros_that_is_missing_or_broken(stand_in, missing, monkeypatch, source, setups, text, fix):
    missing('rclpy') if source is None else stand_in('rclpy', source)
    monkeypatch.setattr(module, 'glob', lambda pattern: setups)
    finding, rmw = ros()
    assert (finding.state, finding.text, rmw) == ('error', text, '')
    assert finding.fix.startswith(fix)


def test_node():
    assert node('linknet_ros.classes') == ok('node', 'linknet_ros.classes can be imported')


@pytest.mark.parametrize(
    ('source', 'reason', 'fix'),
    [
        (
            'import no_such_msgs.msg',
            "No module named 'no_such_msgs'",
            'sudo apt install ros-jazzy-no-such-msgs',
        ),
        (
            'raise ImportError("numpy.core.multiarray failed to import")',
            'numpy.core.multiarray failed to import',
            "pip install 'numpy<2'",
        ),
        (DIES, 'the process died of SIGSEGV', 'rosdep install --from-paths src'),
    ],
)
def test_node_that_cannot_be_imported(stand_in, monkeypatch, source, reason, fix):
    monkeypatch.setenv('ROS_DISTRO', 'jazzy')
    stand_in('some_node', source)
    finding = node('some_node')
    assert finding.state == 'error'
    assert finding.text == f'some_node cannot be imported: {reason}'
    assert finding.fix.startswith(fix)


# cv_bridge.

MESSAGES = 'class Image:\n    def __init__(self, **fields): self.__dict__.update(fields)'

#: One that works: only rgb8 to bgr8.
BRIDGE = """
import numpy as np
class CvBridge:
    def imgmsg_to_cv2(self, image, desired_encoding):
        assert (image.encoding, desired_encoding) == ('rgb8', 'bgr8')
        pixels = np.array(image.data, np.uint8).reshape(image.height, image.width, 3)
        return pixels[..., ::-1]
"""

#: What apt's cv_bridge does under NumPy 2: the import works, the first conversion does not.
OLD_BRIDGE = """
import sys
class CvBridge:
    def imgmsg_to_cv2(self, image, desired_encoding):
        sys.stderr.write('A module that was compiled using NumPy 1.x cannot be run in')
        raise AttributeError('_ARRAY_API not found')
"""


@pytest.fixture
def bridge(stand_in):
    """Put a cv_bridge of some source, and the message it needs."""

    def put(source):
        stand_in('sensor_msgs', '')
        stand_in('sensor_msgs/msg', MESSAGES)
        stand_in('cv_bridge', source)

    return put


def test_cv_bridge(bridge, missing):
    bridge(BRIDGE)
    assert cv_bridge('1.26.4') == ok('cv_bridge', 'works')
    missing('cv_bridge')
    finding = cv_bridge('2.1.0')
    assert finding.state == 'ok'
    assert finding.text.startswith('not installed; only encodings')


NUMPY_1 = 'was built for NumPy 1, but 2.1.0 is installed '


@pytest.mark.parametrize(
    ('source', 'numpy', 'text', 'fix'),
    [
        (OLD_BRIDGE, '2.1.0', f'{NUMPY_1}(_ARRAY_API not found)', "pip install 'numpy<2'; or"),
        (DIES, '2.1.0', f'{NUMPY_1}(the process died of SIGSEGV)', "pip install 'numpy<2'; or"),
        (
            'raise ImportError("libopencv_core.so.4.5d: gone")',
            '1.26.4',
            'does not work: libopencv_core.so.4.5d: gone',
            'sudo apt install --reinstall',
        ),
        (
            BRIDGE.replace('pixels[..., ::-1]', 'pixels'),
            '1.26.4',
            'does not work: cv_bridge converts rgb8 to bgr8 wrongly',
            'sudo apt install --reinstall',
        ),
    ],
)
def test_cv_bridge_that_fails(bridge, source, numpy, text, fix):
    bridge(source)
    finding = cv_bridge(numpy)
    assert (finding.state, finding.text) == ('warning', text)
    assert finding.fix.startswith(fix)


# DDS.

FAST = 'rmw_fastrtps_cpp'
OLD, NEW = 'FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE'


def test_shipped_profile(monkeypatch):
    path = package_file(SHM_PROFILE)
    assert segment_size(path) == SHIPPED_SEGMENT
    monkeypatch.setenv(OLD, str(path))
    found = ok('DDS profile', f'{path}, segments of 64 MiB')
    assert dds_profile(FAST) == (found, SHIPPED_SEGMENT)
    assert dds_profile('rmw_cyclonedds_cpp')[1] == 0
    monkeypatch.delenv(OLD)
    finding, segment = dds_profile(FAST)
    assert (finding.state, segment) == ('warning', SHIPPED_SEGMENT)
    assert 'not set in this shell' in finding.text
    assert f'export {OLD}={path}' in finding.fix


@pytest.mark.parametrize(
    ('distribution', 'variable', 'other'),
    [('jazzy', OLD, NEW), ('humble', OLD, NEW), ('kilted', NEW, OLD)],
)
def test_profile_in_the_variable_of_another_distribution(
    monkeypatch, distribution, variable, other
):
    monkeypatch.setenv('ROS_DISTRO', distribution)
    monkeypatch.setenv(other, str(package_file(SHM_PROFILE)))
    finding, _ = dds_profile(FAST)
    assert finding.state == 'warning'
    assert finding.text == f'{other} is set, which {distribution} does not read'
    assert finding.fix.startswith(f'export {variable}=')
    monkeypatch.setenv(variable, str(package_file(SHM_PROFILE)))
    assert dds_profile(FAST)[0].state == 'ok'


@pytest.mark.parametrize(
    ('size', 'segment', 'text'),
    [
        (None, SHIPPED_SEGMENT, 'No such file'),
        ('</segment_size', SHIPPED_SEGMENT, 'which Fast DDS cannot use'),
        ('sixty-four', SHIPPED_SEGMENT, 'which Fast DDS cannot use'),
        (str(MIB), MIB, 'shared-memory segment of 1 MiB: too small'),
    ],
)
def test_profile_of_no_use(monkeypatch, tmp_path, size, segment, text):
    path = tmp_path / 'profile.xml'
    if size is not None:
        path.write_text(package_file(SHM_PROFILE).read_text().replace('67108864', size))
    monkeypatch.setenv(OLD, str(path))
    finding, found = dds_profile(FAST)
    assert (finding.state, found) == ('warning', segment)
    assert text in finding.text
    assert finding.fix.startswith('export ')


@pytest.mark.parametrize(
    ('free', 'foreign', 'state', 'text', 'fix'),
    [
        (192, False, 'ok', '192 MiB of 1000 MiB free in /dev/shm', ''),
        (191, False, 'warning', 'for 3 processes with 64 MiB each', '--shm-size=512m'),
        (63, False, 'error', 'less than one segment of 64 MiB: nodes can die', '`fastdds shm'),
        (500, True, 'warning', '1 segments belong to another user', 'as the same user'),
    ],
)
def test_shared_memory(monkeypatch, free, foreign, state, text, fix):
    status = SimpleNamespace(f_bavail=free, f_blocks=1000, f_frsize=MIB)
    monkeypatch.setattr(module.os, 'statvfs', lambda path: status)
    monkeypatch.setattr(module.os, 'listdir', lambda path: ['fastrtps_a', 'b'])
    monkeypatch.setattr(module.os, 'access', lambda path, mode: not foreign)
    finding = shared_memory(64 * MIB)
    assert finding.state == state
    assert text in finding.text
    assert fix in finding.fix


def test_shared_memory_of_this_machine(monkeypatch, tmp_path):
    # Nothing is faked here: whatever it finds, it finds it in words.
    assert '/dev/shm' in shared_memory(1).text
    monkeypatch.setattr(module, '_MEMORY', str(tmp_path / 'shm'))
    finding = shared_memory(MIB)
    assert finding.state == 'warning'
    assert finding.text == f'{tmp_path / "shm"} cannot be used: No such file or directory'


# The camera.


def checked(**changes):
    publisher = {
        'node': '/camera',
        'type': 'sensor_msgs/msg/Image',
        'qos': 'best effort, volatile',
        'problem': '',
    }
    seen = {
        'topic': '/image',
        'publishers': [{**publisher, **changes.pop('publisher', {})}],
        'images': [],
        'frame': 'bgr8 640x480',
        'rate': 29.96,
        'problem': '',
        'fix': '',
    }
    return camera({**seen, **changes})


def test_camera():
    assert checked() == ok(
        'camera',
        '/image: /camera (sensor_msgs/msg/Image, best effort, volatile): '
        'bgr8 640x480, 30.0 frames/s',
    )


@pytest.mark.parametrize(
    ('changes', 'state', 'text', 'fix'),
    [
        (
            {'publishers': [], 'images': ['/front/image_raw']},
            'error',
            '/image: nobody publishes; image topics here: /front/image_raw',
            'start the camera driver, in ROS_DOMAIN_ID 0',
        ),
        (
            {'publisher': {'type': 'sensor_msgs/msg/CompressedImage'}},
            'error',
            '(sensor_msgs/msg/CompressedImage, best effort, volatile)',
            'remap it to /image/compressed, where image_transport:=compressed subscribes',
        ),
        (
            {'publishers': [], 'images': ['/image/compressed']},
            'error',
            '/image: nobody publishes; image topics here: /image/compressed',
            'set image_transport:=compressed: the camera sends compressed images only',
        ),
        (
            {'publisher': {'type': 'std_msgs/msg/String'}},
            'error',
            'std_msgs/msg/String',
            'take a topic of type sensor_msgs/msg/Image',
        ),
        (
            {'publisher': {'problem': 'ERROR: deadlines'}, 'frame': None},
            'error',
            'QoS does not fit: ERROR: deadlines',
            'qos_overrides.<topic>.subscription.*',
        ),
        ({'frame': None}, 'warning', 'no frame came', 'see the camera driver'),
        (
            {'problem': 'image encoding x cannot be converted', 'fix': 'set the driver to bgr8'},
            'error',
            'image encoding x cannot be converted',
            'set the driver to bgr8',
        ),
    ],
)
def test_camera_that_does_not_fit(changes, state, text, fix):
    finding = checked(**changes)
    assert finding.state == state
    assert text in finding.text
    assert fix in finding.fix


def test_topic_whose_probe_fails(monkeypatch):
    crashed = Outcome(failure='crash', message='the process died of SIGBUS')
    monkeypatch.setattr(module, 'probe', lambda *arguments: crashed)
    finding = topic('/image')
    assert (finding.state, finding.text) == ('error', '/image: the process died of SIGBUS')
    assert finding.fix
