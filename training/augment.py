"""Random changes of a frame together with its labels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from linknet_ros.classes import UNLABELED

#: Pixels beyond the frame get the mean colour of ImageNet (BGR), which normalises to 0.
_BORDER = (104, 116, 124)


@dataclass(frozen=True)
class Placement:
    """Which part of a frame is shown, and how.

    :param matrix: (2, 3), from pixel centres of the frame to those of the result.
    :param size: (width, height) of the result in pixels.
    :param scale: enlargement in width and height.
    :param mirrored: the result, left to right.
    """

    matrix: NDArray[np.float64]
    size: tuple[int, int]
    scale: tuple[float, float]
    mirrored: bool

    def warp(
        self, frame: NDArray[np.uint8], labels: NDArray[np.uint8]
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """See Augment.warp."""
        blurs = [0.5 * math.sqrt(max(0, 1 / s**2 - 1)) + 1e-3 for s in self.scale]
        if max(blurs) > 0.05:
            # A warp samples single points; smoothing first keeps what it skips.
            frame = cv2.GaussianBlur(frame, (0, 0), blurs[0], sigmaY=blurs[1])
        matrix, size = self.matrix, self.size
        warped = cv2.warpAffine(frame, matrix, size, flags=cv2.INTER_LINEAR, borderValue=_BORDER)
        warped_labels = cv2.warpAffine(
            labels, matrix, size, flags=cv2.INTER_NEAREST, borderValue=UNLABELED
        )
        if self.mirrored:
            warped = cv2.flip(warped, 1)
            warped_labels = cv2.flip(warped_labels, 1)
        return warped, warped_labels

    def warp_planes(
        self, planes: NDArray[np.float32], frame_size: tuple[int, int], cell: int
    ) -> NDArray[np.float32]:
        """Values of the frame, given on a coarser grid, on a coarser grid of the result.

        :param planes: (K, h, w), each value that of a rectangle of the frame.
        :param frame_size: (width, height) of the frame in pixels.
        :param cell: sides of the squares of the result that values are wanted of [pixels].
        :returns: (K, height // cell, width // cell); 0 beyond the frame.
        """
        to_frame = _centers(frame_size[0] / planes.shape[2], frame_size[1] / planes.shape[1])
        to_result = np.vstack([self.matrix, (0, 0, 1)])
        if self.mirrored:
            to_result = np.array([[-1, 0, self.size[0] - 1], [0, 1, 0], [0, 0, 1]]) @ to_result
        matrix = (np.linalg.inv(_centers(cell, cell)) @ to_result @ to_frame)[:2]
        size = (self.size[0] // cell, self.size[1] // cell)
        return np.stack([cv2.warpAffine(plane, matrix, size) for plane in planes])


def _centers(width: float, height: float) -> NDArray[np.float64]:
    """(3, 3), from centres of rectangles of that size to those of the pixels below them."""
    return np.array([[width, 0, (width - 1) / 2], [0, height, (height - 1) / 2], [0, 0, 1]])


@dataclass(frozen=True)
class Augment:
    """Random geometry (rotate, scale, crop, mirror) and random light (colour, blur, noise).

    They are separate steps, so that what is pasted in between gets the same light.

    :param width: width of the result in pixels.
    :param height: height of the result in pixels.
    :param scale: smallest and largest enlargement of the frame before the crop.
    :param rotation: largest rotation to either side, degrees.
    :param aspect: largest change of width against height, natural logarithm: cameras and whoever
        fits their frames into a network differ in it.
    :param mirror: whether half of the frames are mirrored left to right.
    :param color: strength of brightness, contrast, saturation, tint and gamma changes, 0 is off.
    :param blur: probability of a light blur, as at dusk or in motion.
    :param noise: probability of sensor noise, as at dusk.
    :param focus: probability that the crop is placed around a pixel of one of `focus_classes`.
    :param focus_classes: class ids to place crops around; each one in the frame is equally likely.
    """

    width: int
    height: int
    scale: tuple[float, float] = (0.75, 1.5)
    rotation: float = 0.0
    aspect: float = 0.0
    mirror: bool = True
    color: float = 0.3
    blur: float = 0.1
    noise: float = 0.0
    focus: float = 0.0
    focus_classes: Sequence[int] = ()

    def warp(
        self,
        frame: NDArray[np.uint8],
        labels: NDArray[np.uint8],
        rng: np.random.Generator,
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Crop a random part of the frame, scaled, rotated and perhaps mirrored.

        :param frame: (H, W, 3) uint8 BGR.
        :param labels: (H, W) uint8, 255 for void.
        :returns: frame (height, width, 3) and labels (height, width); 255 beyond the frame.
        """
        return self.place(labels, rng).warp(frame, labels)

    def place(self, labels: NDArray[np.uint8], rng: np.random.Generator) -> Placement:
        """Draw which part of a frame is shown, and how.

        :param labels: (H, W) uint8 of the frame.
        """
        low, high = np.log(self.scale)
        scale = float(np.exp(rng.uniform(low, high)))
        squeeze = math.exp(rng.uniform(-self.aspect, self.aspect) / 2) if self.aspect else 1.0
        scale_x, scale_y = scale * squeeze, scale / squeeze
        height, width = labels.shape
        center_x = self._center(width, self.width / scale_x, rng)
        center_y = self._center(height, self.height / scale_y, rng)
        pixel = self._focus_pixel(labels, rng) if rng.random() < self.focus else None
        if pixel is not None:
            center_y = self._around(pixel[0], height, self.height / scale_y, rng)
            center_x = self._around(pixel[1], width, self.width / scale_x, rng)
        angle = math.radians(rng.uniform(-self.rotation, self.rotation))
        cos, sin = math.cos(angle), math.sin(angle)
        turn = np.array([[cos, -sin], [sin, cos]]) * (scale_x, scale_y)
        # From pixel centres of the frame to those of the crop.
        middle = np.array([(self.width - 1) / 2, (self.height - 1) / 2])
        shift = middle - turn @ (center_x, center_y)
        return Placement(
            np.column_stack([turn, shift]),
            (self.width, self.height),
            (scale_x, scale_y),
            bool(self.mirror and rng.random() < 0.5),
        )

    def recolor(self, frame: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
        """Change the light of a frame, (H, W, 3) uint8 BGR."""
        if self.color:
            frame = self._change_color(frame, rng)
        if rng.random() < self.blur:
            frame = cv2.GaussianBlur(frame, (0, 0), rng.uniform(0.4, 1.2))
        if rng.random() < self.noise:
            noise = rng.standard_normal(frame.shape, np.float32) * rng.uniform(2, 12)
            # Half a level more: the cast cuts off, and noise must not darken.
            frame = np.clip(frame + noise + 0.5, 0, 255).astype(np.uint8)
        return frame

    @staticmethod
    def _center(length: int, cut: float, rng: np.random.Generator) -> float:
        """Centre of a random cut inside, or of a cut that holds the whole length somewhere."""
        slack = abs(length - cut)
        return (length - 1) / 2 + rng.uniform(-0.5, 0.5) * slack

    @staticmethod
    def _around(position: int, length: int, cut: float, rng: np.random.Generator) -> float:
        """Centre of a cut that has the position in its middle half."""
        center = position + rng.uniform(-0.25, 0.25) * cut
        slack = abs(length - cut) / 2
        middle = (length - 1) / 2
        return min(max(center, middle - slack), middle + slack)

    def _focus_pixel(
        self, labels: NDArray[np.uint8], rng: np.random.Generator
    ) -> tuple[int, int] | None:
        counts = np.bincount(labels.ravel(), minlength=256)
        present = [c for c in self.focus_classes if counts[c]]
        if not present:
            return None
        positions = np.flatnonzero(labels == rng.choice(present))
        row, column = divmod(int(rng.choice(positions)), labels.shape[1])
        return row, column

    def _change_color(
        self, frame: NDArray[np.uint8], rng: np.random.Generator
    ) -> NDArray[np.uint8]:
        # Saturation, tint, brightness and contrast are one affine map of (b, g, r), gamma a
        # look-up table: two passes over the pixels instead of five.
        strength = self.color
        saturation = 1 + rng.uniform(-strength, strength)
        gray = np.full((3, 3), (0.114, 0.587, 0.299))
        matrix = saturation * np.eye(3) + (1 - saturation) * gray
        matrix *= 1 + rng.uniform(-strength, strength)
        matrix *= 1 + rng.uniform(-strength, strength, (3, 1)) / 3
        contrast = 1 + rng.uniform(-strength, strength)
        offset = 128 * (1 - contrast) + rng.uniform(-strength, strength) * 64
        affine = np.hstack([matrix * contrast, np.full((3, 1), offset)])
        changed = cv2.transform(frame, affine.astype(np.float32))
        gamma = float(np.exp(rng.uniform(-strength, strength)))
        table = np.round(255 * (np.arange(256) / 255) ** gamma).astype(np.uint8)
        result: NDArray[np.uint8] = cv2.LUT(changed, table)
        return result
