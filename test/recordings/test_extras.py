"""Grid, scan, cloud, camera info, names and diagnostics in a recording.

That they equal the node's is in test/contracts/test_recording_equals_node.py.
"""

import json
import math

import numpy as np
import pytest

from linknet_ros.errors import CalibrationError, RecordingError
from linknet_ros.ground.mount import Mount
from linknet_ros.ground.settings import GroundSettings
from linknet_ros.inference.settings import InferenceSettings
from linknet_ros.recordings.bag_reader import Recording
from linknet_ros.recordings.bags import BagJob, segment_recording
from linknet_ros.recordings.extras import KINDS
from linknet_ros.recordings.settings import GROUND, Settings
from linknet_ros.recordings.transforms import Transforms

IMAGE, INFO = '/front/image_raw', '/front/camera_info'
ON = InferenceSettings(backend='onnxruntime', precision='fp32')
#: Of a camera's optical frame in its body.
OPTICAL = (-0.5, 0.5, -0.5, 0.5)
#: A camera 1.5 m high that looks down a little.
GROUND_SETTINGS = GroundSettings(height=1.5, pitch=0.3)


class Made:
    """Messages that rosbags knows."""

    def __init__(self, bags):
        self.bags, self.types = bags, bags.types

    def header(self, second, frame_id):
        return self.types['std_msgs/msg/Header'](
            self.types['builtin_interfaces/msg/Time'](second, 0), frame_id
        )

    def image(self, pixels, second):
        return self.bags.image(pixels, header=self.header(second, 'camera'))

    def info(self, second, size=(96, 64), focal=80.0):
        return self.bags.camera_info(size, focal, self.header(second, 'camera'))

    def stamped(self, second, parent, child, position, quaternion=(0.0, 0.0, 0.0, 1.0)):
        types = self.types
        transform = types['geometry_msgs/msg/Transform'](
            types['geometry_msgs/msg/Vector3'](*position),
            types['geometry_msgs/msg/Quaternion'](*quaternion),
        )
        header = self.header(second, parent)
        return types['geometry_msgs/msg/TransformStamped'](header, child, transform)

    def tf(self, *stamped):
        return self.bags.serialize('tf2_msgs/msg/TFMessage', transforms=list(stamped))


@pytest.fixture
def made(bags):
    return Made(bags)


@pytest.fixture
def run(bags, made, model, frames, tmp_path):
    """`run(messages, outputs, ground)`: report, messages by topic, and the output."""

    def run(messages, outputs, ground=GROUND_SETTINGS, **job):
        images = frames(3)
        camera = [(IMAGE, 10 * i, made.image(f, i + 1)) for i, f in enumerate(images)]
        everything = sorted([*camera, *messages], key=lambda entry: entry[1])
        bags.write(tmp_path / 'in.mcap', everything)
        settings = Settings.of(model, outputs, ON, None, ground)
        out = tmp_path / 'out.mcap'
        report = segment_recording(
            BagJob(tmp_path / 'in.mcap', out, settings, overwrite=True, **job)
        )
        found = {}
        with Recording(out) as recording:
            store = bags.store
            for topic, received, data in recording.messages(recording.topics):
                kind = recording.topics[topic].kind
                if kind in store.types:
                    message = store.deserialize_cdr(data, kind)
                    found.setdefault(topic.removeprefix('/linknet/'), []).append(
                        (received, message)
                    )
        return report, found, out

    return run


def test_ground_alone(run, made):
    report, found, _ = run([(INFO, 0, made.info(1))], GROUND)
    assert report.complete
    assert {name: [at for at, _ in messages] for name, messages in found.items()} == {
        name: [0, 10, 20] for name in GROUND
    }
    grid = found['drivable_grid'][1][1]
    assert (grid.header.frame_id, grid.header.stamp.sec) == ('base_link', 2)
    assert {*np.unique(grid.data)} <= {-1, 0, 100}
    assert len(grid.data) == grid.info.width * grid.info.height
    assert np.isfinite(found['drivable_scan'][0][1].ranges).any()


def test_camera_info_is_of_the_frame(run, made):
    """That of the same stamp counts, else the newest before, and the first for what came first."""
    messages = [(INFO, 5, made.info(7, focal=50.0)), (INFO, 25, made.info(3, focal=90.0))]
    _, found, _ = run(messages, ['camera_info'])
    focals = [message.k[0] for _, message in found['camera_info']]
    assert focals == [50.0, 50.0, 90.0]
    assert [m.header.stamp.sec for _, m in found['camera_info']] == [1, 2, 3]
    assert [(m.width, m.height) for _, m in found['camera_info']] == [(96, 64)] * 3


def test_camera_info_of_a_larger_image(run, made):
    messages = [(INFO, 0, made.info(1, (192, 128), 160.0))]
    _, found, _ = run(messages, ['camera_info'])
    assert found['camera_info'][0][1].k[0] == 80.0


def test_names_and_diagnostics(run, made, bags, model):
    _, found, out = run([], ['labels', 'label_info', 'diagnostics'])
    (at, message), *more = found['diagnostics']
    assert (at, more) == (20, [])
    values = {entry.key: entry.value for entry in message.status[0].values}
    assert message.status[0].level == 0
    assert (values['frames'], values['segmented'], values['sha256']) == ('3', '3', model.sha256)
    with Recording(out) as recording:
        channel = recording.topics['/linknet/label_info']
        assert channel.kind == KINDS['label_info']
        assert b'VisionClass' in channel.schema
        assert 'durability: 1' in channel.qos
        ((_, at, data),) = recording.messages(['/linknet/label_info'])
    assert at == 0
    # Header without a frame, three classes, threshold.
    assert [name in data for name in (b'road\0', b'car\0', b'sky\0')] == [True] * 3


def test_metadata_says_what_the_ids_are(run, bags, model):
    _, _, out = run([], ['labels'])
    from mcap.reader import make_reader

    with out.open('rb') as file:
        records = {record.name: record.metadata for record in make_reader(file).iter_metadata()}
    about = records['linknet_ros']
    assert json.loads(about['classes'])[0] == {
        'id': 0,
        'name': 'road',
        'color': [128, 64, 128],
        'drivable': True,
    }
    assert (about['sha256'], about['unlabelled']) == (model.sha256, '255')
    assert json.loads(about['parameters'])['min_confidence'] == 0.0
    assert 'custom_data' in records['rosbag2']['serialized_metadata']


def test_place_from_tf(run, made):
    """The camera rises from 1 to 3 m; the second frame was taken at 2 m, in between."""
    messages = [
        (INFO, 0, made.info(1)),
        ('/tf_static', 0, made.tf(made.stamped(0, 'mast', 'camera', (0.0, 0.0, 0.0), OPTICAL))),
        ('/tf', 1, made.tf(made.stamped(1, 'base_link', 'mast', (0.0, 0.0, 1.0)))),
        ('/tf', 2, made.tf(made.stamped(3, 'base_link', 'mast', (0.0, 0.0, 3.0)))),
    ]
    report, found, _ = run(messages, GROUND, GroundSettings(use_tf=True))
    assert report.complete
    for number, height in enumerate([1.0, 2.0, 3.0]):
        typed = GroundSettings(height=height)
        _, expected, _ = run([(INFO, 0, made.info(1))], GROUND, typed)
        for name in GROUND:
            assert repr(found[name][number]) == repr(expected[name][number]), (name, number)


def test_frames_without_a_place_are_counted(run, made):
    messages = [
        (INFO, 0, made.info(1)),
        ('/tf', 1, made.tf(made.stamped(2, 'base_link', 'camera', (0.0, 0.0, 1.0), OPTICAL))),
    ]
    outputs = ['labels', 'camera_info', *GROUND]
    report, found, _ = run(messages, outputs, GroundSettings(use_tf=True))
    assert len(found['labels']) == len(found['camera_info']) == 3
    assert not report.complete
    (line,) = report.damage
    assert line.startswith(f'2 frames without {", ".join(GROUND)}: tf of the recording')


@pytest.mark.parametrize(
    ('depths', 'missing'),
    [
        ([995_000_000, 1_995_000_000, 2_995_000_000], 0),
        ([995_000_000, 1_995_000_000], 1),
        ([5_000_000_000], 3),
    ],
)
def test_depth_of_a_little_earlier(run, made, bags, depths, missing):
    """Also of the last frame, behind which no later one comes."""
    pixels = np.full((64, 96, 2), 4, np.uint8)  # 1028 mm
    messages = [(INFO, 0, made.info(1))]
    for number, stamp in enumerate(depths):
        time = bags.types['builtin_interfaces/msg/Time'](*divmod(stamp, 10**9))
        header = bags.types['std_msgs/msg/Header'](time, 'camera')
        message = bags.image(pixels, encoding='16UC1', header=header)
        messages.append(('/depth', 10 * number + 1, message))
    report, found, _ = run(messages, ['camera_info', 'labeled_cloud'], topic=IMAGE, depth='/depth')
    clouds = [message.header.stamp.sec for _, message in found.get('labeled_cloud', [])]
    assert clouds == [1, 2, 3][: 3 - missing]
    assert len(found['camera_info']) == 3
    line = f'{missing} frames without labeled_cloud: no depth of their stamps on /depth'
    assert report.damage == [line] * bool(missing)


@pytest.mark.parametrize(
    ('messages', 'outputs', 'ground', 'job', 'error', 'text'),
    [
        ([], ['drivable_grid'], GROUND_SETTINGS, {}, RecordingError, 'no camera_info on'),
        (['info'], ['camera_info'], None, {'camera_info': '/x'}, RecordingError, 'no camera_info'),
        (['info'], ['drivable_scan'], GroundSettings(), {}, CalibrationError, 'place is not know'),
        (
            ['info'],
            ['drivable_scan'],
            GroundSettings(use_tf=True),
            {},
            RecordingError,
            'neither /tf nor /tf_static',
        ),
    ],
)
def test_what_is_missing(run, made, messages, outputs, ground, job, error, text):
    given = [(INFO, 0, made.info(1)) for _ in messages]
    with pytest.raises(error, match=text):
        run(given, outputs, ground or GROUND_SETTINGS, **job)


def test_chain_of_frames(made):
    """Base and camera on two branches, one turned: map -> odom -> base_link, odom -> camera."""
    half = math.sqrt(0.5)
    transforms = Transforms()
    transforms.add(
        [
            made.stamped(0, 'odom', 'base_link', (1.0, 0.0, 0.0), (0.0, 0.0, half, half)),
            made.stamped(0, 'odom', 'pole', (1.0, 2.0, 0.0)),
            made.stamped(0, '/pole', '/camera', (0.0, 0.0, 1.5)),
        ],
        static=True,
    )
    mount = transforms.mount('base_link', 'camera', 5)
    expected = Mount.from_quaternion((2.0, 0.0, 1.5), (0.0, 0.0, -half, half))
    assert mount.near(expected, 1e-9, 1e-6)
    with pytest.raises(CalibrationError, match="does not connect 'camera' with 'nowhere'"):
        transforms.mount('nowhere', 'camera', 5)


def test_turns_between_two_moments(made):
    half = math.sqrt(0.5)
    transforms = Transforms()
    for second, angle in ((2, (0.0, 0.0, half, half)), (0, (0.0, 0.0, 0.0, 1.0))):
        transforms.add(
            [made.stamped(second, 'base_link', 'camera', (float(second), 0.0, 0.0), angle)],
            static=False,
        )
    angle = math.pi / 8
    expected = Mount.from_quaternion((1.0, 0.0, 0.0), (0.0, 0.0, math.sin(angle), math.cos(angle)))
    assert transforms.mount('base_link', 'camera', 10**9).near(expected, 1e-9, 1e-6)
    for moment in (-1, 2 * 10**9 + 1):
        with pytest.raises(CalibrationError, match='does not connect'):
            transforms.mount('base_link', 'camera', moment)


def test_sqlite_has_them_too(run, bags, made, model, tmp_path):
    run([(INFO, 0, made.info(1))], ['labels'])
    settings = Settings.of(model, [*GROUND, 'label_info'], ON, None, GROUND_SETTINGS)
    job = BagJob(tmp_path / 'in.mcap', tmp_path / 'out.db3', settings)
    assert segment_recording(job).complete
    with Recording(tmp_path / 'out.db3') as recording:
        counts = recording.survey(recording.topics)
    assert counts == {f'/linknet/{name}': 3 for name in GROUND} | {'/linknet/label_info': 1}
