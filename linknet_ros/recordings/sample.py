"""Some frames of a recording, video or folder, evenly spread over it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from linknet_ros.recordings.frame_streams import Failed, FrameStream, open_streams


def sample(source: str, count: int, topic: str, failed: Failed) -> Iterator[NDArray[np.uint8]]:
    """Up to `count` frames, evenly spread, (H, W, 3) uint8 BGR.

    :param source: see open_streams.
    :param topic: of the images of a recording; empty for the only one.
    :param failed: called for one that cannot be used.
    :raises LinknetError: when there is nothing to read.
    """
    with open_streams([source], [topic]) as (stream,):
        there = stream.count or _counted(stream)
        wanted = {round(x) for x in np.linspace(0, there - 1, min(count, there))}
        for frame in stream.read(wanted.__contains__, failed):
            yield frame.bgr


def _counted(stream: FrameStream) -> int:
    """Frames of a video whose container does not know how many there are."""
    return sum(1 for _ in stream.read(lambda index: True))
