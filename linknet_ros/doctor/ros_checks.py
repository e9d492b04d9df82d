"""The doctor's checks of ROS and DDS; what imports ROS runs in a child process, `ros_probes`."""

from __future__ import annotations

import os
from glob import glob
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from linknet_ros.doctor.checks import built_for_numpy_1
from linknet_ros.doctor.finding import Finding, ok
from linknet_ros.system.child_process import Outcome, ask
from linknet_ros.system.package_files import SHM_PROFILE, package_file

#: Of the profile that ships, config/fastdds_shm.xml, bytes.
SHIPPED_SEGMENT = 64 * 1024 * 1024

#: Camera, node and planner each have a segment of their own.
_PROCESSES = 3

_MEMORY = '/dev/shm'

#: Distributions with Fast DDS 2, which reads the older name of the variable.
_FAST_DDS_2 = ('humble', 'iron', 'jazzy')
_OLD_NAME, _NEW_NAME = 'FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE'

_IMAGE, _COMPRESSED = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage'


def probe(name: str, *arguments: str, seconds: float = 60.0) -> Outcome:
    """Outcome of a probe of ros_probes."""
    return ask('linknet_ros.doctor.ros_probes', name, *arguments, seconds=seconds)


def ros() -> tuple[Finding, str]:
    """ROS and its middleware; and the middleware's name, empty where it does not work."""
    outcome = probe('ros')
    if outcome.works:
        distribution = outcome.value['distribution'] or 'distribution not set'
        text = f'{distribution}, {outcome.value["rmw"]}, domain {_domain()}'
        return ok('ROS', text), outcome.value['rmw']
    if not outcome.misses('rclpy'):
        requested = os.environ.get('RMW_IMPLEMENTATION')
        fix = 'source the setup.bash of ROS again, in a shell without a virtual environment'
        if requested:
            fix = f'unset RMW_IMPLEMENTATION (it is {requested}), or install that; {fix}'
        return Finding('ROS', 'error', f'does not start: {outcome.message}', fix), ''
    setups = sorted(glob('/opt/ros/*/setup.bash'))
    if setups:
        text = 'installed, but this Python does not find it'
        return Finding('ROS', 'error', text, f'source {" or ".join(setups)}'), ''
    fix = "install ROS 2 (docs.ros.org), or pip install '.[ros]' in a checkout"
    return Finding('ROS', 'error', 'not installed: no module rclpy', fix), ''


def _domain() -> str:
    local = os.environ.get('ROS_LOCALHOST_ONLY') == '1' or (
        os.environ.get('ROS_AUTOMATIC_DISCOVERY_RANGE') == 'LOCALHOST'
    )
    return os.environ.get('ROS_DOMAIN_ID', '0') + (', this machine only' if local else '')


def node(module: str) -> Finding:
    """Whether the node can be imported, with all messages that it needs."""
    outcome = probe('import', module)
    if outcome.works:
        return ok('node', f'{module} can be imported')
    package = outcome.module.partition('.')[0]
    fix = 'rosdep install --from-paths src --ignore-src -y in the workspace'
    if package.endswith(('_msgs', '_interfaces')):
        name = package.replace('_', '-')
        fix = f'sudo apt install ros-{os.environ.get("ROS_DISTRO", "<distribution>")}-{name}'
    if built_for_numpy_1(outcome):
        fix = "pip install 'numpy<2'"
    return Finding('node', 'error', f'{module} cannot be imported: {outcome.message}', fix)


def cv_bridge(numpy_version: str) -> Finding:
    """cv_bridge, which apt's ROS builds for NumPy 1; the node needs it for rare encodings only.

    :param numpy_version: e.g. '2.1.0'; empty if NumPy does not work.
    """
    outcome = probe('cv_bridge')
    if outcome.works:
        return ok('cv_bridge', 'works')
    if outcome.misses('cv_bridge'):
        return ok('cv_bridge', 'not installed; only encodings outside docs/node.md need it')
    text = f'does not work: {outcome.message}'
    fix = 'sudo apt install --reinstall ros-<distribution>-cv-bridge, or leave it'
    if built_for_numpy_1(outcome) or (
        outcome.failure == 'crash' and numpy_version.split('.')[0] not in ('', '0', '1')
    ):
        text = f'was built for NumPy 1, but {numpy_version} is installed ({outcome.message})'
        fix = "pip install 'numpy<2'; or leave it, where no other node here needs cv_bridge"
    return Finding('cv_bridge', 'warning', text, fix)


def dds_profile(rmw: str) -> tuple[Finding, int]:
    """The Fast DDS profile of this shell; and its shared-memory segment in bytes, 0 for none."""
    if rmw and 'fastrtps' not in rmw:
        return ok('DDS profile', f'none is needed for {rmw}'), 0
    shipped = package_file(SHM_PROFILE)
    distribution = os.environ.get('ROS_DISTRO', '')
    names: tuple[str, ...] = (_OLD_NAME, _NEW_NAME)
    if distribution:
        names = (_OLD_NAME,) if distribution in _FAST_DDS_2 else (_NEW_NAME,)
    fix = f'export {names[0]}={shipped}, for the camera driver too; launch files set it for nodes'
    name = next((name for name in names if os.environ.get(name)), None)
    if name is None:
        other = next((n for n in (_OLD_NAME, _NEW_NAME) if os.environ.get(n)), None)
        text = 'not set in this shell: large images would go over UDP in pieces'
        if other:
            text = f'{other} is set, which {distribution} does not read'
        return Finding('DDS profile', 'warning', text, fix), SHIPPED_SEGMENT
    path = os.environ[name]
    try:
        segment = segment_size(Path(path))
    except (OSError, ElementTree.ParseError, ValueError) as error:
        text = f'{name} is {path}, which Fast DDS cannot use: {error}'
        return Finding('DDS profile', 'warning', text, fix), SHIPPED_SEGMENT
    if segment < SHIPPED_SEGMENT // 8:
        text = f'{path} has a shared-memory segment of {_mib(segment)}: too small for images'
        return Finding('DDS profile', 'warning', text, fix), segment
    return ok('DDS profile', f'{path}, segments of {_mib(segment)}'), segment


def segment_size(profile: Path) -> int:
    """Bytes of the shared-memory segment in a Fast DDS profile, 0 where it has none."""
    elements = ElementTree.parse(profile).findall('.//{*}segment_size')
    return max((int(element.text or 0) for element in elements), default=0)


def shared_memory(segment: int) -> Finding:
    """Room for the segments of camera, node and planner.

    :param segment: bytes that each process takes.
    """
    name = 'shared memory'
    fix = (
        'remove what dead processes left with `fastdds shm clean`; start a container with '
        '`--shm-size=512m` or `--ipc=host`; or launch with shm_profile:=false'
    )
    try:
        status = os.statvfs(_MEMORY)
        files = [path for path in os.listdir(_MEMORY) if path.startswith(('fastrtps', 'fastdds'))]
    except OSError as error:
        return Finding(name, 'warning', f'{_MEMORY} cannot be used: {error.strerror}', fix)
    free = status.f_bavail * status.f_frsize
    text = f'{_mib(free)} of {_mib(status.f_blocks * status.f_frsize)} free in {_MEMORY}'
    if free < segment:
        # Fast DDS only notices when it writes, and the kernel ends it with SIGBUS.
        text += f', less than one segment of {_mib(segment)}: nodes can die of SIGBUS'
        return Finding(name, 'error', text, fix)
    if free < _PROCESSES * segment:
        text += f', too little for {_PROCESSES} processes with {_mib(segment)} each'
        return Finding(name, 'warning', text, fix)
    foreign = [path for path in files if not os.access(f'{_MEMORY}/{path}', os.W_OK)]
    if foreign:
        text += f'; {len(foreign)} segments belong to another user, whose messages do not arrive'
        fix = 'run camera and node as the same user'
        return Finding(name, 'warning', text, fix)
    return ok(name, text)


def _mib(size: int) -> str:
    return f'{size / 2**20:.0f} MiB'


def topic(name: str) -> Finding:
    """Whether frames come that the node can use."""
    outcome = probe('topic', name)
    if not outcome.works:
        invalid = 'topic name' in outcome.message
        fix = 'use a topic name like /camera/image_raw' if invalid else 'see the line on ROS above'
        return Finding('camera', 'error', f'{name}: {outcome.message}', fix)
    return camera(outcome.value)


def camera(seen: dict[str, Any]) -> Finding:
    """Finding on what the probe saw of a camera topic."""
    publishers = seen['publishers']
    text = f'{seen["topic"]}: '
    if not publishers:
        images = f'; image topics here: {", ".join(seen["images"][:5])}' if seen['images'] else ''
        fix = f'start the camera driver, in ROS_DOMAIN_ID {_domain()}; `ros2 topic list`'
        if f'{seen["topic"]}/compressed' in seen['images']:
            fix = 'set image_transport:=compressed: the camera sends compressed images only'
        return Finding('camera', 'error', f'{text}nobody publishes{images}', fix)
    text += '; '.join(f'{p["node"]} ({p["type"]}, {p["qos"]})' for p in publishers)
    usable = [p for p in publishers if p['type'] in (_IMAGE, _COMPRESSED)]
    if not usable:
        return Finding('camera', 'error', text, f'take a topic of type {_IMAGE}')
    compressed = usable[0]['type'] == _COMPRESSED
    if compressed and not seen['topic'].endswith('/compressed'):
        fix = (
            f'remap it to {seen["topic"]}/compressed, where image_transport:=compressed subscribes'
        )
        return Finding('camera', 'error', text, fix)
    problems = [p['problem'] for p in usable if p['problem']]
    if len(problems) == len(usable):
        fix = "set the camera's QoS, or the node's: qos_overrides.<topic>.subscription.*"
        return Finding('camera', 'error', f'{text}: QoS does not fit: {problems[0]}', fix)
    if seen['frame'] is None:
        fix = 'see the camera driver; from another machine: network, firewall, multicast'
        return Finding('camera', 'warning', f'{text}: no frame came', fix)
    text += f': {seen["frame"]}, {seen["rate"]:.1f} frames/s'
    if seen['problem']:
        fix = seen['fix'] or 'see the camera driver'
        return Finding('camera', 'error', f'{text}: {seen["problem"]}', fix)
    if compressed:
        text += f'; for image:={seen["topic"].removesuffix("/compressed")}'
        text += ' image_transport:=compressed'
    return ok('camera', text)
