"""Adapting a model: what is trained on, what stays as it was, and what is refused."""

import cv2
import numpy as np
import pytest
import torch

from linknet_ros.inference.model_file import load_model
from training.adapt import main, matched_temperature
from training.checkpoint import load_checkpoint, network_of, save_checkpoint
from training.data_options import DataOptions
from training.export import main as export_main
from training.networks import NetworkConfig, build_network
from training.recipes import RECIPES

TINY = ('--size', '64x32', '--workers', '0', '--epochs', '1')


@pytest.fixture(autouse=True)
def _on_the_processor(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)


@pytest.fixture
def init(tmp_path, tiny_network):
    """A checkpoint of the tiny network that has seen CamVid's classes."""
    torch.manual_seed(0)
    network = build_network(NetworkConfig('tiny'))
    network.norm.running_mean.fill_(0.25)
    state = {
        'config': NetworkConfig('tiny').to_dict(),
        'data': DataOptions().to_dict(),
        'averaged': network.state_dict(),
    }
    save_checkpoint(tmp_path / 'init.pt', state)
    return tmp_path / 'init.pt'


@pytest.fixture
def picked(tmp_path, camvid_folder):
    """Frames as pick_frames leaves them, and the ids of two."""
    root = tmp_path / 'picked'
    (root / 'labels').mkdir(parents=True)
    (root / 'frames').symlink_to(camvid_folder / 'train')
    for name in ('a_0.png', 'b_1.png'):
        ids = cv2.imread(str(camvid_folder / 'trainannot' / name), cv2.IMREAD_UNCHANGED)
        ids[ids == 11] = 255
        assert cv2.imwrite(str(root / 'labels' / name), ids)
    return root


def adapted(init, picked, out, *options):
    arguments = ['--init', init, '--frames', picked, '--out', out, *TINY, *options]
    main([str(argument) for argument in arguments])
    return load_checkpoint(out / 'adapted.pt')


def weights(path, network):
    return {n: v for n, v in network_of(load_checkpoint(path), path).state_dict().items()}


def test_what_is_trained_on(init, picked, camvid_folder, tmp_path, capsys):
    out = tmp_path / 'run'
    options = ('--labels', picked / 'labels', '--rehearse', camvid_folder, '--val', camvid_folder)
    state = adapted(init, picked, out, *options)
    said = capsys.readouterr().out
    assert '36 samples an epoch of 6 frames: as the network labels them' in said
    assert '36 samples an epoch of 2 frames: labelled' in said
    assert '24 samples an epoch of 6 frames: CamVid' in said
    assert 'CamVid, 3 frames: IoU in %, before  after' in said
    assert state['classes'][3] == 'road'
    network = network_of(state, out)
    start = network_of(load_checkpoint(init), init)
    assert not torch.equal(network.last.weight, start.last.weight)
    # Statistics of few places would not be those on the robot.
    assert torch.equal(network.norm.running_mean, start.norm.running_mean)


def test_mixture_of_none_is_the_first_network(init, picked, tmp_path):
    state = adapted(init, picked, tmp_path / 'run', '--mixture', '0')
    for name, value in load_checkpoint(init)['averaged'].items():
        assert torch.equal(state['averaged'][name], value), name


def test_nothing_is_labelled_without_labels(init, picked, tmp_path, capsys):
    adapted(init, picked, tmp_path / 'run')
    said = [x for x in capsys.readouterr().out.splitlines() if 'samples an epoch' in x]
    assert said == ['96 samples an epoch of 6 frames: as the network labels them']


def test_a_given_number_of_epochs_ends_at_rate_0(init, picked, tmp_path):
    state = adapted(init, picked, tmp_path / 'run', '--epochs', '3')
    assert state['epoch'] == 3
    assert state['decay'] == (2, 3)
    rate = state['optimizer']['param_groups'][-1]['lr']
    assert 0 < rate < RECIPES['adapt'].learning_rate / 10


def test_classes_and_size_come_from_a_model_file_and_go_into_one(
    init, picked, camvid_folder, tmp_path
):
    state = load_checkpoint(init)
    # No two classes are about equal, so that PyTorch and the files agree.
    state['averaged']['last.weight'] *= 30
    save_checkpoint(init, state)
    first, mine = tmp_path / 'first.onnx', tmp_path / 'mine.onnx'
    export_main([str(init), '--data', str(camvid_folder), '--out', str(first)])
    adapted(first, picked, tmp_path / 'run', '--export', mine)
    model = load_model(mine)
    assert model.default_size == (64, 32)
    assert model.classes == load_model(first).classes
    assert model.dataset == 'first, adapted to picked'


def test_temperature_matches_the_first_network(tiny_network):
    torch.manual_seed(0)
    first = build_network(NetworkConfig('tiny')).eval()
    surer = build_network(NetworkConfig('tiny')).eval()
    surer.load_state_dict(first.state_dict())
    with torch.no_grad():
        surer.last.weight *= 2.5
        surer.last.bias *= 2.5
    frames = [np.random.default_rng(0).integers(0, 255, (32, 64, 3), np.uint8)]
    assert matched_temperature(surer, first, frames) == pytest.approx(2.5, abs=0.01)
    assert matched_temperature(first, surer, frames) == 1


@pytest.mark.parametrize(
    ('change', 'text'),
    [
        (lambda r: ('--init', r / 'no.onnx'), r'.*no\.onnx'),
        (lambda r: ('--frames', r / 'empty'), r'no image in .*empty'),
        (lambda r: ('--labels', r / 'wrong'), r'source labelled has labels with the id 99, which'),
        (lambda r: ('--labels', r / 'alone'), r'1 of 1 annotations have no frame, first .*z\.png'),
    ],
)
def test_what_is_refused(init, picked, tmp_path, change, text):
    for name, frame in (('wrong', 'a_0.png'), ('alone', 'z.png')):
        (picked / name).mkdir()
        assert cv2.imwrite(str(picked / name / frame), np.full((48, 64), 99, np.uint8))
    (picked / 'empty').mkdir()
    with pytest.raises(SystemExit, match=f'^error: {text}') as caught:
        adapted(init, picked, tmp_path / 'run', *change(picked))
    assert '\n' not in caught.value.code


def test_a_result_is_not_overwritten(init, picked, tmp_path):
    (tmp_path / 'run').mkdir()
    (tmp_path / 'run/adapted.pt').write_bytes(b'')
    with pytest.raises(SystemExit, match=r'adapted\.pt exists; use another --out'):
        adapted(init, picked, tmp_path / 'run')
