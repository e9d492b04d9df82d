"""16-bit samples to 8 bits: cameras rarely use all of the 16."""

from __future__ import annotations

import logging

import cv2
import numpy as np
from numpy.typing import NDArray

#: Bits that sensors have. A frame is taken to have the fewest that hold its brightest sample.
_BITS = (10, 12, 14, 16)

_LOG = logging.getLogger('linknet_ros')

_reported: set[int] = set()


def to_eight_bits(samples: NDArray[np.uint16], maximum: int = 0) -> NDArray[np.uint8]:
    """Scale 16-bit samples to 8 bits, so that a network sees a usual brightness.

    A camera of 10 or 12 bits fills the lower bits of 16 only, and would be nearly black. The range
    is found frame by frame and logged once; it does not depend on other frames, so recordings give
    the same as the robot. It may change between dark and bright frames: `maximum` keeps it.

    :param samples: uint16 of any shape.
    :param maximum: value that becomes 255, larger ones too; 0 finds the range.
    :returns: uint8 of the same shape.
    """
    if maximum:
        scaled = cv2.convertScaleAbs(samples, alpha=255 / maximum)
        return np.asarray(scaled, np.uint8).reshape(samples.shape)
    brightest = int(samples.max(initial=0))
    bits = next(bits for bits in _BITS if brightest < 1 << bits)
    if bits < 16 and bits not in _reported:
        _reported.add(bits)
        _LOG.warning(
            'frames have 16-bit samples of %d at most: taken for a range of %d bits; set '
            'mono16_max to %d if it shall never change',
            brightest,
            bits,
            (1 << bits) - 1,
        )
    return (samples >> (bits - 8)).astype(np.uint8)
