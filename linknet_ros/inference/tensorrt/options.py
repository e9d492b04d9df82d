"""What a user may say about the TensorRT back end; knows neither TensorRT nor CUDA."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from linknet_ros.errors import ParameterError

#: The two libraries, see library.py.
CLASSIC, RTX = 'classic', 'rtx'

LIBRARIES = ('auto', CLASSIC, RTX)

ZERO_COPY = ('auto', 'on', 'off')

_LOG = logging.getLogger('linknet_ros')


def default_cache_dir() -> Path:
    """`linknet_ros/engines` in the user's cache folder (XDG base directory specification)."""
    base = os.environ.get('XDG_CACHE_HOME', '')
    # The specification: a relative path is to be ignored.
    root = Path(base) if os.path.isabs(base) else Path(os.path.expanduser('~/.cache'))
    return root / 'linknet_ros' / 'engines'


@dataclass(frozen=True)
class TensorrtOptions:
    """How TensorRT builds and runs an engine.

    :param library: 'classic' (TensorRT), 'rtx' (TensorRT-RTX), or 'auto': the first installed.
    :param cache_dir: folder of built engines.
    :param device: index of the GPU.
    :param zero_copy: whether the GPU reads frames from the processor's memory itself: 'on', 'off'
        (copies), or 'auto', which does on GPUs that share it (Jetson). Not measured on hardware.
    :param cuda_graph: replay the network as one CUDA graph where it can be recorded.
    :param workspace_mib: most memory for what the layers compute, MiB; 0 for as much as they
        need. It grows with the image: LinkNet at 3840x2176 takes 560 MiB in fp16.
    :param optimization_level: 0 (built fast) to 5 (runs fast); 3 is TensorRT's default.
    :param build: build an engine where none is stored; False raises NoEngineError there.
    :param rebuild: build even if a good engine is stored.
    :param cancel: set from another thread to give up a build.
    :param report: gets one line at a time about what takes long and what is worked around, on the
        thread that opens the back end or on the back end's own.
    :raises ParameterError: for a value out of range.
    """

    library: str = 'auto'
    cache_dir: Path = field(default_factory=default_cache_dir)
    device: int = 0
    zero_copy: str = 'auto'
    cuda_graph: bool = True
    workspace_mib: int = 0
    optimization_level: int = 3
    build: bool = True
    rebuild: bool = False
    cancel: threading.Event = field(default_factory=threading.Event)
    report: Callable[[str], None] = _LOG.info

    def __post_init__(self) -> None:
        if self.library not in LIBRARIES:
            raise ParameterError(f"library is '{self.library}'", f'use {", ".join(LIBRARIES)}')
        if self.zero_copy not in ZERO_COPY:
            raise ParameterError(f"zero_copy is '{self.zero_copy}'", f'use {", ".join(ZERO_COPY)}')
        if not 0 <= self.optimization_level <= 5:
            raise ParameterError(f'optimization_level is {self.optimization_level}', 'use 0 to 5')
        if self.workspace_mib < 0:
            raise ParameterError(f'workspace_mib is {self.workspace_mib}', 'use 0 or more')
