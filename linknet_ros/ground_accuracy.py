"""How exact the ground projection is, on the procedural street, whose geometry is known.

Prints the IoU of free space, the errors of contacts by range, and the time per frame, with the
street's own labels and with those of a model; writes bird's-eye pictures beside their truth.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from linknet_ros.camera_model import CameraModel
from linknet_ros.camera_mount import Mount
from linknet_ros.classes import CAMVID, ClassTable
from linknet_ros.errors import LinknetError
from linknet_ros.ground_contacts import CONTACT, Contacts, kind_table
from linknet_ros.ground_grid import FREE_CELL, OCCUPIED_CELL, UNKNOWN_CELL
from linknet_ros.ground_projection import GroundOptions, GroundProjection
from linknet_ros.model_file import load_model_file
from linknet_ros.package_files import SHIPPED_MODEL, package_file
from linknet_ros.rendering import grid_picture
from linknet_ros.segmenter import Segmenter
from linknet_ros.street_drive import PinholeCamera, StreetDrive

Bytes = NDArray[np.uint8]
Doubles = NDArray[np.float64]

#: How much larger the frame is that tells what stands where, than the one that is projected.
_FINER = 4
#: Step along a bearing of the truth, and from one bearing to the next.
_STEP_M = 0.02
_STEP_RAD = math.radians(0.05)
#: Ranges by which errors are told [m].
RANGES = ((0, 5), (5, 10), (10, 20))
#: What the street's truth ends at.
NOTHING, KERB, CAR, OTHER = range(4)

_OVERHANGING = ('car', 'truck', 'bus')
_ROAD, _PAVEMENT, _CAR = CAMVID.ids(['road', 'pavement', 'car'])


def camera_model(camera: PinholeCamera) -> CameraModel:
    """The street's camera as one without distortion."""
    return CameraModel(camera.width, camera.height, camera.fx, camera.fy, camera.cx, camera.cy)


def camera_mount(camera: PinholeCamera) -> Mount:
    """Where the street's camera is above its vehicle frame."""
    return Mount.from_angles(z=camera.height_m, pitch=camera.pitch)


class StreetTruth:
    """What is really free in a frame of the street, by bearing around the camera's foot.

    The kerb is where the bare ground is no road any more, a car is where its footprint begins;
    where anything else stands is read in a frame of four times the resolution, point by point.
    None of it goes through the tables of the projection.

    :param drive: of the frame that is projected.
    :param finer: the same drive, larger; see open_finer.
    """

    def __init__(self, drive: StreetDrive, finer: StreetDrive, time: float, max_range: float):
        camera = self._camera = drive.camera
        aside = math.atan(max(camera.cx, camera.width - camera.cx) / camera.fx) + 0.02
        self.azimuth = np.arange(-aside, aside, _STEP_RAD)
        #: Distances from the foot at which each bearing is looked at [m].
        away = np.arange(0.5, max_range + _STEP_M / 2, _STEP_M)
        x = away * np.cos(self.azimuth)[:, None]
        y = away * np.sin(self.azimuth)[:, None]
        reason = np.zeros(x.shape, np.uint8)
        seen_there = _labels_at(finer, x, y, time)
        reason[(seen_there != _ROAD) & (seen_there != _PAVEMENT)] = OTHER
        # Tyres, which touch the ground.
        reason[seen_there == _CAR] = CAR
        reason[drive.ground_label(x, y, time) != _ROAD] = KERB
        for x0, y0, x1, y1 in drive.car_footprints(time):
            reason[(x >= x0) & (x <= x1) & (y >= y0) & (y <= y1)] = CAR
        # Where the view begins is all that counts; a thing that stands nearer blocks from there.
        seen = self.seen(x, y)
        blocked = (reason != NOTHING) & seen
        first = blocked.argmax(1)
        some = blocked.any(1)
        #: Distance to the first thing along each bearing, inf where there is none [m], and what
        #: it is.
        self.limit = np.where(some, away[first], np.inf)
        self.reason = np.where(some, reason[np.arange(len(x)), first], NOTHING)
        #: A thing at the near end of the view may stand nearer: its distance is not known.
        self.cut = some & (first <= seen.argmax(1))

    def seen(self, x: Doubles, y: Doubles) -> NDArray[np.bool_]:
        """Whether points of the ground are in the picture."""
        camera = self._camera
        points = np.stack([x.ravel(), y.ravel(), np.zeros(x.size)], 1)
        col, row, depth = camera.project(points).T
        inside = (np.abs(col - (camera.width - 1) / 2) <= camera.width / 2) & (depth > 0)
        inside &= np.abs(row - (camera.height - 1) / 2) <= camera.height / 2
        seen: NDArray[np.bool_] = inside.reshape(x.shape)
        return seen

    def nearest(self, azimuth: Doubles) -> NDArray[np.intp]:
        """Index of the bearing next to each azimuth."""
        index = np.round((azimuth - self.azimuth[0]) / _STEP_RAD).astype(np.intp)
        clipped: NDArray[np.intp] = np.clip(index, 0, len(self.azimuth) - 1)
        return clipped

    def free(self, x: Doubles, y: Doubles) -> NDArray[np.bool_]:
        """Whether points are in the picture, and nothing stands there or before them."""
        limit = self.limit[self.nearest(np.arctan2(y, x))]
        free: NDArray[np.bool_] = self.seen(x, y) & (np.hypot(x, y) < limit)
        return free


def open_finer(drive: StreetDrive, seed: int) -> StreetDrive:
    """The same drive through a camera with four times the pixels a side."""
    camera = drive.camera
    return StreetDrive(seed, _FINER * camera.width, _FINER * camera.height)


def _labels_at(finer: StreetDrive, x: Doubles, y: Doubles, time: float) -> Bytes:
    """The class that is seen where points of the ground would be; road outside of the picture."""
    camera = finer.camera
    points = np.stack([x.ravel(), y.ravel(), np.zeros(x.size)], 1)
    col, row, _ = np.round(camera.project(points).T)
    inside = (col >= 0) & (col < camera.width) & (row >= 0) & (row < camera.height)
    labels = finer.frame(time).labels
    found = np.full(x.size, _ROAD, np.uint8)
    found[inside] = labels[row[inside].astype(int), col[inside].astype(int)]
    return found.reshape(x.shape)


@dataclass
class Report:
    """Sums over frames."""

    both: int = 0
    either: int = 0
    free: int = 0
    falsely_free: int = 0
    truly_free: int = 0
    errors: list[Doubles] = field(default_factory=list)
    milliseconds: list[float] = field(default_factory=list)

    def add(self, cells: NDArray[np.int8], truth: NDArray[np.bool_]) -> None:
        """Count the cells of a frame."""
        free = cells == FREE_CELL
        self.both += int((free & truth).sum())
        self.either += int((free | truth).sum())
        self.free += int(free.sum())
        self.falsely_free += int((free & ~truth).sum())
        self.truly_free += int(truth.sum())

    def add_contacts(
        self, projection: GroundProjection, contacts: Contacts, truth: StreetTruth
    ) -> None:
        """Take the true distance, the error and the reason of each ray's contact."""
        rays = projection.rays
        at = truth.nearest(rays.azimuth)
        # NaN where there is none.
        found = np.where(contacts.kind == CONTACT, contacts.limit, np.nan)
        real = np.isfinite(truth.limit[at]) & ~truth.cut[at] & (rays.near[:, 1] > 0)
        self.errors.append(
            np.stack([truth.limit[at], found - truth.limit[at], truth.reason[at]], 1)[real]
        )

    def lines(self) -> list[str]:
        """The report as text."""
        iou = self.both / max(self.either, 1)
        wrong, right = self.falsely_free / max(self.free, 1), self.both / max(self.truly_free, 1)
        lines = [
            f'free space: IoU {iou:.3f}; of what is said to be free {wrong:.2%} is not; of what '
            f'is free {right:.1%} is found',
            f'time per frame: {np.median(self.milliseconds):.2f} ms (median)',
            'contact      range [m]   rays  found  median error [m]  |error| median, p90 [m]',
        ]
        true, error, reason = np.concatenate(self.errors).T
        for name, kind in (('kerb', KERB), ('car', CAR), ('other', OTHER)):
            for low, high in RANGES:
                chosen = (true >= low) & (true < high) & (reason == kind)
                there = error[chosen & ~np.isnan(error)]
                if not len(there):
                    continue
                sizes = np.abs(there)
                lines.append(
                    f'{name:12} {low:2}-{high:<2} {chosen.sum():12} '
                    f'{len(there) / chosen.sum():6.1%} {np.median(there):+17.2f} '
                    f'{np.median(sizes):17.2f}, {np.quantile(sizes, 0.9):.2f}'
                )
        return lines


def measure(
    label: Callable[[Bytes, Bytes], tuple[Bytes, Bytes | None]],
    classes: ClassTable,
    seeds: list[int],
    frames: int,
    pictures: Path | None,
    clearance: float = 0.0,
) -> Report:
    """Compare the projection with the street.

    :param label: from a frame (H, W, 3) uint8 BGR and its true labels to labels and confidence.
    :param classes: of the labels.
    :param seeds: streets.
    :param frames: of each street, three seconds apart.
    :param pictures: folder for bird's-eye pictures, or None.
    :param clearance: of cars, see ContactFinder.find [m].
    """
    report = Report()
    sky = classes.ids([name for name in classes.names if name == 'sky'])
    cars = classes.ids([name for name in classes.names if name in _OVERHANGING])
    table = kind_table(len(classes), classes.ids(classes.drivable_names), sky, cars)
    options = GroundOptions()
    for seed in seeds:
        drive = StreetDrive(seed)
        finer = open_finer(drive, seed)
        projection = GroundProjection(
            camera_model(drive.camera), camera_mount(drive.camera), options
        )
        area = options.area
        x = area.corner[0] + area.resolution * (np.arange(area.columns) + 0.5)
        y = area.corner[1] + area.resolution * (np.arange(area.rows) + 0.5)
        grid_x, grid_y = np.meshgrid(x, y)
        within = np.hypot(grid_x, grid_y) <= options.max_range
        for i in range(frames):
            frame = drive.frame(3.0 * i)
            labels, confidence = label(frame.bgr, frame.labels)
            start = time.perf_counter()
            contacts = projection.contacts(labels, table, confidence, 1, clearance)
            cells = projection.grid.fill(contacts)
            projection.scan.fill(contacts)
            projection.points(contacts)
            report.milliseconds.append(1000 * (time.perf_counter() - start))
            truth = StreetTruth(drive, finer, 3.0 * i, options.max_range)
            free = truth.free(grid_x, grid_y) & within
            report.add(cells, free)
            report.add_contacts(projection, contacts, truth)
            if pictures is not None and i == 0:
                picture = truth_picture(frame.bgr, cells, free)
                cv2.imwrite(str(pictures / f'street_{seed}.png'), picture)
    return report


def truth_picture(frame: Bytes, cells: NDArray[np.int8], free: NDArray[np.bool_]) -> Bytes:
    """Frame, grid, and truth side by side, uint8 (H, W, 3) BGR; what is falsely free is red."""
    found = grid_picture(cells)
    wrong = (cells == FREE_CELL) & ~free
    cells = np.where(free, FREE_CELL, UNKNOWN_CELL).astype(np.int8)
    cells[wrong] = OCCUPIED_CELL
    height = len(found)
    scale = height / frame.shape[0]
    frame = np.asarray(cv2.resize(frame, (round(frame.shape[1] * scale), height)), np.uint8)
    return np.hstack([frame, found, grid_picture(cells)])


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog='ground_accuracy', description=__doc__)
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2, 3, 4, 5])
    parser.add_argument('--frames', type=int, default=10, help='of each street')
    parser.add_argument('--model', default='', help="model file; empty: the package's")
    parser.add_argument('--backend', default='auto')
    parser.add_argument('--clearance', type=float, default=0.0, help='of cars [m]')
    parser.add_argument('--pictures', type=Path, help="folder for bird's-eye pictures")
    options = parser.parse_args(arguments)
    try:
        model = load_model_file(options.model or package_file(SHIPPED_MODEL))
        segmenter = Segmenter(model, backend=options.backend)

        def inferred(frame: Bytes, _: Bytes) -> tuple[Bytes, Bytes | None]:
            result = segmenter.segment(frame)
            return result.labels, result.confidence

        for title, classes, label in (
            ("the street's own labels", CAMVID, lambda _, labels: (labels, None)),
            (f'labels of {model.name}', model.classes, inferred),
        ):
            folder = None
            if options.pictures is not None:
                folder = options.pictures / ('model' if label is inferred else 'true')
                folder.mkdir(parents=True, exist_ok=True)
            report = measure(
                label, classes, options.seeds, options.frames, folder, options.clearance
            )
            print(f'With {title}, {len(options.seeds)} streets, {options.frames} frames each:')
            print('\n'.join(report.lines()) + '\n')
        segmenter.close()
    except LinknetError as error:
        sys.exit(f'error: {error}')


if __name__ == '__main__':
    main()
