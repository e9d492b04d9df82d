"""Depth images and organised clouds: their points, and which of them belongs to a frame."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from linknet_ros.errors import CalibrationError
from linknet_ros.ground.camera import CameraModel
from linknet_ros.ground.camera_info import SAME_SHAPE, camera_model_of, size_of

Floats = NDArray[np.float32]

#: Types of messages with depth.
DEPTH_TYPES = ('sensor_msgs/msg/Image', 'sensor_msgs/msg/PointCloud2')

#: Stamps of one moment differ by no more: less than cameras of 30 Hz take to the next [ns].
TOGETHER = 20_000_000

#: NumPy's type, and metres of one unit, by encoding (REP 118; mono16 is what some drivers say).
_ENCODINGS = {'32FC1': ('f4', 1.0), '16UC1': ('u2', 0.001), 'mono16': ('u2', 0.001)}

#: PointField.FLOAT32.
_FLOAT32 = 7

#: How many depth messages are kept, and how many frames that wait for theirs.
_KEPT, _WAITING = 8, 8

Frame = TypeVar('Frame')
Depth = TypeVar('Depth')


class StampMatcher(Generic[Frame, Depth]):
    """Pairs frames with the depth of the same moment, whichever comes first.

    A frame gets the depth of its stamp, or else the nearest one, as soon as a later one shows that
    no nearer one comes. `add_depth` may be called by another thread than the rest.
    """

    def __init__(self) -> None:
        self._depths: tuple[tuple[int, Depth], ...] = ()
        self._frames: list[tuple[int, Frame]] = []
        #: Frames that gave way since they were counted.
        self._dropped = 0

    def add_depth(self, stamp: int, depth: Depth) -> None:
        """Keep a depth message for a while.

        :param stamp: ns.
        """
        # A new tuple each time: a thread that reads the old one is not disturbed.
        self._depths = (*self._depths[1 - _KEPT :], (stamp, depth))

    def add_frame(self, stamp: int, frame: Frame) -> None:
        """Let a frame wait for its depth; the oldest gives way.

        :param stamp: ns.
        """
        self._dropped += len(self._frames) >= _WAITING
        self._frames = [*self._frames[1 - _WAITING :], (stamp, frame)]

    def matched(self, *, ended: bool = False) -> tuple[list[tuple[Frame, Depth]], int]:
        """Frames that have their depth by now, in order, and how many will never have one.

        :param ended: whether no more depth comes, so that no frame waits for a nearer one.
        """
        depths = self._depths
        pairs: list[tuple[Frame, Depth]] = []
        waiting, lost, self._dropped = [], self._dropped, 0
        for stamp, frame in self._frames:
            nearest = min(depths, key=lambda entry: abs(entry[0] - stamp), default=None)
            if not ended and all(entry[0] < stamp for entry in depths):
                waiting.append((stamp, frame))
            elif nearest is not None and abs(nearest[0] - stamp) <= TOGETHER:
                pairs.append((frame, nearest[1]))
            else:
                lost += 1
        self._frames = waiting
        return pairs, lost

    def __len__(self) -> int:
        """Number of frames that wait."""
        return len(self._frames)


def check_depth(message: Any, topic: str, frame_id: str, width: int, height: int) -> None:
    """Check that depth is of the pixels of an image.

    :param message: sensor_msgs/Image or PointCloud2.
    :param topic: where it comes from, for the message.
    :param frame_id: of the image.
    :param width: of the image [px].
    :param height: of the image [px].
    :raises CalibrationError: if it is not.
    """
    size = size_of(message)
    if size is None:
        raise CalibrationError(
            f'the cloud on {topic} is not organised', 'give one with a point for each pixel'
        )
    if abs(size[0] * height / (size[1] * width) - 1) > SAME_SHAPE:
        raise CalibrationError(
            f'{topic} is {size[0]}x{size[1]}, which is not the shape of the image '
            f'({width}x{height})',
            'give the one that is registered to the image',
        )
    # The points of a cloud say themselves where they are.
    if hasattr(message, 'encoding') and message.header.frame_id not in ('', frame_id):
        raise CalibrationError(
            f"{topic} is of frame '{message.header.frame_id}', the image of '{frame_id}'",
            'give the depth image that is registered to the image',
        )


class DepthPoints:
    """Finds the points of depth messages; the directions of pixels are computed once a camera."""

    def __init__(self) -> None:
        self._camera: CameraModel | None = None
        self._plane = np.empty((0, 0, 2), np.float32)

    def of(self, message: Any, info_at: Callable[[int, int], Any], rectified: bool) -> Floats:
        """Points of the pixels, (H, W, 3) float32 x, y, z [m]; NaN where there is none.

        Those of a depth image are in the camera's optical frame, those of a cloud are its own.

        :param message: sensor_msgs/Image (32FC1 [m] or 16UC1 [mm]) or organised PointCloud2.
        :param info_at: gives the camera's CameraInfo for a width and height.
        :param rectified: see camera_model_of.
        :raises CalibrationError: for a message that cannot be read, or without camera_info.
        """
        if not hasattr(message, 'encoding'):
            return _points_of(message)
        depth = _metres(message)
        camera = camera_model_of(info_at(depth.shape[1], depth.shape[0]), rectified)
        if camera != self._camera:
            rows, columns = np.indices(depth.shape)
            rays = camera.rays(np.stack([columns.ravel(), rows.ravel()], 1))
            rays[~(rays[:, 2] > 0)] = np.nan
            plane = rays[:, :2] / rays[:, 2:]
            self._plane = plane.reshape(*depth.shape, 2).astype(np.float32)
            self._camera = camera
        points = np.empty((*depth.shape, 3), np.float32)
        np.multiply(self._plane, depth[..., None], out=points[..., :2])
        points[..., 2] = depth
        points[np.isnan(points[..., 0])] = np.nan
        return points


def _metres(message: Any) -> Floats:
    """A depth image in metres, (H, W) float32, NaN where nothing was measured."""
    if message.encoding not in _ENCODINGS:
        raise CalibrationError(
            f"depth has the encoding '{message.encoding}' (expected 32FC1 or 16UC1)",
            'give a raw depth image',
        )
    kind, unit = _ENCODINGS[message.encoding]
    kind = ('>' if message.is_bigendian else '<') + kind
    raw = _array(message, np.dtype(kind), message.step, np.dtype(kind).itemsize)
    depth = raw.astype(np.float32) * np.float32(unit)
    depth[~((depth > 0) & np.isfinite(depth))] = np.nan
    return depth


def _points_of(cloud: Any) -> Floats:
    offsets = {f.name: f.offset for f in cloud.fields if f.datatype == _FLOAT32 and f.count <= 1}
    if not {'x', 'y', 'z'} <= offsets.keys():
        raise CalibrationError('the cloud has no x, y and z of float32', 'give another one')
    kind = np.dtype(
        {
            'names': ['x', 'y', 'z'],
            'formats': [('>' if cloud.is_bigendian else '<') + 'f4'] * 3,
            'offsets': [offsets[axis] for axis in 'xyz'],
            'itemsize': cloud.point_step,
        }
    )
    raw = _array(cloud, kind, cloud.row_step, cloud.point_step)
    points = np.stack([raw[axis] for axis in 'xyz'], -1).astype(np.float32)
    points[~np.isfinite(points).all(-1)] = np.nan
    return points


def _array(message: Any, kind: np.dtype[Any], row: int, step: int) -> NDArray[Any]:
    """The pixels of a message, (H, W) of a type; not a copy."""
    data = np.frombuffer(message.data, np.uint8)
    height, width = message.height, message.width
    if row < width * step or len(data) < row * (height - 1) + width * step:
        raise CalibrationError('a depth message is shorter than it says', 'check its driver')
    return np.ndarray((height, width), kind, data.data, strides=(row, step))
