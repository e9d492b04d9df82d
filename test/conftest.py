"""Tiny ONNX models whose results can be worked out by hand, a ROS domain for each module, and what
training is tested with: a tiny data set and a tiny network.
"""

import importlib
import json
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import onnx
import pytest
from checkout import FAKES
from onnx import TensorProto, helper, numpy_helper

from linknet_ros.classes import ClassTable
from linknet_ros.inference.model_file import load_model_file, metadata_of
from linknet_ros.inference.onnx_graph import expand_float16_weights, to_float16

THREE_CLASSES = ClassTable(
    names=('road', 'car', 'sky'),
    colors=((128, 64, 128), (0, 0, 142), (70, 130, 180)),
    drivable=(True, False, False),
)

#: Weight of the 1x1 convolution of half_proto, rows are classes, columns B, G, R.
HALF_WEIGHT = ((0, 0, 1), (0, 0.5, 0), (0.25, 0, 0))


def _model(nodes, initializers=()):
    shape = (1, 'height', 'width')
    graph = helper.make_graph(
        nodes,
        'tiny',
        [helper.make_tensor_value_info('image', TensorProto.UINT8, (*shape, 3))],
        [
            helper.make_tensor_value_info(name, TensorProto.UINT8, shape)
            for name in ('labels', 'confidence')
        ],
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=8)
    metadata = metadata_of(
        THREE_CLASSES,
        architecture='Tiny (1 layer)',
        dataset='hand-made',
        label_set='three',
        default_size=(96, 64),
        accuracy={'val_miou': 0.5},
    )
    helper.set_model_props(model, metadata)
    onnx.checker.check_model(model, full_check=True)
    return model


def _with_metadata(proto, **changes):
    """A model whose metadata entries are replaced by others, in place."""
    entries = {entry.key: entry.value for entry in proto.metadata_props} | changes
    del proto.metadata_props[:]
    helper.set_model_props(proto, entries)
    return proto


def _labels_of(logits, axis):
    return [
        helper.make_node('ArgMax', [logits], ['index'], axis=axis, keepdims=0),
        helper.make_node('Cast', ['index'], ['number'], to=TensorProto.FLOAT),
        helper.make_node('Cast', ['number'], ['labels'], to=TensorProto.UINT8),
    ]


@pytest.fixture
def class_table():
    """Three classes: road (drivable), car, sky."""
    return THREE_CLASSES


@pytest.fixture
def channel_proto():
    """Model whose label is the largest of the B, G, R channels and confidence its value.

    So blue is road (0), green is car (1), red is sky (2).
    """
    return _model(
        [
            helper.make_node('Cast', ['image'], ['x'], to=TensorProto.FLOAT),
            *_labels_of('x', axis=3),
            helper.make_node('ReduceMax', ['x'], ['highest'], axes=[3], keepdims=0),
            helper.make_node('Cast', ['highest'], ['confidence'], to=TensorProto.UINT8),
        ]
    )


@pytest.fixture
def half_weight():
    """Weight of the 1x1 convolution in half_proto, float32 (3, 3, 1, 1)."""
    return np.array(HALF_WEIGHT, np.float32).reshape(3, 3, 1, 1)


@pytest.fixture
def half_proto(half_weight):
    """Model with a float16 weight behind a Cast: logits are R, G / 2, B / 4."""
    return _model(
        [
            helper.make_node('Cast', ['weight.float16'], ['weight'], to=TensorProto.FLOAT),
            helper.make_node('Cast', ['image'], ['bytes'], to=TensorProto.FLOAT),
            helper.make_node('Transpose', ['bytes'], ['x'], perm=[0, 3, 1, 2]),
            helper.make_node('Conv', ['x', 'weight'], ['logits']),
            *_labels_of('logits', axis=1),
            helper.make_node('ReduceMax', ['logits'], ['highest'], axes=[1], keepdims=0),
            helper.make_node('Cast', ['highest'], ['confidence'], to=TensorProto.UINT8),
        ],
        [numpy_helper.from_array(half_weight.astype(np.float16), 'weight.float16')],
    )


@pytest.fixture
def int8_proto():
    """Model in int8 whose logits are R, G / 2, B / 4 of the image rounded to multiples of 3.

    A scale of 3 has no ties to round, and 255 / 3 fits into int8.
    """

    def constant(name, values, kind):
        return numpy_helper.from_array(np.array(values, kind), name)

    weight = np.zeros((3, 3, 1, 1), np.int8)
    weight[[0, 1, 2], [2, 1, 0]] = 127
    rounding = ['step', 'zero']
    proto = _model(
        [
            helper.make_node('Cast', ['image'], ['bytes'], to=TensorProto.FLOAT),
            helper.make_node('Transpose', ['bytes'], ['x'], perm=[0, 3, 1, 2]),
            helper.make_node('QuantizeLinear', ['x', *rounding], ['x.int8']),
            helper.make_node('DequantizeLinear', ['x.int8', *rounding], ['x.rounded']),
            helper.make_node(
                'DequantizeLinear', ['weight.int8', 'weight.scale', 'zeros'], ['weight'], axis=0
            ),
            helper.make_node('Conv', ['x.rounded', 'weight'], ['logits']),
            *_labels_of('logits', axis=1),
            helper.make_node('ReduceMax', ['logits'], ['highest'], axes=[1], keepdims=0),
            helper.make_node('Round', ['highest'], ['whole']),
            helper.make_node('Cast', ['whole'], ['confidence'], to=TensorProto.UINT8),
        ],
        [
            *(constant('step', 3, np.float32), constant('zero', 0, np.int8)),
            constant('weight.int8', weight, np.int8),
            constant('weight.scale', np.array([1, 0.5, 0.25]) / 127, np.float32),
            constant('zeros', [0, 0, 0], np.int8),
        ],
    )
    return _with_metadata(proto, precision='int8')


@pytest.fixture
def fp16_proto(half_proto):
    """half_proto, computing in float16."""
    path = Path('half')
    expand_float16_weights(path, half_proto.graph)
    to_float16(path, half_proto)
    return _with_metadata(half_proto, precision='fp16')


@pytest.fixture
def with_metadata():
    """Replace metadata entries of a model: `with_metadata(proto, precision='int8')`."""
    return _with_metadata


@pytest.fixture
def int8_results():
    """Labels of int8_proto and its largest logits, of an image (H, W, 3)."""

    def results(image):
        logits = np.rint(image[:, :, ::-1] / 3) * 3 * np.array([1, 0.5, 0.25])
        return logits.argmax(2), logits.max(2)

    return results


@pytest.fixture
def nan_proto():
    """Model with NaN logits for black pixels, and the softmax of a real export.

    Logits are c * c / max(B, G, R) per channel c: 0 / 0 for black. A pure colour has confidence
    255, a grey has 85 (a third).
    """
    return _model(
        [
            helper.make_node('Cast', ['image'], ['x'], to=TensorProto.FLOAT),
            helper.make_node('Mul', ['x', 'x'], ['square']),
            helper.make_node('ReduceMax', ['x'], ['brightest'], axes=[3], keepdims=1),
            helper.make_node('Div', ['square', 'brightest'], ['logits']),
            *_labels_of('logits', axis=3),
            helper.make_node('ReduceMax', ['logits'], ['highest'], axes=[3], keepdims=1),
            helper.make_node('Sub', ['logits', 'highest'], ['below']),
            helper.make_node('Exp', ['below'], ['share']),
            helper.make_node('ReduceSum', ['share', 'axis'], ['sum'], keepdims=0),
            helper.make_node('Reciprocal', ['sum'], ['maximum']),
            helper.make_node('Mul', ['maximum', 'full'], ['scaled']),
            helper.make_node('Round', ['scaled'], ['rounded']),
            helper.make_node('Cast', ['rounded'], ['confidence'], to=TensorProto.UINT8),
        ],
        [
            numpy_helper.from_array(np.array([3], np.int64), 'axis'),
            numpy_helper.from_array(np.array(255, np.float32), 'full'),
        ],
    )


@pytest.fixture
def write_model(tmp_path):
    """Write a model to a file: `write_model(proto) -> path`."""

    def write(proto, name='model.onnx'):
        path = tmp_path / name
        path.write_bytes(proto.SerializeToString())
        return path

    return write


@pytest.fixture
def write_label_model(write_model):
    """Write a model that is told its results: `write_label_model(table, size) -> path`.

    The label is the blue channel, the confidence the green one.
    """

    def write(table, size=(96, 64)):
        pick = np.zeros((2, 3, 1, 1), np.float32)
        pick[0, 0], pick[1, 1] = 1, 1
        nodes = [
            helper.make_node('Cast', ['image'], ['bytes'], to=TensorProto.FLOAT),
            helper.make_node('Transpose', ['bytes'], ['x'], perm=[0, 3, 1, 2]),
        ]
        for name in ('labels', 'confidence'):
            nodes += [
                helper.make_node('Conv', ['x', f'{name}.weight'], [f'{name}.plane']),
                # Of the one channel that there is.
                helper.make_node(
                    'ReduceMax', [f'{name}.plane'], [f'{name}.x'], axes=[1], keepdims=0
                ),
                helper.make_node('Cast', [f'{name}.x'], [name], to=TensorProto.UINT8),
            ]
        weights = [
            numpy_helper.from_array(weight, f'{name}.weight')
            for name, weight in (('labels', pick[:1]), ('confidence', pick[1:]))
        ]
        metadata = metadata_of(
            table,
            architecture='Tiny (told)',
            dataset='hand-made',
            label_set='told',
            default_size=size,
            accuracy={'val_miou': 1.0},
        )
        return write_model(_with_metadata(_model(nodes, weights), **metadata), 'told.onnx')

    return write


@pytest.fixture
def model_path(channel_proto, write_model):
    """File of channel_proto."""
    return write_model(channel_proto)


@pytest.fixture
def model(model_path):
    """Loaded channel_proto."""
    return load_model_file(model_path)


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """Put a module of some source before the real one, in child processes.

    `stand_in('openvino', 'raise OSError')`; a name with a slash makes a module of a package.
    """
    folder = tmp_path / 'stand_ins'

    def put(name, source):
        path = folder / (f'{name}.py' if '/' in name else f'{name}/__init__.py')
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
        monkeypatch.setenv('PYTHONPATH', str(folder))

    return put


@pytest.fixture
def missing(stand_in):
    """Make a module be missing in child processes: `missing('openvino')`."""

    def leave_out(name):
        stand_in(name, f'raise ModuleNotFoundError("No module named {name!r}", name={name!r})')

    return leave_out


@pytest.fixture
def fake_gpu(monkeypatch):
    """Stand-ins for TensorRT and CUDA, here and in child processes.

    `fake_gpu(version, devices=[...], fail={...}, **rules) -> state of CUDA` puts them in place
    anew; see fakes/tensorrt.py and fakes/cuda/bindings/runtime.py.
    """
    mine = ('tensorrt', 'cuda')
    before = {n: m for n, m in sys.modules.items() if n.partition('.')[0] in mine}

    def forget():
        for name in [n for n in sys.modules if n.partition('.')[0] in mine]:
            del sys.modules[name]

    def install(version='10.3.0', *, devices=None, fail=None, **rules):
        forget()
        machine = {'fail': fail or {}} | ({} if devices is None else {'devices': devices})
        monkeypatch.setenv('FAKE_CUDA', json.dumps(machine))
        monkeypatch.setenv('FAKE_TENSORRT', json.dumps({'version': version, **rules}))
        return importlib.import_module('cuda.bindings.runtime').state

    monkeypatch.syspath_prepend(str(FAKES))
    # A library that is there, as the driver's would be.
    monkeypatch.setattr('linknet_ros.inference.tensorrt.driver.LIBRARY', 'libc.so.6')
    yield install
    forget()
    sys.modules.update(before)


#: A driver library with one Orin.
CUDA_LIBRARY = """
#include <signal.h>
#include <stddef.h>
#include <string.h>
int cuInit(unsigned flags) { return INIT; }
int cuDriverGetVersion(int *version) { *version = 12060; return 0; }
int cuDeviceGetCount(int *count) { *count = 1; return 0; }
int cuDeviceGet(int *device, int index) { *device = 40 + index; return 0; }
int cuDeviceGetName(char *name, int size, int device) {
    strncpy(name, device == 40 ? "Orin" : "another", size); return 0; }
int cuDeviceTotalMem_v2(size_t *bytes, int device) { *bytes = 8000000000; return 0; }
int cuDeviceGetAttribute(int *value, int attribute, int device) {
    *value = attribute == 75 ? 8 : 7; return 0; }
"""


@pytest.fixture
def cuda_library(tmp_path, monkeypatch):
    """Make a libcuda.so.1 for child processes: `cuda_library('100')`, with what cuInit returns."""
    compiler = shutil.which('cc')
    if compiler is None:
        pytest.skip('needs a C compiler')

    def build(init):
        (tmp_path / 'cuda.c').write_text(CUDA_LIBRARY)
        path = tmp_path / 'libcuda.so.1'
        command = [compiler, '-shared', '-fPIC', f'-DINIT={init}', '-o', path]
        subprocess.run([*command, tmp_path / 'cuda.c'], check=True)
        monkeypatch.setenv('LD_LIBRARY_PATH', str(tmp_path))
        return path

    return build


@pytest.fixture
def help_of(monkeypatch, capsys):
    """Texts of the options of a command line: `help_of(main) -> {'--out': 'folder of ...'}`."""
    monkeypatch.setenv('COLUMNS', '1000')

    def read(main):
        with pytest.raises(SystemExit):
            main(['--help'])
        shown = capsys.readouterr().out
        lines = re.findall(r'^  (?:-h, )?(-?-?\w[-\w]*)(.*(?:\n {10,}.*)*)', shown, re.MULTILINE)
        # What stands behind two spaces or on a line of its own is no metavariable.
        return {name: ''.join(re.split(r'\s{2,}', rest)[1:]) for name, rest in lines}

    return read


class Bags:
    """Small bags of rosbag2, written and read with rosbags."""

    def __init__(self):
        from rosbags.typesys import Stores, get_typestore

        self.store = get_typestore(Stores.ROS2_JAZZY)
        self.types = self.store.types

    def header(self, second):
        time = self.types['builtin_interfaces/msg/Time'](second, second % 1000)
        return self.types['std_msgs/msg/Header'](time, f'camera_{second}')

    def image(self, pixels, second=0, encoding='bgr8', **changes):
        """Serialized Image of an array, (H, W) or (H, W, C) uint8."""
        fields = {
            'header': self.header(second),
            'height': pixels.shape[0],
            'width': pixels.shape[1],
            'encoding': encoding,
            'is_bigendian': 0,
            'step': pixels[0].size,
            'data': np.ascontiguousarray(pixels).reshape(-1),
        }
        return self.serialize('sensor_msgs/msg/Image', **fields | changes)

    def compressed(self, data, second=0, form='jpeg'):
        """Serialized CompressedImage of bytes."""
        data = np.frombuffer(data, np.uint8)
        return self.serialize(
            'sensor_msgs/msg/CompressedImage', header=self.header(second), format=form, data=data
        )

    def text(self, text):
        return self.serialize('std_msgs/msg/String', data=text)

    def serialize(self, kind, **fields):
        return kind, bytes(self.store.serialize_cdr(self.types[kind](**fields), kind))

    def write(self, path, messages, compress=None):
        """Write (topic, time of receipt, (type, data)); a file by its suffix, or a folder.

        A folder has the storage that its name ends with: 'a_mcap' or 'a_db3'.
        """
        from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

        suffix = '.mcap' if path.name.endswith('mcap') else '.db3'
        folder = path.with_suffix('.folder') if path.suffix else path
        plugin = StoragePlugin.MCAP if suffix == '.mcap' else StoragePlugin.SQLITE3
        writer = Writer(folder, version=8, storage_plugin=plugin)
        if compress:
            writer.set_compression(CompressionMode[compress.upper()], CompressionFormat.ZSTD)
        with writer:
            topics = {}
            for topic, received, (kind, data) in messages:
                if topic not in topics:
                    topics[topic] = writer.add_connection(topic, kind, typestore=self.store)
                writer.write(topics[topic], received, data)
        if path.suffix:
            next(folder.glob(f'*{suffix}')).rename(path)
            shutil.rmtree(folder)
        return path

    def read(self, path):
        """Topic, time of receipt and message of each message, by topic."""
        from rosbags.rosbag2 import Reader

        found = {}
        with Reader(path) as reader:
            for connection, received, data in reader.messages():
                message = self.store.deserialize_cdr(data, connection.msgtype)
                found.setdefault(connection.topic, []).append((received, message))
        return found


@pytest.fixture
def bags():
    """Write and read bags; see Bags."""
    pytest.importorskip('rosbags', reason='needs rosbags (pip install .[bags])')
    return Bags()


def color_frames(count, width=96, height=64, seed=0):
    """Frames of (H, W, 3) uint8 BGR, whose labels by channel_proto are argmax(2)."""
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (height, width, 3), np.uint8) for _ in range(count)]


@pytest.fixture
def frames():
    """`frames(count, width, height, seed)`; see color_frames."""
    return color_frames


@pytest.fixture(scope='module')
def context():
    """Context of rclpy in a ROS domain of its own, which child processes share."""
    rclpy = pytest.importorskip('rclpy', reason='needs ROS 2 (pip install .[ros])')
    from linknet_ros.system.package_files import SHM_PROFILE, package_file

    profile = str(package_file(SHM_PROFILE))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('ROS_DOMAIN_ID', str(random.randrange(1, 101)))
        patch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
        patch.setenv('FASTRTPS_DEFAULT_PROFILES_FILE', profile)
        patch.setenv('FASTDDS_DEFAULT_PROFILES_FILE', profile)
        context = rclpy.Context()
        rclpy.init(args=[], context=context)
        yield context
        rclpy.try_shutdown(context=context)


@pytest.fixture
def open_node(context):
    """Make a node: `open_node('-p', 'threads:=2', name=value) -> node`, with ROS arguments."""
    from rclpy.node import Node
    from rclpy.parameter import Parameter

    nodes = []

    def make(*arguments, node_name='linknet', **overrides):
        node = Node(
            node_name,
            context=context,
            cli_args=['--ros-args', *map(str, arguments)],
            parameter_overrides=[Parameter(n, value=value) for n, value in overrides.items()],
            start_parameter_services=False,
            enable_rosout=False,
        )
        nodes.append(node)
        return node

    yield make
    for node in nodes:
        node.destroy_node()


class RecordingPublisher:
    """Keeps what it is given: a publisher of a type that is not installed."""

    def __init__(self, topic, qos):
        self.topic_name, self.qos = topic, qos
        self.sent, self.destroyed = [], False

    def publish(self, message):
        assert not self.destroyed
        self.sent.append(message)


@pytest.fixture
def no_vision_msgs(monkeypatch):
    """Let vision_msgs be missing, whether it is installed or not."""
    for name in ('vision_msgs', 'vision_msgs.msg'):
        monkeypatch.setitem(sys.modules, name, None)


@pytest.fixture
def label_infos(monkeypatch):
    """A stand-in for vision_msgs; the list of all publishers of LabelInfo, see RecordingPublisher.

    Fields and types are those of vision_msgs 4.1.1.
    """
    node_module = pytest.importorskip('rclpy.node', reason='needs ROS 2 (pip install .[ros])')
    from std_msgs.msg import Header

    class Type(type):
        _TYPE_SUPPORT = object()

    class VisionClass:
        def __init__(self, *, class_id, class_name):
            assert isinstance(class_id, int)
            assert 0 <= class_id < 65536
            assert isinstance(class_name, str)
            self.class_id, self.class_name = class_id, class_name

    class LabelInfo(metaclass=Type):
        def __init__(self, *, class_map, threshold):
            assert isinstance(threshold, float)
            assert all(isinstance(entry, VisionClass) for entry in class_map)
            self.header, self.class_map, self.threshold = Header(), class_map, threshold

    messages = ModuleType('vision_msgs.msg')
    messages.LabelInfo, messages.VisionClass = LabelInfo, VisionClass
    package = ModuleType('vision_msgs')
    package.msg = messages
    monkeypatch.setitem(sys.modules, 'vision_msgs', package)
    monkeypatch.setitem(sys.modules, 'vision_msgs.msg', messages)
    made = []
    create, destroy = node_module.Node.create_publisher, node_module.Node.destroy_publisher

    def create_publisher(node, kind, topic, qos, **options):
        if kind is not LabelInfo:
            return create(node, kind, topic, qos, **options)
        made.append(RecordingPublisher(node.resolve_topic_name(topic), qos))
        return made[-1]

    def destroy_publisher(node, publisher):
        if publisher not in made:
            return destroy(node, publisher)
        publisher.destroyed = True
        return True

    monkeypatch.setattr(node_module.Node, 'create_publisher', create_publisher)
    monkeypatch.setattr(node_module.Node, 'destroy_publisher', destroy_publisher)
    return made


@pytest.fixture
def open_robot(context, write_label_model):
    """Make and start a Robot: `open_robot(size, camera_info, **parameters) -> robot`."""
    pytest.importorskip('rclpy', reason='needs ROS 2 (pip install .[ros])')
    from consumer_robot import Robot

    from linknet_ros.classes import CAMVID

    robots = []

    def make(size, camera_info=None, **values):
        width, height = size
        values |= {'network_width': width, 'network_height': height}
        robots.append(Robot(context, write_label_model(CAMVID), **values))
        robots[-1].start(camera_info)
        return robots[-1]

    yield make
    for robot in robots:
        robot.close()


@pytest.fixture
def spoil(monkeypatch):
    """Let the node publish something else: `spoil(module, function, change)`.

    `change` takes the message that the function makes and returns another one.
    """

    def put(module, function, change):
        make = getattr(module, function)
        monkeypatch.setattr(module, function, lambda *given: change(make(*given)))

    return put


@pytest.fixture(scope='module')
def one_torch_thread():
    """Keep the threads of small networks from waiting for each other on a busy machine."""
    torch = pytest.importorskip('torch', reason='needs PyTorch (pip install .[train])')
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


#: Blue, green, red and class id of what the frames of camvid_folder show.
CAMVID_COLORS = np.array([(230, 160, 120), (60, 60, 160), (90, 90, 90), (40, 130, 40)], np.uint8)
CAMVID_IDS = np.array([0, 1, 3, 5], np.uint8)


@pytest.fixture(scope='session')
def camvid_folder(tmp_path_factory):
    """CamVid in little, to be read only: frames of 64x48 whose colour tells the class.

    Four frames of sequence 'a' and two of 'b' to train on, three of 'c' to validate on; the two
    upper rows are void.
    """
    root = tmp_path_factory.mktemp('camvid')
    rng = np.random.default_rng(0)
    for split, names in (
        ('train', ('a_0', 'a_1', 'a_2', 'a_3', 'b_0', 'b_1')),
        ('val', ('c_0', 'c_1', 'c_2')),
    ):
        (root / split).mkdir()
        (root / f'{split}annot').mkdir()
        for name in names:
            cells = np.kron(rng.integers(0, 4, (3, 4)), np.ones((16, 16), int))
            noise = rng.integers(0, 20, (48, 64, 3), np.uint8)
            annotation = CAMVID_IDS[cells]
            annotation[:2] = 11
            assert cv2.imwrite(str(root / split / f'{name}.png'), CAMVID_COLORS[cells] + noise)
            assert cv2.imwrite(str(root / f'{split}annot' / f'{name}.png'), annotation)
    return root


@pytest.fixture
def tiny_network(monkeypatch):
    """Two convolutions with a norm, trained as `--network tiny` where the network is no matter."""
    torch = pytest.importorskip('torch', reason='needs PyTorch (pip install .[train])')
    from torch import nn

    from training.networks import NETWORKS

    class TinyNetwork(nn.Module):
        title = 'Tiny'
        stride = 2
        side_outputs = {'norm': 8}  # noqa: RUF012

        def __init__(
            self,
            classes=11,
            *,
            normalization='batch',
            dropout=0.0,
            activation='relu',
            pretrained=False,
        ):
            super().__init__()
            self.options = (classes, normalization, dropout, activation, pretrained)
            self.first = nn.Conv2d(3, 8, 3, stride=2, padding=1)
            self.norm = nn.BatchNorm2d(8) if normalization == 'batch' else nn.GroupNorm(2, 8)
            self.last = nn.ConvTranspose2d(8, classes, 2, stride=2)

        @property
        def first_convolution(self):
            return self.first

        def forward(self, image):
            return self.last(torch.relu(self.norm(self.first(image))))

    monkeypatch.setitem(NETWORKS, 'tiny', TinyNetwork)
    return TinyNetwork
