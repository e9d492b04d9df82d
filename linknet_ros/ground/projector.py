"""Frame after frame of one camera to the ground, for topics and for recordings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
from numpy.typing import NDArray

from linknet_ros.errors import CalibrationError
from linknet_ros.ground.camera import CameraModel
from linknet_ros.ground.contacts import Contacts
from linknet_ros.ground.merge import ScanRanges
from linknet_ros.ground.mount import Mount
from linknet_ros.ground.projection import GroundProjection
from linknet_ros.ground.scan import GroundScan
from linknet_ros.ground.settings import GroundState

#: A camera that tf moves or turns by less keeps its tables: at 10 m, half a milliradian is 3 cm of
#: range for a camera at 1.5 m [m, rad].
_SAME_METRES, _SAME_RADIANS = 0.005, 0.0005


@dataclass(frozen=True)
class _Tables:
    """Tables, or why there are none, and what they were made of."""

    state: GroundState
    camera: CameraModel
    mount: Mount
    projection: GroundProjection | CalibrationError


@dataclass(frozen=True)
class ProjectedGround:
    """What one frame says of the ground; each output is computed when it is first used.

    :param find: gives the contacts.
    :param cost_cells: gives cells of the grid of costs; see CostGrid.fill.
    """

    projection: GroundProjection
    find: Callable[[], Contacts]
    cost_cells: Callable[[], NDArray[np.int8]]

    @cached_property
    def contacts(self) -> Contacts:
        """What the rays meet; the grid of costs has its own."""
        return self.find()

    @property
    def scan(self) -> GroundScan:
        """What is the same in all scans: angles and largest range."""
        return self.projection.scan

    def ranges(self) -> NDArray[np.float32]:
        """Ranges of the scan; see GroundScan.fill."""
        return self.projection.scan.fill(self.contacts)

    def scan_ranges(self) -> ScanRanges:
        """The scan in arrays of its own."""
        scan, ranges = self.scan, self.ranges().copy()
        least = scan.range_min_of(ranges)
        return ScanRanges(ranges, scan.angle_min, scan.increment, least, scan.range_max)

    def points(self) -> NDArray[np.float32]:
        """Points of the cloud, (n, 3) float32 x, y, z in the base frame [m]."""
        return self.projection.points(self.contacts)

    def labelled_points(self) -> NDArray[np.void]:
        """The same with classes; see GroundProjection.labelled_points."""
        return self.projection.labelled_points(self.contacts)

    def cells(self) -> NDArray[np.int8]:
        """Cells of the grid; see GroundGrid.fill."""
        return self.projection.grid.fill(self.contacts)


class GroundProjector:
    """Keeps its tables while the settings, the camera and its place stay; for one thread."""

    def __init__(self) -> None:
        self._tables: _Tables | None = None

    def project(
        self,
        state: GroundState,
        camera: CameraModel,
        mount: Mount,
        labels: NDArray[np.uint8],
        confidence: NDArray[np.uint8],
        stamp: float,
    ) -> ProjectedGround:
        """Project one frame.

        :param camera: model of the camera, for the size of the labels.
        :param mount: where it was when the frame was taken.
        :param labels: (H, W) uint8 class ids.
        :param confidence: (H, W) uint8, see Segmentation.
        :param stamp: of the frame, seconds, for the filter.
        :raises CalibrationError: when the camera sees no ground.
        """
        projection = self._projection(state, camera, mount)
        settings = state.parameters
        find = partial(
            projection.contacts,
            labels,
            confidence=confidence,
            min_confidence=round(255 * settings.min_confidence),
            clearance=settings.clearance,
            smallest=settings.smallest_obstacle,
            filtered_at=stamp if settings.filter else None,
        )

        def cost_cells() -> NDArray[np.int8]:
            contacts = find(table=state.cost_kinds, filtered_as='costs')
            return projection.cost_grid.fill(contacts, labels, state.costs)

        return ProjectedGround(projection, partial(find, table=state.table), cost_cells)

    def _projection(
        self, state: GroundState, camera: CameraModel, mount: Mount
    ) -> GroundProjection:
        tables = self._tables
        if (
            tables is None
            or tables.state is not state
            or tables.camera != camera
            or not mount.near(tables.mount, _SAME_METRES, _SAME_RADIANS)
        ):
            try:
                made = GroundProjection(camera, mount, state.options, state.ego_mask)
                tables = _Tables(state, camera, mount, made)
            except CalibrationError as error:
                # Kept, so that it is not found out again with every frame.
                tables = _Tables(state, camera, mount, error)
            self._tables = tables
        if isinstance(tables.projection, CalibrationError):
            raise tables.projection
        return tables.projection
