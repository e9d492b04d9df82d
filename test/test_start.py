"""The entry points look after signals before they import anything that takes time."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize('name', ['segment_node', 'replay_node', 'view_node'])
def test_signals_are_looked_after_first(name):
    program = f"""
import signal, sys
import linknet_ros.start

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == 'linknet_ros.{name}':
            print(signal.getsignal(signal.SIGTERM).__module__, 'rclpy' in sys.modules)
            raise SystemExit(0)

sys.meta_path.insert(0, Finder())
linknet_ros.start.{name}()
"""
    output = subprocess.run(
        [sys.executable, '-c', program], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    assert output == 'linknet_ros.system.signals False\n'
