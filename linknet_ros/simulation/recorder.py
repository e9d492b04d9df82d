"""A bag of what a simulated camera publishes; knows messages as bytes only, and no ROS."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from linknet_ros.errors import RecordingError, SourceError


class Recorder:
    """Writes a bag, an MCAP file in a folder; `close` ends it.

    :param folder: where to make it.
    :raises SourceError: when something is there already.
    :raises RecordingError: when rosbags is not installed.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from rosbags.rosbag2 import StoragePlugin, Writer
            from rosbags.typesys import Stores, get_typestore
        except ImportError as error:
            raise RecordingError(
                f'recording a bag needs rosbags ({error})', 'pip install rosbags'
            ) from error
        if folder.exists():
            raise SourceError(f'{folder} exists already', 'name another bag, or delete it')
        # 8 is read by Humble and later, 9 by Jazzy and later only.
        self._writer = Writer(folder, version=8, storage_plugin=StoragePlugin.MCAP)
        self._types = get_typestore(Stores.ROS2_HUMBLE)
        self._connections: dict[str, Any] = {}
        self._folder = folder
        try:
            self._writer.open()
        except OSError as error:
            raise SourceError(f'cannot make {folder}: {error.strerror}') from error

    def write(self, topic: str, kind: str, stamp: int, data: bytes) -> None:
        """Write a message.

        :param kind: its type, e.g. 'sensor_msgs/msg/Image'.
        :param stamp: ns since the epoch.
        :param data: as ROS serializes it.
        :raises RecordingError: when it cannot be written.
        """
        with self._full_disk():
            if topic not in self._connections:
                self._connections[topic] = self._writer.add_connection(
                    topic, kind, typestore=self._types
                )
            self._writer.write(self._connections[topic], stamp, data)

    def close(self) -> None:
        """Write the index and metadata.

        :raises RecordingError: when they cannot be written.
        """
        with self._full_disk():
            self._writer.close()

    @contextmanager
    def _full_disk(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise RecordingError(
                f'cannot write the bag {self._folder}: {error.strerror}',
                'make room, or name another folder',
            ) from error
