"""Sources of frames: the procedural street with its truth, a folder of images, or a video."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

from linknet_ros.errors import SourceError
from linknet_ros.frames.files import FolderSource, SourceFrame, VideoSource, open_files
from linknet_ros.simulation.street import PinholeCamera, StreetDrive
from linknet_ros.simulation.truth import FreeGround, StreetTruth

#: Name of the procedural street as a source.
STREET = 'street'


@dataclass(frozen=True)
class StreetSourceFrame(SourceFrame):
    """A frame of the street.

    :param ground: computes the true free ground, which takes some milliseconds.
    """

    ground: Callable[[], FreeGround] = field(kw_only=True)


class StreetSource:
    """The procedural street with its true labels; it never ends.

    :param seed: which street.
    :param size: (width, height) of the frames [px].
    :param rate: frames per second of the drive.
    :param look: of the street, see StreetDrive.
    """

    def __init__(self, seed: int, size: tuple[int, int], rate: float, look: str = 'town') -> None:
        self._drive = StreetDrive(seed, *size, look=look)
        # Half a cell of the grid is fine enough.
        self._truth = StreetTruth(self._drive, self._drive.camera, step=0.05)
        self._rate = rate

    @property
    def camera(self) -> PinholeCamera:
        """The camera of the drive."""
        return self._drive.camera

    def frames(self) -> Iterator[SourceFrame | SourceError]:
        """See FrameSource."""
        for i in itertools.count():
            time = i / self._rate
            frame = self._drive.frame(time)
            ground = partial(self._truth.at, time, frame.labels)
            yield StreetSourceFrame(frame.bgr, frame.labels, ground=ground)


def open_source(
    source: str,
    *,
    seed: int = 0,
    size: tuple[int, int] = (480, 360),
    rate: float = 10.0,
    look: str = 'town',
) -> StreetSource | FolderSource | VideoSource:
    """Open a source of frames.

    :param source: 'street', a folder of images, or a video file.
    :param seed: of the street, see StreetSource.
    :param size: of the street's frames.
    :param rate: of the street.
    :param look: of the street.
    :raises SourceError: when there is nothing to replay.
    """
    if source == STREET:
        return StreetSource(seed, size, rate, look)
    if not os.path.exists(source):
        raise SourceError(f"no folder or video '{source}'", f"use an existing path, or '{STREET}'")
    return open_files(source)
