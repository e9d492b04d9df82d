"""The command that fits a temperature: on a checkpoint whose confidence is known to be wrong."""

import re

import cv2
import numpy as np
import pytest
import torch

from training.calibrate import main
from training.checkpoint import save_checkpoint
from training.data_options import DataOptions
from training.networks import NetworkConfig, build_network

pytestmark = pytest.mark.usefixtures('tiny_network')


@pytest.fixture
def checkpoint(tmp_path):
    """Says road with 0.99 whatever it sees, where a quarter or so is road."""
    network = build_network(NetworkConfig('tiny'))
    for parameter in network.parameters():
        torch.nn.init.zeros_(parameter)
    with torch.no_grad():
        network.last.bias[3] = np.log(0.99 / 0.001)
    path = tmp_path / 'best.pt'
    state = {'config': NetworkConfig('tiny').to_dict(), 'data': DataOptions().to_dict()}
    save_checkpoint(path, {**state, 'averaged': network.state_dict()})
    return path


def test_overconfidence_is_found_reported_and_drawn(checkpoint, camvid_folder, tmp_path, capsys):
    diagram = tmp_path / 'diagram.png'
    main([str(checkpoint), '--data', str(camvid_folder), '--diagram', str(diagram)])
    printed = capsys.readouterr().out
    road = []
    for path in sorted((camvid_folder / 'valannot').glob('*.png')):
        ids = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)[::3, ::3]
        road.append((ids[ids < 11] == 3).mean())
    share = np.mean(road)
    temperature = float(re.match(r'temperature ([\d.]+), fitted on CamVid', printed).group(1))
    # Ten other classes share what is left: exp(b / T) / (exp(b / T) + 10) is the share of road.
    expected = np.log(990) / np.log(10 * share / (1 - share))
    assert temperature == pytest.approx(expected, rel=0.05)
    before, after = map(float, re.search(r'^road +([\d.]+) +([\d.]+)$', printed, re.M).groups())
    assert before == pytest.approx(100 * (0.99 - share), abs=1)
    assert after < 1
    assert printed.count('fitted on half') == 2
    line = re.search(r'^0\.000 +([\d.]+) +([\d.]+) +([\d.]+) +([\d.]+)$', printed, re.M)
    falsely, found, labelled, right = map(float, line.groups())
    assert falsely == pytest.approx(100 * (1 - share), abs=1)
    assert (found, labelled) == (100, 100)
    assert right == pytest.approx(100 * share, abs=1)
    assert cv2.imread(str(diagram)).std() > 5


def test_unknown_class_is_named(checkpoint, camvid_folder):
    with pytest.raises(SystemExit, match="error: unknown class 'lane'"):
        main([str(checkpoint), '--data', str(camvid_folder), '--drivable', 'lane'])
