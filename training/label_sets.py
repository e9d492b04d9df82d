"""Labels that say less than a class: any of several classes, or not this one.

A label is an id. The ids from 0 on are the network's classes, the ids behind them stand for sets
of classes, one of which is right, and 255 says nothing. So a data set that tells vehicles from
living things, and not cars from bicyclists, is trained on as it is: the loss is minus the log of
the probability that the network gives to the set.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from linknet_ros.classes import UNLABELED, ClassTable
from linknet_ros.errors import SourceError


class LabelSets:
    """The ids of the labels of several data sets for one network.

    :param classes: the network's.
    """

    def __init__(self, classes: ClassTable) -> None:
        self.classes = classes
        self._sets = [frozenset([c]) for c in range(len(classes))]

    def __len__(self) -> int:
        return len(self._sets)

    def id_of(self, allowed: Iterable[str]) -> int:
        """The id that stands for "one of these classes"; a new set gets the next free one.

        :param allowed: names of classes; all of them are 255, since that says nothing.
        :raises ClassNameError: for a name that is not in the table.
        :raises SourceError: for no class at all, or more sets than ids.
        """
        chosen = frozenset(self.classes.ids(tuple(allowed)))
        if not chosen:
            raise SourceError('a label allows no class', 'name at least one, or void')
        if len(chosen) == len(self.classes):
            return UNLABELED
        if chosen not in self._sets:
            if len(self._sets) == UNLABELED:
                raise SourceError(f'more than {UNLABELED} different sets of classes')
            self._sets.append(chosen)
        return self._sets.index(chosen)

    def table(self) -> NDArray[np.bool_]:
        """Which classes each id allows, bool (256, classes); all of them for 255.

        Rows of ids that stand for nothing allow nothing.
        """
        table = np.zeros((UNLABELED + 1, len(self.classes)), np.bool_)
        for row, allowed in zip(table, self._sets, strict=False):
            row[list(allowed)] = True
        table[UNLABELED] = True
        return table
