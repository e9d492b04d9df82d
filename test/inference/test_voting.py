"""Votes: the class that all allow, and void where somebody is unsure or disagrees."""

import numpy as np
import pytest

from linknet_ros.classes import ClassTable
from linknet_ros.errors import LinknetError
from linknet_ros.inference.segmenter import Segmenter
from linknet_ros.inference.voting import MirroredModel, Voter, open_voter, vote

FRAME = np.zeros((1, 6, 3), np.uint8)
ROAD, CAR, SKY, VOID = 0, 1, 2, 255


def voter(ids, means=None):
    """A voter of these ids; what each means, by default the class itself."""

    class Fixed:
        def label(self, frame):
            return np.array([ids], np.uint8)

    allowed = np.zeros((256, 3), bool)
    for id_, classes in (means or {0: [0], 1: [1], 2: [2]}).items():
        allowed[id_, classes] = True
    return Voter(Fixed(), allowed)


NOT_ROAD = {0: [ROAD], 1: [CAR, SKY]}


@pytest.mark.parametrize(
    ('voters', 'agreement', 'expected'),
    [
        ([voter([0, 1, 2, 255])], 1, [ROAD, CAR, SKY, VOID]),
        # Who says nothing does not count; who disagrees does.
        ([voter([0, 1, 255, 2]), voter([0, 2, 1, 255])], 1, [ROAD, VOID, CAR, SKY]),
        # "Not road" supports any other class, vetoes road, and alone means nothing.
        ([voter([0, 1, 255, 2]), voter([1, 1, 1, 0], NOT_ROAD)], 1, [VOID, CAR, VOID, VOID]),
        # Of three, two may decide if that is enough.
        ([voter([0, 0]), voter([0, 0]), voter([1, 0])], 1, [VOID, ROAD]),
        ([voter([0, 0]), voter([0, 0]), voter([1, 0])], 0.6, [ROAD, ROAD]),
        # A tie is none, even where half is enough.
        ([voter([0]), voter([1])], 0.5, [VOID]),
        # An id that allows everything says nothing.
        ([voter([0]), voter([7], {7: [0, 1, 2]})], 1, [ROAD]),
    ],
)
def test_vote(voters, agreement, expected):
    width = len(expected)
    found = vote(FRAME[:, :width], [*voters], agreement)
    assert found.tolist() == [expected]
    assert found.dtype == np.uint8


def test_large_frames_are_counted_in_parts():
    class Stripes:
        def label(self, frame):
            return (np.indices(frame.shape[:2])[1] % 3).astype(np.uint8)

    allowed = np.zeros((256, 3), bool)
    allowed[[0, 1, 2], [0, 1, 2]] = True
    found = vote(np.zeros((300, 250, 3), np.uint8), [Voter(Stripes(), allowed)] * 2)
    np.testing.assert_array_equal(found, np.indices((300, 250))[1] % 3)


def test_a_model_file_must_be_sure_and_agree_with_its_mirror_image(model, monkeypatch):
    """Blue is road, green car, red sky; confidence is the brightest channel."""
    segmenter = Segmenter(model, backend='onnxruntime', network_size=(96, 64))
    frame = np.zeros((64, 96, 3), np.uint8)
    frame[:32, :, 1] = 240
    frame[32:, :, 2] = 100
    labels = MirroredModel(segmenter, 0.8).label(frame)
    assert (labels[:32] == CAR).all()
    assert (labels[32:] == VOID).all()
    whole = segmenter.segment

    def segment(shown, least):
        """A network that calls the left half road."""
        result = whole(shown, least)
        result.labels[:, :48] = ROAD
        return result

    monkeypatch.setattr(segmenter, 'segment', segment)
    assert (MirroredModel(segmenter, 0).label(frame) == VOID).all()


@pytest.fixture
def opened(model, write_label_model):
    def opened(path, names=('road', 'car', 'sky'), renamed=()):
        grey = tuple((9, 9, n) for n in range(len(names)))
        classes = ClassTable(tuple(names), grey, (False,) * len(names))
        make = lambda file: Segmenter(file, backend='onnxruntime')  # noqa: E731
        return open_voter(path, classes, make, 0.5, dict(renamed))

    return opened


def test_classes_of_a_model_file_are_known_by_name(opened, model_path):
    allowed = opened(model_path, ('tree', 'sky', 'road')).allowed
    assert allowed[:3].tolist() == [[0, 0, 1], [0, 0, 0], [0, 1, 0]]
    assert not allowed[3:].any()
    allowed = opened(model_path, ('vehicle', 'sky'), {'car': 'vehicle'}).allowed
    assert allowed[:3].tolist() == [[0, 0], [1, 0], [0, 1]]


def test_what_cannot_vote_is_named(opened, model_path, tmp_path):
    for name, text in (('a.xml', ''), ('b.txt', '')):
        (tmp_path / name).write_text(text)
    cases = [
        (model_path, ('tree',), 'say what its own mean: --map road=tree'),
        (tmp_path / 'a.xml', ('road',), 'write a.yaml beside it'),
        (tmp_path / 'b.txt', ('road',), 'b.txt is not a teacher'),
        (tmp_path / 'gone.yaml', ('road',), 'cannot read'),
    ]
    for path, names, message in cases:
        with pytest.raises(LinknetError, match=message):
            opened(path, names)
