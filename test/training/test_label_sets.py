"""Ids for labels that allow several classes."""

import numpy as np
import pytest

from linknet_ros.classes import CAMVID
from linknet_ros.errors import ClassNameError, SourceError
from training.label_sets import LabelSets


def test_classes_keep_their_ids_and_sets_get_the_next_ones():
    sets = LabelSets(CAMVID)
    assert [sets.id_of([name]) for name in CAMVID.names] == list(range(11))
    assert sets.id_of(['car', 'bicyclist']) == 11
    assert sets.id_of(['tree', 'building']) == 12
    assert sets.id_of(['bicyclist', 'car', 'car']) == 11
    assert sets.id_of(CAMVID.names) == 255
    assert len(sets) == 13


def test_table_says_what_each_id_allows():
    sets = LabelSets(CAMVID)
    sets.id_of(['car', 'bicyclist'])
    table = sets.table()
    assert table.shape == (256, 11)
    np.testing.assert_array_equal(table[:11], np.eye(11, dtype=bool))
    assert np.flatnonzero(table[11]).tolist() == [8, 10]
    assert table[255].all()
    assert not table[12:255].any()


def test_refusals():
    sets = LabelSets(CAMVID)
    with pytest.raises(SourceError, match='allows no class'):
        sets.id_of([])
    with pytest.raises(ClassNameError, match="unknown class 'lorry'"):
        sets.id_of(['car', 'lorry'])
