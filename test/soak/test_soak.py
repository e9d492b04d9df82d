"""The trials of `make soak`, short."""

import pytest

pytest.importorskip('rclpy', reason='needs ROS 2 (pip install .[ros])')

from soak import faults, lifecycle, load
from soak.rig import rig_in


@pytest.fixture
def rig(tmp_path, context):
    """Camera and planner; the node, started by the trial, must end well."""
    with rig_in(tmp_path, context) as rig:
        yield rig


def test_walk_through_the_lifecycle(rig):
    figures = lifecycle.walk(rig, steps=30)
    assert figures['made'] >= 30
    assert figures['refused'] > 0
    assert figures['frames'] > 0


def test_configure_fails_with_a_reason(rig):
    lifecycle.failing_configure(rig)


def test_reconfigure_loads_another_model(rig):
    lifecycle.other_model(rig, rounds=1)


def test_memory_does_not_grow(rig):
    load.memory(rig, frames=400)


def test_every_drop_is_in_the_diagnostics(rig):
    load.every_drop(rig, rounds=6)


def test_malformed_images_are_counted(rig):
    load.malformed(rig, images=60)


def test_parameter_storm(rig):
    figures = load.parameter_storm(rig, changes=80)
    assert min(figures['accepted'], figures['refused'], figures['pairs_checked']) > 0


def test_stalled_subscriber_stalls_nobody_else(rig):
    load.stalled_subscriber(rig, frames=10)


def test_model_files_may_change_while_the_node_runs(rig):
    faults.model_files(rig)


def test_full_disk(rig):
    faults.disk_full(rig)


def test_killed_builder(rig):
    faults.builder_killed(rig)


def test_signals_at_any_moment(rig):
    faults.signals(rig, times=3, seed=1)
