"""What /proc says, compared with what this process knows of itself."""

import os
import time

import numpy as np
import pytest

from linknet_ros import process_usage as module
from linknet_ros.errors import LinknetError
from linknet_ros.process_usage import cpu_seconds, machine_cpu_seconds, memory_mb


def test_cpu_seconds_are_those_of_the_process():
    while time.process_time() < 0.05:
        pass
    times = os.times()
    assert cpu_seconds(os.getpid()) == pytest.approx(times.user + times.system, abs=0.05)


def test_machine_has_used_at_least_what_this_process_did():
    before, own = machine_cpu_seconds(), time.process_time()
    while time.process_time() < own + 0.2:
        pass
    assert machine_cpu_seconds() - before > 0.15
    assert machine_cpu_seconds() > cpu_seconds(os.getpid())


def test_name_with_spaces_and_brackets(monkeypatch):
    fields = ' '.join(['S', *'1234567890', '150', '50', '7', '7'])
    monkeypatch.setattr(module, '_read', lambda pid, file: f'9 (my) node (x) {fields}')
    assert cpu_seconds(9) == 200 / os.sysconf('SC_CLK_TCK')


def test_memory():
    before = memory_mb(os.getpid())
    held = np.ones(64_000_000, np.uint8)
    after = memory_mb(os.getpid())
    assert held.sum() == 64_000_000
    for name in ('rss_mb', 'pss_mb'):
        assert after[name] - before[name] == pytest.approx(64, abs=8)
    assert after['pss_mb'] <= after['rss_mb'] <= after['peak_mb']


@pytest.mark.parametrize('function', [cpu_seconds, memory_mb])
def test_no_such_process(function):
    # Above the highest that Linux gives.
    with pytest.raises(LinknetError, match=r'cannot read /proc/4194305/stat.*has it ended'):
        function(4194305)


def test_process_that_was_not_waited_for(monkeypatch):
    monkeypatch.setattr(module, '_read', lambda pid, file: 'State:\tZ (zombie)\n')
    with pytest.raises(LinknetError, match='no VmRSS in /proc; has the process ended'):
        memory_mb(1)
