"""Stand-in for tensorrt, as strict as the version that FAKE_TENSORRT names.

Which names exist is read from data/tensorrt_api.json, read off the real bindings: any other raises
AttributeError. Networks run in ONNX's reference implementation on the stand-in for CUDA. It stands
in for what needs a GPU; NVIDIA's own builder is in test_tensorrt_builder.py. FAKE_TENSORRT, JSON:
{"version": "10.3.0", "build": "ok"|"fails"|"hangs"|"killed"|"garbage", "run": "ok"|"false"|
 "fault"|"false while capturing", "context": "ok"|"none", "runtime": "ok"|"null"|"shell",
 "tensors": "ok"|"bad address"}
"""

import ctypes
import json
import os
import signal
import threading
import time
import weakref
from pathlib import Path

import numpy as np
import onnx
from cuda.bindings import runtime as cuda
from onnx.reference import ReferenceEvaluator

_API = json.loads((Path(__file__).parents[1] / 'data' / 'tensorrt_api.json').read_text())
_rules = json.loads(os.environ.get('FAKE_TENSORRT', '{}'))
__version__ = _rules.get('version', '10.3.0')
_at = _API['versions'].index(__version__)
_MAGIC = b'fake plan\n'


def _members(name):
    groups = _API['classes'][name]
    return {
        member
        for presence, names in groups.items()
        if presence != 'present' and presence[_at] == 'y'
        for member in names.split()
    }


class _Strict:
    """Knows the public names of one class of one version; those starting with _ are ours."""

    def __init_subclass__(cls, api):
        super().__init_subclass__()
        cls._api, cls._names = api, _members(api)

    def __getattribute__(self, name):
        if not name.startswith('_') and name not in type(self)._names:
            raise AttributeError(f'tensorrt {__version__}: no {type(self)._api}.{name}')
        return object.__getattribute__(self, name)

    def __setattr__(self, name, value):
        if not name.startswith('_') and name not in type(self)._names:
            raise AttributeError(f'tensorrt {__version__}: no {type(self)._api}.{name} to set')
        object.__setattr__(self, name, value)


class _Value:
    """A value of an enumeration: equal to itself only, an integer only when asked."""

    def __init__(self, kind, name, number):
        self._text, self.name, self._number = f'{kind}.{name}', name, number

    def __int__(self):
        return self._number

    def __repr__(self):
        return self._text


class _Enum:
    def __init__(self, kind, values):
        for name, numbers in values.items():
            if numbers[_at] is not None:
                setattr(self, name, _Value(kind, name, numbers[_at]))


for _kind, _values in _API['enums'].items():
    if any(_numbers[_at] is not None for _numbers in _values.values()):
        globals()[_kind] = _Enum(_kind, _values)

_UINT8 = globals()['DataType'].UINT8
_MODES = globals()['TensorIOMode']


_LEVELS = ('INTERNAL_ERROR', 'ERROR', 'WARNING', 'INFO', 'VERBOSE')


class ILogger:
    Severity = _Enum('Severity', {n: [i] * len(_API['versions']) for i, n in enumerate(_LEVELS)})

    def __init__(self):
        self._constructed = True


def _say(logger, severity, text):
    """TensorRT logs from threads of its own."""
    level = getattr(ILogger.Severity, severity)
    thread = threading.Thread(target=logger.log, args=(level, text))
    thread.start()
    thread.join()


_loggers = []


def _check_logger(logger):
    # The real one keeps using the first, which must not die, and merely warns of another.
    _loggers.append(logger)
    assert logger is _loggers[0], 'two loggers in one process'
    if not getattr(logger, '_constructed', False):
        raise TypeError('ILogger.__init__() must be called when overriding __init__')
    if not cuda.state.devices:
        os.kill(os.getpid(), signal.SIGSEGV)


class IProgressMonitor:
    def __init__(self):
        self._constructed = True


class IHostMemory(_Strict, api='IHostMemory'):
    def __init__(self, data):
        self._data = data

    def __bytes__(self):
        return self._data


class INetworkDefinition(_Strict, api='INetworkDefinition'):
    _proto = None


class IBuilderConfig(_Strict, api='IBuilderConfig'):
    def clear_flag(self, flag):
        assert flag is getattr(globals()['BuilderFlag'], flag.name)

    def set_memory_pool_limit(self, pool, size):
        assert pool.name == 'WORKSPACE'

    def __setattr__(self, name, value):
        # The caller has to keep it alive.
        super().__setattr__(name, weakref.ref(value) if name == 'progress_monitor' else value)


class Builder(_Strict, api='Builder'):
    def __init__(self, logger):
        _check_logger(logger)
        self._logger = logger

    def create_network(self, flags=0):
        assert flags == 1 << int(globals()['NetworkDefinitionCreationFlag'].STRONGLY_TYPED)
        return INetworkDefinition()

    def create_builder_config(self):
        return IBuilderConfig()

    def build_serialized_network(self, network, config):
        print('libnvinfer says something on standard output', flush=True)
        behaviour = _rules.get('build', 'ok')
        monitor = config.progress_monitor()
        assert monitor._constructed
        monitor.phase_start('Building', None, 20)
        step = 0
        while behaviour == 'hangs' or step < 20:
            if not monitor.step_complete('Building', min(step, 19)):
                return None
            step += 1
            if behaviour == 'hangs':
                time.sleep(0.02)
        monitor.phase_finish('Building')
        if behaviour == 'fails':
            text = (
                'Error Code 10: Internal Error (Could not find any implementation for\n node conv)'
            )
            _say(self._logger, 'ERROR', text)
            return None
        if behaviour == 'killed':
            os.kill(os.getpid(), signal.SIGKILL)
        if behaviour == 'garbage':
            return IHostMemory(b'garbage')
        device = cuda.state.devices[cuda.state.device]
        graph = network._proto.SerializeToString()
        head = {
            'version': __version__,
            'cc': device['cc'],
            'name': device['name'],
            'level': config.builder_optimization_level,
            'bytes': len(graph),
        }
        return IHostMemory(_MAGIC + json.dumps(head).encode() + b'\n' + graph)


class OnnxParser(_Strict, api='OnnxParser'):
    num_errors = 0

    def __init__(self, network, logger):
        self._network = network

    def parse_from_file(self, path):
        self._network._proto = onnx.load(path)
        return True


class ICudaEngine(_Strict, api='ICudaEngine'):
    def __init__(self, runtime, graph):
        self._runtime, self._graph = runtime, graph
        self._values = [*graph.graph.input, *graph.graph.output]

    def _value(self, name):
        return next(value for value in self._values if value.name == name)

    @property
    def num_io_tensors(self):
        return len(self._values)

    def get_tensor_name(self, index):
        return self._values[index].name

    def get_tensor_mode(self, name):
        return _MODES.INPUT if name == 'image' else _MODES.OUTPUT

    def get_tensor_dtype(self, name):
        assert self._value(name).type.tensor_type.elem_type == onnx.TensorProto.UINT8
        return _UINT8

    def get_tensor_shape(self, name):
        return tuple(d.dim_value for d in self._value(name).type.tensor_type.shape.dim)

    def create_execution_context(self):
        if _rules.get('context') == 'none':
            _say(self._runtime._logger, 'ERROR', 'OutOfMemory: no device memory for activations')
            return None
        return IExecutionContext(self)


class IExecutionContext(_Strict, api='IExecutionContext'):
    def __init__(self, engine):
        self._engine, self._addresses, self._runs = engine, {}, 0
        graph = engine._graph
        self._evaluator = ReferenceEvaluator(graph)

    def _size(self, name):
        return int(np.prod(self._engine.get_tensor_shape(name)))

    def set_tensor_address(self, name, address):
        if _rules.get('tensors') == 'bad address' or address % 256:
            _say(self._engine._runtime._logger, 'ERROR', f'{name}: address is not aligned')
            return False
        self._addresses[name] = address
        return True

    def infer_shapes(self):
        return []

    def execute_async_v3(self, stream_handle):
        assert type(stream_handle) is int
        assert stream_handle, 'the default stream'
        behaviour = _rules.get('run', 'ok')
        logger = self._engine._runtime._logger
        capturing = cuda.state.capturing(stream_handle)
        if capturing:
            assert self._runs, 'captured before the first run'
        if cuda.state.last_error:
            _say(logger, 'ERROR', f'an old CUDA error {cuda.state.last_error} is still there')
            return False
        if behaviour == 'false' or (behaviour == 'false while capturing' and capturing):
            _say(logger, 'ERROR', 'enqueueV3: operation not permitted when stream is capturing')
            return False
        self._runs += 1
        addresses = {
            name: cuda.state.resolve(address, self._size(name), on_device=True)
            for name, address in self._addresses.items()
        }
        shapes = {name: self._engine.get_tensor_shape(name) for name in addresses}

        def work():
            if behaviour == 'fault':
                raise cuda.Failure(cuda.cudaError_t.cudaErrorIllegalAddress)
            data = ctypes.string_at(addresses['image'], self._size('image'))
            image = np.frombuffer(data, np.uint8).reshape(shapes['image'])
            with np.errstate(all='ignore'):
                results = self._evaluator.run(None, {'image': image})
            for value, result in zip(self._engine._graph.graph.output, results, strict=True):
                assert result.dtype == np.uint8
                assert result.shape == shapes[value.name]
                ctypes.memmove(addresses[value.name], result.tobytes(), result.size)

        cuda.state.enqueue(stream_handle, work)
        return True


class Runtime(_Strict, api='Runtime'):
    def __init__(self, logger):
        _check_logger(logger)
        if _rules.get('runtime') in ('null', 'shell'):
            _say(logger, 'ERROR', 'CUDA initialization failure with error: 35')
        if _rules.get('runtime') == 'null':
            raise TypeError('pybind11::init(): factory function returned nullptr')
        self._logger = logger

    def __del__(self):
        if _rules.get('runtime') == 'shell':
            os.kill(os.getpid(), signal.SIGSEGV)

    def deserialize_cuda_engine(self, plan):
        if _rules.get('runtime') == 'shell':
            os.kill(os.getpid(), signal.SIGSEGV)
        assert type(plan) is bytes
        reason = None
        head, _, graph = plan.removeprefix(_MAGIC).partition(b'\n')
        if not plan.startswith(_MAGIC):
            reason = 'Serialization assertion header.magicTag == kEXPECTED_MAGIC_TAG failed.'
        else:
            head = json.loads(head)
            device = cuda.state.devices[cuda.state.device]
            if len(graph) != head['bytes']:
                reason = 'Serialization assertion safe failed. The plan is too short.'
            elif head['version'] != __version__:
                reason = (
                    'The engine plan file is not compatible with this version of TensorRT, '
                    f'expecting library version {__version__} got {head["version"]}'
                )
            elif head['cc'] != device['cc']:
                reason = 'The engine plan file is generated on an incompatible device'
            elif head['name'] != device['name']:
                text = 'Using an engine plan file across different models of devices is not '
                _say(self._logger, 'WARNING', text + 'supported and is likely to ...')
        if reason:
            _say(self._logger, 'ERROR', reason)
            return None
        return ICudaEngine(self, onnx.load_model_from_string(graph))


def __getattr__(name):
    raise AttributeError(f'tensorrt {__version__} has no {name}')
