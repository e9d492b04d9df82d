"""Other seasons, countries and cameras for the procedural street."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from linknet_ros.classes import CAMVID
from linknet_ros.simulation.figures import Bytes


@dataclass(frozen=True)
class Look:
    """What differs from the town that the street is otherwise.

    :param tints: for a class of CAMVID the colour (blue, green, red) that covers it, and how much
        of it, 0 to 1.
    :param height_m: of the camera above the ground [m].
    :param pitch: angle by which it looks down [rad].
    """

    tints: Mapping[str, tuple[tuple[int, int, int], float]] = field(default_factory=dict)
    height_m: float = 1.5
    pitch: float = 0.055

    def table(self) -> Bytes:
        """What becomes of a colour: uint8 (256, 256, 3), by class id, value and channel."""
        values = np.arange(256, dtype=np.float64)[:, None]
        table = np.repeat(values, 3, 1)[None].repeat(256, 0)
        for name, (color, share) in self.tints.items():
            table[CAMVID.ids([name])[0]] = (1 - share) * values + share * np.array(color)
        return table.round().astype(np.uint8)


LOOKS = {
    'town': Look(),
    # A delivery robot in winter: trodden snow on the road, deep snow beside it.
    'snow': Look(
        {
            'road': ((205, 196, 190), 0.6),
            'pavement': ((246, 240, 236), 0.8),
            'tree': ((214, 210, 206), 0.55),
            'building': ((190, 186, 184), 0.25),
            'sky': ((226, 222, 220), 0.7),
        },
        height_m=0.75,
        pitch=0.02,
    ),
    # A truck in a dry country: tracks of sand.
    'sand': Look(
        {
            'road': ((120, 160, 190), 0.65),
            'pavement': ((135, 182, 214), 0.75),
            'tree': ((90, 130, 150), 0.5),
            'building': ((140, 180, 205), 0.5),
        },
        height_m=2.4,
        pitch=0.1,
    ),
}
