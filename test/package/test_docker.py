"""docker/ and docs/jetson.md name only what there is; no image is built here."""

import ast
import json
import re
import shlex
import subprocess

import pytest
import yaml
from checkout import ROOT

from linknet_ros.inference.tensorrt import build_engine

ENTRYPOINT = ROOT / 'docker' / 'entrypoint.sh'
PAGE = ROOT / 'docs' / 'jetson.md'
DOCKERFILES = sorted((ROOT / 'docker').glob('Dockerfile.*'))
TEXTS = [*DOCKERFILES, ENTRYPOINT, PAGE]


def name_of(path):
    return path.name


each_dockerfile = pytest.mark.parametrize('path', DOCKERFILES, ids=name_of)
each_text = pytest.mark.parametrize('path', TEXTS, ids=name_of)


def head(path):
    """Comment at the top of a Dockerfile, as text."""
    lines = path.read_text().split('\n\n', 1)[0].splitlines()
    assert all(line.startswith('#') for line in lines)
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


def copied(path):
    """Sources of all COPY instructions of a Dockerfile."""
    return [
        source
        for name, rest in instructions(path)
        if name == 'COPY'
        for source in shlex.split(rest)[:-1]
    ]


def setup_call():
    """Keyword arguments of setup() in setup.py, unevaluated."""
    for node in ast.walk(ast.parse((ROOT / 'setup.py').read_text())):
        if isinstance(node, ast.Call) and getattr(node.func, 'id', '') == 'setup':
            return {keyword.arg: keyword.value for keyword in node.keywords}
    raise AssertionError('setup.py calls no setup()')


def executables():
    scripts = ast.literal_eval(setup_call()['entry_points'])['console_scripts']
    return {script.split('=')[0].strip() for script in scripts}


def extras():
    return {key.value for key in setup_call()['extras_require'].keys}


def launch_arguments(file):
    """Names in the tables ARGUMENTS and PARAMETER_ARGUMENTS of a launch file."""
    return {
        row.elts[0].value
        for node in ast.parse((ROOT / 'launch' / file).read_text()).body
        if isinstance(node, ast.Assign) and node.targets[0].id.endswith('ARGUMENTS')
        for row in node.value.elts
        if isinstance(row, ast.Tuple) and isinstance(row.elts[0], ast.Constant)
    }


def keys(tree, prefix=''):
    """Parameter names of a nested parameter file, joined by dots."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from keys(value, f'{prefix}{key}.')
        else:
            yield prefix + key


def test_the_three_are_there():
    assert [path.suffix for path in DOCKERFILES] == ['.cuda', '.jetpack6', '.jetpack7']


@each_dockerfile
def test_head_says_that_it_was_not_built(path):
    assert 'NOT BUILT and not run so far' in head(path)


def test_page_says_what_has_not_run():
    assert 'Nothing on this page has run on a Jetson, or on any GPU.' in PAGE.read_text()
    assert 'None has been built so far.' in PAGE.read_text()


@each_dockerfile
def test_copied_files_exist(path):
    assert [source for source in copied(path) if not (ROOT / source).exists()] == []


@each_dockerfile
def test_all_that_is_installed_is_copied(path):
    files = ast.unparse(setup_call()['data_files'])
    folders = set(re.findall(r"'(\w+)/\*", files)) | {'resource', 'linknet_ros'}
    assert {'launch', 'config', 'models'} < folders
    assert {'package.xml', 'setup.py', 'setup.cfg', *folders} <= set(copied(path))


@each_dockerfile
def test_no_engine_is_built_or_copied(path):
    text = '\n'.join(rest for _, rest in instructions(path))
    assert re.findall(r'build_engine|trtexec|\.engine|\.plan', text) == []


@each_dockerfile
def test_numpy_is_the_one_of_apt_s_cv_bridge(path):
    (install,) = [rest for _, rest in instructions(path) if 'pip install' in rest]
    assert "'numpy<2'" in install


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
    image = shlex.split(build)[1]
    assert arguments[-1] == image
    assert shlex.split(build)[3] == path.relative_to(ROOT).as_posix()


@each_dockerfile
def test_default_command_is_the_launch_file(path):
    last = dict(instructions(path))
    assert json.loads(last['ENTRYPOINT']) == ['bash', '/entrypoint.sh']
    assert ('COPY', 'docker/entrypoint.sh /entrypoint.sh') in instructions(path)
    ros2, launch, package, file = json.loads(last['CMD'])
    assert (ros2, launch, package) == ('ros2', 'launch', 'linknet_ros')
    assert (ROOT / 'launch' / file).is_file()


@each_dockerfile
def test_not_root(path):
    assert dict(instructions(path))['USER'] == '1000:1000'


def test_entrypoint_parses():
    result = subprocess.run(['bash', '-n', ENTRYPOINT], capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, '')


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


@each_text
def test_executables_exist(path):
    named = re.findall(r'ros2 run linknet_ros (\w+)', path.read_text())
    assert set(named) <= executables()
    assert named or path != PAGE


@each_text
def test_launch_arguments_exist(path):
    text = path.read_text()
    for command in commands(text, 'ros2 launch linknet_ros'):
        file, *arguments = command.split('#')[0].split()
        assert {a.split(':=')[0] for a in arguments} <= launch_arguments(file)
    named = set(re.findall(r'\b(\w+):=', text))
    assert named <= launch_arguments('segment.launch.py')


def test_launch_arguments_are_read():
    assert {'image', 'backend', 'params_file'} <= launch_arguments('segment.launch.py')


@each_text
def test_extras_exist(path):
    text = path.read_text()
    named = {e for group in re.findall(r"'\.\[([\w,]+)\]'", text) for e in group.split(',')}
    for sentence in re.findall(r'extras? ((?:`\w+`(?: and )?)+)', text):
        named.update(re.findall(r'`(\w+)`', sentence))
    assert named <= extras()
    assert named or path != PAGE


@each_text
def test_no_other_package_index(path):
    """Only what pip is set up for: an index of somebody's may vanish, or serve anything."""
    assert re.findall(r'--(?:extra-)?index-url|--find-links|PIP_INDEX', path.read_text()) == []


def test_options_of_build_engine_exist():
    known = build_engine._parser()._option_string_actions
    (command,) = commands(PAGE.read_text(), 'ros2 run linknet_ros build_engine')
    named = {word for word in shlex.split(command) if word.startswith('--')} - {'--share'}
    named |= set(re.findall(r'`(--[\w-]+)(?: \d+)?', PAGE.read_text().split('To build ahead')[1]))
    named -= {'--network', '--ipc', '--user', '--runtime', '--topic'}
    assert {'--frame', '--workspace-mib'} <= named
    assert named <= set(known)


def test_parameters_exist():
    pytest.importorskip('rclpy', reason='needs ROS 2 (pip install .[ros])')
    from linknet_ros.node.parameters import SETTINGS

    page = PAGE.read_text()
    (block,) = re.findall(r'```yaml\n(.*?)```', page, re.S)
    values = yaml.safe_load(block)['/**']['ros__parameters']
    assert {*keys(values), *re.findall(r'`(tensorrt\.\w+)', page)} <= {s.name for s in SETTINGS}
    # The page shows defaults.
    defaults = {s.name: s.default for s in SETTINGS if s.name.startswith('tensorrt.')}
    assert {f'tensorrt.{name}': value for name, value in values['tensorrt'].items()} == defaults


def test_links_of_the_page_exist():
    links = re.findall(r'\]\(([^)#]+)\)', PAGE.read_text())
    local = [link for link in links if '://' not in link]
    assert len(local) == len(DOCKERFILES)
    assert [link for link in local if not (PAGE.parent / link).exists()] == []


def test_the_node_s_messages_are_quoted_as_they_are():
    """Symptoms that are ours: whoever searches the page for one must find it."""
    code = '\n'.join(p.read_text() for p in sorted((ROOT / 'linknet_ros').rglob('*.py')))
    code = re.sub(r'[\'"]\s*\n\s*f?[\'"]', '', code)  # strings over several lines
    for message in (
        "backend 'tensorrt' cannot be imported",
        'needs the Python package cuda-bindings',
        'no NVIDIA GPU is visible',
        'the driver is missing or older than the CUDA package',
        'the engine is not kept',
        'neither to us nor to root',
        'others may write',
        'is not used:',
    ):
        assert f'`{message}`' in PAGE.read_text()
        assert message in code
