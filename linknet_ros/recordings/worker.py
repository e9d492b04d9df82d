"""Takes the frames of one recording through the network, on all cores, and remembers what is done.

Each frame is decoded, segmented and made into outputs by one thread; several threads do so at a
time, each with a network on one core, which together are faster than one network on all cores.
What comes out has the order of what went in.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from linknet_ros.errors import FrameError, ModelError, SourceError
from linknet_ros.inference.frame_sequence import FrameSequence
from linknet_ros.inference.model_file import ModelFile, load_model
from linknet_ros.inference.scene_check import look_at
from linknet_ros.inference.segmenter import Inferred, Segmentation, Segmenter
from linknet_ros.products.products import Products
from linknet_ros.recordings.journal import ResultJournal
from linknet_ros.recordings.report import Report
from linknet_ros.recordings.settings import Settings

#: Networks at a time, each with its share of the cores: memory for more is not worth it.
_MOST = 8

#: Frames for which it is worth the time to open another network.
_WORTH = 32

#: Back ends that compute on the processor.
_ON_CORES = ('openvino', 'onnxruntime')


class Task:
    """What goes through a worker: here something that only keeps its place in the order."""

    #: Whether it has a frame; then `frame` and `make` are called, by another thread.
    is_frame = False

    def __init__(self) -> None:
        #: Why nothing could be made of the frame.
        self.error: FrameError | SourceError | None = None
        #: Seconds of each stage.
        self.seconds: dict[str, float] = {}
        #: Of the frame [ns], from `frame` on; 0: it has none.
        self.stamp = 0
        #: Why the frame is not believed, see FrameSequence.
        self.fault = ''

    def frame(self) -> NDArray[np.uint8]:
        """Decode the frame, (H, W, 3) uint8 BGR.

        :raises FrameError, SourceError: when it cannot be used.
        """
        raise NotImplementedError

    def make(self, frame: NDArray[np.uint8], result: Segmentation, products: Products) -> None:
        """Make and keep the outputs.

        :raises FrameError: when none can be made.
        """
        raise NotImplementedError


AnyTask = TypeVar('AnyTask', bound=Task)


class OfflineWorker:
    """One recording's way through the network; a context manager.

    :param journal: file of the results so far.
    :param source: what tells the recording and its frames from others; of what JSON can say.
    :param report: counts are added here.
    :param frames: number of frames that are expected, which decides how many are in work at once.
    :param model: the file of the settings, read already; None: it is read here.
    :param alone: the frames are pictures that have nothing to do with each other.
    :raises LinknetError: when model, back end or journal cannot be used.
    """

    def __init__(
        self,
        settings: Settings,
        journal: Path,
        source: Mapping[str, Any],
        report: Report,
        *,
        frames: int = 0,
        model: ModelFile | None = None,
        alone: bool = False,
    ) -> None:
        model = model or load_model(settings.model)
        if model.sha256 != settings.sha256:
            raise ModelError(f'{model.path} has changed since the run began', 'copy it again')
        self._settings = settings
        self._report = report
        self._model = model
        self._sequence = FrameSequence(alone=alone)
        self._turns = _Turns()
        cores = settings.inference.threads or len(os.sched_getaffinity(0))
        number = max(1, min(cores, _MOST, frames // _WORTH))
        self._segmenters: list[Segmenter] = []
        self._idle: SimpleQueue[Segmenter] = SimpleQueue()
        threads = settings.inference.threads if number == 1 else cores // number
        try:
            while len(self._segmenters) < number:
                self._segmenters.append(settings.segmenter(model, threads))
                self._idle.put(self._segmenters[-1])
                if self._segmenters[0].backend not in _ON_CORES:
                    break  # a GPU is one; its frames are decoded and encoded on the cores
            first = self._segmenters[0]
            report.backend = f'{first.backend} {first.precision}'
            inference = settings.inference
            decisive = {
                'source': source,
                'model': model.sha256,
                'backend': report.backend,
                'network_size': (inference.network_width, inference.network_height),
                # What the network sees of a frame.
                'rotate': inference.rotate,
                'mono16_max': inference.mono16_max,
            }
            text = json.dumps(decisive, sort_keys=True)
            self._journal = ResultJournal(journal, hashlib.sha256(text.encode()).hexdigest())
        except BaseException:
            self._close_segmenters()
            raise
        #: Products are for one thread at a time.
        self._products: SimpleQueue[Products] = SimpleQueue()
        for _ in range(number):
            self._products.put(Products(model.classes, settings.products))
        self._pool = ThreadPoolExecutor(number, 'frame') if number > 1 else None
        self._ahead = 2 * number

    def __enter__(self) -> OfflineWorker:
        """Begin."""
        return self

    def __exit__(self, *_: object) -> None:
        """Free the back ends."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        self._journal.close()
        self._close_segmenters()

    def run(self, tasks: Iterable[AnyTask]) -> Iterator[AnyTask]:
        """Take tasks through the network; they come back in their order, finished.

        :raises BackendError: when the back end fails.
        :raises sqlite3.Error: when the journal cannot be written.
        """
        ahead: deque[tuple[AnyTask, Callable[[], bool]]] = deque()
        index = 0
        for task in tasks:
            if not task.is_frame:
                ahead.append((task, lambda: False))
            elif self._pool is None:
                ahead.append((task, partial(self._work, task, index)))
            else:
                future: Future[bool] = self._pool.submit(self._work, task, index)
                ahead.append((task, future.result))
            index += task.is_frame
            if self._pool is None or len(ahead) > self._ahead:
                yield self._finished(*ahead.popleft())
        while ahead:
            yield self._finished(*ahead.popleft())

    def _finished(self, task: AnyTask, resumed: Callable[[], bool]) -> AnyTask:
        self._report.resumed += resumed()
        if task.is_frame:
            self._report.frames += 1
            if task.fault:
                self._report.scene[task.fault] += 1
            if task.error is None:
                self._report.segmented += 1
            else:
                self._report.bad[str(task.error)] += 1
        return task

    def _work(self, task: Task, index: int) -> bool:
        """Finish one frame; whether the journal had its result."""
        begin = time.perf_counter()
        try:
            frame = task.frame()
            decoded = time.perf_counter()
            result, resumed = self._segment(task, frame, index)
            segmented = time.perf_counter()
        except (FrameError, SourceError) as error:
            task.error = error
            return False
        finally:
            # Whatever became of it: the frames behind it must not wait for ever.
            self._turns.end(index)
        products = self._products.get()
        try:
            task.make(frame, result, products)
        except FrameError as error:
            task.error = error
        finally:
            self._products.put(products)
        task.seconds = {
            'decode': decoded - begin,
            'network': segmented - decoded,
            'outputs': time.perf_counter() - segmented,
        }
        return resumed

    def _segment(
        self, task: Task, frame: NDArray[np.uint8], index: int
    ) -> tuple[Segmentation, bool]:
        settings = self._settings.inference
        segmenter = self._idle.get()
        try:
            fitted = segmenter.fit(frame, settings.rotate)
            look = look_at(fitted) if settings.scene_check != 'off' else None
            known = self._journal.get(index)
            if known is None:
                inferred = segmenter.infer(fitted)
                # Before what changes the labels.
                self._journal.put(index, inferred.labels, inferred.confidence)
            else:
                inferred = Inferred(fitted.fitter, *known)
        finally:
            self._idle.put(segmenter)
        self._turns.wait(index)
        task.fault = self._sequence.take(self._model, look, inferred, task.stamp, settings)
        self._turns.end(index)
        return segmenter.finish(inferred, settings.min_confidence), known is not None

    def _close_segmenters(self) -> None:
        for segmenter in self._segmenters:
            segmenter.close()


class _Turns:
    """Lets threads do one thing in the order of the frames, each of which has a turn."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._next = 0
        self._ended: set[int] = set()

    def wait(self, index: int) -> None:
        """Return when all frames before have ended their turns."""
        with self._condition:
            self._condition.wait_for(lambda: self._next == index)

    def end(self, index: int) -> None:
        """End a frame's turn, also one that was not waited for; a second time changes nothing."""
        with self._condition:
            if index >= self._next:
                self._ended.add(index)
            while self._next in self._ended:
                self._ended.remove(self._next)
                self._next += 1
            self._condition.notify_all()
