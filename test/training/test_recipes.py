"""Recipes: the learning rate over a run, the named ones as published, and their table."""

from dataclasses import asdict, fields

import pytest

from training.recipes import RECIPES, Recipe

every_recipe = pytest.mark.parametrize('name', RECIPES)


def test_one_cycle_rises_linearly_and_falls_in_half_a_cosine():
    recipe = Recipe(learning_rate=0.5)
    expected = {0: 0.02, 0.05: 0.26, 0.1: 0.5, 0.325: 0.25 * (1 + 0.5**0.5), 0.55: 0.25, 1: 0}
    for progress, rate in expected.items():
        assert recipe.learning_rate_at(progress) == pytest.approx(rate, abs=1e-12), progress


def test_step_is_a_tenth_after_each_third():
    recipe = Recipe(learning_rate=2.0, schedule='step', warm_up=0.5)
    expected = {0: 2, 0.33: 2, 0.34: 0.2, 0.66: 0.2, 0.67: 0.02, 1: 0.02}
    for progress, rate in expected.items():
        assert recipe.learning_rate_at(progress) == pytest.approx(rate), progress


def test_open_rises_stays_and_falls():
    recipe = Recipe(learning_rate=2.0, schedule='open', warm_up=0.5, warm_up_from=0.5)
    for epoch, rate in {0: 1, 0.25: 1.5, 0.5: 2, 7: 2, 5000: 2}.items():
        assert recipe.open_rate_at(epoch, None) == pytest.approx(rate), epoch
    for epoch, rate in {7: 2, 10: 2, 11: 1.5, 13: 0.5, 14: 0, 15: 0}.items():
        assert recipe.open_rate_at(epoch, (10, 14)) == pytest.approx(rate), epoch


def test_paper_is_the_papers():
    """LinkNet, section IV; epochs and step from e-lab/LinkNet."""
    changed = {
        'epochs': 300,
        'batch': 8,
        'optimizer': 'rmsprop',
        'learning_rate': 5e-4,
        'weight_decay': 0.0,
        'schedule': 'step',
        'weight_power': 1.0,
    }
    assert asdict(RECIPES['paper']) == {**asdict(Recipe()), **changed}
    recipe = RECIPES['paper']
    assert (recipe.crop_width, recipe.crop_height) == (0, 0)
    assert (recipe.mirror, recipe.rotation, recipe.color, recipe.average_decay) == (False, 0, 0, 0)


def test_onecycle_is_the_projects():
    """AdamW of PyTorch (weight decay 1e-2), one cycle from a fifth of 3e-3."""
    changed = {
        'epochs': 100,
        'batch': 8,
        'optimizer': 'adamw',
        'learning_rate': 3e-3,
        'weight_decay': 1e-2,
        'schedule': 'one-cycle',
        'warm_up': 0.2,
        'warm_up_from': 0.2,
        'mirror': True,
        'weight_power': 1.0,
    }
    assert asdict(RECIPES['onecycle']) == {**asdict(Recipe()), **changed}


def test_finish_is_best_at_the_end():
    """Lighter in all, nothing new: what it changes is at most what `best` has."""
    best, finish = asdict(RECIPES['best']), asdict(RECIPES['finish'])
    changed = {name for name in best if best[name] != finish[name]}
    assert (finish['crop_width'], finish['crop_height'], finish['weight_power']) == (0, 0, 0)
    assert finish['scale_min'] > best['scale_min']
    lighter = changed - {'scale_min'}
    assert {'epochs', 'learning_rate', 'scale_max', 'color', 'paste'} <= lighter
    assert all(finish[name] < best[name] for name in lighter)
    assert best['average_decay'] == finish['average_decay'] > 0


@every_recipe
def test_table_has_every_value_and_its_meaning(name):
    lines = RECIPES[name].table().split('\n')
    for line, field in zip(lines, fields(Recipe), strict=True):
        key, value, meaning = line.split(maxsplit=2)
        assert (key, value) == (field.name, str(getattr(RECIPES[name], field.name)))
        assert meaning == field.metadata['help']
        assert line.endswith(meaning)
        assert len(line) - len(meaning) == 31
