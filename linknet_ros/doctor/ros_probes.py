"""What the doctor tries of ROS, each in a process of its own.

Nothing is imported before it is needed: any of it may be missing or kill the process.
"""

from __future__ import annotations

import importlib
import os
import sys
import time
from collections.abc import Callable
from typing import Any

from linknet_ros.system.child_process import answer

#: Seconds to wait for publishers, then for the first frame, then to count frames.
_DISCOVERY, _FIRST_FRAME, _COUNTING = 4.0, 4.0, 2.0


def _ros() -> Any:
    import rclpy
    from rclpy.utilities import get_rmw_implementation_identifier

    from linknet_ros.ros.process import ros_context

    with ros_context() as context:
        # A node, because only that loads the middleware and opens its transports.
        rclpy.create_node('linknet_doctor', context=context, enable_rosout=False).destroy_node()
        rmw = get_rmw_implementation_identifier()
    return {'distribution': os.environ.get('ROS_DISTRO', ''), 'rmw': rmw}


def _import(module: str) -> Any:
    importlib.import_module(module)


def _cv_bridge() -> Any:
    from cv_bridge import CvBridge
    from sensor_msgs.msg import Image

    image = Image(height=1, width=2, encoding='rgb8', step=6, data=[1, 2, 3, 4, 5, 6])
    # Another encoding, because only a conversion gets to the binary half of cv_bridge.
    bgr = CvBridge().imgmsg_to_cv2(image, desired_encoding='bgr8')
    if bgr.tolist() != [[[3, 2, 1], [6, 5, 4]]]:
        raise ArithmeticError('cv_bridge converts rgb8 to bgr8 wrongly')


def _topic(name: str) -> Any:
    import rclpy

    from linknet_ros.ros.process import ros_context

    with ros_context() as context:
        node = rclpy.create_node('linknet_doctor', context=context, enable_rosout=False)
        try:
            return _seen(node, node.resolve_topic_name(name))
        finally:
            node.destroy_node()


def _seen(node: Any, topic: str) -> dict[str, Any]:
    """Publishers of a topic, other image topics, and what came within some seconds."""
    from rclpy.executors import SingleThreadedExecutor
    from rclpy.qos import qos_profile_sensor_data
    from sensor_msgs.msg import CompressedImage, Image

    from linknet_ros.errors import FrameError
    from linknet_ros.ros.images import image_to_bgr

    executor = SingleThreadedExecutor(context=node.context)
    executor.add_node(node)

    def discovered() -> bool:
        # Who publishes is known before the node's name is.
        found = node.get_publishers_info_by_topic(topic)
        return bool(found) and all('UNKNOWN' not in info.node_name for info in found)

    _wait(executor, _DISCOVERY, discovered)
    publishers = [_publisher(info) for info in node.get_publishers_info_by_topic(topic)]
    kinds = {'sensor_msgs/msg/Image': Image, 'sensor_msgs/msg/CompressedImage': CompressedImage}
    images = {
        other
        for other, types in node.get_topic_names_and_types()
        if not kinds.keys().isdisjoint(types) and not other.endswith('/compressedDepth')
    }
    # A compressed topic beside the raw one says nothing new.
    others = sorted(images - {f'{other}/compressed' for other in images})
    seen: dict[str, Any] = {
        'topic': topic,
        'publishers': publishers,
        'images': others,
        'frame': None,
    }
    usable = [p['type'] for p in publishers if p['type'] in kinds and not p['problem']]
    if not usable:
        return seen
    frames: list[Any] = []
    node.create_subscription(kinds[usable[0]], topic, frames.append, qos_profile_sensor_data)
    if not _wait(executor, _FIRST_FRAME, lambda: frames):
        return seen
    image = frames.pop()
    frames.clear()
    start = time.monotonic()
    _wait(executor, _COUNTING, lambda: False)
    seen['rate'] = len(frames) / (time.monotonic() - start)
    seen['problem'] = seen['fix'] = ''
    seen['frame'] = _described(image)
    try:
        height, width = image_to_bgr(image).shape[:2]
        if isinstance(image, CompressedImage):
            seen['frame'] += f' {width}x{height}'
    except FrameError as error:
        seen['problem'], seen['fix'] = error.problem, error.fix
    return seen


def _publisher(info: Any) -> dict[str, str]:
    """Name, type and QoS of a publisher, and why the segmentation node cannot subscribe to it."""
    from rclpy.qos import QoSCompatibility, qos_check_compatible, qos_profile_sensor_data

    qos = info.qos_profile
    # The node's own subscription, see segment_node.
    compatible, reason = qos_check_compatible(qos, qos_profile_sensor_data)
    return {
        'node': f'{info.node_namespace.rstrip("/")}/{info.node_name}',
        'type': info.topic_type,
        'qos': f'{qos.reliability.name}, {qos.durability.name}'.lower().replace('_', ' '),
        'problem': reason if compatible == QoSCompatibility.ERROR else '',
    }


def _described(image: Any) -> str:
    """Encoding and size of an image message, or format and bytes of a compressed one."""
    if hasattr(image, 'encoding'):
        return f'{image.encoding} {image.width}x{image.height}'
    return f"'{image.format}' of {len(image.data) / 1000:.0f} kB,"


def _wait(executor: Any, seconds: float, ready: Any) -> Any:
    """Spin until something is there; returns it, or what is there in the end."""
    end = time.monotonic() + seconds
    while not ready() and time.monotonic() < end:
        executor.spin_once(timeout_sec=0.05)
    return ready()


PROBES: dict[str, Callable[..., Any]] = {
    'ros': _ros,
    'import': _import,
    'cv_bridge': _cv_bridge,
    'topic': _topic,
}


if __name__ == '__main__':
    probe, *given = sys.argv[1:]
    answer(lambda: PROBES[probe](*given))
