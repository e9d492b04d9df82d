"""The slots between subscriptions and worker: the newest frame of each camera in turn."""

import threading

import pytest

from linknet_ros.node.frame_slots import FrameSlots


@pytest.fixture
def slots():
    return FrameSlots()


@pytest.fixture
def taker(slots):
    """Thread that waits in slots.take(); `taker()` gives what it got."""
    taken = []
    thread = threading.Thread(target=lambda: taken.append(slots.take()), daemon=True)
    thread.start()

    def result():
        thread.join(30)
        assert not thread.is_alive(), 'take() did not return'
        return taken[0]

    yield result
    slots.shut()


def test_newest_item_wins_and_the_replaced_comes_back(slots):
    # Also where it is false.
    for item, replaced in ((0, None), ('', 0), ('c', '')):
        assert slots.put(0, item) == replaced
    assert slots.take() == 'c'
    assert slots.put(0, 'd') is None
    assert slots.take() == 'd'


def test_take_waits_for_an_item(slots, taker):
    slots.put(0, 0)
    assert taker() == 0


def test_a_fast_camera_does_not_starve_the_others():
    """Overload: the first slot is full again at once, the others are filled now and then."""
    slots = FrameSlots(3)
    taken = []
    for turn in range(12):
        slots.put(0, f'fast {turn}')
        if turn % 4 == 0:
            slots.put(2, f'slow {turn}')
        if turn == 4:
            slots.put(1, 'rare')
        taken.append(slots.take())
    assert taken[:4] == ['fast 0', 'slow 0', 'fast 2', 'fast 3']
    # All three have one: each gets its turn before the fast one comes again.
    assert taken[4:8] == ['rare', 'slow 4', 'fast 6', 'fast 7']
    assert taken[8:] == ['slow 8', 'fast 9', 'fast 10', 'fast 11']


def test_full_slots_are_served_evenly():
    slots = FrameSlots(3)
    taken = []
    for _ in range(30):
        for slot in range(3):
            slots.put(slot, slot)
        taken.append(slots.take())
    assert taken == [0, 1, 2] * 10


def test_shut_wakes_every_taker(slots, taker):
    other = threading.Thread(target=slots.take, daemon=True)
    other.start()
    slots.shut()
    assert taker() is None
    other.join(30)
    assert not other.is_alive()


def test_what_is_left_when_shut_stays_until_it_is_cleared():
    slots = FrameSlots(2)
    slots.put(1, 'a')
    slots.shut()
    assert slots.take() is None
    assert slots.put(1, 'b') == 'a'
    slots.open()
    assert slots.take() == 'b'
    slots.put(0, 'c')
    assert slots.clear() == ['c']
    assert slots.clear() == []


def test_every_item_is_taken_or_given_back():
    slots = FrameSlots(2)
    taken, given_back = [], []

    def work():
        while (item := slots.take()) is not None:
            taken.append(item)

    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    for number in range(1, 2001):
        given_back.append(slots.put(number % 2, number))
    slots.shut()
    worker.join(30)
    assert not worker.is_alive()
    dropped = [item for item in given_back if item is not None] + slots.clear()
    assert sorted(taken + dropped) == list(range(1, 2001))
    for camera in (0, 1):
        mine = [item for item in taken if item % 2 == camera]
        assert mine == sorted(mine)
