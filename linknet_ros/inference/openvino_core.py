"""The one openvino.Core of this process."""

from __future__ import annotations

import threading

import openvino

from linknet_ros.inference.int8_twin import int8_overflows

_lock = threading.Lock()
_core: openvino.Core | None = None


def float_options() -> dict[str, object]:
    """Of compile_model, to compute in float32, which OpenVINO would not choose by itself.

    The convolutions of an int8 file stay in int8 where that does not overflow.
    """
    options: dict[str, object] = {'INFERENCE_PRECISION_HINT': 'f32'}
    if int8_overflows():
        options['LP_TRANSFORMS_MODE'] = 'NO'
    return options


def openvino_core() -> openvino.Core:
    """The Core that everything here reads and compiles with. It lives as long as the process.

    OpenVINO's CPU plugin, one per Core, gives its thread a stack for signals, and takes it back
    when it goes. Of two that overlap, the second to go puts back the first one's, which no longer
    exists: the next signal, e.g. of Ctrl-C, was a segmentation fault (OpenVINO 2026.4,
    `SigAltStackSetup` in src/plugins/intel_cpu/src/plugin.cpp).
    """
    global _core
    with _lock:
        if _core is None:
            _core = openvino.Core()
        return _core
