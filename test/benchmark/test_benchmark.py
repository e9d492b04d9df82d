"""The benchmark from its command line, its pairing, and what it does about cells that fail."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from linknet_ros.benchmark import benchmark as program
from linknet_ros.benchmark import contest as module
from linknet_ros.benchmark import node
from linknet_ros.benchmark.benchmark import main
from linknet_ros.benchmark.contest import Benchmark
from linknet_ros.errors import LinknetError
from linknet_ros.system.child_process import Outcome
from linknet_ros.system.package_files import SHIPPED_INT8_MODEL, SHIPPED_MODEL, package_file


@pytest.fixture
def two_contenders(monkeypatch):
    """Back ends and precisions that are the same on every machine."""
    monkeypatch.setattr(module, 'BACKENDS', ('openvino', 'onnxruntime'))
    monkeypatch.setattr(module, 'PRECISIONS', ('auto', 'fp32'))


def test_command(two_contenders, model_path, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, 'matplotlib.figure', None)  # as on a robot
    main(
        f'--model {model_path} --sizes 64x32 --frames 2 --rounds 1 --out {tmp_path / "o"}'.split()
    )
    printed = capsys.readouterr()
    table = (tmp_path / 'o' / 'benchmark.md').read_text()
    assert printed.out.startswith(table)
    assert 'no plot: ' in printed.out
    assert printed.err.splitlines() == [
        'round 1 of 1: openvino fp32 at 64x32',
        'round 1 of 1: onnxruntime fp32 at 64x32',
    ]
    record = json.loads((tmp_path / 'o' / 'benchmark.json').read_text())
    assert (record['model'], record['reference']) == ('model.onnx', 'openvino fp32')
    assert record['machine']['cores'] >= 1
    assert {'numpy', 'onnxruntime', 'openvino'} <= set(record['machine']['versions'])
    assert record['left_out'] == {}
    first, second = record['rows']
    assert (first['contender'], second['contender']) == ('openvino fp32', 'onnxruntime fp32')
    assert first['ratio'] == 1
    for row in record['rows']:
        assert row['size'] == '64x32'
        assert 0 < row['median_ms'] <= row['p90_ms']
        # The tiny model compares bytes: there is nothing to disagree about.
        assert row['agreement'] == 1


@pytest.mark.parametrize('program', [program, node], ids=['benchmark', 'node_benchmark'])
@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--model', '/none.onnx'], "error: no model file '/none.onnx'"),
        (['--sizes', '640'], "invalid size '640' (expected WIDTHxHEIGHT, e.g. 640x360)"),
        (['--sizes', '8x8'], "invalid size '8x8' (each side must be 32 to 4096)"),
        (['--threads', '-1'], "invalid count '-1' (expected a whole number from 0 to 256)"),
        (['--rounds', '0'], "invalid count '0' (expected a whole number of at least 1)"),
        (['--out', '/proc/none'], 'error: cannot write /proc/none'),
    ],
)
def test_mistakes_end_with_one_line(model_path, monkeypatch, capsys, program, arguments, message):
    monkeypatch.setattr(node, 'isolate', lambda domain_id: None)
    with pytest.raises(SystemExit) as ended:
        program.main(['--model', str(model_path), *arguments])
    assert message in f'{ended.value.code}{capsys.readouterr().err}'


# Without children: cells whose results are made up.


@pytest.fixture
def answers(monkeypatch):
    """Let cells answer what a function says; returns the list of calls so far."""
    calls = []

    def use(function):
        def ask(name, cell, seconds):
            model, backend, precision, *_, labels = json.loads(cell)
            calls.append(f'{backend} {precision} {Path(model).name}')
            outcome = function(backend, precision, len(calls))
            if labels and outcome.works:
                kept = np.zeros((1, 2, 2), np.uint8)
                kept[0, 0, 0] = backend == 'b'
                np.save(labels, kept)
            return outcome

        monkeypatch.setattr(module, 'ask', ask)
        monkeypatch.setattr(module, 'BACKENDS', ('a', 'b'))
        monkeypatch.setattr(module, 'PRECISIONS', ('auto', 'fp32', 'fp16'))
        return calls

    return use


@pytest.fixture
def run(tmp_path):
    return Benchmark(tmp_path / 'm.onnx', tmp_path, frames=2, threads=0)


def cell(precision, milliseconds):
    memory = {'peak_mb': None, 'held_mb': 5.0}
    return Outcome(value={'precision': precision, 'ms': milliseconds, 'ready_s': 1.0, **memory})


def test_contenders_are_those_that_open(answers, run):
    def result(backend, precision, call):
        if (backend, precision) == ('b', 'fp16'):
            return Outcome(failure='BackendError', message='b has no fp16; use fp32')
        # 'a' has no fp16 either, but steps down without a word.
        return cell('fp32', [1.0])

    answers(result)
    assert run.contenders((64, 32)) == [('a', 'fp32'), ('b', 'fp32')]
    assert run.left_out == {'b fp16': 'b has no fp16; use fp32'}


def test_what_auto_takes(answers, run):
    found = {'backend': 'openvino', 'precision': 'int8'}
    calls = answers(lambda *_: Outcome(value=found))
    assert run.auto((64, 32)) == 'openvino int8'
    assert calls == ['auto auto m.onnx']
    answers(lambda *_: Outcome(failure='crash', message='died'))
    assert run.auto((64, 32)) == ''


def test_nothing_opens(answers, run):
    answers(lambda *_: Outcome(failure='crash', message='died', fix='mend it'))
    with pytest.raises(LinknetError, match=r'no back end runs .*; b fp16: died; mend it'):
        run.contenders((64, 32))


def test_rounds_are_interleaved_and_compared_pair_by_pair(answers, run):
    # The machine is ten times slower in the second round.
    times = {1: [10.0, 10.0], 2: [20.0, 30.0], 3: [200.0, 200.0], 4: [100.0, 100.0]}
    calls = answers(lambda backend, precision, call: cell(precision, times[call]))
    a, b = ('a', 'fp32'), ('b', 'fp32')
    rows = run.rows([a, b], a, [(64, 32)], rounds=2)
    assert [call[:6] for call in calls] == ['a fp32', 'b fp32', 'b fp32', 'a fp32']
    first, second = rows
    assert (first['ratio'], first['ratio_range']) == (1.0, (1.0, 1.0))
    assert first['median_ms'] == 55.0
    assert first['fps'] == pytest.approx(4e3 / 220)
    # 25 / 10 in the first round, 200 / 100 in the second.
    assert second['ratio'] == pytest.approx(2.25)
    assert second['ratio_range'] == (2.0, 2.5)
    assert second['round_medians_ms'] == [25.0, 200.0]
    assert (first['agreement'], second['agreement']) == (1.0, 0.75)
    # What is not known of one cell, e.g. without /proc, is not known of the row.
    assert (first['peak_mb'], first['held_mb']) == (None, 5.0)


def test_cell_that_fails_once_is_left_out(answers, run):
    def result(backend, precision, call):
        if call == 3:
            return Outcome(failure='timeout', message='no answer within 9 s')
        return cell(precision, [1.0])

    calls = answers(result)
    a, b = ('a', 'fp32'), ('b', 'fp32')
    first, second = run.rows([a, b], a, [(64, 32)], rounds=3)
    assert first['ratio'] == 1.0
    assert (second['median_ms'], second['ratio'], second['agreement']) == (None, None, None)
    assert run.left_out == {'b fp32 at 64x32': 'no answer within 9 s'}
    # Not tried again in the third round.
    assert [call[0] for call in calls] == ['a', 'b', 'b', 'a', 'a']


@pytest.mark.parametrize('named', [True, False])
def test_models_of_the_cells(model_path, monkeypatch, tmp_path, named):
    """int8 cells run the model's int8 twin, if it has one."""
    made = []

    def benchmark(model, folder, frames, threads, int8_model, **_):
        made.extend([model, int8_model])
        raise LinknetError('that is enough')

    monkeypatch.setattr(program, 'Benchmark', benchmark)
    with pytest.raises(SystemExit, match='error: that is enough'):
        main((['--model', str(model_path)] if named else []) + ['--out', str(tmp_path / 'o')])
    shipped = [package_file(SHIPPED_MODEL), package_file(SHIPPED_INT8_MODEL)]
    assert made == ([model_path, model_path] if named else shipped)
