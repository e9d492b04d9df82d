"""Image files or a video in, label images, pictures or a video out."""

from __future__ import annotations

import glob
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from linknet_ros.errors import FrameError, RecordingError, SourceError
from linknet_ros.frames.encode import encode_png
from linknet_ros.frames.files import (
    IMAGE_SUFFIXES,
    FrameSource,
    ImageSource,
    SourceFrame,
    VideoSource,
    open_files,
)
from linknet_ros.inference.model_file import load_model
from linknet_ros.products.products import COMPRESSED
from linknet_ros.recordings.batch import Update
from linknet_ros.recordings.journal import fingerprint
from linknet_ros.recordings.part_folder import PartFolder, is_done
from linknet_ros.recordings.report import Report
from linknet_ros.recordings.settings import Settings
from linknet_ros.recordings.worker import OfflineWorker

#: An output of this name is one video, any other a folder.
VIDEO = '.mp4'

#: A video's header is taken to be right, but for this share of its frames.
_DOUBT = 0.02


@dataclass(frozen=True)
class FilesJob:
    """What to do with one source.

    :param source: a folder of images, an image, a pattern such as 'a/*.png', or a video.
    :param rate: frames per second of a video that is written; 0 for that of the source, or 10.
    :param resume: see is_done, and `overwrite`.
    """

    source: str
    out: Path
    settings: Settings
    rate: float = 0.0
    resume: bool = False
    overwrite: bool = False


class _Sink(Protocol):
    """Takes the outputs."""

    def write(self, name: str, product: str, array: NDArray[np.uint8]) -> None:
        """Write one output of a frame."""

    def close(self) -> None:
        """End."""


def segment_source(job: FilesJob, progress: Update = lambda done, total: None) -> Report:
    """Segment every frame of a source once.

    :param progress: called after each frame.
    :raises LinknetError: when there is nothing to read, or the output cannot be made.
    :raises OSError: when the system fails; a run with `resume` may go on.
    """
    start = time.monotonic()
    report = Report(job.source, str(job.out))
    if is_done(job.out, resume=job.resume, overwrite=job.overwrite):
        report.skipped = True
        return report
    source, files = _open(job.source)
    with PartFolder(job.out, overwrite=job.overwrite) as part:
        made = part.fresh(job.out.name)
        sink = _sink(job, made, source)
        identity = {'files': [fingerprint(file) for file in files if file.is_file()]}
        with OfflineWorker(job.settings, part.path / 'journal', identity, report) as worker:
            for frame in source.frames():
                report.frames += 1
                _one(frame, worker, sink, report)
                progress(report.frames, getattr(source, 'count', 0) or len(files))
        sink.close()
        if isinstance(source, VideoSource) and report.frames < source.count * (1 - _DOUBT):
            report.damage.append(
                f'the video promises {source.count} frames, {report.frames} can be read'
            )
        part.finish(made)
    report.seconds = time.monotonic() - start
    return report


def _one(
    frame: SourceFrame | SourceError, worker: OfflineWorker, sink: _Sink, report: Report
) -> None:
    if isinstance(frame, SourceError):
        report.bad[str(frame)] += 1
        return
    try:
        for product, array in worker.products(report.frames - 1, frame.bgr):
            sink.write(frame.name or f'{report.frames - 1:06d}', product, array)
    except FrameError as error:
        report.bad[str(error)] += 1


def _open(text: str) -> tuple[FrameSource, list[Path]]:
    """A source, and the files that it reads."""
    path = Path(text)
    if path.is_file() and path.suffix.lower() in IMAGE_SUFFIXES:
        return ImageSource([path]), [path]
    if glob.has_magic(text) and not path.exists():
        found = (Path(name) for name in glob.glob(text, recursive=True))
        paths = sorted(p for p in found if p.suffix.lower() in IMAGE_SUFFIXES)
        if not paths:
            raise SourceError(f"no image matches '{text}' ({', '.join(IMAGE_SUFFIXES)})")
        return ImageSource(paths), paths
    source = open_files(text)
    return source, source.paths if isinstance(source, ImageSource) else [path]


def _sink(job: FilesJob, made: Path, source: FrameSource) -> _Sink:
    if job.out.suffix.lower() != VIDEO:
        return _Folder(made)
    names = job.settings.names(load_model(job.settings.model))
    if names not in (('color',), ('overlay',)):
        raise RecordingError(
            f'{job.out} can show only color or overlay, since a video changes class ids',
            'add --outputs overlay, or name a folder',
        )
    return _Video(made, job.rate or getattr(source, 'rate', 0.0) or 10.0)


class _Folder:
    """A folder of images for each output."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._paths: set[Path] = set()

    def write(self, name: str, product: str, array: NDArray[np.uint8]) -> None:
        suffix = '.jpg' if product == 'overlay/compressed' else '.png'
        folder = self._path / product.removesuffix(COMPRESSED)
        path = folder / f'{Path(name).stem}{suffix}'
        if path in self._paths:
            # a.png beside a.jpg, or a pattern over several folders
            path = next(p for p in _others(folder, name, suffix) if p not in self._paths)
        self._paths.add(path)
        folder.mkdir(parents=True, exist_ok=True)
        data = array if product.endswith(COMPRESSED) else encode_png(array)
        path.write_bytes(data.tobytes())

    def close(self) -> None:
        self._path.mkdir(parents=True, exist_ok=True)


def _others(folder: Path, name: str, suffix: str) -> Iterator[Path]:
    yield folder / f'{name}{suffix}'
    number = 2
    while True:
        yield folder / f'{Path(name).stem}-{number}{suffix}'
        number += 1


class _Video:
    """A video of one output; its first frame decides the size."""

    def __init__(self, path: Path, rate: float) -> None:
        self._path = path
        self._rate = rate
        self._size = (0, 0)
        self._frames = 0
        self._writer: cv2.VideoWriter | None = None

    def write(self, name: str, product: str, array: NDArray[np.uint8]) -> None:
        height, width = array.shape[:2]
        if self._writer is None:
            self._size = (width, height)
            codec = cv2.VideoWriter.fourcc(*'mp4v')
            self._writer = cv2.VideoWriter(str(self._path), codec, self._rate, self._size)
            if not self._writer.isOpened():
                raise RecordingError(
                    f'this OpenCV cannot write {self._path.suffix} of {width}x{height}',
                    'name a folder as the output',
                )
        if (width, height) != self._size:
            raise FrameError(
                f'a frame of {width}x{height} in a video of {self._size[0]}x{self._size[1]}'
            )
        self._writer.write(array)
        self._frames += 1

    def close(self) -> None:
        if self._writer is None:
            raise RecordingError(
                'none of the frames could be used, so there is nothing to show in a video'
            )
        self._writer.release()
        video = cv2.VideoCapture(str(self._path))
        written = int(video.get(cv2.CAP_PROP_FRAME_COUNT))
        video.release()
        if written != self._frames:
            raise RecordingError(
                f'{written} of {self._frames} frames are in the video', 'is the disk full?'
            )
