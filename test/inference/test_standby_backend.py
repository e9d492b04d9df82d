"""A back end that serves until a better one is ready."""

import threading
import time

import numpy as np
import pytest

from linknet_ros.errors import BackendError, BuildCancelledError
from linknet_ros.inference.standby_backend import StandbyBackend

IMAGE = np.zeros((32, 32, 3), np.uint8)


class Fixed:
    """Back end that names one class everywhere."""

    def __init__(self, name, precision, label):
        self.name, self.precision = name, precision
        self.label = label
        self.closed = 0

    def infer(self, image):
        assert not self.closed, 'used after it was closed'
        return np.full(image.shape[:2], self.label, np.uint8), np.full((32, 32), 255, np.uint8)

    def close(self):
        self.closed += 1


class Opening:
    """Opens `result` when told to, as slowly as the test wants; a result may be an error."""

    def __init__(self, result):
        self.result = result
        self.begun, self.go = threading.Event(), threading.Event()
        self.calls = 0

    def __call__(self, cancel):
        self.calls += 1
        self.begun.set()
        while not self.go.wait(0.01):
            if cancel.is_set():
                raise BuildCancelledError('building an engine was cancelled')
        if isinstance(self.result, Exception):
            raise self.result
        return self.result

    def finish(self, standby):
        self.go.set()
        standby._thread.join(10)
        assert not standby._thread.is_alive()


@pytest.fixture
def serving():
    return Fixed('openvino', 'bf16', 1)


@pytest.fixture
def better():
    return Fixed('tensorrt', 'fp16', 2)


@pytest.fixture
def said():
    return []


def standby_of(serving, opening, said):
    return StandbyBackend(
        serving, opening, said.append, lambda reason: said.append(f'failed: {reason}')
    )


def label(standby):
    return int(standby.infer(IMAGE)[0][5, 7])


def test_the_better_one_takes_over_between_two_images(serving, better, said):
    opening = Opening(better)
    standby = standby_of(serving, opening, said)
    assert (standby.name, standby.precision, label(standby)) == ('openvino', 'bf16', 1)
    assert opening.begun.wait(300)
    assert (label(standby), serving.closed, said) == (1, 0, [])
    opening.finish(standby)
    assert (standby.name, standby.precision) == ('openvino', 'bf16')
    assert label(standby) == 2
    assert (standby.name, standby.precision) == ('tensorrt', 'fp16')
    assert serving.closed == 1
    assert label(standby) == 2
    assert (opening.calls, said) == (1, ['tensorrt takes over, in fp16'])
    standby.close()
    assert (serving.closed, better.closed) == (1, 1)


@pytest.mark.parametrize(
    ('error', 'reason'),
    [
        (BackendError('TensorRT builds no engine'), 'TensorRT builds no engine'),
        (RuntimeError('first\nsecond'), 'RuntimeError: first'),
    ],
)
def test_where_the_better_one_fails_the_first_goes_on(serving, said, error, reason):
    opening = Opening(error)
    standby = standby_of(serving, opening, said)
    label(standby)
    opening.finish(standby)
    assert [label(standby) for _ in range(3)] == [1, 1, 1]
    assert said == [f'failed: {reason}; openvino goes on']
    assert (opening.calls, serving.closed, standby.name) == (1, 0, 'openvino')
    standby.close()
    assert serving.closed == 1


def test_nothing_is_built_before_the_first_image(serving, better, said):
    opening = Opening(better)
    standby = standby_of(serving, opening, said)
    standby.close()
    assert (opening.calls, serving.closed, better.closed) == (0, 1, 0)


def test_closing_gives_up_the_build_at_once(serving, better, said):
    opening = Opening(better)
    standby = standby_of(serving, opening, said)
    label(standby)
    assert opening.begun.wait(300)
    standby.close()
    assert not standby._thread.is_alive()
    assert (serving.closed, better.closed, said) == (1, 0, [])


def test_one_that_is_ready_but_never_took_over_is_closed_too(serving, better, said):
    opening = Opening(better)
    standby = standby_of(serving, opening, said)
    label(standby)
    opening.finish(standby)
    standby.close()
    assert (serving.closed, better.closed, said) == (1, 1, [])


def test_one_build_at_a_time_and_the_one_in_line_can_be_cancelled(better, said):
    first, second = Opening(better), Opening(better)
    one = standby_of(Fixed('openvino', 'bf16', 1), first, said)
    other = standby_of(Fixed('openvino', 'bf16', 1), second, said)
    third = standby_of(Fixed('openvino', 'bf16', 1), Opening(better), said)
    label(one)
    assert first.begun.wait(300)
    label(other)
    label(third)
    time.sleep(0.3)
    assert not second.begun.is_set()
    third.close()
    first.finish(one)
    assert second.begun.wait(300)
    second.finish(other)
    assert (label(one), label(other)) == (2, 2)
    assert third._open_better.calls == 0
