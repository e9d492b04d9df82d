"""Labels in, what a planner can use out: the ground of one camera at one mount."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from linknet_ros.errors import FrameError, SourceError
from linknet_ros.ground.camera import CameraModel
from linknet_ros.ground.contacts import (
    CONTACT,
    ContactFilter,
    ContactFinder,
    Contacts,
    worst,
)
from linknet_ros.ground.grid import GridArea, GroundGrid
from linknet_ros.ground.mount import Mount
from linknet_ros.ground.rays import ground_rays
from linknet_ros.ground.scan import GroundScan

Bytes = NDArray[np.uint8]

#: Larger images are looked at in blocks of pixels: networks see no finer, and it takes no longer.
_MOST_PIXELS = 640


@dataclass(frozen=True)
class GroundOptions:
    """What of the ground is looked at.

    :param max_range: how far from the base frame's origin [m].
    :param plane_z: height of the ground in the base frame [m].
    :param area: of the grid.
    """

    max_range: float = 20.0
    plane_z: float = 0.0
    area: GridArea = field(default_factory=GridArea)


class GroundProjection:
    """Projects labels to the ground, by tables made here, which takes some tenths of a second.

    :param camera: of the labels' image.
    :param mount: where it is.
    :param ego_mask: (H, W) uint8, not 0 where the vehicle itself is in the picture; one of
        another size is scaled. None: nowhere.
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
            # Linear, and all that is not 0: a mask grows rather than shrinks.
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
        self._finder = ContactFinder(self.rays, (smaller.width, smaller.height), block)
        self._filter = ContactFilter()

    def contacts(
        self,
        labels: Bytes,
        table: Bytes,
        confidence: Bytes | None = None,
        min_confidence: int = 0,
        clearance: float = 0.0,
        filtered_at: float | None = None,
    ) -> Contacts:
        """What the rays meet in a frame.

        :param labels: (H, W) uint8 class ids.
        :param table: from kind_table.
        :param confidence: (H, W) uint8, see ContactFinder.find, likewise min_confidence
            and clearance.
        :param filtered_at: the frame's stamp [s] for the filter over time; None: without it.
        :raises FrameError: for labels of another size than the camera's.
        """
        camera = self._camera
        if labels.shape != (camera.height, camera.width):
            raise FrameError(
                f'labels of {labels.shape[1]} x {labels.shape[0]} do not fit the camera_info of '
                f'{camera.width} x {camera.height}'
            )
        found = self._finder.find(labels, table, confidence, min_confidence, clearance)
        return found if filtered_at is None else self._filter.filter(found, filtered_at)

    @cached_property
    def grid(self) -> GroundGrid:
        """The grid, made when first asked for."""
        return GroundGrid(self.rays, self._options.area)

    @cached_property
    def scan(self) -> GroundScan:
        """The scan, likewise."""
        return GroundScan(self.rays, self._options.max_range)

    def points(self, contacts: Contacts) -> NDArray[np.float32]:
        """The contacts on the ground, (n, 3) float32 x, y, z in the base frame [m]."""
        rays = self.rays
        at = contacts.kind == CONTACT
        points = np.empty((int(at.sum()), 3), np.float32)
        points[:, :2] = contacts.limit[at, None] * rays.directions()[at] + rays.foot
        points[:, 2] = self._options.plane_z
        return points


def _reduced(camera: CameraModel, block: int) -> CameraModel:
    """The camera of an image whose pixels are blocks of the camera's."""
    if block == 1:
        return camera
    # Whole numbers are the centres of pixels, and then of blocks.
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
    """A mask image: white where the vehicle itself is in the picture.

    :returns: (H, W) uint8, 255 where the file is 128 or more, else 0.
    :raises SourceError: when the file is not there or no image.
    """
    image = cv2.imread(path, cv2.IMREAD_GRAYSCALE)
    if image is None:
        raise SourceError(
            f'ego mask {path} cannot be read; give an 8-bit image of the frame, white where the '
            'vehicle is'
        )
    return np.asarray(cv2.threshold(image, 127, 255, cv2.THRESH_BINARY)[1], np.uint8)
