"""The back end alone, for the node's benchmark: the network and no more, in its own process."""

from __future__ import annotations

import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from linknet_ros.benchmark.cell import WARM_UP
from linknet_ros.inference.model_file import load_model
from linknet_ros.inference.segmenter import Fitted, Segmenter
from linknet_ros.system.child_process import answer
from linknet_ros.system.memory import keep_freed_memory
from linknet_ros.system.usage import machine_cpu_seconds


def measure(
    model: str,
    backend: str,
    precision: str,
    threads: int,
    pictures: str,
    seconds: float,
    share: float,
) -> dict[str, Any]:
    """Run the network on one fitted frame, again and again, with the settings of the node.

    :param pictures: .npy file of frames, uint8 (n, H, W, 3) BGR.
    :param seconds: to go on for without a pause, and then at a pace; but for two frames each.
    :param share: of its frames per second, for the pace.
    :returns: 'backend' and 'precision' that ran; 'infer_ms', median time of a frame in the
        network; 'fps'; 'cpu_ms', processor time per frame; 'paced_ms', median time of a frame
        at that pace: after a rest, caches and threads need a moment; 'others', processor cores
        that everybody else used meanwhile.
    """
    keep_freed_memory()
    segmenter = Segmenter(
        load_model(Path(model)), backend=backend, precision=precision, threads=threads
    )
    fitted = segmenter.fit(np.load(pictures)[0])
    for _ in range(WARM_UP):
        segmenter.infer(fitted)
    begin_machine = machine_cpu_seconds()
    begin, begin_cpu = time.perf_counter(), time.process_time()
    milliseconds = _times(segmenter, fitted, seconds)
    cpu = time.process_time() - begin_cpu
    mean = statistics.fmean(milliseconds)
    paced = _times(segmenter, fitted, seconds, 1e-3 * mean / share)
    own, passed = time.process_time() - begin_cpu, time.perf_counter() - begin
    return {
        'backend': segmenter.backend,
        'precision': segmenter.precision,
        'infer_ms': statistics.median(milliseconds),
        'fps': 1e3 / mean,
        'cpu_ms': 1e3 * cpu / len(milliseconds),
        'paced_ms': statistics.median(paced),
        'others': (machine_cpu_seconds() - begin_machine - own) / passed,
    }


def _times(
    segmenter: Segmenter, fitted: Fitted, seconds: float, period: float = 0.0
) -> list[float]:
    """Milliseconds of each frame; one begins every `period` seconds at most."""
    milliseconds: list[float] = []
    end = time.perf_counter() + seconds
    due = time.perf_counter()
    while time.perf_counter() < end or len(milliseconds) < 2:
        time.sleep(max(0.0, due - time.perf_counter()))
        start = time.perf_counter()
        segmenter.infer(fitted)
        milliseconds.append(1e3 * (time.perf_counter() - start))
        due = max(due + period, start)
    return milliseconds


if __name__ == '__main__':
    answer(lambda: measure(*json.loads(sys.argv[1])))
