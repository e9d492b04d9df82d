"""Which inputs, where to, and what is said at the end."""

import argparse
import json
import sqlite3
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from linknet_ros.errors import LinknetError, RecordingError
from linknet_ros.recordings.batch import (
    add_batch_arguments,
    bar,
    pair_up,
    run_command,
    run_each,
    shard,
)
from linknet_ros.recordings.report import Report

OUT = Path('out')


def test_outputs():
    assert pair_up(['a.mcap', 'b.mcap'], None) == [('a.mcap', Path('b.mcap'))]
    assert pair_up(['a.mcap', 'x/drive/'], OUT) == [
        ('a.mcap', OUT / 'a.mcap'),
        ('x/drive/', OUT / 'drive'),
    ]
    assert pair_up(['x/a.png'], OUT, lambda source: 'name') == [('x/a.png', OUT / 'name')]


@pytest.mark.parametrize(
    ('sources', 'out_dir', 'message'),
    [
        (['a'], None, 'give one input and one output, or any number of inputs and --out-dir'),
        (['a', 'b', 'c'], None, 'give one input and one output'),
        (['x/a', 'y/a'], OUT, 'x/a and y/a would both become out/a'),
        (['a', 'a'], OUT, 'a and a would both become out/a'),
        (['a', './a'], None, 'a would lie in its own source'),
        (['a', 'a/b'], None, 'a/b would lie in its own source; name another output'),
        (['out/a'], OUT, 'out/a would lie in its own source'),
    ],
)
def test_what_does_not_go_together(sources, out_dir, message):
    with pytest.raises(RecordingError, match=message):
        pair_up(sources, out_dir)


@pytest.mark.parametrize('count', [1, 2, 3, 7, 9])
def test_shards_have_each_item_once(count):
    items = list('abcdefg')
    shards = [shard(items, number, count) for number in range(1, count + 1)]
    assert sorted(item for part in shards for item in part) == items
    assert max(map(len, shards)) - min(map(len, shards)) <= 1


def test_shard_argument(capsys):
    parser = argparse.ArgumentParser()
    add_batch_arguments(parser)
    assert parser.parse_args([]).shard == (1, 1)
    assert parser.parse_args(['--shard', '2/8']).shard == (2, 8)
    for wrong in ('0/2', '3/2', '2', 'a/b', '1/0', '-1/2'):
        with pytest.raises(SystemExit):
            parser.parse_args([f'--shard={wrong}'])
        assert f"invalid shard '{wrong}' (expected 1/8" in capsys.readouterr().err


def test_one_failure_does_not_end_the_others(capsys):
    errors = {
        'a': LinknetError('broken'),
        'b': None,
        'c': OSError(28, 'No space left on device'),
        'd': sqlite3.OperationalError('disk I/O error'),
    }

    def work(job, update):
        update(1, 1)
        if errors[job.source]:
            raise errors[job.source]
        return Report(job.source, 'out')

    jobs = [SimpleNamespace(source=name, out=OUT) for name in errors]
    assert [report.error for report in run_each(jobs, work)] == [
        'broken',
        '',
        '[Errno 28] No space left on device; go on with --resume',
        'disk I/O error; go on with --resume',
    ]


def run(reports, as_json=False):
    with pytest.raises(SystemExit) as stop:
        run_command('tool', lambda: iter(reports), as_json)
    return stop.value.code


def test_lines_and_code(capsys):
    good, damaged = Report('a', 'b'), Report('c', 'd', damage=['cut'])
    assert run([good, damaged]) == 3
    assert capsys.readouterr().out == f'{good.line()}\n{damaged.line()}\n'
    assert run([good]) == 0
    assert run([good, Report('x', 'y', error='broken')]) == 1


def test_json(capsys):
    report = Report('a', 'b', frames=3)
    assert run([report], as_json=True) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out) == [report.as_json()]
    assert shown.err == f'{report.line()}\n'


def test_error_is_one_line():
    def fail():
        raise LinknetError('no model')

    with pytest.raises(SystemExit, match=r'^tool: no model$'):
        run_command('tool', fail, False)


@pytest.mark.parametrize('tqdm', [True, False])
def test_bar(capsys, monkeypatch, tqdm):
    if not tqdm:
        monkeypatch.setitem(sys.modules, 'tqdm', None)
    with bar('a.mcap', None) as update:
        for done in range(1, 5):
            update(done, 4)
    shown = capsys.readouterr()
    assert shown.out == ''
    assert ('a.mcap: 100%' in shown.err, '4/4' in shown.err) == (tqdm, tqdm)
