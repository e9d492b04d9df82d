"""A run in its folder: what is evaluated when, what is written, and what a resumed run forgets."""

import csv
import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from linknet_ros.errors import SourceError
from linknet_ros.metrics import ConfusionMatrix
from training import run as running
from training.checkpoint import load_checkpoint, network_of
from training.data_options import DataOptions
from training.evaluate import evaluate
from training.networks import NetworkConfig, build_network
from training.processes import Processes, alone
from training.recipes import Recipe
from training.run import Run
from training.samples import Source
from training.trainer import Trainer

pytestmark = pytest.mark.usefixtures('tiny_network')

RECIPE = Recipe(epochs=4, batch=3, average_decay=0.5, precision='fp32', learning_rate=0.02)
SCORES = {'miou', 'class_accuracy', 'global_accuracy'}


@pytest.fixture(autouse=True)
def _on_the_processor(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)


@pytest.fixture
def make_run(camvid_folder, tmp_path):
    """Make a run on the tiny data set: `make_run(**changes of the recipe)`."""

    def make(out='run', data=None, processes=None, eval_every=2, keep_all=False, **changes):
        data = data or DataOptions()
        train, val = data.open_train_and_val(camvid_folder, None)
        config = NetworkConfig('tiny')
        torch.manual_seed(0)
        network = build_network(config)
        recipe = replace(RECIPE, **changes)
        trainer = Trainer(recipe, network, config, [Source('', train)], alone(), 0)
        trainer.processes = processes or trainer.processes
        return Run(trainer, val, tmp_path / out, data, eval_every, keep_all)

    return make


@pytest.fixture
def no_pictures(monkeypatch):
    monkeypatch.setattr(running, 'plot_curves', lambda *_: None)
    monkeypatch.setattr(running, 'plot_confusion_matrix', lambda *_: None)


@pytest.fixture
def scripted_miou(monkeypatch):
    """Let the evaluations of a run find these mean IoUs, one after another."""

    def script(*mious):
        remaining = iter(mious)

        def scripted(_network, dataset, _processes):
            right = round(next(remaining) * 100)
            counts = np.zeros((11, 12), np.int64)
            counts[0, [0, -1]] = right, 100 - right
            return ConfusionMatrix.from_counts(counts)

        monkeypatch.setattr(running, 'evaluate', scripted)

    return script


def history_of(run):
    return json.loads((run.out / 'history.json').read_text())


def test_history_checkpoints_and_pictures(make_run, capsys):
    run = make_run(epochs=3)
    run.finish()
    history = history_of(run)
    assert [entry['epoch'] for entry in history] == [1, 2, 3]
    assert [SCORES & set(entry) for entry in history] == [set(), SCORES, SCORES]
    plain = {'epoch', 'loss', 'learning_rate', 'seconds'}
    assert all(plain <= set(entry) for entry in history)
    assert [entry['learning_rate'] for entry in history] == pytest.approx(
        [RECIPE.learning_rate_at(progress) for progress in (1 / 6, 3 / 6, 5 / 6)]
    )
    last = load_checkpoint(run.out / 'last.pt')
    assert (last['epoch'], last['recipe']['epochs']) == (3, 3)
    assert DataOptions(**last['data']) == run.data
    best = max(history[1:], key=lambda entry: entry['miou'])
    for name, entry in (('last.pt', history[-1]), ('best.pt', best)):
        path = run.out / name
        state = load_checkpoint(path)
        assert len(state['history']) == state['epoch'] == entry['epoch']
        scores = evaluate(network_of(state, path), run.val, alone()).scores()
        assert {key: getattr(scores, key) for key in SCORES} == {k: entry[k] for k in SCORES}
        for class_name, iou in zip(run.val.classes.names, scores.iou, strict=True):
            expected = None if np.isnan(iou) else iou
            assert entry[f'iou/{class_name}'] == expected, class_name
    assert last['best_miou'] == best['miou']
    with (run.out / 'history.csv').open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row['loss']) for row in rows] == [entry['loss'] for entry in history]
    for picture in ('curves.png', 'confusion.png'):
        image = cv2.imread(str(run.out / picture))
        assert image.std() > 10
    summary = (run.out / 'summary.txt').read_text()
    assert f'{history[-1]["miou"]:.3f}' in summary
    assert 'bicyclist' in summary
    printed = [line for line in capsys.readouterr().out.splitlines() if line.startswith('epoch')]
    assert printed == [
        f'epoch {e["epoch"]}: loss {e["loss"]:.3f}, val mIoU {e["miou"]:.4f}' for e in history[1:]
    ]
    files = {p.name for p in run.out.iterdir() if not p.name.startswith('events.')}
    checkpoints = {'last.pt', 'best.pt'}
    pictures = {'curves.png', 'confusion.png', 'summary.txt'}
    assert files == checkpoints | pictures | {'history.json', 'history.csv'}


@pytest.mark.usefixtures('no_pictures')
@pytest.mark.parametrize(
    ('eval_every', 'expected'), [(1, [1, 2, 3, 4]), (3, [3, 4]), (4, [4]), (9, [4])]
)
def test_evaluations_and_what_is_kept_of_them(make_run, eval_every, expected):
    run = make_run(eval_every=eval_every, keep_all=True)
    run.finish()
    assert [entry['epoch'] for entry in history_of(run) if 'miou' in entry] == expected
    kept = sorted(run.out.glob('epoch_*.pt'))
    assert [path.name for path in kept] == [f'epoch_{epoch:03}.pt' for epoch in expected]
    assert [load_checkpoint(path)['epoch'] for path in kept] == expected
    assert load_checkpoint(run.out / 'last.pt')['epoch'] == 4


@pytest.mark.usefixtures('no_pictures')
def test_best_checkpoint_is_the_best_so_far(make_run, scripted_miou):
    scripted_miou(0.2, 0.5, 0.3, 0.5)
    run = make_run(eval_every=1)
    run.finish()
    best, last = (load_checkpoint(run.out / name) for name in ('best.pt', 'last.pt'))
    assert (best['epoch'], best['best_miou']) == (2, 0.5)
    assert (last['epoch'], last['best_miou']) == (4, 0.5)
    assert [entry['miou'] for entry in history_of(run)] == [0.2, 0.5, 0.3, 0.5]


@pytest.mark.usefixtures('no_pictures')
def test_best_before_the_resume_counts(make_run, scripted_miou):
    scripted_miou(0.5, 0.4)
    run = make_run(epochs=2, eval_every=1)
    run.finish()
    resumed = make_run(epochs=2, eval_every=1)
    state = load_checkpoint(run.out / 'last.pt')
    resumed.restore({**state, 'epoch': 1, 'history': state['history'][:1]})
    scripted_miou(0.45)
    resumed.finish()
    assert load_checkpoint(run.out / 'best.pt')['epoch'] == 1
    assert [entry['miou'] for entry in history_of(run)] == [0.5, 0.45]


def test_last_checkpoint_is_written_after_everything_else(make_run, monkeypatch):
    """What a kill leaves without last.pt is written again when the epoch is."""
    written = []

    def save(path, _state):
        written.append(path.name)

    monkeypatch.setattr(running, 'save_checkpoint', save)
    for name in ('plot_curves', 'plot_confusion_matrix'):
        monkeypatch.setattr(running, name, lambda *arguments: written.append(arguments[-1].name))
    run = make_run(epochs=1, keep_all=True)
    run.finish()
    pictures = ['curves.png', 'confusion.png']
    assert written == ['best.pt', 'epoch_001.pt', *pictures, 'last.pt']


@pytest.mark.usefixtures('no_pictures')
def test_resumed_run_forgets_what_the_checkpoint_does_not_know(make_run):
    run = make_run(epochs=2, eval_every=1)
    run.finish()
    state = load_checkpoint(run.out / 'last.pt')
    run.log.write({'epoch': 3, 'loss': 9.0})
    resumed = make_run(epochs=2, eval_every=1)
    resumed.restore(state)
    assert [entry['epoch'] for entry in history_of(run)] == [1, 2]
    assert len((run.out / 'history.csv').read_text().splitlines()) == 1 + 2
    assert resumed.log.history == state['history']


@pytest.mark.parametrize(
    'other', [DataOptions(hold_out='b'), DataOptions(size=(32, 32)), DataOptions('camvid-b')]
)
@pytest.mark.usefixtures('no_pictures')
def test_other_data_are_refused(make_run, other):
    run = make_run(epochs=1, data=DataOptions(size=(64, 32)))
    run.finish()
    state = load_checkpoint(run.out / 'last.pt')
    same = make_run(epochs=1, data=DataOptions(size=(64, 32)))
    same.restore(state)
    same.data = other
    with pytest.raises(SourceError, match=r'the run was started on .*64, 32.*, not on .*resume'):
        same.restore(state)


@pytest.mark.usefixtures('no_pictures')
def test_other_classes_are_refused(make_run):
    run = make_run(epochs=1)
    run.finish()
    state = load_checkpoint(run.out / 'last.pt')
    assert state['classes'] == list(run.val.classes.names)
    # From before classes were stored.
    make_run(epochs=1).restore({k: v for k, v in state.items() if k != 'classes'})
    state['classes'][:2] = reversed(state['classes'][:2])
    with pytest.raises(SourceError, match=r'on the classes building, sky, .* others now'):
        make_run(epochs=1).restore(state)


def test_other_process_writes_nothing(make_run, capsys):
    run = make_run(epochs=2, processes=Processes(1, 1, torch.device('cpu')))
    run.finish()
    assert run.trainer.epoch == 2
    assert run.log is None
    assert not run.out.exists()
    assert capsys.readouterr().out == ''
