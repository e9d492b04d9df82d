"""Who may talk to the view: web pages that the user visits elsewhere may not.

A browser sends requests to a robot's address for any page that asks it to. It says where they come
from (Origin), and which name they were for (Host); a page cannot change either.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection

_HOST = re.compile(r'(?:\[(?P<v6>[0-9a-f:.]+)\]|(?P<name>[^\s:\[\]/@]+))(?::\d{1,5})?', re.I)


def is_loopback(address: str) -> bool:
    """Whether only this machine reaches a server that listens there."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == 'localhost'


def host_allowed(host: str, names: Collection[str]) -> bool:
    """Whether a Host header names this server in a way that nobody else can.

    An address is what it says. A name may be anybody's, who lets it mean another machine first and
    this one then (DNS rebinding), so it has to be known here. The port may be that of a tunnel.

    :param host: as 'localhost:8080'.
    :param names: further names of this machine, in lower case.
    """
    match = _HOST.fullmatch(host)
    if match is None:
        return False
    name = (match['v6'] or match['name']).lower()
    if name == 'localhost' or name in names:
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def origin_allowed(origin: str, host: str) -> bool:
    """Whether a request comes from the view's own page.

    :param origin: the Origin header; https where a proxy adds it.
    :param host: the Host header of the same request.
    """
    return origin.lower() in (f'http://{host}'.lower(), f'https://{host}'.lower())


def response_headers(host: str) -> dict[str, str]:
    """What a browser is told of every answer: nothing from elsewhere, and in nobody's frame.

    :param host: the Host header, allowed before. Some browsers do not take 'self' for WebSockets.
    """
    return {
        'Content-Security-Policy': (
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
            f"connect-src 'self' ws://{host} wss://{host}; base-uri 'none'; form-action 'none'; "
            "frame-ancestors 'none'"
        ),
        'X-Content-Type-Options': 'nosniff',
        'X-Frame-Options': 'DENY',
        'Cross-Origin-Resource-Policy': 'same-origin',
        'Cross-Origin-Opener-Policy': 'same-origin',
        'Referrer-Policy': 'no-referrer',
        'Cache-Control': 'no-store',
    }
