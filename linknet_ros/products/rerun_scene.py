"""Frames, labels and ground as a scene of the Rerun viewer (`pip install rerun-sdk`).

Recordings write it to a file, a node sends it to a viewer. The times are those of the frames.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linknet_ros.classes import UNLABELED, ClassTable
from linknet_ros.errors import LinknetError, first_line
from linknet_ros.ground.mount import Mount

#: Where things are: 'world' is the base frame, the camera's pictures lie in its own.
WORLD, CAMERA = 'world', 'world/camera'
_IMAGE, _LABELS = f'{CAMERA}/image', f'{CAMERA}/image/labels'
_CONFIDENCE = 'confidence'
_GRID, _SCAN, _CLOUD = 'world/ground/grid', 'world/ground/scan', 'world/ground/cloud'
_STAGES = 'stages'

#: Name of the timeline.
_TIMELINE = 'stamp'

#: Opacity of the labels over the picture.
_OPACITY = 0.5

#: Metres from the camera to its picture in the scene.
_PICTURE_AT = 1.5


class RerunScene:
    """A recording of Rerun that is being made; `save` or `show` comes first.

    :raises LinknetError: when rerun-sdk is not installed.
    """

    def __init__(self, classes: ClassTable) -> None:
        self._rerun = _rerun()
        self._stream: Any = self._rerun.RecordingStream('linknet_ros')
        self._classes = classes

    def save(self, path: Path) -> None:
        """Write to a file, which `close` ends.

        :raises OSError: when it cannot be written.
        """
        path.open('wb').close()  # what the system refuses is refused here
        self._stream.save(str(path), default_blueprint=self._blueprint())
        self._begin()

    def show(self, address: str = '') -> None:
        """Send to a viewer.

        :param address: of a running one, e.g. 'rerun+http://127.0.0.1:9876/proxy'; empty: start
            one here.
        :raises LinknetError: when there is none.
        """
        try:
            if address:
                self._stream.connect_grpc(address, default_blueprint=self._blueprint())
            else:
                self._stream.spawn(default_blueprint=self._blueprint())
        except Exception as error:  # of several kinds by version and platform
            raise LinknetError(
                f'no Rerun viewer ({first_line(error)})', 'start one with: rerun'
            ) from error
        self._begin()

    def close(self) -> None:
        """Send or write what is left."""
        self._stream.flush()
        self._stream.disconnect()

    def at(self, moment: int) -> None:
        """Set the time of what comes next, ns since the epoch."""
        self._stream.set_time(_TIMELINE, timestamp=np.datetime64(moment, 'ns'))

    def picture(self, bgr: NDArray[np.uint8]) -> None:
        """The camera's picture, (H, W, 3) uint8 BGR."""
        rr = self._rerun
        self._stream.log(_IMAGE, rr.Image(bgr, color_model='BGR').compress(jpeg_quality=85))

    def encoded(self, data: bytes) -> None:
        """The camera's picture as it came, JPEG or PNG."""
        self._stream.log(_IMAGE, self._rerun.EncodedImage(contents=data))

    def labels(self, labels: NDArray[np.uint8]) -> None:
        """Class ids, (H, W) uint8, 255 where unlabelled."""
        rr = self._rerun
        self._stream.log(_LABELS, rr.SegmentationImage(labels, opacity=_OPACITY))

    def confidence(self, confidence: NDArray[np.uint8]) -> None:
        """(H, W) uint8."""
        self._stream.log(_CONFIDENCE, self._rerun.Image(confidence, color_model='L'))

    def camera(self, k: NDArray[np.float64], size: tuple[int, int], mount: Mount | None) -> None:
        """The camera's frustum.

        :param k: (9,) camera matrix of the picture.
        :param size: width and height of the picture.
        :param mount: None where its place is not known: it is at the origin then.
        """
        rr = self._rerun
        self._stream.log(
            _IMAGE,
            rr.Pinhole(
                image_from_camera=k.reshape(3, 3),
                resolution=size,
                camera_xyz=rr.ViewCoordinates.RDF,
                image_plane_distance=_PICTURE_AT,
            ),
        )
        if mount is not None:
            place = rr.Transform3D(translation=mount.position, mat3x3=mount.matrix)
            self._stream.log(CAMERA, place)

    def grid(
        self,
        cells: NDArray[np.int8],
        resolution: float,
        corner: tuple[float, float, float],
    ) -> None:
        """An occupancy grid.

        :param cells: (rows, columns) int8 as in nav_msgs/OccupancyGrid.
        :param resolution: side of a cell [m].
        :param corner: x, y, z of its first cell's outer corner [m].
        """
        rr = self._rerun
        rows, columns = cells.shape
        # Its first row is the lowest, that of an image the topmost.
        data = cells[::-1].astype(np.uint8)
        self._stream.log(
            _GRID,
            rr.GridMap(
                data=np.ascontiguousarray(data).tobytes(),
                format=rr.components.ImageFormat(
                    width=columns, height=rows, color_model='L', channel_datatype='U8'
                ),
                cell_size=resolution,
                translation=corner,
                colormap=rr.components.Colormap.RvizMap,
            ),
        )

    def scan(self, ranges: NDArray[np.float32], first: float, step: float, z: float) -> None:
        """A scan: ranges [m] from the base frame at angles from `first` on, in steps [rad]."""
        angles = first + step * np.arange(len(ranges))
        near = np.isfinite(ranges)
        x, y = ranges[near] * np.cos(angles[near]), ranges[near] * np.sin(angles[near])
        points = np.stack([x, y, np.full_like(x, z)], axis=1)
        self._points(_SCAN, points, (255, 48, 48), 0.05)

    def cloud(self, points: NDArray[np.float32]) -> None:
        """Contacts, (n, 3) float32 in the base frame [m]."""
        self._points(_CLOUD, points, (255, 176, 64), 0.06)

    def seconds(self, stages: Mapping[str, float]) -> None:
        """Times of the stages of a frame, as plots in ms."""
        for name, value in stages.items():
            self._stream.log(f'{_STAGES}/{name}', self._rerun.Scalars(1e3 * value))

    def _points(
        self, path: str, points: NDArray[Any], color: tuple[int, int, int], radius: float
    ) -> None:
        shown = self._rerun.Points3D(points, colors=[color], radii=[radius])
        self._stream.log(path, shown)

    def _begin(self) -> None:
        """What holds for the whole recording: names and colours, and which way is up."""
        rr = self._rerun
        rows = zip(self._classes.names, self._classes.colors, strict=True)
        known = [(number, name, color) for number, (name, color) in enumerate(rows)]
        context = rr.AnnotationContext([*known, (UNLABELED, 'unlabelled', (0, 0, 0, 0))])
        self._stream.log('/', context, static=True)
        self._stream.log(WORLD, rr.ViewCoordinates.RIGHT_HAND_Z_UP, static=True)

    def _blueprint(self) -> Any:
        import rerun.blueprint as rrb

        eye = rrb.EyeControls3D(
            position=(-7.0, 0.0, 7.0), look_target=(8.0, 0.0, 0.0), eye_up=(0.0, 0.0, 1.0)
        )
        scene = rrb.Spatial3DView(origin=WORLD, name='Ground', eye_controls=eye)
        pictures = rrb.Vertical(
            rrb.Spatial2DView(origin=_IMAGE, name='Labels'),
            rrb.Spatial2DView(origin=_CONFIDENCE, name='Confidence'),
        )
        plots = rrb.TimeSeriesView(origin=_STAGES, name='Stages, ms')
        return rrb.Blueprint(
            rrb.Horizontal(
                rrb.Vertical(scene, plots, row_shares=[3, 1]), pictures, column_shares=[3, 2]
            ),
            collapse_panels=True,
        )


def _rerun() -> Any:
    """The module.

    :raises LinknetError: when it is not installed.
    """
    try:
        import rerun
    except ImportError as error:
        raise LinknetError(
            f'Rerun needs rerun-sdk ({first_line(error)})', 'pip install rerun-sdk'
        ) from error
    return rerun
