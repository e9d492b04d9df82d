"""Binary masks of classes, and what their topics are called."""

from __future__ import annotations

import re
from collections.abc import Iterable

import cv2
import numpy as np
from numpy.typing import NDArray

from linknet_ros.classes import UNLABELED, ClassTable


def mask_table(ids: Iterable[int]) -> NDArray[np.uint8]:
    """Look-up table, shape (256,), uint8: 255 for the ids, 0 for all others.

    :raises ValueError: for an id that is not a class's; unlabelled pixels are in no mask.
    """
    table = np.zeros(256, np.uint8)
    for class_id in ids:
        if not 0 <= class_id < UNLABELED:
            raise ValueError(f'class id {class_id} is not between 0 and {UNLABELED - 1}')
        table[class_id] = 255
    return table


def mask_names(entry: str, classes: ClassTable) -> tuple[str, ...]:
    """Names of the classes of one mask, which need not be in the table.

    :param entry: a class, or several with + between them, e.g. 'person+rider'.
    """
    return (entry,) if entry in classes.names else tuple(entry.split('+'))


def class_mask(labels: NDArray[np.uint8], table: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Mask of the classes in a table.

    :param labels: (H, W) uint8 class ids.
    :param table: from mask_table.
    :returns: (H, W) uint8, 255 where the class is one of the table's, else 0.
    """
    mask: NDArray[np.uint8] = cv2.LUT(labels, table)
    return mask


def topic_token(class_name: str) -> str:
    """A class name as part of a topic name, which allows letters, digits and underscores.

    Several with + between them have underscores there.
    """
    token = re.sub('[^A-Za-z0-9]+', '_', class_name).strip('_').lower()
    # A token must not start with a digit.
    return f'class_{token}' if not token or token[0].isdigit() else token
