"""The ground projection of one camera at one mount: labels to grid, scan and points."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from linknet_ros.errors import FrameError, SourceError
from linknet_ros.ground.blind import BlindRange
from linknet_ros.ground.camera import CameraModel
from linknet_ros.ground.contacts import (
    CONTACT,
    ContactFilter,
    ContactFinder,
    Contacts,
    worst,
)
from linknet_ros.ground.costs import CostGrid
from linknet_ros.ground.grid import GridArea, GroundGrid
from linknet_ros.ground.labelled import labelled
from linknet_ros.ground.mount import Mount
from linknet_ros.ground.rays import ground_rays
from linknet_ros.ground.scan import GroundScan

Bytes = NDArray[np.uint8]

#: Larger images are reduced by blocks of pixels: networks see no finer, and time stays bounded.
_MOST_PIXELS = 640


@dataclass(frozen=True)
class GroundOptions:
    """Which ground is projected.

    :param max_range: largest distance from the base frame's origin [m].
    :param plane_z: height of the ground in the base frame [m].
    :param area: area of the grid.
    """

    max_range: float = 20.0
    plane_z: float = 0.0
    area: GridArea = field(default_factory=GridArea)


class GroundProjection:
    """Projects labels to the ground.

    The constructor computes the tables, which takes some tenths of a second.

    :param camera: model of the camera, for the size of the labels.
    :param mount: where it is on the robot.
    :param options: which ground is projected.
    :param ego_mask: (H, W) uint8, not 0 where the vehicle itself is in the image; scaled if it has
        another size. None for nowhere.
    :raises CalibrationError: when the camera sees no ground.
    """

    def __init__(
        self,
        camera: CameraModel,
        mount: Mount,
        options: GroundOptions,
        ego_mask: Bytes | None = None,
    ) -> None:
        self._camera = camera
        self._options = options
        size = (camera.width, camera.height)
        block = -(-max(size) // _MOST_PIXELS)
        if ego_mask is not None and ego_mask.shape != size[::-1]:
            # Linear interpolation, and everything above 0 counts: a mask may grow, never shrink.
            ego_mask = np.asarray(
                cv2.resize((ego_mask != 0).astype(np.uint8) * 255, size), np.uint8
            )
        smaller = _reduced(camera, block)
        if ego_mask is not None and block > 1:
            full = np.zeros((block * smaller.height, block * smaller.width), np.uint8)
            full[: camera.height, : camera.width] = ego_mask
            ego_mask = np.empty((smaller.height, smaller.width), np.uint8)
            worst(full, block, ego_mask)
        self.rays = ground_rays(
            smaller,
            mount,
            plane_z=options.plane_z,
            max_range=options.max_range,
            ego_mask=ego_mask,
        )
        self._size, self._block = (smaller.width, smaller.height), block
        self._finder = ContactFinder(self.rays, self._size, block)
        self._filters = {name: ContactFilter() for name in ('drivable', 'costs')}

    def contacts(
        self,
        labels: Bytes,
        table: Bytes,
        confidence: Bytes | None = None,
        min_confidence: int = 0,
        clearance: float = 0.0,
        smallest: float = 0.0,
        filtered_at: float | None = None,
        filtered_as: str = 'drivable',
    ) -> Contacts:
        """Find what the rays meet in a frame.

        :param labels: (H, W) uint8 class ids.
        :param table: from kind_table.
        :param confidence: (H, W) uint8 or None, see ContactFinder.find.
        :param min_confidence: 0 to 255, see there.
        :param clearance: see there [m].
        :param smallest: see there [m].
        :param filtered_at: time of the frame, to filter over frames [s]; None for no filter.
        :param filtered_as: which filter: frames of 'drivable' or of 'costs' are compared.
        :raises FrameError: for labels of another size than the camera's image.
        """
        camera = self._camera
        if labels.shape != (camera.height, camera.width):
            raise FrameError(
                f'labels of {labels.shape[1]}x{labels.shape[0]} do not match the camera_info of '
                f'{camera.width}x{camera.height}'
            )
        found = self._finder.find(labels, table, confidence, min_confidence, clearance, smallest)
        if filtered_at is None:
            return found
        return self._filters[filtered_as].filter(found, filtered_at)

    @cached_property
    def blind(self) -> BlindRange:
        """How near the ground may be before the camera no longer sees it."""
        return BlindRange.of(self.rays)

    @cached_property
    def grid(self) -> GroundGrid:
        """The grid; its tables are computed on first use."""
        return GroundGrid(self.rays, self._options.area)

    @cached_property
    def cost_grid(self) -> CostGrid:
        """The grid of costs; its tables are computed on first use."""
        return CostGrid(self.grid, self.rays, self._size, self._block)

    @cached_property
    def scan(self) -> GroundScan:
        """The scan; its tables are computed on first use."""
        return GroundScan(self.rays, self._options.max_range)

    def points(self, contacts: Contacts) -> NDArray[np.float32]:
        """Points of the contacts, (n, 3) float32 x, y, z in the base frame [m]."""
        rays = self.rays
        at = contacts.kind == CONTACT
        points = np.empty((int(at.sum()), 3), np.float32)
        points[:, :2] = contacts.limit[at, None] * rays.directions()[at] + rays.foot
        points[:, 2] = self._options.plane_z
        return points

    def labelled_points(self, contacts: Contacts) -> NDArray[np.void]:
        """The same points, with class id and confidence, (n,) of LABELLED."""
        at = contacts.kind == CONTACT
        return labelled(self.points(contacts), contacts.label[at], contacts.confidence[at])


def _reduced(camera: CameraModel, block: int) -> CameraModel:
    """The camera model of an image whose pixels are blocks of the camera's pixels."""
    if block == 1:
        return camera
    # Integers are the centres of pixels, and then of blocks.
    return replace(
        camera,
        width=-(-camera.width // block),
        height=-(-camera.height // block),
        fx=camera.fx / block,
        fy=camera.fy / block,
        cx=(camera.cx + 0.5) / block - 0.5,
        cy=(camera.cy + 0.5) / block - 0.5,
    )


def load_ego_mask(path: str) -> Bytes:
    """Read a mask image, which is white where the vehicle itself is in the image.

    :returns: (H, W) uint8, 255 where the file has 128 or more, else 0.
    :raises SourceError: when the file is missing or not an image.
    """
    image = cv2.imread(path, cv2.IMREAD_GRAYSCALE)
    if image is None:
        raise SourceError(
            f'cannot read the ego mask {path}',
            'set ground.ego_mask to an 8-bit image of the frame '
            'that is white where the vehicle is',
        )
    return np.asarray(cv2.threshold(image, 127, 255, cv2.THRESH_BINARY)[1], np.uint8)
