"""What no source may do: unpickle, run text, start a shell, download, or write where nobody said.

Most of it is kept by ruff (S and TID251 in ruff.toml, which `make lint` runs). Here is the rest,
read from the sources with ast, so that a line which no test reaches is found, too.
"""

import ast
import os
import subprocess
import sys
from copy import copy
from functools import cached_property, lru_cache

import pytest
from checkout import ROOT

#: Calls that fetch weights, by the last of their name; the one that is meant is --pretrained's.
DOWNLOADS = {'load_state_dict_from_url', 'get_state_dict', 'load_url', 'urlretrieve', 'urlopen'}
MEANT_DOWNLOADS = {('training/networks/linknet.py', 'get_state_dict')}

#: Modules of the robot that write files, and where; docs/security.md has the same list.
WRITERS = {
    'linknet_ros/inference/tensorrt/cache.py': 'tensorrt.cache_dir',
    'linknet_ros/inference/tensorrt/build.py': 'the temporary folder of engine_builder',
    'linknet_ros/benchmark/benchmark.py': '--out',
    'linknet_ros/benchmark/contest.py': 'a temporary folder',
    'linknet_ros/benchmark/models.py': 'the same',
    'linknet_ros/benchmark/cell.py': 'the temporary folder of benchmark',
    'linknet_ros/benchmark/report.py': '--out of benchmark',
    'linknet_ros/demo/demo.py': '--out',
    'linknet_ros/simulation/ground_accuracy.py': '--pictures',
    'linknet_ros/planner/planner_config.py': '--out',
    'linknet_ros/benchmark/node.py': '--out',
    'linknet_ros/benchmark/recordings.py': '--out, and a temporary folder',
    'linknet_ros/benchmark/recordings_usual.py': 'that folder',
    'linknet_ros/benchmark/node_rounds.py': 'a temporary folder',
    'linknet_ros/benchmark/node_report.py': '--out of node_benchmark',
    'linknet_ros/importing/import_network.py': '--out of import_model',
    'linknet_ros/importing/import_model.py': 'the picture of --try beside it',
    'linknet_ros/system/temporary_folder.py': 'the temporary folders of others, removed',
    'linknet_ros/recordings/quantize_model.py': '--out, and the model file that names it',
    'linknet_ros/recordings/files.py': 'OUT of segment_files',
    'linknet_ros/frames/video.py': 'the same',
    'linknet_ros/recordings/part_folder.py': '<OUT>.part of segment_bag and segment_files',
    'linknet_ros/node/parameter_pages.py': 'docs/ and config/ of a checkout',
    'linknet_ros/system/usage.py': '/proc/self/clear_refs',
    'linknet_ros/recordings/journal.py': 'the same',
    'linknet_ros/products/rerun_scene.py': '--rerun, and save of rerun_node',
    'linknet_ros/recordings/scene.py': '--rerun',
    'linknet_ros/view/rerun_node.py': 'save',
    'linknet_ros/recordings/bag_reader.py': 'a temporary folder, for files packed as a whole',
    'linknet_ros/recordings/bag_writer.py': '<OUT>.part of segment_bag',
    'linknet_ros/recordings/pick_frames.py': '<OUT>.part of pick_frames',
    'linknet_ros/recordings/frame_scores.py': 'the same',
    'linknet_ros/recordings/pre_label.py': 'the folder that it is given',
    'linknet_ros/recordings/label_folder.py': 'the same',
    'linknet_ros/recordings/label_tools.py': 'the same',
}

#: Calls that write, by the last of their name; open() is looked at by its mode.
WRITES = {
    *('write_text', 'write_bytes', 'mkdir', 'makedirs', 'touch', 'symlink_to', 'hardlink_to'),
    *('imwrite', 'save', 'savez', 'savez_compressed', 'savefig', 'savetxt', 'tofile'),
    *('rename', 'unlink', 'rmdir', 'rmtree', 'copyfile', 'copytree', 'move', 'truncate'),
    'VideoWriter',
}


class Source:
    """One file: its calls by their full names, aliases of imports resolved."""

    def __init__(self, path, text):
        self.path = path
        self.tree = ast.parse(text, path)
        self._names = {}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    name = alias.name if alias.asname else alias.name.partition('.')[0]
                    self._names[alias.asname or name] = name
            elif isinstance(node, ast.ImportFrom) and not node.level:
                for alias in node.names:
                    self._names[alias.asname or alias.name] = f'{node.module}.{alias.name}'

    def name_of(self, node):
        """The dotted name of an expression, numpy as np; '' for what has none."""
        if isinstance(node, ast.Name):
            name = self._names.get(node.id, node.id)
            return 'np' + name.removeprefix('numpy') if name.startswith('numpy') else name
        if isinstance(node, ast.Attribute):
            return f'{self.name_of(node.value)}.{node.attr}'
        return ''

    @cached_property
    def calls(self):
        """Line, full name and node of all calls."""
        calls = [node for node in ast.walk(self.tree) if isinstance(node, ast.Call)]
        return [(node.lineno, self.name_of(node.func), node) for node in calls]

    def at(self, line, text):
        return f'{self.path}:{line} {text}'


def argument(call, name, position=None):
    """An argument of a call, or None; one that comes out of ** is not seen."""
    found = [keyword.value for keyword in call.keywords if keyword.arg == name]
    if not found and position is not None and len(call.args) > position:
        found = [call.args[position]]
    return found[0] if found else None


def is_constant(node, value):
    return isinstance(node, ast.Constant) and node.value is value


def unsafe_loads(source):
    """torch.load and its like read tensors only; NumPy reads no objects."""
    for line, name, call in source.calls:
        last = name.rpartition('.')[2]
        if name == 'torch.load' or last in ('load_state_dict_from_url', 'get_state_dict'):
            if not is_constant(argument(call, 'weights_only'), True):
                yield source.at(line, f'{last} without weights_only=True')
        elif name == 'np.load':
            allowed = argument(call, 'allow_pickle', 2)
            if allowed is not None and not is_constant(allowed, False):
                yield source.at(line, 'np.load with allow_pickle')
        elif last.startswith(('resnet', 'vgg', 'efficientnet', 'mobilenet', 'deeplab', 'fcn_')):
            weights = argument(call, 'weights')
            if weights is not None and not is_constant(weights, None):
                yield source.at(line, f'{last} with weights=, which unpickles what it downloads')


def downloads(source):
    """Nothing is fetched but what is in MEANT_DOWNLOADS."""
    for line, name, _ in source.calls:
        last = name.rpartition('.')[2]
        if last in DOWNLOADS and (source.path, last) not in MEANT_DOWNLOADS:
            yield source.at(line, f'calls {name}, which downloads')


def writes(source):
    """On a robot, only WRITERS write."""
    if not source.path.startswith('linknet_ros/') or source.path in WRITERS:
        return
    for line, name, call in source.calls:
        last = name.rpartition('.')[2] or name
        # path.replace and str.replace are one name: os.replace is looked at.
        if last in WRITES or name in ('os.replace', 'os.open', 'os.link', 'os.symlink'):
            if name == 'os.open' and 'O_CREAT' not in ast.unparse(call):
                continue
            yield source.at(line, f'calls {name or last}, which writes, and is not in WRITERS')
        if last == 'open' and name != 'os.open':
            mode = argument(call, 'mode', 0 if '.' in name else 1)
            reads = isinstance(mode, ast.Constant) and set(str(mode.value)) <= set('rbt')
            if mode is not None and not reads:
                yield source.at(line, 'opens a file to write, and is not in WRITERS')


RULES = [unsafe_loads, downloads, writes]


@lru_cache(None)
def sources():
    folders = ('linknet_ros', 'training', 'launch')
    paths = sorted(p for name in folders for p in (ROOT / name).rglob('*.py'))
    return [
        Source(p.relative_to(ROOT).as_posix(), p.read_text('utf-8'))
        for p in [*paths, ROOT / 'setup.py']
    ]


@pytest.mark.parametrize('rule', RULES)
def test_sources(rule):
    assert [found for source in sources() for found in rule(source)] == []


def test_exceptions_are_needed():
    """Who no longer writes or downloads is no longer in a list."""
    by_path = {source.path: source for source in sources()}
    for path in WRITERS:
        source = copy(by_path[path])
        source.path = 'linknet_ros/somebody_else.py'
        assert list(writes(source)), f'{path} writes nothing; take it out of WRITERS'
    for path, call in MEANT_DOWNLOADS:
        names = [name.rpartition('.')[2] for _, name, _ in by_path[path].calls]
        assert call in names


def test_writers_are_in_the_page():
    page = (ROOT / 'docs/security.md').read_text()
    missing = [path for path in WRITERS if f'`{path.removeprefix("linknet_ros/")}`' not in page]
    assert missing == []


#: Opens every back end of the processor on a frame, and prints each look at another machine.
RUN = """
import sys
def watch(event, arguments):
    if event in ('socket.connect', 'socket.getaddrinfo', 'socket.gethostbyname', 'os.system'):
        print('seen:', event, arguments)
sys.addaudithook(watch)
import numpy as np
from linknet_ros.inference.model_file import load_model
from linknet_ros.inference.segmenter import Segmenter
for name in ('openvino', 'onnxruntime'):
    segmenter = Segmenter(load_model(sys.argv[1]), backend=name)
    print(segmenter.segment(np.zeros((64, 96, 3), np.uint8)).labels.shape)
    segmenter.close()
import urllib.request
try:
    urllib.request.urlopen('http://localhost:9/', timeout=1)
except OSError:
    pass
"""


def test_back_ends_reach_no_other_machine_and_write_nothing(model_path, tmp_path, monkeypatch):
    # Both would, without linknet_ros/__init__.py: OpenVINO's import looks up Google Analytics and
    # keeps files in ~/intel, ONNX Runtime's an id in ~/.cache/Microsoft, whoever imports it.
    home = tmp_path / 'home'
    home.mkdir()
    monkeypatch.setenv('HOME', str(home))
    pytest.importorskip('openvino')
    pytest.importorskip('onnxruntime')
    command = [sys.executable, '-c', RUN, model_path]
    # Not as on a machine that builds and tests, where they keep still.
    quiet = {'CI', 'TF_BUILD', 'GITHUB_ACTIONS', 'ORT_DISABLE_TELEMETRY', 'OPENVINO_TELEMETRY'}
    environment = {k: v for k, v in os.environ.items() if k not in quiet}
    child = subprocess.run(
        command, capture_output=True, text=True, check=True, cwd=ROOT, env=environment
    )
    before, _, after = child.stdout.rpartition('(64, 96)')
    assert 'seen' not in before
    assert before.count('(64, 96)') == 1
    assert list(home.iterdir()) == []
    # It would be seen.
    assert 'seen: socket' in after


# The rules find what they are for.

FAULTS = {
    unsafe_loads: [
        'import torch\ntorch.load(f)',
        'import torch as t\nt.load(f, weights_only=False)',
        'from torch import load\nload(f, weights_only=maybe)',
        'from torchvision.models import resnet18\nresnet18(weights=w)',
        'import numpy as np\nnp.load(f, allow_pickle=True)',
        'import numpy\nnumpy.load(f, None, flag)',
    ],
    downloads: ['weights.get_state_dict(weights_only=True)'],
    writes: [
        'path.write_text("a")',
        'open(path, "w")',
        'open(path, mode=how)',
        'path.open("a")',
        'import os\nos.open(path, os.O_WRONLY | os.O_CREAT)',
        'import os\nos.replace(a, b)',
        'import numpy as np\nnp.save(path, a)',
        'import cv2\ncv2.imwrite(path, a)',
        'Path(name).mkdir()',
    ],
    None: [
        'import torch\ntorch.load(f, map_location="cpu", weights_only=True)',
        'import numpy as np\nnp.load(f)\nnp.load(f, allow_pickle=False)',
        'network.eval()\njson.load(f)\nos.open(path, os.O_RDONLY)\nopen(path)\nopen(path, "rb")',
        'text.replace("a", "b")\nimport tempfile\ntempfile.TemporaryDirectory()',
        'from torchvision.models import resnet18\nresnet18(norm_layer=n)',
    ],
}


@pytest.mark.parametrize(('rule', 'text'), [(r, t) for r, texts in FAULTS.items() for t in texts])
def test_fault_is_found(rule, text):
    source = Source('linknet_ros/made_up.py', text)
    found = [each for each in RULES if list(each(source))]
    assert found == ([rule] if rule else [])


@pytest.mark.parametrize(
    ('text', 'code'),
    [
        ('import pickle', 'TID251'),
        ('from marshal import loads', 'TID251'),
        ('import dill', 'TID251'),
        ('import requests', 'TID251'),
        ('from urllib.request import urlopen', 'TID251'),
        ('import socket', 'TID251'),
        ('import torch\ntorch.hub.load(f)', 'TID251'),
        ('import yaml\nyaml.unsafe_load(f)', 'TID251'),
        ('eval(text)', 'S307'),
        ('exec(text)', 'S102'),
        ('import os\nos.system(text)', 'S605'),
        ('import os\nos.popen(text)', 'S605'),
        ('import subprocess\nsubprocess.run(text, shell=True)', 'S602'),
        ('import tempfile\ntempfile.mktemp()', 'S306'),
        ('import yaml\nyaml.load(f)', 'S506'),
    ],
)
def test_fault_is_found_by_ruff(text, code):
    ruff = pytest.importorskip('ruff', reason='needs ruff (pip install .[dev])')
    command = [ruff.find_ruff_bin(), 'check', '--stdin-filename', 'linknet_ros/made_up.py', '-']
    child = subprocess.run(command, input=text, capture_output=True, text=True, cwd=ROOT)
    assert code in child.stdout
