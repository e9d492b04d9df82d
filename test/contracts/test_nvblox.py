"""The node's topics as Isaac ROS nvblox takes them in: its subscriptions, parameters and sums.

Frames are labels themselves (see write_label_model), so what must come out is known. The last
tests break something on purpose: a consumer that takes anything would prove nothing.
"""

from functools import partial

import numpy as np
import pytest
import yaml

pytest.importorskip('rclpy', reason='needs ROS 2 (pip install .[ros])')
pytest.importorskip('onnxruntime', reason='ONNX Runtime (extra "cpu") not installed')

from checkout import CONFIG
from rclpy.qos import QoSProfile, qos_profile_sensor_data, qos_profile_system_default
from rig import nanoseconds, random_labels
from sensor_msgs.msg import CameraInfo, Image
from spoiled import late, padded, transposed

from linknet_ros.classes import CAMVID

PEDESTRIAN, BICYCLIST = CAMVID.ids(['pedestrian', 'bicyclist'])
MASK = '/linknet/masks/pedestrian_bicyclist'


class Nvblox:
    """nvblox_ros/src/lib/nvblox_node.cpp at 319438a, and image_masker.cu.

    :param topics: of mask/image and mask/camera_info.
    :param input_qos: as isaac_ros_common's qos.cpp makes it.
    """

    def __init__(self, peer, topics, input_qos):
        self.parts = {'color': {}, 'color_info': {}, 'mask': {}, 'mask_info': {}}
        self.heard = dict.fromkeys(self.parts, 0)
        self.found, self.said = [], []
        kinds = {'color': Image, 'color_info': CameraInfo, 'mask': Image, 'mask_info': CameraInfo}
        names = {'color': 'image', 'color_info': 'camera_info'} | topics
        for part, kind in kinds.items():
            peer.create_subscription(kind, names[part], partial(self.take, part), input_qos)

    def take(self, part, message):
        """sync_policies::ExactTime of colour, mask and both camera_infos."""
        self.heard[part] += 1
        stamp = nanoseconds(message.header.stamp)
        self.parts[part][stamp] = message
        if all(stamp in messages for messages in self.parts.values()):
            self.synchronised(*(messages[stamp] for messages in self.parts.values()))

    def synchronised(self, color, color_info, mask, mask_info):
        """monoImageFromNitrosViewAsync, and canTransform of the mask's frame."""
        if mask.encoding != 'mono8':
            self.said.append(f'Invalid mask image encoding: {mask.encoding}')
        elif mask.header.frame_id != color.header.frame_id:
            self.said.append(f'no transform of {mask.header.frame_id}')
        else:
            self.found.append((mask, mask_info))

    @staticmethod
    def is_masked(mask, info, points):
        """splitImageOnGPU: points in the mask camera's frame, projected by k alone.

        Anything but 0 is masked; what is outside of the picture is not.
        """
        columns = np.rint(info.k[0] * points[:, 0] / points[:, 2] + info.k[2]).astype(int)
        rows = np.rint(info.k[4] * points[:, 1] / points[:, 2] + info.k[5]).astype(int)
        inside = (columns >= 0) & (columns < info.width) & (rows >= 0) & (rows < info.height)
        masked = np.zeros(len(points), bool)
        index = rows[inside] * info.width + columns[inside]
        masked[inside] = np.frombuffer(mask.data, np.uint8)[index] != 0
        return masked


def nvblox_file():
    """Parameters, and from the comments the masks and remappings, of config/nvblox.yaml."""
    text = (CONFIG / 'nvblox.yaml').read_text('utf-8')
    comments = [line.strip('# ') for line in text.splitlines() if line.startswith('#')]
    remapped = dict(line.split(':=') for line in comments if ':=' in line)
    [masks] = [yaml.safe_load(c)['mask_classes'] for c in comments if c.startswith('mask_classes')]
    return yaml.safe_load(text)['/**']['ros__parameters'], masks, remapped


#: Of the camera, at twice the size of its images.
NVBLOX_INFO = {'width': 192, 'height': 128, 'k': [200.0, 0, 91, 0, 180, 61, 0, 0, 1]}


@pytest.fixture
def open_nvblox(open_told_robot):
    """Robot and nvblox: `open_nvblox(input_qos, **parameters) -> robot, nvblox`."""

    def make(input_qos=qos_profile_sensor_data, **values):
        _, masks, remapped = nvblox_file()
        info = CameraInfo(**NVBLOX_INFO)
        robot = open_told_robot((96, 64), info, mask_classes=masks, **values)
        topics = {
            'mask': remapped['camera_0/mask/image'],
            'mask_info': remapped['camera_0/mask/camera_info'],
        }
        nvblox = Nvblox(robot.peer, topics, input_qos)
        robot.until(lambda: robot.camera.get_subscription_count() == 2)
        robot.until(lambda: robot.info.get_subscription_count() == 2)
        if 'best_effort' not in values.values():
            robot.matched(*topics.values())
        # Its camera_info has the stamp of the image.
        info.header = robot.header
        robot.info.publish(info)
        return robot, nvblox

    return make


def points_through(pixels):
    """Points 3 m away that pixels of the frame of 96 x 64 see, by what NVBLOX_INFO says."""
    rows, columns = pixels.T
    fx, cx, fy, cy = (NVBLOX_INFO['k'][i] / 2 for i in (0, 2, 4, 5))
    return np.stack([(columns - cx) / fx, (rows - cy) / fy, np.ones(len(rows))], 1) * 3.0


PIXELS = np.stack(np.indices((64, 96)), -1).reshape(-1, 2)


def people(labels):
    return np.isin(labels, [PEDESTRIAN, BICYCLIST]).ravel()


@pytest.mark.parametrize(
    'input_qos', [qos_profile_sensor_data, qos_profile_system_default, QoSProfile(depth=10)]
)
def test_nvblox_masks_people_where_they_are(open_nvblox, input_qos):
    robot, nvblox = open_nvblox(input_qos)
    labels = random_labels()
    robot.show(labels)
    robot.until(lambda: nvblox.found)
    [(mask, info)] = nvblox.found
    assert (info.width, info.height) == (mask.width, mask.height) == (96, 64)
    assert info.header == mask.header == robot.header
    masked = nvblox.is_masked(mask, info, points_through(PIXELS))
    np.testing.assert_array_equal(masked, people(labels))
    assert set(mask.data) == {0, 255}
    # Behind the edges of the picture.
    outside = points_through(np.array([[-2, 5], [5, 97], [65, 5], [5, -2]]))
    assert not nvblox.is_masked(mask, info, outside).any()


@pytest.mark.parametrize('topic', [MASK, '/linknet/camera_info'])
def test_nvblox_would_not_take_another_stamp(open_nvblox, spoil, topic):
    spoil(topic, late)
    robot, nvblox = open_nvblox()
    robot.show(random_labels())
    robot.until(lambda: all(nvblox.heard.values()))
    assert nvblox.found == []


def of_the_camera(info):
    info.width, info.height = NVBLOX_INFO['width'], NVBLOX_INFO['height']
    info.k = NVBLOX_INFO['k']
    return info


@pytest.mark.parametrize(
    ('topic', 'change'),
    [(MASK, padded), (MASK, transposed), ('/linknet/camera_info', of_the_camera)],
)
def test_nvblox_would_mask_something_else(open_nvblox, spoil, topic, change):
    spoil(topic, change)
    robot, nvblox = open_nvblox()
    labels = random_labels()
    robot.show(labels)
    robot.until(lambda: nvblox.found)
    mask, info = nvblox.found[0]
    # For an info that tells of more pixels than there are.
    mask.data.frombytes(bytes(192 * 128 - 96 * 64))
    masked = nvblox.is_masked(mask, info, points_through(PIXELS))
    assert (masked != people(labels)).mean() > 0.1


def test_nvblox_would_not_hear_best_effort_with_its_default_qos(open_nvblox):
    fault = {f'qos_overrides.{MASK}.publisher.reliability': 'best_effort'}
    robot, nvblox = open_nvblox(QoSProfile(depth=10), **fault)
    sure = []
    robot.peer.create_subscription(Image, '/linknet/labels', sure.append, 10)
    robot.matched('/linknet/labels', '/linknet/camera_info')
    robot.show(random_labels())
    robot.until(lambda: sure and nvblox.heard['mask_info'])
    assert nvblox.heard['mask'] == 0
