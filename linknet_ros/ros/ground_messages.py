"""Grid, scan and cloud as messages."""

from __future__ import annotations

import numpy as np
from nav_msgs.msg import OccupancyGrid
from numpy.typing import NDArray
from sensor_msgs.msg import LaserScan, PointCloud2, PointField
from std_msgs.msg import Header

from linknet_ros.ground.grid import GridArea
from linknet_ros.ground.labelled import fields_of
from linknet_ros.ground.merge import ScanRanges
from linknet_ros.ros.images import wire_data


def grid_message(
    cells: NDArray[np.int8], area: GridArea, plane_z: float, header: Header
) -> OccupancyGrid:
    """The grid.

    :param cells: from GroundGrid.fill; copied.
    :param area: of the grid.
    :param plane_z: height of the ground in the base frame [m].
    :param header: the frame's stamp, the base frame.
    """
    message = OccupancyGrid(header=header, data=wire_data(cells, 'b'))
    message.info.map_load_time = header.stamp
    message.info.resolution = area.resolution
    message.info.width, message.info.height = area.columns, area.rows
    position = message.info.origin.position
    position.x, position.y = area.corner
    position.z = plane_z
    message.info.origin.orientation.w = 1.0
    return message


def scan_message(scan: ScanRanges, header: Header) -> LaserScan:
    """The scan.

    :param scan: its ranges are copied.
    :param header: see grid_message.
    """
    return LaserScan(
        header=header,
        angle_min=scan.angle_min,
        angle_max=scan.angle_min + (len(scan.ranges) - 1) * scan.increment,
        angle_increment=scan.increment,
        range_min=scan.range_min,
        range_max=scan.range_max,
        ranges=wire_data(scan.ranges, 'f'),
    )


def cloud_message(points: NDArray[np.float32], header: Header) -> PointCloud2:
    """The contacts as points.

    :param points: (n, 3) float32 x, y, z [m]; copied.
    :param header: see grid_message.
    """
    xyz = np.dtype([(axis, '<f4') for axis in 'xyz'])
    return labelled_cloud_message(np.ascontiguousarray(points).view(xyz)[:, 0], header)


#: Type of a field of a point, by that of NumPy.
_DATATYPES = {'<f4': PointField.FLOAT32, '|u1': PointField.UINT8}


def labelled_cloud_message(points: NDArray[np.void], header: Header) -> PointCloud2:
    """Points with what is known of each, e.g. its class.

    :param points: (n,) or, organised, (H, W) of LABELLED, or of other fields; copied.
    :param header: the frame's stamp, the points' frame.
    """
    height, width = np.atleast_2d(points).shape
    fields = [
        PointField(name=name, offset=offset, datatype=_DATATYPES[kind], count=1)
        for name, kind, offset in fields_of(points.dtype)
    ]
    step = points.dtype.itemsize
    return PointCloud2(
        header=header,
        height=height,
        width=width,
        fields=fields,
        is_bigendian=False,
        point_step=step,
        row_step=step * width,
        data=wire_data(points),
        is_dense=not np.isnan(points['x']).any(),
    )
