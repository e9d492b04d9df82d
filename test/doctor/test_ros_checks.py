"""The doctor's checks of ROS and DDS, each with its failure made real."""

import os
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
    assert finding.state == 'ok'
    assert rmw.startswith('rmw_')
    assert finding.text == f'jazzy, {rmw}, domain 77, this machine only'


def test_middleware_that_is_not_installed(monkeypatch):
    pytest.importorskip('rclpy', reason='needs ROS 2 (pip install .[ros])')
    monkeypatch.setenv('RMW_IMPLEMENTATION', 'rmw_none_cpp')
    finding, rmw = ros()
    assert (finding.state, rmw) == ('error', '')
    assert finding.text.startswith('does not start: ')
    assert finding.fix.startswith('unset RMW_IMPLEMENTATION (it is rmw_none_cpp)')


@pytest.mark.parametrize('setups', [[], ['/opt/ros/humble/setup.bash']])
def test_no_ros(missing, monkeypatch, setups):
    missing('rclpy')
    monkeypatch.setattr(module, 'glob', lambda pattern: setups)
    finding, rmw = ros()
    assert (finding.state, rmw) == ('error', '')
    if setups:
        assert finding.text == 'installed, but this Python does not find it'
        assert finding.fix == 'source /opt/ros/humble/setup.bash'
    else:
        assert finding.text == 'not installed: no module rclpy'
        assert finding.fix.startswith('install ROS 2')


@pytest.mark.parametrize(
    ('source', 'reason'),
    [
        (DIES, 'the process died of SIGSEGV'),
        ('raise ImportError("librcl.so: undefined symbol")', 'librcl.so: undefined symbol'),
        # Of a ROS built for another Python.
        ('import rclpy._rclpy_pybind11', "No module named 'rclpy._rclpy_pybind11'"),
    ],
)
def test_broken_ros(stand_in, source, reason):
    stand_in('rclpy', source)
    finding, _ = ros()
    assert (finding.state, finding.text) == ('error', f'does not start: {reason}')
    assert finding.fix.startswith('source the setup.bash of ROS again')


def test_node():
    assert node('linknet_ros.classes') == ok('node', 'linknet_ros.classes can be imported')


def test_node_without_a_message_package(stand_in, monkeypatch):
    monkeypatch.setenv('ROS_DISTRO', 'jazzy')
    stand_in('some_node', 'import no_such_msgs.msg')
    finding = node('some_node')
    assert finding.state == 'error'
    assert finding.text == "some_node cannot be imported: No module named 'no_such_msgs'"
    assert finding.fix == 'sudo apt install ros-jazzy-no-such-msgs'


def test_node_with_a_library_of_another_numpy(stand_in):
    stand_in('some_node', 'raise ImportError("numpy.core.multiarray failed to import")')
    assert node('some_node').fix == "pip install 'numpy<2'"


def test_node_that_kills_the_process(stand_in):
    stand_in('some_node', DIES)
    finding = node('some_node')
    assert finding.text == 'some_node cannot be imported: the process died of SIGSEGV'
    assert finding.fix.startswith('rosdep install')


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


def test_cv_bridge(bridge):
    bridge(BRIDGE)
    assert cv_bridge('1.26.4') == ok('cv_bridge', 'works')


def test_no_cv_bridge(missing):
    missing('cv_bridge')
    finding = cv_bridge('2.1.0')
    assert finding.state == 'ok'
    assert finding.text.startswith('not installed; only encodings')


@pytest.mark.parametrize(
    ('source', 'reason'),
    [
        (OLD_BRIDGE, '_ARRAY_API not found'),
        (DIES, 'the process died of SIGSEGV'),
        (OLD_BRIDGE.replace('AttributeError', 'ImportError'), '_ARRAY_API not found'),
    ],
)
def test_cv_bridge_of_numpy_1_under_numpy_2(bridge, source, reason):
    bridge(source)
    finding = cv_bridge('2.1.0')
    assert finding.state == 'warning'
    assert finding.text == f'was built for NumPy 1, but 2.1.0 is installed ({reason})'
    assert finding.fix.startswith("pip install 'numpy<2'; or leave it")


def test_cv_bridge_that_fails_for_another_reason(bridge):
    bridge('raise ImportError("libopencv_core.so.4.5d: cannot open shared object file")')
    finding = cv_bridge('1.26.4')
    assert finding.state == 'warning'
    assert finding.text.startswith('does not work: libopencv_core.so.4.5d')
    assert finding.fix.startswith('sudo apt install --reinstall')


def test_cv_bridge_that_converts_wrongly(bridge):
    bridge(BRIDGE.replace('pixels[..., ::-1]', 'pixels'))
    assert cv_bridge('1.26.4').text == 'does not work: cv_bridge converts rgb8 to bgr8 wrongly'


# DDS.

FAST = 'rmw_fastrtps_cpp'
OLD, NEW = 'FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE'


@pytest.fixture
def profile(tmp_path):
    """Write a profile with a segment of some size."""

    def write(size):
        path = tmp_path / 'profile.xml'
        text = package_file(SHM_PROFILE).read_text()
        path.write_text(text.replace('67108864', size))
        return str(path)

    return write


def test_shipped_profile(monkeypatch):
    path = str(package_file(SHM_PROFILE))
    assert segment_size(package_file(SHM_PROFILE)) == SHIPPED_SEGMENT
    monkeypatch.setenv(OLD, path)
    finding, segment = dds_profile(FAST)
    assert finding == ok('DDS profile', f'{path}, segments of 64 MiB')
    assert segment == SHIPPED_SEGMENT


def test_no_profile():
    finding, segment = dds_profile(FAST)
    assert (finding.state, segment) == ('warning', SHIPPED_SEGMENT)
    assert 'not set in this shell' in finding.text
    assert f'export {OLD}={package_file(SHM_PROFILE)}' in finding.fix


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


def test_profile_that_is_not_there(monkeypatch, tmp_path):
    monkeypatch.setenv(OLD, str(tmp_path / 'none.xml'))
    finding, segment = dds_profile(FAST)
    assert (finding.state, segment) == ('warning', SHIPPED_SEGMENT)
    assert 'No such file' in finding.text


@pytest.mark.parametrize('size', ['</segment_size', 'sixty-four'])
def test_profile_that_is_broken(monkeypatch, profile, size):
    monkeypatch.setenv(OLD, profile(size))
    finding, _ = dds_profile(FAST)
    assert finding.state == 'warning'
    assert 'which Fast DDS cannot use' in finding.text
    assert finding.fix.startswith('export ')


def test_profile_with_a_small_segment(monkeypatch, profile):
    monkeypatch.setenv(OLD, profile(str(MIB)))
    finding, segment = dds_profile(FAST)
    assert (finding.state, segment) == ('warning', MIB)
    assert 'shared-memory segment of 1 MiB: too small' in finding.text


def test_another_middleware_needs_none():
    finding, segment = dds_profile('rmw_cyclonedds_cpp')
    assert (finding.state, segment) == ('ok', 0)


@pytest.fixture
def memory(monkeypatch):
    """Let /dev/shm have some MiB free of 1000: `memory(64)`."""

    def give(free):
        status = SimpleNamespace(f_bavail=free, f_blocks=1000, f_frsize=MIB)
        monkeypatch.setattr(module.os, 'statvfs', lambda path: status)
        monkeypatch.setattr(module.os, 'listdir', lambda path: ['fastrtps_a', 'b'])
        monkeypatch.setattr(module.os, 'access', lambda path, mode: True)

    return give


def test_shared_memory(memory):
    memory(192)
    assert shared_memory(64 * MIB) == ok('shared memory', '192 MiB of 1000 MiB free in /dev/shm')


def test_shared_memory_for_two_processes(memory):
    memory(191)
    finding = shared_memory(64 * MIB)
    assert finding.state == 'warning'
    assert 'too little for 3 processes with 64 MiB each' in finding.text
    assert '--shm-size=512m' in finding.fix


def test_shared_memory_that_is_full(memory):
    memory(63)
    finding = shared_memory(64 * MIB)
    assert finding.state == 'error'
    assert 'less than one segment of 64 MiB: nodes can die of SIGBUS' in finding.text
    assert '`fastdds shm clean`' in finding.fix


def test_segments_of_another_user(memory, monkeypatch):
    memory(500)
    monkeypatch.setattr(module.os, 'access', lambda path, mode: path != '/dev/shm/fastrtps_a')
    finding = shared_memory(64 * MIB)
    assert finding.state == 'warning'
    assert '1 segments belong to another user' in finding.text
    assert finding.fix == 'run camera and node as the same user'


def test_no_shared_memory(monkeypatch, tmp_path):
    monkeypatch.setattr(module, '_MEMORY', str(tmp_path / 'shm'))
    finding = shared_memory(MIB)
    assert finding.state == 'warning'
    assert finding.text == f'{tmp_path / "shm"} cannot be used: No such file or directory'
    assert finding.fix


def test_shared_memory_of_this_machine():
    """Nothing is faked here: whatever it finds, it finds it in words."""
    assert '/dev/shm' in shared_memory(1).text
    assert os.path.isdir('/dev/shm')


# The camera.


def view(**changes):
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
    }
    return camera({**seen, **changes})


def test_camera():
    assert view() == ok(
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
            'remap it to /image/compressed, where image_transport:=compressed listens',
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
            {'problem': 'image encoding x cannot be converted; set the driver to bgr8'},
            'error',
            'image encoding x cannot be converted',
            'set the driver to bgr8',
        ),
    ],
)
def test_camera_that_does_not_fit(changes, state, text, fix):
    finding = view(**changes)
    assert finding.state == state
    assert text in finding.text
    assert fix in finding.fix


def test_topic_where_the_look_at_it_fails(monkeypatch):
    crashed = Outcome(failure='crash', message='the process died of SIGBUS')
    monkeypatch.setattr(module, 'probe', lambda *arguments: crashed)
    finding = topic('/image')
    assert (finding.state, finding.text) == ('error', '/image: the process died of SIGBUS')
    assert finding.fix
