"""Parameter files of planners for a camera and mount, and what is wrong in a given one."""

import math

import pytest
import yaml
from checkout import CONFIG

from linknet_ros.ground.mount import Mount
from linknet_ros.ground.settings import GroundSettings
from linknet_ros.planner.check import faults
from linknet_ros.planner.files import FILES, filled
from linknet_ros.planner.placed_camera import PlacedCamera
from linknet_ros.planner.planner_config import main
from linknet_ros.simulation.ground_accuracy import camera_model, camera_mount
from linknet_ros.simulation.street import StreetDrive


@pytest.fixture(scope='module')
def street():
    """The camera that the files in config/ are for."""
    camera = StreetDrive().camera
    settings = GroundSettings(latched=True)
    return PlacedCamera.of('/linknet', settings, camera_model(camera), camera_mount(camera))


def placed(node='/linknet', mount=None, **settings):
    """The street's camera at another mount: 0.6 m high, looking 0.4 rad down."""
    mount = mount or Mount.from_angles(0.3, 0.0, 0.6, pitch=0.4)
    camera = camera_model(StreetDrive().camera)
    return PlacedCamera.of(node, GroundSettings(**settings), camera, mount)


def without_heading(text):
    return [line for line in text.splitlines() if not line.startswith('#')]


@pytest.mark.parametrize('name', FILES)
def test_files_of_the_package_are_those_of_the_street(street, name):
    text = (CONFIG / FILES[name]).read_text('utf-8')
    assert without_heading(filled(name, street)) == without_heading(text)
    assert 'It sees the ground\n' in filled(name, street).replace('ground from', 'ground\nfrom')


def test_ranges_follow_the_mount():
    camera = placed('/front/linknet', base_frame='base_footprint', max_range=8.0)
    # The image begins 0.6 / tan(0.4 + atan(180 / 456)) m ahead of the camera.
    ahead = 0.3 + 0.6 / math.tan(0.4 + math.atan(180 / 456))
    assert camera.blind.ahead == pytest.approx(ahead, rel=0.01)
    values = yaml.safe_load(filled('nav2', camera))
    costmap = values['local_costmap']['local_costmap']['ros__parameters']
    assert costmap['robot_base_frame'] == 'base_footprint'
    for layer in ('camera_layer', 'voxel_layer'):
        source = costmap[layer]['drivable_scan']
        assert source['topic'] == '/front/linknet/drivable_scan'
        low, marked, cleared = (
            source[f'{name}_range'] for name in ('raytrace_min', 'obstacle_max', 'raytrace_max')
        )
        assert camera.blind.farthest < low < camera.blind.farthest + 0.4
        assert low < marked < cleared < 8
    assert costmap['drivable_layer']['map_topic'] == '/front/linknet/drivable_grid'
    assert costmap['class_cost_layer']['map_topic'] == '/front/linknet/class_cost_grid'
    monitor = values['collision_monitor']['ros__parameters']
    front = max(x for x, _ in yaml.safe_load(monitor['PolygonStop']['points']))
    assert camera.blind.farthest + 1 < front < camera.blind.farthest + 2
    semantic = yaml.safe_load(filled('kiwicampus', camera))['local_costmap']['local_costmap']
    source = semantic['ros__parameters']['semantic_layer']['camera']
    # In space: 5 m on the ground.
    assert source['max_obstacle_distance'] == round(math.hypot(5, 0.6), 1)
    assert source['segmentation_topic'] == '/front/linknet/labels'


def change(text, *pairs):
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    return yaml.safe_load(text)


def test_files_that_are_printed_pass_the_check(street):
    for camera in (street, placed('/front/linknet', latched=True)):
        assert faults(yaml.safe_load(filled('nav2', camera)), camera) == []


@pytest.mark.parametrize(
    ('pairs', 'fault'),
    [
        # The file as it was before, and Nav2's own default.
        ([('raytrace_min_range: 4.0', 'raytrace_min_range: 3.3')], 'raytrace_min_range is 3.3'),
        (
            [('          raytrace_min_range: 4.0\n', '')],
            'raytrace_min_range is 0, and',
        ),
        ([('inf_is_valid: true', 'inf_is_valid: false')], 'inf_is_valid is not true'),
        ([('obstacle_max_range: 10.0', 'obstacle_max_range: 30.0')], 'not less than ground.max_r'),
        ([('obstacle_max_range: 10.0', 'obstacle_max_range: 3.0')], 'nothing that near is seen'),
        ([('raytrace_max_range: 12.0', 'raytrace_max_range: 9.0')], 'is never cleared'),
        ([('min_obstacle_height: -0.3', 'min_obstacle_height: 0.0')], 'the robot nods; set it to'),
        (
            [('expected_update_rate: 1.0', 'expected_update_rate: 0.0')],
            'drives on when',
        ),
        (
            [('data_type:', 'sensor_frame: camera\n          data_type:')],
            "frame is 'camera'",
        ),
        ([('trinary_costmap: false', 'trinary_costmap: true')], 'class_cost_layer takes ground'),
        ([('transient_local: true', 'transient_local: false')], 'ground.latched of the node diff'),
        ([('[[5.0, 0.5], [5.0, -0.5]', '[[3.5, 0.5], [3.5, -0.5]')], 'PolygonStop ends 3.5 m ahe'),
        (
            [('min_height: -0.3', 'min_height: 0.05'), ('[drivable_scan]', '[drivable_cloud]')],
            'drivable_cloud.min_height is 0.05',
        ),
        ([('/linknet/', '/other/')], 'nothing in the file uses /linknet/drivable_scan'),
    ],
)
def test_check_finds_faults(street, pairs, fault):
    found = faults(change(filled('nav2', street), *pairs), street)
    assert found
    assert any(fault in line for line in found)


def test_labeled_cloud_is_none_of_obstacles_only(street):
    """With depth it has the ground as well."""
    source = {'topic': '/linknet/labeled_cloud', 'data_type': 'PointCloud2', 'clearing': True}
    layer = {'obstacle_layer': {'observation_sources': 'a', 'a': source}}
    (fault,) = faults({'local_costmap': {'local_costmap': {'ros__parameters': layer}}}, street)
    assert fault.startswith('nothing in the file uses /linknet/drivable_scan')


def test_check_of_a_cloud_with_slivers(street):
    values = change(filled('nav2', street), ('LaserScan', 'PointCloud2'))
    assert faults(values, street) == []
    rolled = placed(mount=Mount.from_angles(z=1.5, pitch=0.055, roll=0.2), latched=True)
    values = change(filled('nav2', rolled), ('LaserScan', 'PointCloud2'))
    assert any('clears with a cloud' in line for line in faults(values, rolled))


OST = """\
image_width: 480
image_height: 360
camera_name: street
camera_matrix: {rows: 3, cols: 3, data: [456.0, 0.0, 239.5, 0.0, 456.0, 179.5, 0.0, 0.0, 1.0]}
distortion_model: plumb_bob
distortion_coefficients: {rows: 1, cols: 5, data: [0.0, 0.0, 0.0, 0.0, 0.0]}
projection_matrix: {rows: 3, cols: 4, data: [456.0, 0, 239.5, 0, 0, 456.0, 179.5, 0, 0, 0, 1, 0]}
"""
ECHO = """\
header: {stamp: {sec: 1, nanosec: 2}, frame_id: camera}
height: 360
width: 480
distortion_model: plumb_bob
d: [0.0, 0.0, 0.0, 0.0, 0.0]
k: [456.0, 0.0, 239.5, 0.0, 456.0, 179.5, 0.0, 0.0, 1.0]
---
"""


@pytest.fixture
def files(tmp_path):
    """Options that name the street's files."""
    (tmp_path / 'ost.yaml').write_text(OST)
    return ['--params', str(CONFIG / 'street.yaml'), '--camera', str(tmp_path / 'ost.yaml')]


@pytest.mark.parametrize('camera', [OST, ECHO])
def test_command_line(files, tmp_path, capsys, camera):
    (tmp_path / 'ost.yaml').write_text(camera)
    main([*files, 'nav2'])
    printed = capsys.readouterr()
    assert without_heading(printed.out) == without_heading(
        (CONFIG / FILES['nav2']).read_text('utf-8')
    )
    assert 'sees the ground from 3.3 m ahead, 3.3 to 3.7 m by bearing' in printed.err
    main([*files, '--out', str(tmp_path / 'out')])
    assert {path.name for path in (tmp_path / 'out').iterdir()} == set(FILES.values())
    capsys.readouterr()
    nav2 = tmp_path / 'out' / FILES['nav2']
    nav2.write_text(nav2.read_text().replace('transient_local: true', 'transient_local: false'))
    main([*files, '--check', str(nav2)])
    assert capsys.readouterr().out == f'{nav2}: OK\n'
    nav2.write_text(nav2.read_text().replace('raytrace_min_range: 4.0', 'raytrace_min_range: 0.5'))
    with pytest.raises(SystemExit) as caught:
        main([*files, '--check', str(nav2)])
    assert caught.value.code == 1
    assert 'camera_layer.drivable_scan.raytrace_min_range is 0.5' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('params', 'camera', 'message'),
    [
        (None, OST, 'cannot read .*params.yaml'),
        ('ground: [', OST, 'cannot read .*params.yaml'),
        ('a', OST, 'is not a YAML file with parameters'),
        ('/**: {ros__parameters: {ground: {hight: 1.0}}}', OST, 'unknown parameter ground.hight'),
        ('/**: {ros__parameters: {ground.height: high}}', OST, "ground.height: 'high' .expected"),
        ('/**: {ros__parameters: {ground: {use_tf: true}}}', OST, 'mount is known to tf only'),
        ('/**: {ros__parameters: {}}', OST, "camera's place is not known; set ground.height"),
        ('/**: {ros__parameters: {ground: {height: 1}}}', 'width: 3', 'has no camera_info'),
        ('/**: {ros__parameters: {ground: {height: 1}}}', 'a: 3', 'has no camera_info'),
        ('/**: {ros__parameters: {ground: {height: 7.5}}}', OST, 'max_range is 20 m; raise'),
        ('/**: {ros__parameters: {ground: {height: 1, pitch: -1}}}', OST, 'sees no ground within'),
    ],
)
def test_mistakes_are_one_line(tmp_path, params, camera, message):
    if params is not None:
        (tmp_path / 'params.yaml').write_text(params)
    (tmp_path / 'camera.yaml').write_text(camera)
    names = ('--params', str(tmp_path / 'params.yaml'), '--camera', str(tmp_path / 'camera.yaml'))
    with pytest.raises(SystemExit, match=message) as caught:
        main(list(names))
    assert '\n' not in caught.value.code
