"""The doctor's checks without ROS, each with its failure made real in the child process."""

import re
import sys
from collections import namedtuple

import pytest
from checkout import FAKES

from linknet_ros.doctor import checks as module
from linknet_ros.doctor.checks import backends, cuda, model_file, numpy, onnx, opencv, python
from linknet_ros.doctor.finding import Finding
from linknet_ros.system.child_process import Outcome

#: What a library built for NumPy 1 does under NumPy 2.
OLD_ABI = """
import sys
sys.stderr.write('RuntimeError: module compiled against ABI version 0x1000009 but this version '
                 'of numpy is 0x2000000')
raise ImportError('numpy.core.multiarray failed to import')
"""
DIES = 'import os, signal; os.kill(os.getpid(), signal.SIGSEGV)'


@pytest.fixture
def old_python(monkeypatch):
    """Python 3.8."""
    version = namedtuple('version', 'major minor micro')(3, 8, 10)
    monkeypatch.setattr(sys, 'version_info', version)


def test_python():
    finding = python()
    assert (finding.state, finding.fix) == ('ok', '')
    assert finding.text.endswith(sys.executable)


def test_python_that_is_too_old(old_python):
    finding = python()
    assert finding.state == 'error'
    assert finding.fix == 'use Python 3.10 or newer'


@pytest.mark.parametrize('check', [numpy, opencv, onnx])
def test_library_that_works(check):
    finding = check()
    assert finding.state == 'ok'
    assert re.fullmatch(r'\d+\.\d+\.\d+.*', finding.text)


@pytest.mark.parametrize(
    ('check', 'name', 'fix'),
    [
        (numpy, 'numpy', "pip install 'numpy<2'"),
        (opencv, 'cv2', 'pip install opencv-python-headless'),
        (onnx, 'onnx', 'pip install onnx'),
    ],
)
def test_library_that_is_missing(missing, check, name, fix):
    missing(name)
    finding = check()
    assert (finding.state, finding.text, finding.fix) == ('error', 'not installed', fix)


def test_library_built_for_another_numpy(stand_in):
    stand_in('cv2', OLD_ABI)
    assert opencv() == Finding(
        'OpenCV',
        'error',
        'was built for another NumPy than the one that is installed '
        '(numpy.core.multiarray failed to import)',
        "pip install 'numpy<2'",
    )


def test_opencv_without_libgl(stand_in):
    stand_in('cv2', 'raise ImportError("libGL.so.1: cannot open shared object file")')
    finding = opencv()
    assert finding.text == 'does not work: libGL.so.1: cannot open shared object file'
    assert finding.fix.endswith('in place of opencv-python, or sudo apt install libgl1')


@pytest.mark.parametrize(
    ('source', 'reason'),
    [
        ('raise RuntimeError("two of them")', 'two of them'),
        (DIES, 'the process died of SIGSEGV'),
        ('import os; os.abort()', 'the process died of SIGABRT'),
        ('import os; os._exit(7)', 'the process ended with exit code 7'),
        ('__version__ = "1.0"', "module 'onnx' has no attribute 'x'"),
    ],
)
def test_library_that_is_broken(stand_in, source, reason):
    name, check = ('numpy', numpy) if 'attribute' in reason else ('onnx', onnx)
    stand_in(name, source)
    finding = check()
    assert finding.state == 'error'
    expected = "module 'numpy' has no attribute 'eye'" if name == 'numpy' else reason
    assert finding.text == f'does not work: {expected}'
    assert finding.fix


def test_library_that_hangs(stand_in, monkeypatch):
    monkeypatch.setattr(module, '_IMPORT_SECONDS', 2)
    stand_in('onnx', 'import time; time.sleep(600)')
    finding = onnx()
    assert finding.text == 'does not work: no answer within 2 s'
    assert '-c "import onnx"` and see where it hangs; pip install onnx' in finding.fix


# The GPU.


@pytest.fixture
def trace(tmp_path, monkeypatch):
    """Make traces of a GPU there or not: `trace(True)`."""

    def leave(there):
        path = tmp_path if there else tmp_path / 'none'
        monkeypatch.setattr(module, '_GPU_TRACES', (str(path),))

    return leave


def test_gpu(cuda_library, trace):
    cuda_library('0')
    finding, gpu = cuda()
    assert gpu
    assert finding.state == 'ok'
    assert finding.text == 'driver for CUDA 12.6: Orin (compute capability 8.7, 8000 MB)'


def test_no_gpu(monkeypatch, trace):
    missing = Outcome(failure='OSError', message='libcuda.so.1: cannot open shared object file: x')
    monkeypatch.setattr(module, 'probe', lambda name: missing)
    trace(False)
    finding, gpu = cuda()
    assert (finding.state, gpu) == ('ok', False)
    assert finding.text == 'no NVIDIA driver; the node runs on the processor'
    trace(True)
    finding, gpu = cuda()
    assert (finding.state, gpu) == ('warning', False)
    assert 'there is an NVIDIA GPU' in finding.text
    assert 'start a container with `--gpus all`' in finding.fix


@pytest.mark.parametrize(
    ('init', 'there', 'state', 'text', 'fix'),
    [
        ('100', False, 'ok', 'a driver, but no GPU', ''),
        ('100', True, 'warning', 'cuInit fails with CUDA error 100', '`nvidia-smi` must list'),
        ('803', True, 'warning', 'cuInit fails with CUDA error 803', 'restart the machine'),
        ('34', False, 'warning', 'cuInit fails with CUDA error 34', 'LD_LIBRARY_PATH'),
        ('999', True, 'warning', 'cuInit fails with CUDA error 999', '`nvidia-smi` works'),
        ('raise(SIGSEGV)', True, 'warning', 'the process died of SIGSEGV', '`nvidia-smi` works'),
    ],
)
def test_gpu_that_does_not_work(cuda_library, trace, init, there, state, text, fix):
    cuda_library(init)
    trace(there)
    finding, gpu = cuda()
    assert not gpu
    assert finding.state == state
    assert text in finding.text
    assert fix in finding.fix


def test_driver_library_that_is_no_library(tmp_path, monkeypatch, trace):
    (tmp_path / 'libcuda.so.1').write_text('not a library')
    monkeypatch.setenv('LD_LIBRARY_PATH', str(tmp_path))
    trace(False)
    finding, gpu = cuda()
    assert (finding.state, gpu) == ('warning', False)
    assert 'the driver does not work' in finding.text


# The model file.


def test_model(model_path):
    finding = model_file(model_path)
    assert finding.state == 'ok'
    assert finding.text == 'model.onnx: Tiny (1 layer), 3 classes of hand-made, 96x64'


def test_model_that_is_missing(tmp_path):
    finding = model_file(tmp_path / 'none.onnx')
    assert finding.state == 'error'
    assert finding.text == f"no model file '{tmp_path / 'none.onnx'}'"
    assert finding.fix == 'check the model parameter, or train and export one'


def test_model_that_is_broken(model_path):
    model_path.write_bytes(model_path.read_bytes()[:-40])
    finding = model_file(model_path)
    assert finding.state == 'error'
    assert 'is not a readable ONNX file' in finding.text
    assert finding.fix == 'copy or export it again'


def test_model_without_numpy(model_path, missing):
    missing('numpy')
    finding = model_file(model_path)
    assert finding.text == f"{model_path} cannot be read: No module named 'numpy'"
    assert finding.fix == 'mend what is broken above'


def test_model_whose_reader_is_broken(model_path, stand_in):
    stand_in('onnx', DIES)
    finding = model_file(model_path)
    assert finding.text == f'{model_path} cannot be read: the process died of SIGSEGV'
    assert finding.fix.startswith('mend what is broken above')


# Back ends.


def seen(model_path, wanted='auto', precision='auto', gpu=False):
    return {finding.name: finding for finding in backends(model_path, wanted, precision, gpu)}


def test_backends_that_work(model_path):
    findings = seen(model_path)
    assert {name: f.state for name, f in findings.items() if name != 'tensorrt'} == {
        'openvino': 'ok',
        'onnxruntime': 'ok',
        'inference': 'ok',
    }
    assert re.search(
        r'; runs the model in (fp32|bf16): \d+ ms a frame$', findings['openvino'].text
    )
    assert 'CPUExecutionProvider; runs the model in fp32' in findings['onnxruntime'].text
    assert findings['inference'].text.startswith('backend auto takes openvino in ')


def test_backend_that_is_missing(model_path, missing):
    missing('openvino')
    findings = seen(model_path)
    assert (findings['openvino'].state, findings['openvino'].text) == ('ok', 'not installed')
    assert findings['inference'].text == 'backend auto takes onnxruntime in fp32'


def test_library_that_every_backend_needs(model_path, stand_in):
    stand_in('cv2', OLD_ABI)
    findings = seen(model_path)
    assert findings['openvino'].state == findings['onnxruntime'].state == 'warning'
    assert findings['openvino'].fix == 'mend what is broken above'
    assert findings['inference'].state == 'error'
    assert findings['inference'].fix == 'mend what is broken above'


def test_wanted_backend_that_is_missing(model_path, missing):
    missing('openvino')
    finding = seen(model_path, wanted='openvino')['inference']
    assert finding.state == 'error'
    assert finding.text == "backend 'openvino' is not installed"
    assert finding.fix == 'pip install openvino'


def test_all_backends_missing(model_path, missing):
    missing('openvino')
    missing('onnxruntime')
    missing('tensorrt')
    finding = seen(model_path)['inference']
    assert (finding.state, finding.text) == ('error', 'no back end runs the model')
    assert finding.fix == "pip install openvino onnx 'numpy<2'"


def test_backend_that_kills_the_process(model_path, stand_in):
    """`auto` would die with it: that another one works does not help the node."""
    stand_in('openvino', DIES)
    findings = seen(model_path)
    assert findings['openvino'].state == 'warning'
    assert findings['openvino'].text == 'cannot be imported: the process died of SIGSEGV'
    assert findings['openvino'].fix == 'pip install --force-reinstall openvino'
    assert findings['inference'].state == 'error'
    assert 'ends with openvino, which fails' in findings['inference'].text
    assert findings['inference'].fix == 'set the parameter backend to onnxruntime'
    assert seen(model_path, wanted='onnxruntime')['inference'].state == 'ok'


def test_backend_whose_import_raises_what_nobody_translates(model_path, stand_in):
    stand_in('openvino', 'raise OSError("libtbb.so.12: file too short")')
    findings = seen(model_path)
    assert findings['openvino'].state == 'warning'
    assert findings['openvino'].text == 'cannot be imported: libtbb.so.12: file too short'
    assert findings['inference'].state == 'error'
    assert findings['inference'].fix == 'set the parameter backend to onnxruntime'


def test_backend_built_for_another_numpy(model_path, stand_in):
    stand_in('onnxruntime', OLD_ABI)
    findings = seen(model_path)
    assert findings['onnxruntime'].state == 'warning'
    assert findings['onnxruntime'].fix == "pip install 'numpy<2'"
    assert findings['inference'].state == 'ok'


def test_precision_that_a_backend_has_not(model_path):
    findings = seen(model_path, wanted='onnxruntime', precision='bf16')
    assert findings['onnxruntime'].state == 'warning'
    assert 'backend onnxruntime computes in fp32 only' in findings['onnxruntime'].text
    assert findings['onnxruntime'].fix.startswith('use precision auto or fp32')
    assert findings['inference'].state == 'error'


def test_unknown_backend(model_path):
    finding = seen(model_path, wanted='tpu')['inference']
    assert (finding.state, finding.text) == ('error', "there is no back end 'tpu'")
    assert 'openvino' in finding.fix


def test_without_a_model_only_the_libraries_are_seen():
    findings = seen(None)
    assert 'inference' not in findings
    assert 'runs the model' not in findings['openvino'].text


def test_tensorrt_is_missed_where_there_is_a_gpu(missing):
    missing('tensorrt')
    findings = seen(None, gpu=True)
    assert findings['tensorrt'].state == 'warning'
    assert 'pip install tensorrt, and cuda-bindings' in findings['tensorrt'].fix
    assert 'docs/jetson.md' in findings['tensorrt'].fix
    assert seen(None, gpu=False)['tensorrt'].text == 'not installed, and no GPU for it'


def test_wanted_tensorrt_that_is_missing(model_path, missing):
    """The back end asks for cuda-bindings before TensorRT: both must be named at once."""
    missing('tensorrt')
    findings = seen(model_path, wanted='tensorrt', gpu=True)
    assert findings['inference'].text == "backend 'tensorrt' is not installed"
    assert findings['inference'].fix == findings['tensorrt'].fix
    assert 'cuda-bindings' in findings['inference'].fix


def test_wanted_tensorrt_without_a_gpu(model_path, missing):
    missing('tensorrt')
    finding = seen(model_path, wanted='tensorrt', gpu=False)['inference']
    assert (finding.state, finding.text) == (
        'error',
        "backend 'tensorrt' needs an NVIDIA GPU, and none works here",
    )
    assert finding.fix == 'set the parameter backend to openvino or auto'


def test_tensorrt_version(stand_in):
    stand_in('tensorrt', '__version__ = "10.3.0"')
    assert seen(None, gpu=True)['tensorrt'].text == '10.3.0'
    assert seen(None, gpu=False)['tensorrt'].text == '10.3.0, but no GPU for it'


def test_driver_without_a_usable_gpu(model_path, fake_gpu, cuda_library, monkeypatch):
    """`auto` goes on from any BackendError, whatever its class is called."""
    fake_gpu(devices=[])
    cuda_library('100')
    monkeypatch.setenv('PYTHONPATH', str(FAKES))
    findings = seen(model_path)
    assert (findings['tensorrt'].state, findings['inference'].state) == ('ok', 'ok')
    assert findings['inference'].text.startswith('backend auto takes openvino in ')
    tensorrt = seen(model_path, wanted='tensorrt', gpu=True)['tensorrt']
    assert tensorrt.state == 'warning'
    assert tensorrt.text.startswith('10.3.0; CUDA: cudaGetDeviceCount failed with cudaError')
    assert tensorrt.fix.startswith('the driver is missing or older')
