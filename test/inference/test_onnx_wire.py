"""ONNX bytes before they are parsed: few enough objects, and protobuf at all."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from checkout import MODEL
from onnx import numpy_helper

from linknet_ros.errors import ModelError
from linknet_ros.inference import onnx_wire
from linknet_ros.inference.onnx_wire import check_wire

PATH = Path('tiny.onnx')


def varint(number):
    """A number as protobuf writes it."""
    result = bytearray()
    while number > 0x7F:
        result.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*result, number])


def message(number, body):
    """A field that encloses bytes."""
    return varint(number << 3 | 2) + varint(len(body)) + body


#: Of ModelProto, GraphProto, NodeProto, AttributeProto.
GRAPH, NODE, ATTRIBUTE, SUBGRAPH = 7, 1, 5, 6


def refused(data, reason):
    with pytest.raises(ModelError, match=rf'^tiny\.onnx .*{reason}') as caught:
        check_wire(PATH, data)
    assert '\n' not in str(caught.value)


def test_models_pass(channel_proto, half_proto, nan_proto):
    for proto in (channel_proto, half_proto, nan_proto):
        check_wire(PATH, proto.SerializeToString())
    check_wire(PATH, b'')


def test_model_that_ships_passes():
    check_wire(PATH, MODEL.read_bytes())


def test_fields_are_counted_at_every_depth(monkeypatch):
    # The graph, its two nodes, the attribute in each.
    data = message(GRAPH, 2 * message(NODE, message(ATTRIBUTE, b'')))
    monkeypatch.setattr(onnx_wire, 'MAX_FIELDS', 5)
    check_wire(PATH, data)
    monkeypatch.setattr(onnx_wire, 'MAX_FIELDS', 4)
    refused(data, 'has more than 4 fields')


#: Parses a file in 1.5 GB of address space, less than what the file's objects need.
PARSE = """
import resource, sys
from pathlib import Path
import onnx
from linknet_ros.errors import ModelError
from linknet_ros.inference.onnx_graph import parse_onnx
data = Path(sys.argv[1]).read_bytes()
in_use = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (in_use + 400 * 2**20,) * 2)
try:
    onnx.load_model_from_string(data) if sys.argv[2] == 'bare' else parse_onnx('m.onnx', data)
except ModelError as error:
    sys.exit(f'refused: {error}')
"""


def parse(path, how):
    command = [sys.executable, '-c', PARSE, path, how]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_refused_before_memory_is_used(tmp_path):
    # 8 MB of file, 600 MB of objects.
    path = tmp_path / 'model.onnx'
    path.write_bytes(message(GRAPH, 4_000_000 * message(NODE, b'')))
    child = parse(path, 'checked')
    assert child.returncode == 1
    assert child.stderr.startswith('refused: m.onnx has more than 200000 fields')
    # Without the check, the same limit is hit: the test would see it go missing.
    child = parse(path, 'bare')
    assert child.returncode != 0
    assert 'refused' not in child.stderr


def test_raw_weights_may_be_large_and_nothing_else(half_proto, monkeypatch):
    weight = half_proto.graph.initializer[0]
    weight.CopyFrom(numpy_helper.from_array(np.zeros((100, 100), np.float32), weight.name))
    monkeypatch.setattr(onnx_wire, 'MAX_PLAIN_BYTES', 10_000)
    check_wire(PATH, half_proto.SerializeToString())
    # Numbers of one byte here are eight in memory.
    weight.ClearField('raw_data')
    weight.int64_data.extend([1] * 10_000)
    refused(half_proto.SerializeToString(), 'has more than 10000 bytes beside raw weights')


def test_long_name(channel_proto, monkeypatch):
    channel_proto.graph.node[0].name = 'a' * 5000
    monkeypatch.setattr(onnx_wire, 'MAX_PLAIN_BYTES', 5000)
    refused(channel_proto.SerializeToString(), 'bytes beside raw weights')


def test_graph_in_a_graph_in_a_graph():
    data = b''
    for _ in range(20):
        data = message(NODE, message(ATTRIBUTE, message(SUBGRAPH, data)))
    refused(message(GRAPH, data), 'nests deeper than any model needs')


@pytest.mark.parametrize(
    'data',
    [
        b'\x3a',  # no length
        b'\x3a\x05\x0a',  # a length beyond the end
        message(GRAPH, b'\x0a\x7f') + bytes(127),  # beyond the end of what encloses it
        b'\x08' + b'\x80' * 11 + b'\x01',  # a number of more than 10 bytes
        b'\x0b\x0c',  # a group
        b'\x00\x00',  # field 0
        b'\x0d\x00',  # four bytes of which one is there
        b'\x09\x00',  # likewise eight
        b'\x0f',  # type 7
    ],
)
def test_no_protobuf(data):
    refused(data, r'is no readable ONNX file \(its bytes are no protobuf message\)')


def test_text_that_is_no_utf8(channel_proto):
    data = channel_proto.SerializeToString()
    assert data.count(b'hand-made') == 1
    refused(data.replace(b'hand-made', b'hand\xff\xffade'), 'are no protobuf message')


def test_what_passes_is_what_onnx_reads(half_proto):
    # Whatever one byte is changed: if it passes, protobuf finds it no harder to read.
    data = half_proto.SerializeToString()
    for at in range(len(data)):
        changed = data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :]
        try:
            check_wire(PATH, changed)
        except ModelError:
            continue
        onnx.load_model_from_string(changed)
