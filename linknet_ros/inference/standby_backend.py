"""Serves from one back end while a better one gets ready, which then takes over."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future

import numpy as np
from numpy.typing import NDArray

from linknet_ros.errors import BackendError, BuildCancelledError, first_line
from linknet_ros.inference.backend import Backend

#: One build at a time: two side by side run out of memory on small boards.
_BUILDING = threading.Lock()

#: Seconds between two checks of the cancel event.
_PAUSE = 0.1


class StandbyBackend:
    """Two back ends, one after the other; see Backend.

    The better one starts to get ready with the first image, so that nothing is built for a size
    that no camera has. It takes over between two images; where it fails, the first goes on.

    :param serving: runs until then; closed by this.
    :param open_better: opens the better one, on a thread of its own; gets an event that is set
        when nobody waits any more.
    :param report: gets a line when the better one takes over.
    :param on_failure: gets the reason, one line, when there will be no better one. Both are called
        from `infer`.
    """

    def __init__(
        self,
        serving: Backend,
        open_better: Callable[[threading.Event], Backend],
        report: Callable[[str], None],
        on_failure: Callable[[str], None],
    ) -> None:
        self._serving = serving
        self._open_better = open_better
        self._report = report
        self._on_failure = on_failure
        self._cancel = threading.Event()
        self._better: Future[Backend] | None = None
        self._settled = False
        self._thread = threading.Thread(target=self._open, name='standby', daemon=True)

    @property
    def name(self) -> str:
        """See Backend; of the one that serves now, like `precision`."""
        return self._serving.name

    @property
    def precision(self) -> str:
        """See Backend."""
        return self._serving.precision

    def infer(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """See Backend.infer."""
        if self._better is None:
            self._better = Future()
            self._thread.start()
        elif not self._settled and self._better.done():
            self._settled = True
            self._take_over(self._better)
        return self._serving.infer(image)

    def close(self) -> None:
        """See Backend.close; gives up what is being built."""
        self._cancel.set()
        if self._better is not None:
            self._thread.join()
            if not self._settled and self._better.exception() is None:
                self._better.result().close()
            self._settled = True
        self._serving.close()

    def _take_over(self, better: Future[Backend]) -> None:
        error = better.exception()
        if error is None:
            self._serving.close()
            self._serving = better.result()
            self._report(f'{self.name} takes over, in {self.precision}')
        else:
            known = isinstance(error, BackendError)
            reason = str(error) if known else f'{type(error).__name__}: {first_line(error)}'
            self._on_failure(f'{reason}; {self.name} goes on')

    def _open(self) -> None:
        assert self._better is not None
        try:
            while not _BUILDING.acquire(timeout=_PAUSE):
                if self._cancel.is_set():
                    raise BuildCancelledError('building an engine was cancelled')
            try:
                opened = self._open_better(self._cancel)
            finally:
                _BUILDING.release()
        except BaseException as error:
            # Whatever it is, the frames go on; infer says it.
            self._better.set_exception(error)
        else:
            self._better.set_result(opened)
