"""Instance-weighted IoU (iIoU) of Cityscapes, per class and per category."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from linknet_ros.classes import CITYSCAPES, UNLABELED
from linknet_ros.errors import SourceError
from linknet_ros.metrics import ConfusionMatrix

#: Mean pixels of an instance in frames of 2048x1024, from cityscapesScripts
#: evaluation/evalPixelLevelSemanticLabeling.py (avgClassSize).
AVERAGE_SIZE = {
    'person': 3462.4756337644,
    'rider': 3930.4788056518,
    'car': 12794.0202738185,
    'truck': 27855.1264367816,
    'bus': 35732.1511111111,
    'train': 67583.7075812274,
    'motorcycle': 6298.7200839748,
    'bicycle': 4672.3249222261,
}

#: Label id per train id, from cityscapesScripts helpers/labels.py. All other label ids are
#: ignored in the evaluation.
LABEL_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)

#: Label ids per category, same source; caravan (29) and trailer (30) are ignored in the ground
#: truth, but a vehicle predicted as one of them has the right category.
CATEGORIES = {
    'flat': (7, 8, 9, 10),
    'construction': (11, 12, 13, 14, 15, 16),
    'object': (17, 18, 19, 20),
    'nature': (21, 22),
    'sky': (23,),
    'human': (24, 25),
    'vehicle': (26, 27, 28, 29, 30, 31, 32, 33),
}

INSTANCE_CATEGORIES = ('human', 'vehicle')

_LABELS = 34
_FRAME = (1024, 2048)


class InstanceIoU:
    """iIoU over any number of Cityscapes frames, as the data set's own evaluation defines it.

    Every instance of the ground truth counts the same, whatever its size:
    iIoU = itp / (itp + fp + ifn), where a pixel of an instance counts average size of the class /
    size of the instance in itp and ifn, and fp is the ordinary, unweighted count of pixels of
    other classes (Cordts et al., "The Cityscapes Dataset", CVPR 2016, section 4.1; weights and
    counting rules from cityscapesScripts evalPixelLevelSemanticLabeling.py):

    * An instance is an id above 1000 in the instanceIds image: label id * 1000 + number.
    * A group that the annotators could not take apart has its bare label id there. It is not an
      instance, adds nothing to itp and ifn, and is not an fp of its own class; another instance
      class predicted on it is.
    * Instances of ignored labels (caravan, trailer) and predictions on ignored pixels count
      nowhere.

    It cannot be computed on CamVid, whose labels have no instances. The "iIoU" of 55.8 that the
    LinkNet paper (arXiv 1707.03718, table V) gives for CamVid is the plain mean IoU, and its
    "IoU" of 68.3 the mean class accuracy: the authors' test.lua prints Torch's `averageValid`
    (hits / row sum, an accuracy) as IoU and the mean of `unionvalids` (hits / union) as iIoU;
    the paper's own per-class columns average to 68.3; and ENet's row of the same table gives
    51.3 as iIoU, which BiSeNet (table 8) lists as ENet's mean IoU. Compare `Scores.miou` and
    `Scores.class_accuracy` with them.

    :param ids: what truth and prediction hold: `train` ids (0 to 18, 255 void) or Cityscapes
        `label` ids (0 to 33). Instance images hold label ids in either case.
    :param average_size: mean pixels of an instance by class name. The default is Cityscapes'
        own, which holds at 2048x1024 only; frames of another size are then refused.
    """

    def __init__(
        self,
        ids: Literal['train', 'label'] = 'train',
        average_size: Mapping[str, float] | None = None,
    ) -> None:
        self._ids = ids
        self._needs_full_frame = average_size is None
        sizes = AVERAGE_SIZE if average_size is None else average_size
        self._average_size = {
            LABEL_IDS[CITYSCAPES.names.index(name)]: sizes[name] for name in AVERAGE_SIZE
        }
        # From the ids that come in to label ids; 0 is Cityscapes' unlabelled, ignored in truth
        # and no class in a prediction.
        self._to_label = np.zeros(256, np.uint8)
        if ids == 'train':
            self._to_label[: len(LABEL_IDS)] = LABEL_IDS
            self._valid = (*range(len(LABEL_IDS)), UNLABELED)
        else:
            self._to_label[:_LABELS] = range(_LABELS)
            self._valid = tuple(range(_LABELS))
        self._matrix = ConfusionMatrix(_LABELS)
        # Weighted pixels of instances: row 0 found, row 1 missed, by label id of the instance.
        self._class_pixels = np.zeros((2, _LABELS))
        self._category_pixels = np.zeros((2, _LABELS))

    def add(
        self,
        truth: NDArray[np.uint8],
        instances: NDArray[np.integer],
        predicted: NDArray[np.uint8],
    ) -> None:
        """Add one frame.

        :param truth: uint8 ids (H, W).
        :param instances: the frame's instanceIds image, uint16 or int32 (H, W).
        :param predicted: uint8 ids (H, W).
        :raises ValueError: when the shapes differ.
        :raises SourceError: for a frame that is not from Cityscapes or not of its size.
        """
        if not truth.shape == instances.shape == predicted.shape:
            raise ValueError(
                f'truth is {truth.shape}, the instances {instances.shape} and the prediction '
                f'{predicted.shape}'
            )
        if self._needs_full_frame and truth.shape != _FRAME:
            raise SourceError(
                f'iIoU weighs with sizes at 2048x1024 and this frame is {truth.shape[1]}x'
                f'{truth.shape[0]}',
                'scale the prediction to the size of the labels',
            )
        unknown = np.setdiff1d(truth, self._valid)
        if unknown.size:
            other = {'train': 'label', 'label': 'train'}[self._ids]
            raise SourceError(
                f"truth has id {unknown[0]}, not one of Cityscapes' {self._ids} ids",
                f"use ids='{other}' or convert it",
            )
        labels = self._to_label[predicted]
        self._matrix.add(self._to_label[truth], labels)
        self._add_instances(instances, labels)

    def _add_instances(self, instances: NDArray[np.integer], predicted: NDArray[np.uint8]) -> None:
        counted = instances > 1000
        ids, index = np.unique(instances[counted], return_inverse=True)
        label = ids // 1000
        if label.size and label.max() >= _LABELS:
            raise SourceError(
                f'instance id {ids[-1]} is not label id * 1000 + number',
                'give the file *_gtFine_instanceIds.png, unchanged',
            )
        found = predicted[counted]
        size = np.bincount(index, minlength=ids.size)
        hits = np.bincount(index[found == label[index]], minlength=ids.size)
        same_category = _CATEGORY_OF[found] == _CATEGORY_OF[label][index]
        category_hits = np.bincount(index[same_category], minlength=ids.size)
        for i, c in enumerate(label):
            if c in self._average_size:
                weight = self._average_size[c] / size[i]
                self._class_pixels[:, c] += weight * np.array([hits[i], size[i] - hits[i]])
                self._category_pixels[:, c] += weight * np.array(
                    [category_hits[i], size[i] - category_hits[i]]
                )

    def scores(self) -> InstanceScores:
        """Figures of everything added so far."""
        counts = self._matrix.counts
        iiou = np.full(len(LABEL_IDS), np.nan)
        for c in self._average_size:
            others = [label for label in LABEL_IDS if label != c]
            found, missed = self._class_pixels[:, c]
            iiou[LABEL_IDS.index(c)] = _ratio(found, missed, counts[others, c].sum())
        category_iou, category_iiou = {}, {}
        for name, members in CATEGORIES.items():
            inside = [label for label in LABEL_IDS if label in members]
            outside = [label for label in LABEL_IDS if label not in members]
            found = counts[np.ix_(inside, inside)].sum()
            # A caravan predicted on a car is missed here, as every ignored label; below, where
            # any label of the category will do, it is found.
            missed = counts[inside].sum() - found
            category_iou[name] = _ratio(found, missed, counts[np.ix_(outside, inside)].sum())
            if name in INSTANCE_CATEGORIES:
                found, missed = self._category_pixels[:, members].sum(axis=1)
                false = counts[np.ix_(outside, members)].sum()
                category_iiou[name] = _ratio(found, missed, false)
        return InstanceScores(iiou, category_iou, category_iiou)


@dataclass(frozen=True)
class InstanceScores:
    """iIoU from 0 to 1; NaN for what never occurred.

    :param iiou: per train id, shape (19,); NaN for the 11 classes without instances.
    :param category_iou: plain IoU of Cityscapes' seven categories by name.
    :param category_iiou: iIoU of the categories human and vehicle, where any label of the
        category is a hit.
    """

    iiou: NDArray[np.float64]
    category_iou: Mapping[str, float]
    category_iiou: Mapping[str, float]

    @property
    def mean(self) -> float:
        """Mean iIoU over the instance classes that occur."""
        return _mean_of_numbers(self.iiou)

    @property
    def category_mean(self) -> float:
        """Mean category iIoU over the categories that occur."""
        return _mean_of_numbers(np.array(list(self.category_iiou.values())))

    @property
    def category_miou(self) -> float:
        """Mean plain category IoU over the categories that occur."""
        return _mean_of_numbers(np.array(list(self.category_iou.values())))


def _ratio(found: float, missed: float, false: float) -> float:
    """IoU from pixels found, missed and false; NaN when there are none."""
    union = found + missed + false
    return float(found / union) if union else float('nan')


def _mean_of_numbers(values: NDArray[np.float64]) -> float:
    numbers = values[~np.isnan(values)]
    return float(numbers.mean()) if numbers.size else float('nan')


def _category_of() -> NDArray[np.int64]:
    table = np.zeros(_LABELS, np.int64)
    for number, members in enumerate(CATEGORIES.values(), start=1):
        table[list(members)] = number
    return table


#: Number of the category per label id; 0 is void.
_CATEGORY_OF = _category_of()
