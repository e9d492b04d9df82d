"""The newest of everything, between two threads."""

import pytest

from linknet_ros.view.board import Board
from linknet_ros.view.pictures import Picture
from linknet_ros.view.status import Facts


def picture(data=b''):
    return Picture(lambda: data)


def test_newest_picture_wins_and_is_told():
    board, told = Board('/linknet'), []
    board.on_picture(lambda: told.append(1))
    assert board.picture('camera') is None
    first, second = picture(), picture()
    board.show('camera', first)
    board.show('camera', second)
    assert board.picture('camera') is second
    assert board.picture('overlay') is None
    assert board.times() == {'camera': second.time}
    assert told == [1, 1]


def test_unknown_channel():
    with pytest.raises(ValueError, match="'labels' is none of"):
        Board('/linknet').show('labels', picture())


def test_facts_are_replaced_one_by_one():
    board = Board('/linknet')
    board.learn(present=True)
    board.learn(camera='/image', senders=1)
    assert board.facts == Facts('/linknet', present=True, camera='/image', senders=1)


def test_clear_forgets_all_but_the_node():
    board = Board('/linknet')
    board.learn(present=True, camera='/image')
    board.show('grid', picture())
    board.clear(since=5.0)
    assert board.facts == Facts('/linknet', since=5.0)
    assert board.picture('grid') is None
    assert board.times() == {}
