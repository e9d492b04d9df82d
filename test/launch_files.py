"""Launch files, read without importing what they import."""

import ast
from dataclasses import dataclass

from checkout import ROOT

LAUNCH = ROOT / 'launch'


@dataclass(frozen=True)
class Argument:
    """One launch argument; a default that is computed is its source text."""

    name: str
    default: str
    choices: tuple[str, ...]


def constants(file):
    """Module constants of a launch file by name, as syntax trees."""
    body = ast.parse((LAUNCH / file).read_text()).body
    return {n.targets[0].id: n.value for n in body if isinstance(n, ast.Assign)}


def arguments(file, table='ARGUMENTS'):
    """Arguments of a table of a launch file, by name; of both tables by default."""
    found = constants(file)
    trees = [*found[table].elts]
    if table == 'ARGUMENTS':
        trees += found['PARAMETER_ARGUMENTS'].elts
    rows = {}
    for name, default, choices, _ in (tree.elts for tree in trees):
        if isinstance(choices, ast.Name):
            choices = found[choices.id]
        text = default.value if isinstance(default, ast.Constant) else ast.unparse(default)
        rows[name.value] = Argument(name.value, text, ast.literal_eval(choices))
    return rows
