"""Back ends: right labels, the same from each, and clear errors."""

import importlib.util
import itertools
import subprocess
import sys
import time

import numpy as np
import pytest
from checkout import ROOT
from children import children_that_build
from onnx import helper

from linknet_ros.errors import BackendError, BuildCancelledError
from linknet_ros.inference.backend import BACKENDS
from linknet_ros.inference.int8_twin import int8_overflows
from linknet_ros.inference.model_file import load_model
from linknet_ros.inference.open_backend import open_backend
from linknet_ros.inference.tensorrt.options import TensorrtOptions
from linknet_ros.simulation.street import StreetDrive
from linknet_ros.system.package_files import SHIPPED_INT8_MODEL, SHIPPED_MODEL, package_file


def installed(name):
    return importlib.util.find_spec(name) is not None


def needs(*names):
    missing = [name for name in names if not installed(name)]
    return pytest.mark.skipif(bool(missing), reason=f'not installed: {", ".join(missing)}')


EACH_BACKEND = pytest.mark.parametrize(
    'name', [pytest.param(name, marks=needs(name)) for name in ('openvino', 'onnxruntime')]
)


def colors_image(height, width, *rows):
    """(height, width, 3) of zeros with rows of BGR colours in the top left."""
    image = np.zeros((height, width, 3), np.uint8)
    content = np.array(rows, np.uint8)
    image[: content.shape[0], : content.shape[1]] = content
    return image


def random_image(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def native_bf16():
    if not installed('openvino'):
        return False
    from linknet_ros.inference.openvino_core import openvino_core

    return 'BF16' in openvino_core().get_property('CPU', 'OPTIMIZATION_CAPABILITIES')


# Results.


@EACH_BACKEND
def test_labels_and_confidence_by_hand(model, name):
    image = colors_image(
        32,
        64,
        [[200, 10, 20], [10, 201, 20], [10, 20, 202]],
        [[0, 0, 1], [255, 254, 253], [0, 128, 127]],
    )
    backend = open_backend(model, 32, 64, backend=name, precision='fp32')
    labels, confidence = backend.infer(image)
    assert labels.dtype == confidence.dtype == np.uint8
    assert labels.shape == confidence.shape == (32, 64)
    assert labels[:2, :3].tolist() == [[0, 1, 2], [2, 0, 1]]
    assert confidence[:2, :3].tolist() == [[200, 201, 202], [1, 255, 128]]
    assert not labels[2:].any()
    assert not confidence[2:].any()


@EACH_BACKEND
def test_half_weights_by_hand(half_proto, write_model, name):
    # Logits are R, G / 2, B / 4.
    image = colors_image(32, 32, [[100, 40, 30], [100, 60, 20], [100, 20, 20], [255, 2, 1]])
    backend = open_backend(load_model(write_model(half_proto)), 32, 32, backend=name)
    labels, confidence = backend.infer(image)
    assert labels[0, :4].tolist() == [0, 1, 2, 2]
    assert confidence[0, :4].tolist() == [30, 30, 25, 63]


@needs('openvino', 'onnxruntime')
@pytest.mark.parametrize('size', [(32, 32), (64, 96), (288, 480)])
def test_backends_agree(half_proto, write_model, size):
    model = load_model(write_model(half_proto))
    image = random_image(*size)
    one, other = (
        open_backend(model, *size, backend=name, precision='fp32').infer(image)
        for name in ('openvino', 'onnxruntime')
    )
    np.testing.assert_array_equal(one[0], other[0])
    np.testing.assert_array_equal(one[1], other[1])


@EACH_BACKEND
def test_second_image_gets_its_own_result(model, name):
    backend = open_backend(model, 64, 96, backend=name)
    for seed in range(3):
        image = random_image(64, 96, seed)
        labels, confidence = backend.infer(image)
        np.testing.assert_array_equal(labels, image.argmax(2))
        np.testing.assert_array_equal(confidence, image.max(2))


@EACH_BACKEND
@pytest.mark.parametrize('shape', [(32, 64, 3), (64, 32, 3), (32, 32, 4), (32, 32)])
def test_image_of_another_size(model, name, shape):
    backend = open_backend(model, 32, 32, backend=name)
    with pytest.raises(BackendError, match=r'image is \(.*\), opened for \(32, 32, 3\)'):
        backend.infer(np.zeros(shape, np.uint8))


# Names and precisions.


@pytest.mark.parametrize(
    ('name', 'precision', 'runs'),
    [
        pytest.param('openvino', 'fp32', 'fp32', marks=needs('openvino')),
        pytest.param('openvino', 'auto', None, marks=needs('openvino')),
        pytest.param('onnxruntime', 'fp32', 'fp32', marks=needs('onnxruntime')),
        pytest.param('onnxruntime', 'auto', 'fp32', marks=needs('onnxruntime')),
    ],
)
def test_says_what_runs(model, name, precision, runs):
    backend = open_backend(model, 32, 32, backend=name, precision=precision, threads=1)
    expected = runs or ('bf16' if native_bf16() else 'fp32')
    assert (backend.name, backend.precision) == (name, expected)
    backend.close()


@needs('openvino', 'onnxruntime')
@pytest.mark.parametrize(
    ('name', 'precision', 'message'),
    [
        ('onnxruntime', 'bf16', 'computes in fp32 only; use precision auto or fp32, or for bf16'),
        ('onnxruntime', 'fp16', 'computes in fp32 only; use precision auto or fp32, or for fp16'),
        ('openvino', 'fp16', 'computes in fp32 or bf16; use precision auto, or for fp16'),
        ('openvino', 'int8', r'is made for fp32, not int8; use models/linknet_camvid_int8\.onnx'),
        ('onnxruntime', 'int8', 'is made for fp32, not int8; use models/linknet_camvid_int8'),
        ('torch', 'auto', "unknown backend 'torch'; use auto, tensorrt, openvino, onnxruntime"),
        ('auto', 'int3', "unknown precision 'int3'; use auto, fp32, fp16, bf16, int8"),
    ],
)
def test_what_a_back_end_cannot_do(model, name, precision, message):
    with pytest.raises(BackendError, match=message):
        open_backend(model, 32, 32, backend=name, precision=precision)


@needs('openvino')
def test_openvino_bf16(half_proto, write_model):
    model = load_model(write_model(half_proto))
    if not native_bf16():
        pytest.skip('needs a processor with bf16 arithmetic')
    backend = open_backend(model, 64, 96, backend='openvino', precision='bf16')
    assert backend.precision == 'bf16'
    image = random_image(64, 96)
    expected = (image[:, :, ::-1] * np.array([1, 0.5, 0.25])).argmax(2)
    assert (backend.infer(image)[0] == expected).mean() >= 0.995


@needs('openvino')
def test_openvino_bf16_refused_where_the_processor_has_none(model, monkeypatch):
    from linknet_ros.inference import openvino_backend

    class Core:
        def get_property(self, device, name):
            assert (device, name) == ('CPU', 'OPTIMIZATION_CAPABILITIES')
            return ['FP32', 'INT8']

    monkeypatch.setattr(openvino_backend, 'openvino_core', Core)
    with pytest.raises(BackendError, match=r'bf16 needs a processor with .* use precision auto'):
        open_backend(model, 32, 32, backend='openvino', precision='bf16')


#: Two models that overlap, as when a node goes over from one to another, and then a signal.
EXCHANGE = """
import os, signal, sys
from linknet_ros.inference.model_file import load_model
from linknet_ros.inference.open_backend import open_backend
signal.signal(signal.SIGINT, lambda *_: print('handled', flush=True))
model = load_model(sys.argv[1])
first = open_backend(model, 64, 96, backend='openvino')
second = open_backend(model, 64, 96, backend='openvino')
first.close()
del first
second.close()
del second
os.kill(os.getpid(), signal.SIGINT)
"""


@needs('openvino')
def test_a_signal_after_an_exchange_of_models():
    command = [sys.executable, '-c', EXCHANGE, package_file(SHIPPED_MODEL)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, 'handled\n'), done.stderr


# int8 and fp16 files.


@pytest.fixture
def int8_model(int8_proto, write_model):
    return load_model(write_model(int8_proto, 'int8.onnx'))


@EACH_BACKEND
@pytest.mark.parametrize('precision', ['auto', 'int8'])
def test_int8_by_hand(int8_model, int8_results, name, precision):
    backend = open_backend(int8_model, 64, 96, backend=name, precision=precision)
    # ONNX Runtime rounds to int8 but multiplies in float, and must not claim more.
    in_int8 = name == 'openvino' and not int8_overflows()
    assert backend.precision == ('int8' if in_int8 else 'fp32')
    image = random_image(64, 96)
    labels, highest = int8_results(image)
    found, confidence = backend.infer(image)
    np.testing.assert_array_equal(confidence, np.rint(highest))
    # 127 * (0.5 / 127) is 0.5 but for the last bit, which decides between logits that are equal.
    assert (found == labels).mean() > 0.98


@needs('openvino')
def test_int8_that_overflows_runs_in_float(tmp_path, monkeypatch):
    """Without VNNI two products are added up in 16 bits: a bright sky would be a building."""
    (tmp_path / 'cpuinfo').write_text('flags\t\t: fpu sse4_2 avx2\n')
    monkeypatch.setattr('linknet_ros.inference.int8_twin._CPUINFO', tmp_path / 'cpuinfo')
    monkeypatch.setattr('platform.machine', lambda: 'x86_64')
    said = []
    model = load_model(package_file(SHIPPED_INT8_MODEL))
    size = 320, 480
    backend = open_backend(
        model, *size, backend='openvino', precision='int8', on_choice=said.append
    )
    assert backend.precision == 'fp32'
    assert said == [
        'linknet_camvid_int8.onnx runs in fp32, no faster than the file it was made from: '
        'this processor has no int8 convolutions that are exact'
    ]
    frame = np.ascontiguousarray(StreetDrive().frame(0.0).bgr[:320])
    labels = backend.infer(frame)[0].copy()
    fp32 = open_backend(
        load_model(package_file(SHIPPED_MODEL)), *size, backend='openvino', precision='fp32'
    )
    assert (labels == fp32.infer(frame)[0]).mean() > 0.985  # 0.961 where sums overflow


@needs('openvino')
def test_openvino_says_when_int8_is_not_what_runs(half_proto, with_metadata, write_model):
    """A file that claims int8 without Q/DQ stands for a processor without int8 convolutions."""
    model = load_model(write_model(with_metadata(half_proto, precision='int8')))
    assert open_backend(model, 64, 96, backend='openvino', precision='int8').precision == 'fp32'


@EACH_BACKEND
def test_fp16_file_runs_in_more_than_fp16(fp16_proto, write_model, name):
    model = load_model(write_model(fp16_proto))
    backend = open_backend(model, 64, 96, backend=name, precision='fp32')
    assert backend.precision == 'fp32'
    image = random_image(64, 96)
    expected = (image[:, :, ::-1] * np.array([1, 0.5, 0.25])).argmax(2)
    np.testing.assert_array_equal(backend.infer(image)[0], expected)


# What cannot be opened.


def hide(monkeypatch, name):
    """Make a library look not installed, and what imports it not imported yet."""
    monkeypatch.setitem(sys.modules, name, None)
    for module in (f'{name}_backend', f'{name}_core'):
        monkeypatch.delitem(sys.modules, f'linknet_ros.inference.{module}', raising=False)


@pytest.mark.parametrize('name', ['openvino', 'onnxruntime'])
def test_missing_library(model, monkeypatch, name):
    hide(monkeypatch, name)
    message = f"backend '{name}' cannot be imported .*; pip install {name}, or choose another"
    with pytest.raises(BackendError, match=message):
        open_backend(model, 32, 32, backend=name)
    hide(monkeypatch, 'tensorrt')
    (other,) = {'openvino', 'onnxruntime'} - {name}
    assert open_backend(model, 32, 32).name == other


def test_auto_reports_why_each_backend_failed(model, monkeypatch):
    for name in BACKENDS:
        hide(monkeypatch, name)
    message = "no backend works: .*'openvino' cannot be .*; .*'onnxruntime' cannot be imported"
    with pytest.raises(BackendError, match=message):
        open_backend(model, 32, 32)


@needs('onnxruntime')
def test_auto_reports_each_step_down(model, fake_gpu, monkeypatch):
    fake_gpu(devices=[])
    hide(monkeypatch, 'openvino')
    reasons = []
    backend = open_backend(model, 32, 32, on_step_down=reasons.append)
    assert backend.name == 'onnxruntime'
    tensorrt, openvino = reasons
    assert 'cudaErrorInsufficientDriver (35); the driver is missing or older' in tensorrt
    assert "backend 'openvino' cannot be imported" in openvino


def test_auto_prefers_tensorrt_on_a_gpu(model, fake_gpu, tmp_path):
    fake_gpu()
    reasons = []
    options = TensorrtOptions(cache_dir=tmp_path / 'engines')
    backend = open_backend(model, 32, 32, tensorrt=options, on_step_down=reasons.append)
    assert (backend.name, backend.precision, reasons) == ('tensorrt', 'fp16', [])
    backend.close()


def test_auto_ends_with_a_cancelled_build(model, fake_gpu, tmp_path):
    fake_gpu(build='hangs')
    reasons = []
    options = TensorrtOptions(cache_dir=tmp_path / 'engines')
    options.cancel.set()
    with pytest.raises(BuildCancelledError):
        open_backend(model, 32, 32, tensorrt=options, on_step_down=reasons.append)
    assert reasons == []


# An engine that has to be built while the node serves.


def infer_until(backend, condition):
    """Infer, with right labels each time, until something is so."""
    deadline = time.monotonic() + 300
    for seed in itertools.count():
        image = random_image(32, 32, seed)
        np.testing.assert_array_equal(backend.infer(image)[0], image.argmax(2))
        if condition():
            return
        assert time.monotonic() < deadline
        time.sleep(0.02)


@needs('openvino')
@pytest.mark.parametrize('backend', ['auto', 'tensorrt'])
@pytest.mark.parametrize('precision', ['auto', 'fp16'])
def test_processor_serves_until_the_engine_is_built(model, fake_gpu, tmp_path, backend, precision):
    state = fake_gpu()
    lines, reasons = [], []
    options = TensorrtOptions(cache_dir=tmp_path / 'engines', report=lines.append)
    opened = open_backend(
        model,
        32,
        32,
        backend=backend,
        precision=precision,
        tensorrt=options,
        wait_for_engine=False,
        on_step_down=reasons.append,
    )
    assert opened.name == 'openvino'
    assert lines == []
    infer_until(opened, lambda: opened.name == 'tensorrt')
    assert opened.precision == 'fp16'
    assert lines[-1] == 'tensorrt takes over, in fp16'
    assert any(line.startswith('building an engine: ') for line in lines)
    assert reasons == []
    opened.close()
    assert state.leaks() == {}


def test_stored_engine_serves_at_once(model, fake_gpu, tmp_path):
    fake_gpu()
    options = TensorrtOptions(cache_dir=tmp_path / 'engines')
    open_backend(model, 32, 32, backend='tensorrt', tensorrt=options).close()
    again = open_backend(model, 32, 32, tensorrt=options, wait_for_engine=False)
    assert again.name == 'tensorrt'
    again.close()


@needs('openvino')
def test_processor_goes_on_where_the_build_fails(model, fake_gpu, tmp_path):
    fake_gpu(build='fails')
    reasons = []
    options = TensorrtOptions(cache_dir=tmp_path / 'engines')
    opened = open_backend(
        model, 32, 32, tensorrt=options, wait_for_engine=False, on_step_down=reasons.append
    )
    infer_until(opened, lambda: reasons)
    assert len(reasons) == 1
    assert 'TensorRT' in reasons[0]
    assert reasons[0].endswith('; openvino goes on')
    image = random_image(32, 32, 1)
    np.testing.assert_array_equal(opened.infer(image)[0], image.argmax(2))
    opened.close()


@needs('openvino')
def test_closing_ends_the_build(model, fake_gpu, tmp_path):
    fake_gpu(build='hangs')
    lines = []
    options = TensorrtOptions(cache_dir=tmp_path / 'engines', report=lines.append)
    opened = open_backend(model, 32, 32, tensorrt=options, wait_for_engine=False)
    infer_until(opened, lambda: any('building an engine: ' in line for line in lines))
    opened.close()
    assert children_that_build() == []


def test_waits_where_no_processor_back_end_is_installed(model, fake_gpu, tmp_path, monkeypatch):
    fake_gpu()
    for name in ('openvino', 'onnxruntime'):
        hide(monkeypatch, name)
    lines = []
    options = TensorrtOptions(cache_dir=tmp_path / 'engines', report=lines.append)
    opened = open_backend(model, 32, 32, tensorrt=options, wait_for_engine=False)
    assert opened.name == 'tensorrt'
    assert any(line.endswith('on the processor; waiting for the engine') for line in lines)
    opened.close()


@needs('openvino', 'onnxruntime')
@EACH_BACKEND
def test_graph_with_an_unknown_operator(half_proto, write_model, name, monkeypatch):
    # As one of a newer ONNX than the back end's.
    monkeypatch.setattr('linknet_ros.inference.onnx_graph.check_contents', lambda *_: None)
    half_proto.opset_import.append(helper.make_opsetid('nowhere', 1))
    conv = next(node for node in half_proto.graph.node if node.op_type == 'Conv')
    conv.domain = 'nowhere'
    model = load_model(write_model(half_proto))
    with pytest.raises(BackendError, match=r'cannot load .*model\.onnx: .+'):
        open_backend(model, 32, 32, backend=name)
