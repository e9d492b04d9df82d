"""Some frames of any source, evenly spread."""

import cv2
import numpy as np
import pytest

from linknet_ros.errors import FrameError, LinknetError, SourceError
from linknet_ros.frames.video import VideoWriter
from linknet_ros.recordings.sample import is_recording, sample


def grey(value):
    return np.full((48, 64, 3), value, np.uint8)


def values_of(found):
    return [int(np.rint(frame.mean())) for frame in found]


def test_folder_and_pattern(tmp_path):
    for index in range(9):
        cv2.imwrite(str(tmp_path / f'{index}.png'), grey(index))
    assert values_of(sample(str(tmp_path), 3)) == [0, 4, 8]
    assert values_of(sample(str(tmp_path), 99)) == list(range(9))
    assert values_of(sample(f'{tmp_path}/[67].png', 5)) == [6, 7]
    assert values_of(sample(str(tmp_path / '5.png'), 5)) == [5]


def test_video(tmp_path):
    writer = VideoWriter(tmp_path / 'a.mp4')
    for index in range(9):
        writer.write(grey(20 * index), index / 10, 10)
    writer.close(0.9)
    found = values_of(sample(str(tmp_path / 'a.mp4'), 3))
    np.testing.assert_allclose(found, [0, 80, 160], atol=3)


@pytest.fixture
def bag(bags, tmp_path):
    """Nine images, of which that in the middle is damaged, and a topic of text."""

    def write(name, topics=('/camera',)):
        messages = [('/chatter', 0, bags.text('x'))]
        for topic in topics:
            messages += [(topic, i, bags.image(grey(i))) for i in range(9)]
        if topics:
            kind, data = messages[5][2]
            messages[5] = (topics[0], 4, (kind, data[:90]))
        return bags.write(tmp_path / name, messages)

    return write


def test_recording(bag):
    first, middle, last = sample(str(bag('a.mcap')), 3)
    assert values_of([first, last]) == [0, 8]
    assert isinstance(middle, FrameError)
    two = str(bag('b', ('/front', '/rear')))
    with pytest.raises(LinknetError, match='name one with --topic: /front, /rear'):
        next(sample(two, 3))
    assert values_of(sample(two, 3, '/rear')) == [0, 4, 8]
    with pytest.raises(LinknetError, match=r'no image topic in .* \(topics there: /chatter\)'):
        next(sample(str(bag('c', ())), 3))


def test_file_that_cannot_be_read(tmp_path):
    cv2.imwrite(str(tmp_path / 'a.png'), grey(1))
    (tmp_path / 'b.png').write_bytes(b'no image')
    good, bad = sample(str(tmp_path), 5)
    assert values_of([good]) == [1]
    assert isinstance(bad, SourceError)


@pytest.mark.parametrize(
    ('name', 'is_one'),
    [('a.mcap', True), ('a.db3.zstd', True), ('a.bag', True), ('a.mp4', False), ('none', False)],
)
def test_what_a_recording_is_called(tmp_path, name, is_one):
    assert is_recording(tmp_path / name) == is_one
    (tmp_path / 'folder').mkdir()
    (tmp_path / 'folder' / name).touch()
    assert is_recording(tmp_path / 'folder') == is_one
