"""The doctor's checks without ROS, each with its failure made real in the child process."""

import os
import re
import sys

import pytest
from checkout import FAKES

from linknet_ros.doctor import checks as module
from linknet_ros.doctor.checks import backends, cuda, model_file, numpy, onnx, opencv, python
from linknet_ros.doctor.finding import Finding, ok
from linknet_ros.inference.backend import BACKENDS
from linknet_ros.system.child_process import Outcome

#: What a library built for NumPy 1 does under NumPy 2.
OLD_ABI = """
import sys
sys.stderr.write('RuntimeError: module compiled against ABI version 0x1000009 but this version '
                 'of numpy is 0x2000000')
raise ImportError('numpy.core.multiarray failed to import')
"""
DIES = 'import os, signal; os.kill(os.getpid(), signal.SIGSEGV)'
ABOVE = 'mend what is broken above'

#: What probes have said to `seen`, by their words and what stands in for what they import.
ANSWERS = {}


@pytest.fixture
def no_tensorrt(missing):
    """Neither of the two libraries is installed: `no_tensorrt()`."""
    names = ('tensorrt', 'tensorrt_rtx', 'tensorrt_rtx_bindings')
    return lambda: [missing(name) for name in names]


def test_lines():
    assert str(ok('NumPy', '2.1.0')) == 'ok       NumPy          2.1.0'
    assert str(Finding('onnx', 'error', 'not installed', 'pip install onnx')).splitlines() == [
        'error    onnx           not installed',
        '                         fix: pip install onnx',
    ]


def test_python(monkeypatch):
    assert python() == ok('Python', f'{sys.version.split()[0]}, {sys.executable}')
    monkeypatch.setattr(sys, 'version_info', (3, 8, 10))
    assert (python().state, python().fix) == ('error', 'use Python 3.10 or newer')


@pytest.mark.parametrize('check', [numpy, opencv, onnx])
def test_library_that_works(check):
    finding = check()
    assert finding.state == 'ok'
    assert re.fullmatch(r'\d+\.\d+\.\d+.*', finding.text)


@pytest.mark.parametrize(
    ('check', 'name', 'source', 'text', 'fix'),
    [
        (numpy, 'numpy', None, 'not installed', "pip install 'numpy<2'"),
        (opencv, 'cv2', None, 'not installed', 'pip install opencv-python-headless'),
        (onnx, 'onnx', None, 'not installed', 'pip install onnx'),
        (
            opencv,
            'cv2',
            OLD_ABI,
            'was built for another NumPy than the one that is installed '
            '(numpy.core.multiarray failed to import)',
            "pip install 'numpy<2'",
        ),
        (
            opencv,
            'cv2',
            'raise ImportError("libGL.so.1: cannot open shared object file")',
            'does not work: libGL.so.1: cannot open shared object file',
            'pip install opencv-python-headless in place of opencv-python, or '
            'sudo apt install libgl1',
        ),
        (onnx, 'onnx', 'raise RuntimeError("two")', 'does not work: two', 'pip install onnx'),
        (
            onnx,
            'onnx',
            DIES,
            'does not work: the process died of SIGSEGV',
            'pip install onnx',
        ),
        (
            numpy,
            'numpy',
            '__version__ = "1.0"',
            "does not work: module 'numpy' has no attribute 'eye'",
            "pip install 'numpy<2'",
        ),
    ],
)
def test_library_that_fails(stand_in, missing, check, name, source, text, fix):
    missing(name) if source is None else stand_in(name, source)
    finding = check()
    assert (finding.state, finding.text, finding.fix) == ('error', text, fix)


def test_library_that_hangs(stand_in, monkeypatch):
    monkeypatch.setattr(module, '_IMPORT_SECONDS', 2)
    stand_in('onnx', 'import time; time.sleep(600)')
    finding = onnx()
    assert finding.text == 'does not work: no answer within 2 s'
    assert '-c "import onnx"` and see where it hangs; pip install onnx' in finding.fix


# The GPU.


def test_gpu(cuda_library):
    cuda_library('0')
    text = 'driver for CUDA 12.6: Orin (compute capability 8.7, 8000 MB)'
    assert cuda() == (ok('CUDA', text), True)


@pytest.mark.parametrize(
    ('init', 'trace', 'state', 'text', 'fix'),
    [
        (None, False, 'ok', 'no NVIDIA driver; the node runs on the processor', ''),
        (None, True, 'warning', 'there is an NVIDIA GPU', 'a container with `--gpus all`'),
        ('100', False, 'ok', 'a driver, but no GPU', ''),
        ('100', True, 'warning', 'cuInit fails with CUDA error 100', '`nvidia-smi` must list'),
        ('803', True, 'warning', 'cuInit fails with CUDA error 803', 'restart the machine'),
        ('34', False, 'warning', 'cuInit fails with CUDA error 34', 'LD_LIBRARY_PATH'),
        ('999', True, 'warning', 'cuInit fails with CUDA error 999', '`nvidia-smi` works'),
        ('raise(SIGSEGV)', True, 'warning', 'the process died of SIGSEGV', '`nvidia-smi` works'),
    ],
)
def test_no_gpu(cuda_library, tmp_path, monkeypatch, init, trace, state, text, fix):
    if init is None:
        message = 'libcuda.so.1: cannot open shared object file: x'
        outcome = Outcome(failure='OSError', message=message)
        monkeypatch.setattr(module, 'probe', lambda name: outcome)
    else:
        cuda_library(init)
    monkeypatch.setattr(module, '_GPU_TRACES', (str(tmp_path if trace else tmp_path / 'none'),))
    finding, gpu = cuda()
    assert (gpu, finding.state, bool(finding.fix)) == (False, state, state != 'ok')
    assert text in finding.text
    assert fix in finding.fix


def test_driver_library_that_is_not_one(tmp_path, monkeypatch):
    (tmp_path / 'libcuda.so.1').write_text('not a library')
    monkeypatch.setenv('LD_LIBRARY_PATH', str(tmp_path))
    finding, gpu = cuda()
    assert (finding.state, gpu) == ('warning', False)
    assert 'the driver does not work' in finding.text


# The model file.


def test_model(model_path):
    text = 'model.onnx: Tiny (1 layer), 3 classes of hand-made, 96x64'
    assert model_file(model_path) == ok('model', text)


def test_model_that_is_missing_or_broken(model_path, tmp_path):
    finding = model_file(tmp_path / 'none.onnx')
    assert (finding.state, finding.text) == ('error', f"no model file '{tmp_path / 'none.onnx'}'")
    assert finding.fix == 'check the model parameter, or train and export one'
    model_path.write_bytes(model_path.read_bytes()[:-40])
    finding = model_file(model_path)
    assert finding.state == 'error'
    assert 'is not a readable ONNX file' in finding.text
    assert finding.fix == 'copy or export it again'


@pytest.mark.parametrize(
    ('name', 'source', 'reason', 'fix'),
    [
        ('numpy', None, "No module named 'numpy'", ABOVE),
        ('onnx', DIES, 'the process died of SIGSEGV', f'{ABOVE}, then copy or export the file'),
    ],
)
def test_model_whose_reader_is_broken(model_path, stand_in, missing, name, source, reason, fix):
    missing(name) if source is None else stand_in(name, source)
    finding = model_file(model_path)
    assert finding.text == f'{model_path} cannot be read: {reason}'
    assert finding.fix.startswith(fix)


# Back ends.


@pytest.fixture
def seen(tmp_path, monkeypatch):
    """Findings by their names: `seen(model_path, requested='tpu')`.

    A probe that meets the same as in a test before, with the one model there is, is not run again.
    """

    def answer(*words, probe=module.probe, **options):
        met = ['tensorrt' in words and os.environ.get('FAKE_TENSORRT')]
        for path in sorted(tmp_path.glob('stand_ins/*/__init__.py')):
            # The library of a back end is imported where it is named, others to run the model.
            library = path.parent.name.partition('_')[0]
            if library in words or ('inference' in words and library not in BACKENDS):
                met += [path.parent.name, path.read_text()]
        key = (*words[:1], *words[2:], *met)
        if key not in ANSWERS:
            ANSWERS[key] = probe(*words, **options)
        return ANSWERS[key]

    monkeypatch.setattr(module, 'probe', answer)
    return lambda model_path, requested='auto', precision='auto', gpu=False: {
        finding.name: finding for finding in backends(model_path, requested, precision, gpu)
    }


def test_backends_that_work(seen, model_path):
    findings = seen(model_path)
    assert {name: f.state for name, f in findings.items() if name != 'tensorrt'} == {
        'openvino': 'ok',
        'onnxruntime': 'ok',
        'inference': 'ok',
    }
    runs = r'; runs the model in (fp32|bf16): \d+ ms a frame$'
    assert re.search(runs, findings['openvino'].text)
    assert 'CPUExecutionProvider; runs the model in fp32' in findings['onnxruntime'].text
    assert findings['inference'].text.startswith('backend auto takes openvino in ')


def test_missing_backends(seen, model_path, missing, no_tensorrt):
    missing('openvino')
    findings = seen(model_path)
    assert findings['openvino'] == ok('openvino', 'not installed')
    assert findings['inference'].text == 'backend auto takes onnxruntime in fp32'
    named = seen(model_path, requested='openvino')['inference']
    text = "backend 'openvino' is not installed"
    assert named == Finding('inference', 'error', text, 'pip install openvino')
    missing('onnxruntime')
    no_tensorrt()
    fix = "pip install openvino onnx 'numpy<2'"
    none = Finding('inference', 'error', 'no back end runs the model', fix)
    assert seen(model_path)['inference'] == none


def test_library_that_every_backend_needs(seen, model_path, stand_in):
    stand_in('cv2', OLD_ABI)
    findings = seen(model_path)
    assert findings['openvino'].state == findings['onnxruntime'].state == 'warning'
    assert findings['openvino'].fix == findings['inference'].fix == ABOVE
    assert findings['inference'].state == 'error'


@pytest.mark.parametrize(
    ('source', 'reason'),
    [
        (DIES, 'the process died of SIGSEGV'),
        ('raise OSError("libtbb.so.12: file too short")', 'libtbb.so.12: file too short'),
    ],
)
def test_backend_that_ends_the_node(seen, model_path, stand_in, source, reason):
    """`auto` would end with it: that another one works does not help the node."""
    stand_in('openvino', source)
    findings = seen(model_path)
    text, fix = f'cannot be imported: {reason}', 'pip install --force-reinstall openvino'
    assert findings['openvino'] == Finding('openvino', 'warning', text, fix)
    assert findings['inference'].state == 'error'
    assert 'ends with openvino, which fails' in findings['inference'].text
    assert findings['inference'].fix == 'set the parameter backend to onnxruntime'
    assert seen(model_path, requested='onnxruntime')['inference'].state == 'ok'


def test_backend_built_for_another_numpy(seen, model_path, stand_in):
    stand_in('onnxruntime', OLD_ABI)
    findings = seen(model_path)
    assert (findings['onnxruntime'].state, findings['inference'].state) == ('warning', 'ok')
    assert findings['onnxruntime'].fix == "pip install 'numpy<2'"


def test_precision_that_a_backend_does_not_have(seen, model_path):
    findings = seen(model_path, requested='onnxruntime', precision='bf16')
    assert (findings['onnxruntime'].state, findings['inference'].state) == ('warning', 'error')
    assert 'backend onnxruntime computes in fp32 only' in findings['onnxruntime'].text
    assert findings['onnxruntime'].fix.startswith('use precision auto or fp32')


def test_unknown_backend(seen, model_path):
    finding = seen(model_path, requested='tpu')['inference']
    assert (finding.state, finding.text) == ('error', "unknown back end 'tpu'")
    assert 'openvino' in finding.fix


def test_without_a_model_only_the_libraries_are_seen(seen):
    findings = seen(None)
    assert 'inference' not in findings
    assert 'runs the model' not in findings['openvino'].text


def test_tensorrt_that_is_missing(seen, model_path, no_tensorrt):
    no_tensorrt()
    assert seen(None, gpu=False)['tensorrt'].text == 'not installed, and no GPU for it'
    findings = seen(model_path, requested='tensorrt', gpu=True)
    assert findings['tensorrt'].state == 'warning'
    # The back end asks for cuda-bindings before TensorRT: both must be named at once.
    assert 'pip install tensorrt (an RTX card: ' in findings['tensorrt'].fix
    assert 'docs/jetson.md' in findings['tensorrt'].fix
    assert findings['inference'].text == "backend 'tensorrt' is not installed"
    assert findings['inference'].fix == findings['tensorrt'].fix
    assert seen(model_path, requested='tensorrt', gpu=False)['inference'] == Finding(
        'inference',
        'error',
        "backend 'tensorrt' needs an NVIDIA GPU, and none works here",
        'set the parameter backend to openvino or auto',
    )


def test_rtx_will_do(seen, stand_in, missing):
    missing('tensorrt')
    stand_in('tensorrt_rtx', '__version__ = "1.7.1.116"')
    assert seen(None, gpu=True)['tensorrt'].text == '1.7.1.116, TensorRT-RTX'


def test_tensorrt_version(seen, stand_in):
    stand_in('tensorrt', '__version__ = "10.3.0"')
    assert seen(None, gpu=True)['tensorrt'].text == '10.3.0'
    assert seen(None, gpu=False)['tensorrt'].text == '10.3.0, but no GPU for it'


def test_driver_without_a_usable_gpu(seen, model_path, fake_gpu, cuda_library, monkeypatch):
    """`auto` goes on from any BackendError, whatever its class is called."""
    fake_gpu(devices=[])
    cuda_library('100')
    monkeypatch.setenv('PYTHONPATH', str(FAKES))
    findings = seen(model_path)
    assert (findings['tensorrt'].state, findings['inference'].state) == ('ok', 'ok')
    assert findings['inference'].text.startswith('backend auto takes openvino in ')
    tensorrt = seen(model_path, requested='tensorrt', gpu=True)['tensorrt']
    assert tensorrt.state == 'warning'
    assert tensorrt.text.startswith('10.3.0; CUDA: cudaGetDeviceCount failed with cudaError')
    assert tensorrt.fix.startswith('the driver is missing or older')
