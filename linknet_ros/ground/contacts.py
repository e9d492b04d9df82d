"""What each ray over the ground meets first, frame by frame."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from linknet_ros.ground.rays import Bytes, Doubles, Floats, GroundRays

#: Kinds of a ray's end: nothing known beyond it, an obstacle, free as far as it goes.
UNKNOWN, CONTACT, OPEN = range(3)

#: An unlabelled stretch of so many pixels or fewer before an obstacle belongs to it: at the edges
#: of things networks are unsure.
_FRINGE = 8

#: What a pixel is to a robot that drives.
_FREE, _UNSURE, _OBSTACLE, _OVERHANG = range(4)


@dataclass(frozen=True)
class Contacts:
    """How far each ray is free, and why it ends there.

    :param limit: (rays,) float32 distance from the camera's foot [m].
    :param kind: (rays,) uint8: UNKNOWN, CONTACT or OPEN.
    """

    limit: Floats
    kind: Bytes


def kind_table(
    classes: int,
    drivable: Iterable[int],
    unsure: Iterable[int] = (),
    overhanging: Iterable[int] = (),
) -> Bytes:
    """Look-up table of what a class is on the ground, (256,) uint8, for ContactFinder.

    :param classes: number of the model's classes; ids that are none of them are unsure.
    :param drivable: class ids that are free, even where they are in one of the others too.
    :param unsure: class ids that end what is free but are no obstacles, as sky.
    :param overhanging: class ids of obstacles whose undersides do not touch the ground, as cars.
    """
    table = np.full(256, _UNSURE, np.uint8)
    table[:classes] = _OBSTACLE
    table[list(overhanging)] = _OVERHANG
    table[list(unsure)] = _UNSURE
    table[list(drivable)] = _FREE
    return table


class ContactFinder:
    """Looks labels through along rays; the results are overwritten by the next frame.

    :param rays: of the camera.
    :param size: (width, height) of its image.
    :param block: side of the square of label pixels that each of its pixels stands for; the worst
        of them counts, an obstacle most.
    """

    def __init__(self, rays: GroundRays, size: tuple[int, int], block: int = 1) -> None:
        self._rays = rays
        width, height = size
        self._block = block
        # Beyond the labels the last blocks are free, which is never the worst.
        self._full = np.full((block * height, block * width), _FREE, np.uint8)
        # Where drivable pixels are unsure, as large as the labels at most.
        self._doubtful = np.empty_like(self._full)
        end = width * height
        # One more for what ends a ray.
        self._kinds = np.full(end + 1, _UNSURE, np.uint8)
        self._image = self._kinds[:end].reshape(height, width)
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
    ) -> Contacts:
        """The contacts of a frame.

        The first pixel of a ray that is not free ends it: an obstacle is a contact where the ray
        enters its pixel. A pixel that is unsure ends it without one, unless an obstacle follows
        within a few pixels and nothing free before it; the contact is where it began to be
        unsure, the nearest place at which the obstacle can stand.

        :param labels: (H, W) uint8 class ids, of `block` times the size or some less.
        :param table: from kind_table.
        :param confidence: (H, W) uint8; drivable pixels below min_confidence, 0 to 255, are
            unsure. An unsure obstacle stays one.
        :param clearance: height of the undersides of what overhangs [m]. The ray that grazes an
            edge at this height meets the ground further on, by h / (h - clearance) for a camera at
            the height h; those contacts are moved back.
        """
        rays, rows = self._rays, self._rows
        kinds = self._image if self._block == 1 else self._full[: len(labels), : len(labels[0])]
        cv2.LUT(labels, table, kinds)
        if confidence is not None and min_confidence > 0:
            doubtful = self._doubtful[: len(labels), : len(labels[0])]
            np.less(confidence, np.uint8(min_confidence), out=doubtful.view(np.bool_))
            # True is _UNSURE. Free is the smallest, so the maximum changes nothing else.
            np.maximum(kinds, doubtful, out=kinds)
        if self._block > 1:
            worst(self._full, self._block, self._image)
        np.take(self._kinds, rays.pixels, out=self._along, mode='clip')
        np.not_equal(self._along, _FREE, out=self._blocked)
        # A ray ends with an index that is not free: there is always a first.
        self._blocked.argmax(1, out=self._first)
        first = self._first
        found = self._along[rows, first]
        limit = rays.near[rows, first]
        unsure = np.flatnonzero(found == _UNSURE)
        if len(unsure):
            ahead = np.minimum(first[unsure, None] + self._fringe, self._most)
            following = self._along[unsure[:, None], ahead]
            sure = (following != _UNSURE).argmax(1)
            found[unsure] = following[np.arange(len(unsure)), sure]
            found[unsure[found[unsure] == _FREE]] = _UNSURE
        if clearance > 0:
            share = max(0.0, 1 - clearance / rays.height)
            np.multiply(limit, np.float32(share), out=limit, where=found == _OVERHANG)
        kind = np.where(found >= _OBSTACLE, CONTACT, UNKNOWN).astype(np.uint8)
        ended = rays.pixels[rows, first] == len(self._kinds) - 1
        kind[ended & rays.reaches] = OPEN
        return Contacts(limit, kind)


def worst(values: Bytes, block: int, out: Bytes) -> None:
    """Largest value of each square block.

    :param values: (block * H, block * W) uint8.
    :param out: (H, W) uint8.
    """
    out[:] = values[::block, ::block]
    for i in range(1, block * block):
        np.maximum(out, values[i // block :: block, i % block :: block], out=out)


class ContactFilter:
    """Removes what one frame alone says; off unless asked for.

    A ray's newest limit counts when one of the two frames before it agrees, else the median of
    the three, with its kind. So what shows up in one frame only is left out, a thing that one
    frame misses stays, and a new obstacle is hidden for one frame and no longer. Limits agree
    within half a metre and a tenth, more than a robot drives between two frames, so that an
    obstacle that comes nearer is seen without delay.
    """

    #: Frames further apart than this, in either direction, are not of one drive [s].
    _PAUSE = 1.0

    def __init__(self) -> None:
        self._past: list[Contacts] = []
        self._stamp = 0.0

    def filter(self, contacts: Contacts, stamp: float) -> Contacts:
        """The contacts to go by.

        :param contacts: of the newest frame; copied.
        :param stamp: of the frame [s]; a jump begins anew.
        """
        if not 0 < stamp - self._stamp < self._PAUSE or (
            self._past and len(self._past[0].limit) != len(contacts.limit)
        ):
            self._past.clear()
        self._stamp = stamp
        newest = Contacts(contacts.limit.copy(), contacts.kind.copy())
        past, self._past = self._past, [*self._past[-1:], newest]
        if len(past) < 2:
            return newest
        limits = np.stack([*(frame.limit for frame in past), newest.limit])
        kinds = np.stack([*(frame.kind for frame in past), newest.kind])
        apart = np.abs(limits[:2] - newest.limit).min(0)
        chosen = np.argsort(limits, axis=0, kind='stable')[1]
        chosen[apart <= 0.5 + 0.1 * newest.limit] = 2
        rays = np.arange(len(chosen))
        return Contacts(limits[chosen, rays], kinds[chosen, rays])


def outline(rays: GroundRays, contacts: Contacts, parts: int) -> tuple[Doubles, NDArray[np.intp]]:
    """Points on the ground along the contacts, joined where the picture shows no step.

    Neighbouring contacts belong together when they are no further apart in range than one and a
    half pixels span there: pixel by pixel an edge climbs in steps of one.

    :param parts: points from one contact to the next.
    :returns: (n, 2) float64 x and y in the base frame [m], and the ray of each; the first points
        are the contacts themselves.
    """
    at = np.flatnonzero(contacts.kind == CONTACT)
    limit = contacts.limit[at].astype(np.float64)
    points = np.array(rays.foot) + limit[:, None] * rays.directions()[at]
    # A pixel spans this range, from r = h / tan(depression).
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
