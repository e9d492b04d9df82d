"""CUDA's calls, checked: on the stand-in, and on the real package without a GPU."""

import importlib.util

import numpy as np
import pytest

from linknet_ros.errors import BackendError
from linknet_ros.inference.tensorrt.cuda import Buffer, Cuda, CudaError, Device


@pytest.fixture
def stream():
    """Make a stream of a Cuda."""
    return lambda cuda: cuda.call('cudaStreamCreateWithFlags', cuda.runtime.cudaStreamNonBlocking)


def test_facts_of_a_gpu(fake_gpu):
    fake_gpu(
        devices=[
            {'name': 'First', 'sm': 1, 'cc': [7, 5], 'integrated': 0, 'mib': 8},
            {'name': 'Second', 'sm': 16, 'cc': [11, 0], 'integrated': 1, 'mib': 8},
        ]
    )
    cuda = Cuda()
    assert cuda.use(1) == Device('Second', 16, '11.0', True)
    assert cuda.use(0) == Device('First', 1, '7.5', False)
    assert cuda.memory() == '8 of 8 MiB are free'


@pytest.mark.parametrize('index', [-1, 1])
def test_gpu_that_does_not_exist(fake_gpu, index):
    fake_gpu()
    with pytest.raises(BackendError, match=f'GPU {index} does not exist, 1 visible; count from 0'):
        Cuda().use(index)


@pytest.mark.parametrize(
    ('code', 'way_out'),
    [
        (35, 'the driver is missing or older than the CUDA package'),
        (100, 'no NVIDIA GPU is visible; in a container start it with --gpus all'),
        (2, 'stop other programs on the GPU'),
        (700, 'the process has lost the GPU; restart it'),
        (400, 'see the CUDA runtime API'),
    ],
)
def test_error_names_the_way_out(fake_gpu, code, way_out):
    state = fake_gpu(fail={'cudaMalloc': [code, 0]})
    with pytest.raises(
        CudaError, match=rf'cudaMalloc failed with \w+ \({code}\); .*{way_out}'
    ) as e:
        Cuda().call('cudaMalloc', 1)
    assert e.value.fix
    assert state.last_error == 0


def test_binding_that_raises_without_a_driver(fake_gpu, monkeypatch):
    fake_gpu()
    cuda = Cuda()

    def fail():
        raise RuntimeError('Failed to dlopen libcuda.so.1')

    monkeypatch.setattr(cuda.runtime, 'cudaGetDeviceCount', fail)
    with pytest.raises(
        CudaError, match=r'Failed to dlopen libcuda\.so\.1 .*the driver is missing'
    ):
        cuda.use(0)
    # What a message about something else asks for on the way must not hide it.
    monkeypatch.setattr(cuda.runtime, 'cudaMemGetInfo', fail)
    assert cuda.memory() == 'free memory is unknown'


@pytest.mark.parametrize('mapped', [False, True])
def test_bytes_go_there_and_back(fake_gpu, stream, mapped):
    state = fake_gpu()
    cuda = Cuda()
    line = stream(cuda)
    buffer = Buffer(cuda, 5, mapped=mapped)
    assert buffer.address % 256 == 0
    assert (buffer.array.shape, buffer.array.dtype) == ((5,), np.uint8)
    buffer.array[:] = [1, 2, 3, 4, 5]
    buffer.upload(line)
    cuda.call('cudaStreamSynchronize', line)
    if not mapped:
        buffer.array[:] = 0
    buffer.download(line)
    cuda.call('cudaStreamSynchronize', line)
    assert buffer.array.tolist() == [1, 2, 3, 4, 5]
    buffer.close()
    cuda.call('cudaStreamDestroy', line)
    assert state.leaks() == {}


@pytest.mark.parametrize('call', ['cudaHostAlloc', 'cudaMalloc', 'cudaHostGetDevicePointer'])
def test_buffer_that_does_not_fit(fake_gpu, call):
    state = fake_gpu(fail={call: [2, 0]})
    with pytest.raises(CudaError, match=call):
        Buffer(Cuda(), 5, mapped=call == 'cudaHostGetDevicePointer')
    assert state.leaks() == {}


def test_graph_repeats_the_work(fake_gpu, stream):
    state = fake_gpu()
    cuda = Cuda()
    line = stream(cuda)
    done = []
    graph = cuda.capture(line, lambda: state.enqueue(line, lambda: done.append(1)))
    for _ in range(3):
        cuda.call('cudaGraphLaunch', graph, line)
    assert done == []
    cuda.call('cudaStreamSynchronize', line)
    assert done == [1, 1, 1]
    assert state.leaks() == {'streams': 1, 'executables': 1}


def test_recording_that_waits_or_fails_leaves_the_stream_usable(fake_gpu, stream):
    state = fake_gpu()
    cuda = Cuda()
    line = stream(cuda)
    with pytest.raises(CudaError, match=r'cudaStreamSynchronize failed with .*Unsupported'):
        cuda.capture(line, lambda: cuda.call('cudaStreamSynchronize', line))
    with pytest.raises(ZeroDivisionError):
        cuda.capture(line, lambda: 1 // 0)
    cuda.call('cudaStreamSynchronize', line)
    assert state.last_error == 0
    assert state.leaks() == {'streams': 1}


@pytest.mark.skipif(
    importlib.util.find_spec('cuda') is None, reason='cuda-bindings is not installed'
)
def test_real_package_without_or_with_a_gpu():
    """All names that we use exist in the real package; without a GPU it fails as we expect."""
    cuda = Cuda()
    for name in (
        *('cudaGetDeviceCount', 'cudaSetDevice', 'cudaDeviceGetAttribute', 'cudaMemGetInfo'),
        *('cudaGetDeviceProperties', 'cudaMalloc', 'cudaFree', 'cudaHostAlloc', 'cudaFreeHost'),
        *('cudaHostGetDevicePointer', 'cudaMemcpyAsync', 'cudaStreamCreateWithFlags'),
        *('cudaStreamDestroy', 'cudaStreamSynchronize', 'cudaEventCreateWithFlags'),
        *('cudaEventDestroy', 'cudaEventRecord', 'cudaEventSynchronize', 'cudaGetLastError'),
        *('cudaStreamBeginCapture', 'cudaStreamEndCapture', 'cudaGraphInstantiateWithFlags'),
        *('cudaGraphLaunch', 'cudaGraphDestroy', 'cudaGraphExecDestroy'),
    ):
        assert callable(getattr(cuda.runtime, name))
    try:
        device = cuda.use(0)
    except CudaError as error:
        assert any(code in str(error) for code in ('(35)', '(100)'))  # noqa: PT017
    else:
        assert device.name
