"""The legend in the overlay: which classes, in which colours, where, and where not."""

import numpy as np
import pytest

from linknet_ros.classes import CAMVID, CITYSCAPES, ClassTable
from linknet_ros.products.legend import OverlayLegend

ROAD, CAR, SKY = CAMVID.ids(['road', 'car', 'sky'])
PALETTE = CAMVID.palette_bgr()
#: Of the overlay before anything is drawn; no class has this colour.
GREY = 220
LINE = '12.3 fps  latency 84 ms'


def striped(height, width, classes):
    """Labels with an equal part of each class, from left to right."""
    columns = np.array(classes, np.uint8)[np.arange(width) * len(classes) // width]
    return np.tile(columns, (height, 1))


def drawn(labels, line='', table=CAMVID, drivable=(ROAD,), legend=None):
    overlay = np.full((*labels.shape, 3), GREY, np.uint8)
    (legend or OverlayLegend(table, drivable)).draw(overlay, labels, line)
    return overlay


def box(overlay):
    """First and last row, first and last column of what was drawn, or None."""
    rows, columns = np.nonzero((overlay != GREY).any(2))
    return (rows.min(), rows.max(), columns.min(), columns.max()) if len(rows) else None


def swatches(overlay, palette=PALETTE):
    """Class ids by the colours that the overlay has in large enough patches, from top to bottom.

    Text is white and its background darkened grey, which no class is.
    """
    codes, wanted = (np.int32(colors) @ [1, 1 << 8, 1 << 16] for colors in (overlay, palette))
    found = []
    for class_id in np.flatnonzero(wanted):
        rows = np.flatnonzero((codes == wanted[class_id]).sum(1) > 6)
        if len(rows):
            found.append((rows[0], class_id))
    return [class_id for _, class_id in sorted(found)]


@pytest.mark.parametrize(
    'size', [(320, 240), (480, 360), (640, 360), (360, 640), (1280, 720), (1920, 1080)]
)
def test_lists_the_classes_of_the_frame_in_their_colours(size):
    labels = striped(size[1], size[0], [CAR, ROAD, 255, SKY])
    overlay = drawn(labels)
    assert swatches(overlay) == sorted([CAR, ROAD, SKY])
    first_row, last_row, first_column, last_column = box(overlay)
    assert (first_row, first_column) == (0, 0)
    # A corner only.
    assert last_row < size[1] / 5
    assert last_column < 0.4 * size[0]
    # The rows grow with the frame, but can be read in a small one.
    assert (last_row + 1) / 3 == pytest.approx(max(11, min(size[1], 0.75 * size[0]) / 30), abs=0.5)


def test_rows_say_the_names():
    labels = striped(360, 480, [0, 1])

    def picture(*names, drivable=()):
        table = ClassTable(names, ((255, 0, 0), (0, 255, 0)), (False, False))
        return drawn(labels, table=table, drivable=drivable)

    row = 12
    same, other = picture('road', 'car'), picture('road', 'bus')
    np.testing.assert_array_equal(same[:row], other[:row])
    assert (same[row : 2 * row] != other[row : 2 * row]).any()
    # The second name is the one of the first in another picture.
    turned = picture('car', 'road')
    np.testing.assert_array_equal(same[:row, 16:], turned[row : 2 * row, 16:])


def test_drivable_classes_are_marked():
    labels = striped(360, 480, [ROAD, CAR])
    row = 12
    road, car = drawn(labels, drivable=[ROAD]), drawn(labels, drivable=[CAR])
    neither = drawn(labels, drivable=[])

    def last_ink(overlay, rows):
        """Last column with text, which is bright, but not as what was there before."""
        ink = (overlay[rows].min(2) > 120) & (overlay[rows] != GREY).any(2)
        return np.nonzero(ink.any(0))[0].max()

    first, second = slice(0, row), slice(row, 2 * row)
    assert last_ink(road, first) > last_ink(neither, first) + 30
    assert last_ink(road, second) == last_ink(neither, second)
    assert last_ink(car, first) == last_ink(neither, first)
    assert last_ink(car, second) > last_ink(neither, second) + 30


def test_nothing_else_is_touched():
    labels = striped(360, 480, [ROAD, CAR])
    frame = np.random.default_rng(0).integers(0, 255, (360, 480, 3), np.uint8)
    overlay = frame.copy()
    OverlayLegend(CAMVID, [ROAD]).draw(overlay, labels, LINE)
    for part in (np.s_[:24, :192], np.s_[348:, :240]):
        assert (overlay[part] != frame[part]).any()
        overlay[part] = frame[part]
    np.testing.assert_array_equal(overlay, frame)


def test_what_is_not_listed():
    labels = striped(360, 480, [ROAD, 11, 200])
    labels[100, 100:103] = CAR
    assert swatches(drawn(labels)) == [ROAD]
    labels[100:108, 100:120] = CAR
    assert swatches(drawn(labels)) == [ROAD, CAR]
    assert (drawn(np.full((360, 480), 255, np.uint8)) == GREY).all()


def test_legend_does_not_come_and_go_with_the_classes():
    for width in (96, 160, 240, 320, 480):
        boxes = [box(drawn(striped(3 * width // 4, width, [i]))) for i in range(11)]
        assert len({found and found[3] for found in boxes}) == 1, width
    assert None not in boxes


def test_most_seen_classes_where_not_all_fit():
    """19 classes of different sizes in a frame with room for some."""
    widths = np.arange(2, 21)
    ids = np.random.default_rng(3).permutation(19).astype(np.uint8)
    row = np.repeat(ids, widths)
    labels = np.tile(row, (150, 2))
    overlay = drawn(labels, table=CITYSCAPES, drivable=())
    palette = CITYSCAPES.palette_bgr()
    room = 150 // 2 // 11
    largest = sorted(ids[np.argsort(-widths)][:room].tolist())
    assert swatches(overlay, palette) == largest
    assert box(overlay)[1] < 75


@pytest.mark.parametrize('table', [CAMVID, CITYSCAPES])
@pytest.mark.parametrize('height', [1, 16, 60, 120, 240, 361])
@pytest.mark.parametrize('width', [1, 2, 60, 160, 320, 481, 1001])
def test_never_more_than_a_part_of_any_frame(table, width, height):
    rng = np.random.default_rng(1)
    labels = rng.integers(0, len(table), (height, width), np.uint8)
    overlay = drawn(labels, table=table)
    found = box(overlay)
    if found is not None:
        assert found[1] < 0.5 * height
        assert found[3] < 0.4 * width
    lines = np.full((height, width, 3), GREY, np.uint8)
    OverlayLegend(table, ()).draw(lines, np.full((height, width), 255, np.uint8), LINE)
    found = box(lines)
    if found is not None:
        assert found[0] >= 0.88 * height - 1
        assert found[3] < 0.5 * width


def test_small_frame_is_left_as_it_is():
    labels = striped(80, 100, [ROAD, CAR])
    assert (drawn(labels, LINE) == GREY).all()
    # Where the names are too wide, the line alone may fit.
    table = ClassTable(('road', 'w' * 20), ((255, 0, 0), (0, 255, 0)), (True, False))
    overlay = drawn(striped(240, 320, [0, 1]), LINE, table=table)
    assert box(overlay)[0] >= 225


def test_what_was_drawn_before_does_not_matter():
    """Resumed recordings are written again from any frame on, and must be the same."""
    legend = OverlayLegend(CAMVID, [ROAD])
    frames = [
        striped(360, 480, [ROAD, CAR]),
        striped(360, 480, [ROAD, CAR, SKY]),
        striped(240, 320, [ROAD]),
        striped(360, 480, [CAR, SKY]),
        np.full((360, 480), 255, np.uint8),
        striped(360, 480, [ROAD, CAR]),
    ]
    for i, labels in enumerate(frames):
        line = f'{i} fps'
        expected = drawn(labels, line)
        np.testing.assert_array_equal(drawn(labels, line, legend=legend), expected)
    # And a strip that was handed out stays as it was.
    np.testing.assert_array_equal(drawn(frames[0], legend=legend), drawn(frames[0]))


def test_names_that_cannot_be_written():
    """A name in other letters is shown by its number, a long one is cut."""

    def picture(name):
        table = ClassTable((name, 'b' * 20), ((255, 0, 0), (0, 255, 0)), (False, False))
        return drawn(striped(720, 960, [0]), table=table, drivable=())

    for name, shown in (('straße', 'class 0'), ('a' * 64, 'a' * 17 + '...')):
        np.testing.assert_array_equal(picture(name), picture(shown))
    assert (picture('class 0') != picture('class 1')).any()


def test_line_is_written_at_the_bottom_left():
    overlay = drawn(np.full((360, 480), 255, np.uint8), LINE)
    first_row, last_row, first_column, last_column = box(overlay)
    assert (first_row, last_row, first_column) == (348, 359, 0)
    assert last_column < 240
    assert (overlay[348:, :last_column].min(2) > 120).any()
    longer = drawn(np.full((360, 480), 255, np.uint8), f'{LINE} and more')
    assert box(longer)[3] > last_column
