"""Checkpoints: written whole or not at all, read without running code, errors that say why."""

import os
import pickle
from pathlib import Path

import pytest
import torch

from linknet_ros.errors import SourceError
from training.checkpoint import load_checkpoint, load_network, network_of, save_checkpoint
from training.networks import NetworkConfig, build_network

STATE = {
    'config': {'network': 'enet', 'classes': 3},
    'data': {'dataset': 'camvid', 'size': (64, 32), 'hold_out': ''},
    'averaged': {'weight': torch.tensor([1.5, -2.0])},
    'history': [{'epoch': 1, 'loss': 0.25}],
}


class Code:
    """Unpickling it makes a directory: code that a checkpoint must never run."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


def test_reads_back_what_was_written(tmp_path):
    path = tmp_path / 'last.pt'
    save_checkpoint(path, STATE)
    state = load_checkpoint(path)
    assert torch.equal(state['averaged']['weight'], torch.tensor([1.5, -2.0]))
    for key in ('config', 'data', 'history'):
        assert state[key] == STATE[key], key
    assert type(state['data']['size']) is tuple
    assert list(tmp_path.iterdir()) == [path]


def test_cut_while_writing_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / 'last.pt'
    save_checkpoint(path, STATE)
    before = path.read_bytes()

    def cut(state, file):
        with open(file, 'wb') as stream:
            stream.write(before[: len(before) // 2])
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, 'save', cut)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(path, {**STATE, 'history': []})
    assert path.read_bytes() == before
    assert load_checkpoint(path)['history'] == STATE['history']


@pytest.mark.parametrize('form', ['zip', 'legacy', 'bare pickle'])
def test_code_in_a_checkpoint_is_refused_and_not_run(tmp_path, form):
    marker, path = tmp_path / 'ran', tmp_path / 'evil.pt'
    state = {**STATE, 'optimizer': Code(marker)}
    if form == 'bare pickle':
        path.write_bytes(pickle.dumps({**STATE, 'averaged': Code(marker)}, protocol=2))
    else:
        torch.save(state, path, _use_new_zipfile_serialization=form == 'zip')
    with pytest.raises(SourceError, match=r'evil\.pt is not a readable checkpoint'):
        load_checkpoint(path)
    assert not marker.exists()
    # The same file does run its code where somebody reads it without the safeguard.
    if form != 'bare pickle':
        torch.load(path, weights_only=False)
        assert marker.is_dir()


@pytest.mark.parametrize('share', [0.0, 0.3, 0.7, 0.99])
def test_cut_file(tmp_path, share):
    path = tmp_path / 'last.pt'
    save_checkpoint(path, STATE)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(SourceError, match=r'last\.pt is not a readable checkpoint: .'):
        load_checkpoint(path)


@pytest.mark.parametrize(
    'damage', [b'\x80\x02X\x03\x00\x00\x00\xff\xfe\xfd.', b'\x80\x02a.', b'J\x01']
)
def test_damaged_pickle(tmp_path, damage):
    """Text that is not UTF-8, an empty stack, a number cut short: all are the file's fault."""
    path = tmp_path / 'last.pt'
    path.write_bytes(damage)
    with pytest.raises(SourceError, match=r'last\.pt is not a readable checkpoint: .'):
        load_checkpoint(path)


@pytest.mark.parametrize(
    'content',
    [
        torch.zeros(3),
        [1, 2],
        {'config': {}, 'data': {}},
        {'averaged': {}, 'data': {}},
        {'config': {}, 'averaged': {}},
    ],
    ids=['tensor', 'list', 'no weights', 'no config', 'no data'],
)
def test_not_a_checkpoint_of_training(tmp_path, content):
    path = tmp_path / 'other.pt'
    torch.save(content, path)
    with pytest.raises(SourceError, match=r'other\.pt is not a checkpoint of training\.train'):
        load_checkpoint(path)


@pytest.fixture
def tiny_state(tiny_network):
    """Of the tiny network for three classes, made by a run that began with --pretrained."""
    torch.manual_seed(3)
    averaged = build_network(NetworkConfig('tiny', 3, 'group'))
    return {
        'config': NetworkConfig('tiny', 3, 'group', pretrained=True).to_dict(),
        'data': STATE['data'],
        'model': build_network(NetworkConfig('tiny', 3, 'group')).state_dict(),
        'averaged': averaged.state_dict(),
    }


def test_network_is_the_averaged_one_and_needs_no_download(tiny_state, tmp_path):
    path = tmp_path / 'best.pt'
    save_checkpoint(path, tiny_state)
    network = load_network(path)
    path.unlink()
    assert not network.training
    assert network.options == (3, 'group', 0.0, 'relu', False)
    expected = tiny_state['averaged']
    assert network.state_dict().keys() == expected.keys()
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, expected[name]), name


@pytest.mark.parametrize(
    'config',
    [
        {'network': 'resnet'},
        {'depth': 18},
        {'classes': 0, 'network': 'enet'},
        {'normalization': 'layer', 'network': 'enet'},
        {'network': 'enet'},
        {'classes': 4},
    ],
    ids=lambda config: next(iter(config.items())),
)
def test_weights_of_another_network(tiny_state, tmp_path, config):
    """A network of a later version, another one, or one of other classes."""
    state = {**tiny_state, 'config': {**tiny_state['config'], **config}}
    with pytest.raises(SourceError, match=r'^best\.pt is of another network \(.+\)$') as caught:
        network_of(state, Path('best.pt'))
    assert '\n' not in str(caught.value)


def test_model_file(tmp_path):
    path = tmp_path / 'linknet.onnx'
    path.write_bytes(b'onnx')
    with pytest.raises(
        SourceError,
        match=r'is a model file for the robot, not a checkpoint; use it with --init$',
    ):
        load_checkpoint(path)


def test_missing_file(tmp_path):
    with pytest.raises(SourceError, match=r'no checkpoint .*none\.pt; train one with python -m'):
        load_checkpoint(tmp_path / 'none.pt')
