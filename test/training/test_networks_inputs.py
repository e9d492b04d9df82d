"""Normalisation of the input: by hand, and pixel for pixel."""

import itertools

import torch

from training.networks.inputs import IMAGENET_MEAN, IMAGENET_STD, normalize


def test_normalize_by_hand():
    """Two pixels: BGR bytes become RGB, minus the mean, over the deviation of ImageNet."""
    image = torch.tensor([[[[0, 0, 255], [51, 102, 204]]]], dtype=torch.uint8)
    result = normalize(image)
    assert result.shape == (1, 3, 1, 2)
    assert result.dtype == torch.float32
    expected = [
        [(1 - 0.485) / 0.229, (0.8 - 0.485) / 0.229],
        [(0 - 0.456) / 0.224, (0.4 - 0.456) / 0.224],
        [(0 - 0.406) / 0.225, (0.2 - 0.406) / 0.225],
    ]
    torch.testing.assert_close(result[0, :, 0], torch.tensor(expected))


def test_normalize_keeps_rows_and_columns():
    image = torch.zeros(2, 4, 5, 3, dtype=torch.uint8)
    image[1, 2, 3] = 200
    result = normalize(image)
    zero = -torch.tensor(IMAGENET_MEAN) / torch.tensor(IMAGENET_STD)
    for n, y, x in itertools.product(range(2), range(4), range(5)):
        same = torch.allclose(result[n, :, y, x], zero)
        assert same == ((n, y, x) != (1, 2, 3))
