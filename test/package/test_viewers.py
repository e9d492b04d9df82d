"""What RViz and Foxglove are told to show exists, in the types and with the QoS they ask for.

Neither is run here: the names of displays and panels are those of their sources.
"""

import ast
import json
import re

import numpy as np
import pytest
import yaml
from checkout import ROOT
from launch_files import constants

pytest.importorskip('rclpy', reason='ROS 2 (ros-rclpy) not installed')

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy, qos_check_compatible
from rclpy.qos import QoSCompatibility as Compatibility

#: Displays that are off until somebody wants them.
OFF = ('Color', 'Drivable')
#: Displays by message type, of RViz's rviz_default_plugins/plugins_description.xml.
DISPLAYS = {
    'rviz_default_plugins/Image': 'sensor_msgs/msg/Image',
    'rviz_default_plugins/Map': 'nav_msgs/msg/OccupancyGrid',
    'rviz_default_plugins/LaserScan': 'sensor_msgs/msg/LaserScan',
    'rviz_default_plugins/PointCloud2': 'sensor_msgs/msg/PointCloud2',
}
#: Those that have no topic, or tf's.
WITHOUT_TOPIC = {'rviz_default_plugins/Grid', 'rviz_default_plugins/TF'}
OTHERS = {
    'rviz_common/Displays',
    'rviz_common/Views',
    'rviz_default_plugins/MoveCamera',
    'rviz_default_plugins/Measure',
    'rviz_default_plugins/Orbit',
    'rviz_default_plugins/TF',
}
#: Types of Foxglove's built-in panels that the layout may use.
PANELS = {'3D', 'Image', 'DiagnosticSummary', 'DiagnosticStatusPanel', 'Plot', 'Parameters'}

CAMERA = ('sensor_msgs/msg/Image', None)


@pytest.fixture(params=[False, True], ids=['', 'latched'])
def node(request, open_robot, model):
    """The node, configured."""
    values = {'model': str(model.path), 'backend': 'onnxruntime', 'ground.latched': request.param}
    robot = open_robot(**values)
    robot.node.trigger_configure()
    return robot.node


@pytest.fixture
def published(node):
    """Type and QoS of every topic of the node, and of the camera beside it."""
    topics = {p.topic_name: (type_name(p.msg_type), p.qos_profile) for p in node.publishers}
    return {**topics, '/camera/image_raw': CAMERA}


def type_name(kind):
    package, _, rest = kind.__module__.partition('.')
    return f'{package}/{rest.partition(".")[0]}/{kind.__name__}'


# RViz.


@pytest.fixture(scope='module')
def rviz():
    """config/segment.rviz."""
    return yaml.safe_load((ROOT / 'config' / 'segment.rviz').read_text('utf-8'))


@pytest.fixture(scope='module')
def displays(rviz):
    return rviz['Visualization Manager']['Displays']


def test_displays_show_topics_of_the_node_in_their_type(displays, published):
    shown = {}
    for display in displays:
        assert display['Enabled'] is (display['Name'] not in OFF)
        if display['Class'] in WITHOUT_TOPIC:
            assert 'Topic' not in display
            continue
        topic = display['Topic']['Value']
        kind, offered = published[topic]
        assert kind == DISPLAYS[display['Class']], topic
        shown[topic] = display['Class']
        # Camera drivers send best effort; who asks for reliable receives nothing.
        if kind == CAMERA[0]:
            assert display['Topic']['Reliability Policy'] == 'Best Effort'
        if offered is not None:
            compatibility, reason = qos_check_compatible(offered, asked_qos(display['Topic']))
            assert compatibility != Compatibility.ERROR, f'{topic}: {reason}'
    assert set(shown) == {
        '/camera/image_raw',
        '/linknet/overlay',
        '/linknet/color',
        '/linknet/drivable',
        '/linknet/drivable_grid',
        '/linknet/drivable_scan',
        '/linknet/drivable_cloud',
    }
    assert len({display['Name'] for display in displays}) == len(displays)


def asked_qos(topic):
    assert topic['History Policy'] == 'Keep Last'
    return QoSProfile(
        depth=topic['Depth'],
        reliability={
            'Reliable': ReliabilityPolicy.RELIABLE,
            'Best Effort': ReliabilityPolicy.BEST_EFFORT,
        }[topic['Reliability Policy']],
        durability={
            'Volatile': DurabilityPolicy.VOLATILE,
            'Transient Local': DurabilityPolicy.TRANSIENT_LOCAL,
        }[topic['Durability Policy']],
    )


def test_everything_else_is_of_rviz_itself(rviz):
    manager = rviz['Visualization Manager']
    classes = {panel['Class'] for panel in rviz['Panels']}
    classes |= {tool['Class'] for tool in manager['Tools']}
    classes |= {
        manager['Views']['Current']['Class'],
        manager['Transformation']['Current']['Class'],
    }
    assert classes == OTHERS
    images = {d['Name'] for d in manager['Displays'] if d['Class'].endswith('/Image')}
    assert manager['Global Options']['Fixed Frame'] == 'base_link'
    # Docks of the window are called as what they show.
    assert images | {'Displays', 'Views'} == {
        key for key, value in rviz['Window Geometry'].items() if isinstance(value, dict)
    }


def test_window_has_its_places(rviz):
    """Else Qt places the panels differently at every start, some as thumbnails."""
    state = bytes.fromhex(str(rviz['Window Geometry']['QMainWindow State']))
    for name in ('Displays', 'Views', 'Camera', 'Overlay'):
        assert name.encode('utf-16-be') in state


def test_cloud_is_larger_than_the_scan(displays):
    """Both lie on the same contacts: the scan is drawn over it, in pixels."""
    shown = {display['Name']: display for display in displays}
    assert shown['Drivable scan']['Style'] == 'Points'
    assert shown['Drivable cloud']['Style'] == 'Flat Squares'
    assert shown['Drivable cloud']['Size (m)'] > 0.1


def test_launch_file_remaps_every_topic_of_the_node(displays):
    remapped = ast.literal_eval(constants('segment.launch.py')['RVIZ_TOPICS'])
    topics = {display['Topic']['Value'] for display in displays if 'Topic' in display}
    assert {f'/linknet/{name}' for name in remapped} | {'/camera/image_raw'} == topics


# Foxglove.


@pytest.fixture(scope='module')
def layout():
    """config/foxglove_layout.json."""
    return json.loads((ROOT / 'config' / 'foxglove_layout.json').read_text('utf-8'))


def panels(layout, kind):
    return [c for name, c in layout['configById'].items() if name.partition('!')[0] == kind]


def test_image_panels(layout, published):
    assert {name.partition('!')[0] for name in layout['configById']} == PANELS
    # Each has one place in the tree.
    placed = re.findall(r'"([\w]+![\w]+)"', json.dumps(layout['layout']))
    assert sorted(placed) == sorted(layout['configById'])
    topics = {panel['imageMode']['imageTopic'] for panel in panels(layout, 'Image')}
    assert topics == {'/camera/image_raw', '/linknet/overlay/compressed'}
    assert topics <= set(published)


def test_ground_panel(layout, published, node):
    (panel,) = panels(layout, '3D')
    frame = node.get_parameter('ground.base_frame').value
    assert panel['followTf'] == frame
    assert [layer['frameId'] for layer in panel['layers'].values()] == [frame]
    assert {topic: published[topic][0] for topic in panel['topics']} == {
        '/linknet/drivable_grid': 'nav_msgs/msg/OccupancyGrid',
        '/linknet/drivable_scan': 'sensor_msgs/msg/LaserScan',
        '/linknet/drivable_cloud': 'sensor_msgs/msg/PointCloud2',
    }
    # A topic is not subscribed to before it is visible.
    assert all(settings['visible'] for settings in panel['topics'].values())
    # Without a field the viewer replaces a flat colour by a colour map.
    flat = [s for s in panel['topics'].values() if s.get('colorMode') == 'flat']
    assert len(flat) == 2
    assert all(settings.get('colorField') for settings in flat)


def test_diagnostics_panels_and_plots(layout, open_robot, model):
    """Against what the node really says after a frame."""
    robot = open_robot(model=str(model.path), backend='openvino').start()
    robot.subscribe('labels')
    robot.send(np.zeros((64, 96, 3), np.uint8))
    robot.until(lambda: robot.received['labels'])
    robot.subscribe('/diagnostics', kind=DiagnosticArray)
    robot.until(lambda: robot.received['/diagnostics'])
    (status,) = robot.received['/diagnostics'][-1].status
    values = {value.key: value.value for value in status.values}
    for kind in ('DiagnosticSummary', 'DiagnosticStatusPanel'):
        (panel,) = panels(layout, kind)
        assert panel['topicToRender'] == '/diagnostics'
    assert panel['selectedName'] == status.name
    assert panel['selectedHardwareId'] == status.hardware_id
    paths = [path['value'] for panel in panels(layout, 'Plot') for path in panel['paths']]
    assert len(paths) == 5
    for path in paths:
        before, _, rest = path.partition('.values[:]{key=="')
        assert before == f'/diagnostics.status[:]{{name=="{status.name}"}}'
        key, _, after = rest.partition('"}')
        assert after == '.value'
        # Foxglove draws text that is a number.
        float(values[key])
