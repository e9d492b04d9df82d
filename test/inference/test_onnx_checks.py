"""What a graph may contain: hostile files made with onnx.helper, each refused with one line."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, defs, helper, numpy_helper

from linknet_ros.errors import ModelError
from linknet_ros.inference.onnx_checks import OPERATORS, check_contents, shown
from linknet_ros.inference.onnx_graph import parse_onnx

PATH = Path('tiny.onnx')


def refused(proto, reason):
    """By the check itself, and by what calls it before anything is done with the graph."""
    data = proto.SerializeToString()
    for check in (lambda: check_contents(PATH, proto), lambda: parse_onnx(PATH, data)):
        with pytest.raises(ModelError, match=rf'^tiny\.onnx .*{reason}') as caught:
            check()
        assert '\n' not in str(caught.value)
        assert len(str(caught.value)) < 400


def test_models_pass(channel_proto, half_proto, nan_proto):
    for proto in (channel_proto, half_proto, nan_proto):
        check_contents(PATH, proto)


# Operators.


@pytest.mark.parametrize(
    'operator',
    [
        *('If', 'Loop', 'Scan', 'SequenceMap'),  # run graphs of their own
        *('ConstantOfShape', 'Expand', 'Tile', 'NonZero', 'Range', 'OneHot'),  # sizes from data
        *('RandomNormal', 'StringNormalizer', 'TfIdfVectorizer', 'ImageDecoder', 'GatherND'),
        *('GRU', 'MaxUnpool', 'made up', ''),
    ],
)
def test_operator_that_is_not_on_the_list(channel_proto, operator):
    channel_proto.graph.node[0].op_type = operator
    refused(channel_proto, f'uses the operator {operator}, which a model here must not')


@pytest.mark.parametrize('domain', ['com.microsoft', 'ai.onnx.ml', 'org.openvinotoolkit', 'local'])
def test_operator_of_another_domain(channel_proto, domain):
    channel_proto.graph.node[0].domain = domain
    channel_proto.opset_import.append(helper.make_opsetid(domain, 1))
    refused(channel_proto, f'uses Cast of {domain}; export it with standard ONNX operators only')


def test_listed_operators_exist():
    known = {schema.name for schema in defs.get_all_schemas()}
    assert known >= OPERATORS


def test_listed_operators_run_no_graph():
    schemas = {schema.name: schema for schema in defs.get_all_schemas()}
    kinds = {a.type for name in OPERATORS for a in schemas[name].attributes.values()}
    assert kinds.isdisjoint({defs.OpSchema.AttrType.GRAPH, defs.OpSchema.AttrType.GRAPHS})


def test_function_of_the_model_itself(channel_proto):
    # It would stand in for an operator on the list.
    cast = helper.make_node('Cast', ['a'], ['b'], to=TensorProto.FLOAT)
    opsets = [helper.make_opsetid('', 17)]
    channel_proto.functions.append(helper.make_function('', 'Cast', ['a'], ['b'], [cast], opsets))
    refused(channel_proto, 'has functions or training steps in it')


def test_training_steps(channel_proto):
    channel_proto.training_info.add()
    refused(channel_proto, 'has functions or training steps in it')


def put_graph(attribute, graph):
    attribute.g.CopyFrom(graph)


def put_graphs(attribute, graph):
    attribute.graphs.append(graph)


def put_tensors(attribute, graph):
    attribute.tensors.append(numpy_helper.from_array(np.zeros(3, np.float32)))


def put_sparse(attribute, graph):
    attribute.sparse_tensor.dims.append(1 << 40)


def put_sparse_list(attribute, graph):
    attribute.sparse_tensors.add().dims.append(1 << 40)


def put_type(attribute, graph):
    attribute.tp.tensor_type.elem_type = 1


def put_reference(attribute, graph):
    attribute.ref_attr_name = 'to'


@pytest.mark.parametrize(
    'put',
    [put_graph, put_graphs, put_tensors, put_sparse, put_sparse_list, put_type, put_reference],
)
def test_attribute_with_more_than_a_value(channel_proto, put):
    # Whatever its type says it has.
    put(channel_proto.graph.node[0].attribute[0], helper.make_graph([], 'inner', [], []))
    refused(channel_proto, 'has more than a value in attribute to of a Cast')


# Weights.


def test_sparse_weights(half_proto):
    values = helper.make_tensor('dense', TensorProto.FLOAT, [1], [1.0])
    indices = helper.make_tensor('at', TensorProto.INT64, [1], [5])
    sparse = helper.make_sparse_tensor(values, indices, [1 << 20, 1 << 20])
    half_proto.graph.sparse_initializer.append(sparse)
    refused(half_proto, 'has sparse weights')


def put_outside(tensor):
    tensor.ClearField('raw_data')
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key='location', value='/etc/passwd')


def mention_outside(tensor):
    # Not even where the tensor does not say that it lies there.
    tensor.external_data.add(key='location', value='/etc/passwd')


@pytest.mark.parametrize('put', [put_outside, mention_outside])
@pytest.mark.parametrize('constant', [False, True])
def test_weight_in_another_file(half_proto, put, constant):
    weight = half_proto.graph.initializer[0]
    if constant:
        half_proto.graph.node.append(helper.make_node('Constant', [], ['c'], value=weight))
        weight = half_proto.graph.node[-1].attribute[0].t
    put(weight)
    refused(half_proto, 'keeps weights in other files; export it as one file')


@pytest.mark.parametrize(
    ('dims', 'needed'),
    [
        ([1 << 20, 1 << 20], 1 << 40),
        ([1 << 31, 1 << 31, 4], 1 << 64),  # 0 in 64 bits
        ([1 << 62, 1 << 62, 1 << 62], 1 << 186),
        ([3, 3, 1, 2], 18),
        ([], 1),
        ([0], 0),
    ],
)
@pytest.mark.parametrize('constant', [False, True])
def test_shape_that_the_values_do_not_fill(half_proto, dims, needed, constant):
    weight = half_proto.graph.initializer[0]
    if constant:
        half_proto.graph.node.append(helper.make_node('Constant', [], ['c'], value=weight))
        weight = half_proto.graph.node[-1].attribute[0].t
    weight.dims[:] = dims
    refused(half_proto, rf'\(weight.float16 has 9 values, but its shape .* needs {needed}\)')


@pytest.mark.parametrize(
    ('kind', 'field'),
    [
        (TensorProto.FLOAT, 'float_data'),
        (TensorProto.INT64, 'int64_data'),
        (TensorProto.INT32, 'int32_data'),
        (TensorProto.INT8, 'int32_data'),
        (TensorProto.FLOAT16, 'int32_data'),
        (TensorProto.DOUBLE, 'double_data'),
    ],
)
def test_values_beside_raw_data(half_proto, kind, field):
    weight = half_proto.graph.initializer.add(name='w', data_type=kind, dims=[2])
    getattr(weight, field).extend([1, 2])
    check_contents(PATH, half_proto)
    weight.dims[:] = [1 << 40]
    refused(half_proto, r'\(w has 2 values, but its shape')


@pytest.mark.parametrize(
    ('change', 'reason'),
    [
        (lambda t: t.ClearField('raw_data'), r'has 0 values, but its shape 3x3x1x1 needs 9'),
        (lambda t: setattr(t, 'raw_data', t.raw_data[:-1]), 'has 8 values'),
        (lambda t: setattr(t, 'raw_data', t.raw_data + b'\0'), 'has 9 values'),
        (lambda t: setattr(t, 'raw_data', b''), 'has 0 values'),
        (lambda t: setattr(t, 'data_type', TensorProto.STRING), 'of a type that is not read'),
        (lambda t: setattr(t, 'data_type', TensorProto.COMPLEX128), 'of a type that is not read'),
        (lambda t: setattr(t, 'data_type', 99), 'of a type that is not read'),
        (lambda t: setattr(t.segment, 'end', 1), 'of a type that is not read'),
        (lambda t: t.dims.__setitem__(0, -3), 'has a damaged shape'),
        (lambda t: t.dims.extend([1] * 5), 'has a damaged shape'),
    ],
)
def test_damaged_weight(half_proto, change, reason):
    change(half_proto.graph.initializer[0])
    refused(half_proto, reason)


#: Reads a model in little more address space than this takes already.
READ = """
import resource, sys
from pathlib import Path
import onnx
from onnx import numpy_helper
from linknet_ros.inference.model_file import load_model_file
in_use = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (in_use + 200 * 2**20,) * 2)
load_model_file(sys.argv[1])
"""


def test_refused_before_memory_is_used(half_proto, write_model):
    half_proto.graph.initializer[0].dims[:] = [1 << 20, 1 << 20]
    command = [sys.executable, '-c', READ, write_model(half_proto)]
    child = subprocess.run(command, capture_output=True, text=True, check=False)
    assert 'ModelError' in child.stderr
    assert 'needs 1099511627776' in child.stderr
    assert 'MemoryError' not in child.stderr


# Names.


@pytest.mark.parametrize('name', ['a\nb', '\x1b[2Jb', 'a\u202eb', 'a' * 1025])
def test_name_that_would_spoil_a_log(half_proto, name):
    def rename(change):
        proto = type(half_proto)()
        proto.CopyFrom(half_proto)
        change(proto.graph)
        refused(proto, r'has a name of no use \(.*\); export it again')

    rename(lambda graph: setattr(graph.node[0], 'name', name))
    rename(lambda graph: graph.node[0].input.append(name))
    rename(lambda graph: graph.node[0].output.append(name))
    rename(lambda graph: setattr(graph.initializer[0], 'name', name))


def test_text_of_others_is_shown_in_one_short_line():
    assert shown('Conv_1') == 'Conv_1'
    assert shown('a\n\x1b[31mb') == 'a??[31mb'
    assert shown('a' * 1000) == 'a' * 117 + '...'
