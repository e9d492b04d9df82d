"""Measures how accurate the ground projection is, on the procedural street.

Prints the IoU of free space, the errors of contacts by range, and the time per frame, with the
street's own labels and with those of a model; writes bird's-eye pictures next to the truth, by the
number of what was measured.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from linknet_ros.classes import CAMVID, ClassTable
from linknet_ros.errors import LinknetError
from linknet_ros.frames.encode import encode_png
from linknet_ros.ground.camera import CameraModel
from linknet_ros.ground.contacts import CONTACT, Contacts, kind_table
from linknet_ros.ground.costs import NO_GROUND, cost_table
from linknet_ros.ground.grid import Cells
from linknet_ros.ground.mount import Mount
from linknet_ros.ground.projection import GroundOptions, GroundProjection
from linknet_ros.ground.settings import GroundSettings
from linknet_ros.inference.model_file import load_model
from linknet_ros.inference.segmenter import Segmenter
from linknet_ros.simulation.grid_score import GridScore, truth_picture
from linknet_ros.simulation.street import PinholeCamera, StreetDrive
from linknet_ros.simulation.truth import CAR, KERB, OTHER, FreeGround, StreetTruth, open_finer
from linknet_ros.system.arguments import count
from linknet_ros.system.package_files import model_path

Bytes = NDArray[np.uint8]
Doubles = NDArray[np.float64]

#: Ranges by which errors are reported [m].
RANGES = ((0, 5), (5, 10), (10, 20))
#: Range within which what is next to the robot is counted [m].
NEAR = 8.0
#: Costs of the road and of the pavement, and what they are on the street.
_ROAD, _PAVEMENT = 0, 30
_GROUND = dict(zip((_ROAD, _PAVEMENT), CAMVID.ids(['road', 'pavement']), strict=True))
_PAVED = ('pavement', 'sidewalk')
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
    :param near: the same, of the cells within NEAR.
    :param errors: per frame (n, 3): true distance, error (NaN if not found) [m], and reason.
    :param milliseconds: time of each frame.
    :param costs: by cost, how many cells have it, and how many of them are of that ground.
    """

    grid: GridScore = field(default_factory=GridScore)
    near: GridScore = field(default_factory=GridScore)
    errors: list[Doubles] = field(default_factory=list)
    milliseconds: list[float] = field(default_factory=list)
    costs: dict[int, tuple[int, int]] = field(default_factory=dict)

    def add_costs(self, cells: Cells, ground: Bytes) -> None:
        """Compare a grid of costs with the ground, cell by cell.

        :param ground: (H, W) uint8, true class ids of CamVid of the bare ground.
        """
        for cost, true in _GROUND.items():
            has, right = self.costs.get(cost, (0, 0))
            there = cells == cost
            right += int((there & (ground == true)).sum())
            self.costs[cost] = has + int(there.sum()), right

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
        grid, near = self.grid, self.near
        lines = [
            f'free space: IoU {grid.iou:.3f}; {grid.falsely_free:.2%} of the cells reported as '
            f'free are not; {grid.recall:.1%} of the free cells are found',
            f'within {NEAR:g} m: {near.found - near.both} of the {near.found} cells reported as '
            f'free are not; {near.falsely_occupied} of the {near.occupied} cells reported as '
            f'occupied are free, and so are the {near.margin} cells around them',
            'costs: '
            + '; '.join(
                f'{right / max(has, 1):.1%} of {has} cells of the cost of '
                f'{CAMVID.names[_GROUND[cost]]} are {CAMVID.names[_GROUND[cost]]}'
                for cost, (has, right) in self.costs.items()
            ),
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


@dataclass(frozen=True)
class Trial:
    """Labels, and what the ground is made of them with.

    :param title: in words.
    :param label: makes labels and confidence of a frame (H, W, 3) uint8 BGR and its true labels.
    :param classes: classes of the labels.
    :param clearance: clearance of cars, see ContactFinder.find [m].
    :param smallest: smallest obstacle, see there [m].
    :param raised: whether signs that lie flat on the ground are none.
    """

    title: str
    label: Callable[[Bytes, Bytes], tuple[Bytes, Bytes | None]]
    classes: ClassTable
    clearance: float = 0.0
    smallest: float = 0.0
    raised: bool = True


class _Measured:
    """A trial on its way over the streets."""

    def __init__(self, trial: Trial) -> None:
        self.trial = trial
        self.accuracy = Accuracy()
        classes = trial.classes
        sky, cars, signs, paved = (
            classes.ids([name for name in classes.names if name in some])
            for some in (('sky',), _OVERHANGING, _RAISED if trial.raised else (), _PAVED)
        )
        drivable = classes.ids(classes.drivable_names)
        costs = [f'{classes.names[number]}: {_PAVEMENT}' for number in paved]
        costs += [f'{classes.names[number]}: {_ROAD}' for number in drivable]
        self._costs = cost_table(classes, costs, [])
        ground = np.flatnonzero(self._costs != NO_GROUND).tolist()
        self._kinds, self._cost_kinds = (
            kind_table(len(classes), free, sky, cars, signs) for free in (drivable, ground)
        )

    def add(
        self,
        projection: GroundProjection,
        labelled: tuple[Bytes, Bytes | None],
        truth: FreeGround,
        free: NDArray[np.bool_],
        ground: Bytes,
        near: NDArray[np.bool_],
    ) -> Cells:
        """Project a frame and compare it.

        :param labelled: labels and confidence.
        :param free: (H, W) cells that are truly free.
        :param ground: see Accuracy.add_costs.
        :param near: (H, W) cells within NEAR.
        :returns: the grid.
        """
        labels, confidence = labelled
        trial, accuracy = self.trial, self.accuracy
        find = partial(projection.contacts, labels)
        limits = confidence, 1, trial.clearance, trial.smallest
        start = time.perf_counter()
        contacts = find(self._kinds, *limits)
        cells = projection.grid.fill(contacts)
        projection.scan.fill(contacts)
        projection.points(contacts)
        accuracy.milliseconds.append(1000 * (time.perf_counter() - start))
        accuracy.grid.add(cells, free)
        accuracy.near.add(cells, free, near)
        accuracy.add_contacts(projection, contacts, truth)
        # The grid of costs overwrites the cells.
        cells = cells.copy()
        beyond = find(self._cost_kinds, *limits)
        accuracy.add_costs(projection.cost_grid.fill(beyond, labels, self._costs), ground)
        return cells


def measure(
    trials: Sequence[Trial], seeds: Sequence[int], frames: int, pictures: Path | None = None
) -> list[Accuracy]:
    """Compare the projection with the street.

    :param seeds: seeds of the streets.
    :param frames: number of frames of each street, three seconds apart.
    :param pictures: folder for bird's-eye pictures, or None.
    :returns: of each trial.
    """
    measured = [_Measured(trial) for trial in trials]
    options = GroundOptions()
    grid_x, grid_y = options.area.centres()
    near = np.hypot(grid_x, grid_y) < NEAR
    for seed in seeds:
        drive = StreetDrive(seed)
        finer = open_finer(drive, seed)
        projection = GroundProjection(
            camera_model(drive.camera), camera_mount(drive.camera), options
        )
        street = StreetTruth(drive, finer.camera, options.max_range)
        for moment in (3.0 * i for i in range(frames)):
            frame = drive.frame(moment)
            truth = street.at(moment, finer.frame(moment).labels)
            free = truth.free(grid_x, grid_y)
            ground = drive.ground_label(grid_x, grid_y, moment)
            # Trials have labels in common.
            labelled = {
                label: label(frame.bgr, frame.labels)
                for label in dict.fromkeys(trial.label for trial in trials)
            }
            for number, one in enumerate(measured):
                labels = labelled[one.trial.label]
                cells = one.add(projection, labels, truth, free, ground, near)
                if pictures is not None and not moment:
                    picture = truth_picture(frame.bgr, cells, free)
                    path = pictures / f'{number + 1}_street_{seed}.png'
                    path.write_bytes(encode_png(picture).tobytes())
    return [one.accuracy for one in measured]


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog='ground_accuracy', description=__doc__)
    parser.add_argument('--seeds', type=partial(count, least=0), nargs='+', default=range(6))
    parser.add_argument('--frames', type=count, default=10, help='number per street')
    parser.add_argument('--model', default='', help="model file; by default the package's")
    parser.add_argument('--backend', default='auto')
    parser.add_argument(
        '--clearance', type=float, nargs='+', default=[0.0], help='clearances of cars [m]'
    )
    parser.add_argument(
        '--smallest',
        type=float,
        default=GroundSettings.smallest_obstacle,
        help='smallest obstacle [m] (default: %(default)s)',
    )
    parser.add_argument(
        '--every-pixel',
        action='store_true',
        help='measure as well with each pixel an obstacle that is not drivable: without '
        '--smallest, and with signs that lie flat on the road',
    )
    parser.add_argument('--pictures', type=Path, help="folder for bird's-eye pictures")
    options = parser.parse_args(arguments)
    try:
        model = load_model(model_path(options.model, 'auto'))
        segmenter = Segmenter(model, backend=options.backend)
        trials = list(_trials(segmenter, options))
        if options.pictures is not None:
            options.pictures.mkdir(parents=True, exist_ok=True)
        found = measure(trials, options.seeds, options.frames, options.pictures)
        streets = f'{len(options.seeds)} streets, {options.frames} frames each'
        for number, (trial, accuracy) in enumerate(zip(trials, found, strict=True), 1):
            print(f'{number}. With {trial.title}, {streets}:')
            print('\n'.join(accuracy.lines()) + '\n')
        segmenter.close()
    except (LinknetError, OSError) as error:
        sys.exit(f'error: {error}')


def _trials(segmenter: Segmenter, options: argparse.Namespace) -> Iterator[Trial]:
    """What the command line asks for."""

    def true(_: Bytes, labels: Bytes) -> tuple[Bytes, Bytes | None]:
        return labels, None

    def inferred(frame: Bytes, _: Bytes) -> tuple[Bytes, Bytes | None]:
        result = segmenter.segment(frame)
        return result.labels, result.confidence

    model = segmenter.model
    named = f'labels of {model.name} ({segmenter.backend}, {segmenter.precision})'
    for name, label, classes in (
        ("the street's own labels", true, CAMVID),
        (named, inferred, model.classes),
    ):
        for clearance in options.clearance:
            title = name + (f', cars {clearance:g} m above the ground' if clearance else '')
            yield Trial(title, label, classes, clearance, options.smallest)
            if options.every_pixel:
                yield Trial(f'{title}, every pixel', label, classes, clearance, raised=False)


if __name__ == '__main__':
    main()
