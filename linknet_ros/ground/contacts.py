"""What each ray over the ground meets first in a frame."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from linknet_ros.classes import UNLABELED
from linknet_ros.ground.rays import Bytes, Doubles, Floats, GroundRays, Indices
from linknet_ros.ground.specks import SpeckFilter

#: How a ray ends: nothing is known beyond, at an obstacle, free to the largest range.
UNKNOWN, CONTACT, OPEN = range(3)

#: A stretch of up to this many unsure pixels before an obstacle belongs to the obstacle: networks
#: are unsure at the edges of objects.
_FRINGE = 8

#: What a pixel means for driving; the greater value wins where one must.
_FREE, _UNSURE, _RAISED, _OBSTACLE, _OVERHANG = range(5)

#: What a raised class has less of above the ground is flat: a marking on the road [m].
_FLAT = 0.15

#: A marking so near before an obstacle is taken for a part of it, or else the ray would lose that
#: obstacle [m].
_BEFORE = 0.25


@dataclass(frozen=True)
class Contacts:
    """How far each ray is free, and how it ends.

    :param limit: (rays,) float32 distance of its end from the camera's foot [m].
    :param kind: (rays,) uint8: UNKNOWN, CONTACT or OPEN.
    :param label: (rays,) uint8 class id of the pixel that makes the contact, 255 without one.
    :param confidence: (rays,) uint8 of that pixel, 0 without one.
    """

    limit: Floats
    kind: Bytes
    label: Bytes
    confidence: Bytes


def kind_table(
    classes: int,
    drivable: Iterable[int],
    unsure: Iterable[int] = (),
    overhanging: Iterable[int] = (),
    raised: Iterable[int] = (),
) -> Bytes:
    """Look-up table from class id to its meaning for driving, (256,) uint8, for ContactFinder.

    :param classes: number of the model's classes; all other ids are unsure.
    :param drivable: ids of classes that are free, whatever else they are listed as.
    :param unsure: ids of classes that end free ground without being obstacles, e.g. sky.
    :param overhanging: ids of obstacles whose undersides do not touch the ground, e.g. cars.
    :param raised: ids of obstacles that never lie flat on the ground, e.g. signs: where they seem
        to, the network took a marking on the road for one.
    """
    table = np.full(256, _UNSURE, np.uint8)
    table[:classes] = _OBSTACLE
    table[list(raised)] = _RAISED
    table[list(overhanging)] = _OVERHANG
    table[list(unsure)] = _UNSURE
    table[list(drivable)] = _FREE
    return table


class ContactFinder:
    """Searches labels along rays for the first pixel that is not free.

    :param rays: rays of the camera.
    :param size: (width, height) of the image that the rays index [px].
    :param block: side of the square of label pixels that one of its pixels stands for; the worst
        of the square counts, an obstacle being the worst [px].
    """

    def __init__(self, rays: GroundRays, size: tuple[int, int], block: int = 1) -> None:
        self._rays = rays
        width, height = size
        self._block = block
        # Blocks that reach beyond the labels are free there, which is never the worst.
        self._full = np.full((block * height, block * width), _FREE, np.uint8)
        # Where the confidence is too low.
        self._doubtful = np.empty_like(self._full)
        end = width * height
        # One more entry for the index that ends a ray.
        self._kinds = np.full(end + 1, _UNSURE, np.uint8)
        self._image = self._kinds[:end].reshape(height, width)
        self._specks = SpeckFilter(rays, size)
        self._along = np.empty(rays.pixels.shape, np.uint8)
        self._blocked = np.empty(rays.pixels.shape, np.bool_)
        self._rows = np.arange(len(rays))
        self._first = np.empty(len(rays), np.intp)
        most = rays.pixels.shape[1] - 1
        self._fringe = np.minimum(np.arange(_FRINGE + 1), most)
        self._most = most

    def find(
        self,
        labels: Bytes,
        table: Bytes,
        confidence: Bytes | None = None,
        min_confidence: int = 0,
        clearance: float = 0.0,
        smallest: float = 0.0,
    ) -> Contacts:
        """Find the contacts of a frame.

        The first pixel of a ray that is not free ends it. An obstacle makes a contact where the
        ray enters its pixel. An unsure pixel ends the ray without a contact, unless an obstacle
        follows within a few pixels, with nothing free in between: then the contact is where the
        unsure stretch begins, the nearest place at which the obstacle can stand. A raised class
        that lies flat on free ground is unsure, unless an obstacle stands just behind it.

        :param labels: (H, W) uint8 class ids; `block` times the size, or up to a block less.
        :param table: from kind_table.
        :param confidence: (H, W) uint8, or None.
        :param min_confidence: drivable pixels of a lower confidence are unsure, 0 to 255; an
            obstacle stays one.
        :param clearance: height of the undersides of overhanging classes [m]. The ray that grazes
            an edge at this height meets the ground further on, by h / (h - clearance) for a camera
            at height h; those contacts are moved back.
        :param smallest: width and height of the smallest obstacle, see SpeckFilter; 0: everything
            counts [m].
        :returns: new arrays.
        """
        rays, rows = self._rays, self._rows
        kinds = self._image if self._block == 1 else self._full[: len(labels), : len(labels[0])]
        cv2.LUT(labels, table, kinds)
        if confidence is not None and min_confidence > 0:
            doubtful = self._doubtful[: len(labels), : len(labels[0])]
            np.less(confidence, np.uint8(min_confidence), out=doubtful.view(np.bool_))
            # True is _UNSURE, and only free is less: the maximum changes nothing else.
            np.maximum(kinds, doubtful, out=kinds)
        if self._block > 1:
            worst(self._full, self._block, self._image)
        if smallest > 0:
            self._specks.take_out(self._image, _FREE, _UNSURE, smallest)
        np.take(self._kinds, rays.pixels, out=self._along, mode='clip')
        np.not_equal(self._along, _FREE, out=self._blocked)
        # Every ray ends with an index that is not free, so there is always a first one.
        self._blocked.argmax(1, out=self._first)
        first = self._first
        found = self._along[rows, first]
        limit = rays.near[rows, first]
        decisive = first.copy()
        unsure = np.flatnonzero(found == _UNSURE)
        if len(unsure):
            ahead = np.minimum(first[unsure, None] + self._fringe, self._most)
            following = self._along[unsure[:, None], ahead]
            sure = (following != _UNSURE).argmax(1)
            found[unsure] = following[np.arange(len(unsure)), sure]
            decisive[unsure] = ahead[np.arange(len(unsure)), sure]
            found[unsure[found[unsure] == _FREE]] = _UNSURE
        self._drop_flat(found)
        if clearance > 0:
            share = max(0.0, 1 - clearance / rays.height)
            np.multiply(limit, np.float32(share), out=limit, where=found == _OVERHANG)
        kind = np.where(found >= _RAISED, CONTACT, UNKNOWN).astype(np.uint8)
        ended = rays.pixels[rows, first] == len(self._kinds) - 1
        kind[ended & rays.reaches] = OPEN
        at = np.flatnonzero(kind == CONTACT)
        rows, columns = self._label_pixels(rays.pixels[at, decisive[at]], labels, table)
        label, sureness = np.full(len(rays), UNLABELED, np.uint8), np.zeros(len(rays), np.uint8)
        label[at] = labels[rows, columns]
        sureness[at] = 255 if confidence is None else confidence[rows, columns]
        return Contacts(limit, kind, label, sureness)

    def _label_pixels(
        self, pixels: Indices, labels: Bytes, table: Bytes
    ) -> tuple[Indices, Indices]:
        """Rows and columns of the labels that pixels of the rays' image have their kinds from."""
        rows, columns = np.divmod(pixels, self._image.shape[1])
        if self._block == 1:
            return rows, columns
        inside = np.arange(self._block * self._block)
        rows = rows[:, None] * self._block + inside // self._block
        columns = columns[:, None] * self._block + inside % self._block
        # Beyond the border its last pixel again: the same, not a worse one.
        rows = np.minimum(rows, len(labels) - 1)
        columns = np.minimum(columns, len(labels[0]) - 1)
        chosen = np.arange(len(pixels)), table[labels[rows, columns]].argmax(1)
        return rows[chosen], columns[chosen]

    def _drop_flat(self, found: Bytes) -> None:
        """Make the contacts with raised classes unsure that lie flat on free ground.

        What stands at d and hides the ground up to e has the height h (1 - d / e), for a camera at
        height h. Just before an obstacle it stays a contact: a kerb with a yellow line is there.

        :param found: (rays,) kind of the first pixel that is not free; changed.
        """
        raised = np.flatnonzero(found == _RAISED)
        if not len(raised):
            return
        along, first = self._along[raised], self._first[raised]
        behind = np.arange(along.shape[1]) > first[:, None]
        end = (behind & (along != _RAISED)).argmax(1)
        rows = np.arange(len(raised))
        near = self._rays.near[raised]
        height = self._rays.height * (1 - near[rows, first] / near[rows, end])
        flat = (along[rows, end] == _FREE) & (height < _FLAT)
        beyond = np.arange(along.shape[1]) > end[:, None]
        # Over further markings too: lines are often two.
        next_one = (beyond & (along != _FREE) & (along != _RAISED)).argmax(1)
        gap = near[rows, next_one] - near[rows, first]
        flat &= (along[rows, next_one] < _OBSTACLE) | (gap > _BEFORE)
        found[raised[flat]] = _UNSURE


def worst(values: Bytes, block: int, out: Bytes) -> None:
    """Reduce an image to the largest value of each square block.

    :param values: (block * H, block * W) uint8.
    :param block: side of a block [px].
    :param out: (H, W) uint8, overwritten.
    """
    out[:] = values[::block, ::block]
    for i in range(1, block * block):
        np.maximum(out, values[i // block :: block, i % block :: block], out=out)


class ContactFilter:
    """Removes what only a single frame shows (parameter ground.filter).

    A ray keeps its newest limit if one of the two frames before agrees with it, else it gets the
    median of the three, with its kind. So what appears in one frame only is removed, an object
    that one frame misses stays, and a new obstacle is hidden for one frame and no longer. Limits
    agree within half a metre plus a tenth of the distance, more than a robot drives between two
    frames: an obstacle that approaches is reported without delay.
    """

    #: Frames further apart than this, in either direction, do not belong together [s].
    _PAUSE = 1.0

    def __init__(self) -> None:
        self._past: list[Contacts] = []
        self._stamp = 0.0

    def filter(self, contacts: Contacts, stamp: float) -> Contacts:
        """Filter the contacts of a frame.

        :param contacts: contacts of the newest frame; copied.
        :param stamp: time of the frame [s]; the filter starts again after a jump.
        """
        if not 0 < stamp - self._stamp < self._PAUSE or (
            self._past and len(self._past[0].limit) != len(contacts.limit)
        ):
            self._past.clear()
        self._stamp = stamp
        newest = Contacts(**{name: part.copy() for name, part in vars(contacts).items()})
        past, self._past = self._past, [*self._past[-1:], newest]
        if len(past) < 2:
            return newest
        frames = (*past, newest)
        limits = np.stack([frame.limit for frame in frames])
        apart = np.abs(limits[:2] - newest.limit).min(0)
        chosen = np.argsort(limits, axis=0, kind='stable')[1]
        chosen[apart <= 0.5 + 0.1 * newest.limit] = 2
        at = chosen, np.arange(len(chosen))
        parts = {name: [vars(frame)[name] for frame in frames] for name in vars(newest)}
        return Contacts(**{name: np.stack(arrays)[at] for name, arrays in parts.items()})


def outline(rays: GroundRays, contacts: Contacts, parts: int) -> tuple[Doubles, NDArray[np.intp]]:
    """Points on the ground along the contacts, joined where the image shows no step.

    Neighbouring contacts belong together if their ranges differ by no more than one and a half
    pixels span there: an edge in an image climbs in steps of one pixel.

    :param rays: rays of the camera.
    :param contacts: contacts of a frame.
    :param parts: number of points from one contact to the next.
    :returns: (n, 2) float64 x and y in the base frame [m], and (n,) intp index of each point's
        ray; the first points are the contacts themselves.
    """
    at = np.flatnonzero(contacts.kind == CONTACT)
    limit = contacts.limit[at].astype(np.float64)
    points = np.array(rays.foot) + limit[:, None] * rays.directions()[at]
    # The range that a pixel spans, from r = h / tan(depression).
    depth = (limit**2 + rays.height**2) / rays.height * rays.pixel_angle
    joined = np.flatnonzero(
        (np.diff(at) == 1) & (np.abs(np.diff(limit)) <= 1.5 * np.maximum(depth[1:], depth[:-1]))
    )
    shares = np.arange(1, parts) / parts
    steps = (points[joined + 1] - points[joined])[:, None] * shares[:, None]
    between = (points[joined, None] + steps).reshape(-1, 2)
    return np.concatenate([points, between]), np.concatenate(
        [at, np.repeat(at[joined], parts - 1)]
    )
