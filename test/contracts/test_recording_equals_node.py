"""What `segment_bag` writes is what the node publishes of the same frames: the same bytes.

One thing differs on purpose: below the node's overlay is a line with its rate and latency, which a
recording has not. Here the line is left out of the node's too.
"""

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='needs ROS 2 (pip install .[ros])')
pytest.importorskip('rosbags', reason='needs rosbags (pip install .[bags])')
pytest.importorskip('onnxruntime', reason='ONNX Runtime (extra "cpu") not installed')

from nav_msgs.msg import OccupancyGrid
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, LaserScan, PointCloud2

from linknet_ros.ground.settings import GroundSettings
from linknet_ros.inference.frame_sequence import RECOVERY
from linknet_ros.inference.model_file import load_model
from linknet_ros.inference.scene_model import SceneModel
from linknet_ros.inference.settings import InferenceSettings
from linknet_ros.node import pipeline
from linknet_ros.products.products import ProductSettings
from linknet_ros.recordings.bag_messages import IMAGE
from linknet_ros.recordings.bag_reader import Recording
from linknet_ros.recordings.bags import BagJob, segment_recording
from linknet_ros.recordings.settings import Settings
from linknet_ros.ros.images import array_to_image

OUTPUTS = {
    **dict.fromkeys(('labels', 'drivable', 'confidence', 'masks/car', 'color', 'overlay'), Image),
    **dict.fromkeys(('labels/compressed', 'overlay/compressed'), CompressedImage),
}
FRAMES = 3


def canonical(bags, message):
    """Serialized, with zeros between fields, where the middleware leaves what was in memory."""
    kind = f'{type(message).__module__.partition(".")[0]}/msg/{type(message).__name__}'
    data = serialize_message(message)
    return bytes(bags.store.serialize_cdr(bags.store.deserialize_cdr(data, kind), kind))


@pytest.fixture
def published(open_robot, bags, model, monkeypatch):
    """Serialized frames of the camera, and by output what the node makes of each of them."""

    def run(outputs, images, path=model.path, info=None, **parameters):
        monkeypatch.setattr(pipeline, 'status_line', lambda *given: '')
        robot = open_robot(
            model=str(path), backend='onnxruntime', mask_classes=['car'], **parameters
        ).start(info)
        for name, kind in outputs.items():
            robot.subscribe(name, kind=kind)
        sent = []
        for number, frame in enumerate(images, 1):
            header = robot.stamped()
            robot.send(frame, header)
            sent.append(serialize_message(array_to_image(frame, 'bgr8', header)))
            robot.until(lambda n=number: all(len(m) == n for m in robot.received.values()))
        made = {
            name: [canonical(bags, message) for message in messages]
            for name, messages in robot.received.items()
        }
        return sent, made

    return run


@pytest.fixture
def segmented(bags, tmp_path):
    """Segment messages as Bags.write takes them: the report, and serialized messages by output."""

    def run(messages, settings, **job):
        source = bags.write(tmp_path / 'in.mcap', messages)
        report = segment_recording(BagJob(source, tmp_path / 'out.mcap', settings, **job))
        assert report.complete
        recorded = {}
        with Recording(tmp_path / 'out.mcap') as recording:
            for topic, _, data in recording.messages(recording.topics):
                recorded.setdefault(topic.removeprefix('/linknet/'), []).append(data)
        return report, recorded

    return run


def images_of(sent):
    return [('/image', i, (IMAGE, data)) for i, data in enumerate(sent)]


def different(recorded, made):
    """Outputs of which not every byte is the same."""
    return [name for name in {**recorded, **made} if recorded.get(name) != made.get(name)]


def as_parameters(settings):
    return {name: list(v) if isinstance(v, tuple) else v for name, v in settings.items()}


@pytest.mark.parametrize(
    ('size', 'inference', 'products'),
    [
        ((96, 64), {}, {}),
        ((640, 360), {'min_confidence': 0.7}, {'overlay_opacity': 0.3, 'jpeg_quality': 60}),
        ((200, 90), {}, {'overlay_legend': False, 'drivable_classes': ('road', 'sky')}),
        ((200, 90), {'label_width': 64, 'label_height': 48, 'min_confidence': 0.6}, {}),
    ],
)
def test_equal(published, segmented, model, frames, size, inference, products):
    sent, made = published(OUTPUTS, frames(FRAMES, *size), **as_parameters(inference | products))
    settings = Settings.of(
        model,
        OUTPUTS,
        InferenceSettings(backend='onnxruntime', **inference),
        ProductSettings(**products),
    )
    report, recorded = segmented(images_of(sent), settings)
    assert report.segmented == FRAMES
    assert different(recorded, made) == []


def test_what_goes_over_ros_is_an_image(published, frames):
    """Else nothing would be proved: frames differ, and so does what is made of them."""
    sent, made = published(OUTPUTS, frames(FRAMES))
    assert len(set(sent)) == FRAMES
    assert all(len(set(messages)) == FRAMES for messages in made.values())


def test_equal_where_frames_follow_each_other(
    published, segmented, channel_proto, with_metadata, write_model
):
    """The scene check and the temporal filter: a frame is made of those before it, too."""
    scene = SceneModel({'black': 0.5}).text()
    path = write_model(with_metadata(channel_proto, scene_check=scene), 'picky.onnx')
    rng = np.random.default_rng(1)
    still = rng.integers(9, 200, (64, 96, 3), np.uint8)
    images = []
    for number in range(14):
        other = rng.random((64, 96, 1)) < 0.3
        noisy = np.where(other, rng.integers(9, 256, still.shape, np.uint8), still)
        images.append(noisy // 40 if number == 4 else noisy)
    inference = {'temporal_filter': True, 'scene_check': 'unlabel'}
    sent, made = published(OUTPUTS, images, path, **inference)
    settings = Settings.of(
        load_model(path), OUTPUTS, InferenceSettings(backend='onnxruntime', **inference)
    )
    report, recorded = segmented(images_of(sent), settings)
    assert sum(report.scene.values()) == RECOVERY
    assert different(recorded, made) == []


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
    'class_cost_grid': OccupancyGrid,
    'labeled_cloud': PointCloud2,
    'camera_info': CameraInfo,
}


@pytest.mark.parametrize(
    ('ground', 'inference'),
    [
        ({'height': 1.5, 'pitch': 0.3}, {}),
        (
            {
                'height': 1.2,
                'filter': True,
                'min_confidence': 0.3,
                'overhanging_classes': ('car',),
            },
            {'label_width': 64},
        ),
        (
            {'height': 1.5, 'pitch': 0.4, 'rectified': True, 'plane_z': -0.2, 'resolution': 0.2},
            {'label_width': 50, 'label_height': 70},
        ),
    ],
)
def test_ground_and_camera_info_are_equal(published, segmented, model, frames, ground, inference):
    given = inference | {f'ground.{name}': value for name, value in as_parameters(ground).items()}
    sent, made = published(PLANNER, frames(FRAMES), info=INFO, **given)
    settings = Settings.of(
        model,
        PLANNER,
        InferenceSettings(backend='onnxruntime', **inference),
        ground=GroundSettings(**ground),
    )
    info = ('/camera_info', 0, ('sensor_msgs/msg/CameraInfo', serialize_message(INFO)))
    _, recorded = segmented([info, *images_of(sent)], settings)
    assert different(recorded, made) == []


def depth_of(header, number):
    """A registered depth image of half the size."""
    metres = np.random.default_rng(number).uniform(0.5, 9, (32, 48)).astype(np.float32)
    image = Image(header=header, width=48, height=32, encoding='32FC1', step=192)
    image.data.frombytes(metres.tobytes())
    return image


def test_cloud_of_a_depth_camera_is_equal(bags, segmented, open_robot, model, frames):
    robot = open_robot(model=str(model.path), backend='onnxruntime', depth='/depth').start(INFO)
    robot.subscribe('labeled_cloud', kind=PointCloud2)
    camera = robot.publisher(Image, '/depth')
    robot.until(lambda: camera.get_subscription_count() == 1)
    messages = [('/camera_info', 0, ('sensor_msgs/msg/CameraInfo', serialize_message(INFO)))]
    for number, frame in enumerate(frames(FRAMES), 1):
        header = robot.stamped()
        depth = depth_of(header, number)
        matcher = robot.node.cameras.all[0].topics._ground.depth._matcher
        camera.publish(depth)
        robot.until(lambda n=number, m=matcher: len(m._depths) == n)
        robot.send(frame, header)
        robot.until(lambda n=number: len(robot.received['labeled_cloud']) == n)
        sent = serialize_message(array_to_image(frame, 'bgr8', header))
        messages += [('/image', 10 * number, (IMAGE, sent))]
        messages += [('/depth', 10 * number + 5, (IMAGE, serialize_message(depth)))]
    settings = Settings.of(
        model,
        ['labeled_cloud'],
        InferenceSettings(backend='onnxruntime'),
        ground=GroundSettings(),
    )
    report, recorded = segmented(messages, settings, topic='/image', depth='/depth')
    assert report.damage == []
    made = [canonical(bags, message) for message in robot.received['labeled_cloud']]
    assert different(recorded, {'labeled_cloud': made}) == []
