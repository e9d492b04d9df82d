"""Answers of children that work, raise, die, hang, or talk nonsense."""

import os
import time
from pathlib import Path

import pytest

from linknet_ros.system import child_process
from linknet_ros.system.child_process import CRASH, TIMEOUT, Outcome, ask

ANSWER = 'from linknet_ros.system.child_process import answer\n'


@pytest.fixture
def outcome_of(stand_in):
    """Outcome of a child that runs some source."""

    def run(source, *arguments, seconds=30):
        stand_in('child/__main__', ANSWER + source)
        stand_in('child', '')
        return ask('child', *arguments, seconds=seconds)

    return run


def test_answer_and_arguments(outcome_of):
    outcome = outcome_of('import sys\nprint("noise")\nanswer(lambda: sys.argv[1:])', 'a', 'b c')
    assert outcome == Outcome(value=['a', 'b c'])
    assert outcome.works


def test_exception(outcome_of):
    outcome = outcome_of('answer(lambda: {}["key"])')
    assert (outcome.failure, outcome.message) == ('KeyError', "'key'")
    assert not outcome.works


def test_missing_module(outcome_of):
    outcome = outcome_of('def f():\n    import no_such_module\nanswer(f)')
    assert outcome.lacks('no_such_module')
    assert not outcome.lacks('child')
    assert outcome.message == "No module named 'no_such_module'"


def test_numpy_names_its_error_last(outcome_of):
    text = 'IMPORTANT: READ THIS\n\nadvice\n\nOriginal error was: libopenblas.so is gone\n'
    outcome = outcome_of(f'def f():\n    raise ImportError({text!r})\nanswer(f)')
    assert outcome.message == 'libopenblas.so is gone'


def test_exit_instead_of_an_answer(outcome_of):
    outcome = outcome_of(
        'import os, sys\nsys.stderr.write("no licence")\nsys.stderr.flush()\nos._exit(3)'
    )
    assert outcome.failure == CRASH
    assert outcome.message == 'the process ended with exit code 3'
    assert outcome.log == 'no licence'


def test_exit_zero_without_an_answer_is_no_success(outcome_of):
    assert outcome_of('').message == 'the process ended with exit code 0'


def test_sys_exit_within_a_probe(outcome_of):
    assert outcome_of('import sys\nanswer(lambda: sys.exit("no"))').failure == 'SystemExit'


@pytest.mark.parametrize(
    ('source', 'name'),
    [
        ('os.abort()', 'SIGABRT'),
        ('os.kill(os.getpid(), signal.SIGSEGV)', 'SIGSEGV'),
        ('os.kill(os.getpid(), 40)', 'signal 40'),
    ],
)
def test_death(outcome_of, source, name):
    outcome = outcome_of(f'import os, signal\n{source}')
    assert (outcome.failure, outcome.message) == (CRASH, f'the process died of {name}')


def test_hanging_child_is_killed_with_its_own_children(outcome_of, tmp_path):
    pids = tmp_path / 'pids'
    outcome = outcome_of(
        'import os, subprocess, sys, time\n'
        'child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])\n'
        f'open({str(pids)!r}, "w").write(f"{{os.getpid()}} {{child.pid}}")\n'
        'time.sleep(600)',
        seconds=5,
    )
    assert (outcome.failure, outcome.message) == (TIMEOUT, 'no answer within 5 s')
    for pid in map(int, pids.read_text().split()):
        for _ in range(100):
            try:
                state = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0]
            except OSError:
                break
            if state == 'Z':
                break
            time.sleep(0.1)
        else:
            pytest.fail(f'{pid} lives on')


def test_grandchild_that_lives_on_does_not_hold_the_answer(outcome_of):
    outcome = outcome_of(
        'import subprocess\nsubprocess.Popen(["sleep", "600"])\nanswer(lambda: 1)', seconds=60
    )
    assert outcome == Outcome(value=1)


def test_crash_at_the_end_of_the_interpreter_is_no_failure(outcome_of):
    assert outcome_of('import atexit, os\natexit.register(os.abort)\nanswer(lambda: 1)').value == 1


def test_module_that_is_not_there():
    assert ask('no_such_module', seconds=30).failure == CRASH


def test_no_room_for_the_output(monkeypatch):
    def full():
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(child_process.tempfile, 'TemporaryFile', full)
    outcome = ask('child', seconds=1)
    assert outcome.failure == 'OSError'
    assert 'No space left on device' in outcome.message


def test_what_the_user_put_first_stays_first(outcome_of):
    outcome = outcome_of('import os\nanswer(lambda: os.environ["PYTHONPATH"])')
    first, second = outcome.value.split(os.pathsep)
    assert first.endswith('stand_ins')
    assert os.path.isfile(os.path.join(second, 'linknet_ros', '__init__.py'))
