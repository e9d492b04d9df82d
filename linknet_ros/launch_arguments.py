"""What the launch files make of their arguments, before anything is started.

An exception that comes later leaves nodes running that nobody owns.
"""

from __future__ import annotations

from linknet_ros.errors import ParameterError

LOG_LEVELS = ('debug', 'info', 'warn', 'error', 'fatal')

_YES, _NO = ('true', '1', 'yes', 'on'), ('false', '0', 'no', 'off')

_KINDS = {bool: 'true or false', int: 'an integer', float: 'a number', str: 'a text'}

Value = bool | int | float | str


def argument_value(
    name: str, text: str, kind: type[Value], options: tuple[str, ...] = ()
) -> Value:
    """Value of a launch argument.

    :param kind: bool, int, float or str.
    :param options: allowed texts of a str, in lower case, or () for any.
    :raises ParameterError: with the argument's name, when the text is no such value.
    """
    if options and text.lower() not in options:
        raise ParameterError(f"{name} is '{text}'; use one of {', '.join(options)}")
    if kind is bool and text.lower() in (*_YES, *_NO):
        return text.lower() in _YES
    try:
        if kind is not bool:
            return kind(text)
    except ValueError:
        pass
    raise ParameterError(f"{name} is '{text}'; it takes {_KINDS[kind]}")


def full_namespace(outer: str, own: str) -> str:
    """Namespace of a node without the first slash, as ROS joins it.

    :param outer: namespace of the group that includes the launch file; may be empty.
    :param own: from the argument; one that starts with a slash is complete.
    """
    parts = [own] if own.startswith('/') else [outer, own]
    return '/'.join(part.strip('/') for part in parts if part.strip('/'))


def log_level_arguments(namespace: str, node: str, level: str) -> list[str]:
    """Arguments of ROS that set the level of a node's own logger.

    Not of all loggers: at `debug` the libraries below write a hundred lines a second.

    :param namespace: as full_namespace gives it.
    :param level: one of LOG_LEVELS.
    """
    logger = '.'.join(part for part in (*namespace.split('/'), node) if part)
    return ['--log-level', f'{logger}:={level}']
