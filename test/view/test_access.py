"""Whose requests are answered: those of the view's own page."""

import pytest

from linknet_ros.view.access import (
    host_allowed,
    is_loopback,
    origin_allowed,
    response_headers,
)


@pytest.mark.parametrize(
    'host',
    [
        '127.0.0.1:8080',
        '127.0.0.1',
        'localhost:8080',
        'LocalHost:9000',  # through a tunnel with another port
        '[::1]:8080',
        '192.168.1.7:8080',
        '[fe80::1]',
        'robot.local:8080',
        'Robot.local',
    ],
)
def test_names_that_mean_this_machine(host):
    assert host_allowed(host, {'robot.local'})


@pytest.mark.parametrize(
    'host',
    [
        '',
        'evil.example',
        'evil.example:8080',
        'robot.local.evil.example',
        'localhost.evil.example:8080',
        '127.0.0.1.evil.example',
        '127.0.0.1@evil.example',
        '127.0.0.1:8080@evil.example',
        '127.0.0.1:port',
        '127.0.0.1:8080 ',
        '127.0.0.1:8080\n',
        '[evil]',
        '::1',
        '2130706433',  # some programs take it for 127.0.0.1, and it is a name all the same
        "robot.local'",
    ],
)
def test_names_that_may_mean_anything(host):
    assert not host_allowed(host, {'robot.local'})


@pytest.mark.parametrize(
    ('origin', 'allowed'),
    [
        ('http://127.0.0.1:8080', True),
        ('https://127.0.0.1:8080', True),
        ('http://127.0.0.1:3000', False),  # another program's page on this machine
        ('http://localhost:8080', False),
        ('http://evil.example', False),
        ('http://127.0.0.1:8080.evil.example', False),
        ('http://evil.example/127.0.0.1:8080', False),
        ('null', False),  # a sandboxed frame, a file
        ('', False),
        ('file://127.0.0.1:8080', False),
    ],
)
def test_origin(origin, allowed):
    assert origin_allowed(origin, '127.0.0.1:8080') == allowed


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


@pytest.mark.parametrize(
    ('address', 'loopback'),
    [
        ('127.0.0.1', True),
        ('127.1.2.3', True),
        ('::1', True),
        ('localhost', True),
        ('0.0.0.0', False),
        ('::', False),
        ('192.168.1.7', False),
        ('robot.local', False),
        ('', False),  # all addresses
    ],
)
def test_loopback(address, loopback):
    assert is_loopback(address) == loopback
