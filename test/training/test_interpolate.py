"""Weights between two checkpoints, from the command line."""

import pytest
import torch

from training.checkpoint import load_checkpoint, save_checkpoint
from training.data_options import DataOptions
from training.interpolate import main
from training.networks import NetworkConfig, build_network

pytestmark = pytest.mark.usefixtures('tiny_network')


def write(path, seed, classes=11):
    torch.manual_seed(seed)
    config = NetworkConfig('tiny', classes)
    network = build_network(config)
    network.norm.running_mean.fill_(seed)
    network.norm.num_batches_tracked.fill_(seed)
    state = {'config': config.to_dict(), 'data': DataOptions().to_dict(), 'epoch': 3}
    save_checkpoint(path, {**state, 'averaged': network.state_dict()})
    return network.state_dict()


def test_weights_are_between_the_two(camvid_folder, tmp_path, capsys):
    new, old = write(tmp_path / 'new.pt', 1), write(tmp_path / 'old.pt', 2)
    out = tmp_path / 'between.pt'
    common = [str(tmp_path / 'new.pt'), '--data', str(camvid_folder), '--out', str(out)]
    main([*common, '--start', str(tmp_path / 'old.pt'), '--share', '0.25'])
    state = load_checkpoint(out)
    assert state['epoch'] == 3
    for name, value in state['averaged'].items():
        if name == 'norm.num_batches_tracked':
            assert value == 1
        else:
            torch.testing.assert_close(value, 0.25 * new[name] + 0.75 * old[name])
    assert capsys.readouterr().out.startswith(f'{out}: 0.25 ')


@pytest.mark.parametrize(
    ('options', 'error'),
    [
        (('--share', '1.5'), r'share 1\.5 is not from 0 to 1'),
        (('--start', 'five.pt'), 'last.weight has another shape|last.bias has another shape'),
        (('--start', 'gone.pt'), r'no checkpoint gone\.pt'),
    ],
)
def test_refusals(camvid_folder, tmp_path, monkeypatch, options, error):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / 'new.pt', 1)
    write(tmp_path / 'old.pt', 2)
    write(tmp_path / 'five.pt', 3, classes=5)
    common = ['new.pt', '--start', 'old.pt', '--data', str(camvid_folder), '--out', 'x.pt']
    with pytest.raises(SystemExit, match=f'^error: ({error})'):
        main([*common, *options])
    assert not (tmp_path / 'x.pt').exists()
