"""Exceptions. Each names what is wrong and, where there is one, the way out."""

import re

#: Where in its C sources rcl found a fault: of no use to a user.
_SOURCE = re.compile(r',? at /\S+\.(?:c|h|cpp|hpp):\d+')


class LinknetError(Exception):
    """Base of every error that this package raises for a user's mistake.

    :param problem: what is wrong, one line that names the thing.
    :param fix: what to do about it; empty when nothing is known. The text of the error is
        'problem; fix'.
    """

    def __init__(self, problem: str, fix: str = '') -> None:
        super().__init__(problem, fix)
        self.problem = problem
        self.fix = fix

    def __str__(self) -> str:
        return f'{self.problem}; {self.fix}' if self.fix else self.problem


class ModelError(LinknetError):
    """A model file is missing, damaged, or not one that this package can run."""


class BackendError(LinknetError):
    """An inference back end is unknown, not installed, or refuses the model."""


class NoEngineError(BackendError):
    """No engine is stored, and none was to be built."""


class BuildCancelledError(BackendError):
    """The build of an engine was cancelled: no reason to try another back end."""


class ClassNameError(LinknetError):
    """A class name is not in the model's class table."""


class ParameterError(LinknetError):
    """A parameter has a value that cannot work."""


class FrameError(LinknetError):
    """One frame cannot be used; the next one may be fine."""


class CalibrationError(LinknetError):
    """A camera's intrinsics or its place on the robot cannot be used."""


class SourceError(LinknetError):
    """A folder, image file, video or data set cannot be read."""


class RecordingError(LinknetError):
    """A recording cannot be read, or its output cannot be written."""


class ServeError(LinknetError):
    """The view cannot be served."""


def first_line(error: BaseException) -> str:
    """First non-empty line of an exception's text, or else its type; for use in a message.

    Places in C sources, which rcl appends, are left out.
    """
    lines = [line.strip() for line in _SOURCE.sub('', str(error)).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
