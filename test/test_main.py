"""The doors: signals before imports, one table of programs."""

import runpy
import subprocess
import sys
from importlib.util import find_spec

import pytest
from checkout import ROOT

from linknet_ros import __main__ as doors


@pytest.mark.parametrize('name', doors.PROGRAMS)
def test_signals_are_looked_after_before_the_program_is_imported(name):
    program = f"""
import signal, sys
from linknet_ros import __main__ as doors

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == 'linknet_ros.{doors.PROGRAMS[name].partition('.')[0]}':
            print(signal.getsignal(signal.SIGTERM).__module__, 'numpy' in sys.modules)
            raise SystemExit(0)

sys.meta_path.insert(0, Finder())
doors.{name}()
"""
    output = subprocess.run(
        [sys.executable, '-c', program], capture_output=True, text=True, check=True, timeout=900
    ).stdout
    assert output == 'linknet_ros.system.signals False\n'


def test_every_command_of_setup_is_a_door(monkeypatch):
    calls = []
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr('setuptools.setup', lambda **arguments: calls.append(arguments))
    runpy.run_path('setup.py')
    (arguments,) = calls
    commands = dict(text.split(' = ') for text in arguments['entry_points']['console_scripts'])
    assert set(commands) <= set(doors.PROGRAMS)
    for name, target in commands.items():
        assert target == f'linknet_ros.__main__:{name}'


def test_every_door_leads_somewhere():
    for module in doors.PROGRAMS.values():
        assert find_spec(f'linknet_ros.{module}'), module


@pytest.mark.parametrize(
    ('arguments', 'code', 'start'),
    [
        (['--help'], 0, 'usage: python -m linknet_ros PROGRAM'),
        ([], 1, 'usage: python -m linknet_ros PROGRAM'),
        (['segment'], 1, "unknown program 'segment'"),
        (['segment_bag', '--help'], 0, 'usage: segment_bag'),
    ],
)
def test_command_line(arguments, code, start):
    done = subprocess.run(
        [sys.executable, '-m', 'linknet_ros', *arguments],
        capture_output=True,
        text=True,
        timeout=900,
        cwd=ROOT,
    )
    assert done.returncode == code
    assert (done.stdout or done.stderr).startswith(start)


@pytest.mark.parametrize('name', ['doctor', 'benchmark'])
def test_rooms_that_are_programs_import_nothing_before_signals(name):
    loaded = f"[m for m in ('numpy', 'linknet_ros.{name}.{name}') if m in sys.modules]"
    source = f'import sys, linknet_ros.{name}.__main__; print({loaded})'
    done = subprocess.run([sys.executable, '-c', source], capture_output=True, text=True)
    assert done.stdout == '[]\n', done.stderr
