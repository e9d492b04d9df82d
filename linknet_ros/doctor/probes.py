"""What the doctor tries, each in a process of its own: `python -m linknet_ros.doctor.probes NAME`.

Nothing is imported before it is needed: any of it may be missing or kill the process.
"""

from __future__ import annotations

import importlib
import sys
import time
from typing import Any

from linknet_ros.system.child_process import answer


def _numpy() -> Any:
    import numpy as np

    # Loads the linear algebra library, which has its own ways to fail.
    if not (np.eye(2) @ np.ones(2) == 1).all():
        raise ArithmeticError('NumPy multiplies matrices wrongly')
    return {'version': np.__version__}


def _opencv() -> Any:
    import cv2
    import numpy as np

    grey = cv2.cvtColor(np.full((8, 8, 3), 7, np.uint8), cv2.COLOR_BGR2GRAY)
    if not (cv2.resize(grey, (4, 4)) == 7).all():
        raise ArithmeticError('OpenCV scales images wrongly')
    return {'version': cv2.__version__}


def _onnx() -> Any:
    import onnx

    return {'version': onnx.__version__}


def _openvino() -> Any:
    import openvino

    core = openvino.Core()
    processor = core.get_property('CPU', 'FULL_DEVICE_NAME')
    return {
        'version': openvino.__version__.partition('-')[0],
        'about': f'devices {", ".join(core.available_devices)}; {processor}',
    }


def _onnxruntime() -> Any:
    import onnxruntime

    providers = onnxruntime.get_available_providers()
    return {'version': onnxruntime.__version__, 'about': f'providers {", ".join(providers)}'}


def _tensorrt() -> Any:
    missing = None
    # As the back end tries them; the classic library is the one that is missed if there is none.
    for name in ('tensorrt', 'tensorrt_rtx', 'tensorrt_rtx_bindings'):
        try:
            library = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name:
                raise
            missing = missing or error
        else:
            about = {} if name == 'tensorrt' else {'about': 'TensorRT-RTX'}
            return {'version': library.__version__, **about}
    assert missing is not None
    raise missing


def _cuda() -> Any:
    from linknet_ros.system.nvidia_driver import cuda_driver

    return cuda_driver()


def _backends() -> Any:
    from linknet_ros.inference.backend import BACKENDS

    return list(BACKENDS)


def _model(path: str) -> Any:
    from linknet_ros.inference.model_file import load_model

    model = load_model(path)
    width, height = model.default_size
    return {
        'name': model.name,
        'about': f'{model.architecture}, {len(model.classes)} classes of {model.dataset}, '
        f'{width}x{height}',
    }


def _inference(path: str, backend: str, precision: str) -> Any:
    import numpy as np

    from linknet_ros.inference.model_file import load_model
    from linknet_ros.inference.segmenter import Segmenter

    model = load_model(path)
    segmenter = Segmenter(model, backend=backend, precision=precision)
    width, height = model.default_size
    frame = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        segmenter.segment(frame)
        times.append(time.perf_counter() - start)
    return {
        'backend': segmenter.backend,
        'precision': segmenter.precision,
        'ms': 1e3 * sorted(times)[2],
    }


PROBES = {
    'numpy': _numpy,
    'opencv': _opencv,
    'onnx': _onnx,
    'openvino': _openvino,
    'onnxruntime': _onnxruntime,
    'tensorrt': _tensorrt,
    'cuda': _cuda,
    'backends': _backends,
    'model': _model,
    'inference': _inference,
}


if __name__ == '__main__':
    probe, *given = sys.argv[1:]
    answer(lambda: PROBES[probe](*given))  # type: ignore[operator]
