"""A recording through the network as it is usually written, for comparison: one loop, a frame at
a time, OpenCV and ONNX Runtime with all cores for the network.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from linknet_ros.inference.model_file import load_model
from linknet_ros.system.child_process import answer


def measure(source: str, model: str) -> dict[str, Any]:
    """Segment the JPEGs of an MCAP file into another one beside it.

    :returns: 'frames' and 'seconds', opening of file and network included.
    """
    import onnxruntime
    from rosbags.rosbag2 import Reader, StoragePlugin, Writer
    from rosbags.typesys import Stores, get_typestore

    begin = time.perf_counter()
    file = load_model(Path(model))
    session = onnxruntime.InferenceSession(file.graph(), providers=['CPUExecutionProvider'])
    width, height = file.default_size
    across, down = file.steps
    width, height = width // across * across, height // down * down
    store = get_typestore(Stores.ROS2_JAZZY)
    image = store.types['sensor_msgs/msg/Image']
    out = Path(source).with_name('usual')
    frames = 0
    with (
        Reader(Path(source)) as reader,
        Writer(out, version=8, storage_plugin=StoragePlugin.MCAP) as writer,
    ):
        topic = writer.add_connection('/labels', image.__msgtype__, typestore=store)
        for connection, received, data in reader.messages():
            message: Any = store.deserialize_cdr(data, connection.msgtype)
            frame = cv2.imdecode(message.data, cv2.IMREAD_COLOR)
            small = cv2.resize(frame, (width, height))
            labels = session.run(['labels'], {'image': small[None]})[0][0]
            size = frame.shape[1::-1]
            large = cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST)
            made = image(message.header, *large.shape, 'mono8', 0, large.shape[1], np.ravel(large))
            writer.write(topic, received, store.serialize_cdr(made, image.__msgtype__))
            frames += 1
    seconds = time.perf_counter() - begin
    for path in out.iterdir():
        path.unlink()
    out.rmdir()
    return {'frames': frames, 'seconds': seconds}


if __name__ == '__main__':
    answer(lambda: measure(*json.loads(sys.argv[1])))
