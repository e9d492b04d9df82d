"""Which requests the web server accepts: those of its own page, not those of other web sites.

Any web page can make a browser send requests to a robot's address. The browser says which page
sent them (Origin) and which name they were for (Host); a page can change neither.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection

_HOST = re.compile(r'(?:\[(?P<v6>[0-9a-f:.]+)\]|(?P<name>[^\s:\[\]/@]+))(?::\d{1,5})?', re.I)


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach a server at this address."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == 'localhost'


def host_allowed(host: str, names: Collection[str]) -> bool:
    """Whether a Host header names this server in a way that no other site can.

    An address always means this machine. A name may belong to an attacker, who lets it resolve to
    another machine first and to this one later (DNS rebinding), so only known names are accepted.
    Any port is, since the request may come through a tunnel.

    :param host: value of the header, e.g. 'localhost:8080'.
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

    :param origin: value of the Origin header; https if a proxy adds it.
    :param host: value of the Host header of the same request.
    """
    return origin.lower() in (f'http://{host}'.lower(), f'https://{host}'.lower())


def response_headers(host: str) -> dict[str, str]:
    """Headers of every response: load nothing from elsewhere, show the page in no frame.

    :param host: value of the Host header, checked before. Some browsers do not take 'self' for
        WebSockets.
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
