"""One recording in, one recording out, in one process."""

from __future__ import annotations

import json
import re
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from linknet_ros.errors import FrameError, RecordingError
from linknet_ros.inference.model_file import load_model
from linknet_ros.products.products import COMPRESSED as ENCODED
from linknet_ros.products.products import message_format
from linknet_ros.recordings.bag_messages import COMPRESSED, IMAGE, Messages, need_rosbags
from linknet_ros.recordings.bag_reader import STORAGES, Recording
from linknet_ros.recordings.bag_writer import BagWriter
from linknet_ros.recordings.batch import Update
from linknet_ros.recordings.journal import fingerprint
from linknet_ros.recordings.part_folder import PartFolder, is_done
from linknet_ros.recordings.report import Report
from linknet_ros.recordings.settings import Settings
from linknet_ros.recordings.storage import Channel
from linknet_ros.recordings.worker import OfflineWorker

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
    :param prefix: of the topics that are added.
    :param keep: original topics that are taken over, or (ALL,).
    :param compress: pack the output with zstd.
    :param resume: see is_done, and `overwrite`.
    """

    source: Path
    out: Path
    settings: Settings
    topic: str = ''
    prefix: str = '/linknet'
    keep: tuple[str, ...] = ()
    compress: bool = False
    resume: bool = False
    overwrite: bool = False


def segment_recording(job: BagJob, progress: Update = lambda done, total: None) -> Report:
    """Segment every frame of a recording once.

    :param progress: called after each frame.
    :raises LinknetError: when there is nothing to read, or the output is in the way.
    :raises OSError, sqlite3.Error: when the system fails; a run with `resume` may go on.
    """
    need_rosbags()
    start = time.monotonic()
    report = Report(str(job.source), str(job.out))
    if is_done(job.out, resume=job.resume, overwrite=job.overwrite):
        report.skipped = True
        return report
    with Recording(job.source) as recording:
        topic = report.topic = _topic(job, recording)
        storage = STORAGES.get(job.out.suffix, recording.storage)
        kept, report.notes = _kept(job, recording, storage)
        counts = recording.survey({topic, *kept})
        report.damage += recording.damage
        report.notes += recording.notes
        if not counts[topic]:
            damage = ''.join(f'; {line}' for line in recording.damage)
            raise RecordingError(f'no messages of {topic} in {job.source}{damage}')
        with PartFolder(job.out, overwrite=job.overwrite) as part:
            made = part.fresh(job.out.stem if job.out.suffix in STORAGES else job.out.name)
            with OfflineWorker(
                job.settings, part.path / 'journal', _identity(recording, topic), report
            ) as worker:
                file = _write(job, recording, worker, made, kept, counts[topic], report, progress)
            part.finish(file if job.out.suffix in STORAGES else made)
    report.seconds = time.monotonic() - start
    return report


def _write(
    job: BagJob,
    recording: Recording,
    worker: OfflineWorker,
    folder: Path,
    kept: dict[str, Channel],
    total: int,
    report: Report,
    progress: Update,
) -> Path:
    """Write the output into a folder, from its beginning; its storage file."""
    messages = Messages(recording.distribution)
    storage = STORAGES.get(job.out.suffix, recording.storage)
    about = {'linknet_ros': json.dumps(_about(job, report), sort_keys=True)}
    names = job.settings.names(load_model(job.settings.model))
    kind = recording.topics[report.topic].kind
    topics = {report.topic, *kept}
    with BagWriter(folder, storage, messages, compress=job.compress, about=about) as writer:
        for name in names:
            writer.add(f'{job.prefix}/{name}', COMPRESSED if name.endswith(ENCODED) else IMAGE)
        for name, channel in kept.items():
            if not writer.copy(channel):
                report.notes.append(f'nothing describes the type {channel.kind} of {name}')
        for topic, received, data in recording.messages(topics):
            if topic in kept:
                writer.write(topic, received, data)
                report.kept += 1
            if topic != report.topic:
                continue
            report.frames += 1
            try:
                frame = messages.frame(kind, data)
                made = worker.products(report.frames - 1, frame.bgr)
                for name, array in made:
                    if name.endswith(ENCODED):
                        message = messages.compressed(array, message_format(name), frame.header)
                    else:
                        message = messages.image(array, frame.header)
                    writer.write(f'{job.prefix}/{name}', received, message)
            except FrameError as error:
                report.bad[str(error)] += 1
            progress(report.frames, total)
    return writer.file


def _topic(job: BagJob, recording: Recording) -> str:
    """The topic of the images.

    :raises RecordingError: when it is not there, not clear, or not of ROS 2.
    """
    own = f'{job.prefix}/'
    images = [name for name, channel in recording.topics.items() if _is_image(channel)]
    candidates = [name for name in images if not name.startswith(own)]
    if job.topic:
        if job.topic not in recording.topics:
            there = ', '.join(images) or 'none'
            raise RecordingError(f'no topic {job.topic} in {job.source} (images there: {there})')
        candidates = [job.topic]
    readable = [name for name in candidates if recording.topics[name].kind in (IMAGE, COMPRESSED)]
    readable = [name for name in readable if recording.topics[name].encoding == 'cdr']
    if len(readable) > 1:
        raise RecordingError(
            f'{job.source} has {len(readable)} image topics',
            f'name one with --topic: {", ".join(readable)}',
        )
    if readable:
        return readable[0]
    if not candidates:
        found = ', '.join(recording.topics) or 'nothing'
        raise RecordingError(f'no image topic in {job.source} (topics there: {found})')
    channel = recording.topics[candidates[0]]
    raise RecordingError(
        f'{channel.topic} in {job.source} is {channel}, not an image of ROS 2',
        _WAYS_OUT.get(channel.encoding, _WAY_OUT) if _is_image(channel) else '',
    )


def _is_image(channel: Channel) -> bool:
    """Whether a topic has images, be they of ROS 2 or not."""
    return re.split(r'\W', channel.kind)[-1] in ('Image', 'CompressedImage')


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


def _identity(recording: Recording, topic: str) -> dict[str, Any]:
    """What tells the recording and its frames from others."""
    return {'files': [fingerprint(file) for file in recording.files], 'topic': topic}


def _about(job: BagJob, report: Report) -> dict[str, Any]:
    """What the output says of its making: all but where things were."""
    settings = asdict(job.settings) | {'model': job.settings.model.name}
    return {
        'source': job.source.name,
        'topic': report.topic,
        'backend': report.backend,
        **settings,
    }
