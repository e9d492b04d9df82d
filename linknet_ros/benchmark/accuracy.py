"""How far one file's labels are those of labelled frames, measured in a process of its own."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linknet_ros.classes import UNLABELED
from linknet_ros.errors import SourceError
from linknet_ros.frames.files import FolderSource, check_size, read_ids, read_image
from linknet_ros.inference.model_file import load_model
from linknet_ros.inference.segmenter import Segmenter
from linknet_ros.metrics import ConfusionMatrix
from linknet_ros.system.child_process import answer


def labelled_frames(images: Path, labels: Path) -> list[tuple[str, str]]:
    """Paths of the frames that have labels, and of those, <stem>.png in another folder.

    :raises SourceError: when there is none.
    """
    found = [
        (str(path), str(labels / f'{path.stem}.png'))
        for path in FolderSource(images).paths
        if (labels / f'{path.stem}.png').is_file()
    ]
    if not found:
        raise SourceError(
            f'no frame of {images} has labels in {labels}',
            'give the folder of <name of the frame>.png with a class id in each pixel',
        )
    return found


def measure(
    model: str,
    backend: str,
    precision: str,
    threads: int,
    size: tuple[int, int],
    frames: Sequence[tuple[str, str]],
    names: Sequence[str],
    drivable: Sequence[bool],
) -> dict[str, Any]:
    """Run a file on labelled frames.

    Classes of the file are those of the labels by their names; whatever else it names is a miss.

    :param size: (width, height) in pixels that frames are fitted into.
    :param frames: of labelled_frames.
    :param names: of the labels' ids; other ids are void.
    :param drivable: for each of the ids.
    :returns: 'miou', None for a file without one of the classes of the labels, and 'drivable', the
        IoU of what is drivable; both from 0 to 1.
    """
    file = load_model(model)
    known = {name: index for index, name in enumerate(names)}
    to_truth = np.full(256, UNLABELED, np.uint8)
    to_truth[: len(file.classes)] = [known.get(name, UNLABELED) for name in file.classes.names]
    may_drive = np.zeros(256, bool)
    may_drive[: len(file.classes)] = file.classes.drivable
    truly = np.zeros(256, bool)
    truly[: len(drivable)] = drivable
    segmenter = Segmenter(
        file, backend=backend, precision=precision, network_size=size, threads=threads
    )
    matrix, ground = ConfusionMatrix(len(names)), ConfusionMatrix(2)
    for image, annotation in frames:
        frame = read_image(Path(image))
        truth = _truth(Path(annotation), Path(image), frame.shape)
        labels = segmenter.segment(frame).labels
        matrix.add(truth, to_truth[labels])
        void = truth >= len(names)
        ground.add(
            np.where(void, UNLABELED, truly[truth]).astype(np.uint8),
            may_drive[labels].astype(np.uint8),
        )
    segmenter.close()
    comparable = set(names) <= set(file.classes.names)
    road = float(ground.scores().iou[1])
    return {
        'miou': matrix.scores().miou if comparable else None,
        'drivable': None if math.isnan(road) else road,
    }


def _truth(path: Path, frame: Path, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    labels = read_ids(path)
    if labels.dtype != np.uint8 or labels.ndim != 2:
        raise SourceError(f'{path} has no ids from 0 to 255', 'give ids of classes, not colours')
    check_size(path, labels, frame, shape)
    return np.asarray(labels, np.uint8)


if __name__ == '__main__':
    answer(lambda: measure(*json.loads(sys.argv[1])))
