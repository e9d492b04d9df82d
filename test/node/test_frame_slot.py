"""The slot between subscription and worker."""

import threading

import pytest

from linknet_ros.node.frame_slot import FrameSlot


@pytest.fixture
def slot():
    return FrameSlot()


@pytest.fixture
def taker(slot):
    """Thread that waits in slot.take(); `taker()` gives what it got."""
    taken = []
    thread = threading.Thread(target=lambda: taken.append(slot.take()), daemon=True)
    thread.start()

    def result():
        thread.join(30)
        assert not thread.is_alive(), 'take() did not return'
        return taken[0]

    yield result
    slot.close()


def test_newest_item_wins_and_the_replaced_comes_back(slot):
    # Also where it is false.
    for item, replaced in ((0, None), ('', 0), ('c', '')):
        assert slot.put(item) == replaced
    assert slot.take() == 'c'
    assert slot.put('d') is None
    assert slot.take() == 'd'


def test_take_waits_for_an_item(slot, taker):
    slot.put(0)
    assert taker() == 0


def test_close_wakes_every_taker(slot, taker):
    other = threading.Thread(target=slot.take, daemon=True)
    other.start()
    assert slot.close() is None
    assert taker() is None
    other.join(30)
    assert not other.is_alive()


def test_close_and_put_after_it_give_back_what_nobody_takes(slot):
    slot.put('a')
    assert slot.close() == 'a'
    assert slot.close() is None
    assert slot.put('b') == 'b'
    assert slot.take() is None


def test_every_item_is_taken_or_given_back(slot):
    taken, given_back = [], []

    def work():
        while (item := slot.take()) is not None:
            taken.append(item)

    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    for number in range(1, 2001):
        given_back.append(slot.put(number))
    given_back.append(slot.close())
    worker.join(30)
    assert not worker.is_alive()
    dropped = [item for item in given_back if item is not None]
    assert sorted(taken + dropped) == list(range(1, 2001))
    assert taken == sorted(taken)
