"""A setting is declared once: a field of a frozen dataclass that says all there is to say of it.

Parameters of the node, options of command lines, parameter files and tables in the documentation
follow from the fields.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from functools import partial
from typing import Any, TypeVar

from linknet_ros.errors import ParameterError
from linknet_ros.system.arguments import count, number, share

T = TypeVar('T')

_KEY = 'setting'


@dataclass(frozen=True)
class Setting:
    """What is known about one setting.

    :param name: to the outside, e.g. 'threads' or 'ground.height'.
    :param default: its type is the setting's type; a tuple stands for a list of strings.
    :param help: sentences.
    :param limits: smallest and largest number, or None.
    :param choices: allowed values of a string or an integer, or () for any.
    :param unit: of a number, e.g. 'm'.
    :param live: whether it can be changed while the node runs.
    """

    name: str
    default: Any
    help: str
    limits: tuple[float, float] | None = None
    choices: tuple[Any, ...] = ()
    unit: str = ''
    live: bool = False


def setting(
    default: Any,
    help: str,
    limits: tuple[float, float] | None = None,
    choices: tuple[Any, ...] = (),
    unit: str = '',
    *,
    live: bool = False,
) -> Any:
    """A field of a dataclass of settings; see Setting."""
    about = Setting('', default, help, limits, choices, unit, live)
    return field(default=default, metadata={_KEY: about})


def group(kind: type, prefix: str = '') -> Any:
    """A field that is a dataclass of settings itself.

    :param prefix: of their names, e.g. 'ground.'.
    """
    return field(default_factory=kind, metadata={_KEY: prefix})


def settings_of(kind: type, prefix: str = '') -> Iterator[Setting]:
    """The settings of a dataclass and of the groups in it, in their order."""
    for entry, about in _fields(kind):
        if isinstance(about, Setting):
            yield Setting(prefix + entry.name, *list(vars(about).values())[1:])
        else:
            yield from settings_of(_kind(entry), prefix + about)


def made_of(
    kind: type[T], values: Mapping[str, Any], before: T | None = None, prefix: str = ''
) -> T:
    """A dataclass of settings with values by name.

    :param before: has the values that are not given; None: the defaults.
    :param prefix: of the names, for messages.
    :raises ParameterError: for a value that is not one of the choices.
    """
    given: dict[str, Any] = {}
    for entry, about in _fields(kind):
        earlier = None if before is None else getattr(before, entry.name)
        if not isinstance(about, Setting):
            inner = {
                name.removeprefix(about): value
                for name, value in values.items()
                if name.startswith(about)
            }
            given[entry.name] = made_of(_kind(entry), inner, earlier, prefix + about)
        elif entry.name in values:
            value = values[entry.name]
            if about.choices and value not in about.choices:
                raise ParameterError(
                    f"parameter {prefix}{entry.name} is '{value}'",
                    f'use one of {", ".join(map(str, about.choices))}',
                )
            given[entry.name] = value
        elif before is not None:
            given[entry.name] = earlier
    return kind(**given)


def checked(about: Setting, value: Any, where: str) -> Any:
    """A value from a file, as the setting has it: lists become tuples, numbers of its type.

    :param where: it comes from, for messages.
    :raises ParameterError: for a value of another type or out of range.
    """
    kind = type(about.default)
    if kind is tuple and isinstance(value, list):
        value = tuple(str(name) for name in value if name)
    elif kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    good = type(value) is kind and (not about.choices or value in about.choices)
    if good and about.limits:
        good = about.limits[0] <= value <= about.limits[1]
    if not good:
        allowed = ', '.join(map(str, about.choices)) or (
            about.limits and '{} to {}'.format(*about.limits)
        )
        raise ParameterError(
            f"invalid value '{value}' of {about.name} in {where}",
            f'use {allowed or kind.__name__}',
        )
    return value


def add_options(
    parser: argparse._ActionsContainer, kind: type, *names: str, prefix: str = ''
) -> None:
    """Add options of a command line for settings, e.g. --jpeg-quality for jpeg_quality.

    :param parser: or a group of one.
    :param names: of the settings, none for all; the parsed values have these names too.
    :param prefix: of the names, e.g. 'ground.' for --ground-height.
    """
    for about in settings_of(kind, prefix):
        if names and about.name not in names:
            continue
        how: dict[str, Any] = {'default': about.default, 'help': about.help}
        if isinstance(about.default, bool):
            how['action'] = argparse.BooleanOptionalAction
        elif isinstance(about.default, tuple):
            how |= {'type': comma_separated, 'metavar': 'LIST'}
        elif about.choices:
            how |= {'choices': about.choices, 'type': type(about.default)}
        elif about.limits and isinstance(about.default, int):
            low, high = map(int, about.limits)
            how |= {'type': partial(count, least=low, most=high), 'metavar': f'{low}-{high}'}
        elif about.limits == (0, 1):
            how |= {'type': share, 'metavar': 'SHARE'}
        elif about.limits:
            how['type'] = partial(number, least=about.limits[0], most=about.limits[1])
            how['metavar'] = about.unit.upper() or 'NUMBER'
        else:
            how['type'] = type(about.default)
        if about.default not in ((), '') and not isinstance(about.default, bool):
            how['help'] += ' (default: %(default)s)'
        option = f'--{about.name.replace("_", "-").replace(".", "-")}'
        parser.add_argument(option, dest=about.name, **how)


def comma_separated(text: str) -> tuple[str, ...]:
    """Names between commas, for `type=` of argparse."""
    return tuple(name.strip() for name in text.split(',') if name.strip())


def _fields(kind: type) -> Iterator[tuple[Field[Any], Setting | str]]:
    if not is_dataclass(kind):
        raise TypeError(f'{kind} is not a dataclass')
    for entry in fields(kind):
        yield entry, entry.metadata[_KEY]


def _kind(entry: Field[Any]) -> type:
    kind = entry.default_factory
    if kind is MISSING or not isinstance(kind, type):
        raise TypeError(f'{entry.name} is not a group of settings')
    return kind
