"""Several cameras in one node: each for itself, one network, and one grid and scan of all."""

import math

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='needs ROS 2 (pip install .[ros])')

from diagnostic_msgs.msg import DiagnosticArray
from nav_msgs.msg import OccupancyGrid
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from rig import OK, plane, told_frame
from sensor_msgs.msg import CameraInfo, LaserScan
from std_msgs.msg import Header
from std_srvs.srv import SetBool, Trigger

from linknet_ros.classes import ClassTable
from linknet_ros.node.merged_ground import MergedGround
from linknet_ros.node.statistics import Drop

ROAD, CAR = 0, 1
#: A level camera 1 m above the ground: row v sees 60 / (v - 20) m ahead.
INFO = {'width': 81, 'height': 61, 'k': [60.0, 0, 40, 0, 60, 20, 0, 0, 1]}
GROUND = {'ground.height': 1.0, 'ground.max_range': 10.0, 'ground.resolution': 0.2}
GROUND |= {'ground.forward': 8.0, 'ground.backward': 8.0, 'ground.sideways': 4.0}


def header(second, nanosecond=0, frame='front'):
    message = Header(frame_id=frame)
    message.stamp.sec, message.stamp.nanosec = second, nanosecond
    return message


def view(row=None, size=(81, 61)):
    """A frame of road, with a car that stands 60 / (row + 0.5 - 20) m ahead."""
    labels = np.full(size[::-1], ROAD, np.uint8)
    if row is not None:
        labels[: row + 1] = CAR
    return told_frame(labels, np.full_like(labels, 200))


@pytest.fixture
def pair(open_robot, write_label_model, class_table):
    """A started robot with cameras front and rear: `pair(parameter=value)`."""

    def start(**parameters):
        model = str(write_label_model(class_table, (96, 64)))
        values = {'model': model, 'backend': 'onnxruntime', 'cameras': ['front', 'rear']}
        robot = open_robot(**(values | parameters)).start()
        for camera, name in enumerate(('front', 'rear')):
            robot.tell_camera_info(CameraInfo(**INFO), name, camera)
        return robot

    return start


def test_each_camera_has_topics_values_and_counts_of_its_own(pair):
    robot = pair(**{'rear.drivable_classes': ['car'], 'rear.rotate': 180, 'front.max_rate': 0.01})
    robot.subscribe('front/drivable', 'rear/drivable', 'rear/labels')
    robot.subscribe('/diagnostics', kind=DiagnosticArray)
    # Of another size, and each with its own stamp.
    for number in range(2):
        robot.send(view(30), header(10 + number), 0)
        robot.send(view(20, (64, 48)), header(20 + number, frame='rear'), 1)
    front, rear = robot.settle(2, 0), robot.settle(2, 1)
    assert (front.published, front.dropped) == (1, {Drop.BEYOND_RATE: 1})
    assert rear.received == 2
    robot.until(lambda: all(robot.received.values()))
    robot.until(lambda: len(robot.received['rear/drivable']) == rear.published)
    last = {topic: robot.received[topic][-1] for topic in ('front/drivable', 'rear/drivable')}
    assert last['front/drivable'].header == header(10)
    assert last['rear/drivable'].header == header(21, frame='rear')
    # What is drivable is the road for the one, and cars for the other.
    assert plane(last['front/drivable']).shape == (61, 81)
    assert (plane(last['front/drivable'])[[10, 50], 40] == [0, 255]).all()
    assert plane(last['rear/drivable']).shape == (48, 64)
    assert (plane(last['rear/drivable'])[[10, 40], 40] == [255, 0]).all()
    # There is nothing of all cameras but grid and scan.
    topics = {topic for topic, _ in robot.node.get_topic_names_and_types()}
    assert {'/linknet/drivable_grid', '/linknet/front/drivable_grid'} <= topics
    assert '/linknet/labels' not in topics
    statuses = {status.name: status for status in robot.new_diagnostics()}
    names = ('linknet', 'linknet/front', 'linknet/rear')
    assert list(statuses) == [f'{name}: segmentation' for name in names]
    node, front, rear = (
        {value.key: value.value for value in status.values} for status in statuses.values()
    )
    assert (node['model'], 'received' in node) == ('told.onnx', False)
    assert (front['received'], front['dropped, beyond max_rate']) == ('2', '1')
    assert (rear['received'], rear['dropped, beyond max_rate']) == ('2', '0')


def test_values_of_one_camera_change_alone_or_not_at_all(pair):
    robot = pair(**{'rear.overlay_opacity': 0.1})
    front, rear = (camera.topics for camera in robot.node.cameras.all)
    robot.set(rear__overlay_opacity=0.25)
    robot.set(overlay_opacity=0.75)
    values = [t.state.parameters.outputs.overlay_opacity for t in (front, rear)]
    assert values == [0.75, 0.25]
    # Unset, as `ros2 param delete` does, it is the common one again, and can be set again.
    gone = Parameter('rear.overlay_opacity', Parameter.Type.NOT_SET).to_parameter_msg()
    [result] = robot.call(SetParameters, '/linknet/set_parameters', parameters=[gone]).results
    assert result.successful
    assert rear.state.parameters.outputs.overlay_opacity == 0.75
    robot.until(lambda: robot.node.has_parameter('rear.overlay_opacity'), 'it to be declared')
    assert robot.node.get_parameter('rear.overlay_opacity').type_ == Parameter.Type.NOT_SET
    robot.set(rear__overlay_opacity=0.5)
    assert rear.state.parameters.outputs.overlay_opacity == 0.5
    before = front.state, rear.state
    with pytest.raises(AssertionError, match="camera rear: unknown class 'unicorn'"):
        robot.set(jpeg_quality=50, rear__drivable_classes=['unicorn'])
    assert (front.state, rear.state) == before


def test_a_second_camera_needs_no_second_network(pair):
    robot = pair()
    robot.subscribe('front/labels', 'rear/labels')
    for camera in (0, 1):
        robot.send(view(), camera=camera)
        assert robot.settle(1, camera).published == 1
    assert len(robot.node._engine.segmenter._backends) == 1


def cells_of(message):
    """Value of the cell at x, y [m]."""
    info = message.info
    cells = np.array(message.data, np.int8).reshape(info.height, info.width)
    origin = info.origin.position

    def at(x, y):
        row, column = (y - origin.y) / info.resolution, (x - origin.x) / info.resolution
        return cells[int(row), int(column)]

    return at


def range_at(scan, angle):
    steps = (angle - scan.angle_min) / scan.angle_increment
    return scan.ranges[round(steps) % len(scan.ranges)]


def test_one_grid_and_one_scan_of_all_cameras(pair, monkeypatch):
    """The front camera has a car 3 m ahead, the rear one looks back along a free road."""
    # However long a busy machine takes from one frame to the next.
    monkeypatch.setattr(MergedGround, '_now', lambda _: 1000.0)
    robot = pair(**GROUND, **{'rear.ground.yaw': math.pi, 'rear.ground.x': -0.4})
    robot.subscribe('drivable_grid', kind=OccupancyGrid)
    robot.subscribe('drivable_scan', kind=LaserScan)

    def sent(camera, row, stamp):
        count = len(robot.received['drivable_grid'])
        robot.send(view(row), stamp, camera)
        robot.until(lambda: all(len(m) > count for m in robot.received.values()))
        grid, scan = robot.received['drivable_grid'][-1], robot.received['drivable_scan'][-1]
        assert (grid.header.frame_id, grid.header.stamp) == ('base_link', stamp.stamp)
        assert scan.header == grid.header
        return cells_of(grid), scan

    # 60 / (39.5 - 20) m.
    at, scan = sent(0, 39, header(100))
    assert (at(2.5, 0), at(3.07, 0), at(-3, 0)) == (0, 100, -1)
    assert range_at(scan, 0.0) == pytest.approx(3.08, abs=0.02)
    assert math.isnan(range_at(scan, math.pi))
    at, scan = sent(1, None, header(100, 300_000_000, 'rear'))
    assert (at(2.5, 0), at(3.07, 0), at(-3, 0)) == (0, 100, 0)
    assert range_at(scan, 0.0) == pytest.approx(3.08, abs=0.02)
    assert range_at(scan, math.pi) == math.inf
    # Now both see the same place: the car that one of them has there stays.
    robot.set(rear__ground__yaw=0.0, rear__ground__x=0.0)
    at, scan = sent(1, None, header(100, 400_000_000, 'rear'))
    assert (at(3.07, 0), at(-3, 0)) == (100, -1)
    assert range_at(scan, 0.0) == pytest.approx(3.08, abs=0.02)
    # Nothing is kept of a camera whose frames have become too old, or of before a jump back.
    at, scan = sent(1, None, header(101, 0, 'rear'))
    assert at(3.07, 0) == 0
    assert range_at(scan, 0.0) == math.inf
    at, _ = sent(0, 39, header(50))
    assert (at(3.07, 0), at(5, 0)) == (100, -1)


def test_it_is_said_which_camera_is_not_in_the_grid_of_all(pair, monkeypatch):
    robot = pair(**GROUND, merge_timeout=0.4)
    robot.subscribe('drivable_grid', kind=OccupancyGrid)
    now = [1000.0]
    monkeypatch.setattr(MergedGround, '_now', lambda _: now[0])

    def said():
        reports = {report.camera: report.faults for report in robot.node.cameras.reports()}
        return [reports[name] for name in ('front', 'rear')]

    def sent(camera, stamp):
        count = len(robot.received['drivable_grid'])
        robot.send(view(39), stamp, camera)
        robot.until(lambda: len(robot.received['drivable_grid']) > count)

    sent(0, header(100))
    assert said()[0] == []
    assert 'of all cameras: no ground so far' in said()[1][0]
    now[0] += 0.3
    sent(1, header(100, 300_000_000, 'rear'))
    assert said() == [[], []]
    # One of them dies.
    now[0] += 0.3
    assert 'no ground in the last 0.6 s, and merge_timeout is 0.4 s' in said()[0][0]
    assert said()[1] == []
    # It comes back with the stamps of another clock.
    sent(0, header(102, 500_000_000))
    assert 'with rear: its stamps are 2.2 s after those of rear' in said()[0][0]
    assert 'with front: its stamps are 2.2 s before those of front' in said()[1][0]


def test_what_all_cameras_share_goes_on_when_one_is_disabled_and_with_another_model(
    pair, write_model, write_label_model
):
    robot = pair()
    robot.subscribe('front/labels', 'rear/labels')
    assert robot.call(SetBool, '/linknet/front/enable', data=False).success
    robot.until(lambda: not robot.node.count_subscribers('/front/image_raw'))
    assert robot.node.count_subscribers('/rear/image_raw') == 1
    five = ClassTable(tuple('abcde'), ((9, 9, 9),) * 5, (True, *(False,) * 4))
    robot.set(model=str(write_label_model(five)))
    assert robot.call(Trigger, '/linknet/load_model').success
    robot.send(told_frame(np.full((61, 81), 4, np.uint8)), camera=1)
    robot.until(lambda: robot.received['rear/labels'])
    assert np.unique(plane(robot.received['rear/labels'][0])).tolist() == [4]
    assert robot.call(SetBool, '/linknet/enable', data=True).success
    robot.matched('/front/image_raw')
    robot.send(told_frame(np.full((61, 81), 3, np.uint8)))
    robot.until(lambda: robot.received['front/labels'])
    assert np.unique(plane(robot.received['front/labels'][0])).tolist() == [3]
    for step in ('deactivate', 'cleanup', 'configure', 'activate'):
        assert getattr(robot.node, f'trigger_{step}')() == OK
    robot.matched('/rear/image_raw', '/linknet/rear/labels')
    robot.send(told_frame(np.full((61, 81), 2, np.uint8)), camera=1)
    robot.until(lambda: len(robot.received['rear/labels']) > 1)
