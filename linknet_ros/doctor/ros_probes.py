"""What the doctor tries of ROS, each in a process of its own.

Nothing is imported before it is asked for: any of it may be missing or kill the process.
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

    context = rclpy.Context()
    rclpy.init(args=[], context=context)
    # A node, because only that loads the middleware and opens its transports.
    node = rclpy.create_node('linknet_doctor', context=context, enable_rosout=False)
    rmw = get_rmw_implementation_identifier()
    node.destroy_node()
    rclpy.try_shutdown(context=context)
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
    from rclpy.executors import SingleThreadedExecutor
    from rclpy.qos import QoSCompatibility, qos_check_compatible, qos_profile_sensor_data
    from sensor_msgs.msg import CompressedImage, Image

    from linknet_ros.errors import FrameError
    from linknet_ros.ros.compressed import message_to_bgr

    context = rclpy.Context()
    rclpy.init(args=[], context=context)
    node = rclpy.create_node('linknet_doctor', context=context, enable_rosout=False)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    topic = node.resolve_topic_name(name)

    def discovered() -> bool:
        # Who publishes is known before the node's name is.
        found = node.get_publishers_info_by_topic(topic)
        return bool(found) and all('UNKNOWN' not in info.node_name for info in found)

    _wait(executor, _DISCOVERY, discovered)
    publishers = []
    for info in node.get_publishers_info_by_topic(topic):
        # The node's own subscription, see segment_node.
        qos = info.qos_profile
        compatible, reason = qos_check_compatible(qos, qos_profile_sensor_data)
        publishers.append(
            {
                'node': f'{info.node_namespace.rstrip("/")}/{info.node_name}',
                'type': info.topic_type,
                'qos': f'{qos.reliability.name}, {qos.durability.name}'.lower().replace('_', ' '),
                'problem': reason if compatible == QoSCompatibility.ERROR else '',
            }
        )
    result: dict[str, Any] = {'topic': topic, 'publishers': publishers, 'frame': None}
    kinds = {'sensor_msgs/msg/Image': Image, 'sensor_msgs/msg/CompressedImage': CompressedImage}
    images = {
        other
        for other, types in node.get_topic_names_and_types()
        if not kinds.keys().isdisjoint(types) and not other.endswith('/compressedDepth')
    }
    # A compressed topic beside the raw one says nothing new.
    result['images'] = sorted(images - {f'{other}/compressed' for other in images})
    frames: list[Any] = []
    usable = [p['type'] for p in publishers if p['type'] in kinds and not p['problem']]
    if usable:
        node.create_subscription(kinds[usable[0]], topic, frames.append, qos_profile_sensor_data)
        if _wait(executor, _FIRST_FRAME, lambda: frames):
            image = frames.pop()
            frames.clear()
            start = time.monotonic()
            _wait(executor, _COUNTING, lambda: False)
            result['rate'] = len(frames) / (time.monotonic() - start)
            result['problem'] = ''
            result['frame'] = _described(image)
            try:
                height, width = message_to_bgr(image).shape[:2]
                if isinstance(image, CompressedImage):
                    result['frame'] += f' {width}x{height}'
            except FrameError as error:
                result['problem'] = str(error)
    return result


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
