"""Segments the frames of one recording, one after the other, and remembers what is done."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linknet_ros.errors import ModelError
from linknet_ros.inference.model_file import load_model
from linknet_ros.inference.segmenter import Inferred
from linknet_ros.recordings.journal import ResultJournal
from linknet_ros.recordings.report import Report
from linknet_ros.recordings.settings import Settings


class OfflineWorker:
    """One recording's way through the network; a context manager.

    :param journal: file of the results so far.
    :param source: what tells the recording and its frames from others; of what JSON can say.
    :param report: counts are added here.
    :raises LinknetError: when model, back end or journal cannot be used.
    """

    def __init__(
        self, settings: Settings, journal: Path, source: Mapping[str, Any], report: Report
    ) -> None:
        model = load_model(settings.model)
        if settings.sha256 not in ('', model.sha256):
            raise ModelError(f'{model.path} has changed since the run began', 'copy it again')
        self._settings = settings
        self._products = settings.products(model)
        self._names = settings.names(model)
        self._segmenter = settings.segmenter(model)
        self._report = report
        report.backend = f'{self._segmenter.backend} {self._segmenter.precision}'
        decisive = {
            'source': source,
            'model': model.sha256,
            'backend': report.backend,
            'network_size': settings.network_size,
        }
        text = json.dumps(decisive, sort_keys=True)
        self._journal = ResultJournal(journal, hashlib.sha256(text.encode()).hexdigest())

    def __enter__(self) -> OfflineWorker:
        """Begin."""
        return self

    def __exit__(self, *_: object) -> None:
        """Free the back end."""
        self._journal.close()
        self._segmenter.close()

    def products(
        self, index: int, frame: NDArray[np.uint8]
    ) -> Iterator[tuple[str, NDArray[np.uint8]]]:
        """Segment a frame and compute its outputs; see Products.of.

        :param index: of the frame in its recording.
        :param frame: (H, W, 3) uint8 BGR.
        :raises FrameError: when it is not a colour image.
        :raises BackendError: when the back end fails.
        """
        fitted = self._segmenter.fit(frame)
        known = self._journal.get(index)
        if known is None:
            inferred = self._segmenter.infer(fitted)
            # Before finish, which changes the labels.
            self._journal.put(index, inferred.labels, inferred.confidence)
        else:
            inferred = Inferred(fitted.fitter, *known)
            self._report.resumed += 1
        result = self._segmenter.finish(inferred, self._settings.min_confidence)
        self._report.segmented += 1
        # No times in the overlay: who goes on after a kill must write the same bytes.
        return self._products.of(frame, result, self._names)
