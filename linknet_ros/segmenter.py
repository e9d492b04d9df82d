"""Frame in, labels out: fit, infer, crop."""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from linknet_ros.backends import Backend, open_backend
from linknet_ros.classes import UNLABELED
from linknet_ros.errors import FrameError, ParameterError
from linknet_ros.frame_fitting import Fit, FrameFitter, fit_frame
from linknet_ros.model_file import STRIDE, ModelFile

#: Frame sizes kept ready at once; each holds a compiled network.
_KEPT_SIZES = 3


@dataclass(frozen=True)
class Segmentation:
    """Result for one frame; the arrays are the receiver's own.

    :param labels: (H, W) uint8 class ids of the frame's size, 255 where unlabelled.
    :param confidence: (H, W) uint8, round(255 * softmax maximum), of the frame's size.
    :param fit_seconds: time spent on scaling the frame in and the labels out.
    :param infer_seconds: time spent in the back end.
    """

    labels: NDArray[np.uint8]
    confidence: NDArray[np.uint8]
    fit_seconds: float
    infer_seconds: float


class Segmenter:
    """Segments frames of any size with one model; used by one thread at a time.

    :param model: from load_model_file.
    :param backend: 'auto', 'tensorrt', 'openvino' or 'onnxruntime'.
    :param precision: 'auto', 'fp32', 'fp16', 'bf16' or 'int8'.
    :param network_size: (width, height) in pixels that frames are fitted into; a 0 stands for
        the model's default. Larger sees finer things and takes longer.
    :param threads: processor threads of the back end, 0 lets it choose.
    :raises BackendError: when the back end does not open.
    :raises ParameterError: when the network size is too small.
    """

    def __init__(
        self,
        model: ModelFile,
        *,
        backend: str = 'auto',
        precision: str = 'auto',
        network_size: tuple[int, int] = (0, 0),
        threads: int = 0,
    ) -> None:
        self.model = model
        self._open_backend = partial(
            open_backend, model, backend=backend, precision=precision, threads=threads
        )
        width, height = (n or d for n, d in zip(network_size, model.default_size, strict=True))
        if width < STRIDE or height < STRIDE:
            raise ParameterError(f'network size {width}x{height} is too small, use 32x32 or more')
        self._network_size = (width, height)
        self._ready: OrderedDict[Fit, tuple[FrameFitter, Backend]] = OrderedDict()
        # Opening now lets a back end that cannot run the model fail here, not on the road.
        _, opened = self.prepare(width, height)
        self.backend = opened.name
        self.precision = opened.precision

    def prepare(self, frame_width: int, frame_height: int) -> tuple[FrameFitter, Backend]:
        """Get ready for frames of a size; takes a moment for a size that is new."""
        fit = fit_frame(frame_width, frame_height, *self._network_size)
        ready = self._ready.get(fit)
        if ready is None:
            backend = self._open(fit)
            ready = self._ready[fit] = (FrameFitter(fit), backend)
            if len(self._ready) > _KEPT_SIZES:
                _, (_, oldest) = self._ready.popitem(last=False)
                if all(kept is not oldest for _, kept in self._ready.values()):
                    oldest.close()
        self._ready.move_to_end(fit)
        return ready

    def segment(self, frame: NDArray[np.uint8], min_confidence: float = 0.0) -> Segmentation:
        """Segment one frame.

        :param frame: (H, W, 3) uint8 BGR.
        :param min_confidence: pixels less certain than this, 0 to 1, become unlabelled.
        :raises FrameError: when the array is no colour image.
        """
        if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8 or not frame.size:
            raise FrameError(
                f'frame is {frame.dtype} of shape {frame.shape}, expected uint8 (H, W, 3) BGR'
            )
        height, width = frame.shape[:2]
        fitter, backend = self.prepare(width, height)
        start = time.perf_counter()
        image = fitter.to_network(frame)
        fitted = time.perf_counter()
        labels, confidence = backend.infer(image)
        inferred = time.perf_counter()
        # Copies: the results outlive the back end's buffers, which the next frame overwrites.
        labels = fitter.crop(labels).copy()
        confidence = fitter.crop(confidence).copy()
        # A softmax maximum is never below 1 / classes, so a confidence of 0 means that the
        # network computed nonsense (NaN): unlabelled too, whatever class the argmax names.
        labels[confidence < max(1, round(255 * min_confidence))] = UNLABELED
        labels = fitter.to_frame(labels)
        confidence = fitter.to_frame(confidence)
        end = time.perf_counter()
        return Segmentation(labels, confidence, fitted - start + end - inferred, inferred - fitted)

    def close(self) -> None:
        """Free the back ends."""
        for backend in {id(backend): backend for _, backend in self._ready.values()}.values():
            backend.close()
        self._ready.clear()

    def _open(self, fit: Fit) -> Backend:
        for other, (_, backend) in self._ready.items():
            # Frames of another size can share a network of the same input size.
            if (other.buffer_height, other.buffer_width) == (fit.buffer_height, fit.buffer_width):
                return backend
        return self._open_backend(height=fit.buffer_height, width=fit.buffer_width)
