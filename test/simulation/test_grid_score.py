"""Grids compared with the truth, counted by hand."""

import numpy as np
import pytest

from linknet_ros.simulation.grid_score import GridScore, truth_picture


def test_counts_and_shares():
    score = GridScore()
    cells = np.array([[0, 0, 100], [-1, 0, -1]], np.int8)
    truth = np.array([[True, False, False], [True, True, True]])
    score.add(cells, truth)
    assert score == GridScore(both=2, found=3, true=4, occupied=1)
    assert score.iou == pytest.approx(2 / 5)
    assert score.falsely_free == pytest.approx(1 / 3)
    assert score.recall == pytest.approx(1 / 2)
    # Another grid is added, not averaged.
    score.add(np.zeros((1, 5), np.int8), np.ones((1, 5), np.bool_))
    assert score == GridScore(both=7, found=8, true=9, occupied=1)
    assert score.iou == pytest.approx(7 / 10)
    empty = GridScore()
    empty.add(np.full((2, 2), -1, np.int8), np.zeros((2, 2), np.bool_))
    assert (empty.iou, empty.falsely_free, empty.recall) == (0, 0, 0)


def test_falsely_occupied_is_what_has_nothing_real_around():
    score, cells = GridScore(), np.full((20, 20), -1, np.int8)
    truth = np.ones((20, 20), np.bool_)
    truth[:, 12:] = False
    cells[4, [5, 9, 10, 12]] = 100
    score.add(cells, truth)
    # The columns 10 and 12 are within two cells of what is real.
    assert (score.occupied, score.falsely_occupied) == (4, 2)
    near = np.zeros_like(truth)
    near[:, :6] = True
    score.add(cells, truth, near)
    assert (score.occupied, score.falsely_occupied) == (5, 3)


def test_cells_are_counted_near_alone():
    score, near = GridScore(), np.zeros((4, 6), np.bool_)
    near[:, :2] = True
    truth = np.ones((4, 6), np.bool_)
    truth[0] = False
    score.add(np.zeros((4, 6), np.int8), truth, near)
    assert score == GridScore(both=6, found=8, true=6)


def test_picture_shows_what_is_falsely_free():
    cells = np.array([[0, -1], [100, 0]], np.int8)
    free = np.array([[True, True], [False, False]])
    picture = truth_picture(np.zeros((6, 6, 3), np.uint8), cells, free)
    assert picture.shape == (6, 18, 3)
    # Ahead (the second column) at the top, left (the second row) at the left.
    right = picture[:, 12:]
    assert right[1, 1].tolist() == [40, 40, 200]
    assert right[1, 4].tolist() == [255, 255, 255]
    assert right[4, 1].tolist() == [128, 128, 128]
