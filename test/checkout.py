"""The checkout, what comes with its tests, and what may lie beside it."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / 'config'
MODEL = ROOT / 'models/linknet_camvid.onnx'
#: Stand-ins for libraries that need a GPU, to be put on the path.
FAKES = ROOT / 'test/fakes'
#: Data that the tests bring along.
DATA = ROOT / 'test/data'
#: Data sets and other material, not part of the checkout; tests skip where it is missing.
SHARED = ROOT.parent / 'shared'
