"""What is said of a recording."""

import json
from collections import Counter

import pytest

from linknet_ros.recordings.report import Report, exit_code


def test_good():
    report = Report('a', 'b', frames=3, segmented=3)
    assert report.line() == 'a -> b: 3 frames read, 3 segmented, 0 bad'
    assert report.complete


def test_everything():
    report = Report('a', 'b', '/image', frames=9, segmented=4, resumed=2, kept=7)
    report.bad = Counter({'dark': 2, 'small': 1, 'odd': 1, 'late': 1})
    report.damage = ['cut short']
    report.scene.update(black=3, frozen=1)
    assert report.line() == (
        'a -> b: 9 frames read, 4 segmented (2 by an earlier run), 5 bad (2 x dark; 1 x small; '
        '1 x odd; 1 more reasons), 4 not believed (3 x black; 1 x frozen), 7 other '
        'messages kept, damaged: cut short'
    )
    written = json.loads(json.dumps(report.as_json()))
    assert written['bad'] == {'dark': 2, 'small': 1, 'odd': 1, 'late': 1}
    assert written['scene'] == {'black': 3, 'frozen': 1}
    assert written['damage'] == ['cut short']
    assert written['complete'] is False


def test_other_ends():
    assert Report('a', 'b', error='not found').line() == 'a: error: not found'
    assert Report('a', 'b', skipped=True).line() == 'a -> b: already there, kept'


@pytest.mark.parametrize(
    ('changes', 'code'),
    [
        ([{}, {}], 0),
        ([{'skipped': True}], 0),
        ([{}, {'bad': Counter(x=1)}], 3),
        ([{'damage': ['x']}, {}], 3),
        ([{'damage': ['x']}, {'error': 'x'}], 1),
        ([], 0),
    ],
)
def test_exit_code(changes, code):
    assert exit_code([Report('a', 'b', **change) for change in changes]) == code
