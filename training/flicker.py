"""How much labels flicker, with and without `temporal_filter`: `python -m training.flicker MODEL`.

Counts over a drive how many pixels change their class from frame to frame, and how many are
drivable to the filter although the frame says otherwise; on the procedural street also how many
are so wrongly.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from linknet_ros.classes import UNLABELED
from linknet_ros.errors import LinknetError
from linknet_ros.frames.files import read_image
from linknet_ros.inference.model_file import ModelFile, load_model
from linknet_ros.inference.segmenter import Segmenter
from linknet_ros.inference.temporal_filter import TemporalFilter
from linknet_ros.recordings.files import images_or_video
from linknet_ros.simulation.street import StreetDrive

Bytes = NDArray[np.uint8]

#: Frames per second of folders, and of the street; the street's number of frames.
_RATE, _STREET = 10.0, 100


@dataclass
class Counts:
    """Sums over the frames of a drive.

    :param changed: share of the pixels whose class is another one than in the frame before.
    :param held: drivable to the filter, not to the frame.
    :param held_twice: the same, for the second frame in a row: must be 0.
    :param right: share of the pixels with the true class; `falsely`: wrongly drivable.
    """

    frames: int = 0
    changed: dict[str, float] = field(default_factory=lambda: {'raw': 0.0, 'filtered': 0.0})
    right: dict[str, float] = field(default_factory=lambda: {'raw': 0.0, 'filtered': 0.0})
    falsely: dict[str, float] = field(default_factory=lambda: {'raw': 0.0, 'filtered': 0.0})
    held: float = 0.0
    held_twice: float = 0.0


def drive(text: str) -> Iterator[tuple[Bytes, Bytes | None]]:
    """Frames in their order, (H, W, 3) BGR, and their true labels where these are known."""
    if text == 'street':
        street = StreetDrive(3)
        for number in range(_STREET):
            frame = street.frame(number / _RATE)
            yield frame.bgr, frame.labels
        return
    found = images_or_video(text)
    if isinstance(found, list):
        for path in found:
            yield read_image(path), None
    else:
        for frame, _ in found.frames():
            yield frame, None


def count(model: ModelFile, text: str) -> Counts:
    """Run a network over a drive."""
    segmenter = Segmenter(model)
    filtering = TemporalFilter(model.classes.drivable)
    free = np.zeros(256, np.bool_)
    free[list(model.classes.ids(model.classes.drivable_names))] = True
    counts = Counts()
    before: dict[str, Bytes] = {}
    held_before: NDArray[np.bool_] | None = None
    for number, (frame, truth) in enumerate(drive(text), 1):
        inferred = segmenter.infer(segmenter.fit(frame))
        labels = {'raw': inferred.labels.copy(), 'filtered': inferred.labels}
        stamp = round(number / _RATE * 1e9)
        filtering.apply(inferred.labels, inferred.confidence, stamp)
        held = free[labels['filtered']] & ~free[labels['raw']]
        for name, now in labels.items():
            if before:
                counts.changed[name] += float((now != before[name]).mean())
            if truth is not None and truth.shape == now.shape:
                known = truth != UNLABELED
                counts.right[name] += float((now == truth)[known].mean())
                counts.falsely[name] += float((free[now] & ~free[truth] & known).mean())
        counts.held += float(held.mean())
        if held_before is not None:
            again = held & held_before & ~free[labels['raw']]
            counts.held_twice += float(again.mean())
        held_before = held
        before = labels
        counts.frames += 1
    return counts


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog='python -m training.flicker', description=__doc__.partition(':')[0]
    )
    parser.add_argument('model', type=Path)
    parser.add_argument('drives', nargs='+', help='folders of images in order, videos, or street')
    options = parser.parse_args(arguments)
    try:
        model = load_model(options.model)
        for text in options.drives:
            counts = count(model, text)
            raw, filtered = (
                _RATE * c / max(1, counts.frames - 1) for c in counts.changed.values()
            )
            print(
                f'{text}: {counts.frames} frames; changes of class, a pixel and second: '
                f'{raw:.3f} without, {filtered:.3f} with the filter ({filtered / raw:.2f}); '
                f'{100 * counts.held / counts.frames:.2f} % held drivable for a frame, '
                f'{100 * counts.held_twice / counts.frames:.2f} % for a second'
            )
            if counts.right['raw']:
                shares = [100 * s / counts.frames for s in counts.right.values()]
                falsely = [100 * s / counts.frames for s in counts.falsely.values()]
                print(
                    f'  right: {shares[0]:.1f} and {shares[1]:.1f} %; falsely drivable: '
                    f'{falsely[0]:.2f} and {falsely[1]:.2f} % of all pixels'
                )
    except (LinknetError, OSError) as error:
        sys.exit(f'error: {error}')


if __name__ == '__main__':
    main()
