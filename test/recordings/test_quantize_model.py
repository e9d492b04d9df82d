"""The int8 twin of a model file from its command line, and what is refused."""

import os

import cv2
import numpy as np
import pytest

pytest.importorskip('onnxruntime', reason='needs ONNX Runtime (pip install .[cpu])')

from linknet_ros.errors import ModelError
from linknet_ros.inference.int8_twin import int8_twin
from linknet_ros.inference.model_file import load_model
from linknet_ros.recordings import quantize_model
from linknet_ros.recordings.quantize_model import Agreement, compare


def cells(seed):
    """A frame of a few colours, as far apart for half_proto as int8 needs."""
    values = np.random.default_rng(seed).choice([0, 120, 255], (8, 12, 3))
    return np.kron(values, np.ones((8, 8, 1))).astype(np.uint8)


@pytest.fixture
def net(half_proto, write_model, with_metadata):
    return write_model(with_metadata(half_proto, int8_twin='net_int8.onnx'), 'net.onnx')


@pytest.fixture
def run(command):
    """`run(*arguments)`, beside net.onnx and drive/; see command."""
    os.mkdir('drive')
    for index in range(12):
        cv2.imwrite(f'drive/{index:02}.png', cells(index))
    return command(quantize_model.main)


def test_twin_is_made_and_named(run, net):
    code, out, _ = run(net, '--images', 'drive')
    assert code == 0
    lines = out.splitlines()
    assert lines[0].startswith(f'{net.with_name("net_int8.onnx")}: 0.0 MB, 1 of 1 convolutions')
    assert lines[1].startswith('100.00% of the labels are those of net.onnx, 0.00% of the pixels')
    assert '(2 frames that it was not calibrated on)' in lines[1]
    model = load_model(net)
    twin = int8_twin(model)
    assert twin.path.name == 'net_int8.onnx'
    assert (twin.precision, twin.int8_twin) == ('int8', '')
    assert twin.quantized_from == model.sha256
    assert twin.accuracy == {'labels_as_fp32': 1.0}
    names = sorted(path.name for path in net.parent.iterdir())
    assert names == ['drive', 'net.onnx', 'net_int8.onnx']
    # Both say so of themselves, and the network of the fp32 file is as it was.
    assert [a.labels for a in compare(model, twin, [cells(99)])] == [1.0] * 2


def test_fp32_file_is_written_only_to_name_its_twin(run, net, tmp_path):
    before = net.read_bytes()
    run(net, '--images', 'drive')
    assert net.read_bytes() == before
    run(net, '--images', 'drive', '--out', 'small.onnx')
    model = load_model(net)
    assert model.int8_twin == 'small.onnx'
    assert int8_twin(model).quantized_from == model.sha256
    _, out, _ = run(net, '--images', 'drive', '--out', tmp_path / 'other' / 'small.onnx')
    assert 'net.onnx does not name it: it is in another folder' in out
    assert load_model(net) == model
    assert load_model('other/small.onnx').quantized_from == model.sha256


def test_twin_of_an_earlier_file_is_not_run(run, net, half_proto, write_model, with_metadata):
    run(net, '--images', 'drive')
    write_model(with_metadata(half_proto, accuracy='{"val_miou": 0.6}'), net.name)
    with pytest.raises(ModelError, match=r'was made from another net\.onnx; make it again'):
        int8_twin(load_model(net))


def test_what_agrees_too_little_is_not_written(run, net, monkeypatch):
    run(net, '--images', 'drive')
    kept = {path: path.read_bytes() for path in net.parent.glob('*.onnx')}
    found = [Agreement('openvino', 0.999, 0, 1), Agreement('onnxruntime', 0.9712, 0, 1)]
    monkeypatch.setattr(quantize_model, 'compare', lambda *_: found)
    _, out, text = run(net, '--images', 'drive')
    assert text.startswith('quantize_model: in int8 (onnxruntime) only 97.12% of the labels are')
    assert 'net.onnx (97.50% needed); nothing was written; give frames of where' in text
    assert out == ''
    assert {path: path.read_bytes() for path in net.parent.glob('*.onnx')} == kept
    assert run(net, '--images', 'drive', '--least-agreement', '0.97')[0] == 0


def test_shares_of_pixels(half_proto, int8_proto, write_model):
    """int8_proto rounds to multiples of 3: B 130 / 4 beats R 32, but 129 / 4 and 33 do not."""
    fp32 = load_model(write_model(half_proto, 'a.onnx'))
    int8 = load_model(write_model(int8_proto, 'b.onnx'))
    frame = np.zeros((32, 32, 3), np.uint8)
    frame[:8] = 130, 0, 32
    for agreement in compare(fp32, int8, [frame]):
        assert agreement.labels == 0.75
        # Sky in fp32, road, which is drivable, in int8.
        assert agreement.drivable == 0.25


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (('net.onnx', '--images', 'empty'), 'no image in folder empty; it should hold .png'),
        (('net.onnx', '--images', 'none'), "no folder or video 'none'"),
        (('net.onnx', '--images', 'none.mcap'), "no recording 'none.mcap'"),
        (('net.onnx', '--images', 'drive/1*'), 'drive/1*: 2 of at least 10 frames can be used'),
        (('net.onnx', '--images', 'drive', '--out', 'net.onnx'), 'is the fp32 file itself'),
        (('net.onnx', '--images', 'drive', '--out', '/proc/a/b.onnx'), '/proc/a: '),
        (('int8.onnx', '--images', 'drive'), 'int8.onnx is made for int8; give the fp32 file'),
        (('plain.onnx', '--images', 'drive'), 'plain.onnx is an ONNX file without the metadata'),
        (('none.onnx', '--images', 'drive'), "no model file 'none.onnx'"),
    ],
)
def test_mistakes(run, net, int8_proto, channel_proto, write_model, arguments, message):
    write_model(int8_proto, 'int8.onnx')
    del channel_proto.metadata_props[:]
    write_model(channel_proto, 'plain.onnx')
    os.mkdir('empty')
    before = sorted(net.parent.iterdir())
    _, _, text = run(*arguments)
    assert text.startswith('quantize_model: ')
    assert message in text
    assert sorted(net.parent.iterdir()) == before
