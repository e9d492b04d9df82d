"""Outputs by name, each worked out by hand."""

import cv2
import numpy as np
import pytest

from linknet_ros.classes import ClassTable
from linknet_ros.errors import ClassNameError, ParameterError
from linknet_ros.inference.segmenter import Segmentation
from linknet_ros.products.legend import OverlayLegend
from linknet_ros.products.products import NAMES, Product, Products, encode

LABELS = np.array([[0, 1, 2, 255]], np.uint8)
CONFIDENCE = np.array([[9, 8, 7, 6]], np.uint8)
FRAME = np.full((1, 4, 3), 100, np.uint8)
# BGR of the three classes of conftest.py; unlabelled is black, and shows the frame in overlays.
COLOR = [[[128, 64, 128], [142, 0, 0], [180, 130, 70], [0, 0, 0]]]
OVERLAY = [[[114, 82, 114], [121, 50, 50], [140, 115, 85], [100, 100, 100]]]
EXPECTED = {
    'labels': LABELS,
    'confidence': CONFIDENCE,
    'drivable': [[255, 0, 0, 0]],
    'masks/car': [[0, 255, 0, 0]],
    'masks/sky': [[0, 0, 255, 0]],
    'color': COLOR,
    'overlay': OVERLAY,
}


def made(table, names, drivable=(), opacity=0.5):
    products = Products(table, names, drivable, opacity)
    return {p.topic: array for p, array in products.of(FRAME, Segmentation(LABELS, CONFIDENCE))}


@pytest.mark.parametrize('name', EXPECTED)
def test_alone(class_table, name):
    found = made(class_table, [name])
    assert list(found) == [name]
    np.testing.assert_array_equal(found[name], EXPECTED[name])
    assert found[name].dtype == np.uint8


def test_all_together(class_table):
    assert set(NAMES) <= set(EXPECTED)
    found = made(class_table, [*EXPECTED, 'labels', 'labels/compressed'])
    assert list(found) == [*EXPECTED, 'labels/compressed']
    for name, expected in EXPECTED.items():
        np.testing.assert_array_equal(found[name], expected)


def test_settings(class_table):
    found = made(class_table, ['drivable', 'overlay'], drivable=['car', 'sky'], opacity=1.0)
    np.testing.assert_array_equal(found['drivable'], [[0, 255, 255, 0]])
    np.testing.assert_array_equal(found['overlay'], [[*COLOR[0][:3], [100] * 3]])


def test_legend_is_in_the_overlay_alone_and_can_be_left_out(class_table):
    labels = np.repeat(np.array([[0, 1]], np.uint8), [200, 280], axis=1).repeat(360, 0)
    frame = np.full((360, 480, 3), 100, np.uint8)
    result = Segmentation(labels, np.full_like(labels, 200))
    names = ['color', 'overlay', 'overlay/compressed', 'labels']

    def outputs(legend):
        products = Products(class_table, names, ['road'], 0.5, legend)
        # The second frame: what was drawn before must not matter.
        for _ in range(2):
            arrays = {p.topic: array for p, array in products.of(frame, result)}
        return arrays

    with_legend, without = outputs(True), outputs(False)
    expected = without['overlay'].copy()
    OverlayLegend(class_table, [0]).draw(expected, labels)
    assert (expected != without['overlay']).any()
    for name in ('overlay', 'overlay/compressed'):
        np.testing.assert_array_equal(with_legend[name], expected)
    for name in ('color', 'labels'):
        np.testing.assert_array_equal(with_legend[name], without[name])


def test_mask_by_class_or_topic():
    table = ClassTable(('road', 'traffic light'), ((0, 0, 0), (1, 1, 1)), (True, False))
    for name in ('masks/traffic light', 'masks/traffic_light'):
        (product,) = Products(table, [name], (), 0.5).list
        assert product == Product('masks/traffic_light', False, 'traffic light')
    with pytest.raises(ParameterError, match='two outputs would be called masks/traffic_light'):
        Products(table, ['masks/traffic light', 'masks/traffic_light'], (), 0.5)


def test_mask_of_several_classes(class_table):
    found = made(class_table, ['masks/car+sky'])
    np.testing.assert_array_equal(found['masks/car_sky'], [[0, 255, 255, 0]])
    with pytest.raises(ClassNameError, match="unknown class 'tree'"):
        Products(class_table, ['masks/car+tree'], (), 0.5)


@pytest.mark.parametrize(
    ('names', 'error', 'message'),
    [
        ([], ParameterError, 'no output is asked for; name some of: labels, '),
        (['label'], ParameterError, "no output 'label'; there are: labels, drivable, .*masks/<c"),
        (['masks/tree'], ClassNameError, "unknown class 'tree'; the model knows: road, car, sky"),
    ],
)
def test_what_is_not_there(class_table, names, error, message):
    with pytest.raises(error, match=message):
        Products(class_table, names, (), 0.5)


def test_unknown_drivable_class(class_table):
    with pytest.raises(ClassNameError, match="unknown class 'grass'"):
        Products(class_table, ['labels'], ('grass',), 0.5)


def test_formats(class_table):
    names = ['labels/compressed', 'color/compressed', 'overlay/compressed']
    products = Products(class_table, names, (), 0.5).list
    assert [product.suffix for product in products] == ['.png', '.png', '.jpg']


def test_encode():
    noise = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    np.testing.assert_array_equal(
        cv2.imdecode(encode('.png', noise, 90), cv2.IMREAD_UNCHANGED), noise
    )
    good, bad = (encode('.jpg', noise, quality) for quality in (95, 5))
    assert len(bad) < len(good)
    assert bytes(good[:2]) == b'\xff\xd8'
