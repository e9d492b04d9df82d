"""Some frames of a recording, video or folder, evenly spread over it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from linknet_ros.errors import FrameError, RecordingError, SourceError
from linknet_ros.frames.files import read_image
from linknet_ros.frames.video import Video
from linknet_ros.recordings.bag_messages import Messages, need_rosbags
from linknet_ros.recordings.bag_reader import PACKED, STORAGES, Recording
from linknet_ros.recordings.bags import image_topic
from linknet_ros.recordings.files import images_or_video


def sample(
    source: str, count: int, topic: str = '', mono16_max: int = 0
) -> Iterator[NDArray[np.uint8] | FrameError | SourceError]:
    """Up to `count` frames, evenly spread; one that cannot be used comes as its error.

    :param source: a recording of rosbag2, a video, a folder of images, an image, or a pattern.
    :param topic: of the images of a recording; empty for the only one.
    :param mono16_max: of 16-bit samples, see frames.sixteen_bits.
    :returns: frames, (H, W, 3) uint8 BGR, and errors.
    :raises LinknetError: when there is nothing to read.
    """
    if is_recording(Path(source)):
        yield from _of_recording(Path(source), count, topic, mono16_max)
        return
    found = images_or_video(source)
    if isinstance(found, Video):
        # Only some containers know how many frames there are.
        wanted = set(_spread(found.count or sum(1 for _ in found.frames()), count))
        yield from (frame for i, (frame, _) in enumerate(found.frames()) if i in wanted)
        return
    for index in _spread(len(found), count):
        try:
            yield read_image(found[index], mono16_max=mono16_max)
        except SourceError as error:
            yield error


def is_recording(path: Path) -> bool:
    """Whether a path is a recording, by its name or what is in it; of ROS 1 as well."""
    suffixes = (*STORAGES, '.bag', *(s + packed for s in STORAGES for packed in PACKED))
    if path.is_dir():
        return any(inner.name.endswith(suffixes) for inner in path.iterdir())
    return path.name.endswith(suffixes)


def _of_recording(
    path: Path, count: int, topic: str, mono16_max: int
) -> Iterator[NDArray[np.uint8] | FrameError]:
    need_rosbags()
    with Recording(path) as recording:
        topic = image_topic(recording, topic)
        there = recording.survey([topic])[topic]
        if not there:
            raise RecordingError(f'no messages of {topic} in {path}')
        messages, kind = Messages(recording.distribution), recording.topics[topic].kind
        wanted = set(_spread(there, count))
        for index, (_, _, data) in enumerate(recording.messages([topic])):
            if index not in wanted:
                continue
            try:
                yield messages.frame(kind, data, mono16_max).bgr
            except FrameError as error:
                yield error


def _spread(there: int, count: int) -> list[int]:
    """That many whole numbers below `there`, or all, evenly spread with both ends."""
    return sorted({round(x) for x in np.linspace(0, there - 1, min(count, there))})
