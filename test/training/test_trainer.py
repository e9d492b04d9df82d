"""One network in training: steps, losses, averaged weights, parts of a batch, and refusals."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from torch.nn import functional

from linknet_ros.classes import CAMVID
from linknet_ros.errors import SourceError
from training.class_weights import class_frequencies, count_labels, inverse_log_weights
from training.datasets import open_dataset
from training.label_sets import LabelSets
from training.networks import NetworkConfig, build_network, normalize
from training.processes import Processes, alone
from training.recipes import Recipe
from training.samples import Source
from training.trainer import Trainer

pytestmark = pytest.mark.usefixtures('tiny_network')

RECIPE = Recipe(
    epochs=3,
    batch=2,
    crop_width=64,
    crop_height=32,
    scale_min=0.75,
    scale_max=1.5,
    mirror=True,
    color=0.3,
    average_decay=0.9,
    precision='fp32',
)
TINY = NetworkConfig('tiny')


@pytest.fixture(autouse=True)
def _on_the_processor(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)


@pytest.fixture
def frames(camvid_folder):
    return open_dataset('camvid', camvid_folder, 'train')


def make_trainer(frames, workers=0, config=TINY, **changes):
    recipe = replace(RECIPE, **changes)
    torch.manual_seed(recipe.seed)
    network = build_network(config)
    return Trainer(recipe, network, config, [Source('', frames)], alone(), workers)


def train(trainer, epochs=1):
    return [trainer.train_epoch(progress=False) for _ in range(epochs)]


def assert_same(one, two):
    """Bit for bit."""
    assert one.keys() == two.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, two[name]), name


class Pairs:
    """Frames and labels as given."""

    def __init__(self, *pairs):
        self.pairs = pairs

    def __len__(self):
        return len(self.pairs)

    def __getitem__(self, index):
        return self.pairs[index]


# Steps


def test_steps_follow_the_learning_rate_and_average_the_weights(frames):
    trainer = make_trainer(frames, epochs=2)
    rates, weights, statistics = [], [], []

    def record(optimizer, _arguments, _options):
        rates.append(optimizer.param_groups[0]['lr'])
        weights.append(trainer.network.first.weight.detach().clone())
        statistics.append(trainer.network.norm.running_mean.clone())

    trainer.optimizer.register_step_post_hook(record)
    train(trainer, 2)
    assert rates == pytest.approx([trainer.recipe.learning_rate_at(i / 6) for i in range(6)])
    assert trainer.learning_rate == rates[-1]
    assert trainer.epoch == 2
    for values, averaged in (
        (weights, trainer.averaged.module.first.weight),
        (statistics, trainer.averaged.module.norm.running_mean),
    ):
        mean = values[0]
        for steps, value in enumerate(values[1:], 1):
            decay = min(0.9, (1 + steps) / (10 + steps))
            mean = decay * mean + (1 - decay) * value
        torch.testing.assert_close(averaged.detach(), mean)
        assert not torch.equal(averaged, values[-1])


def test_open_run_goes_on_until_it_is_ended(frames):
    trainer = make_trainer(frames, schedule='open', warm_up=1.0, learning_rate=0.1, epochs=99)
    rates = []
    trainer.optimizer.register_step_post_hook(
        lambda optimizer, *_: rates.append(optimizer.param_groups[0]['lr'])
    )
    train(trainer, 2)
    assert trainer.end == 99
    trainer.start_decay(2)
    trainer.start_decay(50)  # a run that is resumed with the option still on it
    assert trainer.end == 4
    other = make_trainer(frames, schedule='open', warm_up=1.0, learning_rate=0.1, epochs=99)
    other.restore(trainer.state())
    assert other.end == 4
    train(trainer, 2)
    rising = [0.1 * (0.04 + 0.96 * i / 3) for i in range(3)]
    falling = [0.1 * (1 - i / 6) for i in range(6)]
    assert rates == pytest.approx([*rising, 0.1, 0.1, 0.1, *falling])


def test_frozen_parts_keep_weights_and_statistics_and_the_encoder_has_its_own_rate(frames):
    trainer = make_trainer(frames, frozen=1, encoder_rate=0.25, learning_rate=0.1)
    before = {name: value.clone() for name, value in trainer.network.state_dict().items()}
    train(trainer)
    after = trainer.network.state_dict()
    changed = {
        name.partition('.')[0] for name in after if not torch.equal(before[name], after[name])
    }
    assert changed == {'norm', 'last'}
    rate = trainer.recipe.learning_rate_at(2 / 9)
    assert [group['lr'] for group in trainer.optimizer.param_groups] == pytest.approx(
        [rate / 4, rate]
    )
    assert sum(len(group['params']) for group in trainer.optimizer.param_groups) == 4
    trainer = make_trainer(frames, frozen=2)
    before = trainer.network.norm.running_mean.clone()
    train(trainer)
    assert torch.equal(trainer.network.norm.running_mean, before)


def test_loss_of_every_nth_pixel_takes_another_part_each_step(frames):
    trainer = make_trainer(frames, loss_stride=4, color=0.0)
    seen = []
    trainer.loss.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[:2]))
    train(trainer, 3)
    trainer.samples.start_epoch(2)
    whole = torch.stack([trainer.samples[i][1] for i in range(6)]).long()
    offsets = set()
    for step, (logits, labels) in enumerate(seen[-3:]):
        assert logits.shape == (2, 11, 8, 16)
        part = whole[2 * step : 2 * step + 2]
        fits = {
            (row, column)
            for row in range(4)
            for column in range(4)
            if torch.equal(part[:, row::4, column::4], labels)
        }
        assert fits
        offsets |= fits
    assert len(offsets) > 1


def test_without_decay_the_average_is_the_network(frames):
    trainer = make_trainer(frames, average_decay=0.0)
    before = trainer.network.first.weight.detach().clone()
    train(trainer)
    state = trainer.state()
    assert_same(state['averaged'], state['model'])
    assert not torch.equal(state['averaged']['first.weight'], before)


@pytest.mark.parametrize(
    ('optimizer', 'decay', 'expected'),
    [
        ('adamw', 0.0, 2.0),
        ('adamw', 0.5, 2.0 * (1 - 0.1 * 0.5)),
        ('rmsprop', 0.0, 2.0),
        # Decay times weight is the gradient, 1, of which the mean of squares has a hundredth.
        ('rmsprop', 0.5, 2.0 - 0.1 * 1 / 0.1),
    ],
)
def test_weight_decay_is_decoupled_for_adamw_only(frames, optimizer, decay, expected):
    """One step on a weight of 2 without a gradient, at a rate of 0.1."""
    trainer = make_trainer(frames, optimizer=optimizer, weight_decay=decay, learning_rate=0.1)
    weight = torch.nn.Parameter(torch.tensor([2.0]))
    weight.grad = torch.zeros(1)
    group = trainer.optimizer.param_groups[0]
    trainer.optimizer.add_param_group({**group, 'params': [weight]})
    trainer.optimizer.step()
    assert weight.item() == pytest.approx(expected)


def test_every_epoch_has_its_own_samples(frames):
    trainer = make_trainer(frames)
    seen = []
    trainer.loss.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[1].clone()))
    for epoch in range(2):
        train(trainer)
        trainer.samples.start_epoch(epoch)
        expected = torch.stack([trainer.samples[i][1] for i in range(6)]).long()
        assert torch.equal(torch.cat(seen[-3:]), expected)
    assert not torch.equal(torch.cat(seen[:3]), torch.cat(seen[3:]))


def test_without_a_crop_samples_are_whole_frames(frames):
    plain = Recipe(epochs=1, batch=2, precision='fp32')
    trainer = Trainer(plain, build_network(TINY), TINY, [Source('', frames)], alone(), 0)
    trainer.samples.start_epoch(0)
    sums = sorted(int(trainer.samples[i][0].sum()) for i in range(6))
    assert sums == sorted(int(frames[i][0].sum()) for i in range(6))


def test_sources_come_after_each_other(frames):
    blue = (np.full((48, 64, 3), (255, 0, 0), np.uint8), np.full((48, 64), 7, np.uint8))
    network = build_network(TINY)
    trainer = Trainer(
        RECIPE, network, TINY, [Source('', frames), Source('', Pairs(blue, blue))], alone(), 0
    )
    assert len(trainer.samples) == 8
    trainer.samples.start_epoch(0)
    assert sum(bool((trainer.samples[i][1] == 7).any()) for i in range(8)) == 2
    assert trainer.loss.weights.shape == (11,)


def test_seed_decides_the_run(frames):
    states = []
    for seed in (1, 1, 2):
        trainer = make_trainer(frames, seed=seed)
        train(trainer)
        states.append(trainer.network.state_dict())
    assert_same(states[0], states[1])
    assert not torch.equal(states[0]['first.weight'], states[2]['first.weight'])


def test_dropout_depends_on_the_epoch_and_not_on_what_ran_before(frames):
    """As in a run that was resumed: something else has drawn random numbers before."""
    config = NetworkConfig('linknet', dropout=0.5, width=0.25)
    states = []
    for disturbed in (False, True):
        trainer = make_trainer(frames, config=config)
        if disturbed:
            torch.rand(100)
        train(trainer)
        states.append(trainer.network.state_dict())
    assert_same(*states)


def test_worker_processes_change_nothing(frames):
    """Also in the second epoch, whose order and draws the workers must have been told.

    The threads that OpenCV has started before, as for rendered streets, must not stop them.
    """
    cv2.warpAffine(np.zeros((2000, 2000, 3), np.uint8), np.eye(2, 3), (2000, 2000))
    alone_, helped = make_trainer(frames), make_trainer(frames, workers=1)
    helped.loader.timeout = 300  # [s], so that workers that wait for ever are an error
    assert train(alone_, 2) == train(helped, 2)
    assert_same(alone_.network.state_dict(), helped.network.state_dict())


@pytest.mark.parametrize(
    ('precision', 'native', 'expected'),
    [
        ('bf16', False, torch.bfloat16),
        ('auto', True, torch.bfloat16),
        ('auto', False, torch.float32),
        ('fp32', True, torch.float32),
    ],
)
def test_bfloat16_only_where_asked_or_native(frames, monkeypatch, precision, native, expected):
    monkeypatch.setattr(torch.cpu, 'get_capabilities', lambda: {'avx512_bf16': native})
    trainer = make_trainer(frames, precision=precision)
    computed, judged = set(), set()
    trainer.network.register_forward_hook(lambda _module, _inputs, out: computed.add(out.dtype))
    trainer.loss.register_forward_pre_hook(lambda _module, inputs: judged.add(inputs[0].dtype))
    train(trainer)
    assert computed == {expected}
    assert judged == {torch.float32}
    assert {p.dtype for p in trainer.network.parameters()} == {torch.float32}


# Losses


@pytest.mark.parametrize('power', [0, 0.5, 1])
def test_loss_weighs_the_classes_and_leaves_void_out(frames, power):
    trainer = make_trainer(frames, weight_power=power)
    frequencies = class_frequencies(count_labels(frames[i][1] for i in range(len(frames))), 11)
    weights = inverse_log_weights(frequencies, power)
    torch.testing.assert_close(trainer.loss.weights, torch.tensor(weights, dtype=torch.float32))
    logits = torch.zeros(1, 11, 1, 3)
    logits[0, 3, 0, 0], logits[0, 5, 0, 1], logits[0, 1, 0, 2] = 2, 1, 9
    labels = torch.tensor([[[3, 0, 255]]])
    nll = np.array([np.log(10 + np.e**2) - 2, np.log(10 + np.e)])
    expected = (weights[[3, 0]] * nll).sum() / weights[[3, 0]].sum()
    assert trainer.loss(logits, labels).item() == pytest.approx(expected, rel=1e-5)


def test_sets_of_classes_reach_the_loss(frames):
    sets = LabelSets(CAMVID)
    vague = sets.id_of(['road', 'pavement'])
    labels = np.full((48, 64), vague, np.uint8)
    source = Source('', Pairs(*[(np.zeros((48, 64, 3), np.uint8), labels)] * 2))
    trainer = Trainer(RECIPE, build_network(TINY), TINY, [source], alone(), 0, sets)
    logits = torch.zeros(1, 11, 1, 1)
    logits[0, 3], logits[0, 4] = 1, 2
    loss = trainer.loss(logits, torch.full((1, 1, 1), vague))
    assert loss.item() == pytest.approx(-np.log((np.e + np.e**2) / (9 + np.e + np.e**2)), rel=1e-5)


def test_reported_loss_is_the_mean_over_the_steps(frames):
    trainer = make_trainer(frames)
    losses = []
    trainer.loss.register_forward_hook(lambda _module, _inputs, loss: losses.append(loss.item()))
    (mean,) = train(trainer)
    assert len(losses) == 3
    assert mean == pytest.approx(np.mean(losses))


def test_rare_classes_are_those_below_the_share(frames):
    """Class 7 has 1% of the pixels: it is what crops are laid around and what is pasted."""
    labels = np.full((48, 64), 3, np.uint8)
    labels[:4, :8] = 7
    rare = Pairs(*[(np.zeros((48, 64, 3), np.uint8), labels)] * 2)
    for share, expected in ((0.02, [7]), (0.005, [])):
        network = build_network(TINY)
        recipe = replace(RECIPE, focus=0.5, paste=0.5, rare_below=share)
        trainer = Trainer(recipe, network, TINY, [Source('', rare)], alone(), 0)
        assert list(trainer.samples._augment.focus_classes) == expected
        assert list(trainer.samples._paste_classes) == expected


def test_deep_supervision_adds_its_loss(frames):
    """One batch before any step: the loss is the plain one and 0.5 times that of the head."""
    plain = make_trainer(frames, batch=6, supervision=0.0)
    trainer = make_trainer(frames, batch=6, supervision=0.5)
    assert_same(plain.network.state_dict(), trainer.network.state_dict())
    trainer.samples.start_epoch(0)
    samples = [trainer.samples[i] for i in range(6)]
    images, labels = (torch.stack([sample[i] for sample in samples]) for i in (0, 1))
    with torch.no_grad():
        features = trainer.network.norm(trainer.network.first(normalize(images)))
        logits = trainer.model.heads['norm'](features)
    side = functional.cross_entropy(logits, labels[:, 1::2, 1::2].long(), ignore_index=255)
    trainer.network.norm.reset_running_stats()
    (with_side,), (without,) = train(trainer), train(plain)
    assert side > 1
    assert with_side == pytest.approx(without + 0.5 * side.item(), rel=1e-5)
    # Its gradient reaches the network.
    first = [t.network.first.weight for t in (trainer, plain)]
    assert not torch.equal(*first)


def test_loss_that_is_no_number(frames):
    trainer = make_trainer(frames)
    with torch.no_grad():
        trainer.network.last.bias[3] = torch.nan
    with pytest.raises(
        SourceError,
        match=r'^the loss became nan in epoch 1; use a lower --learning-rate or --precision fp32$',
    ):
        train(trainer)
    assert trainer.epoch == 0


def test_batch_of_void_only_changes_nothing():
    void = (np.zeros((48, 64, 3), np.uint8), np.full((48, 64), 255, np.uint8))
    trainer = make_trainer(Pairs(void, void), dice=0.5, lovasz=0.5, weight_decay=0.1)
    before = {name: tensor.clone() for name, tensor in trainer.network.state_dict().items()}
    assert train(trainer) == [0]
    after = trainer.network.state_dict()
    for name in ('first.weight', 'norm.weight', 'last.weight'):
        assert torch.equal(before[name], after[name]), name
    assert trainer.averaged.n_averaged == 0


# Parts of a batch


class UnevenVoid:
    """Frames of which every other is void but for its upper left."""

    def __init__(self, frames):
        self.pairs = []
        for i in range(4):
            frame, labels = frames[i]
            labels = labels.copy()
            if i % 2:
                labels[12:] = labels[:, 16:] = 255
            self.pairs.append((frame, labels))

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return self.pairs[index]


@pytest.mark.parametrize(
    ('config', 'parts', 'tolerance'),
    [
        (NetworkConfig('tiny', normalization='group'), (1, 2, 4), 1e-3),
        # Unpooling lets rounding grow; means of means would be off by 0.7.
        (NetworkConfig('enet', normalization='group', dropout=0.0), (1, 2), 3e-2),
    ],
    ids=['tiny', 'enet'],
)
def test_parts_of_a_batch_are_the_batch(frames, config, parts, tolerance):
    """Three steps of four frames at once, in two parts and in four.

    Parts have unlike numbers of labelled pixels, so a mean of their means would be another loss.
    """
    uneven = UnevenVoid(frames)
    changes = {'batch': 4, 'paste': 0.5, 'rare_below': 0.3, 'weight_power': 1.0, 'smoothing': 0.1}
    changes |= {'optimizer': 'rmsprop', 'learning_rate': 1e-4, 'noise': 0.5, 'rotation': 5.0}
    start = weights_of(make_trainer(uneven, config=config, **changes))
    results = []
    for accumulate in parts:
        trainer = make_trainer(uneven, config=config, accumulate=accumulate, **changes)
        sizes, steps = [], []
        trainer.network.register_forward_pre_hook(
            lambda _module, inputs, sizes=sizes: sizes.append(len(inputs[0]))
        )
        trainer.optimizer.register_step_post_hook(lambda *_, steps=steps: steps.append(1))
        results.append((train(trainer, 3), weights_of(trainer)))
        assert sizes == [4 // accumulate] * (3 * accumulate)
        assert len(steps) == 3
    losses, weights = results[0]
    for other_losses, other in results[1:]:
        assert other_losses == pytest.approx(losses, rel=1e-4)
        assert (other - weights).norm() < tolerance * (weights - start).norm()


def weights_of(trainer):
    return torch.cat([value.flatten().clone() for value in trainer.network.state_dict().values()])


@pytest.mark.parametrize(
    ('changes', 'processes', 'text'),
    [
        (
            {'batch': 4, 'accumulate': 3},
            1,
            r'a batch of 4 does not divide into 3 equal parts \(3 by --accumulate, 1 processes\)',
        ),
        (
            {'batch': 3},
            2,
            r'a batch of 3 does not divide into 2 equal parts \(1 by --accumulate, 2 processes\)',
        ),
        (
            {'batch': 6, 'accumulate': 2},
            2,
            r'a batch of 6 does not divide into 4 equal parts \(2 by --accumulate, 2 processes\)',
        ),
        ({'batch': 2, 'accumulate': 4}, 1, 'a batch of 2 does not divide into 4 equal parts'),
        ({'batch': 7}, 1, '6 frames do not fill a batch of 7; lower --batch'),
        (
            {'scale_min': 1.5, 'scale_max': 1.0},
            1,
            r'scale_min 1\.5 and scale_max 1\.0 must be above 0, the smaller one first',
        ),
        ({'scale_min': 0.0}, 1, r'scale_min 0\.0 and scale_max 1\.5 must be above 0'),
        ({'paste': 1.5}, 1, r'paste 1\.5 must be a share from 0 to 1'),
        ({'smoothing': 2.0}, 1, r'smoothing 2\.0 must be a share from 0 to 1'),
        ({'hardest': 0.0}, 1, r'hardest 0 leaves no pixel to learn from; use 1 for all'),
    ],
)
def test_recipe_that_does_not_fit(frames, changes, processes, text):
    those = Processes(0, processes, torch.device('cpu'))
    with pytest.raises(SourceError, match=f'^{text}'):
        Trainer(
            replace(RECIPE, **changes), build_network(TINY), TINY, [Source('', frames)], those, 0
        )


# What a checkpoint holds


@pytest.mark.parametrize('optimizer', ['adamw', 'rmsprop'])
def test_restored_after_an_epoch_ends_the_same(frames, optimizer):
    changes = {'optimizer': optimizer, 'supervision': 0.3, 'dice': 0.5}
    uncut, cut = (make_trainer(frames, **changes) for _ in range(2))
    expected = train(uncut, 3)
    assert train(cut) == expected[:1]
    cut.best_miou = 0.25
    state = {key: _copied(value) for key, value in cut.state().items()}
    resumed = make_trainer(frames, **changes)
    resumed.restore(state)
    assert (resumed.epoch, resumed.best_miou) == (1, 0.25)
    assert train(resumed, 2) == expected[1:]
    for kind in ('model', 'averaged'):
        assert_same(uncut.state()[kind], resumed.state()[kind])
    assert resumed.averaged.n_averaged == uncut.averaged.n_averaged == 9


def _copied(value):
    if isinstance(value, torch.Tensor):
        return value.clone()
    if isinstance(value, dict):
        return {key: _copied(entry) for key, entry in value.items()}
    return value
