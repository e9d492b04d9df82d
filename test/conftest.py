"""What all rooms' tests share: marks, a ROS domain for each module, robots, and libraries that are
stood in for. Tiny models are in tiny_models.py, small bags in small_bags.py, the rig in rig.py.
"""

import importlib
import json
import re
import shutil
import subprocess
import sys
from contextlib import contextmanager
from types import FunctionType, ModuleType

import numpy as np
import pytest
from checkout import FAKES
from domains import free_domain
from hypothesis import settings
from small_bags import bags  # noqa: F401
from tiny_models import (  # noqa: F401
    channel_proto,
    class_table,
    fp16_proto,
    half_proto,
    half_weight,
    int8_proto,
    int8_results,
    mixed_proto,
    model,
    model_path,
    nan_proto,
    with_metadata,
    write_label_model,
    write_model,
)

# The same examples every time; `--hypothesis-profile default` goes on looking for others.
settings.register_profile('the same', derandomize=True)
settings.load_profile('the same')

#: Names that a function which starts a process uses.
STARTERS = {
    *('subprocess', 'Popen', 'multiprocessing', 'socketpair'),
    *('ask', 'run_child', 'start_program', 'start_node'),
}


#: Modules whose tests start processes through the package's own functions, and slow ones.
STARTING = {
    *('benchmark/test_benchmark.py', 'benchmark/test_recordings.py'),
    *('doctor/test_checks.py', 'doctor/test_ros_checks.py'),
    *('inference/test_tensorrt_backend.py', 'inference/test_tensorrt_build_engine.py'),
    'recordings/test_cluster.py',
}
SLOW = {
    *('simulation/test_ground_accuracy.py', 'inference/test_tensorrt_builder.py'),
    'soak/test_soak.py',
}


def starts_process(function, seen):
    """Whether a function of the tests, or one that it calls, starts a process."""
    seen.add(function)
    codes, names = [function.__code__], set()
    for code in codes:
        names |= {*code.co_names, *code.co_freevars}
        codes += [constant for constant in code.co_consts if hasattr(constant, 'co_names')]
    if names & STARTERS:
        return True
    called = [function.__globals__.get(name) for name in names]
    called += [v for c in called if isinstance(c, type) for v in vars(c).values()]
    return any(
        starts_process(one, seen)
        for one in called
        if isinstance(one, FunctionType)
        and one not in seen
        and '/test/' in one.__code__.co_filename
    )


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(items):
    """Mark what is not a unit test (CONTRIBUTING.md lists the marks), and put slow files first."""
    mark(items)
    # What `-m` leaves out goes, and pytest has its own order.
    outcome = yield
    put_slow_files_first(items)
    return outcome


def mark(items):
    """Mark each test by what it uses."""
    seen = {}
    for item in items:
        if item.path.parent.name == 'contracts':
            item.add_marker('contract')
        if 'context' in item.fixturenames:
            item.add_marker('ros')
        definitions = item._fixtureinfo.name2fixturedefs.values()
        functions = [item.function, *(each[-1].func for each in definitions)]
        functions = [f for f in functions if isinstance(f, FunctionType)]
        for function in functions:
            if function not in seen:
                seen[function] = starts_process(function, set())
        module = f'{item.path.parent.name}/{item.path.name}'
        starting = module in STARTING or 'fake_gpu' in item.fixturenames
        if starting or any(seen[function] for function in functions):
            item.add_marker('process')
        if module in SLOW:
            item.add_marker('slow')


def put_slow_files_first(items):
    """Of several workers none is left alone with a long file at the end; files stay whole."""
    ranks = {}
    for item in items:
        rank = 0 if item.get_closest_marker('slow') else 1
        if rank and not any(map(item.get_closest_marker, ('process', 'ros', 'contract'))):
            rank = 2
        ranks[item.path] = min(rank, ranks.get(item.path, 2))
    items.sort(key=lambda item: ranks[item.path])


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

    `fake_gpu(version, devices=[...], fail={...}, **rules) -> state of CUDA` puts new ones in
    place; see fakes/tensorrt.py and fakes/cuda/bindings/runtime.py.
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
    monkeypatch.setattr('linknet_ros.system.nvidia_driver.LIBRARY', 'libc.so.6')
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


@pytest.fixture
def frames():
    """`frames(count, width, height, seed)`: random frames of (H, W, 3) uint8 BGR."""

    def make(count, width=96, height=64, seed=0):
        rng = np.random.default_rng(seed)
        return [rng.integers(0, 256, (height, width, 3), np.uint8) for _ in range(count)]

    return make


@contextmanager
def own_domain():
    """Give this process and its children a ROS domain that no other test has, on this machine."""
    with free_domain() as number, pytest.MonkeyPatch.context() as patch:
        patch.setenv('ROS_DOMAIN_ID', str(number))
        patch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
        yield patch


@pytest.fixture(scope='session', autouse=True)
def _own_domain():
    """No test ever talks to a robot nearby, nor to a test beside it."""
    with own_domain():
        yield


@pytest.fixture(scope='module')
def context():
    """Context of rclpy in a ROS domain of its own, which child processes share."""
    rclpy = pytest.importorskip('rclpy', reason='needs ROS 2 (pip install .[ros])')
    from linknet_ros.system.package_files import SHM_PROFILE, package_file

    with own_domain() as patch:
        for name in ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE'):
            patch.setenv(name, str(package_file(SHM_PROFILE)))
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
def open_rig(context):
    """Camera and planner without a node: `open_rig() -> rig.Rig`."""
    from rig import Rig

    rigs = []

    def make(*arguments, **options):
        rigs.append(Rig(context, *arguments, **options))
        return rigs[-1]

    yield make
    for rig in rigs:
        rig.close()


@pytest.fixture
def open_robot(context):
    """The node in this process, not configured: `open_robot('-r', ..., **parameters) -> Robot`."""
    from rig import Robot

    robots = []

    def make(*arguments, **parameters):
        robots.append(Robot(context, *arguments, **parameters))
        return robots[-1]

    yield make
    for robot in robots:
        robot.close()


@pytest.fixture
def robot(open_robot, model):  # noqa: F811
    """A started Robot with the tiny model of three classes, on ONNX Runtime."""
    return open_robot(model=str(model.path), backend='onnxruntime').start()


@pytest.fixture
def open_told_robot(open_robot, write_label_model):  # noqa: F811
    """A started robot that is told its labels: `open_told_robot(size, camera_info, **parameters)`.

    See label_model; the classes are CamVid's.
    """
    from linknet_ros.classes import CAMVID

    def make(size, camera_info=None, **values):
        width, height = size
        values |= {'network_width': width, 'network_height': height, 'backend': 'onnxruntime'}
        return open_robot(model=str(write_label_model(CAMVID)), **values).start(camera_info)

    return make


@pytest.fixture
def spoil(monkeypatch):
    """Let the node publish something else on a topic: `spoil(topic, change)`.

    `change` takes a message that is published and returns another one; see spoiled.py.
    """
    from rclpy.publisher import Publisher

    def put(topic, change):
        publish = Publisher.publish

        def spoiled(publisher, message):
            publish(publisher, change(message) if publisher.topic_name == topic else message)

        monkeypatch.setattr(Publisher, 'publish', spoiled)

    return put
