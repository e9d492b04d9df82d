"""Launch arguments: what is read, and what is refused with the argument's name."""

import pytest

from linknet_ros.errors import ParameterError
from linknet_ros.launch_arguments import (
    LOG_LEVELS,
    argument_value,
    full_namespace,
    log_level_arguments,
)


@pytest.mark.parametrize(
    ('text', 'kind', 'value'),
    [
        *((text, bool, True) for text in ('true', 'True', '1', 'yes', 'on')),
        *((text, bool, False) for text in ('false', 'FALSE', '0', 'no', 'off')),
        ('10', float, 10.0),
        ('0.5', float, 0.5),
        ('-3', int, -3),
        ('1', str, '1'),
        ('', str, ''),
    ],
)
def test_value(text, kind, value):
    found = argument_value('thing', text, kind)
    assert (type(found), found) == (kind, value)


@pytest.mark.parametrize(
    ('text', 'kind', 'message'),
    [
        ('maybe', bool, "^thing is 'maybe'; it takes true or false$"),
        ('', bool, "^thing is ''; it takes true or false$"),
        ('fast', float, "^thing is 'fast'; it takes a number$"),
        ('a', int, "^thing is 'a'; it takes an integer$"),
        ('1.5', int, "^thing is '1.5'; it takes an integer$"),
    ],
)
def test_no_value(text, kind, message):
    with pytest.raises(ParameterError, match=message):
        argument_value('thing', text, kind)


def test_options():
    # rcl takes capitals too.
    assert argument_value('log_level', 'WARN', str, LOG_LEVELS) == 'WARN'
    message = "^log_level is 'loud'; use one of debug, info, warn, error, fatal$"
    with pytest.raises(ParameterError, match=message):
        argument_value('log_level', 'loud', str, LOG_LEVELS)


@pytest.mark.parametrize(
    ('outer', 'own', 'full'),
    [
        ('', '', ''),
        ('', 'front', 'front'),
        ('/', 'front/', 'front'),
        ('/robot', 'front/left', 'robot/front/left'),
        ('/robot', '', 'robot'),
        ('/robot', '/front', 'front'),
    ],
)
def test_namespace(outer, own, full):
    assert full_namespace(outer, own) == full


def test_log_level_of_one_logger():
    assert log_level_arguments('', 'linknet', 'debug') == ['--log-level', 'linknet:=debug']
    expected = ['--log-level', 'robot.front.linknet:=warn']
    assert log_level_arguments('robot/front', 'linknet', 'warn') == expected
