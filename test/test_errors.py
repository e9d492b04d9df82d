"""Errors that carry their fix, and the line of an error that says something."""

import copy
import pickle

import pytest

from linknet_ros.errors import ModelError, first_line


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


@pytest.mark.parametrize(
    ('arguments', 'text', 'fix'),
    [
        (('no model',), 'no model', ''),
        (('no model', 'export one'), 'no model; export one', 'export one'),
        (('no model; none?', 'export one'), 'no model; none?; export one', 'export one'),
    ],
)
def test_error_carries_its_fix(arguments, text, fix):
    error = ModelError(*arguments)
    # Workers of a cluster send them to each other.
    for same in (error, pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert (str(same), same.problem, same.fix) == (text, arguments[0], fix)
        assert first_line(same) == text
