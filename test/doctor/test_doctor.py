"""The doctor from its command line: lines, JSON, exit codes; nothing makes it fall over."""

import json
import subprocess
import sys

import pytest

from linknet_ros.doctor import checks as doctor_libraries
from linknet_ros.doctor import ros_checks as doctor_middleware
from linknet_ros.doctor.doctor import main
from linknet_ros.doctor.finding import Finding, ok


def run(*arguments):
    command = [sys.executable, '-m', 'linknet_ros.doctor', *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)


def test_healthy_machine(model_path):
    pytest.importorskip('rclpy', reason='needs ROS 2 (pip install .[ros])')
    result = run('--model', model_path)
    assert result.returncode == 0, result.stdout
    lines = result.stdout.splitlines()
    assert lines[0].startswith('ok       Python ')
    assert any(line.startswith('ok       inference      backend auto takes') for line in lines)
    assert 'ok       node           linknet_ros.node.segment_node can be imported' in lines
    assert lines[-1].startswith('the node can run')
    assert result.stderr == ''


def test_machine_with_nothing(tmp_path, missing, stand_in):
    """Each library is missing, raises, or kills the process."""
    missing('cv2')
    missing('rclpy')
    missing('cv_bridge')
    stand_in('numpy', 'import os, signal; os.kill(os.getpid(), signal.SIGSEGV)')
    stand_in('onnx', 'raise SystemError("bad image")')
    stand_in('openvino', 'import os; os.abort()')
    stand_in('onnxruntime', 'import sys; sys.exit(0)')
    result = run('--json', '--model', tmp_path / 'none.onnx', '--topic', '/image')
    assert result.returncode == 1
    assert json.loads(result.stdout)['runs'] is False
    found = {f['name']: f for f in json.loads(result.stdout)['findings']}
    assert [found[name]['state'] for name in ('Python', 'NumPy', 'OpenCV', 'onnx', 'model')] == [
        'ok',
        *['error'] * 4,
    ]
    assert found['openvino']['text'] == 'cannot be imported: the process died of SIGABRT'
    assert found['ROS']['text'].startswith(('not installed', 'installed, but'))
    assert found['camera']['state'] == 'error'
    assert 'inference' not in found
    for finding in found.values():
        assert bool(finding['fix']) == (finding['state'] != 'ok'), finding


# The rest is wiring, with checks that are made up.


@pytest.fixture
def checks(monkeypatch):
    """Let every check find nothing wrong; returns what replaces one of them."""
    fakes = {
        doctor_libraries: {
            **{n: lambda: ok('thing', 'fine') for n in ('python', 'numpy', 'opencv', 'onnx')},
            'model_file': lambda path: ok('model', str(path)),
            'cuda': lambda: (ok('CUDA', 'none'), False),
            'backends': lambda *arguments: iter([ok('inference', str(arguments[1:]))]),
        },
        doctor_middleware: {
            'ros': lambda: (ok('ROS', 'fine'), 'rmw_fastrtps_cpp'),
            'node': lambda module: ok('node', module),
            'cv_bridge': lambda version: ok('cv_bridge', version),
            'dds_profile': lambda rmw: (ok('DDS profile', rmw), 5),
            'shared_memory': lambda segment: ok('shared memory', str(segment)),
            'topic': lambda name: ok('camera', name),
        },
    }
    for module, functions in fakes.items():
        for name, function in functions.items():
            monkeypatch.setattr(module, name, function)
    return monkeypatch.setattr


def end(*arguments):
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    return ended.value.code


def test_all_is_well(checks, capsys):
    # `ros2 run` and launch add arguments of ROS.
    options = ('--backend', 'openvino', '--precision', 'bf16', '--topic', '/image')
    assert end('--model', '/m.onnx', *options, '--ros-args', '-r', '__node:=x') == 0
    lines = capsys.readouterr().out.splitlines()
    assert 'ok       model          /m.onnx' in lines
    assert "ok       inference      ('openvino', 'bf16', False)" in lines
    assert 'ok       shared memory  5' in lines
    assert 'ok       camera         /image' in lines
    assert lines[-1] == 'the node can run'


def test_long_silence_is_announced(checks, capsys):
    checks(doctor_libraries, 'cuda', lambda: (ok('CUDA', 'a GPU'), True))
    assert end('--json') == 0
    printed = capsys.readouterr()
    assert printed.err == 'TensorRT may build an engine first: minutes\n'
    json.loads(printed.out)


@pytest.mark.parametrize(
    ('name', 'finding', 'code', 'summary'),
    [
        (
            'cv_bridge',
            Finding('cv_bridge', 'warning', 'old', 'renew it'),
            0,
            'the node can run, 1 warning',
        ),
        (
            'ros',
            (Finding('ROS', 'error', 'not installed', 'install it'), ''),
            1,
            'the node cannot run: first mend ROS',
        ),
    ],
)
def test_only_an_error_keeps_the_node_from_running(checks, capsys, name, finding, code, summary):
    checks(doctor_middleware, name, lambda *arguments: finding)
    assert end() == code
    assert capsys.readouterr().out.splitlines()[-1] == summary


@pytest.mark.parametrize(
    ('module', 'name'),
    [
        (doctor_libraries, 'opencv'),
        (doctor_libraries, 'cuda'),
        (doctor_libraries, 'backends'),
        (doctor_middleware, 'ros'),
        (doctor_middleware, 'dds_profile'),
        (doctor_middleware, 'shared_memory'),
    ],
)
def test_check_that_fails_itself(checks, capsys, module, name):
    def fail(*arguments):
        raise ZeroDivisionError('oh')

    checks(module, name, fail)
    assert end('--json', '--topic', '/image') == 1
    findings = json.loads(capsys.readouterr().out)['findings']
    (own,) = (f for f in findings if f['state'] == 'error')
    assert own['text'] == 'the check itself failed: ZeroDivisionError: oh'
    assert own['fix'] == 'report this as a bug, with this line'
    # And goes on to the end.
    assert findings[-1]['name'] == 'camera'


def test_reader_that_goes_away(model_path):
    command = f'{sys.executable} -m linknet_ros.doctor --model {model_path} | head -n 1'
    result = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=900)
    assert result.stdout.startswith('ok       Python')
    assert 'Traceback' not in result.stderr


def test_help_explains_every_option(help_of):
    texts = help_of(main)
    assert {'--model', '--topic', '--backend', '--precision', '--json'} <= set(texts)
    assert all(texts.values()), texts


def test_the_doctor_itself_imports_no_library():
    heavy = "{'numpy', 'cv2', 'onnx', 'openvino', 'onnxruntime', 'rclpy', 'tensorrt'}"
    source = f'import linknet_ros.doctor.doctor, sys; print({heavy} & set(sys.modules))'
    result = subprocess.run([sys.executable, '-c', source], capture_output=True, text=True)
    assert result.stdout == 'set()\n', result.stderr
