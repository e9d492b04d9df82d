"""Frames to replay: the street with its truth."""

from itertools import islice

import numpy as np
import pytest

from linknet_ros.errors import SourceError
from linknet_ros.simulation.sources import open_source
from linknet_ros.simulation.street import StreetDrive


@pytest.fixture(scope='module')
def street():
    return open_source('street', seed=3, size=(64, 48), rate=4.0)


def test_street_is_the_drive_at_the_rate(street):
    drive = StreetDrive(3, 64, 48)
    frames = list(islice(street.frames(), 3))
    for frame, time in zip(frames, (0.0, 0.25, 0.5), strict=True):
        expected = drive.frame(time)
        np.testing.assert_array_equal(frame.bgr, expected.bgr)
        np.testing.assert_array_equal(frame.labels, expected.labels)
    assert street.camera == drive.camera
    assert (street.camera.width, street.camera.height) == (64, 48)


def test_street_starts_again(street):
    first, second = (next(street.frames()) for _ in range(2))
    np.testing.assert_array_equal(first.bgr, second.bgr)
    np.testing.assert_array_equal(first.labels, second.labels)


def test_street_of_no_size():
    with pytest.raises(SourceError, match='street frames of 8x8 px are too small'):
        open_source('street', size=(8, 8))


def test_missing_path(tmp_path):
    message = r"no folder or video '.*/none'; give an existing path, or 'street'"
    with pytest.raises(SourceError, match=message):
        open_source(str(tmp_path / 'none'))
