"""Data sets by name: each opens its own layout, resized and cached."""

import cv2
import numpy as np
import pytest
from checkout import SHARED

from linknet_ros.classes import CAMVID, CITYSCAPES
from linknet_ros.errors import SourceError
from training.datasets import (
    DATASETS,
    hold_out_sequence,
    open_dataset,
)
from training.datasets.camvid_original import SPLIT_FILE, read_split_file

DATA = SHARED / 'data/camvid'

FRAME = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)

# CamVid's Wall, and Animal in the lower right corner.
COLORS = np.full((2, 4, 3), (64, 192, 0), np.uint8)
COLORS[1, 3] = (64, 128, 64)


def write(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)


@pytest.fixture
def roots(tmp_path):
    """A folder for each data set, by name; CamVid's labels are all car, Cityscapes' all bus."""
    small, large, city = (tmp_path / name for name in ('small', 'large', 'city'))
    write(small / 'val/0016E5_1.png', FRAME)
    write(small / 'valannot/0016E5_1.png', np.full((2, 4), 8, np.uint8))
    for name in read_split_file(SPLIT_FILE)['val']:
        write(large / f'701_StillsRaw_full/{name}.png', FRAME)
        write(large / f'LabeledApproved_full/{name}_L.png', COLORS[..., ::-1])
    for name in ('ulm_0_1', 'aachen_0_1'):
        where = f'val/{name.split("_")[0]}/{name}'
        write(city / f'leftImg8bit/{where}_leftImg8bit.png', FRAME)
        write(city / f'gtFine/{where}_gtFine_labelIds.png', np.full((2, 4), 28, np.uint8))
        cars = np.arange(28000, 28008, dtype=np.uint16).reshape(2, 4)
        write(city / f'gtFine/{where}_gtFine_instanceIds.png', cars)
    own = tmp_path / 'own'
    write(own / 'val/a.png', FRAME)
    write(own / 'valannot/a.png', np.full((2, 4), 5, np.uint8))
    (own / 'classes.csv').write_text('id,name,red,green,blue,drivable\n5,floor,1,2,3,yes\n')
    return {
        'camvid': small,
        'camvid-original-matlab': large,
        'camvid-original-elab': large,
        'cityscapes': city,
        'cityscapes-34': city,
        'folder': own,
    }


@pytest.mark.parametrize(
    ('name', 'title', 'labels', 'names'),
    [
        ('camvid', 'CamVid', [[8] * 4] * 2, CAMVID.names),
        ('camvid-original-matlab', 'CamVid', [[1] * 4, [1, 1, 1, 9]], CAMVID.names),
        ('camvid-original-elab', 'CamVid', [[7] * 4, [7, 7, 7, 255]], CAMVID.names),
        ('cityscapes', 'Cityscapes', [[15] * 4] * 2, CITYSCAPES.names),
        ('cityscapes-34', 'Cityscapes', [[28] * 4] * 2, None),
        ('folder', 'own', [[0] * 4] * 2, ('floor',)),
    ],
)
def test_opens(roots, tmp_path, name, title, labels, names):
    for cache in (None, tmp_path / 'cache', str(tmp_path / 'cache')):
        dataset = open_dataset(name, str(roots[name]), 'val', cache=cache)
        assert (dataset.title, dataset.split) == (title, 'val')
        np.testing.assert_array_equal(dataset[0][0], FRAME)
        np.testing.assert_array_equal(dataset[0][1], labels)
        assert dataset.classes.names == names or len(dataset.classes) == 34
    small = open_dataset(name, roots[name], 'val', size=(2, 1), cache=tmp_path / 'cache')
    assert small[0][0].shape == (1, 2, 3)
    np.testing.assert_array_equal(small[0][1], [[labels[1][1], labels[1][3]]])


def test_label_sets_differ(roots):
    sets = {open_dataset(name, root, 'val').label_set for name, root in roots.items()}
    assert len(sets) == len(DATASETS)


@pytest.mark.parametrize(
    ('name', 'given', 'match'),
    [
        ('camvid', 'cityscapes', r'no folder .*/val; .*/city is Cityscapes, use --dataset citysc'),
        ('camvid', 'camvid-original-elab', r'/large is CamVid at 960x720 .*--dataset camvid-orig'),
        ('camvid-original-elab', 'camvid', r'no folder .*/701_.*/small is .*--dataset camvid for'),
        ('folder', 'camvid', r'no class table .*/small/classes\.csv; make one'),
        ('camvid', 'folder', r'/own has classes of its own .*use --dataset folder'),
        ('cityscapes', 'camvid', r'no folder .*/leftImg8bit/val; .*/small is CamVid at 480x360'),
    ],
)
def test_data_set_of_another_name(roots, name, given, match):
    with pytest.raises(SourceError, match=match):
        open_dataset(name, roots[given], 'val')


@pytest.mark.skipif(not DATA.is_dir(), reason=f'CamVid is not in {DATA}')
def test_sequences_of_camvid():
    train = open_dataset('camvid', DATA, 'train')
    for sequence, count in (('0001TP', 62), ('0006R0', 101), ('0016E5', 204)):
        rest, held = hold_out_sequence(train, sequence)
        assert (len(rest), len(held)) == (367 - count, count)
        assert not set(rest.names) & set(held.names)
        np.testing.assert_array_equal(held[0][0], train[train.names.index(held.names[0])][0])


@pytest.mark.skipif(not DATA.is_dir(), reason=f'CamVid is not in {DATA}')
def test_camvid_from_the_cache(tmp_path):
    whole = open_dataset('camvid', DATA, 'val')
    for _ in range(2):
        cached = open_dataset('camvid', DATA, 'val', cache=tmp_path)
        for i in (0, 100):
            for expected, array in zip(whole[i], cached[i], strict=True):
                np.testing.assert_array_equal(array, expected)
