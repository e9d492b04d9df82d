"""Signals before ROS runs, while it does, and while Python ends; in processes of their own."""

import signal
import subprocess
import sys

import pytest

BOTH = pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])


def run(source, number):
    """Run a program that prints a line at the moment for the signal; code and what it printed."""
    program = f'from linknet_ros.system.signals import *\nimport sys, time\n{source}'
    process = subprocess.Popen(
        [sys.executable, '-c', program],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout.readline() == 'now\n'
    process.send_signal(number)
    rest, _ = process.communicate(timeout=30)
    return process.returncode, rest


@BOTH
def test_before_ros_the_process_ends_at_once_and_quietly(number):
    source = 'end_quietly()\nprint("now", flush=True)\ntime.sleep(60)\nprint("went on")'
    assert run(source, number) == (0, '')


@BOTH
def test_while_ros_runs_nothing_is_broken_into(number):
    source = 'end_quietly(); ros_runs()\nprint("now", flush=True)\ntime.sleep(0.5)\nprint("on")'
    assert run(source, number) == (0, 'on\n')


@BOTH
def test_while_python_ends_signals_are_ignored(number):
    source = (
        'class Last:\n'
        '    def __del__(self, write=sys.stdout.write, flush=sys.stdout.flush, time=time):\n'
        '        write("now\\n"); flush(); time.sleep(0.5); write("end\\n")\n'
        'end_quietly(); ros_runs(); process_ends()\n'
        'last = Last()\n'
    )
    assert run(source, number) == (0, 'end\n')


def test_handlers_of_others_stay():
    source = (
        'import signal\n'
        'process_ends()\n'
        'print("now", flush=True)\n'
        'assert signal.getsignal(signal.SIGINT) is signal.default_int_handler\n'
        'time.sleep(60)\n'
    )
    code, _ = run(source, signal.SIGTERM)
    assert code == -signal.SIGTERM
