"""Recordings through the network: every pixel, stamp and topic of the output."""

import os
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from checkout import ROOT

from linknet_ros.classes import UNLABELED
from linknet_ros.errors import LinknetError, RecordingError
from linknet_ros.ground.settings import GroundSettings
from linknet_ros.inference.settings import InferenceSettings
from linknet_ros.products.colors import blend, colorize
from linknet_ros.recordings.bag_reader import Recording
from linknet_ros.recordings.bag_writer import BagWriter
from linknet_ros.recordings.bags import ALL, BagJob, segment_recording
from linknet_ros.recordings.settings import Settings

IMAGE, CHATTER = '/camera/image', '/chatter'
ON = InferenceSettings(backend='onnxruntime', precision='fp32')
OUTPUTS = ('labels', 'confidence', 'drivable', 'masks/car', 'color', 'overlay')


@pytest.fixture
def settings(model):
    return Settings.of(model, ('labels',), ON)


@pytest.fixture
def job(settings, tmp_path):
    """Job from in.mcap to out.mcap."""
    return BagJob(tmp_path / 'in.mcap', tmp_path / 'out.mcap', settings)


def at(index):
    """Time of receipt of a frame, ns; another one than its stamp."""
    return 10**18 + index * 10**8 + 7


@pytest.fixture
def record(bags, tmp_path):
    """`record(frames, name, more)`: a bag of a drive.

    It has frames, or their messages, a text behind each, and more messages.
    """

    def write(images, name='in.mcap', more=()):
        messages = list(more)
        for index, image in enumerate(images):
            image = image if isinstance(image, tuple) else bags.image(image, index)
            messages.append((IMAGE, at(index), image))
            messages.append((CHATTER, at(index) + 1, bags.text(str(index))))
        return bags.write(tmp_path / name, messages)

    return write


def pixels(message):
    """Pixels of an image, raw or compressed."""
    if hasattr(message, 'format'):
        return cv2.imdecode(message.data, cv2.IMREAD_UNCHANGED)
    channels = {'mono8': (), 'bgr8': (3,)}[message.encoding]
    assert message.step == message.width * (channels or (1,))[0]
    return message.data.reshape(message.height, message.width, *channels)


def check(found, frames, topic='/linknet/labels'):
    """Labels of frames that are as large as the network are exactly argmax(2); black is none."""
    assert len(found[topic]) == len(frames)
    for index, ((received, message), frame) in enumerate(zip(found[topic], frames, strict=True)):
        assert received == at(index)
        assert (message.header.stamp.sec, message.header.stamp.nanosec) == (index, index)
        assert message.header.frame_id == f'camera_{index}'
        labels = np.where(frame.any(2), frame.argmax(2), UNLABELED)
        np.testing.assert_array_equal(pixels(message), labels)


@pytest.mark.parametrize('source', ['in.mcap', 'in.db3', 'in_mcap', 'in_db3'])
@pytest.mark.parametrize('out', ['out.mcap', 'out.db3', 'out'])
def test_every_storage(bags, frames, record, job, tmp_path, source, out):
    images = frames(5)
    path = record(images, source)
    job = replace(job, source=path, out=tmp_path / out)
    report = segment_recording(job)
    found = bags.read(job.out)
    check(found, images)
    assert list(found) == ['/linknet/labels']
    assert (report.topic, report.frames, report.segmented, report.kept) == (IMAGE, 5, 5, 0)
    assert report.complete
    if out == 'out':
        storage = 'mcap' if 'mcap' in source else 'db3'
        assert {p.suffix for p in job.out.iterdir()} == {f'.{storage}', '.yaml'}
    left = {'in.mcap', 'in.db3', 'in_mcap', 'in_db3', 'out.mcap', 'out.db3', 'out', 'model.onnx'}
    assert {p.name for p in tmp_path.iterdir()} <= left


def test_compressed_images(bags, frames, job, record):
    images = frames(3)
    encoded = [cv2.imencode('.png', frame)[1].tobytes() for frame in images]
    record([bags.compressed(data, index, 'png') for index, data in enumerate(encoded)])
    assert segment_recording(job).complete
    check(bags.read(job.out), images)


def test_every_output(bags, frames, record, job, model, class_table):
    images = frames(3)
    record(images)
    outputs = (*OUTPUTS, *(f'{name}/compressed' for name in OUTPUTS))
    segment_recording(replace(job, prefix='/robot/seg', settings=Settings.of(model, outputs, ON)))
    found = bags.read(job.out)
    assert sorted(found) == sorted(f'/robot/seg/{name}' for name in outputs)
    for index, frame in enumerate(images):
        labels = frame.argmax(2).astype(np.uint8)
        color = colorize(labels, class_table.palette_bgr())
        expected = {
            'labels': labels,
            'confidence': frame.max(2),
            'drivable': np.where(labels == 0, 255, 0),
            'masks/car': np.where(labels == 1, 255, 0),
            'color': color,
            'overlay': blend(frame, color, labels, 0.5),
        }
        for name, array in expected.items():
            for topic in (name, f'{name}/compressed'):
                received, message = found[f'/robot/seg/{topic}'][index]
                assert (received, message.header.frame_id) == (at(index), f'camera_{index}')
                if topic == 'overlay/compressed':
                    assert message.format == 'bgr8; jpeg compressed bgr8'
                    jpeg = cv2.imencode('.jpg', array, [cv2.IMWRITE_JPEG_QUALITY, 80])[1]
                    np.testing.assert_array_equal(message.data, jpeg)
                    continue
                np.testing.assert_array_equal(pixels(message), array)
    form = found['/robot/seg/labels/compressed'][0][1].format
    assert form == 'mono8; png compressed '


def test_size_of_the_frame_and_confidence(bags, frames, record, job, settings):
    images = frames(2, 200, 90)
    record(images)
    inference = replace(ON, min_confidence=0.6)
    segment_recording(replace(job, settings=replace(settings, inference=inference)))
    for _, message in bags.read(job.out)['/linknet/labels']:
        assert (message.width, message.height) == (200, 90)
        assert {*np.unique(message.data)} == {0, 1, 2, UNLABELED}


def test_labels_like_a_topic(bags, frames, record, job, settings):
    images = frames(2)
    like = replace(settings, inference=replace(ON, labels_like='/depth'))
    depth = [('/depth', at(1) + 5, bags.image(np.zeros((32, 48), np.uint8), 1, 'mono8'))]
    record(images, more=depth)
    assert segment_recording(replace(job, topic=IMAGE, settings=like)).complete
    for (_, message), frame in zip(bags.read(job.out)['/linknet/labels'], images, strict=True):
        np.testing.assert_array_equal(pixels(message), frame.argmax(2)[1::2, 1::2])
    wrong = replace(like, inference=replace(ON, labels_like=CHATTER))
    with pytest.raises(RecordingError, match=f'no Image.* on /chatter .*: {IMAGE}, /depth'):
        segment_recording(replace(job, topic=IMAGE, settings=wrong, overwrite=True))


@pytest.mark.parametrize('source', ['in.mcap', 'in.db3'])
@pytest.mark.parametrize(
    ('keep', 'expected'), [((ALL,), {IMAGE, CHATTER}), ((CHATTER,), {CHATTER}), ((), set())]
)
def test_original_topics(bags, frames, record, job, source, keep, expected):
    images = frames(4)
    path = record(images, source)
    report = segment_recording(replace(job, source=path, keep=keep))
    found = bags.read(job.out)
    check(found, images)
    assert set(found) == {'/linknet/labels', *expected}
    assert report.kept == 4 * len(expected)
    before = bags.read(path)
    for topic in expected:
        assert repr(found[topic]) == repr(before[topic])


def test_bad_frames_are_counted_and_left_out(bags, frames, record, job):
    images = frames(4)
    messages = [bags.image(frame, i) for i, frame in enumerate(images)]
    messages[1] = bags.image(images[1], 1, encoding='32FC3')
    messages[2] = (messages[2][0], messages[2][1][:-9])
    record(messages)
    report = segment_recording(replace(job, keep=(ALL,)))
    assert (report.frames, report.segmented, sum(report.bad.values())) == (4, 2, 2)
    unknown, damaged = report.bad
    assert unknown.startswith("image encoding '32FC3' cannot be converted")
    assert damaged.startswith('the message is damaged')
    with Recording(job.out) as recording:
        assert recording.survey([IMAGE, '/linknet/labels']) == {IMAGE: 4, '/linknet/labels': 2}


@pytest.mark.parametrize('source', ['in.mcap', 'in.db3'])
def test_damaged_recording(bags, frames, record, job, source):
    images = frames(40)
    path = record(images, source)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    report = segment_recording(replace(job, source=path))
    assert 10 < report.segmented < 30
    assert report.frames == report.segmented
    assert not report.complete
    assert 'cut short' in report.damage[-1]
    check(bags.read(job.out), images[: report.segmented])


def test_topic_is_chosen(bags, frames, job):
    (frame,) = frames(1)
    image = bags.image(frame)
    bags.write(
        job.source, [('/a', at(0), image), ('/b', at(0), image), (CHATTER, 0, bags.text('x'))]
    )
    with pytest.raises(RecordingError, match='has 2 image topics; name one with --topic: /a, /b'):
        segment_recording(job)
    assert segment_recording(replace(job, topic='/b')).topic == '/b'
    for topic, message in (
        ('/c', r'no topic /c in .* \(images there: /a, /b\)'),
        (CHATTER, '/chatter in .* is std_msgs/msg/String, not an image of ROS 2'),
    ):
        with pytest.raises(RecordingError, match=message):
            segment_recording(replace(job, topic=topic, overwrite=True))


def test_own_output_can_be_a_source(bags, frames, record, job, tmp_path):
    images = frames(2)
    record(images)
    segment_recording(replace(job, keep=(ALL,)))
    again = replace(job, source=job.out, out=tmp_path / 'again.mcap')
    assert segment_recording(again).topic == IMAGE
    with pytest.raises(RecordingError, match='already has /linknet/labels; name another --pref'):
        segment_recording(replace(again, keep=(ALL,), overwrite=True))
    with pytest.raises(RecordingError, match='has 2 image topics'):
        segment_recording(replace(again, prefix='/second', overwrite=True))
    segment_recording(replace(again, keep=(ALL,), prefix='/second', topic=IMAGE, overwrite=True))
    found = bags.read(again.out)
    check(found, images)
    check(found, images, '/second/labels')


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'keep': ('/nothing',)}, 'no topic /nothing in .* to keep .topics there: /camera/image'),
        ({'source': Path('nothing.mcap')}, "no recording 'nothing.mcap'"),
    ],
)
def test_what_is_not_there(frames, record, job, changes, message):
    record(frames(1))
    with pytest.raises(RecordingError, match=message):
        segment_recording(replace(job, **changes))
    assert not job.out.exists()


def test_no_image(bags, job):
    bags.write(job.source, [(CHATTER, 0, bags.text('x'))])
    with pytest.raises(RecordingError, match=r'no image topic in .* \(topics there: /chatter\)'):
        segment_recording(job)


def test_resume_and_overwrite(frames, record, job):
    record(frames(2))
    segment_recording(job)
    first = job.out.read_bytes()
    with pytest.raises(LinknetError, match='already exists; add --overwrite'):
        segment_recording(job)
    assert segment_recording(replace(job, resume=True)).skipped
    report = segment_recording(replace(job, overwrite=True))
    assert (report.skipped, report.segmented, report.resumed) == (False, 2, 0)
    assert job.out.read_bytes() == first


#: Runs a job and kills itself: at a call of what is named.
KILLED = """
import os, pickle, signal, sys
from linknet_ros.recordings import bags as bag_job
from linknet_ros.recordings import bag_writer
from linknet_ros.recordings import part_folder
from linknet_ros.recordings import journal as result_journal

job, (where, name), count = pickle.load(open(sys.argv[1], 'rb'))
owner = {'journal': result_journal.ResultJournal, 'writer': bag_writer.BagWriter,
         'system': part_folder.os}[where]
call = getattr(owner, name)

def killed(*arguments):
    global count
    count -= 1
    if not count:
        os.kill(os.getpid(), signal.SIGKILL)
    return call(*arguments)

setattr(owner, name, killed)
bag_job.segment_recording(job)
"""


@pytest.mark.parametrize(
    ('source', 'where', 'count', 'resumed'),
    [
        ('in.mcap', ('journal', 'put'), 8, 7),
        ('in_db3', ('writer', 'write'), 20, 10),
        ('in.mcap', ('writer', '__exit__'), 1, 12),
        ('in_db3', ('system', 'fsync'), 1, 12),
        ('in.mcap', ('system', 'replace'), 1, 12),
    ],
)
def test_killed_and_resumed_equals_a_single_run(
    frames, record, job, tmp_path, source, where, count, resumed
):
    path = record(frames(12), source)
    job = replace(job, source=path, keep=(CHATTER,))
    single = replace(job, out=tmp_path / 'single' / 'out.mcap')
    segment_recording(single)
    (tmp_path / 'job').write_bytes(pickle.dumps((job, where, count)))
    killed = subprocess.run(
        [sys.executable, '-c', KILLED, tmp_path / 'job'],
        env={**os.environ, 'PYTHONPATH': str(ROOT)},
        check=False,
    )
    assert killed.returncode == -9
    assert not job.out.exists()
    with pytest.raises(LinknetError, match=r'out\.mcap\.part is left of .* go on with --resume'):
        segment_recording(job)
    report = segment_recording(replace(job, resume=True))
    assert (report.resumed, report.segmented, report.frames) == (resumed, 12, 12)
    assert job.out.read_bytes() == single.out.read_bytes()
    assert not job.out.with_name('out.mcap.part').exists()


def test_full_disk_leaves_what_is_done(bags, frames, record, job, monkeypatch):
    images = frames(6)
    record(images)
    write = BagWriter.write
    done = []

    def full(*arguments):
        done.append(1)
        if len(done) == 4:
            raise OSError(28, 'No space left on device')
        write(*arguments)

    monkeypatch.setattr(BagWriter, 'write', full)
    with pytest.raises(OSError, match='No space left'):
        segment_recording(job)
    assert not job.out.exists()
    report = segment_recording(replace(job, resume=True))
    assert (report.resumed, report.segmented) == (4, 6)
    check(bags.read(job.out), images)


def test_other_readers_understand_the_mcap(frames, record, job, model):
    """The library of MCAP, and its decoder of ROS 2 messages, which knows nothing of rosbags."""
    pytest.importorskip('mcap_ros2', reason='needs mcap-ros2-support (pip install .[test])')
    from mcap_ros2.reader import read_ros2_messages

    images = frames(2)
    record(images)
    outputs = ('labels', 'overlay/compressed', 'label_info', 'diagnostics')
    settings = Settings.of(model, outputs, ON, None, GroundSettings())
    segment_recording(replace(job, settings=settings, keep=(ALL,), compress=True))
    found = {}
    for message in read_ros2_messages(str(job.out)):
        found.setdefault(message.channel.topic, []).append(message.ros_msg)
    assert {topic: len(messages) for topic, messages in found.items()} == {
        **{f'/linknet/{name}': 2 for name in outputs[:2]},
        **{f'/linknet/{name}': 1 for name in outputs[2:]},
        IMAGE: 2,
        CHATTER: 2,
    }
    labels = np.frombuffer(found['/linknet/labels'][1].data, np.uint8).reshape(64, 96)
    np.testing.assert_array_equal(labels, images[1].argmax(2))
    (info,) = found['/linknet/label_info']
    assert [(c.class_id, c.class_name) for c in info.class_map] == [
        (0, 'road'),
        (1, 'car'),
        (2, 'sky'),
    ]


def test_progress(frames, record, job):
    record(frames(3))
    seen = []
    segment_recording(job, lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]
