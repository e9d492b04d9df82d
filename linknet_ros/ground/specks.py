"""Specks in the labels: what is too small for where it stands to be an obstacle."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np

from linknet_ros.ground.rays import Bools, Bytes, GroundRays, Indices

#: A speck has nothing else but drivable pixels this near, on all sides [px].
_APART: Final = 8


class SpeckFilter:
    """Takes specks out of the kinds of pixels.

    A speck is a connected patch of pixels on the ground that are not free, which would be narrower
    and lower than any obstacle if it stood where it meets the ground. Alone on free ground it is
    free, or unsure if some of it is; with other specks around it is unsure, since together they
    may be something. Beside anything larger, or at the border of the image, it stays what it is:
    it may be a part of that.

    :param rays: rays of the camera.
    :param size: (width, height) of the image that the rays index [px].
    """

    def __init__(self, rays: GroundRays, size: tuple[int, int]) -> None:
        width, height = size
        self._height, self._angle = rays.height, rays.coarsest_angle
        # Distances at which each pixel of the ground begins and ends; the last entry is that which
        # ends rays.
        near = np.full(width * height + 1, np.inf, np.float32)
        far = np.zeros_like(near)
        np.minimum.at(near, rays.pixels[:, :-1], rays.near[:, :-1])
        np.maximum.at(far, rays.pixels[:, :-1], rays.near[:, 1:])
        #: The first row that sees ground; what is above is not searched.
        self._top = int(np.isfinite(near[:-1]).argmax()) // width
        begin = self._top * width
        self._near, self._far = near[begin:-1], np.where(far > 0, far, np.inf)[begin:-1]
        #: Distance from the camera to the nearest ground [m].
        self._nearest = float(np.hypot(near.min(), rays.height))
        self._mask = np.empty((height - self._top, width), np.uint8)

    def take_out(self, kinds: Bytes, free: int, unsure: int, smallest: float) -> None:
        """Change the specks of a frame.

        :param kinds: (height, width) uint8, changed: `free`, `unsure` or, if greater, an obstacle.
        :param smallest: width and height of the smallest obstacle [m].
        """
        kinds = kinds[self._top :]
        mask = np.not_equal(kinds, free, out=self._mask.view(np.bool_)).view(np.uint8)
        number, patches = cv2.connectedComponents(mask, connectivity=8)
        # Nothing larger in the image can be a speck.
        most = int(smallest / (self._angle * self._nearest)) + 1
        small = np.bincount(patches.reshape(-1), minlength=number) <= most**2
        # The first is the background, which is free.
        small[0] = False
        pixels = np.flatnonzero(np.take(small, patches))
        patch = patches.reshape(-1)[pixels]
        chosen = self._too_small(pixels, patch, number, kinds.shape, smallest)[patch]
        pixels, patch = pixels[chosen], patch[chosen]
        if not len(pixels):
            return
        alone = self._alone(mask, pixels, patch, number)
        flat = kinds.reshape(-1)
        obstacle = flat[pixels] > unsure
        doubtful = np.zeros(number, np.bool_)
        doubtful[patch[flat[pixels] == unsure]] = True
        flat[pixels[obstacle & (alone[patch] > 0)]] = unsure
        flat[pixels[obstacle & (alone[patch] == 1) & ~doubtful[patch]]] = free

    def _too_small(
        self,
        pixels: Indices,
        patch: Indices,
        number: int,
        shape: tuple[int, ...],
        smallest: float,
    ) -> Bools:
        """For each of a number of patches, whether it would be too small.

        :param pixels: flat indices of pixels.
        :param patch: the patch of each.
        """
        rows, columns = np.divmod(pixels, shape[1])
        left, top = np.full((2, number), max(shape))
        right, bottom = np.zeros((2, number), np.intp)
        near, far = np.full(number, np.inf, np.float32), np.zeros(number, np.float32)
        for join, out, values in (
            (np.minimum, left, columns),
            (np.maximum, right, columns),
            (np.minimum, top, rows),
            (np.maximum, bottom, rows),
            (np.minimum, near, self._near[pixels]),
            (np.maximum, far, self._far[pixels]),
        ):
            join.at(out, patch, values)
        inside = (left > 0) & (top > 0) & (right < shape[1] - 1) & (bottom < shape[0] - 1)
        width = (right - left + 1) * self._angle * np.hypot(near, self._height)
        with np.errstate(invalid='ignore', divide='ignore'):
            # Upright at `near` and hiding the ground up to `far`.
            height = self._height * (1 - near / far)
        found: Bools = inside & np.isfinite(far) & (width < smallest) & (height < smallest)
        return found

    def _alone(self, mask: Bytes, pixels: Indices, patch: Indices, number: int) -> Indices:
        """For each patch the number of specks around it and itself; 0 beside anything larger."""
        kernel = np.ones((2 * _APART + 1, 2 * _APART + 1), np.uint8)
        mask.reshape(-1)[pixels] = 0
        larger = np.flatnonzero(cv2.dilate(mask, kernel).reshape(-1)[pixels])
        mask.fill(0)
        mask.reshape(-1)[pixels] = 1
        # Half of the distance on each side.
        half = np.ones((_APART + 1, _APART + 1), np.uint8)
        _, groups = cv2.connectedComponents(cv2.dilate(mask, half), connectivity=8)
        group = np.zeros(number, np.intp)
        group[patch] = groups.reshape(-1)[pixels]
        members = np.bincount(group[np.unique(patch)], minlength=groups.max() + 1)
        members[group[patch[larger]]] = 0
        return members[group]
