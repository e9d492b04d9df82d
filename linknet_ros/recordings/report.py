"""What became of every frame of a recording."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from linknet_ros.classes import UNLABELED, ClassTable
from linknet_ros.errors import LinknetError
from linknet_ros.recordings.settings import Settings

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
    :param scene: segmented frames in which the scene check found a fault, by what it is.
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
    scene: Counter[str] = field(default_factory=Counter)
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
        parts.append(f'{sum(self.bad.values())} bad{_reasons(self.bad)}')
        if self.scene:
            parts.append(f'{sum(self.scene.values())} not believed{_reasons(self.scene)}')
        if self.kept:
            parts.append(f'{self.kept} other messages kept')
        if self.damage:
            parts.append(f'damaged: {"; ".join(self.damage)}')
        if self.notes:
            parts.append(f'note: {"; ".join(self.notes)}')
        return f'{self.source} -> {self.out}: {", ".join(parts)}'

    def as_json(self) -> dict[str, Any]:
        """All of it, for json.dump."""
        counts = {'bad': dict(self.bad), 'scene': dict(self.scene)}
        return asdict(self) | counts | {'complete': self.complete}


def _reasons(counts: Counter[str]) -> str:
    """The most frequent ones, in brackets."""
    reasons = [f'{n} x {reason}' for reason, n in counts.most_common(_SHOWN)]
    if len(counts) > _SHOWN:
        reasons.append(f'{len(counts) - _SHOWN} more reasons')
    return f' ({"; ".join(reasons)})' if reasons else ''


def about_run(
    settings: Settings, classes: ClassTable, report: Report, source: str
) -> dict[str, str]:
    """What an output says of its making: model, classes, parameters, but not where things were."""
    inference = asdict(settings.inference) | {'model': settings.model.name}
    # An ego mask's path is of this machine; what it is called is enough.
    ground = asdict(settings.ground) | {'ego_mask': Path(settings.ground.ego_mask).name}
    parameters = {
        **inference,
        **asdict(settings.products),
        **({f'ground.{name}': value for name, value in ground.items()} if settings.extras else {}),
    }
    return {
        'source': source,
        'topic': report.topic,
        'model': settings.model.name,
        'sha256': settings.sha256,
        'backend': report.backend,
        'outputs': ','.join((*settings.outputs, *settings.extras)),
        'classes': json.dumps(described(classes)),
        'unlabelled': str(UNLABELED),
        'parameters': json.dumps(parameters, sort_keys=True),
    }


def described(classes: ClassTable) -> list[dict[str, Any]]:
    """The classes for JSON: id, name, colour as red, green, blue, and whether it is drivable."""
    rows = zip(classes.names, classes.colors, classes.drivable, strict=True)
    return [
        {'id': number, 'name': name, 'color': list(color), 'drivable': drivable}
        for number, (name, color, drivable) in enumerate(rows)
    ]


def exit_code(reports: Sequence[Report]) -> int:
    """0: all was used; 3: a source was damaged or had bad frames; 1: an output is missing."""
    if any(report.error for report in reports):
        return 1
    return 0 if all(report.complete for report in reports) else 3
