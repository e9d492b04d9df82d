"""The files of a run's log: what they hold, also after a kill and a resume."""

import json
import math
import sys

import pytest

from training import run_log
from training.run_log import RunLog

FIRST = {'epoch': 1, 'loss': 1.5, 'learning_rate': 0.002, 'seconds': 60.25}
SECOND = {'epoch': 2, 'loss': 0.75, 'learning_rate': 0.001, 'seconds': 61}
THIRD = {'epoch': 3, 'loss': 0.5, 'learning_rate': 0.0005, 'seconds': 59}
VAL = {'miou': 0.5}
CLASS_IOU = {'sky': 0.75, 'traffic light': 0.25}


@pytest.fixture(autouse=True)
def no_tensorboard(monkeypatch, request):
    """Only the tests that ask for TensorBoard write events."""
    if 'tensorboard' not in request.fixturenames:
        monkeypatch.setattr(run_log, '_has_tensorboard', lambda: False)


@pytest.fixture
def tensorboard():
    """TensorBoard's reader of event files."""
    pytest.importorskip('tensorboard')
    from tensorboard.backend.event_processing import event_accumulator

    return event_accumulator


def lines_of(folder):
    return (folder / 'history.csv').read_text().splitlines()


def json_of(folder):
    def refuse(name):
        raise AssertionError(f'{name} is no JSON')

    return json.loads((folder / 'history.json').read_text(), parse_constant=refuse)


def events_of(folder, reader):
    accumulator = reader.EventAccumulator(str(folder))
    accumulator.Reload()
    return {
        tag: [(event.step, event.value) for event in accumulator.Scalars(tag)]
        for tag in accumulator.Tags()['scalars']
    }


def test_columns_of_the_first_evaluation_come_later(tmp_path):
    log = RunLog(tmp_path)
    log.write(FIRST)
    log.write(SECOND | VAL, CLASS_IOU)
    log.write(THIRD)
    assert lines_of(tmp_path) == [
        'epoch,loss,learning_rate,seconds,miou,iou/sky,iou/traffic light',
        '1,1.5,0.002,60.25,,,',
        '2,0.75,0.001,61,0.5,0.75,0.25',
        '3,0.5,0.0005,59,,,',
    ]
    assert json_of(tmp_path) == [
        FIRST,
        SECOND | {'miou': 0.5, 'iou/sky': 0.75, 'iou/traffic light': 0.25},
        THIRD,
    ]


def test_resume_forgets_later_epochs_and_a_torn_row(tmp_path):
    killed = RunLog(tmp_path)
    for entry in (FIRST, SECOND | VAL, THIRD):
        killed.write(entry)
    with (tmp_path / 'history.csv').open('a') as file:
        file.write('4,0.3')
    log = RunLog(tmp_path)
    log.restore(killed.history[:2])
    assert lines_of(tmp_path)[1:] == ['1,1.5,0.002,60.25,', '2,0.75,0.001,61,0.5']
    assert json_of(tmp_path) == [FIRST, SECOND | VAL]
    log.write(THIRD | {'loss': 0.625})
    assert lines_of(tmp_path)[3:] == ['3,0.625,0.0005,59,']
    assert [entry['loss'] for entry in log.history] == [1.5, 0.75, 0.625]


def test_resume_before_the_first_epoch(tmp_path):
    RunLog(tmp_path).write(FIRST | VAL)
    log = RunLog(tmp_path)
    log.restore([])
    assert lines_of(tmp_path) == []
    assert json_of(tmp_path) == []
    log.write(FIRST)
    assert lines_of(tmp_path) == ['epoch,loss,learning_rate,seconds', '1,1.5,0.002,60.25']


def test_new_run_replaces_the_files_of_an_old_one(tmp_path):
    old = RunLog(tmp_path)
    old.write(FIRST)
    old.write(SECOND)
    RunLog(tmp_path).write({'epoch': 1, 'loss': 9.0})
    assert lines_of(tmp_path) == ['epoch,loss', '1,9.0']


def test_nan_stays_visible_and_json_stays_json(tmp_path):
    log = RunLog(tmp_path)
    log.write({'epoch': 1, 'loss': math.nan, 'learning_rate': math.inf}, {'sky': math.nan})
    assert lines_of(tmp_path)[1] == '1,nan,inf,nan'
    assert json_of(tmp_path) == [
        {'epoch': 1, 'loss': None, 'learning_rate': None, 'iou/sky': None}
    ]
    assert math.isnan(log.history[0]['loss'])


def test_kill_while_writing_leaves_the_old_files(tmp_path, monkeypatch):
    log = RunLog(tmp_path)
    log.write(FIRST)
    before = lines_of(tmp_path), json_of(tmp_path)

    def killed(source, target):
        raise KeyboardInterrupt

    monkeypatch.setattr(run_log.os, 'replace', killed)
    with pytest.raises(KeyboardInterrupt):
        log.write(SECOND | VAL)
    assert (lines_of(tmp_path), json_of(tmp_path)) == before


@pytest.mark.parametrize('epoch', [1, 2])
def test_epoch_twice_is_refused(tmp_path, epoch):
    log = RunLog(tmp_path)
    log.write(FIRST)
    log.write(SECOND)
    with pytest.raises(ValueError, match=f'epoch {epoch} after epoch 2; restore the history'):
        log.write({'epoch': epoch, 'loss': 1.0})


def test_events(tmp_path, tensorboard):
    log = RunLog(tmp_path)
    log.write(FIRST)
    log.write(SECOND | VAL, CLASS_IOU)
    log.close()
    assert events_of(tmp_path, tensorboard) == {
        'train/loss': [(1, 1.5), (2, 0.75)],
        'train/learning_rate': [(1, pytest.approx(0.002)), (2, pytest.approx(0.001))],
        'train/seconds': [(1, 60.25), (2, 61)],
        'val/miou': [(2, 0.5)],
        'iou/sky': [(2, 0.75)],
        'iou/traffic light': [(2, 0.25)],
    }


def test_resume_hides_the_events_of_later_epochs(tmp_path, tensorboard):
    killed = RunLog(tmp_path)
    for entry in (FIRST, SECOND, THIRD):
        killed.write({key: entry[key] for key in ('epoch', 'loss')})
    killed.close()
    # As of an earlier second: names of one second end with a counter, and 10 sorts before 9.
    (events,) = tmp_path.glob('events.*')
    events.rename(tmp_path / 'events.out.tfevents.0000000001.host')
    log = RunLog(tmp_path)
    log.restore(killed.history[:1])
    log.write({'epoch': 2, 'loss': 0.875})
    log.close()
    assert events_of(tmp_path, tensorboard) == {'train/loss': [(1, 1.5), (2, 0.875)]}


def test_without_tensorboard_one_line_says_how_to_get_it(tmp_path, capsys, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, 'torch.utils.tensorboard', None)
    log = RunLog(tmp_path)
    log.write(FIRST)
    log.write(SECOND)
    log.close()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1
    assert 'pip install tensorboard' in lines[0]
    assert str(tmp_path) in lines[0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ['history.csv', 'history.json']
