"""Children that answer, raise, die, hang or talk nonsense; that are stopped, or lose a parent."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from linknet_ros.system import child_process
from linknet_ros.system.child_process import (
    CRASH,
    TIMEOUT,
    Outcome,
    ask,
    isolate,
    start,
    start_program,
    stop,
)

ANSWER = 'from linknet_ros.system.child_process import answer\n'
SLEEP = 'import time\nwhile True: time.sleep(0.1)'


@pytest.fixture
def outcome_of(stand_in):
    """Outcome of a child that runs some source."""

    def run(source, *arguments, seconds=300):
        stand_in('child/__main__', ANSWER + source)
        stand_in('child', '')
        return ask('child', *arguments, seconds=seconds)

    return run


def gone(pid):
    """Whether a process ends, within a minute."""
    for _ in range(600):
        try:
            state = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0]
        except OSError:
            return True
        if state == 'Z':
            return True
        time.sleep(0.1)
    return False


def test_answer_and_arguments(outcome_of):
    # A crash at the end of the interpreter, after the answer, is no failure.
    source = 'import atexit, os, sys\natexit.register(os.abort)\nprint("noise")\n'
    outcome = outcome_of(f'{source}answer(lambda: sys.argv[1:])', 'a', 'b c')
    assert outcome == Outcome(value=['a', 'b c'])
    assert outcome.works


#: Last words of a library.
WORDS = 'import os, sys\nsys.stderr.write("no licence")\nsys.stderr.flush()\nos._exit(3)'

IMPORTANT = 'IMPORTANT: READ THIS\n\nadvice\n\nOriginal error was: libopenblas.so is gone\n'


@pytest.mark.parametrize(
    ('source', 'failure', 'message'),
    [
        ('answer(lambda: {}["key"])', 'KeyError', "'key'"),
        ('import sys\nanswer(lambda: sys.exit("no"))', 'SystemExit', 'no'),
        # NumPy says what is wrong behind a page of advice.
        (
            f'def f():\n    raise ImportError({IMPORTANT!r})\nanswer(f)',
            'ImportError',
            'libopenblas.so is gone',
        ),
        (WORDS, CRASH, 'the process ended with exit code 3'),
        # No answer is no success.
        ('', CRASH, 'the process ended with exit code 0'),
        ('import os\nos.abort()', CRASH, 'the process died of SIGABRT'),
        ('import os\nos.kill(os.getpid(), 40)', CRASH, 'the process died of signal 40'),
    ],
)
def test_failures(outcome_of, source, failure, message):
    outcome = outcome_of(source)
    assert (outcome.failure, outcome.message, outcome.fix) == (failure, message, '')
    assert not outcome.works
    assert outcome.log == 'no licence' * (source is WORDS)


def test_error_of_ours_keeps_its_fix(outcome_of):
    source = 'from linknet_ros.errors import ModelError\ndef f():\n    raise ModelError("no model"'
    outcome = outcome_of(f'{source}, "export it")\nanswer(f)')
    assert (outcome.failure, outcome.message, outcome.fix) == (
        'ModelError',
        'no model',
        'export it',
    )
    assert outcome.reason == 'no model; export it'


def test_missing_module(outcome_of):
    outcome = outcome_of('def f():\n    import no_such_module\nanswer(f)')
    assert outcome.misses('no_such_module')
    assert not outcome.misses('child')
    assert outcome.reason == outcome.message == "No module named 'no_such_module'"
    assert ask('no_such_module', seconds=300).failure == CRASH


GRANDCHILD = f"""
import os, subprocess, sys
child = subprocess.Popen([sys.executable, '-c', {SLEEP!r}])
open(sys.argv[1], 'w').write(f'{{os.getpid()}} {{child.pid}}')
"""


def test_hanging_child_is_killed_with_its_own_children(outcome_of, tmp_path, monkeypatch):
    pids = tmp_path / 'pids'

    def wait(process, seconds):
        if seconds == 5:
            # The time is up once the grandchild is there, however long that takes.
            while not (pids.exists() and len(pids.read_text().split()) == 2):
                assert process.poll() is None
                time.sleep(0.05)
            raise subprocess.TimeoutExpired('child', seconds)
        return original(process, seconds)

    original = subprocess.Popen.wait
    monkeypatch.setattr(subprocess.Popen, 'wait', wait)
    outcome = outcome_of(GRANDCHILD + SLEEP, str(pids), seconds=5)
    assert (outcome.failure, outcome.message) == (TIMEOUT, 'no answer within 5 s')
    assert all(gone(pid) for pid in pids.read_text().split())


def test_grandchild_that_lives_on_does_not_hold_the_answer(outcome_of, tmp_path):
    outcome = outcome_of(f'{GRANDCHILD}\nanswer(lambda: 1)', str(tmp_path / 'pids'))
    assert outcome == Outcome(value=1)
    assert gone((tmp_path / 'pids').read_text().split()[1])


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


def test_command_of_a_node(stand_in, capfd):
    stand_in('mine', '')
    stand_in('mine/my_node', 'import os, sys\nprint(os.environ["MINE"], *sys.argv[1:])')
    parameters = {'model': '/a.onnx', 'threads': '2'}
    more = ['-r', '__ns:=/x']
    process = start_program('mine.my_node', parameters, more, env={'MINE': 'set'})
    assert process.wait(300) == 0
    assert capfd.readouterr().out == (
        'set --ros-args --log-level warn -r __ns:=/x -p model:=/a.onnx -p threads:=2\n'
    )


def test_stop_ends_what_obeys_what_does_not_and_what_has_ended(stand_in):
    ignore = 'import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n'
    ready = 'print(1, flush=True)\n'
    sources = {'obedient': ready + SLEEP, 'stubborn': ignore + ready + SLEEP, 'ended': ready}
    for name, source in sources.items():
        stand_in(name, '')
        stand_in(f'{name}/__main__', source)
    names = ('stubborn', 'obedient', 'ended')
    children = [start(name, stdout=subprocess.PIPE) for name in names]
    for child in children:
        assert child.stdout.readline()
    children[2].wait(300)
    stop(children, 1)
    codes = [child.returncode for child in children]
    # One that is slow to die on a busy machine may be killed as well.
    assert codes[0] == -signal.SIGKILL
    assert codes[1] in (-signal.SIGTERM, -signal.SIGKILL)
    assert codes[2] == 0
    for child in children:
        child.stdout.close()


PARENT = f"""
import os, sys, threading
from linknet_ros.system.child_process import ask, start
from linknet_ros.system.signals import end_quietly
end_quietly(endless=False)
start('sleeper', sys.argv[1], 'started')
asking = lambda: ask('sleeper', sys.argv[1], 'asked', seconds=600)
threading.Thread(target=asking).start()
{SLEEP}
"""


def test_a_signal_leaves_no_child(stand_in, tmp_path):
    stand_in('sleeper', '')
    said = 'import os, sys\nopen(f"{sys.argv[1]}/{sys.argv[2]}", "w").write(str(os.getpid()))\n'
    stand_in('sleeper/__main__', said + SLEEP)
    process = subprocess.Popen([sys.executable, '-c', PARENT, str(tmp_path)])
    pids = [tmp_path / 'started', tmp_path / 'asked']
    while not all(path.exists() and path.read_text() for path in pids):
        assert process.poll() is None
        time.sleep(0.05)
    process.terminate()
    assert process.wait(300) == 128 + signal.SIGTERM
    assert all(gone(int(path.read_text())) for path in pids)


STARTING = f"""
import os, signal, sys
# Where an interrupt would print a traceback.
os.kill(os.getpid(), signal.SIGINT)
print('at work', flush=True)
from linknet_ros.system.signals import end_quietly
end_quietly(endless=False)
{SLEEP}
"""


def test_ctrl_c_while_python_starts_counts_once_the_child_looks_after_signals(stand_in):
    stand_in('starting', '')
    stand_in('starting/__main__', STARTING)
    child = start('starting', stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert child.communicate(timeout=900)[0] == b'at work\n'
    assert child.returncode == 128 + signal.SIGINT
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_isolate_keeps_a_profile_that_is_set(monkeypatch):
    own = '/mine.xml'
    for name in ('ROS_AUTOMATIC_DISCOVERY_RANGE', 'FASTRTPS_DEFAULT_PROFILES_FILE'):
        monkeypatch.setenv(name, 'to be put back')
        monkeypatch.delenv(name)
    monkeypatch.setenv('FASTDDS_DEFAULT_PROFILES_FILE', own)
    monkeypatch.setenv('ROS_DOMAIN_ID', '0')
    isolate(42)
    assert os.environ['ROS_DOMAIN_ID'] == '42'
    assert os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] == 'LOCALHOST'
    assert os.environ['FASTDDS_DEFAULT_PROFILES_FILE'] == own
    assert os.environ['FASTRTPS_DEFAULT_PROFILES_FILE'].endswith('config/fastdds_shm.xml')
