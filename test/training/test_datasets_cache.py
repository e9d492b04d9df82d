"""Resized frames in memory and on disk: the right pixels, never those of something else."""

import errno
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from linknet_ros.errors import ParameterError, SourceError
from training.datasets.cache import CachedFrames, CachedInstances
from training.datasets.camvid import CamVid
from training.datasets.cityscapes import Cityscapes

# 4x2 pixels; halved, each pixel is the mean of four.
FRAME = np.array(
    [
        [[0, 0, 0], [4, 8, 12], [100, 0, 0], [100, 0, 0]],
        [[0, 0, 0], [4, 8, 12], [100, 0, 0], [200, 0, 0]],
    ],
    np.uint8,
)
HALF_FRAME = [[[2, 4, 6], [125, 0, 0]]]

# Halved, the pixel right and below the middle of each four: 8 and 1. Void is 11 in the file.
ANNOTATION = np.array([[3, 4, 5, 6], [7, 8, 9, 1]], np.uint8)
HALF_LABELS = [[8, 1]]


def write(root, name, frame=FRAME, annotation=ANNOTATION):
    for folder, image in (('train', frame), ('trainannot', annotation)):
        (root / folder).mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(root / folder / f'{name}.png'), image)


@pytest.fixture
def root(tmp_path):
    """Two frames; b has void everywhere and is otherwise black."""
    root = tmp_path / 'data'
    write(root, 'a')
    write(root, 'b', FRAME * 0, ANNOTATION * 0 + 11)
    return root


@pytest.fixture
def folder(tmp_path):
    return tmp_path / 'cache'


def entry(folder, name='a'):
    (path,) = folder.rglob(f'{name}.png')
    return path


class Counted(CamVid):
    """Counts what is read from the source."""

    reads = 0

    def __getitem__(self, index):
        self.reads += 1
        return super().__getitem__(index)


def check(pair, frame, labels):
    np.testing.assert_array_equal(pair[0], frame)
    np.testing.assert_array_equal(pair[1], labels)
    for array in pair:
        assert array.dtype == np.uint8
        with pytest.raises(ValueError, match='read-only'):
            array[0, 0] = 1


@pytest.mark.parametrize('on_disk', [False, True])
def test_shrunk(root, folder, on_disk):
    for _ in range(2):
        frames = CachedFrames(CamVid(root, 'train'), folder if on_disk else None, (2, 1))
        assert len(frames) == 2
        check(frames[0], HALF_FRAME, HALF_LABELS)
        check(frames[1], [[[0, 0, 0]] * 2], [[255, 255]])
        check(frames[-2], HALF_FRAME, HALF_LABELS)
    assert folder.exists() == on_disk


def test_shrinking_averages_every_pixel(root):
    # Linear interpolation would look at the two columns in the middle only, and find 4 and 6.
    frame, _ = CachedFrames(CamVid(root, 'train'), None, (1, 1))[0]
    assert frame[0, 0, 1:].tolist() == [2, 3]


@pytest.mark.parametrize('on_disk', [False, True])
@pytest.mark.parametrize('size', [None, (4, 2)])
def test_as_they_are(root, folder, on_disk, size):
    for _ in range(2):
        frames = CachedFrames(CamVid(root, 'train'), folder if on_disk else None, size)
        check(frames[0], FRAME, ANNOTATION)


@pytest.mark.parametrize('size', [(0, 5), (480, -360), (480,)])
def test_size_that_is_none(root, size):
    with pytest.raises(ParameterError, match=r'invalid frame size \(.*\) \(expected width'):
        CachedFrames(CamVid(root, 'train'), None, size)


def test_memory_is_bounded(root):
    for name in ('c', 'd'):
        write(root, name)
    source = Counted(root, 'train')
    # A pair is 4 * 2 * (3 + 1) bytes: room for two.
    frames = CachedFrames(source, None, None, memory=64)
    for index in (0, 1, 0, 2):
        frames[index]
    assert source.reads == 3
    frames[0]
    frames[2]
    assert source.reads == 3
    # 1 was used the longest ago, and had to go.
    frames[1]
    assert source.reads == 4
    frames[2]
    assert source.reads == 4


def test_pair_larger_than_the_memory(root):
    source = Counted(root, 'train')
    frames = CachedFrames(source, None, None, memory=31)
    for _ in range(2):
        check(frames[0], FRAME, ANNOTATION)
    assert source.reads == 2


def test_copy_is_used_by_the_next_run(root, folder):
    CachedFrames(CamVid(root, 'train'), folder, (2, 1))[0]
    source = Counted(root, 'train')
    frames = CachedFrames(source, folder, (2, 1))
    check(frames[0], HALF_FRAME, HALF_LABELS)
    assert source.reads == 0
    frames[1]
    assert source.reads == 1


def test_changed_source_is_read_again(root, folder):
    CachedFrames(CamVid(root, 'train'), folder, (2, 1))[0]
    files = root / 'train/a.png', root / 'trainannot/a.png'
    for changed in files:
        before = changed.stat()
        other = np.full((2, 4, 3) if changed == files[0] else (2, 4), 2, np.uint8)
        assert cv2.imwrite(str(changed), other)
        os.utime(changed, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    check(CachedFrames(CamVid(root, 'train'), folder, (2, 1))[0], [[[2] * 3] * 2], [[2, 2]])


def test_changed_source_of_the_same_time_is_read_again(root, folder):
    path = root / 'trainannot/a.png'
    before = path.stat()
    CachedFrames(CamVid(root, 'train'), folder, (2, 1))[0]
    assert cv2.imwrite(str(path), ANNOTATION * 0)
    assert path.stat().st_size != before.st_size
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    check(CachedFrames(CamVid(root, 'train'), folder, (2, 1))[0], HALF_FRAME, [[0, 0]])


def test_another_size_is_another_copy(root, folder):
    for size in ((2, 1), (4, 2), None, (1, 2), (2, 1)):
        frame, labels = CachedFrames(CamVid(root, 'train'), folder, size)[0]
        assert frame.shape[1::-1] == labels.shape[::-1] == (size or (4, 2))
    assert len([*folder.rglob('a.png')]) == 4


def test_another_label_set_is_another_copy(tmp_path, folder):
    city = cityscapes(tmp_path)
    for label_set, label in (('19', 0), ('34', 7), ('19', 0)):
        labels = CachedFrames(Cityscapes(city, 'val', label_set), folder, (2, 1))[0][1]
        assert labels.tolist() == [[label, label]]
    assert len([*folder.rglob('*.png')]) == 2


def test_copy_under_a_wrong_name_is_not_taken(root, folder):
    frames = CachedFrames(CamVid(root, 'train'), folder, (2, 1))
    frames[0]
    frames[1]
    entry(folder, 'b').write_bytes(entry(folder, 'a').read_bytes())
    check(CachedFrames(CamVid(root, 'train'), folder, (2, 1))[1], [[[0, 0, 0]] * 2], [[255, 255]])


def damage(path, how):
    data = path.read_bytes()
    middle = len(data) // 2
    path.write_bytes(
        {
            'empty': b'',
            'cut': data[:-1],
            'half': data[:middle],
            'zeros': bytes(len(data)),
            'one bit': data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :],
            'text': b'<html>404</html>',
        }[how]
    )


@pytest.mark.parametrize('how', ['empty', 'cut', 'half', 'zeros', 'one bit', 'text'])
def test_damaged_copy_is_made_again(root, folder, capsys, how):
    CachedFrames(CamVid(root, 'train'), folder, (2, 1))[0]
    damage(entry(folder), how)
    for reads in (1, 0):
        source = Counted(root, 'train')
        check(CachedFrames(source, folder, (2, 1))[0], HALF_FRAME, HALF_LABELS)
        assert source.reads == reads
    assert capsys.readouterr().err == (
        f'the cached copy {entry(folder)} is damaged and is made again, as any others are\n'
    )


def test_folder_that_is_a_file(root, folder):
    folder.write_text('')
    with pytest.raises(
        SourceError, match=r'cannot write .*/cache/.* of the frame cache: .*--cache'
    ):
        CachedFrames(CamVid(root, 'train'), folder, (2, 1))


@pytest.mark.parametrize('number', [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_copy_that_cannot_be_written(root, folder, monkeypatch, number):
    frames = CachedFrames(CamVid(root, 'train'), folder, (2, 1))
    write_bytes = Path.write_bytes

    def full(path, data):
        if not path.is_relative_to(folder):
            return write_bytes(path, data)
        write_bytes(path, data[: len(data) // 2])
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, 'write_bytes', full)
    with pytest.raises(
        SourceError,
        match=rf'cannot write .*/a\.png of the frame cache: {os.strerror(number)}; free some sp',
    ):
        frames[0]
    # Neither a half copy nor a part is left.
    assert not [path for path in folder.rglob('*') if path.is_file()]
    monkeypatch.undo()
    check(frames[0], HALF_FRAME, HALF_LABELS)


def test_copy_that_cannot_be_read(root, folder):
    frames = CachedFrames(CamVid(root, 'train'), folder, (2, 1))
    frames[0]
    path = entry(folder)
    path.unlink()
    path.mkdir()
    with pytest.raises(
        SourceError, match=r'cannot read the cached copy .*/a\.png: Is a directory'
    ):
        CachedFrames(CamVid(root, 'train'), folder, (2, 1))[0]


def test_source_that_went_away(root, folder):
    frames = CachedFrames(CamVid(root, 'train'), folder, (2, 1))
    (root / 'trainannot/a.png').unlink()
    with pytest.raises(SourceError, match=r'cannot read .*/trainannot/a\.png: No such file'):
        frames[0]


def cityscapes(tmp_path):
    """One frame of 4x2 pixels, all road, with cars 26000 to 26007."""
    root = tmp_path / 'cityscapes'
    frames, annotations = root / 'leftImg8bit/val/ulm', root / 'gtFine/val/ulm'
    for path in (frames, annotations):
        path.mkdir(parents=True)
    cars = np.arange(26000, 26008, dtype=np.uint16).reshape(2, 4)
    assert cv2.imwrite(str(frames / 'ulm_0_1_leftImg8bit.png'), FRAME)
    assert cv2.imwrite(str(annotations / 'ulm_0_1_gtFine_labelIds.png'), np.full((2, 4), 7, 'u1'))
    assert cv2.imwrite(str(annotations / 'ulm_0_1_gtFine_instanceIds.png'), cars)
    return root


def test_instances_have_the_size_of_the_labels(tmp_path, folder):
    source = Cityscapes(cityscapes(tmp_path), 'val')
    frames = CachedInstances(source, folder, (2, 1))
    ids = frames.instances(0)
    np.testing.assert_array_equal(ids, [[26005, 26007]])
    assert ids.dtype == np.uint16
    assert ids.shape == frames[0][1].shape
    with pytest.raises(ValueError, match='read-only'):
        ids[0, 0] = 1
    whole = CachedInstances(source, folder, None).instances(0)
    np.testing.assert_array_equal(whole, np.arange(26000, 26008).reshape(2, 4))
