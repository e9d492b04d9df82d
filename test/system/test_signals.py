"""What a signal does before ROS runs, while it does, and while Python ends; in own processes."""

import signal
import subprocess
import sys

import pytest

INT, TERM = signal.SIGINT, signal.SIGTERM

#: `ready()` says that a signal may come. CPython runs no handler while a call blocks that was
#: entered just after the signal came, so all waiting is done in small pieces.
SOURCE = """
import os, sys, time
from linknet_ros.system.signals import *
def say(text):
    os.write(1, f'{text}\\n'.encode())
def ready(until=lambda: False):
    say('ready')
    while not until():
        time.sleep(0.01)
"""


def run(source, *numbers):
    """Send signals, one each time that a program is ready: its exit code, and what it says."""
    process = subprocess.Popen(
        [sys.executable, '-c', SOURCE + source],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    for number in numbers:
        assert process.stdout.readline() == 'ready\n'
        process.send_signal(number)
    said, _ = process.communicate(timeout=300)
    return process.returncode, said.split()


@pytest.mark.parametrize(
    ('endless', 'number', 'code'),
    [(True, INT, 0), (True, TERM, 0), (False, INT, 130), (False, TERM, 143)],
)
def test_the_process_ends_at_once_and_quietly(endless, number, code):
    assert run(f'end_quietly(endless={endless})\nready()\nsay("went on")', number) == (code, [])


NOTED = """
notes = []
end_quietly(endless={endless})
take_note(lambda: notes.append(1))
ready(lambda: len(notes) == 1)
ready(lambda: len(notes) == 2)
end_again()
"""


@pytest.mark.parametrize(('endless', 'code'), [(True, 0), (False, 143)])
def test_a_program_may_take_note_and_end_itself(endless, code):
    source = NOTED.format(endless=endless) + 'sys.exit(exit_code())'
    assert run(source, INT, TERM) == (code, [])


def test_afterwards_signals_end_a_command_again():
    assert run(NOTED.format(endless=False) + 'ready()', INT, TERM, INT) == (130, [])


LAST = """
class Last:
    def __del__(self, say=say, sleep=time.sleep):
        say('ready'); sleep(0.5); say('end')
last = Last()
"""


@pytest.mark.parametrize('number', [INT, TERM])
@pytest.mark.parametrize(
    'before',
    [
        'end_quietly(endless=False); process_ends()',
        'end_quietly(endless=True); take_note(); end_again()',
    ],
)
def test_while_python_ends_signals_are_ignored(before, number):
    assert run(before + LAST, number) == (0, ['end'])


def test_handlers_of_others_stay():
    assert run('process_ends()\nready()', TERM) == (-TERM, [])


def test_a_signal_waits_for_the_end_of_what_must_not_be_parted():
    source = (
        'end_quietly(endless=False)\nwith held(), held():\n    ready(received)\n    say("whole")'
    )
    assert run(source + '\nsay("went on")', TERM) == (143, ['whole'])


def test_callbacks_are_called_last_first_whatever_they_raise():
    source = """
end_quietly(endless=False)
before_end(lambda: say('first'))
before_end(lambda: 1 / 0)
def tidy_up():
    # Until the second signal, which must not call it again.
    ready(lambda: exit_code() == 143)
    say('once')
before_end(tidy_up)
ready()
"""
    assert run(source, INT, TERM) == (143, ['once', 'first'])
