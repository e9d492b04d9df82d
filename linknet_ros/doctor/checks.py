"""The doctor's checks that know no ROS: Python, libraries, GPU, model file, back ends."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

from linknet_ros.doctor.finding import Finding, ok
from linknet_ros.system.child_process import CRASH, TIMEOUT, Outcome, ask
from linknet_ros.system.nvidia_driver import LIBRARY

#: Seconds for an import; a robot's first one of the day reads the libraries from its SD card.
_IMPORT_SECONDS = 60.0
#: Seconds for running the model; TensorRT builds an engine first.
_RUN_SECONDS = 900.0

_OLDEST_PYTHON = (3, 10)

_ABOVE = 'mend what is broken above'
_NO_MODEL_FIX = 'check its path and permissions'
_IMPORT_ERRORS = ('ImportError', 'ModuleNotFoundError')

#: The back ends, if even their names cannot be read because NumPy is missing.
_BACKENDS = ('openvino', 'onnxruntime')

#: What libraries say that were built for NumPy 1 and find NumPy 2.
_BUILT_FOR_NUMPY_1 = re.compile(
    r'compiled using NumPy 1|_ARRAY_API not found|numpy\.core\.multiarray failed'
    r'|dtype size changed|compiled against A[BP]I version'
)

#: What the back end needs, in the order it asks. Not as the extra `gpu`: on a Jetson TensorRT
#: comes from apt, and a container has it already.
_GET_TENSORRT = (
    'pip install tensorrt (an RTX card: tensorrt-rtx-cu13-libs and -bindings), and cuda-bindings '
    "of the driver's CUDA version; on a Jetson see docs/jetson.md, Install"
)

#: Where the traces of an NVIDIA GPU are: a driver in the kernel, a Jetson.
_GPU_TRACES = ('/proc/driver/nvidia/version', '/dev/nvidia0', '/etc/nv_tegra_release')

#: What to do about a CUresult, by its code (CUDA Driver API).
_CUDA_FIXES = {
    34: 'take the folder `stubs` of the CUDA toolkit out of LD_LIBRARY_PATH',
    100: '`nvidia-smi` must list a GPU; start a container with `--gpus all`',
    803: 'restart the machine: kernel driver and driver library are of different versions',
    804: 'install a newer driver, or take the folder `compat` out of LD_LIBRARY_PATH',
}


def probe(name: str, *arguments: str, seconds: float = 0) -> Outcome:
    """Outcome of a probe of probes.py.

    :param seconds: 0 for the time that an import may take.
    """
    return ask('linknet_ros.doctor.probes', name, *arguments, seconds=seconds or _IMPORT_SECONDS)


def built_for_numpy_1(outcome: Outcome) -> bool:
    """Whether a library failed because it was built for another NumPy than it found."""
    return _BUILT_FOR_NUMPY_1.search(f'{outcome.message}\n{outcome.log}') is not None


def python() -> Finding:
    """Version of this Python."""
    text = f'{sys.version.split()[0]}, {sys.executable}'
    if tuple(sys.version_info) < _OLDEST_PYTHON:
        return Finding('Python', 'error', text, 'use Python 3.10 or newer')
    return ok('Python', text)


def numpy() -> Finding:
    """NumPy; a broken one is usually two versions in one folder."""
    return _library('NumPy', 'numpy', probe('numpy'), "pip install 'numpy<2'")


def opencv() -> Finding:
    """OpenCV, and whether it was built for this NumPy."""
    outcome = probe('opencv')
    fix = 'pip install opencv-python-headless'
    if 'libGL' in outcome.message:
        fix += ' in place of opencv-python, or sudo apt install libgl1'
    return _library('OpenCV', 'cv2', outcome, fix)


def onnx() -> Finding:
    """What reads model files."""
    return _library('onnx', 'onnx', probe('onnx'), 'pip install onnx')


def _library(name: str, module: str, outcome: Outcome, fix: str) -> Finding:
    """Finding on a library that the node cannot do without."""
    if outcome.works:
        return ok(name, outcome.value['version'])
    if outcome.misses(module):
        return Finding(name, 'error', 'not installed', fix)
    if built_for_numpy_1(outcome):
        text = f'was built for another NumPy than the one that is installed ({outcome.message})'
        return Finding(name, 'error', text, "pip install 'numpy<2'")
    if outcome.failure == TIMEOUT:
        fix = f'run `{sys.executable} -c "import {module}"` and see where it hangs; {fix}'
    return Finding(name, 'error', f'does not work: {outcome.message}', fix)


def cuda() -> tuple[Finding, bool]:
    """The NVIDIA driver; and whether there is a GPU that works."""
    outcome = probe('cuda')
    if outcome.works and outcome.value['devices']:
        devices = ', '.join(
            f'{device["name"]} (compute capability {device["capability"]}, '
            f'{device["memory_mb"]} MB)'
            for device in outcome.value['devices']
        )
        return ok('CUDA', f'driver for CUDA {outcome.value["version"]}: {devices}'), True
    trace = next((path for path in _GPU_TRACES if Path(path).exists()), None)
    missing = outcome.message.startswith(f'{LIBRARY}: cannot open shared object file')
    if missing and trace:
        text = f'there is an NVIDIA GPU ({trace}) but no {LIBRARY}'
        fix = (
            'install the NVIDIA driver; start a container with `--gpus all` or `--runtime nvidia`'
        )
        return Finding('CUDA', 'warning', text, fix), False
    if missing:
        return ok('CUDA', 'no NVIDIA driver; the node runs on the processor'), False
    code = re.search(r'CUDA error (\d+)', outcome.message)
    number = int(code[1]) if code else 0
    if outcome.works or (number == 100 and not trace):
        return ok('CUDA', 'a driver, but no GPU; the node runs on the processor'), False
    fix = _CUDA_FIXES.get(number, 'see that `nvidia-smi` works; restart the machine')
    text = f'the driver does not work: {outcome.message}'
    return Finding('CUDA', 'warning', text, fix), False


def model_file(path: Path) -> Finding:
    """Whether the model file can be read; not yet whether it can be run."""
    outcome = probe('model', str(path))
    if outcome.works:
        return ok('model', f'{outcome.value["name"]}: {outcome.value["about"]}')
    if 'ModelError' in outcome.kinds:
        return Finding('model', 'error', outcome.message, outcome.fix or _NO_MODEL_FIX)
    fix = _ABOVE
    if outcome.failure not in _IMPORT_ERRORS:
        fix += ', then copy or export the file again'
    return Finding('model', 'error', f'{path} cannot be read: {outcome.message}', fix)


def backends(model: Path | None, requested: str, precision: str, gpu: bool) -> Iterator[Finding]:
    """Every back end, and what the node would take.

    :param model: to run; None where none can be read.
    :param requested: the node's parameter `backend`, 'auto' or a name.
    :param precision: the node's parameter `precision`.
    :param gpu: whether there is one for TensorRT.
    """
    outcome = probe('backends')
    names = outcome.value if outcome.works else list(_BACKENDS)
    runs = {}
    for name in dict.fromkeys([*names, 'tensorrt']):
        library = probe(name)
        run = None
        # A failed import is what the node would meet, too; only some are translated by the back
        # end, which it must be asked for.
        hopeless = library.misses(name) or library.failure in (CRASH, TIMEOUT)
        if model is not None and name in names and not hopeless:
            run = probe('inference', str(model), name, precision, seconds=_RUN_SECONDS)
        runs[name] = run or library
        yield _backend(name, library, run, gpu)
    if model is not None:
        yield _inference(names, runs, requested, gpu)


def _backend(name: str, library: Outcome, run: Outcome | None, gpu: bool) -> Finding:
    fix = f'pip install --force-reinstall {name}'
    needless = name == 'tensorrt' and not gpu
    if library.misses(name):
        if name == 'tensorrt' and gpu:
            text = 'not installed: the GPU is not used'
            return Finding(name, 'warning', text, _GET_TENSORRT)
        return ok(name, 'not installed' + (', and no GPU for it' if needless else ''))
    if not library.works and (run is None or not run.works):
        if built_for_numpy_1(library):
            fix = "pip install 'numpy<2'"
        return Finding(name, 'warning', f'cannot be imported: {library.message}', fix)
    about = library.value or {'version': 'version unknown'}
    text = ', '.join(about[key] for key in ('version', 'about') if key in about)
    if run is None:
        return ok(name, text + (', but no GPU for it' if needless else ''))
    if run.works:
        speed = f'{run.value["ms"]:.0f} ms a frame'
        return ok(name, f'{text}; runs the model in {run.value["precision"]}: {speed}')
    if needless:
        return ok(name, f'{text}, but no GPU for it')
    if 'BackendError' in run.kinds:
        return Finding(name, 'warning', f'{text}; {run.message}', run.fix or fix)
    if run.failure in _IMPORT_ERRORS:
        # Its own import has worked: this is another library's.
        fix = _ABOVE
    return Finding(name, 'warning', f'{text}; fails to run the model: {run.message}', fix)


def _inference(names: list[str], runs: dict[str, Outcome], requested: str, gpu: bool) -> Finding:
    """What the node takes: as open_backend does, which goes on only after a BackendError."""
    working = [name for name in names if runs[name].works]
    if requested != 'auto' and requested not in names:
        fix = f'set backend to auto, {", ".join(names)}'
        return Finding('inference', 'error', f"unknown back end '{requested}'", fix)
    for name in names if requested == 'auto' else [requested]:
        run = runs[name]
        if run.works:
            text = f'backend {requested}' + (f' takes {name}' if requested == 'auto' else '')
            return ok('inference', f'{text} in {run.value["precision"]}')
        if 'BackendError' not in run.kinds and run.failure not in _IMPORT_ERRORS:
            text = f'backend {requested} ends with {name}, which fails: {run.message}'
            other = f'set the parameter backend to {working[0]}' if working else 'see above'
            return Finding('inference', 'error', text, other)
    if requested == 'tensorrt' and not gpu:
        text = "backend 'tensorrt' needs an NVIDIA GPU, and none works here"
        other = f'set the parameter backend to {working[0]} or auto' if working else _ABOVE
        return Finding('inference', 'error', text, other)
    if requested != 'auto' and runs[requested].misses(requested):
        text = f"backend '{requested}' is not installed"
        fix = _GET_TENSORRT if requested == 'tensorrt' else f'pip install {requested}'
        return Finding('inference', 'error', text, fix)
    if requested != 'auto' and working:
        fix = f'see above, or set the parameter backend to {working[0]} or auto'
        return Finding('inference', 'error', f"backend '{requested}' does not run the model", fix)
    fix = _ABOVE
    if all(run.misses(name) for name, run in runs.items()):
        fix = "pip install openvino onnx 'numpy<2'"
    return Finding('inference', 'error', 'no back end runs the model', fix)
