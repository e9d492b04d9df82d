"""Random changes of a frame and its labels together."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from linknet_ros.classes import UNLABELED

#: Pixels beyond the frame get the mean colour of ImageNet (BGR), which normalises to 0.
_BORDER = (104, 116, 124)


@dataclass(frozen=True)
class Augment:
    """Scale, crop, mirror, colour and blur, drawn anew for every call.

    :param width: width of the result in pixels.
    :param height: height of the result in pixels.
    :param scale: smallest and largest enlargement of the frame before the crop.
    :param color: strength of brightness, contrast, saturation and tint changes, 0 is off.
    :param blur: probability of a light blur, which dusk and motion bring.
    """

    width: int
    height: int
    scale: tuple[float, float] = (0.75, 1.5)
    color: float = 0.3
    blur: float = 0.1

    def __call__(
        self,
        frame: NDArray[np.uint8],
        labels: NDArray[np.uint8],
        rng: np.random.Generator,
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """One random variant.

        :param frame: (H, W, 3) uint8 BGR.
        :param labels: (H, W) uint8, 255 for void.
        :returns: frame (height, width, 3) and labels (height, width); 255 beyond the frame.
        """
        frame, labels = self._scale_and_crop(frame, labels, rng)
        if rng.random() < 0.5:
            frame = cv2.flip(frame, 1)
            labels = cv2.flip(labels, 1)
        if self.color:
            frame = self._change_color(frame, rng)
        if rng.random() < self.blur:
            frame = cv2.GaussianBlur(frame, (0, 0), rng.uniform(0.4, 1.2))
        return frame, labels

    def _scale_and_crop(
        self,
        frame: NDArray[np.uint8],
        labels: NDArray[np.uint8],
        rng: np.random.Generator,
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        # Cutting first and scaling the cut only is the same picture for less work.
        low, high = np.log(self.scale)
        scale = float(np.exp(rng.uniform(low, high)))
        height, width = labels.shape
        cut_width = min(width, math.ceil(self.width / scale))
        cut_height = min(height, math.ceil(self.height / scale))
        left = int(rng.integers(0, width - cut_width + 1))
        top = int(rng.integers(0, height - cut_height + 1))
        region = np.s_[top : top + cut_height, left : left + cut_width]
        size = (
            min(self.width, round(cut_width * scale)),
            min(self.height, round(cut_height * scale)),
        )
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        small_frame = cv2.resize(frame[region], size, interpolation=how)
        small_labels = cv2.resize(labels[region], size, interpolation=cv2.INTER_NEAREST_EXACT)
        if size == (self.width, self.height):
            return small_frame, small_labels
        out_frame = np.full((self.height, self.width, 3), _BORDER, np.uint8)
        out_labels = np.full((self.height, self.width), UNLABELED, np.uint8)
        left = int(rng.integers(0, self.width - size[0] + 1))
        top = int(rng.integers(0, self.height - size[1] + 1))
        out_frame[top : top + size[1], left : left + size[0]] = small_frame
        out_labels[top : top + size[1], left : left + size[0]] = small_labels
        return out_frame, out_labels

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
