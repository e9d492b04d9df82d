"""ONNX Runtime on the processor: the back end that is available nearly everywhere."""

from __future__ import annotations

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from linknet_ros.errors import BackendError, first_line
from linknet_ros.inference.model_file import ModelFile


class OnnxruntimeBackend:
    """A session on the processor, float32 only; see Backend.

    It reads fp16 and int8 files as well, and computes them in fp32: it has no kernels here for
    signed int8 convolutions between the nodes of an int8 file, so it rounds to int8 and
    multiplies in float, slower than the fp32 file.
    """

    name = 'onnxruntime'
    precision = 'fp32'

    def __init__(
        self, model: ModelFile, height: int, width: int, precision: str, threads: int
    ) -> None:
        model.check_precision(precision)
        if precision not in ('auto', 'fp32', 'int8'):
            raise BackendError(
                'backend onnxruntime computes in fp32 only',
                f'use precision auto or fp32, or for {precision} another backend',
            )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        # Waiting threads that spin take the cores from the camera driver and the planner.
        options.add_session_config_entry('session.intra_op.allow_spinning', '0')
        graph = model.graph()
        try:
            self._session = onnxruntime.InferenceSession(
                graph, options, providers=['CPUExecutionProvider']
            )
        except Exception as error:  # onnxruntime's own errors share no base but Exception
            reason = first_line(error)
            raise BackendError(f'ONNX Runtime cannot load {model.path}: {reason}') from error
        self._shape = (height, width, 3)
        self._results = [np.zeros((1, height, width), np.uint8) for _ in range(2)]
        self._binding = self._session.io_binding()
        for name, result in zip(('labels', 'confidence'), self._results, strict=True):
            self._binding.bind_output(name, 'cpu', 0, np.uint8, result.shape, result.ctypes.data)

    def infer(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """See Backend.infer."""
        if image.shape != self._shape:
            raise BackendError(f'image is {image.shape}, opened for {self._shape}')
        try:
            self._binding.bind_cpu_input('image', image[np.newaxis])
            self._session.run_with_iobinding(self._binding)
        except Exception as error:
            raise BackendError(f'ONNX Runtime failed: {first_line(error)}') from error
        labels, confidence = self._results
        return labels[0], confidence[0]

    def close(self) -> None:
        """See Backend.close."""
        del self._session, self._binding
