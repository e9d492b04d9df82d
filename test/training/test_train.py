"""The command line: options reach the run, runs resume bit for bit, processes, refusals."""

import json
import math
import subprocess
import sys
from dataclasses import asdict, fields

import cv2
import numpy as np
import pytest
import torch
from checkout import ROOT

from linknet_ros.classes import CAMVID
from linknet_ros.inference.model_file import metadata_of
from training import train as training
from training.checkpoint import load_checkpoint, network_of
from training.data_options import DataOptions
from training.datasets import open_dataset
from training.evaluate import evaluate
from training.export import to_onnx
from training.networks import NetworkConfig, build_network, normalize
from training.processes import alone
from training.recipes import RECIPES, Recipe
from training.train import main, parse_options, recipe_from

#: Of the runs that are carried out: with dropout, which makes a wrong seed show.
COMMAND = (
    *('--width', '0.25', '--dropout', '0.1', '--recipe', 'onecycle', '--epochs', '3'),
    *('--batch', '2'),
    *('--crop-width', '64', '--crop-height', '32', '--paste', '0.5', '--rare-below', '0.3'),
    *('--average-decay', '0.9', '--precision', 'fp32', '--eval-every', '2', '--workers', '0'),
)

#: Of the runs that only begin.
TINY = ('--network', 'tiny', '--recipe', 'paper', '--batch', '2', '--workers', '0')


@pytest.fixture(autouse=True, scope='module')
def _on_the_processor(cheap_pictures):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, 'is_available', lambda: False)
        yield


@pytest.fixture
def out(tmp_path):
    return tmp_path / 'run'


@pytest.fixture(scope='module')
def whole_run(camvid_folder, tmp_path_factory):
    """A run that nothing cut."""
    out = tmp_path_factory.mktemp('whole') / 'run'
    torch.set_num_threads(1)
    main(['--data', str(camvid_folder), '--out', str(out), *COMMAND])
    return out


@pytest.fixture
def begin(camvid_folder, out, tiny_network, monkeypatch):
    """Begin a run of the tiny network and give it as it is before its first epoch."""
    begun = []
    monkeypatch.setattr(training.Run, 'finish', lambda run: begun.append(run))

    def begin(*options):
        main(['--data', str(camvid_folder), '--out', str(out), *TINY, *options])
        return begun.pop()

    return begin


def assert_identical(one, two, where='state'):
    """Bit for bit, tensors and plain values, whatever they are nested in; NaN is NaN."""
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
    elif not (isinstance(one, float) and math.isnan(one) and math.isnan(two)):
        assert one == two, where


def assert_one_line_error(arguments, text):
    with pytest.raises(SystemExit, match=f'^error: {text}') as caught:
        main([str(argument) for argument in arguments])
    assert '\n' not in caught.value.code


def without_times(history):
    return [{k: v for k, v in entry.items() if k != 'seconds'} for entry in history]


# Options

#: For each value of a recipe: what is given, the value that it is, and a look at what uses it.
OPTIONS = {
    'epochs': ('7', 7, lambda t: t.recipe.epochs),
    'batch': ('3', 3, lambda t: len(t.loader.batch_sampler[0])),
    'accumulate': ('2', 2, lambda t: 2 // len(t.loader.batch_sampler[0])),
    'optimizer': ('adamw', 'adamw', lambda t: type(t.optimizer).__name__.lower()),
    'learning_rate': ('0.25', 0.25, lambda t: t.learning_rate),
    'weight_decay': ('0.5', 0.5, lambda t: t.optimizer.param_groups[0]['weight_decay']),
    'frozen': ('1', 1, lambda t: sum(not p.requires_grad for p in t.network.parameters()) // 2),
    'encoder_rate': ('0.5', 0.5, lambda t: t.optimizer.param_groups[0]['share']),
    'schedule': ('one-cycle', 'one-cycle', lambda t: t.recipe.schedule),
    'warm_up': ('0.5', 0.5, lambda t: t.recipe.warm_up),
    'warm_up_from': ('0.5', 0.5, lambda t: t.recipe.warm_up_from),
    'crop_width': ('40', 40, lambda t: t.samples[0][0].shape[1]),
    'crop_height': ('40', 40, lambda t: t.samples[0][0].shape[0]),
    'scale_min': ('0.5', 0.5, lambda t: t.samples._augment.scale[0]),
    'scale_max': ('2', 2.0, lambda t: t.samples._augment.scale[1]),
    'rotation': ('9', 9.0, lambda t: t.samples._augment.rotation),
    'aspect': ('0.2', 0.2, lambda t: t.samples._augment.aspect),
    'mirror': ('true', True, lambda t: t.samples._augment.mirror),
    'color': ('0.75', 0.75, lambda t: t.samples._augment.color),
    'blur': ('0.25', 0.25, lambda t: t.samples._augment.blur),
    'noise': ('0.125', 0.125, lambda t: t.samples._augment.noise),
    'focus': ('0.375', 0.375, lambda t: t.samples._augment.focus),
    'paste': ('0.625', 0.625, lambda t: t.samples._paste),
    'rare_below': ('1', 1.0, lambda t: len(t.samples._augment.focus_classes) / 4),
    'weight_power': ('0', 0.0, lambda t: float(t.loss.weights.std())),
    'hardest': ('0.5', 0.5, lambda t: t.loss.hardest),
    'smoothing': ('0.1', 0.1, lambda t: t.loss.smoothing),
    'dice': ('0.5', 0.5, lambda t: t.loss.dice),
    'lovasz': ('0.25', 0.25, lambda t: t.loss.lovasz),
    'supervision': ('0.5', 0.5, lambda t: len(t.model.heads) / 2),
    'average_decay': ('0.75', 0.75, lambda t: t.recipe.average_decay),
    'street_frames': ('2', 2, lambda t: len(t.samples) - 6),
    'fixed_norms': ('true', True, lambda t: t.recipe.fixed_norms),
    'loss_stride': ('2', 2, lambda t: t.recipe.loss_stride),
    'precision': ('bf16', 'bf16', lambda t: 'bf16' if t.autocast._enabled else 'fp32'),
    'teacher_weight': ('0.75', 0.75, lambda t: t.recipe.teacher_weight),
    'teacher_temperature': ('3', 3.0, lambda t: t.recipe.teacher_temperature),
    'seed': ('6', 6, lambda t: t.samples._seed),
}


def test_every_value_of_a_recipe_is_looked_at():
    assert list(OPTIONS) == [field.name for field in fields(Recipe)]


@pytest.mark.parametrize('name', OPTIONS)
def test_option_reaches_the_run(begin, out, capsys, name):
    text, value, look = OPTIONS[name]
    run = begin('--' + name.replace('_', '-'), text)
    expected = {**asdict(RECIPES['paper']), 'batch': 2, name: value}
    assert asdict(run.trainer.recipe) == expected
    assert type(getattr(run.trainer.recipe, name)) is type(value)
    assert look(run.trainer) == value
    assert json.loads((out / 'recipe.json').read_text()) == expected
    printed = capsys.readouterr().out
    table = dict(line.split()[:2] for line in printed.splitlines() if line[:14].split())
    assert {key: table[key] for key in expected} == {k: str(v) for k, v in expected.items()}


def test_best_is_the_recipe_if_left_out():
    options = parse_options(['--data', 'x', '--out', 'y'])
    assert recipe_from(options) == RECIPES['best']
    assert options.dataset == 'camvid'
    options = parse_options(['--data', 'x', '--out', 'y', '--mirror', 'false'])
    assert recipe_from(options).mirror is False


def test_options_of_the_run(begin, out, tmp_path):
    run = begin(
        *('--eval-every', '4', '--keep-all', '--workers', '2', '--size', '32x48'),
        *('--cache', str(tmp_path / 'cache')),
    )
    assert (run.out, run.eval_every, run.keep_all) == (out, 4, True)
    assert run.trainer.loader.num_workers == 2
    assert run.data == DataOptions('camvid', (32, 48), '')
    assert run.trainer.samples[0][0].shape == (48, 32, 3)
    assert run.val[0][1].shape == (48, 32)
    assert len([path for path in (tmp_path / 'cache').rglob('*') if path.is_file()]) >= 6


def test_options_of_the_network(begin):
    network = begin().trainer.network
    assert network.options == (11, 'batch', 0.0, 'relu', False)
    run = begin('--normalization', 'group', '--dropout', '0.25', '--activation', 'silu')
    assert run.trainer.network.options == (11, 'group', 0.25, 'silu', False)
    assert run.trainer.config == NetworkConfig('tiny', 11, 'group', 0.25, 'silu', False)


@pytest.mark.parametrize(
    ('options', 'text'),
    [
        (('--mirror', 'yes'), "'yes' is neither true nor false"),
        (('--batch', '0'), "'0' is not a whole number of 1 or more"),
        (('--epochs', '1.5'), "'1.5' is not a whole number"),
        (('--accumulate', '-2'), "'-2' is not a whole number"),
        (('--eval-every', '0'), "'0' is not a whole number"),
        (('--schedule', 'cosine'), "invalid choice: 'cosine'"),
        (('--optimizer', 'sgd'), "invalid choice: 'sgd'"),
        (('--precision', 'fp16'), "invalid choice: 'fp16'"),
        (('--learning-rate', 'high'), "'high' is not a number of 0 or more"),
        (('--learning-rate=-1',), "'-1' is not a number of 0 or more"),
        (('--dice', 'nan'), "'nan' is not a number of 0 or more"),
        (('--seed=-1',), "'-1' is not a whole number of 0 or more"),
        (('--street-frames', '0.5'), "'0.5' is not a whole number of 0 or more"),
        (('--crop-width=-5',), "'-5' is not a whole number of 0 or more"),
        (('--workers=-1',), "'-1' is not a whole number of 0 or more"),
        (('--recipe', 'worst'), "invalid choice: 'worst'"),
        (('--network', 'resnet'), "invalid choice: 'resnet'"),
    ],
)
def test_options_that_are_refused(options, text, capsys):
    with pytest.raises(SystemExit, match='2'):
        main(['--data', 'x', '--out', 'y', *options])
    assert text in capsys.readouterr().err


# Data set files

MIXED = """
classes: camvid
train:
  town: {dataset: camvid, root: ., per_epoch: 4}
  part: {frames: train, labels: trainannot, per_epoch: 2, ids: IDS}
val:
  town: {dataset: camvid, root: .}
  half:
    frames: val
    labels: valannot
    score:
      up: {ids: [0, 5], classes: [sky, tree]}
      down: {ids: [1, 3], classes: [building, road]}
"""


def test_run_on_a_data_set_file(camvid_folder, out, tmp_path, tiny_network, capsys):
    path = tmp_path / 'mixed.yaml'
    path.write_text(
        MIXED.replace('IDS', '{0: [sky, tree], 5: [sky, tree], 1: building, 3: road, 11: void}')
    )
    command = ['--data', str(path), '--root', str(camvid_folder), '--out', str(out), *TINY]
    main([*command, '--epochs', '1', '--eval-every', '1', '--crop-width', '32'])
    printed = capsys.readouterr().out
    assert printed.startswith('Tiny, an epoch of 4 of 6 frames of town, 2 of 6 frames of part\n')
    (entry,) = json.loads((out / 'history.json').read_text())
    assert 0 <= entry['miou'] <= 1
    assert 0 <= entry['half_up'] <= 1
    assert entry['half_miou'] == pytest.approx((entry['half_up'] + entry['half_down']) / 2)
    state = load_checkpoint(out / 'last.pt')
    assert DataOptions(**state['data']) == DataOptions('camvid', file=path.read_text())
    assert state['classes'] == list(CAMVID.names)
    path.write_text(path.read_text().replace('per_epoch: 4', 'per_epoch: 2'))
    assert_one_line_error(
        [*command, '--epochs', '1', '--crop-width', '32', '--resume'], 'the run was started on'
    )


@pytest.mark.parametrize(
    ('options', 'error'),
    [
        (('--size', '64x48'), '--size cannot be used with a data set file'),
        (('--hold-out', 'b'), '--hold-out cannot be used with a data set file'),
        (('--street-frames', '2'), '--street-frames cannot be used with a data set file'),
        (
            ('--recipe', 'best', '--decay-epochs', '2', '--supervision', '0'),
            'the schedule one-cycle ends by itself',
        ),
    ],
)
def test_options_that_do_not_go_with_a_data_set_file(
    camvid_folder, out, tmp_path, tiny_network, options, error
):
    path = tmp_path / 'mixed.yaml'
    path.write_text(MIXED.replace('IDS', '{0: sky, 1: building, 3: road, 5: tree, 11: void}'))
    assert_one_line_error(
        ['--data', path, '--root', camvid_folder, '--out', out, *TINY, *options], error
    )


# First weights


@pytest.fixture
def first_network(tiny_network, camvid_folder):
    """The tiny network with statistics of its own, not those that any run begins with."""
    torch.manual_seed(9)
    network = build_network(NetworkConfig('tiny')).train()
    train = open_dataset('camvid', camvid_folder, 'train')
    for i in range(6):
        network(normalize(torch.tensor(train[i][0])[None]))
    torch.nn.init.uniform_(network.norm.weight, 0.5, 2.0)
    torch.nn.init.uniform_(network.norm.bias, -1.0, 1.0)
    return network.eval()


def test_first_weights_from_a_model_file(begin, first_network, tmp_path):
    metadata = metadata_of(
        CAMVID,
        architecture='Tiny',
        dataset='CamVid',
        label_set='eleven',
        default_size=(64, 48),
        accuracy={},
    )
    path = tmp_path / 'tiny.onnx'
    path.write_bytes(to_onnx(first_network, metadata).SerializeToString())
    run = begin('--init', str(path))
    network = run.trainer.network.eval()
    image = normalize(torch.tensor(run.val[0][0])[None])
    with torch.inference_mode():
        torch.testing.assert_close(network(image), first_network(image), rtol=1e-3, atol=1e-3)
    assert network.norm.running_var.min() > 0


def test_first_weights_do_not_matter_to_a_resumed_run(camvid_folder, out, tiny_network, tmp_path):
    command = ['--data', str(camvid_folder), '--out', str(out), *TINY, '--epochs', '1']
    main(command)
    before = load_checkpoint(out / 'last.pt')
    main([*command, '--resume', '--init', str(tmp_path / 'gone.pt')])
    assert_identical(load_checkpoint(out / 'last.pt'), before)


def test_resumed_run_downloads_nothing(camvid_folder, out, tiny_network, monkeypatch):
    built = []

    def record(config):
        built.append(build_network(config))
        return built[-1]

    monkeypatch.setattr(training, 'build_network', record)
    command = ['--data', str(camvid_folder), '--out', str(out), *TINY, '--epochs', '1']
    main([*command, '--pretrained'])
    main([*command, '--pretrained', '--resume'])
    assert [network.options[-1] for network in built] == [True, False]
    with pytest.raises(SystemExit, match='started with pretrained=True, not False'):
        main([*command, '--resume'])


# A run from its beginning to its end


def test_whole_run(whole_run, camvid_folder):
    history = json.loads((whole_run / 'history.json').read_text())
    assert [entry['epoch'] for entry in history] == [1, 2, 3]
    assert ['miou' in entry for entry in history] == [False, True, True]
    recipe = json.loads((whole_run / 'recipe.json').read_text())
    last = load_checkpoint(whole_run / 'last.pt')
    assert last['recipe'] == recipe
    config = NetworkConfig('linknet', dropout=0.1, width=0.25)
    assert NetworkConfig(**last['config']) == config
    val = open_dataset('camvid', camvid_folder, 'val')
    scores = evaluate(network_of(last, whole_run), val, alone()).scores()
    assert scores.miou == history[-1]['miou']
    assert last['best_miou'] == max(entry['miou'] for entry in history[1:])


#: Two runs that are killed: in the second of the three steps of epoch 2, after the first epoch's
#: checkpoint, and when epoch 2 is in the history and the best so far, but not yet in last.pt.
KILLED = """
import os, signal, sys, torch
from training import run, train, trainer
torch.set_num_threads(1)
torch.cuda.is_available = lambda: False
normalize, steps = trainer.normalize, []

def killing(frames, statistics):
    steps.append(1)
    if len(steps) == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return normalize(frames, statistics)

folder, *command = sys.argv[1:]
for name in ('step', 'epoch'):
    child = os.fork()
    if child == 0:
        if name == 'step':
            trainer.normalize = killing
        run.plot_curves = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        train.main([*command, '--out', f'{folder}/{name}'])
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status == -signal.SIGKILL, status
"""


@pytest.fixture(scope='module')
def killed_runs(camvid_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp('killed')
    command = [sys.executable, '-c', KILLED, str(folder), '--data', str(camvid_folder), *COMMAND]
    subprocess.run(command, cwd=ROOT, check=True)
    return folder


@pytest.mark.parametrize(('name', 'epochs'), [('step', 1), ('epoch', 2)])
def test_killed_and_resumed_ends_the_same(whole_run, camvid_folder, killed_runs, name, epochs):
    out = killed_runs / name
    assert load_checkpoint(out / 'last.pt')['epoch'] == 1
    assert len(json.loads((out / 'history.json').read_text())) == epochs
    main(['--data', str(camvid_folder), '--out', str(out), *COMMAND, '--resume'])
    for name in ('last.pt', 'best.pt'):
        ours, theirs = (load_checkpoint(run / name) for run in (out, whole_run))
        for state in (ours, theirs):
            state['history'] = without_times(state['history'])
        assert_identical(ours, theirs, name)
    histories = [
        without_times(json.loads((run / 'history.json').read_text())) for run in (out, whole_run)
    ]
    assert histories[0] == histories[1]
    assert len((out / 'history.csv').read_text().splitlines()) == 1 + 3
    assert (out / 'confusion.png').read_bytes() == (whole_run / 'confusion.png').read_bytes()


def test_two_processes_are_one(camvid_folder, tmp_path, run_by_two):
    """Batches of four in one part, and by two processes in two parts each.

    On whole frames, since beyond their edge all is the same, and rounding decides where the
    pooling finds its maxima. The two ways end 0.00001 of their length apart.
    """
    command = (
        *('--data', str(camvid_folder), '--width', '0.25', '--normalization', 'group'),
        *('--recipe', 'paper', '--batch', '4', '--epochs', '2'),
        *('--paste', '0.5', '--rare-below', '0.3', '--mirror', 'true', '--noise', '0.5'),
        *('--precision', 'fp32', '--eval-every', '1', '--workers', '0'),
    )
    one, two = tmp_path / 'one', tmp_path / 'two'
    main([*command, '--out', str(one)])
    arguments = (*command, '--accumulate', '2', '--out', two)
    printed = run_by_two('training.train', *arguments).splitlines()
    starts = ('recipe paper', 'epoch 1', 'epoch 2', 'best val')
    assert [sum(line.startswith(start) for line in printed) for start in starts] == [1] * 4
    # A second writer would have left event files of its own.
    files = [sorted(p.name.partition('.tfevents')[0] for p in r.iterdir()) for r in (one, two)]
    assert files[0] == files[1]
    first, second = (load_checkpoint(run / 'last.pt') for run in (one, two))
    start = build_after_seed(NetworkConfig(**first['config']))
    for kind in ('model', 'averaged'):
        a, b, c = (
            torch.cat([x.flatten() for x in s.values()])
            for s in (first[kind], second[kind], start.state_dict())
        )
        # Weights of classes by one process only would be 0.09.
        assert (a - b).norm() < 0.02 * (a - c).norm(), kind
    # Before the first step there is nothing but rounding.
    for rounding, ours, theirs in zip(
        (1e-6, 1e-2), first['history'], second['history'], strict=True
    ):
        assert theirs['loss'] == pytest.approx(ours['loss'], rel=rounding)
        assert theirs['learning_rate'] == ours['learning_rate']
        for key in ('miou', 'class_accuracy', 'global_accuracy'):
            assert theirs[key] == pytest.approx(ours[key], abs=5e-3), key


def build_after_seed(config):
    torch.manual_seed(0)
    return build_network(config)


# Refusals


@pytest.mark.parametrize(
    ('option', 'text'),
    [
        (('--learning-rate', '0.1'), r'with learning_rate=0\.003, not 0\.1; resume it with'),
        (('--epochs', '4'), 'with epochs=3, not 4; resume it'),
        (('--crop-width', '32'), 'with crop_width=64, not 32; resume it'),
        (('--seed', '1'), 'with seed=0, not 1; resume it'),
        (('--precision', 'bf16'), 'with precision=fp32, not bf16; resume it'),
        (('--dropout', '0.3'), r'with dropout=0\.1, not 0\.3; resume it'),
        (('--normalization', 'group'), 'with normalization=None, not group; resume it'),
        (('--size', '64x32'), r"on .*'size': None.*, not on .*\(64, 32\).*; resume it"),
        (('--hold-out', 'b'), r"on .*'hold_out': ''.*, not on .*'b'.*; resume it"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else '',
)
def test_resume_with_other_options_is_refused(whole_run, camvid_folder, option, text):
    files = ('history.json', 'history.csv', 'recipe.json', 'last.pt')
    before = [(whole_run / name).read_bytes() for name in files]
    arguments = ['--data', camvid_folder, '--out', whole_run, *COMMAND, *option, '--resume']
    assert_one_line_error(arguments, f'the run was started {text}')
    assert [(whole_run / name).read_bytes() for name in files] == before


def test_existing_run_is_not_overwritten(whole_run, camvid_folder):
    before = (whole_run / 'last.pt').read_bytes()
    arguments = ['--data', camvid_folder, '--out', whole_run, *COMMAND]
    text = r'.*/run/last\.pt exists; add --resume to continue, or use another --out'
    assert_one_line_error(arguments, text)
    assert (whole_run / 'last.pt').read_bytes() == before


@pytest.mark.usefixtures('tiny_network')
@pytest.mark.parametrize(
    ('options', 'text'),
    [
        (('--resume',), r'no checkpoint .*/run/last\.pt; train one'),
        (('--batch', '7'), '6 frames do not fill a batch of 7'),
        (('--batch', '5', '--accumulate', '2'), 'a batch of 5 does not divide into 2 equal parts'),
        (('--scale-min', '2'), r'scale_min 2\.0 and scale_max 1\.0 must be above 0'),
        (('--average-decay', '1'), r'average_decay 1\.0 must be at least 0 and below 1'),
        (('--hold-out', 'z'), "no sequence 'z' in CamVid train; it has: a, b"),
        (('--init', 'gone.pt'), r'no checkpoint gone\.pt'),
        (('--network', 'enet', '--pretrained'), 'pretrained True: ENet has no pretrained encoder'),
        (('--network', 'enet', '--supervision', '1'), 'ENet has no side outputs'),
        (('--network', 'enet', '--normalization', 'layer'), "invalid normalization 'layer'"),
        (('--network', 'enet', '--dropout', '2'), r'invalid dropout 2\.0'),
        (('--dataset', 'cityscapes'), r'no folder .*leftImg8bit/train; .*--dataset camvid'),
    ],
    ids=lambda value: ' '.join(value) if isinstance(value, tuple) else '',
)
def test_what_cannot_be_done(camvid_folder, out, options, text):
    assert_one_line_error(['--data', camvid_folder, '--out', out, *TINY, *options], text)
    assert not out.exists()


@pytest.mark.usefixtures('tiny_network')
def test_street_frames_are_of_camvid(tmp_path, out):
    for folder, name, ids in (
        ('leftImg8bit', 'leftImg8bit', np.zeros((32, 64, 3), np.uint8)),
        ('gtFine', 'gtFine_labelIds', np.full((32, 64), 7, np.uint8)),
    ):
        for split in ('train', 'val'):
            city = tmp_path / folder / split / 'aachen'
            city.mkdir(parents=True)
            for i in range(2):
                assert cv2.imwrite(str(city / f'aachen_00000{i}_000019_{name}.png'), ids)
    arguments = ['--data', tmp_path, '--dataset', 'cityscapes', '--out', out, *TINY]
    text = '--street-frames has the classes of CamVid; set it to 0'
    assert_one_line_error([*arguments, '--street-frames', '4'], text)


@pytest.mark.usefixtures('tiny_network')
def test_run_that_diverges_stops(camvid_folder, out):
    """The first step makes the weights infinite, the second the loss no number."""
    options = ['--optimizer', 'adamw', '--learning-rate', '1e38', '--epochs', '2']
    arguments = ['--data', camvid_folder, '--out', out, *TINY, *options]
    text = r'the loss became (nan|inf) in epoch 1; use a lower --learning-rate or'
    assert_one_line_error(arguments, text)
    assert not list(out.glob('*.pt'))


@pytest.fixture
def binary_folder(tmp_path):
    """Masks of 0 and 255, the usual form of one class, and a table that lists 0 and 1."""
    mask = np.zeros((32, 64), np.uint8)
    mask[8:] = 255
    for folder in ('train', 'trainannot', 'val', 'valannot'):
        (tmp_path / folder).mkdir()
        for name in ('a_1.png', 'b_1.png'):
            assert cv2.imwrite(str(tmp_path / folder / name), mask)
    table = 'id,name,red,green,blue,drivable\n0,other,0,0,0,no\n1,path,1,1,1,yes\n'
    (tmp_path / 'classes.csv').write_text(table)
    return tmp_path


def started(data, out, *options):
    arguments = ['--data', data, '--out', out, *TINY, '--epochs', 1, *options]
    main([str(argument) for argument in arguments])


@pytest.mark.usefixtures('tiny_network')
def test_class_without_a_pixel_is_said(binary_folder, out, capsys):
    started(binary_folder, out, '--dataset', 'folder')
    said = capsys.readouterr().out
    assert 'no pixel of class path in what is trained on; the annotations hold the ids 0, ' in said
    assert 'by a line 255,path,..., in a data set file by ids' in said
    assert 'no pixel of class path in what is validated on; the mIoU is that of the others' in said
    with (binary_folder / 'classes.csv').open('a') as table:
        table.write('255,path,1,1,1,yes\n')
    started(binary_folder, out.with_name('mapped'), '--dataset', 'folder')
    assert 'no pixel' not in capsys.readouterr().out


@pytest.mark.usefixtures('tiny_network')
def test_nothing_but_void_is_refused(binary_folder, out):
    (binary_folder / 'classes.csv').write_text(
        'id,name,red,green,blue,drivable\n1,path,1,1,1,yes\n0,,,,,\n'
    )
    arguments = ['--data', binary_folder, '--dataset', 'folder', '--out', out, *TINY]
    assert_one_line_error(arguments, 'no pixel of class path in what is trained')


@pytest.mark.usefixtures('tiny_network')
def test_classes_that_no_source_allows_are_said(binary_folder, out, capsys):
    file = binary_folder / 'a.yaml'
    (binary_folder / 'classes.csv').unlink()
    source = '{frames: train, labels: trainannot, ids: {0: road, 255: [tree, sky]}'
    file.write_text(f'classes: camvid\ntrain:\n  a: {source}}}\nval:\n  a: {{dataset: camvid}}\n')
    for annotation in (binary_folder / 'valannot').iterdir():
        assert cv2.imwrite(str(annotation), np.full((32, 64), 3, np.uint8))
    started(file, out)
    (line,) = [x for x in capsys.readouterr().out.splitlines() if 'trained on' in x]
    assert 'classes building, pole, pavement, sign, fence, car, pedestrian, bicyclist in' in line
