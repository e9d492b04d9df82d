"""Cityscapes: ids as in cityscapesScripts, both label sets, instances, and what can be wrong."""

import cv2
import numpy as np
import pytest

from linknet_ros.classes import CITYSCAPES
from linknet_ros.errors import FrameError, SourceError
from training.datasets.cityscapes import CITYSCAPES_34, LABELS, Cityscapes, to_label_ids

FRAME = np.array([[[1, 2, 3], [40, 50, 60]], [[7, 8, 9], [255, 0, 128]]], np.uint8)

# Unlabeled, road; bicycle, caravan.
LABEL_IDS = np.array([[0, 7], [33, 29]], np.uint8)

# The bicycle is the first of its kind, the caravan one of a group.
INSTANCE_IDS = np.array([[0, 7], [33000, 29]], np.uint16)

AACHEN, ZURICH = 'aachen_000000_000019', 'zurich_000121_000019'


def write(root, name, ids=LABEL_IDS, instances=INSTANCE_IDS, frame=FRAME, split='val'):
    """One frame in the official layout."""
    city = name.split('_')[0]
    frames, annotations = root / 'leftImg8bit' / split / city, root / 'gtFine' / split / city
    for folder in (frames, annotations):
        folder.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(frames / f'{name}_leftImg8bit.png'), frame)
    assert cv2.imwrite(str(annotations / f'{name}_gtFine_labelIds.png'), ids)
    assert cv2.imwrite(str(annotations / f'{name}_gtFine_instanceIds.png'), instances)
    assert cv2.imwrite(str(annotations / f'{name}_gtFine_color.png'), frame)
    (annotations / f'{name}_gtFine_polygons.json').write_text('{}')


@pytest.fixture
def root(tmp_path):
    """One frame of each of two cities, in val only; Zürich is all sky."""
    write(tmp_path, ZURICH, np.full((2, 2), 23, np.uint8), frame=FRAME // 2)
    write(tmp_path, AACHEN)
    return tmp_path


def labels_of(root, ids, label_set):
    """Labels that a row of raw ids becomes."""
    ids = np.array([ids], np.uint8)
    write(root, AACHEN, ids, frame=np.zeros((*ids.shape, 3), np.uint8))
    return Cityscapes(root, 'val', label_set)[0][1][0].tolist()


@pytest.mark.parametrize(
    ('label_set', 'expected', 'sky'),
    [('19', [[255, 0], [18, 255]], 10), ('34', [[0, 7], [33, 29]], 23)],
)
def test_frames_and_labels(root, label_set, expected, sky):
    frames = Cityscapes(root, 'val', label_set)
    assert len(frames) == 2
    assert frames.names == [AACHEN, ZURICH]
    frame, labels = frames[0]
    np.testing.assert_array_equal(frame, FRAME)
    np.testing.assert_array_equal(labels, expected)
    assert frame.dtype == labels.dtype == np.uint8
    np.testing.assert_array_equal(frames[1][0], FRAME // 2)
    np.testing.assert_array_equal(frames[1][1], np.full((2, 2), sky))
    for array in (frame, labels, frames.instances(0)):
        with pytest.raises(ValueError, match='read-only'):
            array[0, 0] = 1


def test_what_it_is(root):
    frames = Cityscapes(root, 'val')
    assert (frames.title, frames.split) == ('Cityscapes', 'val')
    assert frames.label_set == 'train ids, 19 classes'
    assert frames.classes == CITYSCAPES
    frames = Cityscapes(root, 'val', '34')
    assert frames.label_set == 'label ids, 34 classes'
    assert frames.classes == CITYSCAPES_34


def test_all_ids_of_19(root):
    ids = [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]
    assert labels_of(root, ids, '19') == list(range(19))
    void = sorted({*range(34)} - {*ids})
    assert labels_of(root, [*void, 255], '19') == [255] * (len(void) + 1)


def test_all_ids_of_34(root):
    assert labels_of(root, [*range(34), 255], '34') == [*range(34), 255]


def test_table():
    assert [label.id for label in LABELS] == [*range(34), -1]
    assert [
        label.name for label in LABELS if label.has_instances and not label.ignore_in_eval
    ] == [*('person', 'rider', 'car', 'truck', 'bus', 'train', 'motorcycle', 'bicycle')]
    trained = {label.train_id: label for label in LABELS if 0 <= label.train_id < 255}
    assert [trained[i].name for i in range(19)] == list(CITYSCAPES.names)
    assert [trained[i].color for i in range(19)] == list(CITYSCAPES.colors)
    for label in LABELS:
        assert label.ignore_in_eval == (label.train_id in (-1, 255)), label


def test_class_table_of_34():
    assert len(CITYSCAPES_34) == 34
    assert CITYSCAPES_34.names[0] == 'unlabeled'
    assert CITYSCAPES_34.names[33] == 'bicycle'
    assert CITYSCAPES_34.colors[26] == (0, 0, 142)
    assert CITYSCAPES_34.drivable_names == ('road',)


def test_label_ids_for_the_server():
    train_ids = np.array([[0, 18, 255], [13, 16, 5]], np.uint8)
    label_ids = to_label_ids(train_ids)
    np.testing.assert_array_equal(label_ids, [[7, 33, 0], [26, 31, 17]])
    assert label_ids.dtype == np.uint8


def test_label_ids_and_back(root):
    label_ids = to_label_ids(np.arange(19, dtype=np.uint8))
    assert labels_of(root, label_ids, '19') == list(range(19))


def test_label_ids_of_no_train_id():
    with pytest.raises(FrameError, match=r'class id 33 is no Cityscapes train id \(0 to 18, 255'):
        to_label_ids(np.array([[3, 33]], np.uint8))


def test_instances(root):
    ids = Cityscapes(root, 'val').instances(0)
    np.testing.assert_array_equal(ids, [[0, 7], [33000, 29]])
    assert ids.dtype == np.uint16


def test_missing_instances(root):
    path = root / 'gtFine/val/aachen' / f'{AACHEN}_gtFine_instanceIds.png'
    path.unlink()
    frames = Cityscapes(root, 'val')
    frames[0]
    with pytest.raises(SourceError, match=r'cannot read .*_gtFine_instanceIds\.png: No such file'):
        frames.instances(0)


@pytest.mark.parametrize(
    ('instances', 'match'),
    [
        (LABEL_IDS, r'has 1 channel\(s\) of uint8, expected one of uint16'),
        (np.zeros((4, 3), np.uint16), r'instanceIds\.png is 3x4, its frame 2x2'),
        (INSTANCE_IDS + np.uint16(1000), r'has instance id 34000, of label id 34; the table ends'),
        (INSTANCE_IDS + np.uint16(5), r'has instance id 34, of label id 34'),
    ],
    ids=['8 bits', 'size', 'instance', 'group'],
)
def test_wrong_instances(root, instances, match):
    if match.endswith('34'):
        instances[1, 0] = 0
    write(root, AACHEN, instances=instances)
    with pytest.raises(SourceError, match=match):
        Cityscapes(root, 'val').instances(0)


@pytest.mark.parametrize('label_set', ['19', '34'])
@pytest.mark.parametrize('wrong', [34, 254])
def test_label_id_outside_the_table(root, label_set, wrong):
    write(root, AACHEN, np.array([[0, 7], [wrong, 255]], np.uint8))
    with pytest.raises(
        SourceError, match=rf'labelIds\.png has label id {wrong}, the table ends at'
    ):
        Cityscapes(root, 'val', label_set)[0]


def test_annotation_of_another_size(root):
    write(root, AACHEN, np.zeros((4, 3), np.uint8))
    with pytest.raises(SourceError, match=rf'{AACHEN}_gtFine_labelIds\.png is 3x4, its frame 2x2'):
        Cityscapes(root, 'val')[0]


def test_colour_annotation(root):
    write(root, AACHEN, FRAME)
    with pytest.raises(SourceError, match=r'labelIds\.png has 3 channel\(s\) of uint8'):
        Cityscapes(root, 'val')[0]


def test_broken_file(root):
    (root / 'leftImg8bit/val/aachen' / f'{AACHEN}_leftImg8bit.png').write_bytes(b'')
    with pytest.raises(
        SourceError, match=r'_leftImg8bit\.png is not a readable image \(0 bytes\)'
    ):
        Cityscapes(root, 'val')[0]


def test_missing_annotation(root):
    (root / 'gtFine/val/zurich' / f'{ZURICH}_gtFine_labelIds.png').unlink()
    with pytest.raises(
        SourceError, match=rf'1 of 2 frames have no annotation, first .*/{ZURICH}_leftImg8bit\.png'
    ):
        Cityscapes(root, 'val')


def test_missing_frame(root):
    (root / 'leftImg8bit/val/zurich' / f'{ZURICH}_leftImg8bit.png').unlink()
    with pytest.raises(SourceError, match=rf'1 of 2 annotations have no frame, first .*/{ZURICH}'):
        Cityscapes(root, 'val')


def test_missing_split(root):
    with pytest.raises(
        SourceError, match=r'no folder .*/leftImg8bit/train; Cityscapes is a folder'
    ):
        Cityscapes(root, 'train')


def test_empty_split(root):
    for kind in ('leftImg8bit', 'gtFine'):
        (root / kind / 'train/aachen').mkdir(parents=True)
    with pytest.raises(SourceError, match=r'no <city>/\*_leftImg8bit\.png in .*/train'):
        Cityscapes(root, 'train')


def test_unknown_split_and_label_set(root):
    with pytest.raises(SourceError, match="split 'train_extra'; use one of train, val, test"):
        Cityscapes(root, 'train_extra')
    with pytest.raises(SourceError, match="label set '20'; use one of 19, 34"):
        Cityscapes(root, 'val', '20')
