"""The checkout, what comes with its tests, and what may lie beside it."""

import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / 'config'
MODEL = ROOT / 'models/linknet_camvid.onnx'
#: Stand-ins for libraries that need a GPU, to be put on the path.
FAKES = ROOT / 'test/fakes'
#: Data that the tests bring along.
DATA = ROOT / 'test/data'
#: Data sets and other material, not part of the checkout; tests skip where it is missing.
SHARED = ROOT.parent / 'shared'


def setup_arguments():
    """What setup.py hands to setuptools."""
    calls = []
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        patch.setattr('setuptools.setup', lambda **arguments: calls.append(arguments))
        runpy.run_path('setup.py')
    return calls[0]
