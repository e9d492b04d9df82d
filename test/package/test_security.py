"""What no source may do: unpickle, run text, start a shell, download, or write where nobody said.

Read from the sources with ast, so that a line which no test reaches is found, too.
"""

import ast
import os
import subprocess
import sys

import pytest
from checkout import ROOT

#: They run what a file tells them to.
CODE_IN_FILES = {
    *('pickle', '_pickle', 'cPickle', 'marshal', 'shelve', 'dill', 'cloudpickle', 'joblib'),
    *('pandas', 'jsonpickle', 'code', 'codeop'),
}

#: They reach other machines.
NETWORK = {
    *('requests', 'urllib', 'urllib3', 'http', 'httpx', 'aiohttp', 'socket', 'ftplib'),
    *('smtplib', 'telnetlib', 'xmlrpc', 'socketserver', 'wget', 'gdown', 'huggingface_hub'),
}

#: Calls that reach other machines or fetch code, by the last of their name.
DOWNLOADS = {
    *('urlopen', 'urlretrieve', 'download_url_to_file', 'load_state_dict_from_url'),
    *('get_state_dict', 'load_url', 'download_url'),
}

#: (file, call): the downloads that are meant.
MEANT_DOWNLOADS = {
    # --pretrained: torchvision's ImageNet weights, of its own address, never on a robot.
    ('training/networks/linknet.py', 'get_state_dict'),
}

#: (file, module): what may reach other machines, or looks as if it did.
MEANT_NETWORK = {
    # Whether the address that somebody gave with --ray answers at all.
    ('linknet_ros/recordings/cluster.py', 'socket'),
    # Serves the page of view_node; asks nobody.
    ('linknet_ros/view/server.py', 'aiohttp'),
    ('linknet_ros/view/server.py', 'aiohttp.http_exceptions'),
    ('linknet_ros/view/session.py', 'aiohttp'),
    # Quote a path for SQLite.
    ('linknet_ros/recordings/journal.py', 'urllib.parse'),
    ('linknet_ros/recordings/storage.py', 'urllib.parse'),
}

#: Calls that always run text as code or in a shell, or race for a file's name.
NEVER = {
    *('eval', 'exec', 'os.system', 'os.popen', 'pty.spawn', 'commands.getoutput'),
    *('subprocess.getoutput', 'subprocess.getstatusoutput', 'tempfile.mktemp'),
    *('asyncio.create_subprocess_shell', 'yaml.unsafe_load', 'yaml.full_load', 'yaml.load_all'),
    *('torch.hub.load', 'torch.jit.load', 'onnx.hub.load', 'np.fromregex', 'builtins.eval'),
    *('builtins.exec', 'os.chmod', 'os.umask', 'shutil.unpack_archive', 'tarfile.open'),
    'logging.config.listen',
}

#: Modules of the robot that write files, and where; docs/security.md has the same list.
WRITERS = {
    'linknet_ros/inference/tensorrt/cache.py': 'tensorrt.cache_dir',
    'linknet_ros/inference/tensorrt/build.py': 'the temporary folder of engine_builder',
    'linknet_ros/benchmark/__main__.py': '--out, and a temporary folder',
    'linknet_ros/benchmark/cell.py': 'the temporary folder of benchmark',
    'linknet_ros/benchmark/report.py': '--out of benchmark',
    'linknet_ros/demo/demo.py': '--out',
    'linknet_ros/simulation/ground_accuracy.py': '--pictures',
    'linknet_ros/benchmark/node.py': '--out',
    'linknet_ros/benchmark/node_rounds.py': 'a temporary folder',
    'linknet_ros/benchmark/node_report.py': '--out of node_benchmark',
    'linknet_ros/recordings/files.py': 'OUT of segment_files',
    'linknet_ros/recordings/part_folder.py': '<OUT>.part of segment_bag and segment_files',
    'linknet_ros/system/usage.py': '/proc/self/clear_refs',
    'linknet_ros/recordings/journal.py': 'the same',
    'linknet_ros/recordings/bag_reader.py': 'a temporary folder, for files packed as a whole',
    'linknet_ros/recordings/bag_writer.py': '<OUT>.part of segment_bag',
}

#: Calls that write, by the last of their name; open() is looked at by its mode.
WRITES = {
    *('write_text', 'write_bytes', 'mkdir', 'makedirs', 'touch', 'symlink_to', 'hardlink_to'),
    *(
        'imwrite',
        'save',
        'savez',
        'savez_compressed',
        'savefig',
        'savetxt',
        'tofile',
        'VideoWriter',
    ),
    *('rename', 'unlink', 'rmdir', 'rmtree', 'copyfile', 'copytree', 'move', 'truncate'),
}


class Source:
    """One file: its calls by their full names, aliases of imports resolved."""

    def __init__(self, path, text):
        self.path = path
        self.tree = ast.parse(text, path)
        self._names = {}
        self.imports = []
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    self.imports.append((node.lineno, alias.name))
                    name = alias.name if alias.asname else alias.name.partition('.')[0]
                    self._names[alias.asname or name] = name
            elif isinstance(node, ast.ImportFrom) and not node.level:
                self.imports.append((node.lineno, node.module))
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

    def calls(self):
        """Line, full name and node of all calls."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Call):
                yield node.lineno, self.name_of(node.func), node

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


def code_in_files(source):
    """Pickle and its kin are not even imported."""
    for line, name in source.imports:
        if name.partition('.')[0] in CODE_IN_FILES:
            yield source.at(line, f'imports {name}, which runs code out of files')
    for line, name, call in source.calls():
        last = name.rpartition('.')[2]
        if last in ('__import__', 'import_module') and call.args:
            wanted = call.args[0]
            if isinstance(wanted, ast.Constant) and wanted.value in CODE_IN_FILES | NETWORK:
                yield source.at(line, f'imports {wanted.value} by name')


def loads_without_pickle(source):
    """torch.load and its like read tensors only; NumPy reads no objects; YAML makes none."""
    for line, name, call in source.calls():
        last = name.rpartition('.')[2]
        if name in ('torch.load', 'torch.serialization.load') or last in (
            'load_state_dict_from_url',
            'get_state_dict',
        ):
            if not is_constant(argument(call, 'weights_only'), True):
                yield source.at(line, f'{last} without weights_only=True')
        elif name in ('np.load', 'np.lib.npyio.load'):
            allowed = argument(call, 'allow_pickle', 2)
            if allowed is not None and not is_constant(allowed, False):
                yield source.at(line, 'np.load with allow_pickle')
        elif name == 'yaml.load':
            loader = source.name_of(argument(call, 'Loader', 1))
            if loader not in ('yaml.SafeLoader', 'yaml.CSafeLoader'):
                yield source.at(line, 'yaml.load without SafeLoader')
        elif any(
            k.arg == 'weights' and not is_constant(k.value, None) for k in call.keywords
        ) and (last.startswith(('resnet', 'vgg', 'efficientnet', 'mobilenet', 'deeplab', 'fcn_'))):
            yield source.at(line, f'{last} with weights=, which unpickles what it downloads')


def text_as_code(source):
    """No eval, no shell, no name of a temporary file that somebody else may take first."""
    for line, name, call in source.calls():
        if name in NEVER:
            yield source.at(line, f'calls {name}')
        shell = argument(call, 'shell')
        if shell is not None and not is_constant(shell, False):
            yield source.at(line, f'{name} with shell=')
        # A string is a program's name at best, and one line away from a shell.
        if (
            name.startswith('subprocess.')
            and call.args
            and isinstance(call.args[0], ast.JoinedStr | ast.Constant)
        ):
            yield source.at(line, f'{name} with one string instead of a list')


def downloads(source):
    """Nothing is fetched but what is in MEANT_DOWNLOADS."""
    for line, name in source.imports:
        if name.partition('.')[0] in NETWORK and (source.path, name) not in MEANT_NETWORK:
            yield source.at(line, f'imports {name}, which reaches other machines')
    for line, name, _ in source.calls():
        last = name.rpartition('.')[2]
        if last in DOWNLOADS and (source.path, last) not in MEANT_DOWNLOADS:
            yield source.at(line, f'calls {name}, which downloads')


def writes(source):
    """On a robot, only WRITERS write."""
    if not source.path.startswith('linknet_ros/') or source.path in WRITERS:
        return
    for line, name, call in source.calls():
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


RULES = [code_in_files, loads_without_pickle, text_as_code, downloads, writes]


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


def test_sources_are_found():
    paths = {source.path for source in sources()}
    assert {'linknet_ros/inference/model_file.py', 'training/checkpoint.py', 'setup.py'} <= paths
    assert 'launch/segment.launch.py' in paths


def test_exceptions_are_needed():
    """Who no longer writes or downloads is no longer in a list."""
    by_path = {source.path: source for source in sources()}
    for path in WRITERS:
        source = by_path[path]
        source.path = 'linknet_ros/somebody_else.py'
        assert list(writes(source)), f'{path} writes nothing; take it out of WRITERS'
    for path, call in MEANT_DOWNLOADS:
        names = [name.rpartition('.')[2] for _, name, _ in by_path[path].calls()]
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


@pytest.mark.parametrize(
    ('rule', 'text', 'found'),
    [
        (code_in_files, 'import pickle', 'imports pickle, which'),
        (code_in_files, 'def f():\n    import _pickle as p', 'imports _pickle, which'),
        (code_in_files, 'from marshal import loads', 'imports marshal, which'),
        (code_in_files, 'import shelve, json', 'imports shelve, which'),
        (code_in_files, 'import dill', 'imports dill, which'),
        (code_in_files, 'p = __import__("pickle")', 'imports pickle by name'),
        (code_in_files, 'import importlib as i\ni.import_module("dill")', 'imports dill by name'),
        (loads_without_pickle, 'import torch\ntorch.load(f)', 'load without weights_only=True'),
        (
            loads_without_pickle,
            'import torch as t\nt.load(f, weights_only=False)',
            'load without weights_only=True',
        ),
        (
            loads_without_pickle,
            'from torch import load\nload(f, weights_only=maybe)',
            'load without weights_only=True',
        ),
        (
            loads_without_pickle,
            'from torch.hub import load_state_dict_from_url as get\nget(url, check_hash=True)',
            'load_state_dict_from_url without weights_only=True',
        ),
        (
            loads_without_pickle,
            'from torchvision.models import resnet18\nresnet18(weights=w)',
            'resnet18 with weights=',
        ),
        (
            loads_without_pickle,
            'import numpy as np\nnp.load(f, allow_pickle=True)',
            'np.load with allow_pickle',
        ),
        (
            loads_without_pickle,
            'import numpy\nnumpy.load(f, None, flag)',
            'np.load with allow_pickle',
        ),
        (loads_without_pickle, 'import yaml\nyaml.load(f)', 'yaml.load without SafeLoader'),
        (
            loads_without_pickle,
            'from yaml import load, Loader\nload(f, Loader=Loader)',
            'yaml.load without SafeLoader',
        ),
        (text_as_code, 'eval(text)', 'calls eval'),
        (text_as_code, 'exec(text)', 'calls exec'),
        (text_as_code, 'import os\nos.system("ls")', 'calls os.system'),
        (text_as_code, 'from os import popen as p\np("ls")', 'calls os.popen'),
        (text_as_code, 'import tempfile\ntempfile.mktemp()', 'calls tempfile.mktemp'),
        (
            text_as_code,
            'import subprocess\nsubprocess.run(["ls"], shell=True)',
            'subprocess.run with shell=',
        ),
        (
            text_as_code,
            'from subprocess import Popen\nPopen(command, shell=flag)',
            'subprocess.Popen with shell=',
        ),
        (
            text_as_code,
            'import subprocess as s\ns.run(f"ls {x}")',
            'subprocess.run with one string instead of a list',
        ),
        (text_as_code, 'import yaml\nyaml.unsafe_load(f)', 'calls yaml.unsafe_load'),
        (downloads, 'import requests', 'imports requests, which reaches other machines'),
        (downloads, 'import urllib.request', 'imports urllib.request, which reaches'),
        (downloads, 'import torch\ntorch.hub.load_state_dict_from_url(u)', 'which downloads'),
        (downloads, 'weights.get_state_dict(weights_only=True)', 'which downloads'),
        (writes, 'path.write_text("a")', 'calls path.write_text, which writes'),
        (writes, 'open(path, "w")', 'opens a file to write'),
        (writes, 'open(path, mode=how)', 'opens a file to write'),
        (writes, 'path.open("a")', 'opens a file to write'),
        (writes, 'import os\nos.open(path, os.O_WRONLY | os.O_CREAT)', 'calls os.open'),
        (writes, 'import os\nos.replace(a, b)', 'calls os.replace'),
        (writes, 'import numpy as np\nnp.save(path, a)', 'calls np.save'),
        (writes, 'import cv2\ncv2.imwrite(path, a)', 'calls cv2.imwrite'),
        (writes, 'Path(name).mkdir()', 'calls .mkdir'),
    ],
)
def test_fault_is_found(rule, text, found):
    (line,) = set(rule(Source('linknet_ros/made_up.py', text)))
    assert line.startswith('linknet_ros/made_up.py:')
    assert found in line


@pytest.mark.parametrize(
    'text',
    [
        'import torch\ntorch.load(f, map_location="cpu", weights_only=True)',
        'import numpy as np\nnp.load(f)\nnp.load(f, allow_pickle=False)',
        'import yaml\nyaml.safe_load(f)\nyaml.load(f, Loader=yaml.SafeLoader)',
        'import subprocess, sys\nsubprocess.run([sys.executable, "-m", name], shell=False)',
        'network.eval()\njson.load(f)\nos.open(path, os.O_RDONLY)\nopen(path)\nopen(path, "rb")',
        'text.replace("a", "b")\nimport tempfile\ntempfile.TemporaryDirectory()',
        'from torchvision.models import resnet18\nresnet18(norm_layer=n)',
    ],
)
def test_sound_source(text):
    source = Source('linknet_ros/made_up.py', text)
    assert [found for rule in RULES for found in rule(source)] == []
