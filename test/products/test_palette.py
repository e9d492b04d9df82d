"""One palette everywhere: that of the model file, whatever made it."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from checkout import ROOT

from linknet_ros.classes import CAMVID, ClassTable
from linknet_ros.recordings import segment_files

#: CamVid's names in another order and in colours of nobody else, so that a table that is taken
#: from anywhere but the model file shows.
OWN = ClassTable(
    CAMVID.names[::-1],
    tuple((250 - 9 * i, 17 * i, (83 * i) % 256) for i in range(11)),
    tuple(name == 'pavement' for name in CAMVID.names[::-1]),
)

LABELS = np.random.default_rng(0).integers(0, 11, (64, 96), dtype=np.uint8)
FRAME = np.dstack([LABELS, np.full_like(LABELS, 255), 20 * LABELS])
#: RGB.
COLORS = np.array(OWN.colors, np.uint8)[LABELS]


def test_files(write_label_model, tmp_path, monkeypatch, capsys):
    pytest.importorskip('onnxruntime', reason='ONNX Runtime (extra "cpu") not installed')
    monkeypatch.chdir(tmp_path)
    Path('in').mkdir()
    cv2.imwrite('in/0.png', FRAME)
    arguments = ['in', 'out', '--outputs', 'labels,color,drivable']
    settings = ['--model', str(write_label_model(OWN)), '--backend', 'onnxruntime']
    with pytest.raises(SystemExit) as stop:
        segment_files.main([*arguments, *settings])
    assert stop.value.code == 0, capsys.readouterr()

    def read(name):
        [path] = Path('out', name).iterdir()
        return path.suffix, cv2.imread(str(path), cv2.IMREAD_UNCHANGED)

    # Ids as they are, in one plane: no palette that a reader could apply.
    suffix, labels = read('labels')
    assert suffix == '.png'
    np.testing.assert_array_equal(labels, LABELS)
    np.testing.assert_array_equal(read('color')[1][..., ::-1], COLORS)
    np.testing.assert_array_equal(read('drivable')[1], (LABELS == 6) * 255)
    assert OWN.names[6] == 'pavement'


def test_node(context, write_label_model, open_node):
    pytest.importorskip('rclpy', reason='needs ROS 2 (pip install .[ros])')
    from rclpy.publisher import Publisher
    from std_msgs.msg import Header

    from linknet_ros.inference.model_file import load_model
    from linknet_ros.inference.segmenter import Segmentation
    from linknet_ros.node.parameters import Parameters
    from linknet_ros.node.state import State
    from linknet_ros.node.topics import Topics

    classes = load_model(write_label_model(OWN)).classes
    state = State.prepare(classes, Parameters().changed({'overlay_opacity': 1.0}))
    topics, sent = Topics(open_node(), classes, state), {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Publisher, 'get_subscription_count', lambda _: 1)
        patch.setattr(Publisher, 'publish', lambda p, m: sent.update({p.topic_name: m}))
        topics.publish(state, FRAME, Segmentation(LABELS, FRAME[..., 1]), Header(), None)
    topics.destroy()
    for name in ('color', 'overlay'):
        message = sent[f'/linknet/{name}']
        pixels = np.frombuffer(message.data, np.uint8).reshape(64, 96, 3)
        assert message.encoding == 'bgr8'
        np.testing.assert_array_equal(pixels[..., ::-1], COLORS)
    mask = np.frombuffer(sent['/linknet/drivable'].data, np.uint8).reshape(64, 96)
    np.testing.assert_array_equal(mask, (LABELS == 6) * 255)


def test_tables_of_data_sets_are_for_data_sets():
    package = ROOT / 'linknet_ros'
    users = {
        path.relative_to(package).parts[0]
        for path in package.rglob('*.py')
        if re.search(r'\b(CAMVID|CITYSCAPES)\b', path.read_text('utf-8'))
    }
    # What draws or describes data sets, and no model's results.
    assert users == {'classes.py', 'simulation'}
