"""OpenVINO: the fastest back end on x86 and ARM processors."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linknet_ros.errors import BackendError, first_line
from linknet_ros.inference.int8_twin import int8_overflows
from linknet_ros.inference.model_file import ModelFile
from linknet_ros.inference.openvino_core import openvino_core

#: What is computed in float. In an int8 file that is little beside the convolutions, and bf16
#: gained nothing there (19.5 ms either way): fp32 gives the same labels on every processor.
_HINTS = {'fp32': 'f32', 'bf16': 'bf16', 'int8': 'f32'}

#: Our names of OpenVINO's types.
_NAMES = {'f32': 'fp32', 'bf16': 'bf16', 'f16': 'fp16', 'i8': 'int8', 'u8': 'int8'}


class OpenvinoBackend:
    """A compiled model on the processor; see Backend.

    An fp16 file is computed in fp32 or bf16. `precision` is read from the compiled graph: where
    the processor has no int8 convolutions, or their sums overflow, an int8 file runs in float and
    says so.
    """

    name = 'openvino'

    def __init__(
        self, model: ModelFile, height: int, width: int, precision: str, threads: int
    ) -> None:
        model.check_precision(precision)
        if precision == 'fp16':
            raise BackendError(
                'backend openvino computes in fp32 or bf16',
                'use precision auto, or for fp16 backend tensorrt',
            )
        core = openvino_core()
        native_bf16 = 'BF16' in core.get_property('CPU', 'OPTIMIZATION_CAPABILITIES')
        if model.precision == 'int8':
            precision = 'int8'
        elif precision == 'auto':
            precision = 'bf16' if native_bf16 else 'fp32'
        if precision == 'bf16' and not native_bf16:
            raise BackendError(
                'precision bf16 needs a processor with bf16 arithmetic (AVX512-BF16, AMX, '
                'Armv8.6), which this one does not have',
                'use precision auto or fp32',
            )
        # OpenVINO would choose bf16 by itself where the processor has it: always say which.
        options: dict[str, object] = {
            'PERFORMANCE_HINT': 'LATENCY',
            'INFERENCE_PRECISION_HINT': _HINTS[precision],
            # The hint means one stream on all cores, each thread bound to one: on a core that
            # another program keeps busy, it waits there though another is free. Unbound was 2 to
            # 22 % faster in seven runs beside such programs, at the 90th percentile 8 to 29 %
            # (two cores; the same setting against itself: 13 % faster to 7 % slower).
            'ENABLE_CPU_PINNING': False,
        }
        if precision == 'int8' and int8_overflows():
            # Keeps the convolutions in float. Without it, the model that ships named another class
            # than in fp32 on 9 % of CamVid val's pixels, sky above all; with it, on 0.5 %.
            options['LP_TRANSFORMS_MODE'] = 'NO'
            precision = 'fp32'
        if threads:
            options['INFERENCE_NUM_THREADS'] = threads
        graph = model.graph()
        try:
            network = core.read_model(graph)
            network.reshape({'image': [1, height, width, 3]})
            compiled = core.compile_model(network, 'CPU', options)
        except RuntimeError as error:
            raise BackendError(f'OpenVINO cannot load {model.path}: {_reason(error)}') from error
        self.precision = _executed_precision(compiled, precision)
        if self.precision == 'int8' and int8_overflows():
            raise BackendError(
                f'sums of {model.path} would overflow on this processor (no VNNI, no AMX)',
                'use the fp32 file of the same network, or backend onnxruntime',
            )
        self._request = compiled.create_infer_request()
        self._labels = compiled.output('labels')
        self._confidence = compiled.output('confidence')
        self._shape = (height, width, 3)

    def infer(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """See Backend.infer."""
        if image.shape != self._shape:
            raise BackendError(f'image is {image.shape}, opened for {self._shape}')
        try:
            result = self._request.infer(
                {0: image[np.newaxis]}, share_inputs=True, share_outputs=True
            )
        except RuntimeError as error:
            raise BackendError(f'OpenVINO failed: {_reason(error)}') from error
        return result[self._labels][0], result[self._confidence][0]

    def close(self) -> None:
        """See Backend.close."""
        del self._request, self._labels, self._confidence


def _executed_precision(compiled: Any, asked: str) -> str:
    """What most convolutions of a compiled model are computed in; `asked` where there are none."""
    kinds: Counter[str] = Counter()
    for layer in compiled.get_runtime_model().get_ops():
        about = layer.get_rt_info()
        if about['layerType'].astype(str) in ('Convolution', 'Deconvolution'):
            kinds[about['runtimePrecision'].astype(str)] += 1
    names = Counter({name: kinds[kind] for kind, name in _NAMES.items()})
    names['int8'] = kinds['i8'] + kinds['u8']
    return names.most_common(1)[0][0] if names.total() else asked


def _reason(error: RuntimeError) -> str:
    """The line that says what is wrong, after those that say where in OpenVINO it was noticed."""
    lines = [line.strip() for line in str(error).splitlines()]
    telling = [line for line in lines if line and not line.endswith(':')]
    return telling[0] if telling else first_line(error)
