"""A bag that is written from messages as they are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from linknet_ros.errors import RecordingError
from linknet_ros.recordings.bag_messages import Messages

#: Version of metadata.yaml: 8 is read by Humble and later, 9 by Jazzy and later only.
_VERSION = 8

#: A hash of no definition, for a type that nobody describes.
_NO_HASH = f'RIHS01_{"0" * 64}'


class BagWriter:
    """A bag in a folder; a context manager, which closes it or, after an error, leaves it.

    :param folder: that is made.
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
        if compress and storage != 'mcap':
            raise RecordingError('--compress needs an .mcap output; name one that ends with .mcap')
        if compress:
            self._writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
        for name, value in about.items():
            self._writer.set_custom_data(name, value)
        self._messages = messages
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

    def add(self, topic: str, kind: str) -> None:
        """Add a topic of this package: reliable, the last 10."""
        from rosbags import interfaces as i

        forever = i.QosTime(2147483647, 4294967295)
        qos = i.Qos(
            i.QosHistory.KEEP_LAST,
            10,
            i.QosReliability.RELIABLE,
            i.QosDurability.VOLATILE,
            forever,
            forever,
            i.QosLiveliness.AUTOMATIC,
            forever,
            avoid_ros_namespace_conventions=False,
        )
        self._connections[topic] = self._writer.add_connection(
            topic, kind, typestore=self._messages.types, offered_qos_profiles=[qos]
        )

    def copy(self, connection: Any) -> bool:
        """Add a topic of another bag with its definition and QoS.

        :returns: whether the definition of its type is known.
        """
        text, digest = self._definition(connection)
        self._connections[connection.topic] = self._writer.add_connection(
            connection.topic,
            connection.msgtype,
            msgdef=text,
            rihs01=digest or _NO_HASH,
            serialization_format=connection.ext.serialization_format,
            offered_qos_profiles=connection.ext.offered_qos_profiles,
        )
        return bool(text)

    def write(self, topic: str, received: int, data: bytes) -> None:
        """Write a message.

        :param received: ns since the epoch.
        :param data: serialized as CDR.
        """
        self._writer.write(self._connections[topic], received, data)

    def _definition(self, connection: Any) -> tuple[str, str]:
        """Definition of a type and its hash: of the bag, else of the distribution."""
        from rosbags.interfaces import MessageDefinitionFormat
        from rosbags.typesys import Stores, get_types_from_msg, get_typestore

        kind, text = connection.msgtype, connection.msgdef.data
        try:
            if not text:
                types = self._messages.types
                return types.generate_msgdef(kind, ros_version=2)[0], types.hash_rihs01(kind)
            if connection.digest or connection.msgdef.format != MessageDefinitionFormat.MSG:
                return text, connection.digest
            store = get_typestore(Stores.EMPTY)
            store.register(get_types_from_msg(text, kind))
            return text, store.hash_rihs01(kind)
        except Exception:  # a type that rosbags cannot describe; the messages are copied unread
            return text, ''
