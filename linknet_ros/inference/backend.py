"""What a back end is: it runs a model file's graph at one fixed size."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

#: Back ends that need no GPU.
CPU_BACKENDS = ('openvino', 'onnxruntime')

#: All back ends, by the name of the package that each needs. `auto` takes the first that opens.
BACKENDS = ('tensorrt', *CPU_BACKENDS)

PRECISIONS = ('auto', 'fp32', 'fp16', 'bf16', 'int8')


class Backend(Protocol):
    """Runs the network at one size; used by one thread at a time."""

    @property
    def name(self) -> str:
        """One of BACKENDS."""

    @property
    def precision(self) -> str:
        """Arithmetic that really runs, one of PRECISIONS but auto, whatever was requested."""

    def infer(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Labels and confidence of an image.

        :param image: (H, W, 3) uint8 BGR of the size the back end was opened for, C-contiguous.
        :returns: labels and confidence, each (H, W) uint8. They belong to the back end and are
            overwritten by the next call, and gone after `close`.
        :raises BackendError: when the image has another size or the runtime fails.
        """

    def close(self) -> None:
        """Free what the back end holds; it cannot be used any more."""
