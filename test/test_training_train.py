"""Training: the recipe as written, runs that resume bit for bit, and refusals."""

import json
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip('torch', reason='PyTorch (extra "train") not installed')

import torch
from torch import nn

from training import train as training
from training.camvid import CamVid
from training.checkpoint import load_checkpoint, load_network, save_checkpoint
from training.class_weights import class_frequencies, inverse_log_weights
from training.evaluate import evaluate
from training.linknet import LinkNet
from training.train import Recipe, Trainer, main, train

pytestmark = pytest.mark.usefixtures('one_torch_thread')

ROOT = Path(__file__).parents[1]
COLORS = np.array([(230, 160, 120), (60, 60, 160), (90, 90, 90), (40, 130, 40)], np.uint8)
CLASSES = np.array([0, 1, 3, 5], np.uint8)

#: What COMMAND says, as a recipe.
RECIPE = Recipe(
    epochs=3, batch=2, crop_width=64, crop_height=32, precision='fp32', average_decay=0.9
)
COMMAND = (
    *('--epochs', '3', '--batch', '2', '--crop', '64x32', '--precision', 'fp32'),
    *('--average-decay', '0.9', '--eval-every', '2', '--workers', '0'),
)


class SmallNetwork(nn.Module):
    """Two convolutions with a batch norm, in place of LinkNet where the network is no matter."""

    def __init__(self, config):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.last = nn.Conv2d(8, config.classes, 1)

    def forward(self, image):
        return self.last(torch.relu(self.norm(self.first(image))))


@pytest.fixture(autouse=True)
def _on_the_processor(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)


@pytest.fixture
def small_network(monkeypatch):
    monkeypatch.setattr(training, 'LinkNet', SmallNetwork)


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    """Six frames to train on and two to validate; the colour of a pixel tells its class."""
    root = tmp_path_factory.mktemp('camvid')
    rng = np.random.default_rng(0)
    for split, count in (('train', 6), ('val', 2)):
        (root / split).mkdir()
        (root / f'{split}annot').mkdir()
        for i in range(count):
            cells = np.kron(rng.integers(0, 4, (3, 4)), np.ones((16, 16), int))
            frame = COLORS[cells] + rng.integers(0, 20, (48, 64, 3), np.uint8)
            annotation = CLASSES[cells]
            annotation[:2] = 11
            assert cv2.imwrite(str(root / split / f'{i}.png'), frame)
            assert cv2.imwrite(str(root / f'{split}annot' / f'{i}.png'), annotation)
    return root


@pytest.fixture(scope='module')
def whole_run(data, tmp_path_factory):
    """A run that nothing cut; its checkpoints take 180 MB each."""
    out = tmp_path_factory.mktemp('whole') / 'run'
    main(['--data', str(data), '--out', str(out), *COMMAND])
    yield out
    shutil.rmtree(out)


@pytest.fixture
def out(tmp_path):
    yield tmp_path / 'run'
    shutil.rmtree(tmp_path / 'run', ignore_errors=True)


def make_trainer(data, workers=0, **changes):
    return Trainer(replace(RECIPE, **changes), [CamVid(data, 'train')], workers)


def assert_identical(one, two, where='state'):
    """Bit for bit, tensors and plain values, whatever they are nested in."""
    assert type(one) is type(two), where
    if isinstance(one, torch.Tensor):
        assert one.dtype == two.dtype, where
        assert torch.equal(one, two), where
    elif isinstance(one, dict):
        assert one.keys() == two.keys(), where
        for key in one:
            assert_identical(one[key], two[key], f'{where}.{key}')
    elif isinstance(one, list):
        assert len(one) == len(two), where
        for i, (a, b) in enumerate(zip(one, two, strict=True)):
            assert_identical(a, b, f'{where}[{i}]')
    else:
        assert one == two, where


def assert_one_line_error(arguments, text):
    with pytest.raises(SystemExit, match=text) as caught:
        main(arguments)
    assert caught.value.code.startswith('error: ')
    assert '\n' not in caught.value.code


# The recipe


def test_learning_rate_is_one_cycle():
    recipe = Recipe(learning_rate=0.5)
    expected = {0: 0.02, 0.05: 0.26, 0.1: 0.5, 0.325: 0.25 * (1 + 0.5**0.5), 0.55: 0.25, 1: 0}
    for progress, rate in expected.items():
        assert recipe.learning_rate_at(progress) == pytest.approx(rate, abs=1e-12)


@pytest.mark.usefixtures('small_network')
def test_steps_follow_the_learning_rate_and_average_the_weights(data):
    trainer = make_trainer(data, epochs=2)
    rates, weights, statistics = [], [], []

    def record(optimizer, _arguments, _options):
        rates.append(optimizer.param_groups[0]['lr'])
        weights.append(trainer.network.first.weight.detach().clone())
        statistics.append(trainer.network.norm.running_mean.clone())

    trainer.optimizer.register_step_post_hook(record)
    trainer.train_epoch(progress=False)
    trainer.train_epoch(progress=False)
    expected = [trainer.recipe.learning_rate_at(step / 6) for step in range(6)]
    assert rates == pytest.approx(expected)
    assert trainer.epoch == 2
    for values, averaged in (
        (weights, trainer.averaged.module.first.weight),
        (statistics, trainer.averaged.module.norm.running_mean),
    ):
        mean = values[0]
        for value in values[1:]:
            mean = 0.9 * mean + 0.1 * value
        torch.testing.assert_close(averaged.detach(), mean)
        assert not torch.equal(averaged, values[-1])


@pytest.mark.usefixtures('small_network')
@pytest.mark.parametrize('power', [0, 0.5, 1])
def test_loss_weighs_the_classes_and_leaves_void_out(data, power):
    trainer = make_trainer(data, weight_power=power)
    frames = CamVid(data, 'train')
    frequencies = class_frequencies((frames[i][1] for i in range(len(frames))), 11)
    weights = inverse_log_weights(frequencies, power)
    used = trainer.loss.cross_entropy.weight
    torch.testing.assert_close(used, torch.tensor(weights, dtype=torch.float32))
    logits = torch.zeros(1, 11, 1, 3)
    logits[0, 3, 0, 0], logits[0, 5, 0, 1], logits[0, 1, 0, 2] = 2, 1, 9
    labels = torch.tensor([[[3, 0, 255]]])
    nll = np.array([np.log(10 + np.e**2) - 2, np.log(10 + np.e)])
    expected = (weights[[3, 0]] * nll).sum() / weights[[3, 0]].sum()
    assert trainer.loss(logits, labels).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.usefixtures('small_network')
def test_reported_loss_is_the_mean_over_the_steps(data):
    trainer = make_trainer(data)
    losses = []
    trainer.loss.register_forward_hook(lambda _module, _inputs, loss: losses.append(loss.item()))
    mean = trainer.train_epoch(progress=False)
    assert len(losses) == 3
    assert mean == pytest.approx(np.mean(losses))


@pytest.mark.usefixtures('small_network')
@pytest.mark.parametrize(
    ('precision', 'native', 'expected'),
    [
        ('bf16', False, torch.bfloat16),
        ('auto', True, torch.bfloat16),
        ('auto', False, torch.float32),
        ('fp32', True, torch.float32),
    ],
)
def test_bfloat16_only_where_asked_or_native(data, monkeypatch, precision, native, expected):
    monkeypatch.setattr(torch.cpu, 'get_capabilities', lambda: {'avx512_bf16': native})
    trainer = make_trainer(data, precision=precision)
    computed = set()
    trainer.network.register_forward_hook(lambda _module, _inputs, out: computed.add(out.dtype))
    trainer.train_epoch(progress=False)
    assert computed == {expected}
    assert {p.dtype for p in trainer.network.parameters()} == {torch.float32}


@pytest.mark.usefixtures('small_network')
def test_first_weights_from_a_checkpoint(data, tmp_path):
    before = make_trainer(data, seed=5)
    before.train_epoch(progress=False)
    save_checkpoint(tmp_path / 'best.pt', before.state())
    trainer = make_trainer(data, init=str(tmp_path / 'best.pt'))
    expected = before.averaged.module.state_dict()
    assert_identical(dict(trainer.network.state_dict()), dict(expected))
    assert_identical(dict(trainer.averaged.module.state_dict()), dict(expected))
    assert trainer.epoch == 0


@pytest.mark.usefixtures('small_network')
def test_every_epoch_has_its_own_samples(data):
    trainer = make_trainer(data)
    seen = []
    trainer.loss.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[1].clone()))
    for epoch in range(2):
        trainer.train_epoch(progress=False)
        trainer.samples.start_epoch(epoch)
        expected = torch.stack([trainer.samples[position][1] for position in range(6)])
        assert torch.equal(torch.cat(seen[-3:]), expected)
    assert not torch.equal(torch.cat(seen[:3]), torch.cat(seen[3:]))


@pytest.mark.usefixtures('small_network')
def test_seed_decides_the_run(data):
    states = []
    for seed in (1, 1, 2):
        trainer = make_trainer(data, seed=seed)
        trainer.train_epoch(progress=False)
        states.append(trainer.network.first.weight.detach())
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


@pytest.mark.usefixtures('small_network')
def test_worker_processes_change_nothing(data):
    """Also in the second epoch, whose order and draws the workers must have been told.

    The threads that OpenCV has started before, as for rendered streets, must not stop them.
    """
    cv2.warpAffine(np.zeros((2000, 2000, 3), np.uint8), np.eye(2, 3), (2000, 2000))
    alone, helped = make_trainer(data), make_trainer(data, workers=1)
    helped.loader.timeout = 60  # [s], so that workers that wait for ever are an error
    for _ in range(2):
        assert alone.train_epoch(progress=False) == helped.train_epoch(progress=False)
    assert_identical(dict(alone.network.state_dict()), dict(helped.network.state_dict()))


def test_linknet_learns_an_easy_task(data):
    trainer = make_trainer(data, epochs=8, average_decay=0.5, scale_min=1.0, scale_max=1.0)
    losses = [trainer.train_epoch(progress=False) for _ in range(8)]
    assert losses[-1] < 0.75 * losses[0]
    scores = trainer.evaluate(CamVid(data, 'train'), progress=False)
    assert scores.global_accuracy > 0.6


# A run and its files


def test_history_and_checkpoints(whole_run, data):
    history = json.loads((whole_run / 'history.json').read_text())
    scores = {'miou', 'class_accuracy', 'global_accuracy'}
    assert [set(entry) - scores for entry in history] == [{'epoch', 'loss'}] * 3
    assert [entry['epoch'] for entry in history] == [1, 2, 3]
    assert [scores <= set(entry) for entry in history] == [False, True, True]
    last = load_checkpoint(whole_run / 'last.pt')
    assert last['history'] == history
    assert last['epoch'] == 3
    assert Recipe(**last['recipe']) == RECIPE
    for name, entry in (
        ('last.pt', history[-1]),
        ('best.pt', max(history[1:], key=lambda entry: entry['miou'])),
    ):
        measured = evaluate(load_network(whole_run / name), CamVid(data, 'val'), 11, False)
        assert {key: getattr(measured, key) for key in scores} == {k: entry[k] for k in scores}
    assert last['best_miou'] == max(entry['miou'] for entry in history[1:])
    assert {path.name for path in whole_run.iterdir()} == {'last.pt', 'best.pt', 'history.json'}


def test_stopped_after_an_epoch_and_resumed_ends_the_same(whole_run, data, out):
    out.mkdir()
    stopped = make_trainer(data)
    stopped.train_epoch(progress=False)
    stopped.history.append({'epoch': 1, 'loss': 0.0})
    save_checkpoint(out / 'last.pt', stopped.state())

    resumed = make_trainer(data)
    resumed.restore(load_checkpoint(out / 'last.pt'))
    assert (resumed.epoch, resumed.history) == (1, [{'epoch': 1, 'loss': 0.0}])
    train(resumed, CamVid(data, 'val'), out, eval_every=2)
    expected, state = (load_checkpoint(run / 'last.pt') for run in (whole_run, out))
    assert state['history'].pop(0) == {'epoch': 1, 'loss': 0.0}
    expected['history'].pop(0)
    assert_identical(state, expected)


# In the second of the three steps of epoch 2, after the first epoch's checkpoint.
KILLED_RUN = """
import os, signal, sys, torch
from training import train
torch.set_num_threads(int(sys.argv[1]))
normalize, calls = train.normalize, []
def killing(frames):
    calls.append(1)
    if len(calls) == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return normalize(frames)
train.normalize = killing
torch.cuda.is_available = lambda: False
train.main(sys.argv[2:])
"""


def test_killed_in_an_epoch_and_resumed_ends_the_same(whole_run, data, out):
    command = ['--data', str(data), '--out', str(out), *COMMAND]
    killed = subprocess.run(
        [sys.executable, '-c', KILLED_RUN, str(torch.get_num_threads()), *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert load_checkpoint(out / 'last.pt')['epoch'] == 1
    main([*command, '--resume'])
    assert_identical(load_checkpoint(out / 'last.pt'), load_checkpoint(whole_run / 'last.pt'))
    assert_identical(load_checkpoint(out / 'best.pt'), load_checkpoint(whole_run / 'best.pt'))
    histories = [(run / 'history.json').read_text() for run in (out, whole_run)]
    assert histories[0] == histories[1]


def test_best_checkpoint_is_the_best_so_far(data, tmp_path, monkeypatch):
    monkeypatch.setattr(training, 'LinkNet', SmallNetwork)
    trainer = make_trainer(data, epochs=4)
    scores = evaluate(trainer.network, CamVid(data, 'val'), 11, progress=False)
    ious = iter([0.2, 0.5, 0.3, 0.5])
    monkeypatch.setattr(
        trainer, 'evaluate', lambda _frames: replace(scores, iou=np.full(11, next(ious)))
    )
    train(trainer, CamVid(data, 'val'), tmp_path, eval_every=1)
    assert load_checkpoint(tmp_path / 'best.pt')['epoch'] == 2
    assert load_checkpoint(tmp_path / 'last.pt')['epoch'] == 4
    assert trainer.best_miou == 0.5


# Refusals


@pytest.mark.usefixtures('small_network')
@pytest.mark.parametrize(
    ('option', 'text'),
    [
        (('--lr', '0.1'), 'learning_rate=0.002, not 0.1'),
        (('--epochs', '4'), 'epochs=3, not 4'),
        (('--crop', '32x32'), 'crop_width=64, not 32'),
        (('--seed', '1'), 'seed=0, not 1'),
        (('--precision', 'bf16'), 'precision=fp32, not bf16'),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else '',
)
def test_resume_with_another_recipe_is_refused(whole_run, data, option, text):
    before = (whole_run / 'history.json').read_text()
    arguments = ['--data', str(data), '--out', str(whole_run), *COMMAND, *option, '--resume']
    assert_one_line_error(arguments, f'error: the run was started with {text}; resume it with')
    assert (whole_run / 'history.json').read_text() == before


def test_existing_run_is_not_overwritten(whole_run, data):
    before = (whole_run / 'last.pt').read_bytes()
    arguments = ['--data', str(data), '--out', str(whole_run), *COMMAND]
    assert_one_line_error(arguments, r'error: .*/run/last\.pt exists; add --resume to go on')
    assert (whole_run / 'last.pt').read_bytes() == before


@pytest.mark.usefixtures('small_network')
def test_resume_without_a_run(data, out):
    arguments = ['--data', str(data), '--out', str(out), *COMMAND, '--resume']
    assert_one_line_error(arguments, r'error: no checkpoint .*/run/last\.pt; train one')
    assert not out.exists()


@pytest.mark.usefixtures('small_network')
def test_too_few_frames_for_a_batch(data, out):
    arguments = ['--data', str(data), '--out', str(out), *COMMAND, '--batch', '7']
    assert_one_line_error(arguments, 'error: 6 frames do not fill a batch of 7')
    assert not out.exists()


def test_data_that_is_not_there(tmp_path, out):
    arguments = ['--data', str(tmp_path / 'camvid'), '--out', str(out)]
    assert_one_line_error(arguments, r'error: no folder .*/camvid/train; give the CamVid folder')


@pytest.mark.parametrize(
    ('crop', 'text'),
    [
        ('384', "'384' is not WIDTHxHEIGHT"),
        ('axb', "'axb' is not WIDTHxHEIGHT"),
        ('64x16', '64x16 is too small, use at least 32x32'),
    ],
)
def test_crop_option(crop, text, capsys):
    with pytest.raises(SystemExit, match='2'):
        main(['--data', 'x', '--out', 'y', '--crop', crop])
    assert text in capsys.readouterr().err


@pytest.mark.usefixtures('small_network')
def test_options_make_the_recipe_and_the_sources(data, out, monkeypatch):
    asked, started = [], []

    def street_frames(count, seed):
        asked.append((count, seed))
        return [(np.zeros((48, 64, 3), np.uint8), np.full((48, 64), 4, np.uint8))] * count

    monkeypatch.setattr(training, 'StreetFrames', street_frames)
    monkeypatch.setattr(training, 'train', lambda *arguments: started.append(arguments))
    options = (
        *('--epochs', '7', '--batch', '3', '--lr', '0.01', '--weight-decay', '0.1'),
        *('--crop', '64x96', '--scale', '0.5', '2', '--color', '0', '--weight-power', '0.5'),
        *('--street-frames', '4', '--average-decay', '0.9', '--precision', 'fp32', '--seed', '6'),
    )
    main(['--data', str(data), '--out', str(out), *options, '--eval-every', '2'])
    ((trainer, val, run, eval_every),) = started
    assert trainer.recipe == Recipe(
        epochs=7,
        batch=3,
        learning_rate=0.01,
        weight_decay=0.1,
        crop_width=64,
        crop_height=96,
        scale_min=0.5,
        scale_max=2.0,
        color=0.0,
        weight_power=0.5,
        street_frames=4,
        average_decay=0.9,
        precision='fp32',
        seed=6,
    )
    assert asked == [(4, 6)]
    assert len(trainer.samples) == 6 + 4
    assert trainer.optimizer.param_groups[0]['weight_decay'] == 0.1
    assert trainer.samples[0][0].shape == (96, 64, 3)
    assert len(val) == 2
    assert (run, eval_every) == (out, 2)


def test_default_network_is_linknet(data):
    trainer = make_trainer(data)
    assert isinstance(trainer.network, LinkNet)
    assert trainer.config.classes == 11
