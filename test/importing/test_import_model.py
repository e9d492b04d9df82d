"""The command line of import_model, and every program with what it writes."""

import re
from functools import partial

import cv2
import numpy as np
import pytest
from foreign_networks import CPU, network, segmented_bag
from onnx import helper

from linknet_ros.benchmark import benchmark
from linknet_ros.benchmark.cell import measure
from linknet_ros.classes import CITYSCAPES
from linknet_ros.importing import import_model
from linknet_ros.importing.class_tables import DRIVABLE
from linknet_ros.inference.int8_twin import int8_twin
from linknet_ros.inference.model_file import load_model
from linknet_ros.inference.segmenter import Segmenter
from linknet_ros.recordings import quantize_model, segment_files

#: A size that is no multiple of anything.
FIXED = (70, 50)


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """`run(*arguments) -> (code, what it said)`, in a folder with networks and a frame."""
    monkeypatch.chdir(tmp_path)
    width, height = FIXED
    networks = {
        'net': network(classes=19),
        'fixed': network(classes=19, shape=(1, 3, height, width), output_shape=(1, 19, 'y', 'x')),
    }
    for name, proto in networks.items():
        (tmp_path / f'{name}.onnx').write_bytes(proto.SerializeToString())
    cv2.imwrite('frame.png', frame_of(96, 64))

    def run(*arguments, main=import_model.main):
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as stop:
            shown = capsys.readouterr()
            text = stop.code if isinstance(stop.code, str) else ''
            return (1 if text else stop.code), shown.out + shown.err + text
        return 0, capsys.readouterr().out

    return run


def frame_of(width, height, seed=0):
    small = np.random.default_rng(seed).integers(0, 256, (8, 12, 3), np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST)


TOLD = ('--classes', 'cityscapes', '--preset', 'imagenet')


def test_file_and_picture(run, tmp_path):
    code, said = run('net.onnx', *TOLD, '--size', '96x64', '--try', 'frame.png', '--order', 'bgr')
    assert code == 0
    model = load_model('net_linknet.onnx')
    assert model.classes == CITYSCAPES
    about = (model.architecture, model.dataset, model.label_set, model.default_size)
    assert about == ('net', 'cityscapes', '19 classes', (96, 64))
    lines = said.splitlines()
    assert lines[0] == (
        "net.onnx: input 'input' (NCHW, BGR, sides that are multiples of 32); labels from "
        "'scores' (19 scores)"
    )
    assert 'onnxruntime fp32: 100.00% of the labels are those of the original' in lines
    assert any(re.match(r'tensorrt auto: not run \(.*NVIDIA', line) for line in lines)
    assert '19 classes, drivable: road; check that, see --classes' in lines
    assert lines[-1] == f'ros2 launch linknet_ros segment.launch.py model:={model.path.absolute()}'
    picture = cv2.imread('net_linknet_frame.png')
    frame = cv2.imread('frame.png')
    np.testing.assert_array_equal(picture[:, :96], frame)
    labels = Segmenter(model, backend='onnxruntime').segment(frame).labels
    colors = model.classes.palette_bgr()[labels]
    # Below the legend.
    blended = frame[50:] * 0.4 + colors[50:] * 0.6
    assert np.abs(picture[50:, 96:] - blended).max() < 1
    assert not list(tmp_path.glob('*.tmp*'))


def test_a_head_for_the_drivable_area_needs_no_table(run, tmp_path):
    proto = network(classes=2)
    proto.graph.node.append(helper.make_node('Identity', ['scores'], ['da']))
    proto.graph.output[0].name = 'da'
    (tmp_path / 'twin.onnx').write_bytes(proto.SerializeToString())
    code, said = run('twin.onnx', '--preset', '0-1', '--out', 'a/twin.onnx')
    assert (code, load_model('a/twin.onnx').classes) == (0, DRIVABLE)
    assert '2 classes, drivable: drivable; check that' in said


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (
            ('net.onnx', '--preset', 'imagenet'),
            'does not name the 19 classes .* or --classes city',
        ),
        (('net.onnx', *TOLD[:2]), 'how it wants the colours'),
        (('net.onnx', *TOLD, '--mean', '0,0,0'), 'not clear; give --mean and --std, or --preset'),
        (('net.onnx', *TOLD[:2], '--mean', '0,0,0'), 'not clear; give --mean and --std'),
        (('net.onnx', *TOLD, '--out', 'net.onnx'), 'is the network itself; name another'),
        (('none.onnx', *TOLD), "cannot read 'none.onnx': No such file"),
        (('.', *TOLD), "cannot read '.': Is a directory"),
        (('frame.png', *TOLD), 'frame.png is not a readable ONNX file'),
        (('net.onnx', *TOLD, '--try', 'none.png'), 'cannot read none.png'),
        (
            ('net.onnx', *TOLD, '--size', '20x20'),
            '20x20 is too small .* multiples of 32; .*--size',
        ),
        (('net.onnx', '--classes', 'camvid', *TOLD[2:]), '19 classes, the class table has 11'),
        (('net.onnx', *TOLD, '--out', 'net.onnx/a.onnx'), 'cannot write net.onnx'),
    ],
)
def test_mistakes_are_one_line(run, arguments, message):
    code, said = run(*arguments)
    assert code == 1
    assert re.search(message, said.splitlines()[-1]), said
    assert said.splitlines()[-1].startswith('import_model: ')


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (('--mean', '1,2'), 'expected three numbers'),
        (('--std', '1,0,1'), 'expected three above 0'),
        (('--size', '640'), 'expected WIDTHxHEIGHT'),
        (('--threshold', '1'), 'expected a number from 0.001 to 0.999'),
    ],
)
def test_options_that_cannot_work(run, arguments, message):
    code, said = run('net.onnx', *arguments)
    assert (code, message in said) == (2, True)


# The programs, with a network of a fixed size.


@pytest.fixture
def fixed(run):
    """A model file of FIXED."""
    assert run('fixed.onnx', *TOLD)[0] == 0
    return load_model('fixed_linknet.onnx')


def expected(model, frame):
    return Segmenter(model, backend='onnxruntime', precision='fp32').segment(frame).labels


def test_files(run, fixed):
    files = partial(run, 'frame.png', main=segment_files.main)
    assert files('out', '--model', fixed.path, *CPU)[0] == 0
    labels = cv2.imread('out/labels/frame.png', cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(labels, expected(fixed, frame_of(96, 64)))
    assert len(np.unique(labels)) > 5
    code, said = files('b', '--model', fixed.path, '--network-size', '96x64')
    assert code == 1
    assert 'network size 96x64 does not fit fixed_linknet.onnx, which takes 70x50 only' in said


def test_recordings_with_the_ground(fixed, bags, tmp_path):
    frame = frame_of(96, 64)
    labels, grid = segmented_bag(fixed, frame, tmp_path, bags)
    np.testing.assert_array_equal(labels, expected(fixed, frame))
    assert {-1, 100} <= {*np.unique(grid)}


def test_benchmark(run, fixed):
    np.save('frames.npy', frame_of(*FIXED)[None])
    result = measure(str(fixed.path), 'onnxruntime', 'fp32', 1, 'frames.npy', 1, 'labels.npy')
    assert len(result['ms']) == 1
    np.testing.assert_array_equal(np.load('labels.npy')[0], expected(fixed, frame_of(*FIXED)))
    code, said = run('--model', fixed.path, '--sizes', '640x480', main=benchmark.main)
    assert (code, 'takes 70x50 only' in said) == (1, True)


def test_int8(run, fixed, tmp_path):
    (tmp_path / 'drive').mkdir()
    for index in range(10):
        cv2.imwrite(f'drive/{index}.png', frame_of(*FIXED, index))
    quantize = partial(run, fixed.path, '--images', 'drive', main=quantize_model.main)
    code, said = quantize('--least-agreement', '1')
    assert (code, 'nothing was written' in said) == (1, True)
    assert int8_twin(fixed) is None
    code, said = quantize('--least-agreement', '0.5')
    assert code == 0, said
    twin = int8_twin(load_model(fixed.path))
    assert (twin.precision, twin.fixed_size, twin.classes) == ('int8', FIXED, CITYSCAPES)
    frame = frame_of(96, 64, 99)
    labels = Segmenter(twin, backend='onnxruntime').segment(frame).labels
    assert (labels == expected(fixed, frame)).mean() > 0.8


def test_node(fixed, open_robot):
    pytest.importorskip('rclpy', reason='needs ROS 2 (pip install .[ros])')
    from rig import OK, plane

    options = {'backend': 'onnxruntime', 'scene_check': 'off'}
    robot = open_robot(model=str(fixed.path), **options).start()
    robot.subscribe('labels', 'drivable')
    frame = frame_of(96, 64)
    robot.send(frame)
    robot.until(lambda: robot.received['labels'] and robot.received['drivable'])
    labels = expected(fixed, frame)
    np.testing.assert_array_equal(plane(robot.received['labels'][-1]), labels)
    np.testing.assert_array_equal(plane(robot.received['drivable'][-1]), 255 * (labels == 0))
    asked = open_robot(model=str(fixed.path), network_width=96, network_height=64)
    assert asked.node.trigger_configure() != OK
