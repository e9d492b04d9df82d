"""TensorRT itself: which of the two libraries, its version, its log, the layers of an engine.

There are two: TensorRT (`classic`: Jetson, data centre GPUs, any GPU) and TensorRT-RTX (`rtx`: PCs
and laptops with an RTX card, compute capability 7.5 and later; all of it from pip). For what is
needed here both have the same names.
"""

from __future__ import annotations

import ctypes
import importlib
import re
from collections import deque
from dataclasses import dataclass
from functools import cache
from typing import Any

from linknet_ros.errors import BackendError
from linknet_ros.inference.tensorrt.options import CLASSIC, RTX

#: Modules of each library, in the order in which they are tried: the second of RTX comes without
#: the metapackage.
_MODULES = {CLASSIC: ('tensorrt',), RTX: ('tensorrt_rtx', 'tensorrt_rtx_bindings')}

#: Classic: the first with all of a strongly typed build, JetPack 6. RTX: the first that was tried.
_OLDEST = {CLASSIC: (10, 3), RTX: (1, 7)}

_FIXES = {
    CLASSIC: 'on a Jetson apt install python3-libnvinfer (a venv needs --system-site-packages)',
    RTX: 'for an RTX card pip install tensorrt-rtx-cu13-libs tensorrt-rtx-cu13-bindings',
}

#: Lines of TensorRT's log that are kept for an error message.
_KEPT_LINES = 6

#: A line of the listing of layers, and the type of a tensor in it.
_LAYER = re.compile(
    r'Name: (?P<name>[^\n]+?), LayerType: (?P<kind>\w+), '
    r'Inputs: \[(?P<inputs>[^\n]*?)\], (?:Constants|Outputs): '
)
_TYPE = re.compile(r'Datatype: (\w+)')

#: Our names of TensorRT's types.
_TYPES = {'Float': 'fp32', 'Half': 'fp16', 'Int8': 'int8', 'BFloat16': 'bf16', 'UInt8': 'uint8'}

#: Kinds of layers that are convolutions.
_CONVOLUTIONS = ('correlation', 'deconv', 'CaskConvolution', 'CaskDeconvolutionV2')


@dataclass(frozen=True)
class Library:
    """An imported TensorRT.

    :param trt: its module.
    :param kind: 'classic' or 'rtx'.
    :param version: four parts where the library has them, e.g. '10.3.0.30'.
    """

    trt: Any
    kind: str
    version: str

    @property
    def name(self) -> str:
        """For messages."""
        return f'TensorRT{"-RTX" if self.kind == RTX else ""} {self.version}'


@dataclass(frozen=True)
class Layer:
    """A kernel of an engine.

    :param kind: as TensorRT calls it, e.g. 'correlation'.
    :param precision: type of its first input, 'fp32', 'fp16', 'int8' or TensorRT's own name;
        empty without inputs.
    """

    name: str
    kind: str
    precision: str

    @property
    def convolves(self) -> bool:
        """Whether it is a convolution, transposed or not; a runtime_fusion may be one, too."""
        fused = self.kind == 'runtime_fusion' and 'Corr' in self.name
        return fused or self.kind in _CONVOLUTIONS


def open_library(wanted: str) -> Library:
    """Import TensorRT; to run an engine only after a GPU was found.

    Without a working driver, TensorRT can return objects whose first use ends the process, which
    no `except` catches.

    :param wanted: one of LIBRARIES; 'auto' takes the first that is installed, classic first.
    :raises BackendError: when it is missing or too old.
    """
    problems = []
    kinds = (CLASSIC, RTX) if wanted == 'auto' else (wanted,)
    for kind in kinds:
        for name in _MODULES[kind]:
            try:
                trt = importlib.import_module(name)
            except ImportError as error:
                problems.append(str(error))
                continue
            version = str(trt.__version__)
            oldest = _OLDEST[kind]
            if tuple(int(part) for part in version.split('.')[:2]) >= oldest:
                return Library(trt, kind, _four_parts(version) if kind == CLASSIC else version)
            problems.append(f'{name} {version} is older than {".".join(map(str, oldest))}')
    raise BackendError(
        f"backend 'tensorrt' cannot be imported ({'; '.join(dict.fromkeys(problems))})",
        f'{", ".join(_FIXES[kind] for kind in kinds)}; or choose another backend',
    )


def _four_parts(version: str) -> str:
    """Version of the library itself, which is what an engine is checked against.

    The module's own may have three parts ('10.3.0' on JetPack 6).
    """
    parts = ('Major', 'Minor', 'Patch', 'Build')
    try:
        # Already loaded by the module, so it is found wherever that found it.
        library = ctypes.CDLL(f'libnvinfer.so.{version.split(".")[0]}')
        return '.'.join(str(getattr(library, f'getInferLib{part}Version')()) for part in parts)
    except (OSError, AttributeError):
        return version


@cache
def log_of(trt: Any) -> Any:
    """The process's logger, which keeps the last complaints: TensorRT gives reasons nowhere else.

    One for good: TensorRT goes on using the first that it was given, whoever made it. It is
    called from TensorRT's own threads; appending to a deque needs no lock.
    """

    class Log(trt.ILogger):
        def __init__(self) -> None:
            # Not super(): the bindings demand their own constructor to be called.
            trt.ILogger.__init__(self)
            self._errors: deque[str] = deque(maxlen=_KEPT_LINES)
            self._warnings: deque[str] = deque(maxlen=_KEPT_LINES)
            self._listing = ''

        def log(self, severity: Any, msg: str) -> None:
            levels = trt.ILogger.Severity
            if severity in (levels.INTERNAL_ERROR, levels.ERROR):
                self._errors.append(' '.join(msg.split()))
            elif severity == levels.WARNING:
                self._warnings.append(' '.join(msg.split()))
            elif 'LayerType: ' in msg:
                self._listing = msg

        def clear(self) -> None:
            """Forget, before something that may fail."""
            self._errors.clear()
            self._warnings.clear()
            self._listing = ''

        @property
        def complained(self) -> bool:
            """Whether an error was logged."""
            return bool(self._errors)

        @property
        def other_device(self) -> bool:
            """Whether TensorRT warned of an engine from another model of GPU.

            It loads those, although they may be slow or deadlock.
            """
            return any('different models of devices' in line for line in self._warnings)

        def why(self) -> str:
            """The errors logged since `clear`, in one line."""
            return ' | '.join(self._errors) or 'TensorRT logged no reason'

        def layers(self) -> list[Layer]:
            """Layers of the engine built since `clear`; empty where they were not listed."""
            return list(map(_layer, _LAYER.finditer(self._listing)))

    return Log()


def _layer(found: re.Match[str]) -> Layer:
    types = _TYPE.findall(found['inputs'])
    precision = _TYPES.get(types[0], types[0]) if types else ''
    return Layer(found['name'], found['kind'], precision)
