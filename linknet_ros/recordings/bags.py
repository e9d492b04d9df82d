"""One recording in, one recording out, in one process."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linknet_ros.errors import RecordingError
from linknet_ros.ground.camera_info import SIZED, size_of
from linknet_ros.inference.model_file import ModelFile, load_model
from linknet_ros.inference.segmenter import Segmentation
from linknet_ros.products.products import COMPRESSED as ENCODED
from linknet_ros.products.products import Products, message_format
from linknet_ros.products.rerun_scene import RerunScene
from linknet_ros.recordings.bag_messages import (
    COMPRESSED,
    IMAGE,
    Messages,
    nanoseconds,
    need_rosbags,
)
from linknet_ros.recordings.bag_reader import STORAGES, Recording
from linknet_ros.recordings.bag_writer import BagWriter
from linknet_ros.recordings.batch import Update
from linknet_ros.recordings.extras import Extras
from linknet_ros.recordings.journal import fingerprint
from linknet_ros.recordings.part_folder import PartFolder, is_done
from linknet_ros.recordings.report import Report, about_run
from linknet_ros.recordings.scene import close_scene, open_scene, show_frame
from linknet_ros.recordings.settings import Settings
from linknet_ros.recordings.storage import Channel
from linknet_ros.recordings.worker import OfflineWorker, Task

#: In BagJob.keep: all topics.
ALL = 'all'

#: What to do about images that are not of ROS 2, by encoding.
_WAYS_OUT = {
    'ros1': 'convert the .bag that it was made from: rosbags-convert --src x.bag --dst x',
}
_WAY_OUT = 'extract its images into a folder, and give that to segment_files'


@dataclass(frozen=True)
class BagJob:
    """What to do with one recording; can be sent to another process.

    :param source: folder or storage file of rosbag2.
    :param out: a name that ends with .mcap or .db3 becomes a file, any other a folder.
    :param topic: of the images, empty where the recording has only one.
    :param camera_info: topic, empty for the one beside the images.
    :param depth: topic of depth, see CloudSettings.
    :param prefix: of the topics that are added.
    :param keep: original topics that are taken over, or (ALL,).
    :param compress: pack the output with zstd.
    :param rerun: file for the Rerun viewer to write as well.
    :param resume: see is_done, and `overwrite`.
    """

    source: Path
    out: Path
    settings: Settings
    topic: str = ''
    camera_info: str = ''
    depth: str = ''
    prefix: str = '/linknet'
    keep: tuple[str, ...] = ()
    compress: bool = False
    rerun: Path | None = None
    resume: bool = False
    overwrite: bool = False


def segment_recording(
    job: BagJob,
    progress: Update = lambda done, total: None,
    *,
    model: ModelFile | None = None,
) -> Report:
    """Segment every frame of a recording once.

    :param progress: called after each frame.
    :param model: the file of the settings, read already.
    :raises LinknetError: when there is nothing to read, or the output is in the way.
    :raises OSError, sqlite3.Error: when the system fails; a run with `resume` may go on.
    """
    need_rosbags()
    model = model or load_model(job.settings.model)
    start = time.monotonic()
    report = Report(str(job.source), str(job.out))
    if is_done(job.out, resume=job.resume, overwrite=job.overwrite):
        report.skipped = True
        return report
    with Recording(job.source) as recording:
        topic = report.topic = image_topic(recording, job.topic, job.prefix)
        messages = Messages(recording.distribution)
        job = replace(job, settings=_with_label_size(job.settings, recording, messages))
        storage = STORAGES.get(job.out.suffix, recording.storage)
        kept, report.notes = _kept(job, recording, storage)
        extras = Extras(job.settings, model.classes, recording, topic, job.camera_info, job.depth)
        counts = recording.survey({topic, *kept, *extras.sources, extras.depth})
        report.damage += recording.damage
        report.notes += recording.notes
        if not counts[topic]:
            damage = ''.join(f'; {line}' for line in recording.damage)
            raise RecordingError(f'no messages of {topic} in {job.source}{damage}')
        with PartFolder(job.out, overwrite=job.overwrite) as part:
            made = part.fresh(job.out.stem if job.out.suffix in STORAGES else job.out.name)
            with OfflineWorker(
                job.settings,
                part.path / 'journal',
                {'files': [fingerprint(file) for file in recording.files], 'topic': topic},
                report,
                frames=counts[topic],
                model=model,
            ) as worker:
                extras.read(messages)
                about = about_run(job.settings, model.classes, report, job.source.name)
                scene = open_scene(job.rerun, model.classes, part)
                extras.scene = scene
                writer = BagWriter(made, storage, messages, compress=job.compress, about=about)
                with writer:
                    run = _Run(job, recording, worker, writer, extras, report, scene)
                    run.write(kept, lambda done: progress(done, counts[topic]))
            close_scene(scene, job.rerun, part)
            part.finish(writer.file if job.out.suffix in STORAGES else made)
    report.seconds = time.monotonic() - start
    return report


@dataclass(frozen=True)
class _Run:
    """One recording on its way."""

    job: BagJob
    recording: Recording
    worker: OfflineWorker
    writer: BagWriter
    extras: Extras
    report: Report
    scene: RerunScene | None

    def write(self, kept: dict[str, Channel], progress: Callable[[int], None]) -> None:
        """Write the output, from its beginning.

        :param kept: topics that are taken over.
        :param progress: gets the number of frames so far.
        """
        report, writer, extras = self.report, self.writer, self.extras
        for name, kind, latched in self._topics():
            writer.add(f'{self.job.prefix}/{name}', kind, latched=latched)
        for name, channel in kept.items():
            if not writer.copy(channel):
                report.notes.append(f'nothing describes the type {channel.kind} of {name}')
        received = None
        for task in self.worker.run(self._tasks(kept)):
            if received is None:
                self._put(task.received, extras.first(task.received))
            received = task.received
            if task.topic in kept:
                writer.write(task.topic, received, task.data)
                report.kept += 1
            if isinstance(task, _Frame):
                if self.scene is not None and task.result is not None:
                    self.scene.at(task.stamp)
                    show_frame(self.scene, task.bgr, task.result, task.seconds)
                if task.result is not None:
                    self._put(received, extras.of(task.header, received, task.result))
                self._put(received, task.outputs)
                progress(report.frames)
            elif task.topic == extras.depth:
                extras.take_depth(task.data)
            for moment, name, message in extras.clouds():
                self._put(moment, [(name, message)])
        for moment, name, message in extras.clouds(ended=True):
            self._put(moment, [(name, message)])
        self._put(received or 0, extras.last(received or 0, report))

    def _topics(self) -> Iterator[tuple[str, str, bool]]:
        yield from self.extras.topics
        for name in self.job.settings.outputs:
            yield name, COMPRESSED if name.endswith(ENCODED) else IMAGE, False

    def _tasks(self, kept: dict[str, Channel]) -> Iterator[_Passing]:
        topics, images = self.recording.topics, self.report.topic
        kind, settings = topics[images].kind, self.job.settings
        for topic, received, data in self.recording.messages({images, *kept, self.extras.depth}):
            if topic == images:
                yield _Frame(
                    topic, received, data, self.writer.messages, kind, settings, self.scene
                )
            else:
                yield _Passing(topic, received, data)

    def _put(self, received: int, outputs: Iterable[tuple[str, bytes]]) -> None:
        for name, message in outputs:
            self.writer.write(f'{self.job.prefix}/{name}', received, message)


class _Passing(Task):
    """A message that is kept as it is."""

    def __init__(self, topic: str, received: int, data: bytes) -> None:
        super().__init__()
        self.topic, self.received, self.data = topic, received, data


class _Frame(_Passing):
    """A message with an image."""

    is_frame = True

    def __init__(
        self,
        topic: str,
        received: int,
        data: bytes,
        messages: Messages,
        kind: str,
        settings: Settings,
        scene: RerunScene | None,
    ) -> None:
        super().__init__(topic, received, data)
        self._messages, self._kind, self._settings = messages, kind, settings
        self.header: Any = None
        self._keep = scene is not None
        #: The frame itself, for a scene.
        self.bgr: NDArray[np.uint8] = np.empty((0, 0, 3), np.uint8)
        #: For what is made of the frames in their order; None where nothing is, or it is bad.
        self.result: Segmentation | None = None
        #: Messages by the name of their topic below the prefix.
        self.outputs: list[tuple[str, bytes]] = []

    def frame(self) -> NDArray[np.uint8]:
        mono16_max = self._settings.inference.mono16_max
        found = self._messages.frame(self._kind, self.data, mono16_max)
        self.header = found.header
        self.stamp = nanoseconds(found.header.stamp)
        return found.bgr

    def make(self, frame: NDArray[np.uint8], result: Segmentation, products: Products) -> None:
        # No times in the overlay: who goes on after a kill must write the same bytes.
        size = self._settings.inference.label_size(frame.shape[1], frame.shape[0])
        for name, array in products.of(frame, result, self._settings.outputs, size=size):
            if name.endswith(ENCODED):
                message = self._messages.compressed(array, message_format(name), self.header)
            else:
                message = self._messages.image(array, self.header)
            self.outputs.append((name, message))
        if self._keep:
            self.bgr = frame
        if self._keep or self._settings.extras:
            self.result = result


def image_topic(recording: Recording, wanted: str = '', prefix: str = '/linknet') -> str:
    """The topic of the images.

    :param wanted: topic that a user names; empty for the only one.
    :param prefix: of topics that this package wrote, which are not camera frames.
    :raises RecordingError: when it is not there, not clear, or not of ROS 2.
    """
    own = f'{prefix}/'
    images = [name for name, channel in recording.topics.items() if _is_image(channel)]
    candidates = [name for name in images if not name.startswith(own)]
    if wanted:
        if wanted not in recording.topics:
            there = ', '.join(images) or 'none'
            raise RecordingError(f'no topic {wanted} in {recording.path} (images there: {there})')
        candidates = [wanted]
    readable = [name for name in candidates if recording.topics[name].kind in (IMAGE, COMPRESSED)]
    readable = [name for name in readable if recording.topics[name].encoding == 'cdr']
    if len(readable) > 1:
        raise RecordingError(
            f'{recording.path} has {len(readable)} image topics',
            f'name one with --topic: {", ".join(readable)}',
        )
    if readable:
        return readable[0]
    if not candidates:
        found = ', '.join(recording.topics) or 'nothing'
        raise RecordingError(f'no image topic in {recording.path} (topics there: {found})')
    channel = recording.topics[candidates[0]]
    raise RecordingError(
        f'{channel.topic} in {recording.path} is {channel}, not an image of ROS 2',
        _WAYS_OUT.get(channel.encoding, _WAY_OUT) if _is_image(channel) else '',
    )


def _is_image(channel: Channel) -> bool:
    """Whether a topic has images, be they of ROS 2 or not."""
    return re.split(r'\W', channel.kind)[-1] in ('Image', 'CompressedImage')


def _with_label_size(settings: Settings, recording: Recording, messages: Messages) -> Settings:
    """Settings with the size of the first message of labels_like, where that is set.

    :raises RecordingError: when there is none.
    """
    like = settings.inference.labels_like
    if not like:
        return settings
    channel = recording.topics.get(like)
    if channel is None or channel.kind not in SIZED:
        sized = ', '.join(name for name, c in recording.topics.items() if c.kind in SIZED)
        raise RecordingError(
            f'no Image, CameraInfo or PointCloud2 on {like} in {recording.path}',
            f'name another one with --labels-like: {sized}',
        )
    recording.survey((like,))
    read = (messages.read(channel.kind, data) for _, _, data in recording.messages((like,)))
    size = next((found for message in read if message and (found := size_of(message))), None)
    if size is None:
        raise RecordingError(f'no message on {like} in {recording.path} has a width and a height')
    return replace(
        settings,
        inference=replace(settings.inference, label_width=size[0], label_height=size[1]),
    )


def _kept(job: BagJob, recording: Recording, storage: str) -> tuple[dict[str, Channel], list[str]]:
    """Channels of the topics that are taken over, and which of them cannot be."""
    topics = recording.topics
    wanted = tuple(topics) if job.keep == (ALL,) else job.keep
    unknown = [name for name in wanted if name not in topics]
    if unknown:
        raise RecordingError(
            f'no topic {", ".join(unknown)} in {job.source} to keep (topics there: '
            f'{", ".join(topics)})'
        )
    clash = [name for name in wanted if name.startswith(f'{job.prefix}/')]
    if clash:
        raise RecordingError(
            f'{job.source} already has {clash[0]}', 'name another --prefix, or do not keep it'
        )
    # An SQLite bag says neither of a schema nor of a message in which encoding it is.
    foreign = [name for name in wanted if storage == 'sqlite3' and topics[name].encoding != 'cdr']
    notes = [
        f'{name} is {topics[name]}, which only an .mcap output can hold, and is left out'
        for name in foreign
    ]
    return {name: topics[name] for name in wanted if name not in foreign}, notes
