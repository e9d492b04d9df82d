"""The legend is that of the node's model file, wherever the node has it from."""

import time

import pytest

from linknet_ros.view import legend as view_legend
from linknet_ros.view.board import Board
from linknet_ros.view.legend import Legend

NAMES = ('road', 'car', 'sky')


@pytest.fixture
def board():
    return Board('/linknet')


@pytest.fixture
def legend(board):
    made = []

    def make(model=''):
        made.append(Legend(board, model))
        return made[-1]

    yield make
    for one in made:
        one.close()


def wait_for(ready):
    end = time.monotonic() + 30
    while not ready():
        assert time.monotonic() < end
        time.sleep(0.01)


def drivable(board):
    return tuple(entry.name for entry in board.facts.legend if entry.drivable)


def test_classes_of_the_nodes_model(board, legend, model_path):
    legend().update({'model': str(model_path), 'precision': 'auto'})
    wait_for(lambda: board.facts.legend)
    assert tuple(entry.name for entry in board.facts.legend) == NAMES
    assert board.facts.legend[0].color == (128, 64, 128)
    assert drivable(board) == ('road',)


def test_drivable_classes_as_the_node_has_them_now(board, legend, model_path):
    one = legend()
    one.update({'model': str(model_path), 'drivable_classes': ('car', 'sky')})
    wait_for(lambda: drivable(board) == ('car', 'sky'))
    one.update({'model': str(model_path), 'drivable_classes': ('',)})
    wait_for(lambda: drivable(board) == ('road',))


def test_empty_name_is_the_model_that_ships(board, legend):
    legend().update({'model': '', 'precision': 'auto'})
    wait_for(lambda: board.facts.legend)
    assert len(board.facts.legend) == 11
    assert drivable(board) == ('road',)


def test_file_of_another_machine(board, legend, model_path):
    legend().update({'model': '/on/the/robot.onnx'})
    wait_for(lambda: board.facts.legend_problem)
    assert board.facts.legend_problem.startswith("no model file '/on/the/robot.onnx'")
    assert 'parameter model of the view' in board.facts.legend_problem
    # A copy of it.
    legend(str(model_path)).update({'model': '/on/the/robot.onnx'})
    wait_for(lambda: board.facts.legend)
    assert board.facts.legend_problem == ''


def test_fault_of_the_reader_is_on_the_page(board, legend, monkeypatch):
    def fail(path):
        raise ZeroDivisionError('a bug')

    monkeypatch.setattr(view_legend, 'load_model', fail)
    legend().update({'model': 'a.onnx'})
    wait_for(lambda: board.facts.legend_problem == 'ZeroDivisionError: a bug')


def test_nothing_is_read_twice(board, legend, model_path):
    one, values = legend(), {'model': str(model_path)}
    one.update(values)
    wait_for(lambda: board.facts.legend)
    board.clear()
    one.update(values)
    one.close()
    time.sleep(0.1)
    assert board.facts.legend == ()


def test_board_that_was_cleared_is_filled_again(board, legend, model_path):
    one, values = legend(), {'model': str(model_path)}
    one.update(values)
    wait_for(lambda: board.facts.legend)
    board.clear()
    one.forget()
    one.update(values)
    wait_for(lambda: board.facts.legend)


def test_node_without_such_parameters(board, legend):
    legend().update({'overlay_opacity': 0.5})
    time.sleep(0.1)
    assert board.facts.legend == ()
    assert board.facts.legend_problem == ''
