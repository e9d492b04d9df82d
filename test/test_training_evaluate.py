"""Accuracy over whole frames: scores known by hand, and the command line."""

import cv2
import numpy as np
import pytest

pytest.importorskip('torch', reason='PyTorch (extra "train") not installed')

import torch
from torch import nn

from training.camvid import CamVid
from training.checkpoint import load_network, save_checkpoint
from training.evaluate import evaluate, main
from training.linknet import LinkNet, LinkNetConfig

pytestmark = pytest.mark.usefixtures('one_torch_thread')

RED, GREEN, BLUE = (0, 0, 255), (0, 255, 0), (255, 0, 0)


class ColorNetwork(nn.Module):
    """Logits are the normalised red, green and blue: class 0 for red, 1 for green, 2 for blue."""

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(()))
        self.modes = []

    def forward(self, image):
        self.modes.append((self.training, torch.is_grad_enabled()))
        return image * self.gain


def frame(*rows):
    return np.array(rows, np.uint8)


def test_scores_by_hand():
    frames = [
        (frame([RED, RED, GREEN], [BLUE, BLUE, BLUE]), frame([0, 1, 1], [2, 2, 255])),
        (frame([GREEN, RED]), frame([0, 0])),
    ]
    network = ColorNetwork()
    scores = evaluate(network, frames, 3, progress=False)
    # Truth 0: red, green, red; 1: red, green; 2: twice blue; the last pixel of row two is void.
    np.testing.assert_allclose(scores.iou, [2 / 4, 1 / 3, 1])
    np.testing.assert_allclose(scores.accuracy, [2 / 3, 1 / 2, 1])
    assert scores.global_accuracy == pytest.approx(5 / 7)
    assert scores.miou == pytest.approx((1 / 2 + 1 / 3 + 1) / 3)


def test_class_that_never_occurs_does_not_count():
    scores = evaluate(ColorNetwork(), [(frame([RED, RED]), frame([0, 0]))], 3, progress=False)
    assert scores.iou[0] == 1
    assert np.isnan(scores.iou[1:]).all()
    assert scores.miou == 1


def test_network_runs_in_evaluation_mode_and_without_gradients():
    network = ColorNetwork().train()
    evaluate(network, [(frame([RED]), frame([0]))] * 2, 3, progress=False)
    assert network.modes == [(False, False)] * 2


def test_frames_at_their_own_size():
    """97x51 and 33x65 in one data set, every pixel right, although neither divides by 32."""
    rng = np.random.default_rng(0)
    colors = np.array([RED, GREEN, BLUE], np.uint8)
    labels = [rng.integers(0, 3, size).astype(np.uint8) for size in ((97, 51), (33, 65))]
    scores = evaluate(ColorNetwork(), [(colors[x], x) for x in labels], 3, progress=False)
    assert scores.miou == 1


@pytest.fixture
def checkpoint(tmp_path):
    torch.manual_seed(0)
    config = LinkNetConfig()
    path = tmp_path / 'best.pt'
    state = {'config': config.to_dict(), 'averaged': LinkNet(config).state_dict()}
    save_checkpoint(path, state)
    yield path
    path.unlink()


@pytest.fixture
def data(tmp_path):
    rng = np.random.default_rng(1)
    for folder, channels in (('val', (3,)), ('valannot', ())):
        (tmp_path / folder).mkdir()
        for name in ('a.png', 'b.png'):
            image = rng.integers(0, 12, (48, 64, *channels)).astype(np.uint8)
            assert cv2.imwrite(str(tmp_path / folder / name), image)
    return tmp_path


def test_command_line_prints_the_table(checkpoint, data, capsys):
    main([str(checkpoint), '--data', str(data), '--split', 'val'])
    frames = CamVid(data, 'val')
    scores = evaluate(load_network(checkpoint), frames, 11, progress=False)
    header, table = capsys.readouterr().out.split('\n', 1)
    assert header.startswith(f'{checkpoint} on CamVid val, 2 frames')
    assert table == scores.table(frames.classes.names) + '\n'


def assert_one_line_error(arguments, text):
    with pytest.raises(SystemExit, match=text) as caught:
        main(arguments)
    assert caught.value.code.startswith('error: ')
    assert '\n' not in caught.value.code


def test_command_line_without_a_checkpoint(tmp_path):
    missing = str(tmp_path / 'best.pt')
    assert_one_line_error([missing, '--data', str(tmp_path)], r'error: no checkpoint .*best\.pt')


def test_command_line_with_a_damaged_checkpoint(tmp_path):
    (tmp_path / 'best.pt').write_bytes(b'')
    arguments = [str(tmp_path / 'best.pt'), '--data', str(tmp_path)]
    assert_one_line_error(arguments, r'error: .*best\.pt is not a readable checkpoint')


def test_command_line_without_data(checkpoint, tmp_path):
    arguments = [str(checkpoint), '--data', str(tmp_path), '--split', 'test']
    assert_one_line_error(arguments, r'error: no folder .*/test; give the CamVid folder')
