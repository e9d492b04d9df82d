"""Image messages of a recording to BGR arrays and back, without ROS.

`rosbags` and `mcap` are imported when a recording is opened: `pip install rosbags mcap tqdm`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linknet_ros.errors import FrameError, LinknetError, first_line
from linknet_ros.frames.raw import compressed_to_bgr, image_to_bgr
from linknet_ros.recordings.storage import Channel

IMAGE = 'sensor_msgs/msg/Image'
COMPRESSED = 'sensor_msgs/msg/CompressedImage'


def need_rosbags() -> None:
    """Check that rosbags and mcap are installed.

    :raises LinknetError: if not.
    """
    try:
        import mcap.reader  # noqa: F401
        import rosbags.rosbag2  # noqa: F401
    except ImportError as error:
        raise LinknetError(
            f'reading recordings needs rosbags and mcap ({error})',
            'pip install rosbags mcap tqdm',
        ) from error


def nanoseconds(stamp: Any) -> int:
    """A builtin_interfaces/Time in ns."""
    return int(stamp.sec) * 10**9 + int(stamp.nanosec)


@dataclass(frozen=True)
class StampedFrame:
    """A frame of a recording.

    :param header: std_msgs/Header as rosbags has it.
    :param bgr: (H, W, 3) uint8 BGR; it may be read-only.
    """

    header: Any
    bgr: NDArray[np.uint8]


class Messages:
    """Reads and makes messages.

    :param distribution: of ROS, for the definitions; Jazzy if it is not known. Image messages are
        the same in all.
    """

    def __init__(self, distribution: str = '') -> None:
        from rosbags.typesys import Stores, get_typestore

        stores = {store.value: store for store in Stores}
        name = f'ros2_{distribution.lower()}'
        self.types = get_typestore(stores.get(name, Stores.ROS2_JAZZY))

    def frame(self, kind: str, data: bytes, mono16_max: int = 0) -> StampedFrame:
        """Read a frame.

        :param kind: IMAGE or COMPRESSED.
        :param data: the message, serialized as CDR.
        :param mono16_max: of 16-bit samples, see frames.sixteen_bits.
        :raises FrameError: when it cannot be used.
        """
        try:
            message: Any = self.types.deserialize_cdr(data, kind)
        except Exception as error:  # SerdeError, and what else damaged bytes lead to
            raise FrameError(f'the message is damaged ({first_line(error)})') from error
        if kind == COMPRESSED:
            bgr = compressed_to_bgr(message, mono16_max)
        else:
            bgr = image_to_bgr(message, mono16_max=mono16_max)
        return StampedFrame(message.header, bgr)

    def read(self, kind: str, data: bytes) -> Any:
        """A message of any type that is known here, as rosbags has it; None if it is damaged."""
        try:
            return self.types.deserialize_cdr(data, kind)
        except Exception:  # as above
            return None

    def write(self, message: Any, kind: str) -> bytes:
        """Serialize a message."""
        return bytes(self.types.serialize_cdr(message, kind))

    def register(self, definitions: Mapping[str, str]) -> None:
        """Add types by their definitions; those that are known already stay."""
        from rosbags.typesys import get_types_from_msg

        for kind, text in definitions.items():
            if kind not in self.types.types:
                self.types.register(get_types_from_msg(text, kind))

    def described(self, channel: Channel) -> Channel:
        """A channel with definition and hash of its type: the recorded one, else ROS's own."""
        from rosbags.typesys import Stores, get_types_from_msg, get_typestore

        kind, store = channel.kind, self.types
        try:
            if not channel.schema:
                text = store.generate_msgdef(kind, ros_version=2)[0].encode()
                channel = replace(channel, form='ros2msg', schema=text)
            elif channel.digest or channel.form != 'ros2msg':
                return channel
            else:
                store = get_typestore(Stores.EMPTY)
                store.register(get_types_from_msg(channel.schema.decode(), kind))
            return replace(channel, digest=store.hash_rihs01(kind))
        except Exception:  # a type that rosbags cannot describe; its messages are copied unread
            return channel

    def image(self, array: NDArray[np.uint8], header: Any) -> bytes:
        """Serialize an image.

        :param array: uint8, (H, W) becomes mono8, (H, W, 3) BGR becomes bgr8.
        :param header: of the frame.
        """
        height, width = array.shape[:2]
        channels = 1 if array.ndim == 2 else 3
        message = self.types.types[IMAGE](
            header=header,
            height=height,
            width=width,
            encoding='mono8' if channels == 1 else 'bgr8',
            is_bigendian=0,
            step=width * channels,
            data=np.ascontiguousarray(array).reshape(-1),
        )
        return self.write(message, IMAGE)

    def compressed(self, encoded: NDArray[np.uint8], form: str, header: Any) -> bytes:
        """Serialize a compressed image.

        :param encoded: (bytes,) uint8, a PNG or JPEG.
        :param form: as compressed_image_transport writes it, 'mono8; png compressed '.
        """
        message = self.types.types[COMPRESSED](header=header, format=form, data=encoded)
        return self.write(message, COMPRESSED)
