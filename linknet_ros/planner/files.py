"""The package's parameter files of planners, with the ranges of another camera and mount."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from linknet_ros.errors import CalibrationError
from linknet_ros.planner.placed_camera import PlacedCamera
from linknet_ros.system.package_files import package_file

#: Files below config/, by the names of the command line; their ranges are those of the street's
#: camera.
FILES = {
    'nav2': 'nav2_obstacle_layer.yaml',
    'kiwicampus': 'kiwicampus_layer.yaml',
    'nvblox': 'nvblox.yaml',
}

#: Furthest distances at which Nav2 marks, and clears, with the ground's contacts [m]: beyond, a
#: pixel spans more than a metre for most cameras.
_MARKED, _CLEARED = 10.0, 12.0
#: Distance from the blind range to the end of the collision monitor's zone: in it, things must be
#: seen before they are too near [m].
_STOP_ZONE = 1.2
#: Furthest distance on the ground at which kiwicampus' layer uses pixels [m].
_SEMANTIC = 5.0
#: Area of a person [m^2], half of which must be seen at the largest range to be no noise.
_PERSON = 0.5 * 1.7


def filled(name: str, placed: PlacedCamera) -> str:
    """The text of a file with the values of a camera and its mount.

    :param name: one of FILES.
    :raises CalibrationError: when the camera does not see far enough for a planner.
    """
    text = package_file(f'config/{FILES[name]}').read_text('utf-8')
    for key, value in values_for(name, placed).items():
        text, number = re.subn(rf'(?m)^(\s+{key}: ).*$', rf'\g<1>{value}', text)
        if not number:
            raise KeyError(f'{name} has no key {key}')
    text = re.sub(r'(?m)^# Ranges are those of .*(\n#   .*)*', _heading(placed), text)
    return text.replace('/linknet/', f'{placed.node}/')


def values_for(name: str, placed: PlacedCamera) -> Mapping[str, str]:
    """Values by key that depend on the camera, its mount, and the node's parameters."""
    blind, settings = placed.blind, placed.settings
    cleared = _down(min(_CLEARED, 0.95 * settings.max_range))
    marked = _down(min(_MARKED, cleared - 0.5))
    if name == 'nav2':
        if blind.clearing_from >= marked:
            raise CalibrationError(
                f'the camera sees the ground from {blind}, and obstacles are marked up to '
                f'{marked:g} m',
                'let it look further down (ground.pitch), or raise ground.max_range',
            )
        front = math.ceil(2 * (blind.farthest + _STOP_ZONE)) / 2
        corners = ', '.join(
            f'[{x:.1f}, {y:.1f}]' for x, y in ((front, 0.5), (front, -0.5), (0, -0.5), (0, 0.5))
        )
        return {
            'robot_base_frame': settings.base_frame,
            'base_frame_id': settings.base_frame,
            'obstacle_max_range': f'{marked:.1f}',
            'raytrace_max_range': f'{cleared:.1f}',
            'raytrace_min_range': f'{blind.clearing_from:.1f}',
            'points': f"'[{corners}]'",
        }
    if name == 'kiwicampus':
        # In space, from the camera.
        return {'max_obstacle_distance': f'{math.hypot(_SEMANTIC, placed.height):.1f}'}
    pixels = _PERSON * (placed.camera.fx / settings.max_range) ** 2
    return {'connected_mask_component_size_threshold': f'{max(10, 10 * int(pixels / 20))}'}


def _down(metres: float) -> float:
    return math.floor(10 * metres) / 10


def _heading(placed: PlacedCamera) -> str:
    """Two lines of comment that name the camera and the mount."""
    camera = placed.camera
    return (
        f'# Ranges are those of a camera of {camera.width}x{camera.height} px with a focal length '
        f'of {camera.fx:.0f} px,\n#   {placed.height:.2f} m above the ground. It sees the ground '
        f'from {placed.blind}.'
    )
