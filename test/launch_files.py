"""Launch files, read without importing what they import."""

import ast

from checkout import ROOT

LAUNCH = ROOT / 'launch'


def constant(file, name):
    """Value of a module constant, read without importing what the launch file imports."""
    for node in ast.parse((LAUNCH / file).read_text()).body:
        if isinstance(node, ast.Assign) and node.targets[0].id == name:
            return node.value
    raise AssertionError(f'{file} has no {name}')


def rows(file, name):
    return [
        [e.value if isinstance(e, ast.Constant) else ast.unparse(e) for e in row.elts]
        for row in constant(file, name).elts
        if isinstance(row, ast.Tuple)
    ]
