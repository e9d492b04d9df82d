"""What clocks say: a jump, one that stands still, and the age of a frame in the overlay."""

from __future__ import annotations

#: A clock that gains or loses more than this between two checks has jumped; seconds.
_JUMP = 0.5

#: A jump is shown for this long; seconds.
_SHOWN = 10.0

#: Frames that seem to come from the future by this much, or to be this late, have the stamps of
#: another clock [s].
STAMP_AHEAD, STAMP_BEHIND = 0.05, 10.0


class ClockWatch:
    """Compares a clock with the steady one, which cannot be set."""

    def __init__(self) -> None:
        self.jumps = 0
        self._before: tuple[float, float] | None = None
        self._jump = ''
        self._jumped_at = 0.0

    def check(self, clock: float, steady: float, *, simulated: bool) -> str:
        """Compare the clocks, about once a second.

        :param clock: the clock that is watched, seconds.
        :param steady: the steady clock, seconds.
        :param simulated: whether it is ROS's simulated time, which may run at any speed and stand
            still, but not run backwards.
        :returns: what is wrong, one line; empty for nothing.
        """
        before, self._before = self._before, (clock, steady)
        if simulated and clock == 0:
            return 'use_sim_time is set, but no time comes on /clock; play it, or unset it'
        if before is not None and before[0] != 0:
            jump = clock - before[0]
            if not simulated:
                jump -= steady - before[1]
            if jump < -_JUMP or (jump > _JUMP and not simulated):
                self.jumps += 1
                self._jumped_at = steady
                self._jump = f'the clock jumped by {jump:+.1f} s'
        if self._jump and steady - self._jumped_at < _SHOWN:
            return self._jump
        return ''


def status_line(fps: float | None, age: float | None, inference: float, fault: str = '') -> str:
    """How fast the node is, e.g. '12.3 fps  latency 84 ms', and whether it believes the frame.

    :param fps: frames published per second; None: not known yet.
    :param age: from the frame's stamp until now, seconds; None for a frame without one. Where
        the stamp is that of another clock, as of a recording, the time of the network is shown
        instead, by its name.
    :param inference: seconds that the network took.
    :param fault: of the frame, see FrameSequence; what it is comes before a colon.
    """
    parts = [] if fps is None else [f'{fps:.1f} fps']
    if age is not None and -STAMP_AHEAD <= age <= STAMP_BEHIND:
        parts.append(f'latency {1000 * max(age, 0.0):.0f} ms')
    else:
        parts.append(f'inference {1000 * inference:.0f} ms')
    if fault:
        parts.append(f'not believed: {fault.partition(":")[0]}')
    return '  '.join(parts)
