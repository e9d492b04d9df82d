"""Stand-in for cuda.bindings.runtime: host memory plays the GPU, with CUDA's rules.

Work on a stream waits until somebody synchronises, so a forgotten wait shows as a wrong result.
Handles and pointers are checked, device pointers cannot be dereferenced here, memory is counted,
and `state.leaks()` names what was not freed. FAKE_CUDA, JSON, describes the machine:
{"devices": [{"name", "sm", "cc", "integrated", "mib"}], "fail": {call: [error, calls before]}}.
"""

import ctypes
import enum
import json
import os
import threading
from types import SimpleNamespace

#: Device pointers are host pointers with this bit.
DEVICE_BIT = 1 << 60

ORIN = {'name': 'Fake Orin', 'sm': 8, 'cc': [8, 7], 'integrated': 0, 'mib': 64}


class cudaError_t(enum.IntEnum):
    cudaSuccess = 0
    cudaErrorInvalidValue = 1
    cudaErrorMemoryAllocation = 2
    cudaErrorInsufficientDriver = 35
    cudaErrorNoDevice = 100
    cudaErrorInvalidDevice = 101
    cudaErrorInvalidResourceHandle = 400
    cudaErrorIllegalAddress = 700
    cudaErrorStreamCaptureUnsupported = 900
    cudaErrorStreamCaptureInvalidated = 901


class cudaDeviceAttr(enum.IntEnum):
    cudaDevAttrMultiProcessorCount = 16
    cudaDevAttrIntegrated = 18
    cudaDevAttrComputeCapabilityMajor = 75
    cudaDevAttrComputeCapabilityMinor = 76


class cudaMemcpyKind(enum.IntEnum):
    cudaMemcpyHostToDevice = 1
    cudaMemcpyDeviceToHost = 2


class cudaStreamCaptureMode(enum.IntEnum):
    cudaStreamCaptureModeGlobal = 0
    cudaStreamCaptureModeThreadLocal = 1


cudaHostAllocDefault, cudaHostAllocMapped = 0, 2
cudaStreamNonBlocking = 1
cudaEventBlockingSync, cudaEventDisableTiming = 1, 2


class Handle:
    """Opaque, as in the bindings: only int() works."""

    def __init__(self, value):
        self._value = value

    def __int__(self):
        return self._value


class State:
    def __init__(self):
        machine = json.loads(os.environ.get('FAKE_CUDA', '{}'))
        self.devices = machine.get('devices', [ORIN])
        self.failures = {name: list(rule) for name, rule in machine.get('fail', {}).items()}
        self.memory = {}  # base address -> kind, size, owner, device
        self.streams, self.events, self.graphs, self.executables = {}, {}, {}, {}
        self.last_error = 0
        self.sticky = 0
        self.threads = set()  # of everything but counting devices
        self.launches = 0
        self.local = threading.local()
        self._next = 1000

    def leaks(self):
        """Names of the kinds of which something is left, with how many."""
        kinds = [kind for kind, *_ in self.memory.values()]
        left = {kind: kinds.count(kind) for kind in set(kinds)}
        for kind in ('streams', 'events', 'graphs', 'executables'):
            if getattr(self, kind):
                left[kind] = len(getattr(self, kind))
        return left

    @property
    def device(self):
        return getattr(self.local, 'device', 0)

    def free_bytes(self, device):
        used = sum(size for kind, size, _, at in self.memory.values() if at == device)
        return self.devices[device]['mib'] * 2**20 - used

    def handle(self, table, value):
        self._next += 1
        table[self._next] = value
        return Handle(self._next)

    def allocate(self, kind, size):
        if size <= 0:
            raise Failure(cudaError_t.cudaErrorInvalidValue)
        if size > self.free_bytes(self.device):
            raise Failure(cudaError_t.cudaErrorMemoryAllocation)
        self.forbid_while_capturing()
        owner = (ctypes.c_ubyte * (size + 512))()
        base = -(-ctypes.addressof(owner) // 512) * 512
        self.memory[base] = (kind, size, owner, self.device)
        return base

    def resolve(self, pointer, size, *, on_device):
        """The address behind a pointer; the whole size must lie in one allocation."""
        pointer = int(pointer)
        if on_device != bool(pointer & DEVICE_BIT):
            raise Failure(cudaError_t.cudaErrorInvalidValue)
        address = pointer & ~DEVICE_BIT
        for base, (kind, length, _, _) in self.memory.items():
            if base <= address and address + size <= base + length:
                # The GPU does not see what is not mapped, nor the processor the GPU's memory.
                if kind == ('pinned' if on_device else 'device'):
                    break
                return address
        raise Failure(cudaError_t.cudaErrorInvalidValue)

    def stream(self, stream):
        return self.get(self.streams, stream)

    def get(self, table, handle):
        if handle is None or int(handle) not in table:
            raise Failure(cudaError_t.cudaErrorInvalidResourceHandle)
        return table[int(handle)]

    def enqueue(self, stream, work):
        """Work is done when somebody waits; recorded instead while the stream captures."""
        stream = self.stream(stream)
        (stream.queue if stream.recorded is None else stream.recorded).append(work)

    def capturing(self, stream):
        return self.stream(stream).recorded is not None

    def forbid_while_capturing(self):
        for stream in self.streams.values():
            if stream.recorded is not None and stream.thread == threading.get_ident():
                stream.broken = True
                raise Failure(cudaError_t.cudaErrorStreamCaptureUnsupported)

    def drain(self, stream, count=None):
        self.forbid_while_capturing()
        for _ in range(len(stream.queue) if count is None else count):
            try:
                stream.queue.pop(0)()
            except Failure as failure:
                self.sticky = failure.code
                raise
            stream.done += 1


class Failure(Exception):
    def __init__(self, code):
        self.code = code


state = State()


def _call(values=0):
    """Make a function return (error, value...) as the bindings do, None for values on error."""

    def decorate(function):
        name = function.__name__

        def call(*arguments):
            rule = state.failures.get(name)
            try:
                if not state.devices:
                    raise Failure(cudaError_t.cudaErrorInsufficientDriver)
                if state.sticky:
                    raise Failure(state.sticky)
                if rule is not None:
                    rule[1] -= 1
                    if rule[1] < 0 and name == 'cudaStreamEndCapture':
                        # The real one ends the recording even when it fails.
                        state.stream(*arguments).broken = True
                    elif rule[1] < 0:
                        raise Failure(cudaError_t(rule[0]))
                if name != 'cudaGetDeviceCount':
                    state.threads.add(threading.get_ident())
                result = function(*arguments)
            except Failure as failure:
                state.last_error = failure.code
                return (cudaError_t(failure.code), *[None] * values)
            if values == 0:
                return (cudaError_t.cudaSuccess,)
            results = (result,) if values == 1 else result
            return (cudaError_t.cudaSuccess, *results)

        call.__name__ = name
        return call

    return decorate


@_call(1)
def cudaGetDeviceCount():
    return len(state.devices)


@_call()
def cudaSetDevice(device):
    if not 0 <= device < len(state.devices):
        raise Failure(cudaError_t.cudaErrorInvalidDevice)
    state.local.device = device


@_call(1)
def cudaDeviceGetAttribute(attribute, device):
    facts = state.devices[device]
    return {
        cudaDeviceAttr.cudaDevAttrMultiProcessorCount: facts['sm'],
        cudaDeviceAttr.cudaDevAttrIntegrated: facts['integrated'],
        cudaDeviceAttr.cudaDevAttrComputeCapabilityMajor: facts['cc'][0],
        cudaDeviceAttr.cudaDevAttrComputeCapabilityMinor: facts['cc'][1],
    }[attribute]


@_call(1)
def cudaGetDeviceProperties(device):
    return SimpleNamespace(name=state.devices[device]['name'].encode().ljust(256, b'\0'))


@_call(2)
def cudaMemGetInfo():
    return state.free_bytes(state.device), state.devices[state.device]['mib'] * 2**20


@_call(1)
def cudaMalloc(size):
    return state.allocate('device', size) | DEVICE_BIT


@_call()
def cudaFree(pointer):
    base = pointer & ~DEVICE_BIT
    if not pointer & DEVICE_BIT or state.memory.get(base, ('',))[0] != 'device':
        raise Failure(cudaError_t.cudaErrorInvalidValue)
    del state.memory[base]


@_call(1)
def cudaHostAlloc(size, flags):
    return state.allocate('mapped' if flags & cudaHostAllocMapped else 'pinned', size)


@_call()
def cudaFreeHost(pointer):
    if state.memory.get(pointer, ('',))[0] not in ('pinned', 'mapped'):
        raise Failure(cudaError_t.cudaErrorInvalidValue)
    del state.memory[pointer]


@_call(1)
def cudaHostGetDevicePointer(pointer, flags):
    if flags or state.memory.get(pointer, ('',))[0] != 'mapped':
        raise Failure(cudaError_t.cudaErrorInvalidValue)
    return pointer | DEVICE_BIT


@_call()
def cudaMemcpyAsync(to, source, size, kind, stream):
    up = kind == cudaMemcpyKind.cudaMemcpyHostToDevice
    to = state.resolve(to, size, on_device=up)
    source = state.resolve(source, size, on_device=not up)
    state.enqueue(stream, lambda: ctypes.memmove(to, source, size))


@_call(1)
def cudaStreamCreateWithFlags(flags):
    stream = SimpleNamespace(queue=[], done=0, recorded=None, broken=False, thread=0, flags=flags)
    return state.handle(state.streams, stream)


@_call()
def cudaStreamDestroy(stream):
    state.stream(stream)
    del state.streams[int(stream)]


@_call()
def cudaStreamSynchronize(stream):
    state.drain(state.stream(stream))


@_call(1)
def cudaEventCreateWithFlags(flags):
    return state.handle(state.events, SimpleNamespace(stream=None, position=0, flags=flags))


@_call()
def cudaEventDestroy(event):
    state.get(state.events, event)
    del state.events[int(event)]


@_call()
def cudaEventRecord(event, stream):
    recorded, stream = state.get(state.events, event), state.stream(stream)
    recorded.stream, recorded.position = stream, stream.done + len(stream.queue)


@_call()
def cudaEventSynchronize(event):
    event = state.get(state.events, event)
    if event.stream is not None:
        state.drain(event.stream, max(0, event.position - event.stream.done))


@_call()
def cudaStreamBeginCapture(stream, mode):
    assert mode == cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
    stream = state.stream(stream)
    stream.recorded, stream.broken, stream.thread = [], False, threading.get_ident()


@_call(1)
def cudaStreamEndCapture(stream):
    stream = state.stream(stream)
    if stream.recorded is None:
        raise Failure(cudaError_t.cudaErrorInvalidValue)
    recorded, stream.recorded = stream.recorded, None
    if stream.broken:
        raise Failure(cudaError_t.cudaErrorStreamCaptureInvalidated)
    return state.handle(state.graphs, recorded)


@_call(1)
def cudaGraphInstantiateWithFlags(graph, flags):
    return state.handle(state.executables, list(state.get(state.graphs, graph)))


@_call()
def cudaGraphLaunch(executable, stream):
    for work in state.get(state.executables, executable):
        state.enqueue(stream, work)
    state.launches += 1


@_call()
def cudaGraphDestroy(graph):
    state.get(state.graphs, graph)
    del state.graphs[int(graph)]


@_call()
def cudaGraphExecDestroy(executable):
    state.get(state.executables, executable)
    del state.executables[int(executable)]


def cudaGetLastError():
    code, state.last_error = state.last_error, 0
    return (cudaError_t(state.sticky or code),)
