"""The contact sheet: every picture in its place, in its shape, below its title."""

import numpy as np

from linknet_ros.products.contact_sheet import contact_sheet

BLUE, GREEN, RED, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def solid(color, height=20, width=40):
    return np.full((height, width, 3), color, np.uint8)


def box(sheet, color):
    """Top, bottom, left, right of the pixels of a colour, which must fill the box."""
    found = (sheet == np.array(color)).all(axis=2)
    rows, cols = np.nonzero(found)
    top, bottom, left, right = rows.min(), rows.max() + 1, cols.min(), cols.max() + 1
    assert found[top:bottom, left:right].all()
    return top, bottom, left, right


def size(sheet, color):
    """Height and width of the box of a colour."""
    top, bottom, left, right = box(sheet, color)
    return bottom - top, right - left


def test_pictures_lie_in_their_cells():
    rows = [[solid(BLUE), solid(GREEN)], [solid(RED), solid(WHITE)]]
    sheet = contact_sheet(rows, ('', ''), width=40)
    assert sheet.dtype == np.uint8
    boxes = [box(sheet, color) for color in (BLUE, GREEN, RED, WHITE)]
    assert [(b[1] - b[0], b[3] - b[2]) for b in boxes] == [(20, 40)] * 4
    blue, green, red, white = boxes
    assert blue[:2] == green[:2]
    assert red[:2] == white[:2]
    assert blue[2:] == red[2:]
    assert green[2:] == white[2:]
    # A strip of background parts them.
    assert blue[3] < green[2]
    assert blue[1] < red[0]
    assert white[1] < sheet.shape[0]
    assert white[3] < sheet.shape[1]


def test_pictures_are_not_turned():
    picture = solid(BLUE)
    picture[:, 20:] = GREEN
    picture[10:, 20:] = RED
    sheet = contact_sheet([[picture]], ('',), width=40)
    top, bottom, left, right = box(sheet, BLUE)
    assert (bottom - top, right - left) == (20, 20)
    assert box(sheet, GREEN) == (top, top + 10, right, right + 20)
    assert box(sheet, RED) == (top + 10, bottom, right, right + 20)


def test_grey_pictures_and_other_shapes():
    grey = np.full((20, 40), 77, np.uint8)
    rows = [[grey], [solid(BLUE, 40, 80)], [solid(GREEN, 60, 20)], [solid(RED, 1, 500)]]
    sheet = contact_sheet(rows, ('',), width=40)
    for color, expected in {(77,) * 3: (20, 40), BLUE: (20, 40), GREEN: (120, 40)}.items():
        assert size(sheet, color) == expected
    assert size(sheet, RED) == (1, 40)


def test_a_row_has_the_height_of_its_first_picture():
    pictures = [solid(BLUE, 10, 20), solid(GREEN, 90, 30), solid(RED, 10, 100)]
    sheet = contact_sheet([pictures], ('', '', ''), width=40)
    assert size(sheet, BLUE) == (20, 40)
    # The others keep their shape too, in the middle of cells of that size.
    assert size(sheet, GREEN) == (20, 7)
    assert size(sheet, RED) == (4, 40)
    blue, green, red = (box(sheet, color) for color in (BLUE, GREEN, RED))
    assert green[:2] == blue[:2]
    assert red[0] - blue[0] == blue[1] - red[1] == 8
    assert abs((green[2] + green[3]) / 2 - (blue[3] + 12 + 20)) <= 1


def test_titles_stand_above_their_columns():
    rows = [[solid(BLUE, 40, 80), solid(GREEN, 40, 80)]]
    empty = contact_sheet(rows, ('', ''), width=80)
    above, _, _, left = box(empty, BLUE)
    between = (left + box(empty, GREEN)[2]) // 2
    for titles, drawn in ((('one', ''), (True, False)), (('', 'two'), (False, True))):
        sheet = contact_sheet(rows, titles, width=80)
        changed = (sheet != empty).any(axis=2)
        assert not changed[above:].any()
        assert (changed[:, :between].any(), changed[:, between:].any()) == drawn
    assert (rows[0][0] == BLUE).all()
