"""TensorRT itself: imported, its version, its log, and what an engine says of its precision."""

from __future__ import annotations

import ctypes
import importlib
import json
import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from linknet_ros.errors import BackendError

_OLDEST = (8, 6)

#: Lines of TensorRT's log that are kept for an error message.
_KEPT_LINES = 6


#: Words of the inspector for a type; of two that are as frequent, the first counts.
_TYPES = {'int8': 'int8', 'fp16': 'fp16|half|float16', 'fp32': 'fp32|float|float32'}


@dataclass(frozen=True)
class Library:
    """An imported TensorRT.

    :param trt: the module `tensorrt`.
    :param version: four parts where the library tells them, as '10.3.0.30'.
    """

    trt: Any
    version: str

    @property
    def major(self) -> int:
        """First part of the version: what the way of building depends on."""
        return int(self.version.split('.')[0])


def open_library() -> Library:
    """Import TensorRT; only after a GPU was found.

    Without a working driver, TensorRT can return objects whose first use ends the process, which
    no `except` catches.

    :raises BackendError: when it is missing or too old.
    """
    try:
        trt = importlib.import_module('tensorrt')
    except ImportError as error:
        raise BackendError(
            f"backend 'tensorrt' cannot be imported ({error}); on a Jetson apt install "
            'python3-libnvinfer (a venv needs --system-site-packages), elsewhere pip install '
            'tensorrt, or choose another backend'
        ) from error
    version = str(trt.__version__)
    if tuple(int(part) for part in version.split('.')[:2]) < _OLDEST:
        raise BackendError(f'TensorRT {version} is too old; 8.6 or newer, best 10.3 or newer')
    return Library(trt, _four_parts(version))


def _four_parts(version: str) -> str:
    """Version of the library itself, which is what an engine is checked against.

    The module's own may have three parts ('10.3.0' on JetPack 6).
    """
    parts = ('Major', 'Minor', 'Patch', 'Build')
    try:
        # Already loaded by the module, so it is found wherever that found it.
        library = ctypes.CDLL(f'libnvinfer.so.{version.split(".")[0]}')
        return '.'.join(str(getattr(library, f'getInferLib{part}Version')()) for part in parts)
    except (OSError, AttributeError):  # 8.6 does not have these functions
        return version


@cache
def log_of(trt: Any) -> Any:
    """The process's logger, which keeps the last complaints: TensorRT tells reasons nowhere else.

    One for good: TensorRT goes on using the first that it was given, whoever made it. It is
    called from TensorRT's own threads; appending to a deque needs no lock.
    """

    class Log(trt.ILogger):
        def __init__(self) -> None:
            # Not super(): the bindings demand their own constructor to be called.
            trt.ILogger.__init__(self)
            self._errors: deque[str] = deque(maxlen=_KEPT_LINES)
            self._warnings: deque[str] = deque(maxlen=_KEPT_LINES)

        def log(self, severity: Any, msg: str) -> None:
            levels = trt.ILogger.Severity
            if severity in (levels.INTERNAL_ERROR, levels.ERROR):
                self._errors.append(' '.join(msg.split()))
            elif severity == levels.WARNING:
                self._warnings.append(' '.join(msg.split()))

        def clear(self) -> None:
            """Forget, before something that may fail."""
            self._errors.clear()
            self._warnings.clear()

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

    return Log()


def engine_precision(trt: Any, engine: Any, built_for: str) -> str:
    """What most tensors between an engine's layers hold: 'fp32', 'fp16' or 'int8'.

    Read from the inspector, as what was asked for is a permission up to TensorRT 10. Its text
    differs between versions and was not seen on hardware; where no type is recognised, this is
    `built_for`.
    """
    inspector = engine.create_engine_inspector()
    if inspector is None:
        return built_for
    text = inspector.get_engine_information(trt.LayerInformationFormat.JSON)
    try:
        types = list(_types(json.loads(text)))
    except (TypeError, ValueError):
        return built_for
    counts = {
        name: sum(bool(re.search(rf'\b({words})\b', kind, re.I)) for kind in types)
        for name, words in _TYPES.items()
    }
    name = max(counts, key=lambda name: counts[name])
    return name if counts[name] else built_for


def _types(node: Any, key: str = '') -> Iterator[str]:
    """Values of 'Format/Datatype', 'DataType' and the like, anywhere in the inspector's JSON."""
    if isinstance(node, dict):
        for name, value in node.items():
            yield from _types(value, name)
    elif isinstance(node, list):
        for value in node:
            yield from _types(value, key)
    elif isinstance(node, str) and 'datatype' in key.lower():
        yield node
