"""What runs engines, on stand-ins for six versions of TensorRT and for CUDA.

The stand-ins know which names each version has and CUDA's rules; they cannot show what real
TensorRT does. test_tensorrt_builder.py does for building, and the tests marked `gpu` for running.
"""

import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import replace
from types import ModuleType

import numpy as np
import onnx
import pytest
from checkout import DATA
from onnx import TensorProto, helper

from linknet_ros.errors import BackendError, BuildCancelledError, ModelError, ParameterError
from linknet_ros.inference.model_file import load_model
from linknet_ros.inference.open_backend import open_backend
from linknet_ros.inference.tensorrt import backend as tensorrt_backend
from linknet_ros.inference.tensorrt.backend import TensorrtBackend
from linknet_ros.inference.tensorrt.build import build_plan
from linknet_ros.inference.tensorrt.cache import EngineCache
from linknet_ros.inference.tensorrt.cuda import Cuda
from linknet_ros.inference.tensorrt.library import open_library
from linknet_ros.inference.tensorrt.options import LIBRARIES, TensorrtOptions, default_cache_dir

API = json.loads((DATA / 'tensorrt_api.json').read_text())
EACH_VERSION = pytest.mark.parametrize('version', API['versions'])

ORIN = {'name': 'Fake Orin', 'sm': 8, 'cc': [8, 7], 'integrated': 0, 'mib': 64}


@pytest.fixture
def lines():
    """What was reported."""
    return []


@pytest.fixture
def options(tmp_path, lines):
    return TensorrtOptions(cache_dir=tmp_path / 'engines', report=lines.append)


@pytest.fixture
def built(monkeypatch, tmp_path):
    """Builds that took place, in this process instead of a child: only the border is left out."""
    requests = []

    def build_here(request, data, report, cancel):
        requests.append(request)
        Cuda().use(request.device)
        (tmp_path / 'model').write_bytes(data)
        return build_plan(open_library('auto'), request, tmp_path, cancel, report)[0]

    monkeypatch.setattr(tensorrt_backend, 'build_in_child', build_here)
    return requests


@pytest.fixture
def int8_model(int8_proto, write_model):
    return load_model(write_model(int8_proto, 'int8.onnx'))


def random_image(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (32, 64, 3), dtype=np.uint8)


def check(backend, seed=0):
    """Whether the model of conftest, largest channel, is what runs."""
    image = random_image(seed)
    labels, confidence = backend.infer(image)
    assert labels.dtype == confidence.dtype == np.uint8
    np.testing.assert_array_equal(labels, image.argmax(2))
    np.testing.assert_array_equal(confidence, image.max(2))


def open_it(model, options, precision='auto'):
    return TensorrtBackend(model, 32, 64, precision, 0, options)


def types_of(path):
    """Floating point types of the graph that an engine was built of."""
    graph = onnx.load_model_from_string(path.read_bytes().split(b'\n', 4)[4]).graph
    kinds = {t.data_type for t in graph.initializer}
    kinds |= {a.i for n in graph.node if n.op_type == 'Cast' for a in n.attribute}
    return kinds & {TensorProto.FLOAT, TensorProto.FLOAT16}


def head_of(path):
    """What the stand-in wrote about the engine in a file of the cache."""
    return json.loads(path.read_bytes().split(b'\n')[3])


# Build, keep, load.


@EACH_VERSION
def test_built_in_a_child_kept_and_run(model, fake_gpu, options, lines, version):
    state = fake_gpu(version)
    backend = open_backend(model, 32, 64, backend='tensorrt', tensorrt=options)
    assert (backend.name, backend.precision) == ('tensorrt', 'fp16')
    for seed in range(3):
        check(backend, seed)
    assert state.launches >= 4  # the graph: once to try it, once for zeros, then these
    assert backend.kept
    assert backend.engine_path.stat().st_mode & 0o777 == 0o600
    assert options.cache_dir.stat().st_mode & 0o777 == 0o700
    # All of CUDA on one thread, which is not ours.
    assert len(state.threads) == 1
    assert threading.get_ident() not in state.threads
    backend.close()
    assert state.leaks() == {}
    assert lines[0] == (
        'building a TensorRT engine for 64x32 in fp16 on Fake Orin; this takes minutes, once'
    )
    assert f'building an engine: TensorRT {version}, 64 of 64 MiB are free' in lines
    assert lines[-1] == 'building an engine: Building 100 %'


def test_second_start_builds_nothing(model, fake_gpu, options, built, lines):
    fake_gpu()
    open_it(model, options).close()
    state = fake_gpu()
    lines.clear()
    backend = open_it(model, options)
    check(backend)
    backend.close()
    assert (len(built), lines, state.leaks()) == (1, [], {})


def test_damaged_engine_is_built_again(model, fake_gpu, options, built, lines):
    fake_gpu()
    first = open_it(model, options)
    first.close()
    data = first.engine_path.read_bytes()
    first.engine_path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    lines.clear()
    again = open_it(model, options)
    check(again)
    again.close()
    assert len(built) == 2
    assert sum('is not used' in line for line in lines) == 1
    assert again.engine_path.read_bytes() == data


@pytest.mark.parametrize(
    ('name', 'cc', 'reason'),
    [
        ('Fake Orin', [8, 7], 'not compatible with this version of TensorRT'),
        ('Other Orin', [8, 7], 'it was built on another model of GPU'),
        ('Fake Thor', [11, 0], 'generated on an incompatible device'),
    ],
)
def test_engine_that_does_not_load_is_built_again(
    model, fake_gpu, options, built, lines, tmp_path, name, cc, reason
):
    version = '10.3.0'
    foreign = version if name != 'Fake Orin' else '10.7.0'
    fake_gpu(foreign, devices=[ORIN | {'name': name, 'cc': cc}])
    elsewhere = open_it(model, replace(options, cache_dir=tmp_path / 'elsewhere'))
    elsewhere.close()
    fake_gpu(version)
    first = open_it(model, options)
    first.close()
    # As if an upgrade had left the version's number alone.
    plan = elsewhere.engine_path.read_bytes().split(b'\n', 2)[2]
    assert EngineCache(options.cache_dir, options.report).store(first._key, plan)
    path = first.engine_path
    lines.clear()
    state = fake_gpu(version)
    backend = open_it(model, options)
    check(backend)
    backend.close()
    assert [line for line in lines if 'is not used' in line] == [
        line for line in lines if str(path) in line and reason in line
    ]
    assert sum(reason in line for line in lines) == 1
    assert (head_of(path)['version'], head_of(path)['name']) == (version, 'Fake Orin')
    assert state.leaks() == {}


def test_what_an_engine_depends_on(
    model, half_proto, write_model, fake_gpu, options, built, monkeypatch
):
    half = load_model(write_model(half_proto, 'half.onnx'))
    ways = [
        ({}, (model, 32, 64, 'auto'), {}),
        ({'version': '10.7.0'}, (model, 32, 64, 'auto'), {}),
        *(
            ({'devices': [ORIN | other]}, (model, 32, 64, 'auto'), {})
            for other in ({'name': 'Other Orin'}, {'sm': 16}, {'cc': [8, 6]})
        ),
        ({}, (half, 32, 64, 'auto'), {}),
        ({}, (model, 64, 64, 'auto'), {}),
        ({}, (model, 32, 64, 'fp32'), {}),
        ({}, (model, 32, 64, 'auto'), {'workspace_mib': 256}),
        ({}, (model, 32, 64, 'auto'), {'optimization_level': 1}),
    ]
    paths = []
    for _ in range(2):
        for machine, arguments, change in ways:
            fake_gpu(**machine)
            backend = TensorrtBackend(*arguments, 0, replace(options, **change))
            backend.close()
            paths.append(backend.engine_path)
    assert len(built) == len(set(paths)) == len(ways)
    assert paths[len(ways) :] == paths[: len(ways)]
    fake_gpu()
    open_it(model, replace(options, rebuild=True)).close()
    assert len(built) == len(ways) + 1


def test_rtx_builds_for_the_compute_capability(model, fake_gpu, options, monkeypatch, lines):
    """Its engines depend on that and not on the GPU's name, and are no classic ones."""
    fake_gpu()
    requests, real = [], open_library('auto')
    rtx = replace(real, kind='rtx', version='1.7.1.116')
    monkeypatch.setattr(tensorrt_backend, 'open_library', lambda wanted: rtx)

    def build(request, data, report, cancel):
        requests.append(request)
        raise BackendError('enough seen')

    monkeypatch.setattr(tensorrt_backend, 'build_in_child', build)
    for device in (ORIN, ORIN | {'name': 'Other', 'sm': 99}, ORIN | {'cc': [12, 0]}):
        fake_gpu(devices=[device])
        with pytest.raises(BackendError, match='enough seen'):
            open_it(model, options)
    assert [(r.library, r.target) for r in requests] == [
        *(('rtx', 'SM87'), ('rtx', 'SM87'), ('rtx', 'SM120'))
    ]
    keys = [tensorrt_backend.engine_key(model, r, rtx, None) for r in requests]
    assert keys[0] == keys[1] != keys[2]
    device = tensorrt_backend.Device('Fake Orin', 8, '8.7', False)
    request = replace(requests[0], library='classic', target='')
    classic = tensorrt_backend.engine_key(model, request, real, device)
    assert classic.items() >= {'library': 'classic', 'gpu': 'Fake Orin', 'compute': '8.7'}.items()


# Precision.


@EACH_VERSION
@pytest.mark.parametrize('precision', ['fp32', 'fp16'])
def test_precision(half_proto, write_model, fake_gpu, options, built, version, precision):
    fake_gpu(version)
    model = load_model(write_model(half_proto))
    backend = open_it(model, options, precision)
    image = random_image()
    labels, _ = backend.infer(image)
    expected = (image[:, :, ::-1] * np.array([1, 0.5, 0.25])).argmax(2)
    np.testing.assert_array_equal(labels, expected)
    backend.close()
    assert backend.precision == precision
    floats = types_of(backend.engine_path)
    assert floats == {TensorProto.FLOAT if precision == 'fp32' else TensorProto.FLOAT16}


@EACH_VERSION
@pytest.mark.parametrize('precision', ['auto', 'int8'])
def test_int8(int8_model, int8_results, fake_gpu, options, built, lines, version, precision):
    """int8 by its Q/DQ nodes, and float16 for the rest, all of it in the graph."""
    fake_gpu(version)
    backend = open_it(int8_model, options, precision)
    assert backend.precision == 'int8'
    image = random_image()
    labels, _ = backend.infer(image)
    assert (labels == int8_results(image)[0]).mean() > 0.98
    backend.close()
    assert types_of(backend.engine_path) == {TensorProto.FLOAT16}
    assert [request.precision for request in built] == ['int8']
    assert 'in int8 on Fake Orin' in lines[0]


@pytest.mark.parametrize(
    ('file', 'precision', 'message'),
    [
        ('int8', 'fp32', 'is made for int8, not fp32; use precision auto or int8'),
        ('int8', 'fp16', 'is made for int8, not fp16; use precision auto or int8'),
        ('fp32', 'int8', 'is made for fp32, not int8; use models/linknet_camvid_int8'),
        ('fp32', 'bf16', 'computes in fp16 or fp32, not bf16; use precision auto'),
        ('fp16', 'fp32', 'is made for fp16, not fp32; use precision auto or fp16'),
    ],
)
def test_precision_that_a_file_is_not_made_for(
    model, int8_model, fp16_proto, write_model, fake_gpu, options, file, precision, message
):
    fake_gpu()
    files = {'fp32': model, 'int8': int8_model, 'fp16': load_model(write_model(fp16_proto, 'h'))}
    with pytest.raises(BackendError, match=message):
        open_it(files[file], options, precision)


def test_weight_too_large_for_fp16(channel_proto, write_model, fake_gpu, options, built):
    node = helper.make_node('Constant', [], ['big'], value=helper.make_tensor('', 1, [], [1e6]))
    channel_proto.graph.node.insert(0, node)
    model = load_model(write_model(channel_proto))
    fake_gpu()
    with pytest.raises(ModelError, match="weight 'big' does not fit into float16; use"):
        open_it(model, options)


# Cancelled, died, failed.


def test_cancelled_build(model, fake_gpu, options):
    fake_gpu(build='hangs')

    def report(line):
        if 'MiB are free' in line:
            options.cancel.set()

    with pytest.raises(BuildCancelledError, match='was cancelled'):
        open_backend(model, 32, 64, backend='tensorrt', tensorrt=replace(options, report=report))
    assert [path.suffix for path in options.cache_dir.iterdir()] == ['.lock']


def test_killed_build(model, fake_gpu, options):
    state = fake_gpu(build='killed')
    with pytest.raises(BackendError, match='died of SIGKILL, most likely because memory ran out'):
        open_it(model, options)
    assert state.leaks() == {}


def test_build_without_a_python(model, fake_gpu, options, monkeypatch):
    fake_gpu()
    monkeypatch.setattr(sys, 'executable', '/nowhere/python')
    with pytest.raises(
        BackendError, match=r"cannot start Python \('/nowhere/python': No such fil"
    ):
        open_it(model, options)


def test_build_that_dies_says_its_last_words(model, fake_gpu, options, monkeypatch, tmp_path):
    fake_gpu()
    script = tmp_path / 'python'
    script.write_text('#!/bin/sh\necho something broke >&2\nexit 5\n')
    script.chmod(0o700)
    monkeypatch.setattr(sys, 'executable', str(script))
    message = 'the process that builds the engine ended with 5; its last words: something broke$'
    with pytest.raises(BackendError, match=message):
        open_it(model, options)


def test_failed_build_quotes_the_log_and_the_memory(model, fake_gpu, options):
    fake_gpu(build='fails')
    message = (
        r'TensorRT 10\.3\.0 builds no engine: Error Code 10: .*for node conv\) '
        r'\(64 of 64 MiB are free\)$'
    )
    with pytest.raises(BackendError, match=message):
        open_it(model, options)


def test_workspace_that_is_too_small(model, fake_gpu, options):
    fake_gpu(build='fails')
    with pytest.raises(BackendError, match=r'workspace_mib is 64 .*; set it to 0 for no limit'):
        open_it(model, replace(options, workspace_mib=64))


def test_engine_that_does_not_load_although_it_is_new(model, fake_gpu, options, built):
    fake_gpu(build='garbage')
    with pytest.raises(BackendError, match=r'engine just built does not load: .*magicTag'):
        open_it(model, options)
    assert not list(options.cache_dir.glob('*.engine'))


# Graphs, memory, threads.


@EACH_VERSION
def test_runs_without_a_graph_that_cannot_be_recorded(
    model, fake_gpu, options, built, lines, version
):
    state = fake_gpu(version, run='false while capturing')
    backend = open_it(model, options)
    check(backend)
    assert lines[-1] == (
        'TensorRT runs without a CUDA graph, a little slower: TensorRT does not run the engine: '
        'enqueueV3: operation not permitted when stream is capturing'
    )
    assert (state.launches, state.last_error) == (0, 0)
    backend.close()
    assert state.leaks() == {}


@pytest.mark.parametrize(
    'call', ['cudaStreamBeginCapture', 'cudaStreamEndCapture', 'cudaGraphInstantiateWithFlags']
)
def test_runs_without_a_graph_that_cuda_refuses(model, fake_gpu, options, built, lines, call):
    state = fake_gpu(fail={call: [901, 0]})
    backend = open_it(model, options)
    check(backend)
    assert f'CUDA: {call} failed with cudaErrorStreamCaptureInvalidated (901)' in lines[-1]
    backend.close()
    # A stream whose recording cannot be ended is stuck in the stand-in, too; it was ended.
    assert state.leaks() == {}


def test_no_graph_wanted(model, fake_gpu, options, built):
    state = fake_gpu()
    backend = open_it(model, replace(options, cuda_graph=False))
    check(backend)
    assert state.launches == 0
    backend.close()
    assert state.leaks() == {}


@pytest.mark.parametrize(
    ('integrated', 'zero_copy', 'mapped'),
    [(0, 'auto', False), (1, 'auto', True), (0, 'on', True), (1, 'off', False)],
)
def test_zero_copy(model, fake_gpu, options, built, integrated, zero_copy, mapped):
    state = fake_gpu(devices=[ORIN | {'integrated': integrated}])
    backend = open_it(model, replace(options, zero_copy=zero_copy))
    kinds = sorted(kind for kind, *_ in state.memory.values())
    assert kinds == (['mapped'] * 3 if mapped else ['device'] * 3 + ['pinned'] * 3)
    check(backend)
    check(backend, 1)
    backend.close()
    assert state.leaks() == {}


@pytest.mark.parametrize('call', ['cudaMalloc', 'cudaHostAlloc'])
@pytest.mark.parametrize('before', [0, 1, 2])
def test_out_of_memory(model, fake_gpu, options, built, call, before):
    state = fake_gpu(fail={call: [2, before]})
    message = (
        rf'CUDA: {call} failed with cudaErrorMemoryAllocation \(2\); \d+ of 64 MiB are free; '
        'stop other programs on the GPU or use a smaller network size'
    )
    with pytest.raises(BackendError, match=message):
        open_it(model, options)
    assert state.leaks() == {}


@pytest.mark.parametrize(
    ('rules', 'message'),
    [
        ({'context': 'none'}, 'makes no context: OutOfMemory: .*; 64 of 64 MiB are free'),
        ({'tensors': 'bad address'}, 'refuses memory for image: image: address is not aligned'),
        ({'run': 'false'}, 'TensorRT does not run the engine: enqueueV3: operation not permitted'),
        (
            {'run': 'fault'},
            r'cudaEventSynchronize failed with cudaErrorIllegalAddress \(700\); the process has '
            'lost the GPU; restart it',
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else '',
)
def test_what_fails_when_it_runs(model, fake_gpu, options, built, rules, message):
    state = fake_gpu(**rules)
    with pytest.raises(BackendError, match=message):
        open_it(model, options)
    if rules != {'run': 'fault'}:  # then nothing can be freed
        assert state.leaks() == {}


def test_second_gpu(model, fake_gpu, options, built):
    state = fake_gpu(devices=[ORIN, ORIN | {'name': 'Second'}])
    backend = open_it(model, replace(options, device=1))
    assert {device for *_, device in state.memory.values()} == {1}
    check(backend)
    backend.close()
    assert head_of(backend.engine_path)['name'] == 'Second'


def test_closed(model, fake_gpu, options, built):
    fake_gpu()
    backend = open_it(model, options)
    backend.close()
    backend.close()
    with pytest.raises(BackendError, match='is closed'):
        backend.infer(random_image())


def test_frame_that_fails_and_the_next(model, fake_gpu, options, built):
    state = fake_gpu()
    backend = open_it(model, options)
    state.failures['cudaGraphLaunch'] = [1, 0]
    with pytest.raises(BackendError, match=r'cudaGraphLaunch failed with cudaErrorInvalidValue'):
        backend.infer(random_image())
    state.failures.clear()
    check(backend)
    backend.close()
    assert state.leaks() == {}


# What keeps it from opening.


def test_no_gpu_leaves_tensorrt_alone(model, fake_gpu, options):
    fake_gpu(devices=[])
    message = r'cudaGetDeviceCount failed with cudaErrorInsufficientDriver \(35\); the driver is '
    with pytest.raises(BackendError, match=message):
        open_it(model, options)
    assert 'tensorrt' not in sys.modules


def test_runtime_that_does_not_start(model, fake_gpu, options, built):
    fake_gpu()
    open_it(model, options).close()
    fake_gpu(runtime='null')
    message = '10.3.0 does not start: CUDA initialization failure with error: 35'
    with pytest.raises(BackendError, match=message):
        open_it(model, options)


#: Opens a stored engine with a TensorRT whose runtime crashes when it is used or freed.
SHELL = """
import sys
from pathlib import Path
from linknet_ros.errors import BackendError
from linknet_ros.inference import load_model, open_backend
from linknet_ros.inference.tensorrt.options import TensorrtOptions
model, folder = sys.argv[1:]
options = TensorrtOptions(cache_dir=Path(folder))
try:
    open_backend(load_model(model), 32, 64, backend='tensorrt', tensorrt=options)
except BackendError as error:
    print(error)
import gc
gc.collect()
"""


def test_empty_shell_is_neither_used_nor_freed(model, fake_gpu, options, built, tmp_path):
    fake_gpu()
    open_it(model, options).close()
    fake_gpu(runtime='shell')
    environment = os.environ | {'PYTHONPATH': os.pathsep.join(sys.path)}
    command = [sys.executable, '-c', SHELL, str(model.path), str(options.cache_dir)]
    child = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert (child.returncode, child.stderr) == (0, '')
    assert 'error: 35; check that the driver is new enough' in child.stdout


def test_no_cuda_bindings(model, options, monkeypatch):
    monkeypatch.setattr('linknet_ros.system.nvidia_driver.LIBRARY', 'libc.so.6')
    for name in ('cuda.bindings.runtime', 'cuda.cudart'):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(
        BackendError, match=r'needs the Python package cuda-bindings .*pip install'
    ):
        open_it(model, options)


@pytest.mark.parametrize('bindings', [True, False])
def test_machine_without_a_driver(model, fake_gpu, options, monkeypatch, bindings):
    fake_gpu(devices=[])
    monkeypatch.setattr('linknet_ros.system.nvidia_driver.LIBRARY', 'libmissing_driver.so.1')
    if not bindings:
        for name in ('cuda.bindings.runtime', 'cuda.cudart'):
            monkeypatch.setitem(sys.modules, name, None)
    message = (
        r'^backend tensorrt needs an NVIDIA GPU, and no NVIDIA driver is installed here \(lib'
    )
    with pytest.raises(BackendError, match=message):
        open_it(model, options)


@pytest.mark.parametrize('library', ['auto', 'classic', 'rtx'])
def test_no_tensorrt(fake_gpu, monkeypatch, library):
    fake_gpu()
    for name in ('tensorrt', 'tensorrt_rtx', 'tensorrt_rtx_bindings'):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(BackendError, match="'tensorrt' cannot be imported") as caught:
        open_library(library)
    assert ('python3-libnvinfer' in caught.value.fix) == (library != 'rtx')
    assert ('tensorrt-rtx-cu13-libs' in caught.value.fix) == (library != 'classic')


def test_which_library_is_taken(fake_gpu, monkeypatch):
    fake_gpu()
    import tensorrt

    rtx = ModuleType('tensorrt_rtx')
    rtx.__version__ = '1.7.1.116'
    monkeypatch.setitem(sys.modules, 'tensorrt_rtx', rtx)
    assert [open_library(wanted).kind for wanted in LIBRARIES] == ['classic', 'classic', 'rtx']
    assert open_library('rtx').name == 'TensorRT-RTX 1.7.1.116'
    # JetPack 5 has one that is too old.
    monkeypatch.setattr(tensorrt, '__version__', '8.6.1')
    assert open_library('auto').kind == 'rtx'
    with pytest.raises(BackendError, match=r'tensorrt 8\.6\.1 is older than 10\.3'):
        open_library('classic')


def test_version_of_the_library_has_four_parts(fake_gpu, monkeypatch):
    fake_gpu()

    class Library:
        def __init__(self, name):
            assert name == 'libnvinfer.so.10'

        getInferLibMajorVersion = staticmethod(lambda: 10)  # noqa: N815
        getInferLibMinorVersion = staticmethod(lambda: 3)  # noqa: N815
        getInferLibPatchVersion = staticmethod(lambda: 0)  # noqa: N815
        getInferLibBuildVersion = staticmethod(lambda: 30)  # noqa: N815

    assert open_library('auto').version == '10.3.0'
    monkeypatch.setattr('ctypes.CDLL', Library)
    assert open_library('auto').version == '10.3.0.30'


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'zero_copy': 'maybe'}, "zero_copy is 'maybe'; use auto, on, off"),
        ({'optimization_level': 6}, 'optimization_level is 6; use 0 to 5'),
        ({'workspace_mib': -1}, 'workspace_mib is -1; use 0 or more'),
        ({'library': 'lean'}, "library is 'lean'; use auto, classic, rtx"),
    ],
)
def test_options_out_of_range(change, message):
    with pytest.raises(ParameterError, match=message):
        TensorrtOptions(**change)


def test_default_folder(monkeypatch, tmp_path):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    assert default_cache_dir() == tmp_path / 'linknet_ros' / 'engines'
    monkeypatch.setenv('XDG_CACHE_HOME', 'relative')
    monkeypatch.setenv('HOME', str(tmp_path))
    assert default_cache_dir() == tmp_path / '.cache' / 'linknet_ros' / 'engines'


# Real hardware.


@pytest.fixture
def real_gpu():
    try:
        Cuda().use(0)
        open_library('auto')
    except BackendError as error:
        pytest.skip(str(error))


@pytest.mark.gpu
@pytest.mark.parametrize('precision', ['fp32', 'fp16'])
@pytest.mark.parametrize('zero_copy', ['on', 'off'])
def test_on_a_gpu(real_gpu, half_proto, write_model, options, lines, precision, zero_copy):
    options = replace(options, zero_copy=zero_copy)
    model = load_model(write_model(half_proto))
    image = random_image()
    scores = image[:, :, ::-1] * np.array([1, 0.5, 0.25])
    for _ in range(2):  # built, then loaded
        backend = open_it(model, options, precision)
        labels, confidence = backend.infer(image)
        np.testing.assert_array_equal(labels, scores.argmax(2))
        np.testing.assert_array_equal(confidence, scores.max(2).astype(np.uint8))
        assert not [line for line in lines if 'without a CUDA graph' in line]
        backend.close()
    assert sum('this takes minutes' in line for line in lines) == 1


@pytest.mark.gpu
def test_cancelled_on_a_gpu(real_gpu, model, options):
    timer = threading.Timer(2, options.cancel.set)
    timer.start()
    start = time.monotonic()
    try:
        open_it(model, options).close()
    except BuildCancelledError:
        assert time.monotonic() - start < 60
    timer.cancel()
