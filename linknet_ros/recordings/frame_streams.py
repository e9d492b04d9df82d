"""The frames of bags, videos and images, gone through in any number of passes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from linknet_ros.errors import FrameError, RecordingError, SourceError
from linknet_ros.frames.files import read_image
from linknet_ros.frames.video import Video
from linknet_ros.limits import MAX_IMAGE_BYTES
from linknet_ros.recordings.bag_messages import (
    COMPRESSED,
    Messages,
    nanoseconds,
    need_rosbags,
)
from linknet_ros.recordings.bag_reader import STORAGES, Recording, unpacked_name
from linknet_ros.recordings.bags import image_topic
from linknet_ros.recordings.files import images_or_video
from linknet_ros.recordings.journal import fingerprint
from linknet_ros.system.bounded_file import read_file

#: Largest mean difference of a value that two decoders of one JPEG may have.
_ROUNDING = 1.0

#: Which frames to decode, by index.
Wanted = Callable[[int], bool]

#: Called for a frame that cannot be used, with its index and why.
Failed = Callable[[int, Exception], None]


@dataclass(frozen=True)
class StreamFrame:
    """A frame of a stream.

    :param index: in the stream, from 0.
    :param name: of its source and its moment, fit for a file; what is before the first '_' is the
        same for all frames of a stream, as it is for the sequences of training.
    :param stamp: ns of the header, or from the start of a video; None for images.
    :param bgr: (H, W, 3) uint8 BGR, upright.
    :param data: the JPEG or PNG file that it was decoded from; empty where there is none.
    """

    index: int
    name: str
    stamp: int | None
    bgr: NDArray[np.uint8]
    data: bytes = b''

    def file(self) -> tuple[str, bytes]:
        """Ending and contents of a file of the frame: as it came, if readers see the same in it.

        They do not if it has 16 bits, a Bayer pattern, or is turned by its EXIF.
        """
        if self.data and self._is_plain():
            return '.jpg' if self.data.startswith(b'\xff\xd8') else '.png', self.data
        # Not encode_png, whose rows of labels would make photographs larger.
        return '.png', cv2.imencode('.png', self.bgr)[1].tobytes()

    def _is_plain(self) -> bool:
        """Whether every reader sees the frame in its data, be it one that turns by EXIF or not."""
        encoded = np.frombuffer(self.data, np.uint8)
        if cv2.imdecode(encoded, cv2.IMREAD_ANYDEPTH).dtype != np.uint8:
            return False
        for how in (cv2.IMREAD_COLOR, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION):
            seen = cv2.imdecode(encoded, how)
            if seen.shape != self.bgr.shape or cv2.absdiff(seen, self.bgr).mean() > _ROUNDING:
                return False
        return True


def _ignore(index: int, error: Exception) -> None:
    pass


class FrameStream(Protocol):
    """Frames of one source, in their order."""

    #: What a user calls it.
    source: str
    #: Of the images; empty where there are no topics.
    topic: str
    #: Frames that are expected; 0: unknown.
    count: int
    #: What is wrong with it, a line each.
    damage: list[str]

    def identity(self) -> str:
        """What tells it from others, and changes with its files."""

    def read(self, wanted: Wanted, failed: Failed = _ignore) -> Iterator[StreamFrame]:
        """Go through it once."""


@contextmanager
def open_streams(
    sources: Sequence[str], topics: Sequence[str] = (), mono16_max: int = 0
) -> Iterator[list[FrameStream]]:
    """Open sources: bags, videos, folders of images, images, patterns.

    :param topics: of the images in bags, see segment_bag; empty for the only one.
    :param mono16_max: of frames with 16-bit samples, see frames.sixteen_bits.
    :raises LinknetError: when one cannot be read.
    """
    with ExitStack() as stack:
        streams: list[FrameStream] = []
        names: dict[str, int] = {}

        def name_of(text: str) -> str:
            # The sequence ends at the first '_', and files of all systems take these signs.
            name = ''.join(sign if sign.isalnum() or sign in '-+' else '-' for sign in text)
            name = name.strip('-') or 'frames'
            names[name] = names.get(name, 0) + 1
            return name if names[name] == 1 else f'{name}-{names[name]}'

        for source in sources:
            path = Path(source)
            if is_recording(path):
                need_rosbags()
                recording = stack.enter_context(Recording(path))
                for topic in topics or ('',):
                    chosen = image_topic(recording, topic)
                    stem = f'{path.resolve().stem}{chosen if len(topics) > 1 else ""}'
                    streams.append(_BagStream(recording, chosen, name_of(stem), mono16_max))
                continue
            found = images_or_video(source)
            if isinstance(found, Video):
                streams.append(_VideoStream(source, found, name_of(path.stem)))
            else:
                folder = found[0].parent.resolve().name
                streams.append(_ImageStream(source, found, name_of(folder), mono16_max))
        yield streams


def is_recording(path: Path) -> bool:
    """Whether a path is a recording, by its name or what is in it; of ROS 1 as well."""
    if path.is_dir():
        return any(p.name == 'metadata.yaml' or _is_storage(p) for p in path.iterdir())
    return _is_storage(path)


def _is_storage(path: Path) -> bool:
    return unpacked_name(path).suffix in (*STORAGES, '.bag')


def _moment(name: str, stamp: int) -> str:
    return f'{name}_{stamp // 10**9:06d}_{stamp % 10**9:09d}'


class _BagStream:
    def __init__(self, recording: Recording, topic: str, name: str, mono16_max: int) -> None:
        self.source, self.topic = str(recording.path), topic
        self._recording, self._name, self._mono16_max = recording, name, mono16_max
        self._messages = Messages(recording.distribution)
        self.count = recording.survey([topic])[topic]
        self.damage = recording.damage
        if not self.count:
            damage = ''.join(f'; {line}' for line in recording.damage)
            raise RecordingError(f'no messages of {topic} in {recording.path}{damage}')

    def identity(self) -> str:
        return f'{[fingerprint(file) for file in self._recording.files]} {self.topic}'

    def read(self, wanted: Wanted, failed: Failed = _ignore) -> Iterator[StreamFrame]:
        kind = self._recording.topics[self.topic].kind
        for index, (_, received, data) in enumerate(self._recording.messages([self.topic])):
            if not wanted(index):
                continue
            try:
                found = self._messages.frame(kind, data, self._mono16_max)
            except FrameError as error:
                failed(index, error)
                continue
            stamp = nanoseconds(found.header.stamp)
            # A driver that sets no stamps leaves only the time of receipt.
            name = _moment(self._name, stamp if stamp > 0 else received)
            encoded = self._messages.read(kind, data).data.tobytes() if kind == COMPRESSED else b''
            yield StreamFrame(index, name, stamp, found.bgr, encoded)


class _VideoStream:
    topic = ''

    def __init__(self, source: str, video: Video, name: str) -> None:
        self.source, self._video, self._name = source, video, name
        self.count = video.count
        self.damage = video.damage

    def identity(self) -> str:
        return fingerprint(self._video.path)

    def read(self, wanted: Wanted, failed: Failed = _ignore) -> Iterator[StreamFrame]:
        for index, (bgr, at) in enumerate(self._video.frames()):
            if wanted(index):
                stamp = round(at * 10**9)
                yield StreamFrame(index, _moment(self._name, stamp), stamp, bgr)


class _ImageStream:
    topic = ''

    def __init__(self, source: str, paths: list[Path], name: str, mono16_max: int) -> None:
        self.source, self._paths, self._name = source, paths, name
        self._mono16_max = mono16_max
        self.count = len(paths)
        self.damage: list[str] = []

    def identity(self) -> str:
        files = [f'{path.name} {path.stat().st_size}' for path in self._paths]
        return hashlib.sha256('\n'.join(files).encode()).hexdigest()

    def read(self, wanted: Wanted, failed: Failed = _ignore) -> Iterator[StreamFrame]:
        for index, path in enumerate(self._paths):
            if not wanted(index):
                continue
            try:
                bgr = read_image(path, mono16_max=self._mono16_max)
            except SourceError as error:
                failed(index, error)
                continue
            kept = path.suffix.lower() in ('.jpg', '.jpeg', '.png')
            data = read_file(path, MAX_IMAGE_BYTES) if kept else b''
            yield StreamFrame(index, f'{self._name}_{path.stem}', None, bgr, data)
