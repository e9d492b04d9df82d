"""Frame in, labels out: fit, infer, crop."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
from numpy.typing import NDArray

from linknet_ros.classes import UNLABELED
from linknet_ros.errors import FrameError
from linknet_ros.inference.backend import Backend
from linknet_ros.inference.fitting import Fit, FrameFitter, fit_frame, nearest, turned
from linknet_ros.inference.model_file import ModelFile
from linknet_ros.inference.open_backend import open_backend
from linknet_ros.inference.tensorrt.options import TensorrtOptions
from linknet_ros.system.memory import give_back_freed_memory

_LOG = logging.getLogger('linknet_ros')


@dataclass(frozen=True)
class Fitted:
    """A frame in the form that the network takes; gone with the frame after the next.

    :param image: (H, W, 3) uint8 BGR, sides are multiples of the network's stride.
    """

    fitter: FrameFitter
    image: NDArray[np.uint8]


@dataclass(frozen=True)
class Inferred:
    """What the network says of a frame, at its own resolution; the arrays are the receiver's.

    :param labels: (H, W) uint8 class ids, without padding.
    :param confidence: (H, W) uint8, round(255 * softmax maximum), without padding.
    """

    fitter: FrameFitter
    labels: NDArray[np.uint8]
    confidence: NDArray[np.uint8]


@dataclass(frozen=True)
class Segmentation:
    """Result for one frame; the arrays are the receiver's own.

    :param labels: (H, W) uint8 class ids of the frame's size, 255 where unlabelled.
    :param network_confidence: (h, w) uint8, round(255 * softmax maximum), as the network gave it.
    :param to_frame: scales it to the frame's size.
    :param rotate: by how much the frame has to be turned clockwise to be upright [degrees].
    :param network_labels: (h, w) uint8 class ids as the network gave them; None: `labels` are.
    """

    labels: NDArray[np.uint8]
    network_confidence: NDArray[np.uint8]
    to_frame: Callable[[NDArray[np.uint8]], NDArray[np.uint8]] = lambda image: image
    rotate: int = 0
    network_labels: NDArray[np.uint8] | None = None

    @cached_property
    def confidence(self) -> NDArray[np.uint8]:
        """(H, W) uint8, round(255 * softmax maximum); scaled when it is first used."""
        return self.to_frame(self.network_confidence)

    def at_size(self, width: int, height: int) -> Segmentation:
        """The same at another size [px], scaled straight from the network's resolution.

        Scaled twice, ids would move by up to another half of a pixel.
        """
        if self.labels.shape == (height, width):
            return self
        labels = self.labels if self.network_labels is None else self.network_labels

        def to_size(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
            return nearest(turned(image, -self.rotate % 360), width, height)

        return Segmentation(to_size(labels), self.network_confidence, to_size, self.rotate, labels)


class Segmenter:
    """Segments frames of any size with one model.

    `segment` does it all. Its three steps can also be called one by one, each from a thread of
    its own, so that one frame is fitted and another finished while a third is in the network.

    :param model: from load_model.
    :param backend: 'auto', 'tensorrt', 'openvino' or 'onnxruntime'.
    :param precision: 'auto', 'fp32', 'fp16', 'bf16' or 'int8'.
    :param network_size: (width, height) in pixels that frames are fitted into; a 0 stands for
        the model's default. Larger sees finer things and takes longer.
    :param threads: processor threads of the back end, 0 lets it choose.
    :param kept_sizes: frame sizes kept ready at once; each network size is a compiled network.
    :param tensorrt: see open_backend, as for `wait_for_engine`, `on_step_down` and `on_choice`.
    :raises BackendError: when the back end does not open.
    :raises ParameterError: when the network does not take that size.
    """

    def __init__(
        self,
        model: ModelFile,
        *,
        backend: str = 'auto',
        precision: str = 'auto',
        network_size: tuple[int, int] = (0, 0),
        threads: int = 0,
        kept_sizes: int = 3,
        tensorrt: TensorrtOptions | None = None,
        wait_for_engine: bool = True,
        on_step_down: Callable[[str], None] = _LOG.info,
        on_choice: Callable[[str], None] = _LOG.info,
    ) -> None:
        self.model = model
        self._kept_sizes = kept_sizes
        self._open_backend = partial(
            open_backend,
            model,
            backend=backend,
            precision=precision,
            threads=threads,
            tensorrt=tensorrt,
            wait_for_engine=wait_for_engine,
            on_step_down=on_step_down,
            on_choice=on_choice,
        )
        self._network_size = width, height = model.network_size(network_size)
        self._fitters: OrderedDict[Fit, FrameFitter] = OrderedDict()
        self._backends: OrderedDict[tuple[int, int], Backend] = OrderedDict()
        # Opening now lets a back end that cannot run the model fail here, not on the road.
        self.prepare(width, height)

    @property
    def backend(self) -> str:
        """Name of the back end that runs now, see Backend; it may change between two frames."""
        return self._newest.name

    @property
    def precision(self) -> str:
        """Arithmetic that runs now, see Backend; it may change as well."""
        return self._newest.precision

    @property
    def frames(self) -> list[tuple[int, int, int]]:
        """(width, height, rotate) of the newest kinds of frames, for `prepare` of another one."""
        return [(fit.frame_width, fit.frame_height, fit.rotate) for fit in list(self._fitters)]

    def prepare(self, frame_width: int, frame_height: int, rotate: int = 0) -> None:
        """Get ready for frames of a size, which takes a moment; infer does it for a new size.

        :param rotate: see fit.
        """
        size = (frame_width, frame_height, *self._network_size)
        fit = fit_frame(*size, self.model.steps, rotate)
        self._backend_for(fit.buffer_height, fit.buffer_width)

    def segment(self, frame: NDArray[np.uint8], min_confidence: float = 0.0) -> Segmentation:
        """Segment one frame.

        :param frame: (H, W, 3) uint8 BGR.
        :param min_confidence: pixels less certain than this, 0 to 1, become unlabelled.
        :raises FrameError: when the array is not a colour image.
        """
        return self.finish(self.infer(self.fit(frame)), min_confidence)

    def fit(self, frame: NDArray[np.uint8], rotate: int = 0) -> Fitted:
        """First step: scale a frame into the network's size; see segment.

        :param rotate: by how much it is turned for the network, clockwise, one of TURNS [degrees].
            Labels match the frame as it is.
        """
        if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8 or not frame.size:
            raise FrameError(
                f'frame is {frame.dtype} of shape {frame.shape}, expected uint8 (H, W, 3) BGR'
            )
        height, width = frame.shape[:2]
        fit = fit_frame(width, height, *self._network_size, self.model.steps, rotate)
        fitter = self._fitters.get(fit)
        if fitter is None:
            fitter = self._fitters[fit] = FrameFitter(fit)
        self._fitters.move_to_end(fit)
        if len(self._fitters) > self._kept_sizes:
            self._fitters.popitem(last=False)
        return Fitted(fitter, fitter.to_network(frame))

    def infer(self, fitted: Fitted) -> Inferred:
        """Second step: run the network.

        :raises BackendError: when the back end fails.
        """
        height, width = fitted.image.shape[:2]
        labels, confidence = self._backend_for(height, width).infer(fitted.image)
        # Copies: the results outlive the back end's buffers, which the next frame overwrites.
        crop = fitted.fitter.crop
        return Inferred(fitted.fitter, crop(labels).copy(), crop(confidence).copy())

    def finish(self, inferred: Inferred, min_confidence: float = 0.0) -> Segmentation:
        """Third step: labels of the frame's size, unlabelled where they are not certain enough.

        :param inferred: from infer; its labels are changed.
        :param min_confidence: see segment.
        """
        labels, confidence = inferred.labels, inferred.confidence
        # A softmax maximum is never below 1 / classes, so a confidence of 0 means that the
        # network computed nonsense (NaN): unlabelled too, whatever class the argmax names.
        labels[confidence < max(1, round(255 * min_confidence))] = UNLABELED
        to_frame = inferred.fitter.to_frame
        fit = inferred.fitter.fit
        return Segmentation(to_frame(labels), confidence, to_frame, fit.rotate, labels)

    def close(self) -> None:
        """Free the back ends."""
        for backend in self._backends.values():
            backend.close()
        self._backends.clear()

    def _backend_for(self, height: int, width: int) -> Backend:
        """The back end of a network size; frames of several sizes can share one."""
        backend = self._backends.get((height, width))
        if backend is None:
            backend = self._backends[height, width] = self._open_backend(
                height=height, width=width
            )
            # Opening a network takes 100 MB for a moment.
            give_back_freed_memory()
            if len(self._backends) > self._kept_sizes:
                self._backends.popitem(last=False)[1].close()
        self._backends.move_to_end((height, width))
        self._newest = backend
        return backend
