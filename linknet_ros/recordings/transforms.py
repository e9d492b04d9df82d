"""The transforms of a recording (/tf, /tf_static), looked up at any moment of it."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from linknet_ros.errors import CalibrationError
from linknet_ros.ground.mount import Mount
from linknet_ros.recordings.bag_messages import nanoseconds

#: Topics, and the type of their messages.
TF, TF_STATIC, TF_MESSAGE = '/tf', '/tf_static', 'tf2_msgs/msg/TFMessage'

Vector = tuple[float, float, float]
#: x, y, z, w.
Quaternion = tuple[float, float, float, float]
Transform = tuple[Vector, Quaternion]

_IDENTITY: Transform = ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0))


@dataclass
class _Edge:
    """A frame in its parent, at moments that rise [ns]."""

    parent: str
    static: bool
    moments: list[int] = field(default_factory=list)
    transforms: list[Transform] = field(default_factory=list)


class Transforms:
    """Frames and their parents; unlike a tf buffer it knows all of the past and the future."""

    def __init__(self) -> None:
        self._edges: dict[str, _Edge] = {}

    def add(self, transforms: Iterable[Any], *, static: bool) -> None:
        """Add the transforms of a message.

        :param transforms: geometry_msgs/TransformStamped.
        """
        for stamped in transforms:
            parent = stamped.header.frame_id.lstrip('/')
            child = stamped.child_frame_id.lstrip('/')
            edge = self._edges.get(child)
            if edge is None or edge.parent != parent:
                edge = self._edges[child] = _Edge(parent, static)
            at, turned = stamped.transform.translation, stamped.transform.rotation
            transform = ((at.x, at.y, at.z), (turned.x, turned.y, turned.z, turned.w))
            moment = nanoseconds(stamped.header.stamp)
            if static:
                edge.moments[:], edge.transforms[:] = [moment], [transform]
                continue
            index = len(edge.moments)
            if edge.moments and moment <= edge.moments[-1]:
                index = bisect_left(edge.moments, moment)
                if edge.moments[index] == moment:
                    continue
            edge.moments.insert(index, moment)
            edge.transforms.insert(index, transform)

    def mount(self, base_frame: str, camera_frame: str, moment: int) -> Mount:
        """Where a camera is at a moment.

        :param camera_frame: its optical frame.
        :param moment: ns.
        :raises CalibrationError: when the recording does not say.
        """
        base, camera = base_frame.lstrip('/'), camera_frame.lstrip('/')
        ups = self._up(camera, moment)
        downs = self._up(base, moment)
        shared = next((name for name in ups if name in downs), None)
        if shared is None:
            raise CalibrationError(
                f"tf of the recording does not connect '{camera_frame}' with '{base_frame}'",
                'set ground.base_frame, or ground.height instead of ground.use_tf',
            )
        position, turned = _chained(_inverse(downs[shared]), ups[shared])
        return Mount.from_quaternion(position, turned)

    def _up(self, frame: str, moment: int) -> dict[str, Transform]:
        """The frame in itself and in each frame above it."""
        found = {frame: _IDENTITY}
        name, total = frame, _IDENTITY
        while (edge := self._edges.get(name)) is not None and edge.parent not in found:
            try:
                total = _chained(_at(edge, moment), total)
            except ValueError:
                # Above here nothing is known at this moment, which matters only if it is needed.
                break
            name = edge.parent
            found[name] = total
        return found


def _at(edge: _Edge, moment: int) -> Transform:
    """The transform at a moment, between those of the recording.

    :raises ValueError: before the first and after the last.
    """
    if edge.static:
        return edge.transforms[0]
    index = bisect_left(edge.moments, moment)
    if index < len(edge.moments) and edge.moments[index] == moment:
        return edge.transforms[index]
    if index in (0, len(edge.moments)):
        raise ValueError
    before, after = edge.moments[index - 1], edge.moments[index]
    share = (moment - before) / (after - before)
    (a, p), (b, q) = edge.transforms[index - 1], edge.transforms[index]
    x, y, z = (s + share * (e - s) for s, e in zip(a, b, strict=True))
    return (x, y, z), _between(p, q, share)


def _between(p: Quaternion, q: Quaternion, share: float) -> Quaternion:
    """Spherical linear interpolation, as tf2 does it."""
    cosine = sum(a * b for a, b in zip(p, q, strict=True))
    sign = -1.0 if cosine < 0 else 1.0
    angle = math.acos(min(1.0, abs(cosine)))
    if angle < 1e-6:
        first, second = 1 - share, share
    else:
        first = math.sin((1 - share) * angle) / math.sin(angle)
        second = math.sin(share * angle) / math.sin(angle)
    x, y, z, w = (first * a + sign * second * b for a, b in zip(p, q, strict=True))
    return x, y, z, w


def _product(p: Quaternion, q: Quaternion) -> Quaternion:
    x, y, z, w = p
    a, b, c, d = q
    return (
        w * a + x * d + y * c - z * b,
        w * b - x * c + y * d + z * a,
        w * c + x * b - y * a + z * d,
        w * d - x * a - y * b - z * c,
    )


def _turned(q: Quaternion, v: Vector) -> Vector:
    x, y, z, _ = _product(_product(q, (*v, 0.0)), (-q[0], -q[1], -q[2], q[3]))
    return x, y, z


def _chained(outer: Transform, inner: Transform) -> Transform:
    (x, y, z), (a, b, c) = outer[0], _turned(outer[1], inner[0])
    return (x + a, y + b, z + c), _product(outer[1], inner[1])


def _inverse(transform: Transform) -> Transform:
    (x, y, z), (a, b, c, d) = transform
    back = (-a, -b, -c, d)
    return _turned(back, (-x, -y, -z)), back
