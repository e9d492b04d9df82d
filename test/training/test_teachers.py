"""Teachers: what their channels mean, how they are combined, kept, and moved with the frame."""

import cv2
import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from linknet_ros.classes import CAMVID, ClassTable
from linknet_ros.errors import LinknetError
from training import teachers as teaching
from training.augment import Augment
from training.processes import Processes, alone
from training.samples import Source, TrainingSamples
from training.teachers import CELL, OneTeacher, Statement, open_teachers, read_map

FOUR = ClassTable(
    ('road', 'car', 'sky', 'pole'),
    ((1, 0, 0), (2, 0, 0), (3, 0, 0), (4, 0, 0)),
    (True,) + 3 * (False,),
)

#: Its three channels are red, green and blue, as shares of 255.
TEACHER = """
models: [teacher.onnx]
size: [24, 16]
std: [255, 255, 255]
labels:
  0: {outputs: [0], means: road}
  1: {outputs: [1], means: RED}
  2: {outputs: [2], means: BLUE}
"""


def write_teacher(folder, name='teacher', green='car', blue='sky', factor=1.0, **changes):
    """A teacher file whose network gives what it gets, times a factor."""
    value = {
        name: helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, 'h', 'w'])
        for name in ('x', 'y')
    }
    by = numpy_helper.from_array(np.float32([factor]), 'by')
    node = helper.make_node('Mul', ['x', 'by'], ['y'])
    graph = helper.make_graph([node], 'teacher', [value['x']], [value['y']], [by])
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=8),
        folder / f'{name}.onnx',
    )
    text = TEACHER.replace('teacher.onnx', f'{name}.onnx')
    text = text.replace('RED', green).replace('BLUE', blue)
    for old, new in changes.items():
        text = text.replace(old, new)
    path = folder / f'{name}.yaml'
    path.write_text(text)
    return path


def frame_of(red, green, blue, height=16, width=24):
    return np.full((height, width, 3), (blue, green, red), np.uint8)


def asked(folder, paths, *frames, temperature=1.0, classes=FOUR, renamed=None):
    """Teachers that have seen the frames."""
    teachers = open_teachers(paths, classes, renamed or {}, folder / 'kept', temperature)
    teachers.ask([Source('', [(frame, frame[..., 0]) for frame in frames])], alone())
    return teachers


def one_answer(teachers, frame):
    """What is said of a frame that is the same everywhere, by statement."""
    planes = teachers.of(frame)
    assert planes.shape == (teachers.count, -(-frame.shape[0] // CELL), -(-frame.shape[1] // CELL))
    assert np.ptp(planes, axis=(1, 2)).max() < 1e-6
    return {
        statement: float(plane[0, 0])
        for statement, plane in zip(teachers.statements, planes, strict=True)
    }


def said(allowed, known, value):
    return {Statement(frozenset(allowed), frozenset(known)): pytest.approx(value, abs=0.009)}


# What channels mean


def test_probability_of_each_class(tmp_path):
    frame = frame_of(153, 77, 25)
    teachers = asked(tmp_path, [write_teacher(tmp_path)], frame)
    known = {0, 1, 2}
    assert one_answer(teachers, frame) == {
        **said({0}, known, 0.6),
        **said({1}, known, 0.302),
        **said({2}, known, 0.098),
    }
    assert teachers.known == known  # and not pole


def test_several_channels_of_one_class_and_one_of_several_classes(tmp_path):
    frame = frame_of(153, 77, 25)
    path = write_teacher(tmp_path, green='[sky, pole]', blue='road')
    assert one_answer(asked(tmp_path, [path], frame), frame) == {
        **said({0}, {0, 2, 3}, 0.698),
        **said({2, 3}, {0, 2, 3}, 0.302),
    }
    path = write_teacher(tmp_path, green='{not: road}', blue='{not: [road]}')
    assert one_answer(asked(tmp_path, [path], frame), frame) == {
        **said({0}, {0, 1, 2, 3}, 0.6),
        **said({1, 2, 3}, {0, 1, 2, 3}, 0.4),
    }


@pytest.mark.parametrize('blue', ['void', 'null', '[road, car, sky, pole]'])
def test_channel_that_means_nothing_is_left_out_and_silences_where_it_dominates(tmp_path, blue):
    few, many = frame_of(150, 50, 55), frame_of(60, 60, 135)
    teachers = asked(tmp_path, [write_teacher(tmp_path, blue=blue)], few, many)
    assert one_answer(teachers, few) == {**said({0}, {0, 1}, 0.75), **said({1}, {0, 1}, 0.25)}
    assert set(one_answer(teachers, many).values()) == {0}


def test_temperature_softens_what_the_channels_mean(tmp_path):
    """Square roots of 0.64 and 0.36, the second of which two channels share."""
    frame = frame_of(163, 46, 46)
    path = write_teacher(tmp_path, green='car', blue='car')
    answer = one_answer(asked(tmp_path, [path], frame, temperature=2.0), frame)
    assert answer == {**said({0}, {0, 1}, 0.571), **said({1}, {0, 1}, 0.429)}


def test_mean_of_those_who_say_anything(tmp_path):
    """The second says the opposite where it says something; the third tells road only."""
    paths = [
        write_teacher(tmp_path, 'one', blue='void'),
        write_teacher(tmp_path, 'two', blue='void', rgb='bgr', models='channels: rgb\nmodels'),
        write_teacher(tmp_path, 'three', green='{not: road}', blue='{not: road}'),
    ]
    paths[1].write_text(paths[1].read_text().replace('rgb', 'bgr'))
    frame, other = frame_of(204, 51, 0), frame_of(0, 51, 204)
    teachers = asked(tmp_path, paths, frame, other)
    # Two reads blue, green, red: road is 0, car a fifth, which is too little of all.
    assert one_answer(teachers, frame) == {
        **said({0}, {0, 1}, 0.4),
        **said({1}, {0, 1}, 0.1),
        **said({0}, {0, 1, 2, 3}, 0.4),
        **said({1, 2, 3}, {0, 1, 2, 3}, 0.1),
    }
    assert one_answer(teachers, other) == {
        **said({0}, {0, 1}, 0.4),
        **said({1}, {0, 1}, 0.1),
        **said({0}, {0, 1, 2, 3}, 0),
        **said({1, 2, 3}, {0, 1, 2, 3}, 0.5),
    }


def test_model_files_are_asked_for_what_their_outputs_are_the_highest_of(half_proto, write_model):
    """Logits of half_proto are red, half the green and a quarter of the blue."""
    path = write_model(half_proto)
    frame = frame_of(2, 4, 4)
    teachers = asked(path.parent, [path], frame)
    shares = np.exp([2, 2, 1]) / np.exp([2, 2, 1]).sum()
    known = {0, 1, 2}
    assert one_answer(teachers, frame) == {
        key: value for i in range(3) for key, value in said({i}, known, shares[i]).items()
    }
    renamed = {'car': 'pole', 'sky': 'void'}
    assert one_answer(asked(path.parent, [path], frame, renamed=renamed), frame) == {
        **said({0}, {0, 3}, 0.5),
        **said({3}, {0, 3}, 0.5),
    }


def test_probabilities_of_the_model_file_that_ships_are_those_that_it_labels_by(camvid_folder):
    from linknet_ros.inference.model_file import load_model
    from linknet_ros.inference.segmenter import Segmenter
    from linknet_ros.system.package_files import package_file

    model = load_model(package_file('models/linknet_camvid.onnx'))
    frame = cv2.resize(cv2.imread(str(camvid_folder / 'val/c_0.png')), (480, 360))
    share = teaching.ModelTeacher(model).probabilities(frame)
    assert share.shape == (len(model.classes), *frame.shape[:2])
    np.testing.assert_allclose(share.sum(0), 1, atol=1e-4)
    segmenter = Segmenter(model, backend='openvino', precision='fp32')
    result = segmenter.segment(frame)
    segmenter.close()
    assert (share.argmax(0) == result.labels).mean() > 0.999
    assert np.abs(255 * share.max(0) - result.confidence).max() <= 1.5


# What is kept


def test_what_was_said_once_is_not_asked_again(tmp_path, monkeypatch, capsys):
    frame, other = frame_of(153, 77, 25), frame_of(20, 200, 35)
    path = write_teacher(tmp_path)
    first = asked(tmp_path, [path], frame, other).of(other)
    assert capsys.readouterr().out == '2 answers of teachers are new, 0 were kept\n'

    def fail(*_):
        raise AssertionError('asked again')

    monkeypatch.setattr(teaching, 'Teacher', fail)
    again = asked(tmp_path, [path], frame, other)
    assert capsys.readouterr().out == '0 answers of teachers are new, 2 were kept\n'
    np.testing.assert_array_equal(again.of(other), first)
    # What it means may change, or the temperature.
    path = write_teacher(tmp_path, blue='pole')
    mapped = asked(tmp_path, [path], frame, other, temperature=2.0)
    np.testing.assert_allclose(
        mapped.of(other)[2], first[2] ** 0.5 / (first**0.5).sum(0), rtol=1e-5
    )
    assert mapped.identities != again.identities
    # Another network, another frame.
    for change in ({'factor': 0.5}, {'255, 255]': '255, 254]'}):
        path = write_teacher(tmp_path, **change)
        with pytest.raises(AssertionError, match='asked again'):
            asked(tmp_path, [path], frame)
    with pytest.raises(AssertionError, match='asked again'):
        asked(tmp_path, [write_teacher(tmp_path)], frame_of(1, 1, 1))


def test_what_is_damaged_is_asked_again(tmp_path):
    frame = frame_of(153, 77, 25)
    path = write_teacher(tmp_path)
    teachers = asked(tmp_path, [path], frame)
    before = teachers.of(frame)
    (kept,) = (tmp_path / 'kept').rglob('*.answer')
    kept.write_bytes(kept.read_bytes()[:-3])
    with pytest.raises(LinknetError, match=r'answer is gone or damaged; start again'):
        teachers.of(frame)
    np.testing.assert_array_equal(asked(tmp_path, [path], frame).of(frame), before)


def test_small_probabilities_are_kept(tmp_path):
    """At a temperature of 4, one of a thousandth is 0.15 of what the first one is."""
    file = OneTeacher(write_teacher(tmp_path), FOUR, {}, tmp_path / 'kept')
    frame = frame_of(0, 0, 0)
    values = [0.9985, 0.001, 0.0005]
    file._network = type(
        'Fixed',
        (),
        {
            'probabilities': lambda _, f: (
                np.float32(values)[:, None, None] * np.ones((3, 4, 6), np.float32)
            )
        },
    )()
    file.ask(frame)
    exact = np.array(values) ** 0.25
    np.testing.assert_allclose(file.planes(frame, 4.0)[:, 1, 1], exact / exact.sum(), rtol=0.015)


def test_processes_share_the_frames(tmp_path):
    frames = [frame_of(10 * i, 100, 100) for i in range(5)]
    path = write_teacher(tmp_path)
    source = Source('', [(frame, frame[..., 0]) for frame in frames])
    for rank, new in ((1, 2), (0, 3)):
        process = Processes(rank, 2, torch.device('cpu'))
        object.__setattr__(process, '__class__', type('P', (Processes,), {'wait': lambda _: None}))
        teachers = open_teachers([path], FOUR, {}, tmp_path / 'kept', 1.0)
        before = len(list((tmp_path / 'kept').rglob('*.answer')))
        teachers.ask([source], process)
        assert len(list((tmp_path / 'kept').rglob('*.answer'))) == before + new
    for frame in frames:
        teachers.of(frame)


# With the frame


def smooth_frame(height, width):
    """Red rises to the right and green downwards; the three add up to 255."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    red, green = 120 * x / width + 4, 120 * y / height + 4
    return np.round(np.dstack([255 - red - green, green, red])).astype(np.uint8)


@pytest.mark.parametrize('mirror', [False, True])
@pytest.mark.parametrize(('height', 'width'), [(61, 47), (48, 64)])
def test_answers_go_where_the_frame_goes(tmp_path, mirror, height, width):
    """The teacher says what colour a place has: so it must, after any change of the frame."""
    frame = smooth_frame(height, width)
    teachers = asked(
        tmp_path, [write_teacher(tmp_path, **{'[24, 16]': f'[{width}, {height}]'})], frame
    )
    augment = Augment(
        *(50, 38), scale=(0.6, 1.8), rotation=25, aspect=0.3, mirror=mirror, color=0, blur=0
    )
    labels = np.zeros((height, width), np.uint8)
    samples = TrainingSamples([Source('', [(frame, labels)])], augment, 0, answers=teachers)
    seen = 0
    for epoch in range(12):
        samples.start_epoch(epoch)
        shown, inside, answers = (part.numpy() for part in samples[0])
        assert answers.shape == (3, 38 // CELL, 50 // CELL)
        cells = shown[:36, :48].reshape(9, CELL, 12, CELL, 3).mean((1, 3)) / 255
        whole = (inside[:36, :48].reshape(9, CELL, 12, CELL) == 0).all((1, 3))
        # At the edge of the frame it is not said of all of a square.
        whole = cv2.erode(whole.astype(np.uint8), np.ones((5, 5)), borderValue=1).astype(bool)
        seen += whole.sum()
        total = answers.sum(0)
        assert (total[whole] > 0.5).all()
        off = (answers / np.maximum(total, 0.5))[:, whole].T - cells[whole][:, ::-1]
        assert np.abs(off).max() < 0.03
        # A pixel of the frame is up to 0.008: half a square beside would be more than this.
        assert np.abs(off.mean(0)).max() < 0.004, epoch
        void = (inside[:36, :48].reshape(9, CELL, 12, CELL) == 255).all((1, 3))
        void = cv2.erode(void.astype(np.uint8), np.ones((5, 5)), borderValue=1).astype(bool)
        assert not answers[:, void].any()
    assert seen > 300


def test_pasted_objects_bring_what_was_said_of_them(tmp_path):
    road, car = frame_of(255, 0, 0, 32, 32), frame_of(0, 255, 0, 32, 32)
    labels = np.zeros((32, 32), np.uint8)
    object_ = labels.copy()
    object_[8:20, 6:] = 1  # the squares at its left edge are shared by half
    teachers = asked(tmp_path, [write_teacher(tmp_path)], road, car)
    frames = [(road, labels), (car, object_)]
    augment = Augment(32, 32, scale=(1, 1), mirror=False, color=0, blur=0)
    samples = TrainingSamples(
        [Source('', frames)], augment, 0, paste=1.0, paste_classes=[1], answers=teachers
    )
    pasted = 0
    for epoch in range(20):
        samples.start_epoch(epoch)
        for position in range(2):
            shown, _, answers = (part.numpy() for part in samples[position])
            cells = shown.reshape(8, CELL, 8, CELL, 3).mean((1, 3)) / 255
            np.testing.assert_allclose(answers, np.moveaxis(cells[..., ::-1], 2, 0), atol=0.01)
            pasted += bool(0 < answers[0].mean() < 1)
    assert pasted


def test_sources_that_are_not_taught(tmp_path):
    frame = frame_of(153, 77, 25)
    labels = np.zeros(frame.shape[:2], np.uint8)
    teachers = open_teachers([write_teacher(tmp_path)], FOUR, {}, tmp_path / 'kept', 1.0)
    source = Source('', [(frame, labels)], taught=False)
    teachers.ask([source], alone())
    samples = TrainingSamples([source], Augment(24, 16), 0, answers=teachers)
    assert samples[0][2].shape == (3, 4, 6)
    assert not samples[0][2].any()


# What is wrong


@pytest.mark.parametrize(
    ('changes', 'error'),
    [
        ({'green': 'cart'}, r"id 1 means cart: unknown class 'cart'"),
        ({'green': '[]'}, 'id 1 means no class'),
        ({'green': '3'}, 'id 1 means 3'),
        ({'green': 'road', 'blue': 'void'}, 'says too little of the classes road, car.*add means'),
        ({'green': 'void', 'blue': '{not: []}'}, 'says too little of the classes'),
        ({'outputs: [2]': 'outputs: [3]'}, 'speaks of output 3, but the network has 3, from 0'),
        ({'factor': -1.0}, r'gives -1 to 0, which are no probabilities; add softmax'),
        ({'factor': float('nan')}, r'gives nan to nan, which are no probabilities'),
    ],
)
def test_what_is_wrong_with_a_teacher_is_named(tmp_path, changes, error):
    path = write_teacher(tmp_path, **changes)
    with pytest.raises(LinknetError, match=error):
        asked(tmp_path, [path], frame_of(255, 0, 0))


def test_model_file_of_other_classes(half_proto, write_model):
    path = write_model(half_proto)
    for classes, renamed, error in (
        (CAMVID, {'cart': 'sky'}, "no teacher that is a model file has the class 'cart'"),
        (CAMVID, {'sky': 'ski'}, "sky means ski: unknown class 'ski'"),
        (CAMVID, {'sky': 'void', 'car': 'void'}, 'says too little'),
    ):
        with pytest.raises(LinknetError, match=error):
            open_teachers([path], classes, renamed, path.parent, 1.0)
    teacher = OneTeacher(path, CAMVID, {'sky': 'void'}, path.parent)
    assert teacher.left_out == ['sky']
    for name in ('gone.onnx', 'gone.yaml', 'gone.xml', 'teacher.pt'):
        with pytest.raises(LinknetError, match=name.partition('.')[0]):
            OneTeacher(path.parent / name, CAMVID, {}, path.parent)


def test_maps(tmp_path):
    (tmp_path / 'map.yaml').write_text('terrain: tree\nwall: {not: road}\nrider: [car, sky]\n')
    assert read_map(['a=b', 'truck = car,bicyclist', 'ego=void', f'{tmp_path}/map.yaml']) == {
        'a': 'b',
        'truck': ['car', 'bicyclist'],
        'ego': 'void',
        'terrain': 'tree',
        'wall': {'not': 'road'},
        'rider': ['car', 'sky'],
    }
    (tmp_path / 'list.yaml').write_text('- a\n')
    (tmp_path / 'none.yaml').write_text('a: [')
    for text, error in (
        ('gone.yaml', r'cannot read gone\.yaml.*THEIRS=OURS or a YAML file'),
        (f'{tmp_path}/list.yaml', 'is not a mapping'),
        (f'{tmp_path}/none.yaml', 'is not YAML'),
    ):
        with pytest.raises(LinknetError, match=error):
            read_map([text])
