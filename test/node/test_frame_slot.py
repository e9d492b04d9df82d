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


def test_item_comes_out(slot):
    assert slot.put('a') is None
    assert slot.take() == 'a'


def test_newest_item_wins_and_the_replaced_comes_back(slot):
    assert slot.put('a') is None
    assert slot.put('b') == 'a'
    assert slot.put('c') == 'b'
    assert slot.take() == 'c'


def test_item_is_taken_once(slot):
    slot.put('a')
    slot.take()
    assert slot.put('b') is None
    assert slot.take() == 'b'


def test_take_waits_for_an_item(slot, taker):
    slot.put('a')
    assert taker() == 'a'


def test_falsy_items_are_items(slot, taker):
    slot.put(0)
    assert taker() == 0
    slot.put('')
    assert slot.put('b') == ''


def test_close_wakes_the_taker(slot, taker):
    assert slot.close() is None
    assert taker() is None


def test_close_wakes_every_taker(slot):
    taken = []
    threads = [
        threading.Thread(target=lambda: taken.append(slot.take()), daemon=True) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    slot.close()
    for thread in threads:
        thread.join(30)
    assert taken == [None, None, None]


def test_close_gives_back_what_nobody_took(slot):
    slot.put('a')
    assert slot.close() == 'a'
    assert slot.take() is None


def test_close_twice(slot):
    slot.put('a')
    slot.close()
    assert slot.close() is None


def test_put_after_close_gives_the_item_back(slot):
    slot.close()
    assert slot.put('a') == 'a'
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
