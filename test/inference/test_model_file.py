"""The model file: what is read from it, and every way in which it can be wrong."""

import dataclasses
import hashlib
import json
import pickle
import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from linknet_ros.errors import BackendError, ModelError
from linknet_ros.inference.model_file import load_model, metadata_of

#: A class as the metadata have it.
ROW = {'name': 'road', 'color': [1, 2, 3], 'drivable': True}


def change_metadata(proto, **changes):
    """Replace metadata entries; None takes one out."""
    entries = {entry.key: entry.value for entry in proto.metadata_props} | changes
    del proto.metadata_props[:]
    helper.set_model_props(proto, {k: v for k, v in entries.items() if v is not None})
    return proto


def test_record(model, model_path, class_table):
    assert model.path == model_path
    assert model.name == 'model.onnx'
    assert model.classes == class_table
    assert model.architecture == 'Tiny (1 layer)'
    assert model.dataset == 'hand-made'
    assert model.label_set == 'three'
    assert model.default_size == (96, 64)
    assert model.accuracy == {'val_miou': 0.5}
    assert model.sha256 == hashlib.sha256(model_path.read_bytes()).hexdigest()


def test_read_once_and_passed_on(model, model_path):
    """Whatever happens to the file: workers get what was checked."""
    graph = model.graph()
    model_path.write_bytes(b'something else')
    model_path.unlink()
    sent = pickle.loads(pickle.dumps(model))
    assert sent == model
    assert sent.graph() == model.graph() == graph
    with pytest.raises(dataclasses.FrozenInstanceError):
        model.dataset = 'another'


#: Imports the room, and prints what else was imported with it.
IMPORT = """
import sys
from linknet_ros.inference import load_model, open_backend
assert callable(load_model) and callable(open_backend)
heavy = {'onnx', 'cv2', 'openvino', 'onnxruntime', 'tensorrt'}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
from linknet_ros.inference import Segmentation, Segmenter
assert Segmenter.__module__ == Segmentation.__module__ == 'linknet_ros.inference.segmenter'
assert not heavy - {'cv2'} & set(sys.modules)
"""


def test_nothing_heavy_is_imported_with_the_room():
    subprocess.run([sys.executable, '-c', IMPORT], check=True)


def test_metadata_is_plain_text(class_table):
    entries = metadata_of(
        class_table,
        architecture='a',
        dataset='d',
        label_set='l',
        default_size=(480, 360),
        accuracy={'val_miou': 0.25},
    )
    assert json.loads(entries.pop('classes')) == [
        {'name': 'road', 'color': [128, 64, 128], 'drivable': True},
        {'name': 'car', 'color': [0, 0, 142], 'drivable': False},
        {'name': 'sky', 'color': [70, 130, 180], 'drivable': False},
    ]
    assert entries == {
        'format_version': '1',
        'architecture': 'a',
        'dataset': 'd',
        'label_set': 'l',
        'default_size': '480x360',
        'accuracy': '{"val_miou": 0.25}',
        'precision': 'fp32',
        'int8_twin': '',
    }


def test_precision(model, int8_proto, channel_proto, write_model):
    assert model.precision == 'fp32'
    assert load_model(write_model(int8_proto)).precision == 'int8'
    # A file from before there was a choice.
    old = write_model(change_metadata(channel_proto, precision=None))
    assert load_model(old).precision == 'fp32'


@pytest.mark.parametrize(
    ('made_for', 'precision', 'problem'),
    [
        ('int8', 'fp32', 'is made for int8, not fp32'),
        ('int8', 'bf16', 'is made for int8, not bf16'),
        ('fp32', 'int8', 'is made for fp32, not int8'),
        ('fp16', 'int8', 'is made for fp16, not int8'),
    ],
)
def test_precision_that_it_is_not_made_for(model, made_for, precision, problem):
    file = dataclasses.replace(model, precision=made_for)
    with pytest.raises(BackendError, match=problem) as caught:
        file.check_precision(precision)
    assert caught.value.fix
    file.check_precision('auto')
    file.check_precision(made_for)


@pytest.mark.parametrize('precision', ['int4', '', 'FP32'])
def test_precision_of_the_future(channel_proto, write_model, precision):
    path = write_model(change_metadata(channel_proto, precision=precision))
    message = (
        rf"model\.onnx is made for precision '{precision}', this package knows fp32, fp16, int8"
    )
    with pytest.raises(ModelError, match=message):
        load_model(path)


# Files that are not a model.


def test_missing_file(tmp_path):
    with pytest.raises(ModelError, match=r"no model file '.*none\.onnx'; check the model param"):
        load_model(tmp_path / 'none.onnx')


def test_directory(tmp_path):
    with pytest.raises(ModelError, match=r'cannot read model file .*: Is a directory'):
        load_model(tmp_path)


@pytest.mark.parametrize(
    'data',
    [b'', b'\x93NUMPY\x01\x00', bytes(range(256)) * 8, b'# Model card\n\nLinkNet on CamVid.\n'],
    ids=['empty', 'numpy', 'bytes', 'text'],
)
def test_file_of_something_else(tmp_path, data):
    path = tmp_path / 'model.onnx'
    path.write_bytes(data)
    with pytest.raises(
        ModelError, match=r'model\.onnx is not a readable ONNX file \(.+\); copy or'
    ):
        load_model(path)


def test_git_lfs_pointer(tmp_path):
    path = tmp_path / 'model.onnx'
    path.write_text('version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n')
    with pytest.raises(ModelError, match='is a Git LFS pointer, not the model; run git lfs pull'):
        load_model(path)


def test_truncated_anywhere(model_path):
    data = model_path.read_bytes()
    for size in range(len(data)):
        model_path.write_bytes(data[:size])
        with pytest.raises(ModelError, match=r'model\.onnx'):
            load_model(model_path)


def test_too_large_file_is_refused_unread(model_path, monkeypatch):
    size = model_path.stat().st_size
    monkeypatch.setattr('linknet_ros.inference.model_file.MAX_MODEL_BYTES', size)
    load_model(model_path)
    monkeypatch.setattr('linknet_ros.inference.model_file.MAX_MODEL_BYTES', size - 1)
    with pytest.raises(ModelError, match=f'has {size} bytes, more than the limit of {size - 1}'):
        load_model(model_path)


def test_missing_onnx_package(model_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'onnx', None)
    with pytest.raises(ModelError, match=r'needs the Python package onnx .*; pip install onnx'):
        load_model(model_path)


# Models that are not ours.


@pytest.mark.parametrize(
    ('version', 'message'),
    [
        ('2', 'has format version 2, this package reads 1; export it again or update'),
        ('', 'has format version , this package reads 1'),
        (None, r'without the metadata of this package; import it with ros2 run .* import_model'),
    ],
)
def test_other_format_version(channel_proto, write_model, version, message):
    path = write_model(change_metadata(channel_proto, format_version=version))
    with pytest.raises(ModelError, match=message):
        load_model(path)


def test_interface_and_contents_are_checked(channel_proto, write_model):
    channel_proto.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
    with pytest.raises(ModelError, match="not a model of this package: 'labels' is not uint8;"):
        load_model(write_model(channel_proto))
    channel_proto.graph.node[0].domain = 'com.microsoft'
    with pytest.raises(ModelError, match=r"uses 'Cast' of 'com.microsoft'; export it with"):
        load_model(write_model(channel_proto))


@pytest.mark.parametrize(
    ('changes', 'reason'),
    [
        ({'classes': None}, "KeyError: 'classes'"),
        ({'classes': '[{"name": "road"'}, 'JSONDecodeError'),
        ({'classes': '[]'}, '0 classes'),
        ({'classes': '3'}, 'TypeError'),
        ({'classes': '[{"name": "road", "color": [1, 2, 3]}]'}, "KeyError: 'drivable'"),
        ({'classes': '[{"name": "a", "color": [1, 2], "drivable": true}]'}, 'ValueError'),
        ({'classes': '[{"name": "a", "color": [1, 2, 300], "drivable": true}]'}, 'colours must'),
        ({'classes': '[{"name": "", "color": [1, 2, 3], "drivable": true}]'}, 'not empty'),
        ({'default_size': '480'}, 'ValueError'),
        ({'default_size': '480x360x3'}, 'ValueError'),
        ({'default_size': 'wide x high'}, 'ValueError'),
        ({'default_size': None}, "KeyError: 'default_size'"),
        ({'accuracy': '{"val_miou": "good"}'}, 'ValueError'),
        ({'accuracy': '{"val_miou": null}'}, 'TypeError'),
        ({'accuracy': '[0.5]'}, 'AttributeError'),
        ({'classes': '[' * 60_000}, 'RecursionError'),
        ({'classes': '[{"name": "a", "color": [1, 2, 1e999], "drivable": 1}]'}, 'OverflowError'),
        ({'architecture': None}, "KeyError: 'architecture'"),
        ({'dataset': None}, "KeyError: 'dataset'"),
        ({'label_set': None}, "KeyError: 'label_set'"),
        ({'classes': json.dumps([ROW | {'name': str(i)} for i in range(255)])}, '255 classes'),
        ({'accuracy': '{"val_miou": NaN}'}, 'finite numbers'),
        ({'accuracy': '{"val_miou": -Infinity}'}, 'finite numbers'),
        ({'accuracy': '{"val_miou": 1%s}' % ('0' * 400)}, 'OverflowError'),
        # Text that would write lines of its own into a log, or move the cursor.
        ({'architecture': 'LinkNet\n[INFO] all is well'}, 'architecture is not one line'),
        ({'dataset': '\x1b[2J'}, 'dataset is not one line'),
        ({'label_set': 'a' * 257}, 'label_set is not one line of at most 256 characters'),
        ({'format_version': '1\n'}, 'format_version is not one line'),
        ({'classes': json.dumps([ROW | {'name': 'road\nsky'}])}, 'must be one line'),
        ({'classes': json.dumps([ROW | {'name': '\u202edaor'}])}, 'must be one line'),
        ({'classes': json.dumps([ROW | {'name': 'a' * 65}])}, 'at most 64 characters'),
    ],
)
def test_damaged_metadata(channel_proto, write_model, changes, reason):
    path = write_model(change_metadata(channel_proto, **changes))
    with pytest.raises(
        ModelError, match=rf'model\.onnx has damaged metadata \(.*{reason}'
    ) as caught:
        load_model(path)
    assert '\n' not in str(caught.value)
    assert '\x1b' not in str(caught.value)


def test_endless_file_is_refused():
    with pytest.raises(
        ModelError, match="cannot read model file '/dev/zero': it is a pipe or a dev"
    ):
        load_model('/dev/zero')


@pytest.mark.parametrize('size', ['0x0', '31x360', '480x31', '-480x-360'])
def test_default_size_too_small(channel_proto, write_model, size):
    path = write_model(change_metadata(channel_proto, default_size=size))
    with pytest.raises(ModelError, match=f'default size of {size}; export it with sides of 32'):
        load_model(path)


# The graph for a back end.


def test_expanded_graph_gives_the_same_results(half_proto, write_model):
    image = np.random.default_rng(1).integers(0, 256, (1, 32, 64, 3), dtype=np.uint8)
    expanded = onnx.load_from_string(load_model(write_model(half_proto)).graph())
    onnx.checker.check_model(expanded, full_check=True)
    (weight,) = map(numpy_helper.to_array, expanded.graph.initializer)
    assert weight.dtype == np.float32
    found, as_written = (
        ReferenceEvaluator(proto).run(None, {'image': image}) for proto in (expanded, half_proto)
    )
    np.testing.assert_array_equal(found, as_written)
    assert np.unique(found[0]).tolist() == [0, 1, 2]


def test_one_half_weight_used_twice(half_proto, write_model, half_weight):
    cast = helper.make_node('Cast', ['weight.float16'], ['again'], to=TensorProto.FLOAT)
    half_proto.graph.node.insert(0, cast)
    graph = onnx.load_from_string(load_model(write_model(half_proto)).graph()).graph
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    assert sorted(weights) == ['again', 'weight']
    np.testing.assert_array_equal(weights['again'], half_weight)
    np.testing.assert_array_equal(weights['weight'], half_weight)


def test_other_graphs_are_unchanged(channel_proto, int8_proto, fp16_proto, write_model):
    for proto in (channel_proto, int8_proto, fp16_proto):
        graph = load_model(write_model(proto)).graph()
        assert onnx.load_from_string(graph).graph == proto.graph
