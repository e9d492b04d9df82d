"""What /proc says, compared with what this process knows of itself."""

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from linknet_ros.errors import LinknetError
from linknet_ros.system import usage as module
from linknet_ros.system.usage import cpu_seconds, forget_peak, machine_cpu_seconds, memory_mb


def test_cpu_seconds_are_those_of_the_process():
    machine, own = machine_cpu_seconds(), time.process_time()
    while time.process_time() < own + 0.2:
        pass
    times = os.times()
    assert cpu_seconds(os.getpid()) == pytest.approx(times.user + times.system, abs=0.05)
    # The machine has used at least what this process did.
    assert machine_cpu_seconds() - machine > 0.15
    assert machine_cpu_seconds() > cpu_seconds(os.getpid())


def test_name_with_spaces_and_brackets(monkeypatch):
    fields = ' '.join(['S', *'1234567890', '150', '50', '7', '7'])
    monkeypatch.setattr(module, '_read', lambda pid, file: f'9 (my) node (x) {fields}')
    assert cpu_seconds(9) == 200 / os.sysconf('SC_CLK_TCK')


# A process of its own: in that of the tests, memory that the others leave behind comes and goes.
HOLD_AND_GIVE_BACK = """
import numpy as np

def turn(say):
    print(say, flush=True)
    input()

turn('ready')
held = np.ones(64_000_000, np.uint8)
turn('held')
del held
turn('given back')
from linknet_ros.system.usage import forget_peak
forget_peak()
turn('forgotten')
"""


def test_memory():
    usage = {}
    with subprocess.Popen(
        [sys.executable, '-c', HOLD_AND_GIVE_BACK],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        for _ in range(4):
            state = child.stdout.readline().strip()
            usage[state] = memory_mb(child.pid)
            child.stdin.write('\n')
            child.stdin.flush()
    assert child.returncode == 0
    before = usage['ready']
    # What others share of it changes as they come and go.
    for name, others in (('rss_mb', 0), ('pss_mb', 8), ('peak_mb', 0)):
        assert usage['held'][name] - before[name] == pytest.approx(64, abs=2 + others)
    assert usage['given back']['rss_mb'] == pytest.approx(before['rss_mb'], abs=2)
    assert usage['given back']['peak_mb'] == pytest.approx(usage['held']['peak_mb'], abs=1)
    assert usage['forgotten']['peak_mb'] < usage['held']['peak_mb'] - 50
    for after in usage.values():
        assert after['pss_mb'] <= after['rss_mb'] <= after['peak_mb']


def test_peak_that_cannot_be_forgotten(monkeypatch):
    def refuse(path, text):
        raise PermissionError(errno.EACCES, 'Permission denied')

    monkeypatch.setattr(Path, 'write_text', refuse)
    with pytest.raises(LinknetError, match=r'cannot write /proc/self/clear_refs: Permission'):
        forget_peak()


def test_process_that_has_ended(monkeypatch):
    for function in (cpu_seconds, memory_mb):
        # Above the highest that Linux gives.
        with pytest.raises(LinknetError, match=r'cannot read /proc/4194305/stat.*has it ended'):
            function(4194305)
    # Nor was it waited for.
    monkeypatch.setattr(module, '_read', lambda pid, file: 'State:\tZ (zombie)\n')
    with pytest.raises(LinknetError, match='no VmRSS in /proc; has the process ended'):
        memory_mb(1)
