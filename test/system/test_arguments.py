"""A size, a count and a share of a command line, and what is said of others."""

from argparse import ArgumentTypeError
from functools import partial

import pytest

from linknet_ros.system.arguments import count, share, size


@pytest.mark.parametrize(
    ('parse', 'text', 'value'),
    [
        (size, '640x360', (640, 360)),
        (size, '32x4096', (32, 4096)),
        (partial(size, least=1, most=9000), '1x9000', (1, 9000)),
        (count, '1', 1),
        (partial(count, least=0, most=256), '0', 0),
        (partial(count, least=0, most=256), '256', 256),
        (share, '0', 0.0),
        (share, '.25', 0.25),
        (share, '1', 1.0),
    ],
)
def test_valid(parse, text, value):
    assert parse(text) == value


EXPECTED_SIZE = "invalid size '{}' (expected WIDTHxHEIGHT, e.g. 640x360)"


@pytest.mark.parametrize(
    ('parse', 'text', 'message'),
    [
        *[
            (size, text, EXPECTED_SIZE.format(text))
            for text in ('', '640', '640x', 'x360', '640X360', '640x360x3', '64.0x36', '-64x64')
        ],
        (size, '٣٢x٣٢', EXPECTED_SIZE.format('٣٢x٣٢')),
        (size, '31x64', "invalid size '31x64' (each side must be 32 to 4096)"),
        (size, '64x4097', "invalid size '64x4097' (each side must be 32 to 4096)"),
        (count, '0', "invalid count '0' (expected a whole number of at least 1)"),
        (count, '1.5', "invalid count '1.5' (expected a whole number of at least 1)"),
        (count, '-1', "invalid count '-1' (expected a whole number of at least 1)"),
        (
            partial(count, least=0, most=256),
            '257',
            "invalid count '257' (expected a whole number from 0 to 256)",
        ),
        (
            partial(count, least=0),
            '-1',
            "invalid count '-1' (expected a whole number of at least 0)",
        ),
        *[
            (share, text, f"invalid share '{text}' (expected a number from 0 to 1)")
            for text in ('1.01', '-0.1', 'nan', 'half', '')
        ],
    ],
)
def test_invalid(parse, text, message):
    with pytest.raises(ArgumentTypeError) as raised:
        parse(text)
    assert str(raised.value) == message
