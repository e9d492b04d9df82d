"""docker/ and docs/jetson.md name only what there is; no image is built here.

Commands, launch arguments and links of the page are tested with those of all pages (test_docs.py).
"""

import json
import re
import shlex
import subprocess

import pytest
import yaml
from checkout import ROOT, setup_arguments

ENTRYPOINT = ROOT / 'docker/entrypoint.sh'
PAGE = ROOT / 'docs/jetson.md'
DOCKERFILES = sorted((ROOT / 'docker').glob('Dockerfile.*'))

each_dockerfile = pytest.mark.parametrize('path', DOCKERFILES, ids=lambda path: path.name)


def head(path):
    """Comment at the top of a Dockerfile, as text."""
    lines = path.read_text().split('\n\n', 1)[0].splitlines()
    return '\n'.join(line.removeprefix('#').removeprefix(' ') for line in lines)


def instructions(path):
    """(name, rest) of each instruction of a Dockerfile, continued lines as one."""
    lines = [line for line in path.read_text().splitlines() if not line.startswith('#')]
    text = re.sub(r'\\\n', ' ', '\n'.join(lines))
    return [tuple(line.split(maxsplit=1)) for line in text.splitlines() if line]


def commands(text, start):
    """What follows each `start` in a text, up to the end of the command."""
    text = re.sub(r'\\\n\s*#?\s*', ' ', text)
    return [match.strip() for match in re.findall(rf'{start} ([^\n`]*)', text)]


@each_dockerfile
def test_what_is_installed_is_copied_and_there(path):
    copied = [s for n, rest in instructions(path) if n == 'COPY' for s in shlex.split(rest)[:-1]]
    assert [source for source in copied if not (ROOT / source).exists()] == []
    files = [file for _, files in setup_arguments()['data_files'] for file in files]
    needed = {file.partition('/')[0] for file in files} | {'setup.py', 'setup.cfg', 'linknet_ros'}
    assert {'launch', 'config', 'models', 'resource', 'package.xml'} < needed
    assert needed <= set(copied)


@each_dockerfile
def test_what_it_does_and_does_not(path):
    assert 'NOT BUILT and not run so far' in head(path)
    text = '\n'.join(rest for _, rest in instructions(path))
    assert re.findall(r'build_engine|trtexec|\.engine|\.plan', text) == []
    (install,) = [rest for _, rest in instructions(path) if 'pip install' in rest]
    # That of apt's cv_bridge.
    assert "'numpy<2'" in install
    last = dict(instructions(path))
    assert last['USER'] == '1000:1000'
    assert json.loads(last['ENTRYPOINT']) == ['bash', '/entrypoint.sh']
    assert ('COPY', 'docker/entrypoint.sh /entrypoint.sh') in instructions(path)
    *start, file = json.loads(last['CMD'])
    assert start == ['ros2', 'launch', 'linknet_ros']
    assert (ROOT / 'launch' / file).is_file()


@each_dockerfile
def test_run_line(path):
    """What the command in the head must say for DDS, GPU and engines to work."""
    (run,) = commands(head(path), 'docker run')
    (build,) = commands(head(path), 'docker build')
    arguments = shlex.split(run)
    pairs = [shlex.split(rest) for name, rest in instructions(path) if name == 'ENV']
    environment = dict(pair.split('=', 1) for line in pairs for pair in line)
    for option in ('--network host', '--ipc host', '--gpus all', '--user '):
        assert option in run
    if 'jetpack' in path.name:
        assert '--runtime nvidia' in run
        assert '--group-add' in run
    folder = arguments[arguments.index('-v') + 1].split(':')[1]
    assert folder == f'{environment["XDG_CACHE_HOME"]}/linknet_ros'
    assert arguments[-1] == shlex.split(build)[1]
    assert shlex.split(build)[3] == path.relative_to(ROOT).as_posix()


def test_entrypoint_runs_the_command_with_both_set_up(tmp_path):
    for folder in ('opt/ros/jazzy', 'ws/install'):
        (tmp_path / folder).mkdir(parents=True)
        setup = tmp_path / folder / 'setup.bash'
        setup.write_text(f'export SEEN="$SEEN {folder} $UNSET"\n')
    script = tmp_path / 'entrypoint.sh'
    text = ENTRYPOINT.read_text()
    script.write_text(re.sub(r'(?<=source )("?)/', rf'\1{tmp_path}/', text))
    result = subprocess.run(
        ['bash', script, 'bash', '-c', 'echo "$SEEN|$1"; exit 3', '-', 'a b'],
        env={'PATH': '/usr/bin:/bin', 'ROS_DISTRO': 'jazzy'},
        capture_output=True,
        text=True,
    )
    assert (result.returncode, result.stderr) == (3, '')
    assert result.stdout == ' opt/ros/jazzy  ws/install |a b\n'


@pytest.mark.parametrize('path', [*DOCKERFILES, ENTRYPOINT, PAGE], ids=lambda path: path.name)
def test_extras_exist_and_no_other_index_is_used(path):
    """Only the index that pip is set up for: another one may vanish, or serve anything."""
    text = path.read_text()
    named = {e for group in re.findall(r"'\.\[([\w,]+)\]'", text) for e in group.split(',')}
    assert named <= set(setup_arguments()['extras_require'])
    assert re.findall(r'--(?:extra-)?index-url|--find-links|PIP_INDEX', text) == []


def test_parameters_of_the_page_exist():
    page = PAGE.read_text()
    pytest.importorskip('rclpy', reason='needs ROS 2 (pip install .[ros])')
    from linknet_ros.node.parameters import SETTINGS

    # The page shows defaults.
    defaults = {s.name: s.default for s in SETTINGS if s.name.startswith('tensorrt.')}
    (block,) = re.findall(r'```yaml\n(.*?)```', page, re.S)
    shown = yaml.safe_load(block)['/**']['ros__parameters']['tensorrt']
    assert {f'tensorrt.{name}': value for name, value in shown.items()} == defaults
    assert set(re.findall(r'`(tensorrt\.\w+)', page)) <= set(defaults)


def test_the_node_s_messages_are_quoted_as_they_are():
    """Symptoms that are ours: whoever searches the page for one must find it."""
    code = '\n'.join(p.read_text() for p in sorted((ROOT / 'linknet_ros').rglob('*.py')))
    code = re.sub(r'[\'"]\s*\n\s*f?[\'"]', '', code)  # strings over several lines
    quoted = [
        "backend 'tensorrt' cannot be imported",
        'needs the Python package cuda-bindings',
        'no NVIDIA GPU is visible',
        'the driver is missing or older than the CUDA package',
        'the engine is not kept',
        'not to this user or root',
        'others may write',
        'is not used:',
    ]
    assert [m for m in quoted if f'`{m}`' not in PAGE.read_text() or m not in code] == []
