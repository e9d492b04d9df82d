"""Class tables: lookup, palette, and what a table may not be."""

import numpy as np
import pytest

from linknet_ros.classes import CAMVID, CITYSCAPES, UNLABELED, ClassTable
from linknet_ros.errors import ClassNameError

GREY = (7, 7, 7)


def test_ids_keep_the_order_that_was_asked_for(class_table):
    assert class_table.ids(['sky', 'road']) == (2, 0)
    assert class_table.ids([]) == ()


def test_unknown_names_are_listed_with_the_known_ones(class_table):
    message = "unknown class 'lava', 'Road'; the model knows: road, car, sky"
    with pytest.raises(ClassNameError, match=message):
        class_table.ids(['car', 'lava', 'Road'])


def test_drivable_names(class_table):
    assert class_table.drivable_names == ('road',)


def test_palette_is_bgr_and_black_beyond_the_classes(class_table):
    palette = class_table.palette_bgr()
    assert palette.dtype == np.uint8
    assert palette.shape == (256, 3)
    assert palette[:3].tolist() == [[128, 64, 128], [142, 0, 0], [180, 130, 70]]
    assert not palette[3:].any()


def test_palette_is_the_callers_own(class_table):
    class_table.palette_bgr()[:] = 99
    assert class_table.palette_bgr()[0].tolist() == [128, 64, 128]


def test_length(class_table):
    assert len(class_table) == 3


@pytest.mark.parametrize(
    ('names', 'colors', 'drivable', 'message'),
    [
        (('a', 'b'), (GREY,), (True, False), '2 names, 1 colours and 2 drivable flags'),
        (('a',), (GREY,), (), '1 names, 1 colours and 0 drivable flags'),
        ((), (), (), 'has 0 classes; an 8-bit label image holds 1 to 254'),
        (('a', 'a'), (GREY, GREY), (True, True), 'unique and not empty'),
        (('a', ''), (GREY, GREY), (True, True), 'unique and not empty'),
        (('a' * 65,), (GREY,), (True,), 'must be one line of at most 64 characters'),
        (('a\nb',), (GREY,), (True,), r"must be one line of at most 64 characters: \['a\\nb'"),
        (('\x1b[2J',), (GREY,), (True,), 'must be one line'),
        (('a',), ((0, 256, 0),), (True,), 'colours must be red, green, blue values of 0 to 255'),
        (('a',), ((0, -1, 0),), (True,), 'colours must be red, green, blue values of 0 to 255'),
    ],
)
def test_bad_tables(names, colors, drivable, message):
    with pytest.raises(ClassNameError, match=message):
        ClassTable(names, colors, drivable)


def test_254_classes_fit_and_255_do_not():
    def table(count):
        return ClassTable(tuple(map(str, range(count))), (GREY,) * count, (False,) * count)

    assert len(table(254)) == 254
    with pytest.raises(ClassNameError, match='255 classes'):
        table(255)


def test_longest_names_and_names_of_other_languages():
    ClassTable(('a' * 64, 'Fußgänger', '道 路'), (GREY,) * 3, (False,) * 3)


def test_camvid_order_and_colours():
    assert CAMVID.names[3] == 'road'
    assert CAMVID.names[8] == 'car'
    assert CAMVID.colors[10] == (0, 128, 192)
    assert len(CAMVID) == 11
    assert CAMVID.drivable_names == ('road',)


def test_cityscapes_is_in_train_id_order():
    assert CITYSCAPES.names[0] == 'road'
    assert CITYSCAPES.names[10] == 'sky'
    assert CITYSCAPES.names[18] == 'bicycle'
    assert len(CITYSCAPES) == 19
    assert CITYSCAPES.colors[13] == (0, 0, 142)


@pytest.mark.parametrize('table', [CAMVID, CITYSCAPES], ids=['camvid', 'cityscapes'])
def test_no_two_classes_of_a_data_set_share_a_colour(table):
    assert len(set(table.colors)) == len(table) < UNLABELED
