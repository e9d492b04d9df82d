"""One cell of the benchmark's table, measured in a process of its own."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from linknet_ros.errors import LinknetError
from linknet_ros.inference.model_file import load_model
from linknet_ros.inference.segmenter import Segmenter
from linknet_ros.system.child_process import answer
from linknet_ros.system.usage import forget_peak, memory_mb

#: Runs before the clock starts: caches fill, threads and a GPU's clock come up.
WARM_UP = 3


def measure(
    model: str,
    backend: str,
    precision: str,
    threads: int,
    pictures: str,
    frames: int,
    labels: str | None = None,
) -> dict[str, Any]:
    """Time one back end at one size; this process must not have run another before.

    :param pictures: .npy file of the frames, uint8 (n, H, W, 3) BGR; the network gets their size.
    :param frames: that are timed, going through the pictures in turn.
    :param labels: .npy file to write the labels to, uint8 (n, H, W); None for none.
    :returns: 'backend' and 'precision' that ran; 'ms' of every frame, from BGR to labels;
        'ready_s' from the model file to the first frame; 'peak_mb', the most memory (resident
        set) beyond what the process held without the back end, and 'held_mb', what remained of
        it while frames ran; both None where Linux does not report it.
    """
    images = np.load(pictures)
    height, width = images.shape[1:3]
    before = _held_mb()
    start = time.perf_counter()
    segmenter = Segmenter(
        load_model(model),
        backend=backend,
        precision=precision,
        network_size=(width, height),
        threads=threads,
    )
    ready = time.perf_counter() - start
    milliseconds = timed(lambda index: segmenter.segment(images[index % len(images)]), frames)
    memory: dict[str, float | None] = {'peak_mb': None, 'held_mb': None}
    if before is not None:
        after = memory_mb(os.getpid())
        memory = {'peak_mb': after['peak_mb'] - before, 'held_mb': after['rss_mb'] - before}
    if labels is not None:
        np.save(labels, np.stack([segmenter.segment(image).labels for image in images]))
    return {
        'backend': segmenter.backend,
        'precision': segmenter.precision,
        'ms': milliseconds,
        'ready_s': ready,
        **memory,
    }


def timed(run: Callable[[int], object], frames: int) -> list[float]:
    """Milliseconds of each of so many runs, after some that are not counted.

    :param run: gets the number of the run, from 0.
    """
    for index in range(WARM_UP):
        run(index)
    milliseconds = []
    for index in range(frames):
        start = time.perf_counter()
        run(index)
        milliseconds.append(1e3 * (time.perf_counter() - start))
    return milliseconds


def _held_mb() -> float | None:
    """Memory that this process holds now, from which its peak is counted; None without Linux."""
    try:
        forget_peak()
        return memory_mb(os.getpid())['rss_mb']
    except LinknetError:
        return None


if __name__ == '__main__':
    answer(lambda: measure(*json.loads(sys.argv[1])))
