"""A tiny data set and a tiny network for what is no matter of either."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from checkout import ROOT

NEEDED = ('torch', 'torchvision', 'onnxruntime', 'openvino')
MISSING = [name for name in NEEDED if importlib.util.find_spec(name) is None]
if MISSING:
    collect_ignore_glob = ['test_*.py']
else:
    import torch
    from torch import nn


def pytest_report_header():
    """Say it when nothing of this folder is collected."""
    if not MISSING:
        return None
    return f'test/training is left out: needs {", ".join(MISSING)} (pip install .[train,cpu])'


#: Modules that train, export or compute whole networks.
SLOW = {
    f'test_{name}'
    for name in (
        *(
            'architectures',
            'batch_norm',
            'benchmark',
            'checkpoint',
            'docs',
            'evaluate',
            'export',
            'first_weights',
        ),
        *(
            'import_torch',
            'networks',
            'networks_published',
            'plots',
            'run',
            'train',
            'trainer',
            'usual_node',
        ),
        'variants',
    )
}


def pytest_collection_modifyitems(items):
    """Mark what is no unit test, so that nobody has to."""
    for item in items:
        if item.path.parent == Path(__file__).parent and item.path.stem in SLOW:
            item.add_marker('slow')


@pytest.fixture(scope='session', autouse=True)
def _one_torch_thread():
    """Keep the threads of small networks from waiting for each other on a busy machine."""
    torch.set_num_threads(1)


@pytest.fixture(scope='module')
def narrow_networks():
    """Build networks with few channels, for what does not depend on how many there are."""
    from training.networks import segnet, unet
    from training.networks.linknet import LinkNet

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(LinkNet.__init__.__kwdefaults__, 'width', 0.25)
        patch.setattr(segnet, 'WIDTHS', (16, 16, 32, 32, 32))
        patch.setattr(unet, 'WIDTHS', (16, 16, 32, 32, 64))
        yield


@pytest.fixture(scope='module')
def cheap_pictures():
    """Let a run write its numbers instead of pictures of them, which take most of a small run."""
    from training import run

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, 'plot_curves', lambda history, path: path.write_text(str(len(history))))
        patch.setattr(
            run, 'plot_confusion_matrix', lambda counts, _, path: path.write_text(str(counts))
        )
        yield


#: torchrun, whose processes are forked once what they need is imported.
LAUNCHER = """
import runpy, sys
from torch.distributed import run as torchrun

def work(module, *arguments):
    sys.argv[1:] = arguments
    runpy.run_module(module, run_name='__main__', alter_sys=True)

def config_of(options):
    if options.training_script == 'training.train':
        from training import first_weights, run

        run.plot_curves = run.plot_confusion_matrix = lambda *given: given[-1].write_text('')
    config, _, _ = config_from_args(options)
    return config, work, [options.training_script, *options.training_script_args]

config_from_args, torchrun.config_from_args = torchrun.config_from_args, config_of
torchrun.main(sys.argv[1:])
"""


@pytest.fixture
def run_by_two():
    """Run a module by two processes of torchrun: `run_by_two(name, *arguments) -> what it prints`.

    PyTorch is imported once for both, and a run's pictures are empty.
    """

    def launch(module, *arguments):
        options = ('--standalone', '--nproc-per-node', '2', '--start-method', 'fork', '-m')
        launched = subprocess.run(
            [sys.executable, '-c', LAUNCHER, *options, module, *map(str, arguments)],
            cwd=ROOT,
            env={**os.environ, 'CUDA_VISIBLE_DEVICES': '', 'OMP_NUM_THREADS': '1'},
            capture_output=True,
            text=True,
            check=False,
        )
        assert launched.returncode == 0, launched.stderr
        return launched.stdout

    return launch


#: Blue, green, red and class id of what the frames of camvid_folder show.
CAMVID_COLORS = np.array([(230, 160, 120), (60, 60, 160), (90, 90, 90), (40, 130, 40)], np.uint8)
CAMVID_IDS = np.array([0, 1, 3, 5], np.uint8)


@pytest.fixture(scope='session')
def camvid_folder(tmp_path_factory):
    """CamVid in little, to be read only: frames of 64x48 whose colour tells the class.

    Four frames of sequence 'a' and two of 'b' to train on, three of 'c' to validate on; the two
    upper rows are void.
    """
    root = tmp_path_factory.mktemp('camvid')
    rng = np.random.default_rng(0)
    for split, names in (
        ('train', ('a_0', 'a_1', 'a_2', 'a_3', 'b_0', 'b_1')),
        ('val', ('c_0', 'c_1', 'c_2')),
    ):
        (root / split).mkdir()
        (root / f'{split}annot').mkdir()
        for name in names:
            cells = np.kron(rng.integers(0, 4, (3, 4)), np.ones((16, 16), int))
            noise = rng.integers(0, 20, (48, 64, 3), np.uint8)
            annotation = CAMVID_IDS[cells]
            annotation[:2] = 11
            assert cv2.imwrite(str(root / split / f'{name}.png'), CAMVID_COLORS[cells] + noise)
            assert cv2.imwrite(str(root / f'{split}annot' / f'{name}.png'), annotation)
    return root


@pytest.fixture
def tiny_network(monkeypatch):
    """Two convolutions with a norm, trained as `--network tiny` where the network is no matter."""
    from training.networks import IMAGENET, NETWORKS

    class TinyNetwork(nn.Module):
        title = 'Tiny'
        stride = 2
        statistics = IMAGENET
        side_outputs = {'norm': 8}  # noqa: RUF012

        def __init__(
            self,
            classes=11,
            *,
            normalization='batch',
            dropout=0.0,
            activation='relu',
            pretrained=False,
        ):
            super().__init__()
            self.options = (classes, normalization, dropout, activation, pretrained)
            self.first = nn.Conv2d(3, 8, 3, stride=2, padding=1)
            self.norm = nn.BatchNorm2d(8) if normalization == 'batch' else nn.GroupNorm(2, 8)
            self.last = nn.ConvTranspose2d(8, classes, 2, stride=2)

        @property
        def first_convolution(self):
            return self.first

        @property
        def encoder(self):
            return (self.first, self.norm)

        def forward(self, image):
            return self.last(torch.relu(self.norm(self.first(image))))

    monkeypatch.setitem(NETWORKS, 'tiny', TinyNetwork)
    return TinyNetwork
