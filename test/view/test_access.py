"""Which requests the web server accepts."""

import pytest

from linknet_ros.view.access import (
    host_allowed,
    is_loopback,
    origin_allowed,
    response_headers,
)


@pytest.mark.parametrize(
    'host',
    # Another port may be that of a tunnel.
    [
        *('127.0.0.1:8080', '127.0.0.1', 'localhost:8080', 'LocalHost:9000', '[::1]:8080'),
        *('192.168.1.7:8080', '[fe80::1]', 'robot.local:8080', 'Robot.local'),
    ],
)
def test_names_that_mean_this_machine(host):
    assert host_allowed(host, {'robot.local'})


@pytest.mark.parametrize(
    'host',
    [
        *('', 'evil.example', 'evil.example:8080', 'robot.local.evil.example', "robot.local'"),
        *('localhost.evil.example:8080', '127.0.0.1.evil.example', '127.0.0.1@evil.example'),
        *('127.0.0.1:8080@evil.example', '127.0.0.1:port', '127.0.0.1:8080 ', '127.0.0.1:8080\n'),
        # Some programs read the number as 127.0.0.1; it is a name nevertheless.
        *('[evil]', '::1', '2130706433'),
    ],
)
def test_names_that_may_mean_anything(host):
    assert not host_allowed(host, {'robot.local'})


def test_origin():
    host = '127.0.0.1:8080'
    assert origin_allowed('http://127.0.0.1:8080', host)
    assert origin_allowed('https://127.0.0.1:8080', host)
    # Another program on this machine, other sites, a sandboxed frame, a file.
    for origin in (
        *('http://127.0.0.1:3000', 'http://localhost:8080', 'http://evil.example', 'null', ''),
        *('http://127.0.0.1:8080.evil.example', 'http://evil.example/127.0.0.1:8080'),
        'file://127.0.0.1:8080',
    ):
        assert not origin_allowed(origin, host), origin


def test_headers_let_nothing_in_from_elsewhere():
    headers = response_headers('127.0.0.1:8080')
    policy = dict(
        part.strip().split(' ', 1) for part in headers['Content-Security-Policy'].split(';')
    )
    assert policy.pop('connect-src') == "'self' ws://127.0.0.1:8080 wss://127.0.0.1:8080"
    # Neither inline scripts nor those of other addresses, and no frame around the sliders.
    assert set(policy.values()) == {"'none'", "'self'"}
    assert policy['default-src'] == policy['frame-ancestors'] == "'none'"
    assert headers['X-Frame-Options'] == 'DENY'
    assert headers['X-Content-Type-Options'] == 'nosniff'
    assert headers['Cache-Control'] == 'no-store'


def test_loopback():
    assert all(map(is_loopback, ('127.0.0.1', '127.1.2.3', '::1', 'localhost')))
    # '' means all addresses.
    assert not any(map(is_loopback, ('0.0.0.0', '::', '192.168.1.7', 'robot.local', '')))
