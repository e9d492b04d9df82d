"""Outputs by name, each worked out by hand."""

import re

import cv2
import numpy as np
import pytest
from checkout import ROOT

from linknet_ros.classes import ClassTable
from linknet_ros.errors import ClassNameError, ParameterError
from linknet_ros.inference.segmenter import Segmentation
from linknet_ros.products import products as module
from linknet_ros.products.legend import OverlayLegend
from linknet_ros.products.products import (
    NAMES,
    Products,
    ProductSettings,
    chosen,
    message_format,
)

LABELS = np.array([[0, 1, 2, 255]], np.uint8)
CONFIDENCE = np.array([[9, 8, 7, 6]], np.uint8)
FRAME = np.full((1, 4, 3), 100, np.uint8)
# BGR of the three classes of conftest.py; unlabelled is black, and shows the frame in overlays.
COLOR = [[[128, 64, 128], [142, 0, 0], [180, 130, 70], [0, 0, 0]]]
OVERLAY = [[[114, 82, 114], [121, 50, 50], [140, 115, 85], [100, 100, 100]]]
#: In the order in which they are made.
EXPECTED = {
    'labels': LABELS,
    'drivable': [[255, 0, 0, 0]],
    'confidence': CONFIDENCE,
    'masks/car': [[0, 255, 0, 0]],
    'masks/car_sky': [[0, 255, 255, 0]],
    'color': COLOR,
    'overlay': OVERLAY,
}
#: What planners read comes before any encoder runs.
ORDER = [
    *('labels', 'drivable', 'confidence', 'masks/car', 'masks/car_sky'),
    *('labels/compressed', 'drivable/compressed', 'confidence/compressed'),
    *('masks/car/compressed', 'masks/car_sky/compressed'),
    *('color', 'color/compressed', 'overlay', 'overlay/compressed'),
]
MASKS = ('car', 'car+sky')


def made(table, wanted, result=None, frame=FRAME, status=str, **changes):
    """Outputs by name, in the order in which they were made."""
    products = Products(table, ProductSettings(**{'mask_classes': MASKS} | changes))
    result = result or Segmentation(LABELS, CONFIDENCE)
    found = list(products.of(frame, result, wanted, status))
    assert len(dict(found)) == len(found)
    return dict(found)


@pytest.mark.parametrize('name', EXPECTED)
def test_alone(class_table, name):
    found = made(class_table, [name])
    assert list(found) == [name]
    np.testing.assert_array_equal(found[name], EXPECTED[name])
    assert found[name].dtype == np.uint8


def test_all_together_in_the_order_of_need(class_table):
    assert set(NAMES) <= set(EXPECTED)
    found = made(class_table, set(ORDER), jpeg_quality=100)
    assert list(found) == ORDER
    for name, expected in EXPECTED.items():
        np.testing.assert_array_equal(found[name], expected)
        encoded = found[f'{name}/compressed']
        assert encoded.tobytes()[1:4] == (b'\xd8\xff\xe0' if name == 'overlay' else b'PNG')
        decoded = cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED)
        if name == 'overlay':
            assert decoded.shape == np.shape(expected)
        else:
            np.testing.assert_array_equal(decoded, expected)


def test_nothing_is_made_before_it_is_asked_for_or_twice(class_table, monkeypatch):
    calls = []
    for name in ('class_mask', 'colorize', 'blend', 'encode_png', 'encode_jpeg'):
        real = getattr(module, name)
        monkeypatch.setattr(
            module, name, lambda *given, n=name, run=real: (calls.append(n), run(*given))[1]
        )
    products = Products(class_table, ProductSettings())
    wanted = {'labels', 'drivable', 'color', 'overlay', 'overlay/compressed'}
    results = products.of(FRAME, Segmentation(LABELS, CONFIDENCE), wanted)
    seen = [(next(results)[0], list(calls)) for _ in wanted]
    assert seen == [
        ('labels', []),
        ('drivable', ['class_mask']),
        ('color', ['class_mask', 'colorize']),
        ('overlay', ['class_mask', 'colorize', 'blend']),
        ('overlay/compressed', ['class_mask', 'colorize', 'blend', 'encode_jpeg']),
    ]
    calls.clear()
    assert list(products.of(FRAME, Segmentation(LABELS, CONFIDENCE), set())) == []
    assert [n for n, _ in products.of(FRAME, Segmentation(LABELS, CONFIDENCE), {'color'})] == [
        'color'
    ]
    assert calls == ['colorize']
    calls.clear()
    small = products.of(FRAME, Segmentation(LABELS, CONFIDENCE), {'overlay'}, size=(2, 1))
    assert [n for n, _ in small] == ['overlay']
    assert calls == ['colorize', 'blend']


def test_settings(class_table):
    changes = {'drivable_classes': ('car', 'sky'), 'overlay_opacity': 1.0}
    found = made(class_table, ['drivable', 'overlay'], **changes)
    np.testing.assert_array_equal(found['drivable'], [[0, 255, 255, 0]])
    np.testing.assert_array_equal(found['overlay'], [[*COLOR[0][:3], [100] * 3]])
    noise = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    unlabeled = Segmentation(np.full((64, 96), 255, np.uint8), CONFIDENCE)
    sizes = [
        len(made(class_table, names, unlabeled, noise, jpeg_quality=quality)[names[0]])
        for names in (['overlay/compressed'],)
        for quality in (1, 50, 100)
    ]
    assert sizes[0] * 2 < sizes[1] < sizes[2] / 2


def test_legend_and_line_are_in_the_overlay_alone(class_table):
    labels = np.repeat(np.array([[0, 1]], np.uint8), [200, 280], axis=1).repeat(360, 0)
    frame = np.full((360, 480, 3), 100, np.uint8)
    result = Segmentation(labels, np.full_like(labels, 200))
    asked = []

    def outputs(*names, **changes):
        status = lambda: asked.append(1) or '9.9 fps'  # noqa: E731
        return made(class_table, names, result, frame, status, **changes)

    # Nobody computes a line that nobody sees.
    outputs('color', 'labels')
    plain = outputs('color', 'overlay', overlay_legend=False)
    assert not asked
    changes = {'drivable_classes': ('car',), 'jpeg_quality': 100}
    found = outputs('color', 'overlay', 'overlay/compressed', **changes)
    assert len(asked) == 1
    expected = plain['overlay'].copy()
    # Drivable are the classes of the setting, not those of the model.
    OverlayLegend(class_table, [1]).draw(expected, labels, '9.9 fps')
    assert (expected != plain['overlay']).any()
    np.testing.assert_array_equal(found['overlay'], expected)
    jpeg = cv2.imdecode(found['overlay/compressed'], cv2.IMREAD_COLOR)
    assert np.abs(jpeg.astype(int) - expected).mean() < 2
    np.testing.assert_array_equal(found['color'], plain['color'])


def test_unknown_classes_and_masks_of_one_name(class_table):
    settings = ProductSettings(('lamp', 'road'), ('car+tram', 'sky'))
    with pytest.raises(ClassNameError, match="unknown class 'lamp', 'tram'; the model knows: ro"):
        Products(class_table, settings)
    table = ClassTable(('a b', 'a-b'), ((0, 0, 0), (1, 1, 1)), (True, False))
    with pytest.raises(ClassNameError, match="'a b' and 'a-b' would both be called masks/a_b"):
        Products(table, ProductSettings(mask_classes=('a b', 'a-b')))


# What a user names.


def test_chosen():
    table = ClassTable(('road', 'traffic light'), ((0, 0, 0), (1, 1, 1)), (True, False))
    names, masks = chosen(
        ['overlay', 'labels/compressed', 'masks/traffic light', 'masks/traffic_light'], table
    )
    assert names == ('overlay', 'labels/compressed', 'masks/traffic_light')
    assert masks == ('traffic light',)
    names, masks = chosen(['masks/road+traffic light/compressed', 'overlay', 'overlay'], table)
    assert names == ('masks/road_traffic_light/compressed', 'overlay')
    assert masks == ('road+traffic light',)
    assert Products(table, ProductSettings(mask_classes=masks)).masks == (
        'masks/road_traffic_light',
    )


@pytest.mark.parametrize(
    ('names', 'error', 'message'),
    [
        ([], ParameterError, 'no output is named; name some of labels, '),
        (['label'], ParameterError, "no output 'label'; choose from labels, drivable, .*masks/<c"),
        (['masks/tree'], ClassNameError, "unknown class 'tree'; the model knows: road, car, sky"),
        (['masks/car+tree'], ClassNameError, "unknown class 'tree'"),
    ],
)
def test_what_is_not_there(class_table, names, error, message):
    with pytest.raises(error, match=message):
        chosen(names, class_table)


def test_formats():
    # As compressed_publisher.cpp of image_transport writes them.
    names = ['labels', 'masks/car', 'color', 'overlay']
    assert {message_format(f'{name}/compressed') for name in names[:2]} == {
        'mono8; png compressed '
    }
    assert [message_format(f'{name}/compressed') for name in names[2:]] == [
        'bgr8; png compressed bgr8',
        'bgr8; jpeg compressed bgr8',
    ]


def test_colours_are_never_those_of_a_data_set():
    """Tables of data sets are for what draws or describes data sets, not for a model's results."""
    package = ROOT / 'linknet_ros'
    users = {
        path.relative_to(package).parts[0]
        for path in package.rglob('*.py')
        if re.search(r'\b(CAMVID|CITYSCAPES)\b', path.read_text('utf-8'))
    }
    assert users == {'classes.py', 'importing', 'simulation'}
