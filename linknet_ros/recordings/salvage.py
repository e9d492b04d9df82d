"""What the readers of damaged bag files have in common.

They have the methods that this package uses of rosbags' own, and say in `damage` what they had to
leave out. Messages come in the order of the file.
"""

from __future__ import annotations

import contextlib
from typing import Any

#: What a frame of Zstandard starts with; a message of CDR starts with a zero.
_ZSTD = b'\x28\xb5\x2f\xfd'

#: Connection, time of receipt in ns, and data.
Message = tuple[Any, int, bytes]


def connection_of(
    number: int, topic: str, name: str, encoding: str, text: str, digest: str, qos: str
) -> Any:
    """What rosbags calls a connection."""
    from rosbags.interfaces import (
        Connection,
        ConnectionExtRosbag2,
        MessageDefinition,
        MessageDefinitionFormat,
    )
    from rosbags.rosbag2.metadata import parse_qos

    form = {'ros2msg': MessageDefinitionFormat.MSG, 'ros2idl': MessageDefinitionFormat.IDL}
    definition = MessageDefinition(form.get(encoding, MessageDefinitionFormat.NONE), text)
    try:
        profiles = parse_qos(qos)
    except Exception:  # of a damaged file; the topic can be read without
        profiles = []
    extra = ConnectionExtRosbag2('cdr', profiles)
    return Connection(number, topic, name, definition, digest, 0, extra, None)


def plain(data: bytes) -> bytes:
    """A message that may have been compressed by itself."""
    if not data.startswith(_ZSTD):
        return data
    with contextlib.suppress(Exception):  # damaged: nothing of it is used later on
        data = zstd_module().decompress(data)
    return data


def zstd_module() -> Any:
    """The module that rosbags decompresses with."""
    try:
        from compression import zstd
    except ImportError:
        from backports import zstd
    return zstd
