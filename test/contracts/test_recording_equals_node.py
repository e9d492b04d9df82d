"""What `segment_bag` writes is what the node publishes of the same frames: the same bytes.

One thing differs on purpose: below the node's overlay is a line with its rate and latency, which a
recording has not. Here the line is left out of the node's too.
"""

import pytest

pytest.importorskip('rclpy', reason='needs ROS 2 (pip install .[ros])')
pytest.importorskip('rosbags', reason='needs rosbags (pip install .[bags])')
pytest.importorskip('onnxruntime', reason='ONNX Runtime (extra "cpu") not installed')

from nav_msgs.msg import OccupancyGrid
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CameraInfo, CompressedImage, LaserScan, PointCloud2

from linknet_ros.ground.settings import GroundSettings
from linknet_ros.inference.settings import InferenceSettings
from linknet_ros.node import pipeline
from linknet_ros.products.products import ProductSettings
from linknet_ros.recordings.bag_messages import COMPRESSED, IMAGE
from linknet_ros.recordings.bag_reader import Recording
from linknet_ros.recordings.bags import BagJob, segment_recording
from linknet_ros.recordings.settings import Settings
from linknet_ros.ros.images import array_to_image

RAW = ('labels', 'drivable', 'confidence', 'masks/car', 'color', 'overlay')
ENCODED = ('labels/compressed', 'overlay/compressed')
OUTPUTS = RAW + ENCODED
FRAMES = 3


@pytest.fixture
def published(open_robot, model, frames, monkeypatch):
    """Serialized messages by topic: of the camera, and of the node for each of its frames."""

    def run(size, **parameters):
        monkeypatch.setattr(pipeline, 'status_line', lambda *given: '')
        robot = open_robot(
            model=str(model.path), backend='onnxruntime', mask_classes=['car'], **parameters
        ).start()
        robot.subscribe(*RAW)
        robot.subscribe(*ENCODED, kind=CompressedImage)
        sent = []
        for number, frame in enumerate(frames(FRAMES, *size), 1):
            header = robot.stamped()
            robot.send(frame, header)
            sent.append(serialize_message(array_to_image(frame, 'bgr8', header)))
            robot.until(lambda n=number: all(len(m) == n for m in robot.received.values()))
        made = {
            name: [serialize_message(message) for message in messages]
            for name, messages in robot.received.items()
        }
        return sent, made

    return run


def without_padding(bags, name, data):
    """A message with zeros between its fields, where the middleware leaves what was in memory."""
    kind = COMPRESSED if name in ENCODED else IMAGE
    return bytes(bags.store.serialize_cdr(bags.store.deserialize_cdr(data, kind), kind))


@pytest.mark.parametrize(
    ('size', 'inference', 'products'),
    [
        ((96, 64), {}, {}),
        ((640, 360), {'min_confidence': 0.7}, {'overlay_opacity': 0.3, 'jpeg_quality': 60}),
        ((200, 90), {}, {'overlay_legend': False, 'drivable_classes': ('road', 'sky')}),
    ],
)
def test_equal(bags, published, model, tmp_path, size, inference, products):
    given = {n: list(v) if isinstance(v, tuple) else v for n, v in (inference | products).items()}
    sent, made = published(size, **given)
    source = tmp_path / 'in.mcap'
    bags.write(source, [('/image', i, (IMAGE, data)) for i, data in enumerate(sent)])
    settings = Settings.of(
        model,
        OUTPUTS,
        InferenceSettings(backend='onnxruntime', **inference),
        ProductSettings(**products),
    )
    report = segment_recording(BagJob(source, tmp_path / 'out.mcap', settings))
    assert (report.segmented, report.complete) == (FRAMES, True)
    recorded = {name: [] for name in OUTPUTS}
    with Recording(tmp_path / 'out.mcap') as recording:
        for topic, _, data in recording.messages(recording.topics):
            recorded[topic.removeprefix('/linknet/')].append(data)
    assert {name: len(messages) for name, messages in recorded.items()} == dict.fromkeys(
        OUTPUTS, FRAMES
    )
    different = [
        name
        for name in OUTPUTS
        if recorded[name] != [without_padding(bags, name, data) for data in made[name]]
    ]
    assert different == []


def test_what_goes_over_ros_is_an_image(published):
    """Else nothing would be proved: frames differ, and so does what is made of them."""
    sent, made = published((96, 64))
    assert len(set(sent)) == FRAMES
    assert all(len(set(messages)) == FRAMES for messages in made.values())


#: A camera 1.5 m high, which sees the ground.
INFO = CameraInfo(
    width=192,
    height=128,
    k=[160.0, 0, 96, 0, 160, 64, 0, 0, 1],
    r=[1.0, 0, 0, 0, 1, 0, 0, 0, 1],
    p=[160.0, 0, 96, 0, 0, 160, 64, 0, 0, 0, 1, 0],
    distortion_model='plumb_bob',
    d=[0.1, -0.05, 0.001, 0.002, 0.0],
)
PLANNER = {
    'drivable_grid': OccupancyGrid,
    'drivable_scan': LaserScan,
    'drivable_cloud': PointCloud2,
    'camera_info': CameraInfo,
}


@pytest.mark.parametrize(
    'ground',
    [
        {'height': 1.5, 'pitch': 0.3},
        {'height': 1.2, 'filter': True, 'min_confidence': 0.3, 'overhanging_classes': ('car',)},
        {'height': 1.5, 'pitch': 0.4, 'rectified': True, 'plane_z': -0.2, 'resolution': 0.2},
    ],
)
def test_ground_and_camera_info_are_equal(bags, open_robot, model, frames, tmp_path, ground):
    given = {
        f'ground.{name}': list(value) if isinstance(value, tuple) else value
        for name, value in ground.items()
    }
    robot = open_robot(model=str(model.path), backend='onnxruntime', **given).start(INFO)
    for name, kind in PLANNER.items():
        robot.subscribe(name, kind=kind)
    sent = []
    for number, frame in enumerate(frames(FRAMES), 1):
        header = robot.stamped()
        robot.send(frame, header)
        sent.append(serialize_message(array_to_image(frame, 'bgr8', header)))
        robot.until(lambda n=number: all(len(m) == n for m in robot.received.values()))
    info = ('/camera_info', 0, ('sensor_msgs/msg/CameraInfo', serialize_message(INFO)))
    images = [('/image', i, (IMAGE, data)) for i, data in enumerate(sent)]
    bags.write(tmp_path / 'in.mcap', [info, *images])
    settings = Settings.of(
        model,
        PLANNER,
        InferenceSettings(backend='onnxruntime'),
        ground=GroundSettings(**ground),
    )
    job = BagJob(tmp_path / 'in.mcap', tmp_path / 'out.mcap', settings)
    assert segment_recording(job).complete
    recorded = {name: [] for name in PLANNER}
    with Recording(tmp_path / 'out.mcap') as recording:
        kinds = {name: channel.kind for name, channel in recording.topics.items()}
        for topic, _, data in recording.messages(recording.topics):
            recorded[topic.removeprefix('/linknet/')].append(data)
    for name, messages in robot.received.items():
        kind = kinds[f'/linknet/{name}']
        canonical = [
            bytes(bags.store.serialize_cdr(bags.store.deserialize_cdr(data, kind), kind))
            for data in map(serialize_message, messages)
        ]
        assert recorded[name] == canonical, name
