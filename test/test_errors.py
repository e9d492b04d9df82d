"""The line of an error that says something."""

import pytest

from linknet_ros.errors import first_line


@pytest.mark.parametrize(
    ('text', 'line'),
    [
        ('one', 'one'),
        ('\n  two \nthree', 'two'),
        ('', 'ValueError'),
        ("no name: 'a b', at /project/src/rcl/expand_topic_name.c:73", "no name: 'a b'"),
        ('first, at /a/b.cpp:1, second, at /a/c.h:22', 'first, second'),
        # A user's own file is no source of a library.
        ('look at /etc/params.yaml:3', 'look at /etc/params.yaml:3'),
    ],
)
def test_first_line(text, line):
    assert first_line(ValueError(text)) == line
