"""A bag that is written from messages as they are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from linknet_ros.errors import RecordingError
from linknet_ros.recordings.bag_messages import Messages
from linknet_ros.recordings.storage import Channel

#: Version of metadata.yaml: 8 is read by Humble and later, 9 by Jazzy and later only.
_VERSION = 8

#: A hash of no definition, for a type that nobody describes.
_NO_HASH = f'RIHS01_{"0" * 64}'


class BagWriter:
    """A bag in a folder; a context manager, which closes it or, after an error, leaves it.

    :param folder: where to make it; must not exist.
    :param storage: 'mcap' or 'sqlite3'.
    :param compress: pack the chunks of an MCAP file with zstd.
    :param about: what the bag's metadata says of its making, by name.
    :raises RecordingError: when it cannot be packed.
    """

    def __init__(
        self,
        folder: Path,
        storage: str,
        messages: Messages,
        *,
        compress: bool = False,
        about: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

        plugin = StoragePlugin[storage.upper()]
        self._writer = Writer(folder, version=_VERSION, storage_plugin=plugin)
        self._channels: dict[str, Channel] = {}
        if storage == 'mcap':
            # That of rosbags writes no checksums, and every message as of ROS 2.
            self._writer.STORAGE_PLUGINS = {plugin: partial(_McapStorage, self._channels, about)}
        if compress and storage != 'mcap':
            raise RecordingError(
                '--compress needs an .mcap output', 'name one that ends with .mcap'
            )
        if compress:
            self._writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
        if about:
            self._writer.set_custom_data('linknet_ros', json.dumps(about, sort_keys=True))
        self.messages = messages
        self._connections: dict[str, Any] = {}
        self._folder = folder

    def __enter__(self) -> BagWriter:
        """Begin."""
        self._writer.open()
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: Any) -> None:
        """End; index and metadata are written if all went well."""
        self._writer.__exit__(kind, *rest)

    @property
    def file(self) -> Path:
        """The storage file in the folder."""
        return next(f for f in self._folder.iterdir() if f.suffix in ('.mcap', '.db3'))

    def add(self, topic: str, kind: str, *, latched: bool = False) -> None:
        """Add a topic of this package: reliable, the last 10.

        :param latched: for messages that hold until the next one: the last, transient local.
        """
        from rosbags import interfaces as i

        forever = i.QosTime(2147483647, 4294967295)
        durability = i.QosDurability
        qos = i.Qos(
            i.QosHistory.KEEP_LAST,
            1 if latched else 10,
            i.QosReliability.RELIABLE,
            durability.TRANSIENT_LOCAL if latched else durability.VOLATILE,
            forever,
            forever,
            i.QosLiveliness.AUTOMATIC,
            forever,
            avoid_ros_namespace_conventions=False,
        )
        self._add(self.messages.described(Channel(topic, kind)), [qos])

    def copy(self, channel: Channel) -> bool:
        """Add a topic of another bag with its encoding, definition and QoS.

        :returns: whether the definition of its type is known.
        """
        from rosbags.rosbag2.metadata import parse_qos

        if channel.encoding == 'cdr':
            channel = self.messages.described(channel)
        try:
            profiles = parse_qos(channel.qos)
        except Exception:  # of a damaged file; the messages can be read without
            profiles = []
        self._add(channel, profiles)
        return bool(channel.schema) or channel.encoding != 'cdr'

    def write(self, topic: str, received: int, data: bytes) -> None:
        """Write a message.

        :param received: ns since the epoch.
        :param data: serialized as the topic's encoding says.
        """
        self._writer.write(self._connections[topic], received, data)

    def _add(self, channel: Channel, profiles: list[Any]) -> None:
        self._channels[channel.topic] = channel
        self._connections[channel.topic] = self._writer.add_connection(
            channel.topic,
            channel.kind,
            msgdef=channel.schema.decode(errors='replace'),
            rihs01=channel.digest or _NO_HASH,
            serialization_format=channel.encoding,
            offered_qos_profiles=profiles,
        )


class _McapStorage:
    """An MCAP file that rosbags writes to: any encoding, with checksums and metadata."""

    def __init__(
        self,
        channels: Mapping[str, Channel],
        about: Mapping[str, str],
        folder: Path,
        compression: Any,
    ) -> None:
        from mcap.writer import CompressionType, Writer

        self.path = folder / f'{folder.name}.mcap'
        self._channels, self._about = channels, about
        self._file = self.path.open('xb')
        packed = CompressionType.ZSTD if compression.name == 'STORAGE' else CompressionType.NONE
        self._writer = Writer(self._file, compression=packed)
        self._writer.start(profile='ros2', library='linknet_ros')
        self._schemas: dict[tuple[str, str], int] = {}
        self._ids: dict[int, int] = {}

    def add_msgtype(self, connection: Any) -> None:
        """Nothing: a schema is written with its first channel."""

    def add_connection(self, connection: Any, qos: str) -> None:
        """Add a channel, and its schema if it is the first of its type."""
        channel = self._channels[connection.topic]
        key = channel.kind, channel.form
        if channel.kind and key not in self._schemas:
            self._schemas[key] = self._writer.register_schema(*key, channel.schema)
        metadata = {'offered_qos_profiles': qos, 'topic_type_hash': channel.digest}
        self._ids[connection.id] = self._writer.register_channel(
            channel.topic,
            channel.encoding,
            self._schemas.get(key, 0),
            metadata if channel.encoding == 'cdr' else {},
        )

    def write(self, connection: Any, timestamp: int, data: bytes) -> None:
        """Write a message; `timestamp` in ns since the epoch."""
        self._writer.add_message(self._ids[connection.id], timestamp, data, timestamp)

    def close(self, version: int, metadata: str) -> None:
        """Write metadata and index."""
        self._writer.add_metadata('rosbag2', {'serialized_metadata': metadata})
        if self._about:
            self._writer.add_metadata('linknet_ros', dict(self._about))
        self._writer.finish()
        self._file.close()

    def abort(self) -> None:
        """Leave it as it is."""
        self._file.close()
