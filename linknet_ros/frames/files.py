"""Frames from files: a folder of images, or a video."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from linknet_ros.errors import SourceError, first_line
from linknet_ros.frames.id_images import ids_of, palette_of, with_indices_as_palette
from linknet_ros.frames.sixteen_bits import to_eight_bits
from linknet_ros.frames.video import VIDEO_SUFFIXES, Video
from linknet_ros.limits import MAX_IMAGE_BYTES
from linknet_ros.system.bounded_file import read_file

IMAGE_SUFFIXES = ('.png', '.jpg', '.jpeg', '.bmp', '.tif', '.tiff', '.webp')

#: How a whole file of these formats ends; a decoder may fill what is missing with grey.
_ENDS = {b'\x89PNG': b'IEND', b'\xff\xd8\xff': b'\xff\xd9'}


@dataclass(frozen=True)
class SourceFrame:
    """One frame of a source.

    :param bgr: (H, W, 3) uint8 BGR.
    :param labels: true class ids, (H, W) uint8; ids that the label set does not have are void;
        None where they are not known.
    :param name: of its file; empty where it has none of its own.
    """

    bgr: NDArray[np.uint8]
    labels: NDArray[np.uint8] | None
    name: str = ''


class FrameSource(Protocol):
    """Frames that can be gone through once or again and again."""

    def frames(self) -> Iterator[SourceFrame | SourceError]:
        """Go through the frames once; one that cannot be read comes as its error."""


def open_files(source: str) -> FolderSource | VideoSource:
    """Open a folder of images or a video file.

    :raises SourceError: when there is nothing to read.
    """
    path = Path(source)
    try:
        if path.is_dir():
            return FolderSource(path)
        there = path.is_file()
    except OSError as error:
        raise SourceError(f"cannot open '{source}': {error.strerror}") from error
    if there and path.suffix.lower() in VIDEO_SUFFIXES:
        return VideoSource(path)
    if there:
        raise SourceError(
            f"cannot replay '{source}': neither a folder of images nor a video "
            f'({", ".join(VIDEO_SUFFIXES)})'
        )
    raise SourceError(f"no folder or video '{source}'", 'give an existing path')


class FolderSource:
    """The images of a folder by name, with labels from `<folder>annot` where that exists.

    :raises SourceError: when the folder has no image.
    """

    def __init__(self, folder: Path) -> None:
        self.paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
        if not self.paths:
            raise SourceError(
                f'no image in folder {folder}',
                f'it should hold {", ".join(IMAGE_SUFFIXES)} files',
            )

    def frames(self) -> Iterator[SourceFrame | SourceError]:
        """See FrameSource."""
        for path in self.paths:
            try:
                frame = read_image(path)
                yield SourceFrame(frame, self._labels(path, frame.shape[:2]), path.name)
            except SourceError as error:
                yield error

    def _labels(self, path: Path, shape: tuple[int, ...]) -> NDArray[np.uint8] | None:
        # The layout of CamVid: val/ beside valannot/.
        annotations = path.parent.parent / f'{path.parent.name}annot'
        names = (f'{path.stem}.png', f'{path.stem}.PNG')
        annotation = next((p for n in names if (p := annotations / n).is_file()), None)
        if annotation is None:
            return None
        labels = read_ids(annotation)
        if labels.dtype != np.uint8 or labels.ndim != 2:
            raise SourceError(
                f"{annotation} is {labels.dtype} {labels.shape}, expected 8 bits of its frame's "
                f'size {tuple(shape)}',
                f'correct the folder {annotations.name} or take it away',
            )
        check_size(annotation, labels, path, shape)
        return labels.astype(np.uint8, copy=False)


class VideoSource:
    """The frames of a video file; see Video.

    :raises SourceError: when there is nothing to read.
    """

    def __init__(self, path: Path) -> None:
        self.video = Video(path)

    def frames(self) -> Iterator[SourceFrame | SourceError]:
        """See FrameSource."""
        for bgr, _ in self.video.frames():
            yield SourceFrame(bgr, None)


def read_image(path: Path, color: bool = True, mono16_max: int = 0) -> NDArray[np.uint8]:
    """Read an image file.

    :param color: as (H, W, 3) BGR, turned as its EXIF orientation says; else as a decoder sees the
        file. For class ids see read_ids.
    :param mono16_max: of frames with 16-bit samples, see sixteen_bits.
    :raises SourceError: when it cannot be read, is cut short or too large, or is not an image.
    """
    how = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH if color else cv2.IMREAD_UNCHANGED
    image = _decode(path, _read(path), how)
    if color and image.dtype == np.uint16:
        return to_eight_bits(np.asarray(image, np.uint16), mono16_max)
    if color and image.dtype != np.uint8:
        raise SourceError(f'{path} has samples of {image.dtype}', 'convert it to 8 or 16 bits')
    result: NDArray[np.uint8] = image
    return result


def read_ids(path: Path) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Class ids as the file has them.

    Samples of a PNG of 1, 2 or 4 bits and indices of a palette stay what they are. An image of 16
    bits whose ids fit into 8, and one whose channels are all equal, is one of 8-bit ids.

    :returns: (H, W) uint8; (H, W) uint16 or (H, W, channels) of a file that has no such ids.
    :raises SourceError: as read_image does, or when parts of it are transparent.
    """
    data = _read(path)
    return ids_of(path, data, _decode(path, with_indices_as_palette(data), cv2.IMREAD_UNCHANGED))


def read_palette(path: Path) -> NDArray[np.uint8] | None:
    """Colours (n, 3) uint8 RGB of a PNG's palette; None for a file that has none.

    :raises SourceError: when it cannot be read.
    """
    return palette_of(_read(path))


def check_size(
    path: Path, ids: NDArray[np.generic], frame_path: Path, shape: Sequence[int]
) -> None:
    """Refuse an annotation that was not made for its frame.

    :param path: of the annotation `ids`.
    :param shape: of the frame as read_image reads it, which turns it as EXIF says.
    :raises SourceError: naming both sizes.
    """
    if ids.shape[:2] == tuple(shape[:2]):
        return
    sizes = [f'{s[1]}x{s[0]}' for s in (ids.shape, shape)]
    how = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    if _decode(frame_path, _read(frame_path), how).shape[:2] == ids.shape[:2]:
        raise SourceError(
            f'{path} is {sizes[0]}, as {frame_path} is stored; its EXIF orientation turns that '
            f'frame to {sizes[1]}',
            'turn the annotation as well, or take the orientation out of the frame '
            '(exiftool -Orientation= FRAME)',
        )
    raise SourceError(
        f'{path} is {sizes[0]}, its frame {sizes[1]}',
        'frames and annotations must be of one size and the same release',
    )


def _read(path: Path) -> bytes:
    try:
        data = read_file(path, MAX_IMAGE_BYTES)
    except OSError as error:
        raise SourceError(f'cannot read {path}: {error.strerror}') from error
    for start, end in _ENDS.items():
        if data.startswith(start) and end not in data[-4096:]:
            raise SourceError(f'{path} is cut short ({len(data)} bytes)', 'copy it again')
    return data


def _decode(path: Path, data: bytes, how: int) -> NDArray[Any]:
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), how) if data else None
    except cv2.error as error:
        raise SourceError(
            f'{path} cannot be decoded ({first_line(error)})',
            'make a smaller copy, or set OPENCV_IO_MAX_IMAGE_PIXELS if it has so many pixels',
        ) from error
    if image is None:
        raise SourceError(f'{path} is not a readable image ({len(data)} bytes)', 'copy it again')
    result: NDArray[Any] = image
    return result
