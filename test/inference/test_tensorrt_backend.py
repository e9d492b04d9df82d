"""The TensorRT back end on stand-ins for eight versions of TensorRT and for CUDA.

The stand-ins know which names each version has and CUDA's rules; they cannot show what real
TensorRT does. The tests marked `gpu` do, where there is a GPU.
"""

import json
import sys
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from checkout import DATA
from onnx import helper

from linknet_ros.errors import BackendError, BuildCancelledError, ModelError, ParameterError
from linknet_ros.inference.model_file import load_model
from linknet_ros.inference.open_backend import open_backend
from linknet_ros.inference.tensorrt import backend as tensorrt_backend
from linknet_ros.inference.tensorrt.backend import TensorrtBackend
from linknet_ros.inference.tensorrt.build import BuildRequest, build_plan
from linknet_ros.inference.tensorrt.cache import EngineCache
from linknet_ros.inference.tensorrt.cuda import Cuda
from linknet_ros.inference.tensorrt.library import engine_precision, log_of, open_library
from linknet_ros.inference.tensorrt.options import TensorrtOptions, default_cache_dir

API = json.loads((DATA / 'tensorrt_api.json').read_text())
EACH_VERSION = pytest.mark.parametrize('version', API['versions'])

ORIN = {'name': 'Fake Orin', 'sm': 8, 'cc': [8, 7], 'integrated': 0, 'mib': 64}


@pytest.fixture
def lines():
    """What was told."""
    return []


@pytest.fixture
def options(tmp_path, lines):
    return TensorrtOptions(cache_dir=tmp_path / 'engines', report=lines.append)


@pytest.fixture
def built(monkeypatch, tmp_path):
    """Builds that took place, in this process instead of a child: only the border is left out."""
    requests = []

    def build_here(request, tell, cancel):
        requests.append(request)
        Cuda().use(request.device)
        request = replace(request, folder=str(tmp_path))
        return build_plan(open_library(), request, cancel, tell)

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
    if version != '8.6.1':
        assert lines[-1] == 'building an engine: Building 100 %'


@EACH_VERSION
def test_second_start_builds_nothing(model, fake_gpu, options, built, lines, version):
    fake_gpu(version)
    open_it(model, options).close()
    state = fake_gpu(version)
    lines.clear()
    backend = open_it(model, options)
    check(backend)
    backend.close()
    assert (len(built), lines, state.leaks()) == (1, [], {})


@EACH_VERSION
@pytest.mark.parametrize('damage', ['truncated', 'empty', 'flipped', 'pointer'])
def test_damaged_engine_is_built_again(model, fake_gpu, options, built, lines, version, damage):
    fake_gpu(version)
    first = open_it(model, options)
    first.close()
    data = first.engine_path.read_bytes()
    first.engine_path.write_bytes(
        {
            'truncated': data[:-7],
            'empty': b'',
            'flipped': data[:-1] + bytes([data[-1] ^ 1]),
            'pointer': b'version https://git-lfs.github.com/spec/v1\n',
        }[damage]
    )
    lines.clear()
    again = open_it(model, options)
    check(again)
    again.close()
    assert len(built) == 2
    assert sum('is not used' in line for line in lines) == 1
    assert again.engine_path.read_bytes() == data


@EACH_VERSION
def test_other_version_builds_its_own(model, fake_gpu, options, built, version):
    other = next(name for name in API['versions'] if name != version)
    paths = []
    for name in (other, version, other):
        fake_gpu(name)
        backend = open_it(model, options)
        check(backend)
        backend.close()
        paths.append(backend.engine_path)
    assert len(built) == 2
    assert paths[0] == paths[2] != paths[1]


def plant(model, fake_gpu, options, version, plan):
    """A plan under the key of a version, as if an upgrade had left the version's number alone."""
    fake_gpu(version)
    backend = open_it(model, options)
    backend.close()
    cache = EngineCache(options.cache_dir, options.report)
    assert cache.store(backend._key(), plan)
    return backend.engine_path


def plan_of(path):
    return path.read_bytes().split(b'\n', 2)[2]


@EACH_VERSION
@pytest.mark.parametrize(
    ('name', 'cc', 'reason'),
    [
        ('Fake Orin', [8, 7], 'not compatible with this version of TensorRT'),
        ('Other Orin', [8, 7], 'it was built on another model of GPU'),
        ('Fake Thor', [11, 0], 'generated on an incompatible device'),
    ],
)
def test_engine_that_does_not_load_is_built_again(
    model, fake_gpu, options, built, lines, tmp_path, version, name, cc, reason
):
    foreign = version if name != 'Fake Orin' else next(v for v in API['versions'] if v != version)
    fake_gpu(foreign, devices=[ORIN | {'name': name, 'cc': cc}])
    elsewhere = open_it(model, replace(options, cache_dir=tmp_path / 'elsewhere'))
    elsewhere.close()
    path = plant(model, fake_gpu, options, version, plan_of(elsewhere.engine_path))
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


@EACH_VERSION
@pytest.mark.parametrize(
    'other', [{'name': 'Other Orin'}, {'sm': 16}, {'cc': [8, 6]}], ids=['name', 'sm', 'cc']
)
def test_other_gpu_builds_its_own(model, fake_gpu, options, built, version, other):
    for device in (ORIN, ORIN | other, ORIN):
        fake_gpu(version, devices=[device])
        backend = open_it(model, options)
        check(backend)
        backend.close()
    assert len(built) == 2


@pytest.mark.parametrize(
    'change', [{'workspace_mib': 256}, {'optimization_level': 1}], ids=lambda c: next(iter(c))
)
def test_other_options_build_their_own(model, fake_gpu, options, built, change):
    fake_gpu()
    open_it(model, options).close()
    open_it(model, replace(options, **change)).close()
    open_it(model, options, 'fp32').close()
    TensorrtBackend(model, 64, 64, 'auto', 0, options).close()
    assert len(built) == 4


def test_rebuild(model, fake_gpu, options, built):
    fake_gpu()
    for _ in range(2):
        open_it(model, replace(options, rebuild=True)).close()
    assert len(built) == 2


def test_other_model_builds_its_own(model, half_proto, write_model, fake_gpu, options, built):
    fake_gpu()
    open_it(model, options).close()
    open_it(load_model(write_model(half_proto, 'half.onnx')), options).close()
    assert len(built) == 2


def test_folder_that_cannot_be_written(model, fake_gpu, options, built, lines, tmp_path):
    (tmp_path / 'file').write_text('in the way')
    fake_gpu()
    backend = open_it(model, replace(options, cache_dir=tmp_path / 'file' / 'engines'))
    check(backend)
    backend.close()
    assert not backend.kept
    assert any('so every start builds' in line and 'writable' in line for line in lines)


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
    head = head_of(backend.engine_path)
    major = int(version.split('.')[0])
    flags = [] if precision == 'fp32' else (['TF32'] if major >= 11 else ['FP16', 'TF32'])
    assert (head['flags'], head['half']) == (flags, precision == 'fp16')


@EACH_VERSION
@pytest.mark.parametrize('precision', ['auto', 'int8'])
def test_int8(int8_model, int8_results, fake_gpu, options, built, lines, version, precision):
    """int8 by its Q/DQ nodes, and float16 for the rest: by flag, from 11 on in the file."""
    fake_gpu(version)
    backend = open_it(int8_model, options, precision)
    assert backend.precision == 'int8'
    image = random_image()
    labels, _ = backend.infer(image)
    assert (labels == int8_results(image)[0]).mean() > 0.98
    backend.close()
    head = head_of(backend.engine_path)
    major = int(version.split('.')[0])
    assert head['flags'] == (['TF32'] if major >= 11 else ['FP16', 'INT8', 'TF32'])
    assert (head['int8'], head['half']) == (True, True)
    assert [request.precision for request in built] == ['int8']
    assert 'in int8 on Fake Orin' in lines[0]


@EACH_VERSION
def test_stand_in_wants_flag_and_nodes_together(int8_model, fake_gpu, options, version, tmp_path):
    """Else the test above would prove nothing."""
    fake_gpu(version)
    Cuda().use(0)
    library = open_library()
    request = BuildRequest(
        *(str(int8_model.path), int8_model.sha256, 32, 64, 'fp16', 0, 64, 3, str(tmp_path))
    )
    if library.major >= 11:
        assert build_plan(library, request, threading.Event(), print)
        return
    with pytest.raises(BackendError, match=r'Q/DQ nodes and BuilderFlag\.INT8 must go together'):
        build_plan(library, request, threading.Event(), print)


def test_int8_that_the_engine_does_not_have(int8_model, fake_gpu, options, built):
    fake_gpu(int8=False)
    assert open_it(int8_model, options).precision == 'fp16'


@pytest.mark.parametrize('precision', ['fp32', 'fp16', 'bf16'])
def test_int8_file_in_something_else(int8_model, fake_gpu, options, precision):
    fake_gpu()
    with pytest.raises(BackendError, match=f'is made for int8, not {precision}; use precision au'):
        open_it(int8_model, options, precision)


def test_int8_of_another_file(model, fake_gpu, options):
    fake_gpu()
    with pytest.raises(BackendError, match=r'is made for fp32, not int8; use models/linknet_camv'):
        open_it(model, options, 'int8')


@EACH_VERSION
def test_fp16_file(fp16_proto, write_model, fake_gpu, options, built, version):
    model = load_model(write_model(fp16_proto))
    fake_gpu(version)
    with pytest.raises(BackendError, match='is made for fp16, not fp32; use precision auto or fp'):
        open_it(model, options, 'fp32')
    backend = open_it(model, options)
    image = random_image()
    expected = (image[:, :, ::-1] * np.array([1, 0.5, 0.25])).argmax(2)
    np.testing.assert_array_equal(backend.infer(image)[0], expected)
    head = head_of(backend.engine_path)
    major = int(version.split('.')[0])
    assert head['flags'] == (['TF32'] if major >= 11 else ['FP16', 'TF32'])
    assert (backend.precision, head['half']) == ('fp16', True)


def test_precision_is_what_the_engine_has(model, fake_gpu, options, built):
    fake_gpu(half=False)
    backend = open_it(model, options, 'fp16')
    assert backend.precision == 'fp32'


@pytest.mark.parametrize(
    ('text', 'precision'),
    [
        (
            '{"Layers": [{"Outputs": [{"Format/Datatype": "Row major linear FP16 format"}]}]}',
            'fp16',
        ),
        ('{"Layers": [{"Outputs": [{"Format/Datatype": "Row major linear FP32"}]}]}', 'fp32'),
        (
            '{"Layers": [{"DataType": "Half"}, {"DataType": "Float"}, {"DataType": "Float"}]}',
            'fp32',
        ),
        ('{"Layers": [{"Name": "Half", "DataType": "UInt8"}]}', 'asked for'),
        (
            '{"Layers": [{"Outputs": [{"Format/Datatype": "Channel major INT8 format"}]}, '
            '{"DataType": "Int8"}, {"DataType": "Half"}, {"DataType": "UInt8"}]}',
            'int8',
        ),
        ('{"Layers": [{"DataType": "Int8"}, {"DataType": "Half"}, {"DataType": "FP16"}]}', 'fp16'),
        ('not JSON', 'asked for'),
        (None, 'asked for'),
    ],
)
def test_precision_in_the_words_of_the_inspector(fake_gpu, text, precision):
    """Words as documentation and issues quote them; not read off hardware."""
    fake_gpu()
    import tensorrt

    class Engine:
        def create_engine_inspector(self):
            return self if text is not None else None

        def get_engine_information(self, form):
            return text

    assert engine_precision(tensorrt, Engine(), 'asked for') == precision


@pytest.mark.parametrize(
    ('version', 'missing'),
    [
        ('8.6.1', ['IProgressMonitor', 'NetworkDefinitionCreationFlag.STRONGLY_TYPED']),
        ('10.3.0', ['EngineStat', 'Builder.build_engine_with_config']),
        ('11.0.0.114', ['BuilderFlag.FP16', 'NetworkDefinitionCreationFlag.EXPLICIT_BATCH']),
    ],
)
def test_stand_in_has_what_the_version_has(fake_gpu, version, missing):
    fake_gpu(version)
    import tensorrt

    assert tensorrt.BuilderFlag.TF32
    for name in missing:
        kind, _, member = name.partition('.')
        if not member:
            assert not hasattr(tensorrt, kind)
        elif kind == 'Builder':
            assert not hasattr(tensorrt.Builder(log_of(tensorrt)), member)
        else:
            assert not hasattr(getattr(tensorrt, kind), member)


def test_no_bf16(model, fake_gpu, options):
    fake_gpu()
    with pytest.raises(BackendError, match='fp16 or fp32, not bf16; use precision auto'):
        open_it(model, options, 'bf16')


def test_weight_too_large_for_fp16(channel_proto, write_model, fake_gpu, options, built):
    node = helper.make_node('Constant', [], ['big'], value=helper.make_tensor('', 1, [], [1e6]))
    channel_proto.graph.node.insert(0, node)
    model = load_model(write_model(channel_proto))
    fake_gpu('11.4.0.106')
    with pytest.raises(ModelError, match="weight 'big' does not fit into float16; use"):
        open_it(model, options)


# Cancelled, died, failed.


@EACH_VERSION
def test_cancelled_build(model, fake_gpu, options, version):
    fake_gpu(version, build='hangs')
    told = threading.Event()

    def tell(line):
        if 'MiB are free' in line:
            told.set()

    def cancel():
        told.wait(60)
        options.cancel.set()

    threading.Thread(target=cancel).start()
    with pytest.raises(BuildCancelledError, match='was cancelled'):
        open_backend(model, 32, 64, backend='tensorrt', tensorrt=replace(options, report=tell))
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


@EACH_VERSION
def test_operator_that_it_does_not_know(
    half_proto, write_model, fake_gpu, options, built, version, monkeypatch
):
    fake_gpu(version, unknown='Conv')
    where = r'node \d' if version == '8.6.1' else r'Conv unnamed \(node \d\)'
    message = rf'cannot load .*model\.onnx: {where}: No importer registered for op: Conv$'
    with pytest.raises(BackendError, match=message):
        open_it(load_model(write_model(half_proto)), options)


def test_engine_that_does_not_load_although_it_is_new(model, fake_gpu, options, built):
    fake_gpu(build='garbage')
    with pytest.raises(BackendError, match=r'engine just built does not load: .*magicTag'):
        open_it(model, options)
    assert not list(options.cache_dir.glob('*.engine'))


def test_model_changed_after_loading(model, fake_gpu, options):
    fake_gpu()
    model.path.write_bytes(b'something else')
    with pytest.raises(BackendError, match='not a readable ONNX file'):
        open_it(model, options)


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


@EACH_VERSION
@pytest.mark.parametrize(
    'call', ['cudaStreamBeginCapture', 'cudaStreamEndCapture', 'cudaGraphInstantiateWithFlags']
)
def test_runs_without_a_graph_that_cuda_refuses(
    model, fake_gpu, options, built, lines, version, call
):
    state = fake_gpu(version, fail={call: [901, 0]})
    backend = open_it(model, options)
    check(backend)
    assert f'CUDA: {call} failed with cudaErrorStreamCaptureInvalidated (901)' in lines[-1]
    backend.close()
    # A stream whose recording cannot be ended is stuck in the stand-in, too; it was ended.
    assert state.leaks() == {}


def test_graph_that_does_not_launch(model, fake_gpu, options, built, lines):
    state = fake_gpu(fail={'cudaGraphLaunch': [1, 0]})
    backend = open_it(model, options)
    check(backend)
    backend.close()
    assert 'cudaGraphLaunch failed' in lines[-1]
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


@EACH_VERSION
@pytest.mark.parametrize('call', ['cudaMalloc', 'cudaHostAlloc'])
@pytest.mark.parametrize('before', [0, 1, 2])
def test_out_of_memory(model, fake_gpu, options, built, version, call, before):
    state = fake_gpu(version, fail={call: [2, before]})
    message = (
        rf'CUDA: {call} failed with cudaErrorMemoryAllocation \(2\); \d+ of 64 MiB are free; '
        'stop other programs on the GPU or use a smaller network size'
    )
    with pytest.raises(BackendError, match=message):
        open_it(model, options)
    assert state.leaks() == {}


def test_memory_that_is_really_used_up(model, fake_gpu, options, built):
    state = fake_gpu(devices=[ORIN | {'mib': 0.01}])
    with pytest.raises(BackendError, match=r'cudaErrorMemoryAllocation \(2\); 0 of 0 MiB are fre'):
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


def test_used_from_any_thread(model, fake_gpu, options, built):
    fake_gpu()
    open_it(model, options).close()
    state = fake_gpu()
    backend = open_it(model, options)
    threads = [threading.Thread(target=check, args=(backend, 3)) for _ in range(2)]
    for thread in threads:
        thread.start()
        thread.join()
    backend.close()
    assert len(state.threads) == 1


def test_second_gpu(model, fake_gpu, options, built):
    state = fake_gpu(devices=[ORIN, ORIN | {'name': 'Second'}])
    backend = open_it(model, replace(options, device=1))
    assert {device for *_, device in state.memory.values()} == {1}
    check(backend)
    backend.close()
    assert head_of(backend.engine_path)['name'] == 'Second'


@pytest.mark.parametrize('shape', [(64, 32, 3), (32, 64, 4), (32, 64)])
def test_image_of_another_size(model, fake_gpu, options, built, shape):
    fake_gpu()
    backend = open_it(model, options)
    with pytest.raises(BackendError, match=r'image is \(.*\), opened for \(32, 64, 3\)'):
        backend.infer(np.zeros(shape, np.uint8))
    with pytest.raises(BackendError, match='image is float32, expected uint8'):
        backend.infer(np.zeros((32, 64, 3), np.float32))


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


def test_gpu_that_is_not_there(model, fake_gpu, options):
    fake_gpu()
    with pytest.raises(BackendError, match='there is no GPU 3, 1 are visible'):
        open_it(model, replace(options, device=3))


@pytest.mark.parametrize('runtime', ['null', 'shell'])
def test_runtime_that_must_not_be_touched(model, fake_gpu, options, built, runtime):
    fake_gpu()
    open_it(model, options).close()
    fake_gpu(runtime=runtime)
    message = 'does not start: CUDA initialization failure with error: 35; is the driver new'
    with pytest.raises(BackendError, match=message):
        open_it(model, options)


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
    monkeypatch.setattr('linknet_ros.system.nvidia_driver.LIBRARY', 'libno_such_driver.so.1')
    if not bindings:
        for name in ('cuda.bindings.runtime', 'cuda.cudart'):
            monkeypatch.setitem(sys.modules, name, None)
    message = (
        r'^backend tensorrt needs an NVIDIA GPU, and no NVIDIA driver is installed here \(lib'
    )
    with pytest.raises(BackendError, match=message):
        open_it(model, options)


def test_no_tensorrt(model, fake_gpu, options, monkeypatch):
    fake_gpu()
    monkeypatch.setitem(sys.modules, 'tensorrt', None)
    with pytest.raises(BackendError, match=r"'tensorrt' cannot be imported .*python3-libnvinfer"):
        open_it(model, options)


def test_tensorrt_too_old(model, fake_gpu, options, monkeypatch):
    fake_gpu('8.6.1')
    import tensorrt

    monkeypatch.setattr(tensorrt, '__version__', '8.5.2')
    with pytest.raises(BackendError, match=r'TensorRT 8\.5\.2 is too old; 8\.6 or newer'):
        open_it(model, options)


def test_version_of_the_library_has_four_parts(model, fake_gpu, options, monkeypatch):
    fake_gpu()

    class Library:
        def __init__(self, name):
            assert name == 'libnvinfer.so.10'

        getInferLibMajorVersion = staticmethod(lambda: 10)  # noqa: N815
        getInferLibMinorVersion = staticmethod(lambda: 3)  # noqa: N815
        getInferLibPatchVersion = staticmethod(lambda: 0)  # noqa: N815
        getInferLibBuildVersion = staticmethod(lambda: 30)  # noqa: N815

    monkeypatch.setattr('ctypes.CDLL', Library)
    assert open_library().version == '10.3.0.30'


def test_version_where_the_library_does_not_tell(fake_gpu):
    fake_gpu('8.6.1')
    assert open_library().version == '8.6.1'


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'zero_copy': 'maybe'}, "zero_copy is 'maybe'; use auto, on, off"),
        ({'optimization_level': 6}, 'optimization_level is 6; use 0 to 5'),
        ({'workspace_mib': 0}, 'workspace_mib is 0; use 1 or more'),
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
        open_library()
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
