"""What `make check` leaves out: -m sees the marks that conftest.py sets."""

import subprocess
import sys

import pytest
from checkout import ROOT


@pytest.mark.parametrize(
    ('marks', 'found'),
    [('not process', {'test/test_errors.py'}), ('process', {'test/system/test_signals.py'})],
)
def test_marks_are_set_before_they_are_asked_for(marks, found):
    command = [sys.executable, '-m', 'pytest', '--collect-only', '-q', '-m', marks]
    files = ['test/test_errors.py', 'test/system/test_signals.py']
    done = subprocess.run([*command, *files], cwd=ROOT, capture_output=True, text=True, check=True)
    assert {line.partition('::')[0] for line in done.stdout.splitlines() if '::' in line} == found
