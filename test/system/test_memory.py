"""Memory that is freed, in a process of its own: whether Linux has to clear it again."""

import ctypes
import json
import subprocess
import sys

import numpy as np
import pytest

from linknet_ros.inference import segmenter
from linknet_ros.inference.model_file import load_model
from linknet_ros.system import memory as module
from linknet_ros.system.memory import give_back_freed_memory, keep_freed_memory

pytestmark = pytest.mark.skipif(not hasattr(ctypes.CDLL(None), 'mallopt'), reason='needs glibc')

#: Pages that had to be cleared for 100 times 4 pictures of 3 MB, on two threads in turn; resident
#: memory in MB that went when what was freed was given back.
PICTURES = """
import json, os, resource, sys
from concurrent.futures import ThreadPoolExecutor
import numpy as np
from linknet_ros.system.memory import give_back_freed_memory, keep_freed_memory
from linknet_ros.system.usage import memory_mb

def picture(_):
    # As a frame on its way through rclpy, which is copied from one form into the next.
    [np.ones((720, 1280, 3), np.uint8) for _ in range(4)]

kept = keep_freed_memory() if sys.argv[1] == 'keep' else False
threads = [ThreadPoolExecutor(1), ThreadPoolExecutor(1)]

def pictures(number):
    for thread in threads:
        list(thread.map(picture, range(number // 2)))

pictures(4)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
pictures(100)
faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
held = memory_mb(os.getpid())['rss_mb']
give_back_freed_memory()
print(json.dumps([kept, faults, held - memory_mb(os.getpid())['rss_mb']]))
"""


def pictures(how):
    printed = subprocess.check_output([sys.executable, '-c', PICTURES, how], text=True)
    return json.loads(printed)


def test_freed_memory_is_kept_until_it_is_given_back():
    kept, faults, given_back = pictures('keep')
    assert kept
    # A picture has 675 pages.
    assert faults < 400 * 675 / 100
    # But for what lies at the end of a thread's own heap, two pictures at least.
    assert given_back > 2 * 2.7
    # Without it, every picture is memory that was cleared.
    kept, faults, _ = pictures('leave')
    assert not kept
    assert faults > 400 * 675 / 2


def test_other_libraries_of_c(monkeypatch):
    monkeypatch.setattr(module.ctypes, 'CDLL', lambda name: object())
    assert not keep_freed_memory()
    give_back_freed_memory()


def test_segmenter_gives_back_after_opening_a_size(model_path, monkeypatch):
    given = []
    monkeypatch.setattr(segmenter, 'give_back_freed_memory', lambda: given.append(len(given)))
    mine = segmenter.Segmenter(load_model(model_path), backend='onnxruntime')
    assert len(given) == 1
    wide, narrow = np.zeros((64, 96, 3), np.uint8), np.zeros((64, 32, 3), np.uint8)
    for frame, count in ((wide, 1), (narrow, 2), (wide, 2), (narrow, 2)):
        mine.segment(frame)
        assert len(given) == count
