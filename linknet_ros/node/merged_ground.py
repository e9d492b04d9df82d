"""What all cameras of the node see of the ground, as one grid and one scan."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from nav_msgs.msg import OccupancyGrid
from rclpy.node import Node
from rclpy.publisher import Publisher
from sensor_msgs.msg import LaserScan
from std_msgs.msg import Header

from linknet_ros.ground.grid import Cells, GridArea
from linknet_ros.ground.merge import ScanRanges, merged_cells, merged_scan
from linknet_ros.ground.projector import ProjectedGround
from linknet_ros.ground.settings import GroundState
from linknet_ros.ros.ground_messages import grid_message, scan_message
from linknet_ros.ros.images import nanoseconds
from linknet_ros.ros.qos import create_publisher

_GRID, _SCAN = 'drivable_grid', 'drivable_scan'


@dataclass(frozen=True, eq=False)
class _Seen:
    """What one camera saw, and when by the frame's stamp and by the node's clock [s]."""

    stamp: float
    made: float
    base_frame: str
    place: tuple[GridArea, float]
    cells: Cells | None
    scan: ScanRanges | None


class MergedGround:
    """Publishers of ~/drivable_grid and ~/drivable_scan of all cameras.

    With each frame of any camera goes out what is known then: of each camera its newest frame, if
    stamps, and the times at which they were processed, are no further apart than merge_timeout. So
    nothing is kept of a camera that has stopped, and of none if all have; and a recording that
    starts again does not stop anything. The message has the stamp of the frame that came.

    :param latched: see GroundTopics.
    :ivar timeout: merge_timeout [s].
    """

    def __init__(self, node: Node, *, latched: bool) -> None:
        self._node = node
        self.timeout = 0.0
        self._seen: dict[str, _Seen] = {}
        self._publishers: dict[str, Publisher] = {}
        try:
            grid = create_publisher(node, OccupancyGrid, f'~/{_GRID}', latched=latched)
            self._publishers[_GRID] = grid
            self._publishers[_SCAN] = create_publisher(node, LaserScan, f'~/{_SCAN}')
        except BaseException:
            # Nobody has this to take it away.
            self.destroy()
            raise

    def subscribed_topics(self) -> set[str]:
        """Names of those that somebody subscribes to."""
        return {n for n, p in self._publishers.items() if p.get_subscription_count()}

    def has_subscribers(self) -> bool:
        """Whether anybody subscribes."""
        return bool(self.subscribed_topics())

    def messages(
        self, camera: str, ground: ProjectedGround, state: GroundState, header: Header
    ) -> Iterator[tuple[Publisher, OccupancyGrid | LaserScan]]:
        """Take what a camera sees, and give what all see, as far as somebody subscribes.

        Called from the thread that publishes, for one frame after the other.

        :param header: of the frame.
        """
        subscribed = self.subscribed_topics()
        stamp = 1e-9 * nanoseconds(header)
        options, base_frame = state.options, state.parameters.base_frame
        newest = self._seen[camera] = _Seen(
            stamp,
            self._now(),
            base_frame,
            (options.area, options.plane_z),
            # Copies: the next frame overwrites them.
            ground.cells().copy() if _GRID in subscribed else None,
            ground.scan_ranges() if _SCAN in subscribed else None,
        )
        fresh = [seen for seen in self._seen.values() if self._fits(seen, newest)]
        based = Header(stamp=header.stamp, frame_id=base_frame)
        if newest.scan is not None:
            scans = [seen.scan for seen in fresh if seen.scan is not None]
            yield self._publishers[_SCAN], scan_message(merged_scan(scans), based)
        if newest.cells is not None:
            cells = merged_cells([seen.cells for seen in fresh if seen.cells is not None])
            message = grid_message(cells, options.area, options.plane_z, based)
            yield self._publishers[_GRID], message

    def problem(self, camera: str) -> str:
        """Why subscribers do not get all of a camera; '' if they do, or if there are none."""
        seen, now = self._seen.get(camera), self._now()
        age = abs(now - seen.made) if seen is not None else None
        if not self.subscribed_topics():
            return ''
        if seen is None or age is None or age > self.timeout:
            since = f'in the last {age:.1f} s' if age is not None else 'so far'
            return (
                f'it is not in ~/{_GRID} and ~/{_SCAN} of all cameras: no ground {since}, '
                f'and merge_timeout is {self.timeout:g} s'
            )
        # A copy: the thread that publishes may add a camera.
        for other, its in list(self._seen.items()):
            apart = seen.stamp - its.stamp
            if abs(now - its.made) <= self.timeout < abs(apart):
                return (
                    f'it is not in one ~/{_GRID} and ~/{_SCAN} with {other}: its stamps are '
                    f'{abs(apart):.1f} s {"after" if apart > 0 else "before"} those of {other}, '
                    f'and merge_timeout is {self.timeout:g} s; synchronise their clocks'
                )
        return ''

    def destroy(self) -> None:
        """Take the topics away."""
        for publisher in self._publishers.values():
            self._node.destroy_publisher(publisher)

    def _now(self) -> float:
        return float(1e-9 * self._node.get_clock().now().nanoseconds)

    def _fits(self, seen: _Seen, newest: _Seen) -> bool:
        """Whether what was seen is of the same time and place as what is new."""
        # In either direction: clocks may go back.
        apart = max(abs(newest.stamp - seen.stamp), abs(newest.made - seen.made))
        same = (seen.place, seen.base_frame) == (newest.place, newest.base_frame)
        return seen is newest or (same and apart <= self.timeout)
