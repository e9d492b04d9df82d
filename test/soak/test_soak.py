"""The trials of `make soak`, short."""

import pytest

pytest.importorskip('rclpy', reason='needs ROS 2 (pip install .[ros])')

from soak.__main__ import trials
from soak.rig import rig_in


@pytest.mark.parametrize('name', trials(0))
def test_trial(name, tmp_path, context):
    with rig_in(tmp_path, context) as rig:
        trials(0, seed=1)[name](rig)
