"""What is wrong in a parameter file of Nav2 for a camera and its mount."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from typing import Any

from linknet_ros.planner.placed_camera import PlacedCamera, parameters_in

#: Defaults of nav2_costmap_2d's obstacle and voxel layer, per observation source
#: (nav2_costmap_2d/plugins/obstacle_layer.cpp).
_SOURCE = {
    'data_type': 'LaserScan',
    'marking': True,
    'clearing': False,
    'inf_is_valid': False,
    'min_obstacle_height': 0.0,
    'obstacle_max_range': 2.5,
    'raytrace_max_range': 3.0,
    'raytrace_min_range': 0.0,
    'sensor_frame': '',
    'expected_update_rate': 0.0,
}

#: Topics of what stands on the ground. ~/labeled_cloud may have the ground as well.
_CONTACTS = ('/drivable_scan', '/drivable_cloud')


def faults(values: Mapping[str, Any], placed: PlacedCamera) -> list[str]:
    """Check all costmaps and collision monitors of a file that use topics of the node.

    :param values: contents of the file.
    :returns: a line for each fault; the last one if nothing in the file uses the node.
    """
    found: list[str] = []
    used = False
    for parameters in parameters_in(values):
        groups = {name: group for name, group in parameters.items() if isinstance(group, dict)}
        for name, group in groups.items():
            for source in str(group.get('observation_sources', '')).split():
                if _uses(group.get(source, {}).get('topic', ''), placed, *_CONTACTS):
                    used = True
                    found += _source_faults(f'{name}.{source}', group, group[source], placed)
            if _uses(group.get('map_topic', ''), placed, 'drivable_grid', 'class_cost_grid'):
                used = True
                found += _static_faults(name, group, parameters, placed)
        if 'polygons' in parameters:
            sources = [
                name
                for name in parameters.get('observation_sources', ())
                if _uses(groups.get(name, {}).get('topic', ''), placed, *_CONTACTS)
            ]
            used = used or bool(sources)
            if sources:
                found += _monitor_faults(parameters, groups, sources, placed)
    if not used:
        found.append(
            f'nothing in the file uses {placed.node}/drivable_scan, drivable_cloud or '
            'drivable_grid; see `planner_config`, and --node for another name of the node'
        )
    return found


def _uses(topic: str, placed: PlacedCamera, *endings: str) -> bool:
    full = topic if topic.startswith('/') else f'/{topic}'
    return full.startswith(f'{placed.node}/') and full.endswith(endings)


def _source_faults(
    name: str, layer: Mapping[str, Any], given: Mapping[str, Any], placed: PlacedCamera
) -> Iterator[str]:
    """Faults of an observation source of an obstacle or voxel layer."""
    source = {**_SOURCE, **given}
    blind, max_range = placed.blind, placed.settings.max_range
    scan = source['data_type'] == 'LaserScan'
    low = source['raytrace_min_range']
    if source['clearing'] and low < blind.farthest:
        yield (
            f'{name}.raytrace_min_range is {low:g}, and the camera sees the ground from {blind}: '
            'Nav2 would erase obstacles that have come too near to be seen, and take their place '
            f'as free; set it to {blind.clearing_from:.1f}'
        )
    if source['clearing'] and blind.slivers > 0 and not scan:
        yield (
            f'{name} clears with a cloud, whose bearings at the side of the image see the ground '
            'only far away; set clearing to false, or use drivable_scan'
        )
    if source['clearing'] and scan and not source['inf_is_valid']:
        yield f'{name}.inf_is_valid is not true: free ground, inf in the scan, clears nothing'
    if source['clearing'] and source['raytrace_max_range'] < source['obstacle_max_range']:
        yield (
            f'{name}.raytrace_max_range is less than obstacle_max_range: what is marked beyond it '
            'is never cleared'
        )
    if scan and source['obstacle_max_range'] >= max_range:
        yield (
            f'{name}.obstacle_max_range is {source["obstacle_max_range"]:g}, not less than '
            f'ground.max_range ({max_range:g}): free ground would be marked as an obstacle there'
        )
    if source['marking'] and source['obstacle_max_range'] <= blind.farthest:
        yield (
            f'{name}.obstacle_max_range is {source["obstacle_max_range"]:g}: nothing that near is '
            'seen'
        )
    heights = {name: source['min_obstacle_height']}
    heights[name.partition('.')[0]] = layer.get('min_obstacle_height', 0.0)
    for where, height in heights.items():
        if height > placed.settings.plane_z - 0.1:
            yield (
                f'{where}.min_obstacle_height is {height:g}: contacts on the ground are lost when '
                f'the robot nods; set it to {placed.settings.plane_z - 0.3:.1f}'
            )
    if source['sensor_frame'] not in ('', placed.settings.base_frame):
        yield (
            f"{name}.sensor_frame is '{source['sensor_frame']}': ranges are those from "
            f'{placed.settings.base_frame}; leave it out'
        )
    if not source['expected_update_rate']:
        yield f'{name}.expected_update_rate is not set: Nav2 drives on when the camera is silent'


def _static_faults(
    name: str, layer: Mapping[str, Any], costmap: Mapping[str, Any], placed: PlacedCamera
) -> Iterator[str]:
    """Faults of a static layer of a costmap."""
    if layer['map_topic'].endswith('class_cost_grid') and costmap.get('trinary_costmap', True):
        yield (
            f'trinary_costmap is not false, so {name} takes ground of every cost as free; set it '
            'to false for the costmap'
        )
    if layer.get('map_subscribe_transient_local', True) != placed.settings.latched:
        yield (
            f'{name}.map_subscribe_transient_local and ground.latched of the node differ; set '
            'both to true'
        )


def _monitor_faults(
    monitor: Mapping[str, Any],
    groups: Mapping[str, Any],
    sources: list[str],
    placed: PlacedCamera,
) -> Iterator[str]:
    """Faults of a collision monitor."""
    for name in sources:
        if groups[name].get('type') == 'pointcloud':
            low = groups[name].get('min_height', 0.05)
            if low > placed.settings.plane_z - 0.1:
                yield (
                    f'{name}.min_height is {low:g}: contacts on the ground are left out; set it '
                    f'to {placed.settings.plane_z - 0.3:.1f}'
                )
    for name in monitor['polygons']:
        points = groups.get(name, {}).get('points')
        if points is None:
            continue
        numbers = [float(number) for number in _numbers(points)]
        front = max(numbers[::2], default=0.0)
        if front <= placed.blind.farthest:
            yield (
                f'{name} ends {front:g} m ahead, and the camera sees the ground from '
                f'{placed.blind}: nothing is ever seen in it; let it reach further'
            )


def _numbers(points: Any) -> Iterator[float]:
    """Numbers of a polygon: a list (Humble), or a list of pairs as a string."""
    values = ast.literal_eval(points) if isinstance(points, str) else points
    for value in values:
        if isinstance(value, list | tuple):
            yield from value
        else:
            yield value
