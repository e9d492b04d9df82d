"""One cell: what is timed, labels that are kept, memory that is counted."""

import json
import subprocess
import sys

import numpy as np
import pytest

from linknet_ros.benchmark import cell as module
from linknet_ros.benchmark.cell import measure
from linknet_ros.errors import LinknetError


@pytest.fixture
def pictures(tmp_path):
    """Two frames of 64x32: blue (road) with a red (sky) right half, and green (car)."""
    frames = np.zeros((2, 32, 64, 3), np.uint8)
    frames[0, :, :32, 0] = frames[0, :, 32:, 2] = frames[1, ..., 1] = 200
    path = tmp_path / 'frames.npy'
    np.save(path, frames)
    return str(path)


def test_measure(model_path, pictures, tmp_path):
    labels = tmp_path / 'labels.npy'
    result = measure(str(model_path), 'onnxruntime', 'fp32', 1, pictures, 5, str(labels))
    assert (result['backend'], result['precision']) == ('onnxruntime', 'fp32')
    assert len(result['ms']) == 5
    assert min(result['ms']) > 0
    assert result['ready_s'] > 0
    expected = np.zeros((2, 32, 64), np.uint8)
    expected[0, :, 32:], expected[1] = 2, 1
    np.testing.assert_array_equal(np.load(labels), expected)


# A process of its own: in that of the tests, memory that the others leave behind comes and goes.
GREEDY = """
import json, sys
import numpy as np
from linknet_ros.benchmark import cell as module

opened = module.Segmenter

def greedy(*arguments, **options):
    np.ones(50_000_000, np.uint8)  # taken and given back: only the peak has seen it
    return opened(*arguments, **options)

module.Segmenter = greedy
print(json.dumps(module.measure(*json.loads(sys.argv[1]))))
"""


def test_memory_is_what_the_back_end_adds(model_path, pictures):
    arguments = json.dumps([str(model_path), 'onnxruntime', 'fp32', 1, pictures, 1])
    printed = subprocess.check_output([sys.executable, '-c', GREEDY, arguments], text=True)
    result = json.loads(printed.splitlines()[-1])
    if result['peak_mb'] is None:
        pytest.skip('this Linux does not let the peak be reset')
    assert 45 < result['peak_mb'] < 400
    assert result['held_mb'] < result['peak_mb'] - 20


def test_without_linux(model_path, pictures, monkeypatch):
    def refuse():
        raise LinknetError('no /proc here')

    monkeypatch.setattr(module, 'forget_peak', refuse)
    result = measure(str(model_path), 'onnxruntime', 'fp32', 1, pictures, 1)
    assert (result['peak_mb'], result['held_mb']) == (None, None)
