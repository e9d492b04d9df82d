"""Every command, snippet and link of the documentation is run, or checked where it cannot be run.

A command is looked up in KINDS by its first words. What is not there fails: add a line that runs
or checks it. Commands of `training` are in test/training/test_docs.py. The files that commands
name are made by `files`; what else must be another here is in SUBSTITUTIONS.
"""

import argparse
import contextlib
import importlib
import io
import os
import re
import select
import shutil
import signal
import subprocess
import sys
from functools import lru_cache
from importlib.util import find_spec
from itertools import dropwhile
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest

pytest.importorskip('rclpy', reason='needs ROS 2 (pip install .[ros])')

import yaml
from doc_commands import (
    PAGES,
    ROOT,
    SHELL,
    all_blocks,
    all_commands,
    anchors_of,
    blocks_of,
    commands_of,
    is_training,
    links_of,
)
from foreign_networks import network
from launch_files import arguments
from tiny_models import label_model, write

from linknet_ros.__main__ import PROGRAMS
from linknet_ros.classes import CAMVID
from linknet_ros.node.parameters import SETTINGS, Parameters, declare_parameters
from linknet_ros.system import package_files

#: What stands in a page, and what takes its place before the command is run here.
SUBSTITUTIONS = {
    **{'/path/to/images': 'images', '10.0.0.5:6379': '127.0.0.1:1'},
    # Ray takes a minute to start, which it does in test/recordings/test_cluster.py.
    '--ray local': '',
}

#: Tools that take longer than a test may: only their options are parsed.
PARSED = ('demo', 'doctor', 'benchmark', 'node_benchmark', 'ground_accuracy')

#: Exit codes other than 0 that a tool may end with here, and what it then says.
EXPECTED = {
    'segment_bag': (1, 'no Ray cluster at 127.0.0.1:1 '),
    'build_engine': (1, 'CUDA|tensorrt|TensorRT'),
    'quantize_model': (1, 'drive.mcap: 2 of at least 10 frames can be used'),
    # A node of another command may still be known though it has ended.
    'planner_config': (1, '/linknet (is not running; start it|does not answer)'),
}

#: Of QoS, that can be overridden: QoSOverridingOptions.with_default_policies.
POLICIES = 'history|depth|reliability'

# Commands that belong to the system, to ROS or to a board, and cannot run here: the shell parses
# them, and files of this repository that they name must exist.
SYSTEM = (
    *('sudo', 'apt', 'rosdep', 'colcon', 'python3 -m colcon', 'python3 -m venv', 'docker'),
    *('source', '.', 'export', 'unset', 'mkdir', 'cd', 'cp', 'touch', 'cat', 'printf', 'ls'),
    *('tegrastats', 'sysctl', 'df', 'ray start', 'iox-roudi', 'git clone', 'curl', 'wget'),
    *('ros2 security', 'ros2 daemon', 'ros2 doctor', 'ros2 run rmw_zenoh_cpp rmw_zenohd'),
    *('rviz2', 'ssh', 'ffplay', 'tensorboard', 'pre-commit install', '.venv/bin/python -m soak'),
)

KINDS = {
    'make': lambda command, world: check_make(command),
    'pip install': lambda command, world: check_extras(command),
    'python3 -m pip install': lambda command, world: check_extras(command),
    'ros2 run linknet_ros': lambda command, world: run_tool(command, world),
    'python -m linknet_ros': lambda command, world: run_tool(command, world),
    'ros2 launch linknet_ros': lambda command, world: check_launch(command),
    'ros2 launch': lambda command, world: None,  # another package's
    'ros2 param': lambda command, world: check_parameter(command),
    'ros2 topic': lambda command, world: check_topics(command),
    'ros2 service': lambda command, world: check_service(command),
    'ros2 bag': lambda command, world: check_topics(command),
    'ros2 node': lambda command, world: check_topics(command),
    'ros2 lifecycle': lambda command, world: check_transition(command),
    **dict.fromkeys(SYSTEM, lambda command, world: check_files(command)),
}

COMMANDS = [command for command in all_commands() if not is_training(command)]
BLOCKS = [block for block in all_blocks() if block.language not in SHELL]


def place(item):
    return f'{item.page}:{item.line}'


def kind_of(command):
    """The longest of KINDS that a command begins with."""
    text = ' '.join(command.words) + ' '
    fitting = [kind for kind in KINDS if text.startswith(f'{kind} ')]
    assert fitting, (
        f'{command}: no test knows this kind of command. Add a line to KINDS in test_docs.py '
        'that runs it (run_tool) or checks it, or to SYSTEM if it cannot run here'
    )
    return max(fitting, key=len)


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    """What the pages' commands are given: images, a video, recordings."""
    from small_bags import Bags

    pytest.importorskip('rosbags', reason='needs rosbags (pip install .[bags])')
    root, bags = tmp_path_factory.mktemp('docs') / 'files', Bags()
    rng = np.random.default_rng(0)
    # The blue channel is what label_model answers.
    highest = (len(CAMVID), 256, 256)
    frames = [rng.integers(0, highest, (60, 80, 3), np.uint8) for _ in range(2)]
    for folder in ('images', 'recordings'):
        (root / folder).mkdir(parents=True)
    video = cv2.VideoWriter(str(root / 'drive.mp4'), cv2.VideoWriter_fourcc(*'mp4v'), 10, (80, 60))
    for i, frame in enumerate(frames):
        assert cv2.imwrite(str(root / f'images/{i}.png'), frame)
        video.write(frame)
    video.release()
    for name in ('drive.mcap', 'recordings/a.mcap', 'recordings/b.mcap'):
        header = bags.header(0)
        messages = [('/camera/camera_info', 0, bags.camera_info((80, 60), 60.0, header))]
        messages += [
            ('/camera/image_raw', i, bags.image(f, header=header)) for i, f in enumerate(frames)
        ]
        bags.write(root / name, [*messages, ('/chatter', 9, bags.text('x'))])
    sizes = {'shape': (1, 3, 64, 96), 'output_shape': (1, 19, 64, 96)}
    write(network(classes=19, **sizes), root / 'net.onnx')
    write(label_model(CAMVID), root / 'shipped.onnx')
    return root


@pytest.fixture(scope='module')
def worlds(files, tmp_path_factory):
    """Folder in which the commands of a page run, one after the other: `worlds(page)`."""

    @lru_cache(None)
    def world(page):
        folder = tmp_path_factory.mktemp('page') / 'here'
        shutil.copytree(files, folder)
        for name in ('config', 'models', 'launch'):
            (folder / name).symlink_to(ROOT / name)
        return folder

    return world


@pytest.mark.usefixtures('context')
@pytest.mark.parametrize('command', COMMANDS, ids=map(place, COMMANDS))
def test_command(command, worlds):
    KINDS[kind_of(command)](command, worlds(command.page))


# What is run.


def run_tool(command, world):
    """A console script or module of the package, with the arguments as a shell reads them."""
    words = words_by_bash(command.text, world)
    name, arguments = words[3], words[4:]
    if words[0] == 'ros2':
        assert name in scripts(), f'{command}: no such executable in setup.py'
    else:
        assert name in PROGRAMS, f'{command}: unknown program'
    if '--ray' in arguments:
        pytest.importorskip('ray', reason='needs Ray (pip install .[cluster])')
    if name.endswith('_node'):
        run_node(name, arguments, world)
        return
    main = importlib.import_module(f'linknet_ros.{PROGRAMS[name]}').main
    code, said = finished(name, arguments, world, main)
    expected, message = EXPECTED.get(name, (0, ''))
    assert code in (0, expected), f'{command} ended with {code}: {said}'
    if code:
        assert re.search(message, said), f'{command} said: {said}'


def finished(name, arguments, world, main):
    """Exit code and output of a tool."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(world)
        patch.setattr(package_files, 'SHIPPED_MODEL', str(world / 'shipped.onnx'))
        if name in PARSED:
            patch.setattr(argparse.ArgumentParser, 'parse_known_args', parse_only)
        return run_main(main, arguments)


def run_main(main, arguments):
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        try:
            main(arguments)
        except SystemExit as stop:
            code = stop.code or 0
            if isinstance(code, str):
                return 1, out.getvalue() + code
            return code, out.getvalue()
    return 0, out.getvalue()


def parse_only(
    parser, arguments=None, namespace=None, _parse=argparse.ArgumentParser.parse_known_args
):
    _, unknown = _parse(parser, arguments, namespace)
    raise SystemExit(2 if unknown else 0)


def run_node(name, arguments, world):
    """A node says something and ends well when it is interrupted."""
    path = os.pathsep.join([str(ROOT), os.environ.get('PYTHONPATH', '')])
    process = subprocess.Popen(
        [sys.executable, '-m', 'linknet_ros', name, *arguments],
        cwd=world,
        env={**os.environ, 'PYTHONPATH': path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        # A node without autostart says nothing.
        select.select([process.stdout], [], [], 5)
        assert process.poll() is None, f'{name} {arguments}: {process.stdout.read()}'
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=300)[0]
    finally:
        process.kill()
    assert process.returncode == 0, said


def words_by_bash(text, world):
    """Words of a simple command after substitution, expansion and quotes; no assignments."""
    for old, new in SUBSTITUTIONS.items():
        text = text.replace(old, new)
    done = subprocess.run(
        ['bash', '-c', f'printf "%s\\0" {text}'],
        cwd=world,
        env={**os.environ, 'HOME': str(world)},
        capture_output=True,
        text=True,
        check=True,
    )
    words = done.stdout.split('\0')[:-1]
    return list(dropwhile(re.compile(r'\w+=').match, words))


# What is checked.


@lru_cache(None)
def scripts():
    return set(re.findall(r"'(\w+)'", (ROOT / 'setup.py').read_text())) & set(PROGRAMS)


def check_make(command):
    makefile = (ROOT / 'Makefile').read_text()
    for word in command.words[1:]:
        name, assigned, _ = word.partition('=')
        pattern = rf'^{name} \?=' if assigned else rf'^{name}:'
        assert re.search(pattern, makefile, re.MULTILINE), f'{command}: no {name} in Makefile'


def check_extras(command):
    extras = set(re.findall(r"^        '(\w+)': ", (ROOT / 'setup.py').read_text(), re.MULTILINE))
    for named in re.findall(r'\.\[(.*?)\]', command.text):
        assert set(named.split(',')) <= extras, f'{command}: extras are {sorted(extras)}'


def check_files(command):
    for word in command.words:
        if re.match(r'(config|launch|models|docker|docs)/', word):
            assert (ROOT / word).exists(), f'{command}: no {word}'


def check_launch(command):
    file, *words = command.words[3:]
    assert (ROOT / 'launch' / file).is_file(), f'{command}: no launch/{file}'
    known = arguments(file)
    for word in words:
        if word == '--show-args':
            continue
        name, given, value = word.partition(':=')
        assert given, f"{command}: '{word}' is not name:=value"
        assert name in known, f'{command}: {file} has {sorted(known)}'
        choices = known[name].choices
        assert not choices or value in choices, f'{command}: {name} takes {choices}'


def check_parameter(command):
    verb, node = command.words[2:4]
    assert verb in ('set', 'get', 'describe', 'list', 'dump'), command
    assert node.endswith('/linknet'), f'{command}: the node is /linknet'
    if verb in ('list', 'dump'):
        return
    specs = {spec.name: spec for spec in SETTINGS}
    # Of one of several cameras.
    name = re.sub(r'^(front|rear)\.', '', command.words[4])
    assert name in specs, f'{command}: no such parameter'
    if verb == 'set':
        value, default = yaml.safe_load(command.words[5]), specs[name].default
        kind = list if isinstance(default, tuple) else type(default)
        assert type(value) is kind, f'{command}: {name} takes {kind.__name__}'
        # rclpy takes an empty list for one of truths.
        names = kind is not list or (value and all(type(v) is str for v in value))
        assert names, f'{command}: {name} takes names'
        assert specs[name].live, f'{command}: {name} cannot be changed while the node runs'
        Parameters().changed({name: value})
        low, high = specs[name].limits or (value, value)
        assert low <= value <= high, command


def node_topics():
    """Topics of the node by the SROS 2 policy, which a test compares with a running node."""
    policy = ElementTree.parse(ROOT / 'config/sros2_policy.xml')
    return {topic.text for topic in policy.iter('topic')}


def check_topics(command):
    """Names of topics: the node's own, or those that a camera has."""
    for word in command.words[2:]:
        if not word.startswith('/') or word.endswith('/linknet'):
            continue
        _, own, name = word.partition('/linknet/')
        if own:
            known = {re.sub(r'^masks/.*', 'masks/*', name)} <= {t[2:] for t in node_topics()}
        else:
            camera = r'/[\w/]*(image_raw|image_rect|image_raw/compressed|camera_info)'
            known = word in node_topics() or re.fullmatch(camera, word)
        assert known, f'{command}: no topic {word}'


def check_service(command):
    policy = ElementTree.parse(ROOT / 'config/sros2_policy.xml')
    known = {service.text for service in policy.iter('service')}
    verb, name, kind, *request = command.words[2:]
    assert verb == 'call', command
    own = re.sub('^/(front|rear)/', '/', name.partition('/linknet')[2])
    assert f'~{own}' in known, f'{command}: no service {name}'
    package, srv, kind = kind.split('/')
    asked = getattr(importlib.import_module(f'{package}.{srv}'), kind).Request
    fields = asked.get_fields_and_field_types()
    for given in request:
        assert yaml.safe_load(given).keys() <= fields.keys(), command


def check_transition(command):
    verb, *arguments = command.words[2:]
    assert verb in ('get', 'list', 'nodes', 'set'), command
    if arguments:
        assert arguments[0].endswith('/linknet'), command
    if verb == 'set':
        transitions = ('configure', 'activate', 'deactivate', 'cleanup', 'shutdown')
        assert arguments[1] in transitions, command


# Snippets.


@pytest.mark.parametrize('block', BLOCKS, ids=map(place, BLOCKS))
def test_snippet(block, open_node, tmp_path):
    where = place(block)
    match block.language:
        case 'yaml':
            check_parameter_file(block.text, where, open_node, tmp_path)
        case 'xml':
            body = re.sub(r'<\?xml.*?\?>', '', block.text)
            ElementTree.fromstring(f'<all>{body}</all>')
        case 'csv' | 'text':
            pass  # test/training/test_docs.py; what a program prints
        case other:
            pytest.fail(f"{where}: no test knows snippets of '{other}'; add it to test_snippet")


def check_parameter_file(text, where, open_node, folder):
    """A file of parameters: names that exist, values that the node takes."""
    (folder / 'file.yaml').write_text(text)
    nodes = yaml.safe_load(text)
    known = {spec.name for spec in SETTINGS}
    for node, content in nodes.items():
        if node not in ('/**', '/linknet', 'linknet') and not node.endswith('/linknet'):
            continue
        for name in flat(content['ros__parameters']):
            qos = re.fullmatch(
                rf'qos_overrides\./[\w/]+\.(subscription|publisher)\.({POLICIES})', name
            )
            assert name in known or qos, f'{where}: no parameter {name}'
        namespace, _, name = node.rpartition('/')
        name = 'linknet' if name == '**' else name
        remap = ['-r', f'__ns:={namespace}'] if namespace else []
        declare_parameters(
            open_node('--params-file', folder / 'file.yaml', *remap, node_name=name)
        )


def flat(tree, prefix=''):
    """Names of the leaves of nested mappings, joined by dots."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from flat(value, f'{prefix}{key}.')
        else:
            yield f'{prefix}{key}'


# Pages.


@pytest.mark.parametrize('page', PAGES)
def test_links_lead_somewhere(page):
    path = ROOT / page
    for target in links_of(path.read_text('utf-8')):
        if re.match(r'https?:', target):
            continue
        file, _, anchor = target.partition('#')
        to = path.parent / file if file else path
        assert to.exists(), f'{page}: no {target}'
        if anchor:
            assert anchor in anchors_of(to.read_text('utf-8')), f'{page}: no heading {target}'


@pytest.mark.parametrize('page', PAGES)
def test_what_is_named_in_a_line_exists(page):
    text = (ROOT / page).read_text('utf-8')
    for module in re.findall(r'python3?\s+-m\s+((?:linknet_ros|training)\.[\w.]+\w)', text):
        assert find_spec(module), f'{page}: no module {module}'
    for name in re.findall(r'python3?\s+-m\s+linknet_ros\s+(\w+)', text):
        assert name in PROGRAMS, f'{page}: unknown program {name}'
    for name in re.findall(r'ros2\s+run\s+linknet_ros\s+(\w+)', text):
        assert name in scripts(), f'{page}: no executable {name}'
    for name in re.findall(r'ros2\s+launch\s+linknet_ros\s+([\w.]+)', text):
        assert (ROOT / 'launch' / name).is_file(), f'{page}: no launch/{name}'
    folders = 'config|docs|launch|models|docker|training|test|linknet_ros'
    for name in re.findall(rf'`((?:{folders})/[\w./-]+)`', text):
        assert (ROOT / name).exists(), f'{page}: no {name}'


def test_readme_leads_to_every_page():
    links = links_of((ROOT / 'README.md').read_text('utf-8'))
    assert {page for page in PAGES if page.startswith('docs/')} <= set(links)


# The tests' own tools.

PAGE = """\
Text with `code`.

    one 'a # b' && two   # comment

* A point:

      three --x \\
          y

  1. inner

         four | five

  not code
    nor this

```yaml
a: 1
```

    <x/>
"""


def test_commands_and_blocks_are_found():
    blocks = blocks_of('page', PAGE)
    assert [(b.line, b.language) for b in blocks] == [
        *((3, ''), (7, ''), (12, '')),
        *((18, 'yaml'), (21, 'xml')),
    ]
    commands = [c for b in blocks[:3] for c in commands_of(b)]
    assert [(c.line, c.words) for c in commands] == [
        (3, ('one', 'a # b')),
        (3, ('two',)),
        (7, ('three', '--x', 'y')),
        (12, ('four',)),
        (12, ('five',)),
    ]


@pytest.mark.parametrize(
    ('text', 'why'),
    [
        ('frobnicate now', 'no test knows this kind of command. Add a line to KINDS'),
        ('ros2 run linknet_ros segment_bags a b', 'no such executable in setup.py'),
        ('ros2 run linknet_ros segment_files images out --outpots labels', 'ended with 2'),
        ('python -m linknet_ros demo --speed 5', 'ended with 2'),
        ('ros2 launch linknet_ros segment.launch.py img:=/camera/image_raw', 'segment.launch.py'),
        ('ros2 launch linknet_ros segment.launch.py backend:=cuda', 'backend takes'),
        ('ros2 param set /linknet min_confidenc 0.5', 'no such parameter'),
        ('ros2 param set /linknet min_confidence 1', 'min_confidence takes float'),
        ("ros2 param set /linknet drivable_classes ['']", 'takes names'),
        ('ros2 param set /linknet backend openvino', 'cannot be changed while'),
        ('ros2 topic hz /linknet/label', 'no topic /linknet/label'),
        ('ros2 lifecycle set /linknet start', 'start'),
        ('pip install .[bag]', 'extras are'),
        ('make demon', 'no demon in Makefile'),
    ],
)
@pytest.mark.usefixtures('context')
def test_what_is_wrong_is_found(text, why, files):
    (block,) = blocks_of('page', f'    {text}\n')
    (command,) = commands_of(block)
    with pytest.raises(AssertionError, match=re.escape(why)):
        KINDS[kind_of(command)](command, files)


def test_wrong_parameter_files_are_found(open_node, tmp_path):
    text = '/**:\n  ros__parameters:\n    {}\n'
    for line in (
        'min_confidense: 0.5',
        'qos_overrides: {/camera/image_raw: {subscriber: {depth: 5}}}',
    ):
        with pytest.raises(AssertionError, match='page: no parameter'):
            check_parameter_file(text.format(line), 'page', open_node, tmp_path)
