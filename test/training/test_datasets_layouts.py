"""What is said about a folder that is not the data set: what was expected, and what it is."""

import re

import pytest

from training.datasets.layouts import CAMVID, CAMVID_ORIGINAL, CITYSCAPES


def make(root, *folders):
    for folder in folders:
        (root / folder).mkdir(parents=True)
    return root


def hint(layout, root):
    return str(layout.missing(root, root / 'wanted'))


def test_says_what_is_missing_and_expected(tmp_path):
    text = hint(CITYSCAPES, tmp_path)
    assert text == (
        f'no folder {tmp_path / "wanted"}; Cityscapes is a folder with '
        'leftImg8bit/<split>/<city>/*_leftImg8bit.png and '
        f'gtFine/<split>/<city>/*_gtFine_labelIds.png; {tmp_path} holds nothing'
    )


def test_root_that_is_not_there(tmp_path):
    assert hint(CAMVID, tmp_path / 'none').endswith(f'; {tmp_path / "none"} does not exist')


def test_root_that_is_a_file(tmp_path):
    path = tmp_path / 'camvid.zip'
    path.write_bytes(b'')
    assert hint(CAMVID, path).endswith('camvid.zip is a file; unpack it and give the folder')


def test_lists_what_is_there(tmp_path):
    make(tmp_path, *'dcba', 'e')
    for name in ('f.txt', 'g.txt'):
        (tmp_path / name).write_text('')
    assert hint(CAMVID, tmp_path).endswith(' holds a/, b/, c/, d/, e/, f.txt and 1 more')


@pytest.mark.parametrize(
    ('layout', 'folders'),
    [
        (CAMVID, ('val', 'valannot')),
        (CAMVID_ORIGINAL, ('701_StillsRaw_full', 'LabeledApproved_full')),
        (CITYSCAPES, ('leftImg8bit/train/aachen', 'gtFine/train/aachen')),
    ],
)
def test_parent_or_child_of_the_right_folder(tmp_path, layout, folders):
    right = make(tmp_path / 'data', *folders)
    deepest = right / folders[0]
    for given in {tmp_path, deepest, deepest.parent, deepest.parent.parent} - {right}:
        if given.is_relative_to(tmp_path):
            assert hint(layout, given).endswith(f'; it is in {right}, give that'), given


def test_split_missing_in_the_right_folder(tmp_path):
    make(tmp_path, 'train', 'trainannot', 'inner/train', 'inner/trainannot')
    assert hint(CAMVID, tmp_path).endswith(' holds inner/, train/, trainannot/')


@pytest.mark.parametrize(
    ('wanted', 'folders', 'option'),
    [
        (CAMVID, ['701_StillsRaw_full', 'LabeledApproved_full'], 'camvid-original-matlab or '),
        (CAMVID_ORIGINAL, ['train', 'trainannot'], 'camvid for it'),
        (CAMVID, ['leftImg8bit/train', 'gtFine/train'], 'cityscapes or cityscapes-34 for it'),
        (CITYSCAPES, ['test', 'testannot'], 'camvid for it'),
    ],
)
def test_another_data_set(tmp_path, wanted, folders, option):
    right = make(tmp_path / 'data', *folders)
    for given in (right, tmp_path):
        assert re.search(f'; {right} is .*, use --dataset {option}', hint(wanted, given))
