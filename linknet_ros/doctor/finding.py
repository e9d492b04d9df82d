"""What the doctor finds: one line for each thing that it checks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal['ok', 'warning', 'error']


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    :param name: of the thing.
    :param state: 'error' where the node cannot run, 'warning' where it runs worse than it could.
    :param text: what was found, one line.
    :param fix: what to do about it; empty for 'ok'.
    """

    name: str
    state: State
    text: str
    fix: str = ''

    def __str__(self) -> str:
        line = f'{self.state:7}  {self.name:13}  {self.text}'
        return f'{line}\n{"":24} fix: {self.fix}' if self.fix else line


def ok(name: str, text: str) -> Finding:
    """Nothing to do."""
    return Finding(name, 'ok', text)
