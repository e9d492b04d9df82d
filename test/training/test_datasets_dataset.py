"""Parts of a data set: the right frames, with all that belongs to them."""

import numpy as np
import pytest

from linknet_ros.classes import CAMVID
from linknet_ros.errors import SourceError
from training.datasets.dataset import InstanceDataset, hold_out_sequence, select, sequence_of

NAMES = ['0001TP_1', '0006R0_f1', '0001TP_2', '0016E5_1']


class Frames:
    """Pixel i in frame i."""

    title, label_set, classes, split = 'CamVid', 'by hand', CAMVID, 'train'

    def __init__(self, names=NAMES):
        self.names = list(names)

    def __len__(self):
        return len(self.names)

    def __getitem__(self, index):
        return np.full((1, 1, 3), index, np.uint8), np.full((1, 1), index, np.uint8)

    def files(self, index):
        return (self.names[index],)


class InstanceFrames(Frames):
    def instances(self, index):
        return np.full((1, 1), 1000 + index, np.uint16)


def pixels(dataset):
    return [int(dataset[i][1][0, 0]) for i in range(len(dataset))]


def test_select():
    part = select(Frames(), [3, 1, -2])
    assert len(part) == 3
    assert pixels(part) == [3, 1, 2]
    assert [int(frame[0, 0, 0]) for frame, _ in part] == [3, 1, 2]
    assert part.names == ['0016E5_1', '0006R0_f1', '0001TP_2']
    assert part.files(1) == ('0006R0_f1',)
    assert (part.title, part.label_set, part.split) == ('CamVid', 'by hand', 'train')
    assert part.classes is CAMVID


def test_select_keeps_instances():
    part = select(InstanceFrames(), [2, 0])
    assert isinstance(part, InstanceDataset)
    assert int(part.instances(0)[0, 0]) == 1002
    assert int(select(part, [1]).instances(0)[0, 0]) == 1000


def test_select_nothing():
    with pytest.raises(SourceError, match='none of the 4 frames of CamVid train is selected'):
        select(Frames(), [])


@pytest.mark.parametrize(
    ('name', 'sequence'),
    [
        ('0016E5_07959', '0016E5'),
        ('Seq05VD_f00000', 'Seq05VD'),
        ('aachen_000000_000019', 'aachen'),
        ('alone', 'alone'),
    ],
)
def test_sequence_of(name, sequence):
    assert sequence_of(name) == sequence


def test_hold_out_sequence():
    rest, held = hold_out_sequence(Frames(), '0001TP')
    assert held.names == ['0001TP_1', '0001TP_2']
    assert pixels(held) == [0, 2]
    assert rest.names == ['0006R0_f1', '0016E5_1']
    assert pixels(rest) == [1, 3]


def test_hold_out_needs_the_whole_name():
    with pytest.raises(
        SourceError, match="no sequence '0001' in CamVid train; it has: 0001TP, 0006R0, 0016E5"
    ):
        hold_out_sequence(Frames(), '0001')


def test_hold_out_everything():
    with pytest.raises(
        SourceError, match="'0016E5' is the only sequence in CamVid train; nothing"
    ):
        hold_out_sequence(Frames(['0016E5_1', '0016E5_2']), '0016E5')
