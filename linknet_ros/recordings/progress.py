"""A progress bar on stderr, with the time that is left; without tqdm, nothing."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator

#: Called with what is done and what there is in all; None: nobody knows.
Update = Callable[[int, int | None], None]


@contextlib.contextmanager
def bar(name: str, total: int | None, unit: str = 'frame') -> Iterator[Update]:
    """Show progress; what it gives is called as `update(done, total)`.

    :param total: as far as it is known.
    """
    try:
        from tqdm import tqdm
    except ImportError:
        yield lambda done, total: None
        return
    # In a log, a line every half minute rather than ten a second.
    pause = 0.1 if sys.stderr.isatty() else 30.0
    with tqdm(total=total, desc=name, unit=unit, file=sys.stderr, mininterval=pause) as shown:

        def update(done: int, total: int | None) -> None:
            shown.total = total
            shown.update(done - shown.n)

        yield update
