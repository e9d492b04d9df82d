"""A network as it came, run in ONNX Runtime, with NumPy doing the rest: what is right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from linknet_ros.classes import UNLABELED
from linknet_ros.errors import BackendError, ModelError, first_line
from linknet_ros.importing.interface import Head, Interface, Layout, Normalization


class Original:
    """The network's file in ONNX Runtime.

    :param path: for messages.
    :raises BackendError: where ONNX Runtime is missing.
    :raises ModelError: when it cannot load the network.
    """

    def __init__(self, path: Path, data: bytes) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise BackendError(
                f'importing a network needs onnxruntime ({error})', 'pip install onnxruntime'
            ) from error
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        # Other programs need the cores too.
        options.add_session_config_entry('session.intra_op.allow_spinning', '0')
        try:
            self._session = onnxruntime.InferenceSession(
                data, options, providers=['CPUExecutionProvider']
            )
        except Exception as error:  # onnxruntime's own errors share no base but Exception
            reason = first_line(error)
            raise ModelError(f'ONNX Runtime cannot load {path}: {reason}') from error
        self._types = {i.name: i.type for i in self._session.get_inputs()}
        self.output_names = [output.name for output in self._session.get_outputs()]

    def run(
        self, image: NDArray[np.uint8], name: str, layout: Layout, normalization: Normalization
    ) -> dict[str, Any]:
        """Outputs by name for an image, (H, W, 3) uint8 BGR.

        :raises Exception: whatever ONNX Runtime raises.
        """
        kind = self._types[name]
        if normalization.order == 'rgb':
            image = image[:, :, ::-1]
        mean, std = (np.array(v, np.float32) for v in (normalization.mean, normalization.std))
        x = (image.astype(np.float32) / np.float32(255) - mean) / std
        x = x.transpose(2, 0, 1) if layout == 'NCHW' else x
        if 'int' in kind:
            x = np.rint(x)
        x = np.ascontiguousarray(x[np.newaxis], dtype=_NUMPY.get(kind, np.float32))
        results = self._session.run(self.output_names, {name: x})
        return dict(zip(self.output_names, results, strict=True))

    def labels(
        self,
        image: NDArray[np.uint8],
        interface: Interface,
        classes: int,
        threshold: float,
    ) -> NDArray[np.uint8]:
        """Class ids of an image of a size that the network takes.

        :param image: (H, W, 3) uint8 BGR.
        :param classes: number of classes; another id becomes unlabelled.
        :returns: (H, W) uint8.
        """
        head = interface.head
        outputs = self.run(image, interface.input, interface.layout, interface.normalization)
        planes = planes_of(outputs[head.output], head)
        height, width = image.shape[:2]
        nearest, linear = cv2.INTER_NEAREST_EXACT, cv2.INTER_LINEAR
        how = nearest if head.kind == 'ids' else linear
        large = [cv2.resize(plane, (width, height), interpolation=how) for plane in planes]
        if head.kind == 'ids':
            known = (large[0] >= 0) & (large[0] < classes)
            labels = np.where(known, large[0], UNLABELED)
        elif head.channels == 1:
            limit = threshold if head.kind == 'probabilities' else _logit(threshold)
            labels = large[0] > limit
        else:
            labels = np.stack(large).argmax(0)
        return np.asarray(labels, np.uint8)


#: Types of inputs that are not float32, as ONNX Runtime writes them.
_NUMPY: dict[str, type] = {
    'tensor(float16)': np.float16,
    'tensor(double)': np.float64,
    'tensor(uint8)': np.uint8,
    'tensor(int8)': np.int8,
    'tensor(int32)': np.int32,
    'tensor(int64)': np.int64,
}


def planes_of(output: NDArray[Any], head: Head) -> NDArray[np.float32]:
    """An output as (channels, h, w) float32."""
    if head.layout == 'NHW':
        output = output[:, np.newaxis]
    elif head.layout == 'NHWC':
        output = output.transpose(0, 3, 1, 2)
    return np.ascontiguousarray(output[0], np.float32)


def _logit(share: float) -> float:
    """Score whose sigmoid is `share`."""
    return float(np.log(share) - np.log1p(-share)) if share < 1 else float('inf')
