"""Image files or a video in, label images, pictures or a video out."""

from __future__ import annotations

import glob
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from linknet_ros.errors import FrameError, RecordingError, SourceError
from linknet_ros.frames.encode import encode_png
from linknet_ros.frames.files import IMAGE_SUFFIXES, VideoSource, open_files, read_image
from linknet_ros.frames.video import Video, VideoWriter
from linknet_ros.inference.model_file import ModelFile, load_model
from linknet_ros.inference.segmenter import Segmentation
from linknet_ros.products.products import COMPRESSED, Products
from linknet_ros.recordings.batch import Update
from linknet_ros.recordings.journal import fingerprint
from linknet_ros.recordings.part_folder import PartFolder, is_done
from linknet_ros.recordings.report import Report, about_run
from linknet_ros.recordings.scene import close_scene, open_scene, show_frame
from linknet_ros.recordings.settings import Settings
from linknet_ros.recordings.worker import OfflineWorker, Task

#: An output of this name is one video, any other a folder.
VIDEO = '.mp4'

#: Pictures per second of a video that is made of images.
_RATE = 10.0


@dataclass(frozen=True)
class FilesJob:
    """What to do with one source.

    :param source: a folder of images, an image, a pattern such as 'a/*.png', or a video.
    :param rate: frames per second of a video that is written; 0 for the times of the source, or
        10 for images.
    :param rerun: file for the Rerun viewer to write as well.
    :param resume: see is_done, and `overwrite`.
    """

    source: str
    out: Path
    settings: Settings
    rate: float = 0.0
    rerun: Path | None = None
    resume: bool = False
    overwrite: bool = False


class _Frame(Task):
    """An image or a frame of a video.

    :param name: of the file, or number of the frame.
    :param at: seconds from the first.
    :param image: the file, or (H, W, 3) uint8 BGR.
    :param encode: whether the outputs become files, or pixels for a video.
    """

    is_frame = True

    def __init__(
        self, name: str, at: float, image: Path | NDArray[np.uint8], job: FilesJob, encode: bool
    ) -> None:
        super().__init__()
        self.name, self.at = name, at
        self.stamp = round(1e9 * at)
        self._image, self._job, self._encode = image, job, encode
        #: Outputs by name.
        self.outputs: list[tuple[str, NDArray[np.uint8]]] = []
        #: Frame and result, where they are kept for a scene.
        self.kept: tuple[NDArray[np.uint8], Segmentation] | None = None

    def frame(self) -> NDArray[np.uint8]:
        if isinstance(self._image, Path):
            mono16_max = self._job.settings.inference.mono16_max
            return read_image(self._image, mono16_max=mono16_max)
        return self._image

    def make(self, frame: NDArray[np.uint8], result: Segmentation, products: Products) -> None:
        settings = self._job.settings
        size = settings.inference.label_size(frame.shape[1], frame.shape[0])
        for name, array in products.of(frame, result, settings.outputs, size=size):
            encoded = self._encode and not name.endswith(COMPRESSED)
            self.outputs.append((name, encode_png(array) if encoded else array))
        if self._job.rerun is not None:
            self.kept = frame, result


class _Images:
    """Image files as a source."""

    def __init__(self, paths: list[Path]) -> None:
        self.files = paths
        self.count = len(paths)
        self.rate = _RATE
        self.damage: list[str] = []
        self.length = len(paths) / _RATE

    def frames(self) -> Iterator[tuple[str, float, Path | NDArray[np.uint8]]]:
        """Names, seconds from the first, and images, see _Frame."""
        for index, path in enumerate(self.files):
            yield path.name, index / self.rate, path


class _VideoFrames:
    """A video as a source."""

    def __init__(self, video: Video) -> None:
        self._video = video
        self.files = [video.path]
        self.count = video.count
        self.rate = video.rate or _RATE
        self.damage = video.damage
        self.length = 0.0

    def frames(self) -> Iterator[tuple[str, float, Path | NDArray[np.uint8]]]:
        """See _Images."""
        for index, (bgr, at) in enumerate(self._video.frames()):
            yield f'{index:06d}', at, bgr
        self.length = self._video.length


class _Sink(Protocol):
    """Takes the outputs."""

    #: Whether it takes encoded images.
    encoded: bool

    def write(self, task: _Frame) -> None:
        """Write the outputs of a frame.

        :raises FrameError: when it cannot take them.
        """

    def close(self, length: float) -> list[str]:
        """End; what is not as in the source.

        :param length: of the source, seconds.
        """


def segment_source(
    job: FilesJob,
    progress: Update = lambda done, total: None,
    *,
    model: ModelFile | None = None,
) -> Report:
    """Segment every frame of a source once.

    :param progress: called after each frame.
    :param model: the file of the settings, read already.
    :raises LinknetError: when there is nothing to read, or the output cannot be made.
    :raises OSError, sqlite3.Error: when the system fails; a run with `resume` may go on.
    """
    start = time.monotonic()
    report = Report(job.source, str(job.out))
    if is_done(job.out, resume=job.resume, overwrite=job.overwrite):
        report.skipped = True
        return report
    source = _open(job.source)
    if job.settings.inference.labels_like:
        report.notes.append('labels_like is a topic, which only recordings have')
    if job.settings.inference.temporal_filter and isinstance(source, _Images):
        report.notes.append('temporal_filter needs a video or a recording, not images')
    with PartFolder(job.out, overwrite=job.overwrite) as part:
        made = part.fresh(job.out.name)
        model = model or load_model(job.settings.model)
        sink = _sink(job, made, source.rate)
        scene = open_scene(job.rerun, model.classes, part)
        identity = {'files': [fingerprint(file) for file in source.files if file.is_file()]}
        with OfflineWorker(
            job.settings,
            part.path / 'journal',
            identity,
            report,
            frames=source.count,
            model=model,
            alone=isinstance(source, _Images),
        ) as worker:
            for task in worker.run(_tasks(source, job, sink)):
                if task.error is None:
                    try:
                        sink.write(task)
                    except FrameError as error:
                        report.reject(error)
                if scene is not None and task.kept is not None:
                    scene.at(round(1e9 * task.at))
                    show_frame(scene, *task.kept, task.seconds)
                progress(report.frames, source.count or None)
        length = report.frames / job.rate if job.rate else source.length
        report.notes += sink.close(length)
        if made.is_dir():
            about = about_run(job.settings, model.classes, report, Path(job.source).name)
            for name in ('classes', 'parameters'):
                about[name] = json.loads(about[name])
            text = json.dumps(about, indent=1)
            (made / 'classes.json').write_text(f'{text}\n', 'utf-8')
        report.damage += source.damage
        close_scene(scene, job.rerun, part)
        part.finish(made)
    report.seconds = time.monotonic() - start
    return report


def _tasks(source: _Images | _VideoFrames, job: FilesJob, sink: _Sink) -> Iterator[_Frame]:
    for index, (name, at, image) in enumerate(source.frames()):
        yield _Frame(name, index / job.rate if job.rate else at, image, job, sink.encoded)


def images_or_video(text: str) -> list[Path] | Video:
    """The files that a source names, see FilesJob: images, or a video.

    :raises SourceError: when there is nothing to read.
    """
    path = Path(text)
    if path.is_file() and path.suffix.lower() in IMAGE_SUFFIXES:
        return [path]
    if glob.has_magic(text) and not path.exists():
        found = (Path(name) for name in glob.glob(text, recursive=True))
        paths = sorted(p for p in found if p.suffix.lower() in IMAGE_SUFFIXES)
        if not paths:
            raise SourceError(f"no image matches '{text}' ({', '.join(IMAGE_SUFFIXES)})")
        return paths
    source = open_files(text)
    return source.video if isinstance(source, VideoSource) else source.paths


def _open(text: str) -> _Images | _VideoFrames:
    found = images_or_video(text)
    return _VideoFrames(found) if isinstance(found, Video) else _Images(found)


def _sink(job: FilesJob, made: Path, rate: float) -> _Sink:
    if job.out.suffix.lower() != VIDEO:
        return _Folder(made)
    if job.settings.outputs not in (('color',), ('overlay',)):
        raise RecordingError(
            f'{job.out} can show only color or overlay, since a video changes class ids',
            'add --outputs overlay, or name a folder',
        )
    return _VideoSink(made, job.rate or rate)


class _Folder:
    """A folder of images for each output."""

    encoded = True

    def __init__(self, path: Path) -> None:
        self._path = path
        self._paths: set[Path] = set()

    def write(self, task: _Frame) -> None:
        for product, data in task.outputs:
            suffix = '.jpg' if product == 'overlay/compressed' else '.png'
            folder = self._path / product.removesuffix(COMPRESSED)
            path = folder / f'{Path(task.name).stem}{suffix}'
            if path in self._paths:
                # a.png beside a.jpg, or a pattern over several folders
                path = next(p for p in _others(folder, task.name, suffix) if p not in self._paths)
            self._paths.add(path)
            folder.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data.tobytes())

    def close(self, length: float) -> list[str]:
        self._path.mkdir(parents=True, exist_ok=True)
        return []


def _others(folder: Path, name: str, suffix: str) -> Iterator[Path]:
    yield folder / f'{name}{suffix}'
    number = 2
    while True:
        yield folder / f'{Path(name).stem}-{number}{suffix}'
        number += 1


class _VideoSink:
    """A video of one output; its first frame decides the size."""

    encoded = False

    def __init__(self, path: Path, rate: float) -> None:
        self._writer = VideoWriter(path)
        self._rate = rate

    def write(self, task: _Frame) -> None:
        for _, picture in task.outputs:
            self._writer.write(picture, task.at, self._rate)

    def close(self, length: float) -> list[str]:
        self._writer.close(length)
        return self._writer.notes
