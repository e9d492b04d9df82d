"""The back end alone, for the node's benchmark: the network and no more, in its own process."""

from __future__ import annotations

import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from linknet_ros.child_process import answer
from linknet_ros.model_file import load_model_file
from linknet_ros.process_usage import machine_cpu_seconds
from linknet_ros.segmenter import Segmenter

#: Runs before the clock starts: caches fill, threads and a GPU's clock come up.
_WARM_UP = 3


def measure(
    model: str, backend: str, precision: str, threads: int, pictures: str, seconds: float
) -> dict[str, Any]:
    """Run the network on one fitted frame, again and again, with the settings of the node.

    :param pictures: .npy file of frames, uint8 (n, H, W, 3) BGR.
    :param seconds: to go on for, but for two frames at least.
    :returns: 'backend' and 'precision' that ran; 'infer_ms', median time of a frame in the
        network; 'fps'; 'cpu_ms', processor time per frame;
        'others', processor cores that everybody else used meanwhile.
    """
    segmenter = Segmenter(
        load_model_file(Path(model)), backend=backend, precision=precision, threads=threads
    )
    fitted = segmenter.fit(np.load(pictures)[0])
    for _ in range(_WARM_UP):
        segmenter.infer(fitted)
    milliseconds: list[float] = []
    begin_machine = machine_cpu_seconds()
    begin, begin_cpu = time.perf_counter(), time.process_time()
    end = begin
    while end < begin + seconds or len(milliseconds) < 2:
        start = end
        segmenter.infer(fitted)
        end = time.perf_counter()
        milliseconds.append(1e3 * (end - start))
    frames, cpu = len(milliseconds), time.process_time() - begin_cpu
    return {
        'backend': segmenter.backend,
        'precision': segmenter.precision,
        'infer_ms': statistics.median(milliseconds),
        'fps': frames / (end - begin),
        'cpu_ms': 1e3 * cpu / frames,
        'others': (machine_cpu_seconds() - begin_machine - cpu) / (end - begin),
    }


if __name__ == '__main__':
    answer(lambda: measure(*json.loads(sys.argv[1])))
