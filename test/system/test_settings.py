"""Settings that are declared once: names, values, options of a command line."""

import argparse
from dataclasses import dataclass

import pytest

from linknet_ros.errors import ParameterError
from linknet_ros.system.settings import add_options, group, made_of, setting, settings_of


@dataclass(frozen=True)
class Wheels:
    count: int = setting(4, 'How many.', (1, 6))
    names: tuple = setting((), 'Their names.', live=True)


@dataclass(frozen=True)
class Cart:
    color: str = setting('red', 'Paint.', choices=('red', 'blue'))
    wheels: Wheels = group(Wheels, 'wheels.')  # noqa: RUF009
    load: float = setting(0.5, 'How full.', (0, 1))
    brake: bool = setting(True, 'Brake.')


def test_names_and_what_is_known():
    settings = {about.name: about for about in settings_of(Cart)}
    assert list(settings) == ['color', 'wheels.count', 'wheels.names', 'load', 'brake']
    assert settings['color'].choices == ('red', 'blue')
    assert settings['wheels.count'].limits == (1, 6)
    assert settings['wheels.names'].live
    assert settings['load'].help == 'How full.'


def test_values_by_name():
    cart = made_of(Cart, {'wheels.count': 3, 'load': 0.1})
    assert cart == Cart('red', Wheels(3, ()), 0.1)
    assert made_of(Cart, {'wheels.names': ('left',)}, cart) == Cart(
        'red', Wheels(3, ('left',)), 0.1
    )
    with pytest.raises(ParameterError, match="parameter color is 'green'; use one of red, blue"):
        made_of(Cart, {'color': 'green'}, cart)


def test_options_of_a_command_line(capsys):
    parser = argparse.ArgumentParser()
    add_options(parser, Cart)
    parsed = vars(parser.parse_args([]))
    assert parsed == {
        'color': 'red', 'wheels.count': 4, 'wheels.names': (), 'load': 0.5, 'brake': True,
    }  # fmt: skip
    arguments = '--color blue --wheels-names a,b --load 1 --no-brake --wheels-count 6'
    parsed = vars(parser.parse_args(arguments.split()))
    assert parsed == {
        'color': 'blue', 'wheels.count': 6, 'wheels.names': ('a', 'b'), 'load': 1.0,
        'brake': False,
    }  # fmt: skip
    for wrong in ('--color green', '--wheels-count 7', '--load 2', '--load nan'):
        with pytest.raises(SystemExit):
            parser.parse_args(wrong.split())
        assert wrong.split()[0] in capsys.readouterr().err
    parser = argparse.ArgumentParser()
    add_options(parser, Cart, 'load')
    assert vars(parser.parse_args([])) == {'load': 0.5}
