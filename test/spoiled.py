"""Messages that a robot must not send: a consumer that takes anything would prove nothing."""

import numpy as np
from builtin_interfaces.msg import Time
from rig import nanoseconds
from sensor_msgs.msg import Image
from std_msgs.msg import Header


def _with_rows(image, rows, step):
    result = Image(header=image.header, height=image.height, width=image.width)
    result.encoding, result.step = image.encoding, step
    result.data.frombytes(rows.tobytes())
    return result


def _rows(image):
    return np.frombuffer(image.data, np.uint8).reshape(image.height, -1)


def padded(image):
    """Rows with eight bytes more."""
    return _with_rows(image, np.pad(_rows(image), ((0, 0), (0, 8))), image.step + 8)


def transposed(image):
    """Columns one after the other."""
    return _with_rows(image, _rows(image).T, image.step)


def late(message):
    """A stamp of half a second later, as of a node that stamps what it sends."""
    later = nanoseconds(message.header.stamp) + 500_000_000
    stamp = Time(sec=later // 10**9, nanosec=later % 10**9)
    message.header = Header(frame_id=message.header.frame_id, stamp=stamp)
    return message
