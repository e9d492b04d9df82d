"""The node's topics as stock Nav2 takes them in, on the procedural street.

Frames are labels themselves (see write_label_model), so what must come out is known. The last
tests break something on purpose: a consumer that takes anything would prove nothing.
"""

import json
import math
from functools import cache

import numpy as np
import pytest
import yaml

pytest.importorskip('rclpy', reason='needs ROS 2 (pip install .[ros])')
pytest.importorskip('onnxruntime', reason='ONNX Runtime (extra "cpu") not installed')

from checkout import CONFIG
from nav_msgs.msg import OccupancyGrid
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rig import BEST_EFFORT, latched, nanoseconds
from sensor_msgs.msg import CameraInfo, LaserScan, PointCloud2
from spoiled import late
from std_msgs.msg import Header

from linknet_ros.classes import CAMVID
from linknet_ros.ros.qos import qos_faults
from linknet_ros.simulation.street import StreetDrive
from linknet_ros.simulation.truth import StreetTruth, open_finer

ROAD, PEDESTRIAN = CAMVID.ids(['road', 'pedestrian'])


class Tf:
    """Where a robot is in odom at one moment; at first at (12, -7), turned by 0.6 rad."""

    def __init__(self, stamp, frame='base_link', x=12.0, y=-7.0, yaw=0.6):
        self.stamp, self.frame = nanoseconds(stamp), frame
        self.x, self.y, self.yaw = x, y, yaw

    def knows(self, header):
        """What a tf2_ros::MessageFilter waits for."""
        return header.frame_id == self.frame and nanoseconds(header.stamp) == self.stamp

    def to_odom(self, points):
        sin, cos = math.sin(self.yaw), math.cos(self.yaw)
        x, y = points[:, 0], points[:, 1]
        turned = np.stack([cos * x - sin * y + self.x, sin * x + cos * y + self.y], 1)
        return np.hstack([turned, points[:, 2:]])

    def from_odom(self, points):
        sin, cos = math.sin(self.yaw), math.cos(self.yaw)
        x, y = points[:, 0] - self.x, points[:, 1] - self.y
        turned = np.stack([cos * x + sin * y, cos * y - sin * x], 1)
        return np.hstack([turned, points[:, 2:]])


def projected(scan):
    """laser_geometry's LaserProjection::projectLaser, without a cutoff."""
    ranges = np.array(scan.ranges, np.float32)
    angles = scan.angle_min + np.arange(len(ranges)) * scan.angle_increment
    kept = (ranges < scan.range_max) & (ranges >= scan.range_min)
    ranges, angles = ranges[kept], angles[kept]
    return np.stack([np.cos(angles) * ranges, np.sin(angles) * ranges, 0 * ranges], 1)


class ObstacleLayer:
    """nav2_costmap_2d/plugins/obstacle_layer.cpp and observation_buffer.cpp at a3a9704.

    The costmap is 40 m wide, around where the robot is first, and does not roll.

    :param values: parameters of one of its observation_sources.
    """

    FREE, LETHAL, NO_INFORMATION = 0, 254, 255
    STEP, SIZE = 0.1, 400

    def __init__(self, peer, values, tf):
        self.values = {'raytrace_min_range': 0.0, 'obstacle_min_range': 0.0, **values}
        self.tf, self.marks, self.heard = tf, None, 0
        self.corner = np.array([tf.x, tf.y]) - self.STEP * self.SIZE / 2
        self.costs = np.full((self.SIZE, self.SIZE), self.NO_INFORMATION, np.uint8)
        scan = values['data_type'] == 'LaserScan'
        kind, take = (LaserScan, self.take_scan) if scan else (PointCloud2, self.take_cloud)
        peer.create_subscription(kind, values['topic'], take, BEST_EFFORT)

    def take_scan(self, scan):
        """laserScanValidInfCallback, or laserScanCallback."""
        if self.tf.knows(scan.header):
            ranges = np.array(scan.ranges, np.float32)
            if self.values['inf_is_valid']:
                ranges[np.isposinf(ranges)] = scan.range_max - 0.0001
            scan.ranges = ranges.tolist()
            self.buffer(projected(scan))
        self.heard += 1

    def take_cloud(self, cloud):
        if self.tf.knows(cloud.header):
            self.buffer(np.frombuffer(cloud.data, np.float32).reshape(-1, 3).astype(float))
        self.heard += 1

    def buffer(self, points):
        """bufferCloud, then updateBounds: first raytraceFreespace, then the marks."""
        there = self.tf.to_odom(points)
        height = there[:, 2]
        low, high = (self.values[f'{end}_obstacle_height'] for end in ('min', 'max'))
        there = there[(height >= low) & (height <= high)]
        away = np.hypot(there[:, 0] - self.tf.x, there[:, 1] - self.tf.y)
        if self.values['clearing']:
            for point in there[:, :2]:
                self.clear_to(point)
        if self.values['marking']:
            near, far = (self.values[f'obstacle_{end}_range'] for end in ('min', 'max'))
            self.marks = there[(away >= near) & (away < far)]
            column, row = self.cell(self.marks[:, :2].T)
            self.costs[row, column] = self.LETHAL

    def cell(self, point):
        x, y = point
        return (
            np.floor((x - self.corner[0]) / self.STEP).astype(int),
            np.floor((y - self.corner[1]) / self.STEP).astype(int),
        )

    def clear_to(self, point):
        """nav2_util::raytraceLine: the whole line, from raytrace_min_range to its end."""
        (x0, y0), (x1, y1) = self.cell((self.tf.x, self.tf.y)), self.cell(point)
        distance = math.hypot(x1 - x0, y1 - y0)
        least, most = (
            math.ceil(self.values[f'raytrace_{end}_range'] / self.STEP) for end in ('min', 'max')
        )
        if distance < least or not distance:
            return
        x, y = int(x0 + (x1 - x0) / distance * least), int(y0 + (y1 - y0) / distance * least)
        steps, other = abs(x1 - x), abs(y1 - y)
        dx, dy = (1 if x1 > x else -1), (1 if y1 > y else -1)
        (da, db), (steps, other) = (
            (((dx, 0), (0, dy)), (steps, other))
            if steps >= other
            else (((0, dy), (dx, 0)), (other, steps))
        )
        error = steps // 2
        for _ in range(min(steps, int(min(1.0, most / distance) * steps))):
            self.costs[y, x] = self.FREE
            x, y, error = x + da[0], y + da[1], error + other
            if error >= steps:
                x, y, error = x + db[0], y + db[1], error - steps
        self.costs[y, x] = self.FREE

    def centres(self, cost):
        """Points in the base frame at the centres of all cells of a cost."""
        row, column = np.nonzero(self.costs == cost)
        points = self.corner + self.STEP * (np.stack([column, row], 1) + 0.5)
        return self.tf.from_odom(np.hstack([points, np.zeros((len(points), 1))]))


@cache
def nav2_file():
    """Parameters of the local costmap and of the collision monitor."""
    values = yaml.safe_load((CONFIG / 'nav2_obstacle_layer.yaml').read_text('utf-8'))
    costmap = values['local_costmap']['local_costmap']['ros__parameters']
    return costmap, values['collision_monitor']['ros__parameters']


@pytest.fixture(scope='module')
def street():
    """A street, labels of a frame with a kerb to the left and a car to the right, its truth."""
    drive = StreetDrive(0)
    finer = open_finer(drive, 0)
    truth = StreetTruth(drive, finer.camera).at(0.5, finer.frame(0.5).labels)
    return drive, drive.frame(0.5).labels, truth


def info_of(camera):
    k = [camera.fx, 0.0, camera.cx, 0.0, camera.fy, camera.cy, 0.0, 0.0, 1.0]
    return CameraInfo(width=camera.width, height=camera.height, k=k)


@pytest.fixture
def open_street(open_told_robot, street):
    """A robot in the street: `open_street(**parameters) -> robot`."""

    def make(**values):
        camera = street[0].camera
        values |= {'ground.height': camera.height_m, 'ground.pitch': camera.pitch}
        values |= {'ground.overhanging_classes': ['car']}
        return open_told_robot((480, 360), info_of(camera), **values)

    return make


def errors(truth, points):
    """How much further than the truth points in the base frame are, along their bearings [m]."""
    bearing = np.arctan2(points[:, 1], points[:, 0])
    limit = truth.limit[truth.nearest(bearing)]
    return np.hypot(points[:, 0], points[:, 1]) - np.minimum(limit, 30.0)


def on_the_truth(truth, points):
    """Share of points that are where something really begins, within 0.3 m."""
    return (np.abs(errors(truth, points)) < 0.3).mean() if len(points) else 0.0


@pytest.fixture
def obstacle_layer(open_street):
    """An ObstacleLayer that has heard of one frame: `obstacle_layer(labels, **changes)`."""

    def make(labels, **changes):
        robot = open_street()
        values = nav2_file()[0]['camera_layer']['drivable_scan'] | changes
        layer = ObstacleLayer(robot.peer, values, Tf(robot.header.stamp))
        robot.matched(values['topic'])
        robot.show(labels)
        robot.until(lambda: layer.heard)
        return layer

    return make


@pytest.mark.parametrize(
    'changes', [{}, {'data_type': 'PointCloud2', 'topic': '/linknet/drivable_cloud'}]
)
def test_obstacle_layer_marks_and_clears_what_is_there(obstacle_layer, street, changes):
    _, labels, truth = street
    layer = obstacle_layer(labels, **changes)
    marks = layer.tf.from_odom(layer.marks)
    assert len(marks) > 100
    assert on_the_truth(truth, marks) > 0.75
    assert marks[:, 1].min() < -2 < 1.9 < marks[:, 1].max()
    assert np.ptp(marks[:, 0]) > 3
    free = layer.centres(layer.FREE)
    assert len(free) > (500 if changes else 1500)
    # Nothing that is not seen is declared free, and hardly anything that is not.
    assert np.hypot(free[:, 0], free[:, 1]).min() > 3.7
    assert (errors(truth, free) < 0.3).mean() > 0.97


def box_at(camera, x, y=0.0, high=0.4):
    """Labels of an empty plain with a box of 0.5 m width on it."""
    _, _, down = camera.rays()
    labels = np.where(down < 0, ROAD, CAMVID.ids(['sky'])[0]).astype(np.uint8)
    corners = camera.project(np.array([[x, y + 0.25, high], [x, y - 0.25, 0.0]]))[:, :2]
    (left, top), (right, bottom) = np.rint(corners).astype(int)
    labels[max(top, 0) : max(bottom, 0), left:right] = PEDESTRIAN
    return labels


@pytest.mark.parametrize('changes', [{}, {'raytrace_min_range': 0.0}])
def test_box_that_comes_too_near_to_be_seen_is_not_forgotten(open_street, street, changes):
    """The robot drives up to a box 0.4 m high; nearer than 3 m the camera does not see it."""
    robot, camera = open_street(), street[0].camera
    values = nav2_file()[0]['camera_layer']['drivable_scan'] | changes
    layer = ObstacleLayer(robot.peer, values, Tf(robot.header.stamp, x=0.0, y=0.0, yaw=0.0))
    robot.matched(values['topic'])

    def lethal():
        """Cells of the box's front, 7 m ahead of the start, and whether they are free."""
        column, row = layer.cell((np.full(5, 7.05), np.linspace(-0.2, 0.2, 5)))
        around = layer.costs[np.ix_(np.unique(row), range(column[0] - 3, column[0] + 4))]
        return int((around == layer.LETHAL).sum())

    seen = []
    for driven in np.arange(0.0, 6.1, 0.5):
        layer.tf.x, heard = driven, layer.heard
        robot.show(box_at(camera, 7 - driven))
        robot.until(lambda: layer.heard > heard)  # noqa: B023
        seen.append(lethal())
    assert min(seen[:8]) >= 3
    if changes:
        # With the file of before: erased, and its place is free.
        assert seen[-1] == 0
    else:
        assert min(seen) >= 3
    # A box that is taken away while it is seen is cleared.
    layer.tf.x = 0.0
    for labels in (box_at(camera, 5.5, 1.0), box_at(camera, 5.5, -1.0)):
        heard = layer.heard
        robot.show(labels)
        robot.until(lambda: layer.heard > heard)  # noqa: B023
    column, row = layer.cell((5.55, np.array([1.0, -1.0])))
    assert layer.costs[row[0], column] == layer.FREE
    assert layer.costs[row[1], column - 1 : column + 2].max() == layer.LETHAL


def backwards(scan):
    scan.ranges = scan.ranges[::-1]
    return scan


def wider(scan):
    scan.angle_increment *= 1.5
    return scan


def in_another_frame(message):
    message.header = Header(stamp=message.header.stamp, frame_id='camera_optical_frame')
    return message


@pytest.mark.parametrize('change', [backwards, wider, late, in_another_frame])
def test_obstacle_layer_would_be_wrong(obstacle_layer, street, spoil, change):
    spoil('/linknet/drivable_scan', change)
    _, labels, truth = street
    layer = obstacle_layer(labels)
    if change in (late, in_another_frame):
        assert layer.marks is None
    else:
        assert on_the_truth(truth, layer.tf.from_odom(layer.marks)) < 0.6


def test_obstacle_layer_clears_nothing_without_inf_is_valid(obstacle_layer, street):
    _, labels, _ = street
    empty = np.where(labels == CAMVID.ids(['sky'])[0], labels, ROAD).astype(np.uint8)
    layer = obstacle_layer(empty, inf_is_valid=False)
    assert len(layer.centres(layer.FREE)) == 0


class CollisionMonitor:
    """nav2_collision_monitor/src/scan.cpp, pointcloud.cpp and polygon.cpp at a3a9704.

    :param values: parameters of the node.
    :param source: one of its observation_sources.
    """

    def __init__(self, peer, values, source):
        self.values, self.source, self.data = values, values[source], None
        kind = {'scan': LaserScan, 'pointcloud': PointCloud2}[self.source['type']]
        qos = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)
        peer.create_subscription(kind, self.source['topic'], self.take, qos)

    def take(self, message):
        self.data = message

    def points(self):
        """getSourceData, for a robot that stands: the source's frame is the base frame."""
        if self.source['type'] == 'pointcloud':
            points = np.frombuffer(self.data.data, np.float32).reshape(-1, 3)
            low, high = self.source['min_height'], self.source['max_height']
            return points[(points[:, 2] >= low) & (points[:, 2] <= high)]
        kept, angle = [], np.float32(self.data.angle_min)
        for distance in self.data.ranges:
            if self.data.range_min <= distance <= self.data.range_max:
                kept.append((distance * math.cos(angle), distance * math.sin(angle), 0.0))
            angle += np.float32(self.data.angle_increment)
        return np.array(kept).reshape(-1, 3)

    def action(self, now):
        """'invalid source' (the robot stops as well), 'stop' or 'go'."""
        age = (now - nanoseconds(self.data.header.stamp)) * 1e-9
        if self.data.header.frame_id != self.values['base_frame_id']:
            return 'no transform'
        if age > self.values['source_timeout']:
            return 'invalid source'
        polygon = self.values['PolygonStop']
        corners = np.array(json.loads(polygon['points']))
        points = self.points()
        low, high = corners.min(0), corners.max(0)
        inside = ((points[:, :2] > low) & (points[:, :2] < high)).all(1)
        return 'stop' if inside.sum() >= polygon['min_points'] else 'go'


@pytest.fixture
def watch_people(open_street, street):
    """A CollisionMonitor, and what it does for each of PEOPLE: `watch_people(source, age)`."""

    def watch(source, age=0):
        robot, actions = open_street(), []
        monitor = CollisionMonitor(robot.peer, nav2_file()[1], source)
        robot.matched(monitor.source['topic'])
        now = nanoseconds(robot.header.stamp) + age
        for x, y, _ in PEOPLE:
            monitor.data = None
            robot.show(box_at(street[0].camera, x, y, high=1.7))
            robot.until(lambda: monitor.data)
            actions.append(monitor.action(now))
        return monitor, actions, now

    return watch


#: Where a person stands, and what the monitor must do.
PEOPLE = [
    (4.5, 0.0, 'stop'),
    (4.0, 0.6, 'stop'),
    (4.0, 1.5, 'go'),
    (4.0, -1.5, 'go'),
    (7, 0, 'go'),
]


@pytest.mark.parametrize('source', ['drivable_scan', 'drivable_cloud'])
def test_collision_monitor_stops_for_people_in_its_zone(watch_people, source):
    monitor, actions, now = watch_people(source, age=300_000_000)
    assert actions == [action for *_, action in PEOPLE]
    # A camera that fell silent.
    assert monitor.action(now + 10**9) == 'invalid source'


def without_stamp(message):
    message.header = Header(frame_id=message.header.frame_id)
    return message


@pytest.mark.parametrize(
    ('change', 'actions'),
    [
        (without_stamp, {'invalid source'}),
        (in_another_frame, {'no transform'}),
        (wider, {'stop', 'go'}),
    ],
)
def test_collision_monitor_would_be_wrong(watch_people, spoil, change, actions):
    spoil('/linknet/drivable_scan', change)
    _, found, _ = watch_people('drivable_scan')
    assert found != [action for *_, action in PEOPLE]
    assert set(found) <= actions


class StaticLayer:
    """nav2_costmap_2d/plugins/static_layer.cpp at a3a9704, in a rolling costmap.

    :param costmap: parameters; the layer's are in `name`.
    """

    FREE, LETHAL, NO_INFORMATION = 0, 254, 255

    def __init__(self, peer, costmap, name):
        self.costmap, self.map, self.said = costmap, None, []
        values = costmap[name]
        # LatchedSubscriptionQoS(3), or StandardTopicQoS.
        qos = latched(3) if values['map_subscribe_transient_local'] else QoSProfile(depth=10)
        peer.create_subscription(OccupancyGrid, values['map_topic'], self.take, qos)

    def take(self, message):
        """incomingMap: nav2::validateMsg, then processMap, row by row."""
        info, turned = message.info, message.info.origin.orientation
        length = turned.x**2 + turned.y**2 + turned.z**2 + turned.w**2
        good = message.header.frame_id and info.resolution >= 1e-6 and info.width and info.height
        if not good or abs(length - 1) >= 1e-4 or len(message.data) != info.width * info.height:
            self.said.append('Received map message is malformed. Rejecting.')
            return
        self.message, self.frame, self.map = message, message.header.frame_id, info
        index, self.costs = 0, np.empty((info.height, info.width), np.uint8)
        for i in range(info.height):
            for j in range(info.width):
                self.costs[i, j] = self.interpreted(message.data[index] & 0xFF)
                index += 1

    def interpreted(self, value):
        """What interpretValue makes of it; the costmap's defaults are 100 and trinary.

        From 014bf23 on, 99 is an inscribed radius (inscribed_obstacle_cost_value).
        """
        if value == 255:
            return self.NO_INFORMATION if self.costmap['track_unknown_space'] else self.FREE
        if value == 99:
            return 253
        if value >= 100:
            return self.LETHAL
        return self.FREE if self.costmap.get('trinary_costmap', True) else int(value / 100 * 254)

    def cost(self, x, y):
        """updateCosts: worldToMap of points in the map's frame; orientation is not looked at."""
        at, step = self.map.origin.position, self.map.resolution
        column = np.floor((x - at.x) / step).astype(int)
        row = np.floor((y - at.y) / step).astype(int)
        inside = (column >= 0) & (column < self.map.width) & (row >= 0) & (row < self.map.height)
        costs = np.full(x.shape, self.NO_INFORMATION, np.uint8)
        costs[inside] = self.costs[row[inside], column[inside]]
        return costs


@pytest.fixture
def show_static_layer(open_street, street):
    """One frame, and a StaticLayer after it: `show_static_layer(name, **parameters)`."""

    def show(name='drivable_layer', **values):
        robot = open_street(**{'ground.latched': True, **values})
        costmap, first = nav2_file()[0], []
        topic = costmap[name]['map_topic']
        robot.peer.create_subscription(OccupancyGrid, topic, first.append, 1)
        robot.matched(topic)
        robot.show(street[1])
        robot.until(lambda: first)
        layer = StaticLayer(robot.peer, costmap, name)
        robot.until(lambda: layer.map or layer.said or qos_faults(robot.node))
        return layer

    return show


def agreement(layer, truth):
    """IoU of free ground, by points 5 cm apart; share of obstacles on the truth; all costs."""
    x, y = np.meshgrid(np.arange(0.525, 19, 0.05), np.arange(-8.975, 9, 0.05))
    costs = layer.cost(x, y)
    free, really = costs == layer.FREE, truth.free(x, y)
    rows, columns = np.nonzero(layer.costs == layer.LETHAL)
    step, at = layer.map.resolution, layer.map.origin.position
    marks = np.stack([at.x + (columns + 0.5) * step, at.y + (rows + 0.5) * step], 1)
    marks = marks[np.hypot(*marks.T) < 10]
    iou = (free & really).sum() / (free | really).sum()
    return iou, on_the_truth(truth, marks), costs


def test_static_layer_that_comes_late_gets_the_grid(show_static_layer, street):
    layer = show_static_layer()
    assert layer.said == []
    assert layer.frame == 'base_link'
    assert layer.map.resolution == pytest.approx(0.1)
    position = layer.map.origin.position
    assert (position.x, position.y, position.z) == (0, -10, 0)
    iou, marked, costs = agreement(layer, street[2])
    assert iou > 0.85
    assert marked > 0.75
    assert {layer.FREE, layer.LETHAL, layer.NO_INFORMATION} == set(np.unique(costs).tolist())


def test_static_layer_prefers_road_to_pavement(show_static_layer, street):
    costs = {'ground.class_costs': ['road: 0', 'pavement: 30']}
    layer = show_static_layer('class_cost_layer', **costs)
    # 0.3 of a lethal cost, which no inflation and no inscribed radius has.
    assert {*np.unique(layer.costs).tolist()} == {0, 76, layer.LETHAL, layer.NO_INFORMATION}
    assert agreement(layer, street[2])[0] > 0.85
    layer.costmap = layer.costmap | {'trinary_costmap': True}
    layer.take(layer.message)
    assert {*np.unique(layer.costs).tolist()} == {0, layer.LETHAL, layer.NO_INFORMATION}


def remade(grid, cells):
    grid.data = type(grid.data)('b', np.ascontiguousarray(cells).tobytes())
    return grid


def cells(grid):
    return np.array(grid.data, np.int8).reshape(grid.info.height, grid.info.width)


def swapped(grid):
    return remade(grid, cells(grid).T)


def mirrored(grid):
    return remade(grid, cells(grid)[::-1])


def from_the_top(grid):
    return remade(grid, cells(grid)[:, ::-1])


def by_its_middle(grid):
    grid.info.origin.position.x += grid.info.width * grid.info.resolution / 2
    grid.info.origin.position.y += grid.info.height * grid.info.resolution / 2
    return grid


@pytest.mark.parametrize('change', [swapped, mirrored, from_the_top, by_its_middle])
def test_static_layer_would_be_wrong(show_static_layer, street, spoil, change):
    spoil('/linknet/drivable_grid', change)
    iou, _, _ = agreement(show_static_layer(), street[2])
    assert iou < 0.7


def not_turned(grid):
    grid.info.origin.orientation.w = 0.0
    return grid


def test_static_layer_would_refuse_an_orientation_that_is_none(show_static_layer, spoil):
    spoil('/linknet/drivable_grid', not_turned)
    assert show_static_layer().said == ['Received map message is malformed. Rejecting.']


def test_static_layer_would_not_get_a_grid_that_is_not_latched(show_static_layer):
    layer = show_static_layer(**{'ground.latched': False})
    assert layer.map is None
