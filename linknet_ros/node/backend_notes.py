"""What was said while back ends were opened, for the log and for diagnostics."""

from __future__ import annotations

from collections.abc import Callable


class BackendNotes:
    """Takes lines from any thread, logs each once, and keeps what diagnostics show.

    :param log: gets each line that was not said before.
    """

    def __init__(self, log: Callable[[str], None]) -> None:
        self._log = log
        self._engine = ''
        self._reasons: list[str] = []

    def report(self, line: str) -> None:
        """Note how the building of an engine goes on."""
        if line != self._engine:
            self._engine = line
            self._log(line)

    def step_down(self, reason: str) -> None:
        """Note why a back end does not run; a reason counts once, however many sizes it has."""
        if reason not in self._reasons:
            self._reasons.append(reason)
            self._log(f'passed over: {reason}')

    def values(self) -> dict[str, str]:
        """What there is to show: 'engine' and 'passed over'."""
        values = {'engine': self._engine, 'passed over': '; '.join(self._reasons)}
        return {key: value for key, value in values.items() if value}
