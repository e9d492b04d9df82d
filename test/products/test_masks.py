"""Binary masks of classes."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from linknet_ros.classes import ClassTable
from linknet_ros.products.masks import class_mask, mask_names, mask_table, topic_token

LABELS = np.array([[0, 3, 254], [255, 3, 10]], np.uint8)


@pytest.mark.parametrize('class_id', [-1, 255, 256])
def test_table_refuses_what_is_not_a_class(class_id):
    with pytest.raises(ValueError, match=f'class id {class_id} is not between 0 and 254'):
        mask_table([0, class_id])


def test_labels_may_be_a_cropped_read_only_view():
    cropped = np.pad(LABELS, 2, constant_values=3)[2:-2, 2:-2]
    cropped.flags.writeable = False
    mask = class_mask(cropped, mask_table(iter([3, 3])))
    assert mask.tolist() == [[0, 255, 0], [0, 255, 0]]
    assert mask.flags.c_contiguous


@pytest.mark.parametrize(
    ('entry', 'names', 'token'),
    [
        ('person', ('person',), 'person'),
        ('car+person+rider', ('car', 'person', 'rider'), 'car_person_rider'),
        # A class of that very name comes first.
        ('bus+tram', ('bus+tram',), 'bus_tram'),
        ('person+', ('person', ''), 'person'),
        ('Traffic-Light (red)', ('Traffic-Light (red)',), 'traffic_light_red'),
        ('  __road__ ', ('  __road__ ',), 'road'),
        ('2-wheeler', ('2-wheeler',), 'class_2_wheeler'),
        ('Straße', ('Straße',), 'stra_e'),
        ('道路', ('道路',), 'class_'),
    ],
)
def test_classes_and_topic_of_a_mask(entry, names, token):
    known = ('car', 'person', 'rider', 'bus+tram')
    table = ClassTable(known, ((0, 0, 0),) * 4, (False,) * 4)
    assert mask_names(entry, table) == names
    assert topic_token(entry) == token
    # What ROS allows in a name.
    assert re.fullmatch('[a-z_][a-z0-9_]*', token)


@given(
    arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=20)),
    st.sets(st.integers(0, 254)),
)
@settings(deadline=None)
def test_any_labels_and_ids(labels, ids):
    mask = class_mask(labels, mask_table(ids))
    assert mask.shape == labels.shape
    assert mask.dtype == np.uint8
    expected = [[255 if label in ids else 0 for label in row] for row in labels.tolist()]
    assert mask.tolist() == expected
