"""The parameters of the ground projection: their names, and what can change while it runs."""

import pytest

pytest.importorskip('rclpy', reason='ROS 2 (ros-rclpy) not installed')

from linknet_ros.ground.grid import GridArea
from linknet_ros.ground.projection import GroundOptions
from linknet_ros.node.ground_parameters import GROUND_SPECS

DEFAULTS = {spec.name: spec.default for spec in GROUND_SPECS}


def test_all_are_of_the_ground_and_described():
    assert len(DEFAULTS) == len(GROUND_SPECS)
    for spec in GROUND_SPECS:
        assert spec.name.startswith('ground.')
        assert spec.description.endswith('.')


def test_only_what_makes_the_topic_anew_waits_for_cleanup():
    assert [spec.name for spec in GROUND_SPECS if not spec.live] == ['ground.latched']


def test_defaults_are_those_of_the_projection():
    area = {n: DEFAULTS[f'ground.{n}'] for n in ('forward', 'backward', 'sideways', 'resolution')}
    options = GroundOptions(
        max_range=DEFAULTS['ground.max_range'],
        plane_z=DEFAULTS['ground.plane_z'],
        area=GridArea(**area),
    )
    assert options == GroundOptions()
    # Nothing is projected before somebody says where the camera is.
    assert DEFAULTS['ground.height'] == 0
