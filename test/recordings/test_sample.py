"""Some frames of any source, evenly spread."""

import cv2
import numpy as np

from linknet_ros.frames.video import VideoWriter
from linknet_ros.recordings.sample import sample


def grey(value):
    return np.full((48, 64, 3), value, np.uint8)


def values_of(source, count, topic=''):
    """Grey of the frames, and which could not be used."""
    failed = []
    found = sample(str(source), count, topic, lambda index, error: failed.append(index))
    return [int(np.rint(frame.mean())) for frame in found], failed


def test_folder_and_pattern(tmp_path):
    for index in range(9):
        cv2.imwrite(str(tmp_path / f'{index}.png'), grey(index))
    assert values_of(tmp_path, 3) == ([0, 4, 8], [])
    assert values_of(tmp_path, 99) == (list(range(9)), [])
    assert values_of(tmp_path / '[67].png', 5) == ([6, 7], [])
    assert values_of(tmp_path / '5.png', 5) == ([5], [])
    (tmp_path / '4.png').write_bytes(b'no image')
    assert values_of(tmp_path, 3) == ([0, 8], [4])


def test_video(tmp_path):
    writer = VideoWriter(tmp_path / 'a.mp4')
    for index in range(9):
        writer.write(grey(20 * index), index / 10, 10)
    writer.close(0.9)
    found, _ = values_of(tmp_path / 'a.mp4', 3)
    np.testing.assert_allclose(found, [0, 80, 160], atol=3)


def test_recording(bags, tmp_path):
    messages = [(topic, i, bags.image(grey(i))) for topic in ('/a', '/b') for i in range(9)]
    kind, data = messages[4][2]
    messages[4] = ('/a', 4, (kind, data[:90]))
    path = bags.write(tmp_path / 'a.mcap', messages)
    assert values_of(path, 3, '/a') == ([0, 8], [4])
    assert values_of(path, 3, '/b') == ([0, 4, 8], [])
