"""Windows and their order, with nodes that sleep and results that are made up."""

import json
import subprocess
import sys

import numpy as np
import pytest

from linknet_ros.benchmark import node_rounds as module
from linknet_ros.benchmark.node import _options
from linknet_ros.benchmark.node_figures import ALL, LABELS, USUAL
from linknet_ros.benchmark.node_rounds import NodeBenchmark
from linknet_ros.errors import LinknetError
from linknet_ros.system.child_process import Outcome, stop

WINDOW = {'fps': 20.0, 'cpu_ms': 1.0, 'latency_ms': 5.0, 'others': 0.0}
BACKEND = {'backend': 'b', 'precision': 'p', 'infer_ms': 4.0, 'paced_ms': 4.5, 'fps': 40.0}
BACKEND |= {'cpu_ms': 2.0, 'others': 0.0}


class Stage:
    """Stands in for children: `answers[module]` is called for each; keeps what was asked."""

    def __init__(self):
        self.nodes = []
        self.asked = []
        self.peer = lambda number, outputs: Outcome(value=WINDOW)
        self.backend = Outcome(value=BACKEND)

    def start_program(self, name, parameters, more=()):
        node = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])
        self.nodes.append((name, parameters, more, node))
        return node

    def ask(self, name, cell, seconds):
        if name == 'linknet_ros.benchmark.node_backend_alone':
            self.asked.append('backend')
            return self.backend
        assert name == 'linknet_ros.benchmark.node_peer'
        _, namespace, _, outputs, rate, *_ = json.loads(cell)
        self.asked.append(f'{namespace} {len(outputs)} {rate:g}')
        return self.peer(len(self.asked), namespace)


@pytest.fixture
def stage(monkeypatch, tmp_path):
    stage = Stage()
    monkeypatch.setattr(module, 'ask', stage.ask)
    monkeypatch.setattr(module, 'start_program', stage.start_program)
    monkeypatch.setattr(NodeBenchmark, '_pictures', lambda self, size: tmp_path / 'x.npy')
    yield stage
    # Whatever happened, no node is left.
    assert all(node.poll() is not None for *_, node in stage.nodes)


@pytest.fixture
def run(tmp_path):
    """A benchmark of two rounds against a usual node."""
    options = _options(['--rounds', '2', '--against', 'my.usual', '--threads', '3'])
    return NodeBenchmark(options, tmp_path / 'm.onnx', tmp_path / 'float.onnx', tmp_path)


def test_windows_of_a_round(stage, run):
    found = run.rounds('64x32')
    # Overload is 1.25 times the back end's 40, paced 0.6 times the node's 20.
    windows = ['backend', '/ 1 50', '/ 1 12', '/ 1 30', '/ 5 50', '/ 5 12']
    windows += ['/usual 1 50', '/usual 1 30']
    assert stage.asked == 2 * windows
    assert run.backend == 'b p'
    assert found == 2 * [
        {
            'backend': BACKEND,
            LABELS: {'overload': WINDOW, 'paced': WINDOW, 'camera': WINDOW},
            ALL: {'overload': WINDOW, 'paced': WINDOW},
            USUAL: {'overload': WINDOW, 'camera': WINDOW},
        }
    ]
    (mine, parameters, *_), (usual, other_parameters, more, _) = stage.nodes
    assert (mine, usual) == ('segment_node', 'my.usual')
    assert parameters['threads'] == '3'
    assert parameters['model'].endswith('/m.onnx')
    assert other_parameters['model'].endswith('/float.onnx')
    assert more == ['-r', '__ns:=/usual']


@pytest.mark.parametrize(
    ('others', 'kept', 'asked'),
    [([0.1], 0.1, 1), ([0.5, 0.1], 0.1, 2), ([0.5, 0.9, 0.7], 0.5, 3), ([0.5, 0.3, 0.2], 0.2, 3)],
)
def test_window_that_others_disturb_is_measured_again(run, monkeypatch, others, kept, asked):
    # A window takes 20 of the 30 seconds that there are in all.
    clock = iter(range(0, 1000, 20))
    monkeypatch.setattr(module.time, 'monotonic', lambda: next(clock))
    windows = iter(others)
    assert run._calm(lambda: {'others': next(windows)}) == {'others': kept}
    assert len(list(windows)) == len(others) - asked
    monkeypatch.undo()
    if asked == 3:
        # The patience is over, for the rest of the run.
        assert run._calm(lambda: {'others': 9.0}) == {'others': 9.0}


def test_usual_node_that_fails_is_left_out(stage, run):
    def peer(number, namespace):
        return Outcome(failure='x', message='no labels') if namespace != '/' else Outcome(WINDOW)

    stage.peer = peer
    first, second = run.rounds('64x32')
    assert set(first) == set(second) == {'backend', LABELS, ALL}
    assert run.left_out == {USUAL: 'usual node: no labels'}
    assert stage.asked.count('/usual 1 50') == 1
    # Nor is it started for the next size.
    run.rounds('96x64')
    assert [name for name, *_ in stage.nodes].count('my.usual') == 1


def test_what_fails_is_named(stage, run):
    stage.peer = lambda number, namespace: Outcome(failure='x', message='no labels', fix='wait')
    with pytest.raises(LinknetError, match=r'^labels only: no labels; wait$'):
        run.rounds('64x32')
    stage.backend = Outcome(failure='BackendError', message='no bf16 here')
    with pytest.raises(LinknetError, match=r'^the back end alone: no bf16 here$'):
        run.rounds('64x32')


def test_node_that_ends(stage, run):
    def peer(number, namespace):
        stop([stage.nodes[0][-1]])
        return Outcome(failure='x', message='cannot read /proc')

    stage.peer = peer
    with pytest.raises(LinknetError, match='labels only: the node ended; its message is above'):
        run.rounds('64x32')


def test_pictures(tmp_path):
    run = NodeBenchmark(_options([]), tmp_path / 'm.onnx', tmp_path / 'float.onnx', tmp_path)
    pictures = np.load(run._pictures('96x64'))
    assert (pictures.shape, pictures.dtype) == ((2, 64, 96, 3), np.uint8)
    assert (pictures[0] != pictures[1]).any()
