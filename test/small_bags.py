"""Small bags of rosbag2, for the tests of recordings."""

import shutil

import numpy as np
import pytest


class Bags:
    """Small bags of rosbag2, written and read with rosbags."""

    def __init__(self):
        from rosbags.typesys import Stores, get_typestore

        self.store = get_typestore(Stores.ROS2_JAZZY)
        self.types = self.store.types

    def header(self, second):
        time = self.types['builtin_interfaces/msg/Time'](second, second % 1000)
        return self.types['std_msgs/msg/Header'](time, f'camera_{second}')

    def image(self, pixels, second=0, encoding='bgr8', **changes):
        """Serialized Image of an array, (H, W) or (H, W, C) uint8."""
        fields = {
            'header': self.header(second),
            'height': pixels.shape[0],
            'width': pixels.shape[1],
            'encoding': encoding,
            'is_bigendian': 0,
            'step': pixels[0].size,
            'data': np.ascontiguousarray(pixels).reshape(-1),
        }
        return self.serialize('sensor_msgs/msg/Image', **fields | changes)

    def compressed(self, data, second=0, form='jpeg'):
        """Serialized CompressedImage of bytes."""
        data = np.frombuffer(data, np.uint8)
        return self.serialize(
            'sensor_msgs/msg/CompressedImage', header=self.header(second), format=form, data=data
        )

    def camera_info(self, size, focal, header=None):
        """Serialized CameraInfo of an undistorted camera whose axis is in the middle."""
        width, height = size
        k = np.array([focal, 0, width / 2, 0, focal, height / 2, 0, 0, 1.0])
        p = np.array([focal, 0, width / 2, 0, 0, focal, height / 2, 0, 0, 0, 1.0, 0])
        return self.serialize(
            'sensor_msgs/msg/CameraInfo',
            header=header or self.header(0),
            height=height,
            width=width,
            distortion_model='plumb_bob',
            d=np.zeros(5),
            k=k,
            r=np.eye(3).ravel(),
            p=p,
            binning_x=0,
            binning_y=0,
            roi=self.types['sensor_msgs/msg/RegionOfInterest'](0, 0, 0, 0, False),
        )

    def text(self, text):
        return self.serialize('std_msgs/msg/String', data=text)

    def serialize(self, kind, **fields):
        return kind, bytes(self.store.serialize_cdr(self.types[kind](**fields), kind))

    def write(self, path, messages, compress=None):
        """Write (topic, time of receipt, (type, data)); a file by its suffix, or a folder.

        A folder has the storage that its name ends with: 'a_mcap' or 'a_db3'.
        """
        from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

        suffix = '.mcap' if path.name.endswith('mcap') else '.db3'
        folder = path.with_suffix('.folder') if path.suffix else path
        plugin = StoragePlugin.MCAP if suffix == '.mcap' else StoragePlugin.SQLITE3
        writer = Writer(folder, version=8, storage_plugin=plugin)
        if compress:
            writer.set_compression(CompressionMode[compress.upper()], CompressionFormat.ZSTD)
        with writer:
            topics = {}
            for topic, received, (kind, data) in messages:
                if topic not in topics:
                    topics[topic] = writer.add_connection(topic, kind, typestore=self.store)
                writer.write(topics[topic], received, data)
        if path.suffix:
            next(folder.glob(f'*{suffix}')).rename(path)
            shutil.rmtree(folder)
        return path

    def read(self, path):
        """Topic, time of receipt and message of each message, by topic."""
        from rosbags.rosbag2 import Reader

        found = {}
        with Reader(path) as reader:
            for connection, received, data in reader.messages():
                message = self.store.deserialize_cdr(data, connection.msgtype)
                found.setdefault(connection.topic, []).append((received, message))
        return found


@pytest.fixture
def bags():
    """Write and read bags; see Bags."""
    pytest.importorskip('rosbags', reason='needs rosbags (pip install .[bags])')
    return Bags()
