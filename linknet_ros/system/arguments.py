"""What command lines take: a size, a count, a share. For `type=` of argparse."""

from __future__ import annotations

from argparse import ArgumentTypeError


def size(text: str, least: int = 32, most: int = 4096) -> tuple[int, int]:
    """Width and height in pixels, e.g. (640, 360) of '640x360'.

    :param least: shortest side; 32 is the stride of the networks.
    :param most: longest side.
    :raises ArgumentTypeError: when the text is not WIDTHxHEIGHT, or a side is out of range.
    """
    sides = text.split('x')
    if len(sides) != 2 or not all(side.isascii() and side.isdigit() for side in sides):
        raise ArgumentTypeError(f"invalid size '{text}' (expected WIDTHxHEIGHT, e.g. 640x360)")
    width, height = (int(side) for side in sides)
    if min(width, height) < least or max(width, height) > most:
        raise ArgumentTypeError(f"invalid size '{text}' (each side must be {least} to {most})")
    return width, height


def count(text: str, least: int = 1, most: int | None = None) -> int:
    """A whole number, e.g. `type=partial(count, least=0, most=256)`.

    :raises ArgumentTypeError: when the text is not a whole number, or is out of range.
    """
    number = int(text) if text.isascii() and text.isdigit() else -1
    if number < least or (most is not None and number > most):
        limits = f'of at least {least}' if most is None else f'from {least} to {most}'
        raise ArgumentTypeError(f"invalid count '{text}' (expected a whole number {limits})")
    return number


def number(text: str, least: float, most: float, what: str = 'number') -> float:
    """A number within limits.

    :param what: it is called in the message.
    :raises ArgumentTypeError: when the text is not one.
    """
    try:
        value = float(text)
    except ValueError:
        value = float('nan')
    # NaN is within no limits.
    if not least <= value <= most:
        raise ArgumentTypeError(
            f"invalid {what} '{text}' (expected a number from {least} to {most})"
        )
    return value


def share(text: str) -> float:
    """A number from 0 to 1.

    :raises ArgumentTypeError: when the text is not one.
    """
    return number(text, 0, 1, 'share')
