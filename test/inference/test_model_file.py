"""The model file: what is read from it, and every way in which it can be wrong."""

import dataclasses
import hashlib
import json
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from linknet_ros.errors import ModelError
from linknet_ros.inference import model_file
from linknet_ros.inference.model_file import load_model_file, metadata_of

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


def test_path_may_be_text(model, model_path):
    assert load_model_file(str(model_path)) == model


def test_record_cannot_be_changed(model):
    with pytest.raises(dataclasses.FrozenInstanceError):
        model.dataset = 'another'
    with pytest.raises(TypeError):
        model.accuracy['val_miou'] = 1.0


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
    }


def test_precision(model, int8_proto, channel_proto, write_model):
    assert model.precision == 'fp32'
    assert load_model_file(write_model(int8_proto)).precision == 'int8'
    # A file from before there was a choice.
    old = write_model(change_metadata(channel_proto, precision=None))
    assert load_model_file(old).precision == 'fp32'


@pytest.mark.parametrize('precision', ['int4', '', 'FP32'])
def test_precision_of_the_future(channel_proto, write_model, precision):
    path = write_model(change_metadata(channel_proto, precision=precision))
    message = (
        rf"model\.onnx is made for precision '{precision}', this package knows fp32, fp16, int8"
    )
    with pytest.raises(ModelError, match=message):
        load_model_file(path)


# Files that are no model.


def test_missing_file(tmp_path):
    with pytest.raises(ModelError, match=r"no model file '.*none\.onnx'; check the model param"):
        load_model_file(tmp_path / 'none.onnx')


def test_directory(tmp_path):
    with pytest.raises(ModelError, match=r'cannot read model file .*: Is a directory'):
        load_model_file(tmp_path)


def test_file_below_a_file(model_path):
    with pytest.raises(ModelError, match=r'cannot read model file .*: Not a directory'):
        load_model_file(model_path / 'model.onnx')


@pytest.mark.parametrize(
    'data',
    [b'', b'\x93NUMPY\x01\x00', bytes(range(256)) * 8, b'# Model card\n\nLinkNet on CamVid.\n'],
    ids=['empty', 'numpy', 'bytes', 'text'],
)
def test_file_of_something_else(tmp_path, data):
    path = tmp_path / 'model.onnx'
    path.write_bytes(data)
    with pytest.raises(ModelError, match=r'model\.onnx is no readable ONNX file \(.+\); copy or'):
        load_model_file(path)


def test_random_bytes(tmp_path):
    path = tmp_path / 'model.onnx'
    generator = np.random.default_rng(0)
    for _ in range(50):
        path.write_bytes(generator.bytes(500))
        with pytest.raises(ModelError, match='is no readable ONNX file'):
            load_model_file(path)


def test_git_lfs_pointer(tmp_path):
    path = tmp_path / 'model.onnx'
    path.write_text('version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n')
    with pytest.raises(ModelError, match='is a Git LFS pointer, not the model; run git lfs pull'):
        load_model_file(path)


def test_truncated_anywhere(model_path):
    data = model_path.read_bytes()
    for size in range(len(data)):
        model_path.write_bytes(data[:size])
        with pytest.raises(ModelError, match=r'model\.onnx'):
            load_model_file(model_path)


def test_too_large_file_is_refused_unread(model_path, monkeypatch):
    size = model_path.stat().st_size
    monkeypatch.setattr(model_file, 'MAX_BYTES', size)
    load_model_file(model_path)
    monkeypatch.setattr(model_file, 'MAX_BYTES', size - 1)
    with pytest.raises(ModelError, match=f'has {size} bytes, more than the {size - 1} that'):
        load_model_file(model_path)


def test_missing_onnx_package(model_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'onnx', None)
    with pytest.raises(ModelError, match=r'needs the Python package onnx .*; pip install onnx'):
        load_model_file(model_path)


# Models that are not ours.


def test_onnx_without_metadata(channel_proto, write_model):
    del channel_proto.metadata_props[:]
    with pytest.raises(ModelError, match=r'without the metadata .* python -m training\.export'):
        load_model_file(write_model(channel_proto))


@pytest.mark.parametrize('version', ['2', '0', '1.0', ''])
def test_other_format_version(channel_proto, write_model, version):
    path = write_model(change_metadata(channel_proto, format_version=version))
    with pytest.raises(ModelError, match=f'has format version {version}, this package reads 1'):
        load_model_file(path)


def test_input_of_another_name(channel_proto, write_model):
    channel_proto.graph.input[0].name = 'pixels'
    channel_proto.graph.node[0].input[0] = 'pixels'
    with pytest.raises(ModelError, match=r"inputs are \['pixels'\], expected 'image'"):
        load_model_file(write_model(channel_proto))


def test_second_input(channel_proto, write_model):
    extra = helper.make_tensor_value_info('scale', TensorProto.UINT8, (1,))
    channel_proto.graph.input.append(extra)
    with pytest.raises(ModelError, match=r"inputs are \['image', 'scale'\], expected 'image'"):
        load_model_file(write_model(channel_proto))


def test_weight_that_is_listed_as_an_input_is_none(half_proto, write_model, class_table):
    shape = (3, 3, 1, 1)
    weight = helper.make_tensor_value_info('weight.float16', TensorProto.FLOAT16, shape)
    half_proto.graph.input.append(weight)
    assert load_model_file(write_model(half_proto)).classes == class_table


def test_float_input(channel_proto, write_model):
    channel_proto.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT
    with pytest.raises(ModelError, match='not a model of this package: image is not uint8'):
        load_model_file(write_model(channel_proto))


def test_missing_output(channel_proto, write_model):
    del channel_proto.graph.output[1]
    message = r"outputs are \['labels'\], expected \['confidence', 'labels'\]"
    with pytest.raises(ModelError, match=message):
        load_model_file(write_model(channel_proto))


def test_all_problems_are_named_at_once(channel_proto, write_model):
    channel_proto.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
    channel_proto.graph.output[1].type.tensor_type.elem_type = TensorProto.FLOAT
    with pytest.raises(ModelError, match='labels is not uint8; confidence is not uint8'):
        load_model_file(write_model(channel_proto))


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
        # Too much of something.
        ({'classes': '[' * 65_536}, 'more than 64 entries of 65536 characters'),
        ({f'more {i}': '' for i in range(64)}, 'more than 64 entries of 65536 characters'),
        ({'classes': json.dumps([ROW | {'name': str(i)} for i in range(255)])}, '255 classes'),
        ({'accuracy': json.dumps({str(i): 0.5 for i in range(65)})}, 'a few finite numbers'),
        # Numbers that are none.
        ({'accuracy': '{"val_miou": NaN}'}, 'a few finite numbers'),
        ({'accuracy': '{"val_miou": -Infinity}'}, 'a few finite numbers'),
        ({'accuracy': '{"val_miou": 1e999}'}, 'a few finite numbers'),
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
        load_model_file(path)
    assert '\n' not in str(caught.value)
    assert '\x1b' not in str(caught.value)


def test_entry_that_is_there_twice(channel_proto, write_model):
    channel_proto.metadata_props.add(key='classes', value='[]')
    with pytest.raises(ModelError, match=r'duplicate keys in metadata_props'):
        load_model_file(write_model(channel_proto))


def test_endless_file_is_refused():
    with pytest.raises(
        ModelError, match="cannot read model file '/dev/zero': it is a pipe or dev"
    ):
        load_model_file('/dev/zero')


def test_growth_is_checked(channel_proto, write_model):
    node = helper.make_node('Concat', ['x'] * 200, ['wide'], axis=3)
    channel_proto.graph.node.append(node)
    with pytest.raises(ModelError, match=r'model\.onnx: wide \(Concat\) has 2457600 values'):
        load_model_file(write_model(channel_proto))


@pytest.mark.parametrize('size', ['0x0', '31x360', '480x31', '-480x-360'])
def test_default_size_too_small(channel_proto, write_model, size):
    path = write_model(change_metadata(channel_proto, default_size=size))
    with pytest.raises(ModelError, match=f'default size of {size}; sides of 32'):
        load_model_file(path)


# The graph for a back end.


def test_half_weights_become_plain_float32(half_proto, write_model, half_weight):
    graph = onnx.load_from_string(load_model_file(write_model(half_proto)).graph()).graph
    assert [tensor.name for tensor in graph.initializer] == ['weight']
    weight = numpy_helper.to_array(graph.initializer[0])
    assert weight.dtype == np.float32
    np.testing.assert_array_equal(weight, half_weight)
    assert [node.op_type for node in graph.node] == [
        *('Cast', 'Transpose', 'Conv', 'ArgMax', 'Cast', 'Cast', 'ReduceMax', 'Cast')
    ]


def test_expanded_graph_gives_the_same_results(half_proto, write_model):
    image = np.random.default_rng(1).integers(0, 256, (1, 32, 64, 3), dtype=np.uint8)
    data = load_model_file(write_model(half_proto)).graph()
    onnx.checker.check_model(onnx.load_from_string(data), full_check=True)
    labels, confidence = ReferenceEvaluator(onnx.load_from_string(data)).run(
        None, {'image': image}
    )
    as_written = ReferenceEvaluator(half_proto).run(None, {'image': image})
    np.testing.assert_array_equal(labels, as_written[0])
    np.testing.assert_array_equal(confidence, as_written[1])
    assert np.unique(labels).tolist() == [0, 1, 2]


def test_one_half_weight_used_twice(half_proto, write_model, half_weight):
    cast = helper.make_node('Cast', ['weight.float16'], ['again'], to=TensorProto.FLOAT)
    half_proto.graph.node.insert(0, cast)
    graph = onnx.load_from_string(load_model_file(write_model(half_proto)).graph()).graph
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    assert sorted(weights) == ['again', 'weight']
    np.testing.assert_array_equal(weights['again'], half_weight)
    np.testing.assert_array_equal(weights['weight'], half_weight)


def test_graph_without_half_weights_is_unchanged(model, channel_proto):
    assert onnx.load_from_string(model.graph()).graph == channel_proto.graph


def test_int8_weights_stay_int8(int8_proto, write_model):
    data = load_model_file(write_model(int8_proto)).graph()
    assert onnx.load_from_string(data).graph == int8_proto.graph


def test_float16_weights_of_an_fp16_file_stay(fp16_proto, write_model, half_weight):
    graph = onnx.load_from_string(load_model_file(write_model(fp16_proto)).graph()).graph
    (weight,) = map(numpy_helper.to_array, graph.initializer)
    assert weight.dtype == np.float16
    np.testing.assert_array_equal(weight, half_weight)


def test_file_changed_after_loading(model, half_proto):
    model.path.write_bytes(half_proto.SerializeToString())
    with pytest.raises(ModelError, match='has changed since it was loaded; configure again'):
        model.graph()


def test_file_removed_after_loading(model):
    model.path.unlink()
    with pytest.raises(ModelError, match='no model file'):
        model.graph()
