"""What the pixels of a level camera see of the ground, worked out by hand."""

import math

import numpy as np
import pytest

from linknet_ros.errors import CalibrationError
from linknet_ros.ground.camera import CameraModel
from linknet_ros.ground.mount import Mount
from linknet_ros.ground.pixels import GroundView

#: A level camera 1 m above the ground: row v sees 60 / (v - 20) m ahead, from 1.5 m on.
LEVEL = CameraModel(81, 61, 60.0, 60.0, 40.0, 20.0)
MOUNT = Mount.from_angles(z=1.0)


def look(max_range=10.5, ego_mask=None, mount=MOUNT):
    return GroundView(LEVEL, mount, mount.position[2], max_range, ego_mask)


def test_bearings_go_through_the_middle_of_every_pixel_of_the_ground():
    view = look()
    bearings = view.bearings()
    assert (np.diff(bearings) > 0).all()
    rows, cols = np.indices((61, 81))
    # 10 m are seen in row 26, 12 m in row 25; to the side the same row sees further away.
    ahead = np.divide(60.0, rows - 20, out=np.full(rows.shape, 1e9), where=rows > 20)
    seen = np.hypot(ahead, ahead * (cols - 40) / 60) <= 10.5
    left = np.arctan((40 - cols + 0.5) / 60)[seen]
    right = np.arctan((40 - cols - 0.5) / 60)[seen]
    after = np.searchsorted(bearings, right)
    assert (bearings[after] < left).all()


def test_pixels_along_the_middle_lie_from_near_to_far():
    pixels, near, reaches, gaps = look().trace(np.array([0.0]))
    count = int((near[0] > 0).sum()) - 1
    rows, cols = np.divmod(pixels[0, :count], 81)
    assert set(cols) == {40}
    assert rows.tolist() == list(range(60, 25, -1))
    # A pixel is entered at its lower edge.
    assert near[0, :count] == pytest.approx(60 / (rows + 0.5 - 20), rel=0.01)
    assert pixels[0, count] == 61 * 81
    assert reaches.tolist() == [True]
    assert len(gaps) == 0


def test_what_the_vehicle_hides_is_a_gap():
    mask = np.zeros((61, 81), np.uint8)
    mask[40:46, 30:51] = 1
    pixels, _, _, gaps = look(ego_mask=mask).trace(np.array([0.0]))
    rows = pixels[0][pixels[0] < 61 * 81] // 81
    assert not set(rows) & set(range(40, 46))
    [(ray, start, stop)] = gaps.tolist()
    assert ray == 0
    assert (start, stop) == pytest.approx((60 / 25.5, 60 / 19.5), rel=0.02)


def test_camera_that_sees_no_ground():
    with pytest.raises(CalibrationError, match=r'sees no ground within 10.5 m; check its pitch'):
        look(mount=Mount.from_angles(z=1.0, pitch=-math.pi / 4))
