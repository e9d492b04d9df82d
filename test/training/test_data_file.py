"""Data set files: what ids mean, how much of each source, and what each is measured by."""

import cv2
import numpy as np
import pytest
import torch
from checkout import ROOT

from linknet_ros.classes import CAMVID, UNLABELED
from linknet_ros.errors import LinknetError, SourceError
from training.data_file import open_data_file, read_yaml
from training.evaluate import evaluate_measured
from training.networks import IMAGENET
from training.processes import alone

GROUPS = """
classes: camvid
train:
  town:
    dataset: camvid
    root: camvid
    per_epoch: 4
  far:
    frames: far/frames
    labels: far/labels
    ids:
      0: road
      1: [pavement, tree]
      2: {not: road}
      3: {not: [road, pavement]}
      9: void
    scale: [0.5, 2]
    size: [8, 4]
val:
  town:
    dataset: camvid
    root: camvid
  far:
    frames: far/frames
    labels: far/labels
    network_size: [64, 32]
    score:
      drivable: {ids: [0], classes: [road]}
      beside: {ids: [1, 2], classes: [pavement, tree]}
"""


@pytest.fixture
def root(tmp_path, camvid_folder):
    """CamVid in little, and two frames of 16x8 with ids of their own, in columns."""
    (tmp_path / 'camvid').symlink_to(camvid_folder)
    for name in ('frames', 'labels'):
        (tmp_path / 'far' / name).mkdir(parents=True)
    ids = np.repeat(np.array([[0, 1, 2, 3, 9, 255, 0, 0]], np.uint8), 2, 1).repeat(8, 0)
    for name in ('a', 'b'):
        frame = np.full((8, 16, 3), 50, np.uint8)
        frame[:, :2] = 5
        cv2.imwrite(str(tmp_path / 'far' / 'frames' / f'{name}.png'), frame)
        cv2.imwrite(str(tmp_path / 'far' / 'labels' / f'{name}.png'), ids)
    return tmp_path


def opened(root, text=GROUPS):
    (root / 'data.yaml').write_text(text)
    return open_data_file(root / 'data.yaml')


def test_ids_become_classes_sets_and_void(root):
    data = opened(root)
    town, far = data.train
    assert (town.name, town.samples, town.scale) == ('town', 4, None)
    assert (far.name, far.samples, far.scale) == ('far', 2, (0.5, 2.0))
    frame, labels = far.frames[0]
    assert frame.shape == (4, 8, 3)
    table = data.sets.table()
    allowed = [[CAMVID.names[c] for c in np.flatnonzero(table[i])] for i in labels[0]]
    rest = [n for n in CAMVID.names if n != 'road']
    assert allowed[0] == allowed[6] == ['road']
    assert allowed[1] == ['pavement', 'tree']
    assert allowed[2] == rest
    assert allowed[3] == [n for n in rest if n != 'pavement']
    assert labels[0, 4] == labels[0, 5] == UNLABELED
    assert set(np.unique(town.frames[0][1])) <= {0, 1, 3, 5, 255}


def test_slice_takes_frames_by_name_and_dark_pixels_are_void(root):
    text = GROUPS.replace(
        '    scale: [0.5, 2]\n    size: [8, 4]\n', '    slice: [1, 2]\n    void_below: 6\n'
    )
    far = opened(root, text).train[1]
    assert len(far.frames) == 1
    _, labels = far.frames[0]
    assert (labels[:, :2] == UNLABELED).all()
    assert (labels[:, 12:] == 3).all()


def test_sources_are_measured_in_their_own_labels(root):
    """A network that calls all of it road, one that says pavement: by hand."""

    class Says(torch.nn.Module):
        def __init__(self, class_, statistics):
            super().__init__()
            self.statistics = statistics
            self.score = torch.nn.Parameter(torch.eye(11)[class_].view(1, 11, 1, 1))
            self.sizes = set()

        def forward(self, image):
            self.sizes.add(tuple(image.shape[2:]))
            return self.score.expand(1, 11, *image.shape[2:])

    data = opened(root)
    assert data.classes == CAMVID
    assert [m.name for m in data.measured] == ['town', 'far']
    assert data.measured[0].score.names == CAMVID.names
    far = data.measured[1]
    for name, expected in (('road', [3 / 5, 0]), ('pavement', [0, 2 / 5]), ('sky', [0, 0])):
        network = Says(CAMVID.names.index(name), IMAGENET)
        scores = evaluate_measured(network, far, alone(), progress=False).scores()
        assert far.score.names == ('drivable', 'beside')
        assert scores.iou.tolist() == pytest.approx(expected)
        assert network.sizes == {(32, 64)}


@pytest.mark.parametrize(
    ('old', 'new', 'error'),
    [
        ('classes: camvid', 'classes: mine', "classes 'mine' is unknown; use camvid"),
        ('    per_epoch: 4', '    per_epock: 4', 'train: town has the unknown key per_epock'),
        ('dataset: camvid', 'dataset: kitti', "source town: dataset 'kitti' is unknown"),
        ('frames: far/frames', 'frames: far/gone', 'source far: no folder .*gone'),
        ('    frames: far/frames\n', '', 'source far: frames is missing'),
        ('0: road', '0: raod', "source far: id 0: unknown class 'raod'"),
        ('      9: void\n', '', 'source far has labels with the id 9.*"9: void"'),
        ('[pavement, tree]}', '[road]}', 'source far: score: a class of beside counts as two'),
        ('    score:', '    ids: {0: road}\n    scores:', 'unknown key scores'),
        ('val:\n  town:', 'val:\n  other:', None),
        ('val:', 'val: {}\nvalues:', 'unknown key values'),
    ],
)
def test_what_is_wrong_is_named(root, old, new, error):
    text = GROUPS.replace(old, new, 1)
    assert text != GROUPS
    if error is None:
        assert opened(root, text).measured[0].name == 'other'
        return
    with pytest.raises(LinknetError, match=error):
        _ = opened(root, text).train[1].frames[0]


def test_first_source_of_val_must_have_the_classes(root):
    head, val = GROUPS.split('val:\n')
    town, far = val.split('  far:')
    with pytest.raises(SourceError, match='first source of val, far, decides'):
        opened(root, f'{head}val:\n  far:{far}{town}')


def test_yaml_that_is_none(root):
    with pytest.raises(SourceError, match='is not YAML'):
        opened(root, 'classes: [')
    with pytest.raises(SourceError, match='must be a mapping'):
        opened(root, '- camvid')
    with pytest.raises(SourceError, match=r'cannot read .*gone\.yaml'):
        open_data_file(root / 'gone.yaml')


def test_the_file_of_the_model_that_ships_says_what_its_sources_mean():
    said = read_yaml(ROOT / 'training' / 'street11.yaml', {'classes', 'train', 'val'})
    assert said['train']['lums']['slice'][1] == said['val']['lums']['slice'][0]
    assert set(said['train']['idd']['ids']) == {*range(7), 255}
