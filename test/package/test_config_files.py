"""Parameter files for the node and for planners: their keys exist, and so do topics and classes.

Keys of planners are those that their sources declare, written out here; no planner is installed.
"""

import numpy as np
import pytest
import yaml
from checkout import CONFIG, ROOT

pytest.importorskip('rclpy', reason='needs ROS 2 (pip install .[ros])')
pytest.importorskip('onnxruntime', reason='ONNX Runtime (extra "cpu") not installed')


from rclpy.lifecycle import TransitionCallbackReturn
from rig import OK, plane, random_labels, told_frame

from linknet_ros.classes import CAMVID, CITYSCAPES
from linknet_ros.inference.model_file import load_model
from linknet_ros.system.package_files import SHIPPED_MODEL, package_file

#: Topics of docs/node.md, by name, type and encoding.
TOPICS = {
    cells[1].strip(' `').removeprefix('~/'): cells[2] + cells[3].partition(':')[0]
    for cells in (
        line.split('|')
        for line in (ROOT / 'docs/node.md').read_text().splitlines()
        if '| `~/' in line
    )
}

#: nav2_costmap_2d: obstacle_layer.cpp, static_layer.cpp, inflation_layer.cpp, costmap_2d_ros.cpp.
COSTMAP = {
    *('global_frame', 'robot_base_frame', 'rolling_window', 'width', 'height', 'resolution'),
    *('track_unknown_space', 'trinary_costmap', 'plugins'),
}
OBSTACLE_LAYER = {
    *('plugin', 'enabled', 'footprint_clearing_enabled', 'min_obstacle_height'),
    *('max_obstacle_height', 'combination_method', 'observation_sources'),
}
OBSERVATION_SOURCE = {
    *('topic', 'sensor_frame', 'observation_persistence', 'expected_update_rate', 'data_type'),
    *('min_obstacle_height', 'max_obstacle_height', 'inf_is_valid', 'marking', 'clearing'),
    *('obstacle_max_range', 'obstacle_min_range', 'raytrace_max_range', 'raytrace_min_range'),
}
VOXEL_LAYER = {
    *(*OBSTACLE_LAYER, 'origin_z', 'z_resolution', 'z_voxels', 'unknown_threshold'),
    *('mark_threshold', 'publish_voxel_map'),
}
STATIC_LAYER = {
    *('plugin', 'enabled', 'subscribe_to_updates', 'map_topic', 'map_subscribe_transient_local'),
    'footprint_clearing_enabled',
}
INFLATION_LAYER = {'plugin', 'enabled', 'cost_scaling_factor', 'inflation_radius'}
#: nav2_collision_monitor: collision_monitor_node.cpp, polygon.cpp, source.cpp, pointcloud.cpp.
COLLISION_MONITOR = {
    *('base_frame_id', 'odom_frame_id', 'cmd_vel_in_topic', 'cmd_vel_out_topic', 'state_topic'),
    *('transform_tolerance', 'source_timeout', 'base_shift_correction', 'stop_pub_timeout'),
    *('polygons', 'observation_sources'),
}
POLYGON = {
    *('type', 'points', 'action_type', 'min_points', 'visualize', 'polygon_pub_topic', 'enabled'),
}
SOURCE = {'type', 'topic', 'enabled', 'source_timeout'}
POINTCLOUD_SOURCE = {*SOURCE, 'min_height', 'max_height', 'use_global_height'}
#: kiwicampus: semantic_segmentation_layer.cpp.
SEMANTIC_LAYER = {
    *('plugin', 'enabled', 'combination_method', 'observation_sources', 'publish_debug_topics'),
    'use_approximate_time_sync',
}
SEMANTIC_SOURCE = {
    *('segmentation_topic', 'confidence_topic', 'labels_topic', 'pointcloud_topic', 'class_types'),
    *('observation_persistence', 'expected_update_rate', 'max_obstacle_distance'),
    *('min_obstacle_distance', 'tile_map_decay_time', 'visualize_tile_map', 'use_cost_selection'),
}
CLASS_TYPE = {
    *('classes', 'base_cost', 'max_cost', 'mark_confidence', 'samples_to_max_cost'),
    'dominant_priority',
}
#: nvblox: node_params.hpp, mapper_initialization.cpp and qos.cpp of isaac_ros_common.
NVBLOX = {'use_segmentation', 'mapping_type', 'use_lidar', 'num_cameras', 'input_qos'}
NVBLOX_MULTI_MAPPER = {
    *('connected_mask_component_size_threshold', 'remove_small_connected_components'),
}


def load(name):
    return yaml.safe_load((CONFIG / name).read_text('utf-8'))


def costmap_of(name):
    return load(name)['local_costmap']['local_costmap']['ros__parameters']


def plain(values):
    """Values that are no group of others."""
    return {key: value for key, value in values.items() if not isinstance(value, dict)}


def published(topic, kind):
    """Whether a topic is one of node /linknet, by the table of docs/node.md."""
    name = topic.removeprefix('/linknet/')
    name = 'masks/<class>' if name.startswith('masks/') else name
    return topic.startswith('/linknet/') and kind in TOPICS[name]


@pytest.mark.parametrize(
    ('name', 'node'),
    [
        ('nav2_obstacle_layer.yaml', 'collision_monitor'),
        ('kiwicampus_layer.yaml', 'local_costmap'),
        ('nvblox.yaml', 'nvblox_node'),
    ],
)
def test_files_for_planners_are_parameter_files(open_node, name, node):
    # rcl reads them, all nodes' at once; a file that it cannot read ends the process.
    namespace = '/local_costmap' if node == 'local_costmap' else '/'
    arguments = ('--params-file', CONFIG / name, '-r', f'__ns:={namespace}')
    opened = open_node(*arguments, node_name=node)
    assert opened.get_name() == node


# Nav2.


def test_nav2_costmap():
    costmap = costmap_of('nav2_obstacle_layer.yaml')
    assert set(plain(costmap)) <= COSTMAP
    layers = {key: value for key, value in costmap.items() if isinstance(value, dict)}
    assert set(costmap['plugins']) <= set(layers)
    # Inflation works on what the layers before it marked.
    assert costmap['plugins'][-1] == 'inflation_layer'
    assert costmap['rolling_window']
    plugins = {name: layer['plugin'] for name, layer in layers.items()}
    assert plugins == {
        'camera_layer': 'nav2_costmap_2d::ObstacleLayer',
        'voxel_layer': 'nav2_costmap_2d::VoxelLayer',
        'drivable_layer': 'nav2_costmap_2d::StaticLayer',
        'class_cost_layer': 'nav2_costmap_2d::StaticLayer',
        'inflation_layer': 'nav2_costmap_2d::InflationLayer',
    }
    for name in ('drivable_layer', 'class_cost_layer'):
        assert set(layers[name]) <= STATIC_LAYER
        assert published(layers[name]['map_topic'], 'OccupancyGrid')
    assert set(layers['inflation_layer']) <= INFLATION_LAYER


@pytest.mark.parametrize(
    ('name', 'keys'), [('camera_layer', OBSTACLE_LAYER), ('voxel_layer', VOXEL_LAYER)]
)
def test_nav2_obstacle_and_voxel_layer(name, keys):
    """Ranges and heights: test/planner."""
    layer = costmap_of('nav2_obstacle_layer.yaml')[name]
    assert set(plain(layer)) <= keys
    for source in map(layer.get, layer['observation_sources'].split()):
        assert set(source) <= OBSERVATION_SOURCE
        assert published(source['topic'], source['data_type'])


def test_nav2_collision_monitor():
    monitor = load('nav2_obstacle_layer.yaml')['collision_monitor']['ros__parameters']
    assert set(plain(monitor)) <= COLLISION_MONITOR
    for name in monitor['polygons']:
        assert set(monitor[name]) <= POLYGON
        corners = np.array(yaml.safe_load(monitor[name]['points']))
        assert corners.shape == (4, 2)
    kinds = {'scan': ('LaserScan', SOURCE), 'pointcloud': ('PointCloud2', POINTCLOUD_SOURCE)}
    sources = [v for v in monitor.values() if isinstance(v, dict) and v['type'] in kinds]
    assert len(sources) == 2
    assert set(monitor['observation_sources']) <= set(monitor)
    for source in sources:
        kind, keys = kinds[source['type']]
        assert set(source) <= keys
        assert published(source['topic'], kind)
        assert source.get('min_height', -1) < 0


# kiwicampus.


def test_kiwicampus_keys_and_topics():
    costmap = costmap_of('kiwicampus_layer.yaml')
    assert set(plain(costmap)) <= COSTMAP
    assert costmap['plugins'][-1] == 'inflation_layer'
    layer = costmap['semantic_layer']
    assert layer['plugin'] == 'semantic_segmentation_layer::SemanticSegmentationLayer'
    assert set(plain(layer)) <= SEMANTIC_LAYER
    source = layer[layer['observation_sources']]
    assert set(plain(source)) <= SEMANTIC_SOURCE
    assert published(source['segmentation_topic'], 'mono8')
    assert published(source['confidence_topic'], 'mono8')
    assert published(source['labels_topic'], 'vision_msgs/LabelInfo')
    for kind in source['class_types']:
        assert set(source[kind]) == CLASS_TYPE
        costs = (source[kind]['base_cost'], source[kind]['max_cost'])
        assert all(type(cost) is int and 0 <= cost <= 254 for cost in costs)


def test_kiwicampus_has_every_class_of_the_model_once():
    source = costmap_of('kiwicampus_layer.yaml')['semantic_layer']['camera']
    names = [name for kind in source['class_types'] for name in source[kind]['classes']]
    classes = load_model(package_file(SHIPPED_MODEL)).classes
    assert sorted(names) == sorted(classes.names)
    free = {
        n
        for k in source['class_types']
        if source[k]['max_cost'] == 0
        for n in source[k]['classes']
    }
    assert free == set(classes.drivable_names)


# nvblox.


def test_nvblox():
    values = load('nvblox.yaml')['/**']['ros__parameters']
    assert set(plain(values)) <= NVBLOX
    assert set(values['multi_mapper']) <= NVBLOX_MULTI_MAPPER
    assert set(values) - set(plain(values)) == {'multi_mapper'}


def test_nvblox_remappings_are_topics_of_the_node(open_robot):
    text = (CONFIG / 'nvblox.yaml').read_text('utf-8')
    comments = [line.strip('# ') for line in text.splitlines() if line.startswith('#')]
    remapped = dict(line.split(':=') for line in comments if ':=' in line)
    assert set(remapped) == {'camera_0/mask/image', 'camera_0/mask/camera_info'}
    [masks] = [yaml.safe_load(c)['mask_classes'] for c in comments if c.startswith('mask_classes')]
    robot = open_robot(backend='onnxruntime', mask_classes=masks)
    assert robot.node.trigger_configure() == OK
    assert set(remapped.values()) <= {p.topic_name for p in robot.node.publishers}


# The node's own.


@pytest.mark.parametrize(
    'name', ['camvid.yaml', 'cityscapes.yaml', 'street.yaml', 'three_cameras.yaml']
)
def test_node_files_have_only_parameters_of_the_node(open_robot, name, capfd):
    node = open_robot('--params-file', CONFIG / name).node
    assert 'unknown parameter' not in capfd.readouterr().err
    values = load(name)['/**']['ros__parameters']
    while groups := [key for key, value in values.items() if isinstance(value, dict)]:
        for group in groups:
            values |= {f'{group}.{key}': value for key, value in values.pop(group).items()}
    assert {key: node.get_parameter(key).value for key in values} == values


def test_cityscapes_file_names_its_classes():
    text = (CONFIG / 'cityscapes.yaml').read_text('utf-8').replace('\n# ', ' ')
    listed = text.partition('Class ids: ')[2].partition('. Names')[0].split(', ')
    assert listed == [f'{number} {name}' for number, name in enumerate(CITYSCAPES.names)]


def test_cityscapes_in_the_node(open_robot, write_label_model, label_infos):
    arguments = ('--params-file', CONFIG / 'cityscapes.yaml')
    robot = open_robot(*arguments, model=str(write_label_model(CITYSCAPES)), backend='onnxruntime')
    robot.start()
    [message] = label_infos[0].sent
    named = [(entry.class_id, entry.class_name) for entry in message.class_map]
    assert named == list(enumerate(CITYSCAPES.names))
    masks = {'person_rider': [11, 12], 'car': [13], 'traffic_light': [6]}
    robot.subscribe('labels', 'color', 'drivable', *(f'masks/{name}' for name in masks))
    labels = random_labels(19)
    assert set(np.unique(labels)) == set(range(19))
    robot.send(told_frame(labels))
    robot.until(lambda: all(robot.received.values()))
    color = robot.received.pop('color')[0]
    pixels = {topic: plane(messages[0]) for topic, messages in robot.received.items()}
    np.testing.assert_array_equal(pixels['labels'], labels)
    colors = np.array(CITYSCAPES.colors, np.uint8)[labels]
    assert color.encoding == 'bgr8'
    shown = np.frombuffer(color.data, np.uint8).reshape(64, 96, 3)
    np.testing.assert_array_equal(shown[..., ::-1], colors)
    np.testing.assert_array_equal(pixels['drivable'], (labels == 0) * 255)
    for name, ids in masks.items():
        np.testing.assert_array_equal(pixels[f'masks/{name}'], np.isin(labels, ids) * 255)


def test_cityscapes_file_without_its_model_is_refused(open_robot, write_label_model, capfd):
    arguments = ('--params-file', CONFIG / 'cityscapes.yaml')
    robot = open_robot(*arguments, model=str(write_label_model(CAMVID)), backend='onnxruntime')
    assert robot.node.trigger_configure() == TransitionCallbackReturn.FAILURE
    assert "unknown class 'person', 'rider', 'traffic light'; the model knows: sky" in (
        capfd.readouterr().err
    )
