"""A file for the Rerun viewer beside an output."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from linknet_ros.classes import ClassTable
from linknet_ros.errors import RecordingError
from linknet_ros.inference.segmenter import Segmentation
from linknet_ros.products.rerun_scene import RerunScene
from linknet_ros.recordings.part_folder import PartFolder

#: Name in the part folder.
_MADE = 'scene.rrd'


def check_rerun(path: Path | None, inputs: int) -> None:
    """Refuse one file for several inputs.

    :raises RecordingError: if so.
    """
    if path is not None and inputs > 1:
        raise RecordingError(
            f'--rerun {path} would be of {inputs} inputs', 'give them one after the other'
        )


def open_scene(path: Path | None, classes: ClassTable, part: PartFolder) -> RerunScene | None:
    """Begin a file in the part folder; None without a path.

    :raises LinknetError: when rerun-sdk is not installed.
    """
    if path is None:
        return None
    scene = RerunScene(classes)
    scene.save(part.fresh(_MADE))
    return scene


def show_frame(
    scene: RerunScene,
    bgr: NDArray[np.uint8],
    result: Segmentation,
    seconds: Mapping[str, float],
) -> None:
    """Add a frame, at the time that the scene has."""
    scene.picture(bgr)
    scene.labels(result.labels)
    scene.confidence(result.confidence)
    scene.seconds(seconds)


def close_scene(scene: RerunScene | None, path: Path | None, part: PartFolder) -> None:
    """End the file and put it where it belongs."""
    if scene is not None and path is not None:
        scene.close()
        path.parent.mkdir(parents=True, exist_ok=True)
        os.replace(part.path / _MADE, path)
