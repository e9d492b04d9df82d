"""PNG and JPEG of what is published and written."""

import cv2
import numpy as np
import pytest

from linknet_ros.frames.encode import encode_jpeg, encode_png
from linknet_ros.simulation.street import StreetDrive


@pytest.mark.parametrize('view', [np.asarray, lambda a: a[::2, 1::3], lambda a: a[..., None] + 1])
def test_png_is_exact(view):
    image = view(np.random.default_rng(2).integers(0, 256, (40, 61), np.uint8))
    image = np.broadcast_to(image, (*image.shape[:2], 3)) if image.ndim == 3 else image
    image.flags.writeable = False
    decoded = cv2.imdecode(encode_png(image), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(decoded, image)


def test_labels_of_a_street_are_small():
    labels = StreetDrive(3, 480, 360).frame(2.0).labels
    # 3610 in OpenCV 5, 6209 in 4.5, which cannot be told the filter; 172800 as they are.
    expected = 4500 if hasattr(cv2, 'IMWRITE_PNG_FILTER') else 7500
    assert len(encode_png(labels)) < expected


def test_jpeg_and_its_quality():
    street = StreetDrive(3, 168, 120).frame(2.0).bgr
    encoded = {quality: encode_jpeg(street, quality) for quality in (10, 80, 100)}
    assert len(encoded[10]) * 2 < len(encoded[80]) < len(encoded[100]) / 1.5
    for quality, error in ((10, 20), (80, 8), (100, 4)):
        decoded = cv2.imdecode(encoded[quality], cv2.IMREAD_COLOR)
        assert np.abs(decoded.astype(int) - street).mean() < error
