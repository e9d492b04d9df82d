"""Plots and their text forms: what they say, and that nothing lies over anything else."""

import itertools
import math
import subprocess
import sys

import cv2
import numpy as np
import pytest

from linknet_ros.classes import CAMVID
from linknet_ros.errors import LinknetError
from training.plots import confusion_text, curves_text, plot_confusion_matrix, plot_curves

HISTORY = [
    {'epoch': 1, 'loss': 4.0, 'learning_rate': 0.002},
    {'epoch': 2, 'loss': 2.0, 'learning_rate': 0.001, 'miou': 0.25, 'iou/sky': 0.5, 'iou/car': 0},
    {'epoch': 3, 'loss': 1.0, 'learning_rate': 0.0005},
    {'epoch': 4, 'loss': 0.5, 'learning_rate': 0, 'miou': 0.75, 'iou/sky': 0.9, 'iou/car': 0.6},
]

# Truth: sky 8 pixels, car 200, bike none; the last column is 'no class'.
COUNTS = np.array([[6, 2, 0, 0], [1, 195, 4, 0], [0, 0, 0, 0]])
NAMES = ('sky', 'car', 'bike')


@pytest.fixture
def drawn(monkeypatch):
    """The figures that were saved, still open to questions."""
    figure = pytest.importorskip('matplotlib.figure')
    figures = []
    save = figure.Figure.savefig

    def saved(self, *arguments, **options):
        save(self, *arguments, **options)
        figures.append(self)

    monkeypatch.setattr(figure.Figure, 'savefig', saved)
    return figures


@pytest.fixture
def laid_out(drawn, monkeypatch):
    """The same, of figures that are laid out and not painted, which takes most of the time."""
    from matplotlib.figure import Figure

    def lay_out(self, path):
        self.draw_without_rendering()
        drawn.append(self)

    monkeypatch.setattr(Figure, 'savefig', lay_out)
    return drawn


def lines_of(axes):
    return [list(zip(*map(list, line.get_data()), strict=True)) for line in axes.lines]


def texts_of(axes):
    return {(x, y): text.get_text() for text in axes.texts for x, y in [text.get_position()]}


def box_of(text):
    """Box of the letters, in pixels of the figure; an annotation's own would hold its line too."""
    from matplotlib.text import Text

    return Text.get_window_extent(text)


def overlaps(texts):
    """Pairs of texts whose boxes share area."""
    boxes = [(text.get_text(), box_of(text)) for text in texts if text.get_text()]
    return [
        (a, b)
        for (a, one), (b, two) in itertools.combinations(boxes, 2)
        if min(one.x1, two.x1) > max(one.x0, two.x0) and min(one.y1, two.y1) > max(one.y0, two.y0)
    ]


def test_curves(drawn, tmp_path):
    path = tmp_path / 'curves.png'
    plot_curves(HISTORY, path)
    loss, rate, iou = drawn[0].axes
    assert [axes.get_ylabel() for axes in drawn[0].axes] == [
        'training loss',
        'learning rate',
        'validation IoU',
    ]
    assert lines_of(loss) == [[(1, 4), (2, 2), (3, 1), (4, 0.5)]]
    assert lines_of(rate) == [[(1, 0.002), (2, 0.001), (3, 0.0005), (4, 0)]]
    # Only the epochs that were evaluated; the mean comes first.
    assert lines_of(iou) == [
        [(2, 0.25), (4, 0.75)],
        [(2, 0.5), (4, 0.9)],
        [(2, 0), (4, 0.6)],
    ]
    assert {text.get_text() for text in iou.texts} == {'mean 0.750', 'sky 0.900', 'car 0.600'}
    assert iou.get_title(loc='left') == 'best mean 0.750 at epoch 4'
    image = cv2.imread(str(path))
    assert image.std() > 10


@pytest.mark.parametrize('classes', [11, 34])
def test_names_beside_the_curves_do_not_overlap(laid_out, tmp_path, classes):
    # The worst case: all classes end at the same value, at the lower edge, at the upper one.
    for value in (0.0, 0.5, 1.0):
        entry = {'epoch': 7, 'miou': value} | {f'iou/class {i}': value for i in range(classes)}
        plot_curves([entry], tmp_path / 'curves.png')
        texts = laid_out[-1].axes[-1].texts
        assert len(texts) == classes + 1
        assert overlaps(texts) == []
        width, height = laid_out[-1].bbox.size
        for box in map(box_of, texts):
            assert box.x0 >= 0
            assert box.x1 <= width
            assert box.y0 >= 0
            assert box.y1 <= height


def test_curves_with_nan_and_null(drawn, tmp_path):
    history = [
        {'epoch': 1, 'loss': 1.0, 'miou': 0.5, 'iou/sky': math.nan, 'iou/car': 0.5},
        {'epoch': 2, 'loss': None, 'miou': None, 'iou/sky': None, 'iou/car': 0.25},
    ]
    plot_curves(history, tmp_path / 'curves.png')
    loss, iou = drawn[0].axes
    assert lines_of(loss) == [[(1, 1)]]
    assert {text.get_text() for text in iou.texts} == {'mean 0.500', 'car 0.250'}


def test_confusion_matrix(drawn, tmp_path):
    path = tmp_path / 'confusion.png'
    plot_confusion_matrix(COUNTS, NAMES, path)
    axes = drawn[0].axes[0]
    # Column and row of each number; 1 of 200 pixels rounds to 0 and is not written.
    assert texts_of(axes) == {(0, 0): '75', (1, 0): '25', (1, 1): '98', (2, 1): '2'}
    percent = axes.images[0].get_array().filled(np.nan)
    np.testing.assert_allclose(percent[:2], [[75, 25, 0], [0.5, 97.5, 2]])
    assert np.isnan(percent[2]).all()
    assert [label.get_text() for label in axes.get_xticklabels()] == list(NAMES)
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        'sky  3.8 %',
        'car  96.2 %',
        'bike  0.0 %',
    ]
    assert axes.get_xlabel() == 'predicted class'
    assert axes.get_ylabel().startswith('true class')
    # Truth goes down, as in the text form.
    assert axes.yaxis_inverted()
    assert cv2.imread(str(path)).std() > 10


@pytest.mark.parametrize('names', [CAMVID.names, [f'traffic light {i}' for i in range(34)]])
def test_numbers_of_a_full_confusion_matrix_do_not_overlap(laid_out, tmp_path, names):
    # 100 is the widest number there is.
    counts = np.full((len(names), len(names)), 100)
    plot_confusion_matrix(counts, names, tmp_path / 'confusion.png')
    axes = laid_out[0].axes[0]
    for text in axes.texts:
        text.set_text('100')
    assert len(axes.texts) == len(names) ** 2
    assert overlaps(axes.texts[: 3 * len(names)]) == []
    assert overlaps(axes.get_yticklabels()) == []


def test_confusion_text():
    assert confusion_text(COUNTS, NAMES).splitlines() == [
        '   % of true   0   1   2',
        ' 0 sky        75  25   .',
        ' 1 car         .  98   2',
        ' 2 bike        -   -   -',
    ]


def test_confusion_text_with_no_class():
    counts = COUNTS.copy()
    counts[0, 3] = 8
    assert confusion_text(counts, NAMES).splitlines()[:2] == [
        '   % of true   0   1   2 none',
        ' 0 sky        38  12   .   50',
    ]


@pytest.mark.parametrize('shape', [(2, 2), (3, 5), (4, 3)])
def test_names_must_fit_the_matrix(shape, tmp_path):
    counts = np.zeros(shape, np.int64)
    message = rf'counts are \({shape[0]}, {shape[1]}\) and there are 3 class names'
    with pytest.raises(ValueError, match=message):
        confusion_text(counts, NAMES)
    with pytest.raises(ValueError, match=message):
        plot_confusion_matrix(counts, NAMES, tmp_path / 'confusion.png')


def test_curves_text():
    lines = curves_text(HISTORY).splitlines()
    assert lines[0].split() == ['epochs', '1', 'to', '4', 'first', 'last', 'min', 'max']
    rows = [line.split() for line in lines[1:]]
    # Steps of a seventh of the range: 4, 2, 1 and 0.5 are 7, 3, 1 and 0 of them above the least.
    assert rows[0] == ['loss', '█▄▂▁', '4', '0.5', '0.5', '4']
    assert rows[1][0] == 'learning_rate'
    # Epoch 3 has the mean IoU of epoch 2, epoch 1 none.
    assert rows[2] == ['miou', '▁▁█', '0.25', '0.75', '0.25', '0.75']
    assert lines[3].index('▁') == lines[1].index('█') + 1
    assert rows[4] == ['iou/car', '▁▁█', '0', '0.6', '0', '0.6']
    assert len({len(line) for line in lines}) == 1


def test_curves_text_shows_a_loss_that_became_nan():
    history = [{'epoch': 1, 'loss': 2.0}, {'epoch': 2, 'loss': 1.0}, {'epoch': 3, 'loss': None}]
    assert curves_text(history).splitlines()[1] == (
        'loss           █▁          2      nan        1        2'
    )


@pytest.mark.parametrize('show', [curves_text, lambda history: plot_curves(history, 'x.png')])
def test_empty_history(show):
    with pytest.raises(LinknetError, match='the history has no epoch to show; train for one'):
        show([])


def test_missing_matplotlib_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'matplotlib.figure', None)
    path = tmp_path / 'plot.png'
    for draw in (
        lambda: plot_curves(HISTORY, path),
        lambda: plot_confusion_matrix(COUNTS, NAMES, path),
    ):
        with pytest.raises(LinknetError, match=r'^plots need matplotlib.* pip install [a-z]+$'):
            draw()
    assert curves_text(HISTORY)
    assert not path.exists()


def test_no_pyplot_and_no_screen(tmp_path):
    pytest.importorskip('matplotlib')
    program = (
        'import sys; from pathlib import Path; from training.plots import plot_curves; '
        "plot_curves([{'epoch': 1, 'loss': 2.0}], Path(sys.argv[1])); "
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    path = tmp_path / 'curves.png'
    # MPLBACKEND names a toolkit that would need a screen.
    subprocess.run(
        [sys.executable, '-c', program, str(path)],
        check=True,
        env={'MPLBACKEND': 'TkAgg', 'PYTHONPATH': ':'.join(sys.path), 'HOME': str(tmp_path)},
    )
    assert cv2.imread(str(path)) is not None
