"""Measures how accurate the ground projection is, on the procedural street.

Prints the IoU of free space, the errors of contacts by range, and the time per frame, with the
street's own labels and with those of a model; writes bird's-eye pictures next to the truth.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from linknet_ros.classes import CAMVID, ClassTable
from linknet_ros.errors import LinknetError
from linknet_ros.ground.camera import CameraModel
from linknet_ros.ground.contacts import CONTACT, Contacts, kind_table
from linknet_ros.ground.mount import Mount
from linknet_ros.ground.projection import GroundOptions, GroundProjection
from linknet_ros.inference.model_file import load_model
from linknet_ros.inference.segmenter import Segmenter
from linknet_ros.simulation.grid_score import GridScore, truth_picture
from linknet_ros.simulation.street import PinholeCamera, StreetDrive
from linknet_ros.simulation.truth import CAR, KERB, OTHER, FreeGround, StreetTruth, open_finer
from linknet_ros.system.arguments import count
from linknet_ros.system.package_files import SHIPPED_MODEL, package_file

Bytes = NDArray[np.uint8]
Doubles = NDArray[np.float64]

#: Ranges by which errors are reported [m].
RANGES = ((0, 5), (5, 10), (10, 20))
_OVERHANGING = ('car', 'truck', 'bus')
_RAISED = ('sign', 'traffic sign', 'traffic light')


def camera_model(camera: PinholeCamera) -> CameraModel:
    """The street's camera as a CameraModel without distortion."""
    return CameraModel(camera.width, camera.height, camera.fx, camera.fy, camera.cx, camera.cy)


def camera_mount(camera: PinholeCamera) -> Mount:
    """The mount of the street's camera in its vehicle frame."""
    return Mount.from_angles(z=camera.height_m, pitch=camera.pitch)


@dataclass
class Accuracy:
    """Accuracy of the ground projection, summed over frames.

    :param grid: free space compared with the truth.
    :param errors: per frame (n, 3): true distance, error (NaN if not found) [m], and reason.
    :param milliseconds: time of each frame.
    """

    grid: GridScore = field(default_factory=GridScore)
    errors: list[Doubles] = field(default_factory=list)
    milliseconds: list[float] = field(default_factory=list)

    def add_contacts(
        self, projection: GroundProjection, contacts: Contacts, truth: FreeGround
    ) -> None:
        """Compare the contacts of a frame with the truth."""
        rays = projection.rays
        at = truth.nearest(rays.azimuth)
        found = np.where(contacts.kind == CONTACT, contacts.limit, np.nan)
        real = np.isfinite(truth.limit[at]) & ~truth.cut[at] & (rays.near[:, 1] > 0)
        self.errors.append(
            np.stack([truth.limit[at], found - truth.limit[at], truth.reason[at]], 1)[real]
        )

    def lines(self) -> list[str]:
        """The accuracy as text."""
        grid = self.grid
        lines = [
            f'free space: IoU {grid.iou:.3f}; {grid.falsely_free:.2%} of the cells reported as '
            f'free are not; {grid.recall:.1%} of the free cells are found',
            f'time per frame: {np.median(self.milliseconds):.2f} ms (median), '
            f'{max(self.milliseconds):.2f} ms (longest)',
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
    seeds: Sequence[int],
    frames: int,
    pictures: Path | None,
    clearance: float = 0.0,
) -> Accuracy:
    """Compare the projection with the street.

    :param label: makes labels and confidence of a frame (H, W, 3) uint8 BGR and its true labels.
    :param classes: classes of the labels.
    :param seeds: seeds of the streets.
    :param frames: number of frames of each street, three seconds apart.
    :param pictures: folder for bird's-eye pictures, or None.
    :param clearance: clearance of cars, see ContactFinder.find [m].
    """
    accuracy = Accuracy()
    sky = classes.ids([name for name in classes.names if name == 'sky'])
    cars = classes.ids([name for name in classes.names if name in _OVERHANGING])
    signs = classes.ids([name for name in classes.names if name in _RAISED])
    table = kind_table(len(classes), classes.ids(classes.drivable_names), sky, cars, signs)
    options = GroundOptions()
    for seed in seeds:
        drive = StreetDrive(seed)
        finer = open_finer(drive, seed)
        projection = GroundProjection(
            camera_model(drive.camera), camera_mount(drive.camera), options
        )
        street = StreetTruth(drive, finer.camera, options.max_range)
        grid_x, grid_y = options.area.centres()
        for i in range(frames):
            frame = drive.frame(3.0 * i)
            labels, confidence = label(frame.bgr, frame.labels)
            start = time.perf_counter()
            contacts = projection.contacts(labels, table, confidence, 1, clearance)
            cells = projection.grid.fill(contacts)
            projection.scan.fill(contacts)
            projection.points(contacts)
            accuracy.milliseconds.append(1000 * (time.perf_counter() - start))
            truth = street.at(3.0 * i, finer.frame(3.0 * i).labels)
            free = truth.free(grid_x, grid_y)
            accuracy.grid.add(cells, free)
            accuracy.add_contacts(projection, contacts, truth)
            if pictures is not None and i == 0:
                picture = truth_picture(frame.bgr, cells, free)
                cv2.imwrite(str(pictures / f'street_{seed}.png'), picture)
    return accuracy


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog='ground_accuracy', description=__doc__)
    parser.add_argument('--seeds', type=partial(count, least=0), nargs='+', default=range(6))
    parser.add_argument('--frames', type=count, default=10, help='number per street')
    parser.add_argument('--model', default='', help="model file; by default the package's")
    parser.add_argument('--backend', default='auto')
    parser.add_argument('--clearance', type=float, default=0.0, help='clearance of cars [m]')
    parser.add_argument('--pictures', type=Path, help="folder for bird's-eye pictures")
    options = parser.parse_args(arguments)
    try:
        model = load_model(options.model or package_file(SHIPPED_MODEL))
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
            accuracy = measure(
                label, classes, options.seeds, options.frames, folder, options.clearance
            )
            print(f'With {title}, {len(options.seeds)} streets, {options.frames} frames each:')
            print('\n'.join(accuracy.lines()) + '\n')
        segmenter.close()
    except LinknetError as error:
        sys.exit(f'error: {error}')


if __name__ == '__main__':
    main()
