"""What became of every frame of a recording."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from linknet_ros.errors import LinknetError

#: Reasons that the line names; the JSON has them all.
_SHOWN = 3


@dataclass
class Report:
    """Counts of one recording; frames = segmented + bad.

    :param source: what was read.
    :param out: what was written.
    :param topic: of the images; empty where there are no topics.
    :param frames: read.
    :param segmented: of these.
    :param bad: frames that could not be used, by reason.
    :param resumed: frames whose result an earlier run had left.
    :param kept: messages that were taken over as they were.
    :param damage: what is wrong with the source as a whole, a line each.
    :param notes: what is unusual about it, but no reason to doubt the output, a line each.
    :param skipped: the output was there already; nothing was read.
    :param error: why there is no output; empty where there is one.
    """

    source: str
    out: str
    topic: str = ''
    frames: int = 0
    segmented: int = 0
    bad: Counter[str] = field(default_factory=Counter)
    resumed: int = 0
    kept: int = 0
    damage: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    backend: str = ''
    seconds: float = 0.0
    skipped: bool = False
    error: str = ''

    def reject(self, error: LinknetError) -> None:
        """Count a frame that was segmented, but not written, as bad."""
        self.segmented -= 1
        self.bad[str(error)] += 1

    @property
    def complete(self) -> bool:
        """Whether all that was recorded could be used."""
        return not (self.error or self.bad or self.damage)

    def line(self) -> str:
        """All of it in one line."""
        if self.error:
            return f'{self.source}: error: {self.error}'
        if self.skipped:
            return f'{self.source} -> {self.out}: already there, kept'
        parts = [f'{self.frames} frames read', f'{self.segmented} segmented']
        if self.resumed:
            parts[-1] += f' ({self.resumed} by an earlier run)'
        number = sum(self.bad.values())
        if number:
            reasons = [f'{n} x {reason}' for reason, n in self.bad.most_common(_SHOWN)]
            if len(self.bad) > _SHOWN:
                reasons.append(f'{len(self.bad) - _SHOWN} more reasons')
            parts.append(f'{number} bad ({"; ".join(reasons)})')
        else:
            parts.append('0 bad')
        if self.kept:
            parts.append(f'{self.kept} other messages kept')
        if self.damage:
            parts.append(f'damaged: {"; ".join(self.damage)}')
        if self.notes:
            parts.append(f'note: {"; ".join(self.notes)}')
        return f'{self.source} -> {self.out}: {", ".join(parts)}'

    def as_json(self) -> dict[str, Any]:
        """All of it, for json.dump."""
        return asdict(self) | {'bad': dict(self.bad), 'complete': self.complete}


def exit_code(reports: Sequence[Report]) -> int:
    """0: all was used; 3: a source was damaged or had bad frames; 1: an output is missing."""
    if any(report.error for report in reports):
        return 1
    return 0 if all(report.complete for report in reports) else 3
