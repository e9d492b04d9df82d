"""Stand-in for tensorrt, as strict as the version that FAKE_TENSORRT names.

Which names exist is read from data/tensorrt_api.json, read off the real bindings: any other raises
AttributeError. Networks run in ONNX's reference implementation on the stand-in for CUDA. What
TensorRT answers, logs and demands is modelled on its documentation; nothing here proves what
real TensorRT does. FAKE_TENSORRT, JSON:
{"version": "10.3.0", "build": "ok"|"fails"|"hangs"|"killed"|"garbage", "run": "ok"|"false"|
 "fault"|"false while capturing", "context": "ok"|"none", "runtime": "ok"|"null"|"shell",
 "tensors": "ok"|"bad address", "half": true, "int8": true, "unknown": "Conv"}; "half" or "int8"
false: no layer takes the permission; "unknown": an operator that the parser has no importer for.
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
from onnx import version_converter
from onnx.reference import ReferenceEvaluator

_API = json.loads((Path(__file__).parents[1] / 'data' / 'tensorrt_api.json').read_text())
_rules = json.loads(os.environ.get('FAKE_TENSORRT', '{}'))
__version__ = _rules.get('version', '10.3.0')
_at = _API['versions'].index(__version__)
_major = int(__version__.split('.')[0])
_MAGIC = b'fake plan\n'


def _members(name):
    groups = _API['classes'][name]
    return {
        member
        for presence, names in groups.items()
        if presence != 'present' and presence[_at] == 'y'
        for member in names.split()
    }


def _exists(name):
    return _API['classes'][name]['present'][_at] == 'y'


class _Strict:
    """Knows the public names of one class of one version; those starting with _ are ours."""

    def __init_subclass__(cls, api=None, **kwargs):
        super().__init_subclass__(**kwargs)
        if api is not None:
            assert _exists(api), api
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


class ILogger:
    Severity = _Enum(
        'Severity',
        {
            name: [number] * len(_API['versions'])
            for number, name in enumerate(
                ('INTERNAL_ERROR', 'ERROR', 'WARNING', 'INFO', 'VERBOSE')
            )
        },
    )

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
        # What the real library does then is worse: a process that is gone.
        raise SystemExit('segmentation fault')


if _exists('IProgressMonitor'):

    class IProgressMonitor:
        def __init__(self):
            self._constructed = True


class ITimingCache(_Strict, api='ITimingCache'):
    pass


class IHostMemory(_Strict, api='IHostMemory'):
    def __init__(self, data):
        self._data = data

    def __bytes__(self):
        return self._data


class INetworkDefinition(_Strict, api='INetworkDefinition'):
    _proto = None


class IBuilderConfig(_Strict, api='IBuilderConfig'):
    def __init__(self):
        self._flags = {'TF32'}
        self._monitor = lambda: None
        self._limits = {}

    def set_flag(self, flag):
        assert flag is getattr(globals()['BuilderFlag'], flag.name)
        self._flags.add(flag.name)

    def clear_flag(self, flag):
        self._flags.discard(flag.name)

    def set_memory_pool_limit(self, pool, size):
        self._limits[pool.name] = size

    def __setattr__(self, name, value):
        super().__setattr__(name, value)
        if name == 'progress_monitor':
            assert value._constructed
            # The caller has to keep it alive.
            object.__setattr__(self, '_monitor', weakref.ref(value))
            object.__delattr__(self, name)


class Builder(_Strict, api='Builder'):
    def __init__(self, logger):
        _check_logger(logger)
        self._logger = logger

    def create_network(self, flags=0):
        if _major < 10 and not flags & 1 << int(NetworkDefinitionCreationFlag.EXPLICIT_BATCH):  # noqa: F821
            _say(self._logger, 'ERROR', 'implicit batch networks cannot be parsed from ONNX')
        return INetworkDefinition()

    def create_builder_config(self):
        return IBuilderConfig()

    def build_serialized_network(self, network, config):
        print('libnvinfer says something on standard output', flush=True)
        assert config._limits['WORKSPACE'] >= 2**20
        monitor = config._monitor()
        if hasattr(type(config), '_names') and 'progress_monitor' in config._names:
            assert monitor is not None, 'the progress monitor was not kept alive'
        if not self._steps(monitor):
            return None
        behaviour = _rules.get('build', 'ok')
        if behaviour == 'fails':
            _say(
                self._logger,
                'ERROR',
                'Error Code 10: Internal Error (Could not find any implementation '
                'for\n node conv)',
            )
            return None
        if behaviour == 'killed':
            os.kill(os.getpid(), signal.SIGKILL)
        if behaviour == 'garbage':
            return IHostMemory(b'garbage')
        if any(
            not dim.dim_value for dim in network._proto.graph.input[0].type.tensor_type.shape.dim
        ):
            _say(self._logger, 'ERROR', 'Network has dynamic inputs, but no optimization profile')
            return None
        quantized = any(n.op_type == 'DequantizeLinear' for n in network._proto.graph.node)
        if _major < 11 and quantized != ('INT8' in config._flags):
            # Q/DQ without the flag is refused; the flag without Q/DQ asks for a calibrator.
            _say(
                self._logger,
                'ERROR',
                'Int8 mode: Q/DQ nodes and BuilderFlag.INT8 must go together',
            )
            return None
        halves = [
            attribute.i == onnx.TensorProto.FLOAT16
            for node in network._proto.graph.node
            for attribute in node.attribute
            if node.op_type == 'Cast'
        ]
        half = (
            any(halves) if _major >= 11 else 'FP16' in config._flags and _rules.get('half', True)
        )
        device = cuda.state.devices[cuda.state.device]
        graph = network._proto.SerializeToString()
        head = {
            'version': __version__,
            'cc': device['cc'],
            'name': device['name'],
            'flags': sorted(config._flags),
            'level': config.builder_optimization_level,
            'half': half,
            'quantized': quantized,
            'int8': quantized and _rules.get('int8', True),
            'detailed': config.profiling_verbosity.name == 'DETAILED',
            'bytes': len(graph),
        }
        return IHostMemory(_MAGIC + json.dumps(head).encode() + b'\n' + graph)

    def _steps(self, monitor):
        hangs = _rules.get('build') == 'hangs'
        if monitor is None:  # 8.6
            while hangs:
                time.sleep(0.1)
            return True
        monitor.phase_start('Building', None, 20)
        monitor.phase_start('Tactics', 'Building', 3)
        step = 0
        while hangs or step < 20:
            inner = threading.Thread(target=monitor.step_complete, args=('Tactics', 0))
            inner.start()
            inner.join()
            if not monitor.step_complete('Building', min(step, 19)):
                return False
            step += 1
            if hangs:
                time.sleep(0.02)
        monitor.phase_finish('Tactics')
        monitor.phase_finish('Building')
        return True


class ParserError(_Strict, api='ParserError'):
    def __init__(self, number, node):
        self._number, self._node = number, node

    def node(self):
        return self._number

    def desc(self):
        return f'No importer registered for op: {self._node.op_type}\nsecond line'

    def node_name(self):
        return self._node.name or 'unnamed'

    def node_operator(self):
        return self._node.op_type


class OnnxParser(_Strict, api='OnnxParser'):
    def __init__(self, network, logger):
        self._network, self._logger, self._errors = network, logger, []

    def parse_from_file(self, path):
        assert isinstance(path, str)
        proto = onnx.load(path)
        for number, node in enumerate(proto.graph.node):
            if node.op_type == _rules.get('unknown'):
                self._errors.append(ParserError(number, node))
            # uint8 goes into Cast only, and comes from Cast at the outputs only.
            assert 'image' not in node.input or node.op_type == 'Cast', node
        onnx.checker.check_model(proto, full_check=True)  # types and opset fit together
        self._network._proto = proto
        return not self._errors

    @property
    def num_errors(self):
        return len(self._errors)

    def get_error(self, index):
        return self._errors[index]


class EngineInspector(_Strict, api='EngineInspector'):
    def __init__(self, head):
        self._head = head

    def get_engine_information(self, form):
        assert form.name == 'JSON'
        if not self._head['detailed']:
            return json.dumps({'Layers': ['conv']})
        half = self._head['half']
        inner = 'Int8' if self._head['int8'] else 'Half' if half else 'Float'
        if _major >= 11:
            kind = {'Int8': 'INT8', 'Half': 'FP16', 'Float': 'FP32'}[inner]
            io = [{'Name': 'x', 'Format': 'Linear', 'DataType': kind}]
        else:
            io = [{'Name': 'Half life', 'Format/Datatype': inner}]
        return json.dumps({'Layers': [{'Name': 'conv', 'Inputs': io, 'Outputs': io}]})


class ICudaEngine(_Strict, api='ICudaEngine'):
    def __init__(self, runtime, head, graph):
        self._runtime, self._head, self._graph = runtime, head, graph
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

    def create_engine_inspector(self):
        return EngineInspector(self._head)

    def create_execution_context(self):
        if _rules.get('context') == 'none':
            _say(self._runtime._logger, 'ERROR', 'OutOfMemory: no device memory for activations')
            return None
        return IExecutionContext(self)


class IExecutionContext(_Strict, api='IExecutionContext'):
    def __init__(self, engine):
        self._engine, self._addresses, self._runs = engine, {}, 0
        graph = engine._graph
        if graph.opset_import[0].version < 19 and engine._head['quantized']:
            graph = version_converter.convert_version(graph, 19)  # the evaluator's oldest Q/DQ
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

    def deserialize_cuda_engine(self, plan):
        if _rules.get('runtime') == 'shell':
            raise SystemExit('segmentation fault')
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
        return ICudaEngine(self, head, onnx.load_model_from_string(graph))


def __getattr__(name):
    raise AttributeError(f'tensorrt {__version__} has no {name}')
