"""Where people read of the parameters: the table of docs/node.md, and config/camvid.yaml.

`python -m linknet_ros.node.parameter_pages` in a checkout updates both after a change.
"""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

from linknet_ros.node.parameters import SETTINGS
from linknet_ros.system.settings import Setting

PAGE, FILE = Path('docs/node.md'), Path('config/camvid.yaml')

#: The table stands between these lines of the page.
BEGIN, END = '<!-- parameters -->\n', '<!-- end of parameters -->\n'

_FILE_HEAD = """\
# Parameters of the segmentation node with the CamVid model that ships.
# Every key has its default value here; [live] keys can be changed while the node runs.
# Written by `python -m linknet_ros.node.parameter_pages`: copy it to change values.
/**:
  ros__parameters:
"""
_WIDTH = 99


def parameter_table() -> str:
    """The parameters as a table in Markdown."""
    rows = ['| name | default | values | [live] can be changed while the node runs |']
    rows += ['|---|---|---|---|']
    for about in SETTINGS:
        text = _live(about) + about.help
        rows.append(f'| `{about.name}` | {_yaml(about.default)} | {_values(about)} | {text} |')
    return '\n'.join(rows) + '\n'


def with_table(page: str) -> str:
    """A page with the table of today.

    :param page: text with the lines BEGIN and END.
    """
    before, _, rest = page.partition(BEGIN)
    after = rest.partition(END)[2]
    return f'{before}{BEGIN}{parameter_table()}{END}{after}'


def parameter_file() -> str:
    """config/camvid.yaml: all parameters with their defaults, each with a comment."""
    lines, group = [], ''
    for about in SETTINGS:
        prefix, _, key = about.name.rpartition('.')
        if prefix and prefix != group:
            lines += ['', f'    {prefix}:']
        elif not prefix:
            lines.append('')
        group = prefix
        indent = '      ' if prefix else '    '
        values = _values(about)
        text = _live(about) + about.help + (f' Values: {values}.' if values else '')
        lines += textwrap.wrap(
            text, _WIDTH, initial_indent=f'{indent}# ', subsequent_indent=f'{indent}# '
        )
        lines.append(f'{indent}{key}: {_yaml(about.default)}')
    return _FILE_HEAD + '\n'.join(lines).lstrip('\n') + '\n'


def _live(about: Setting) -> str:
    return '[live] ' if about.live else ''


def _values(about: Setting) -> str:
    """Range and unit, or the choices."""
    if about.limits:
        low, high = map(type(about.default), about.limits)
        return f'{low} to {high} {about.unit}'.rstrip()
    return ', '.join(map(str, about.choices))


def _yaml(value: Any) -> str:
    """A default as YAML has it, which has no empty list of strings: [''] stands for it."""
    if isinstance(value, bool):
        return str(value).lower()
    return "['']" if value == () else "''" if value == '' else str(value)


def main() -> None:
    """Update page and file in the checkout that is the current folder."""
    PAGE.write_text(with_table(PAGE.read_text('utf-8')), 'utf-8')
    FILE.write_text(parameter_file(), 'utf-8')


if __name__ == '__main__':
    main()
