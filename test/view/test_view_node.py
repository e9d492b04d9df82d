"""The view's process: its log, its address, and how it ends."""

import contextlib
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

pytest.importorskip('rclpy', reason='needs ROS 2 (pip install .[ros])')
pytest.importorskip('aiohttp', reason='aiohttp (extra "view") not installed')


@pytest.fixture
def start(context, tmp_path):
    """Function that starts the node; it returns the process and a function that reads its log."""
    processes = []

    def run(*arguments, **parameters):
        parameters = {'port': 0, **parameters}
        command = [sys.executable, '-m', 'linknet_ros', 'view_node', '--ros-args', *arguments]
        for name, value in parameters.items():
            command += ['-p', f'{name}:={value}']
        log = tmp_path / f'log{len(processes)}'
        with log.open('wb') as file:
            process = subprocess.Popen(command, stderr=file)
        processes.append(process)
        return process, log.read_text

    yield run
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        process.wait()


def address(process, log):
    end = time.monotonic() + 300
    while not (found := re.search(r'open (http://\S+) in a browser', log())):
        assert process.poll() is None, log()
        assert time.monotonic() < end, log()
        time.sleep(0.05)
    return found[1]


def fetch(url, **headers):
    request = urllib.request.Request(url, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=300) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_serves_this_machine_until_a_signal(start, number):
    process, log = start()
    url = address(process, log)
    assert url.startswith('http://127.0.0.1:')
    status, text = fetch(url)
    assert status == 200
    assert '<canvas' in text
    assert fetch(url, Host='evil.example')[0] == 403
    process.send_signal(number)
    assert process.wait(300) == 0
    assert len(log().splitlines()) == 1, log()


def test_other_addresses_and_unknown_parameters_are_warned_of(start):
    process, log = start(host='0.0.0.0', allowed_hosts='[robot.local]', prot=8080)
    port = address(process, log).rstrip('/').rpartition(':')[2]
    assert 'serving on 0.0.0.0: anybody who reaches it sees the camera' in log()
    assert "unknown parameter 'prot' is ignored; did you mean 'port'?" in log()
    url = f'http://127.0.0.1:{port}/'
    assert fetch(url, Host='robot.local')[0] == 200
    assert fetch(url, Host='evil.example')[0] == 403


@pytest.mark.parametrize(
    ('parameters', 'message'),
    [
        ({'host': 'nowhere.invalid'}, 'cannot serve on nowhere.invalid:0'),
        ({'port': 99999}, 'parameter port is 99999; use 0 to 65535'),
        ({'rate': 0.0}, 'parameter rate is 0.0; use 0.1 to 100'),
        ({'node': 'a b'}, "parameter node is 'a b', not a valid name of a node"),
        ({'node': "''"}, "parameter node is ''"),
    ],
)
def test_a_mistake_is_one_line(start, parameters, message):
    process, log = start(**parameters)
    assert process.wait(300) == 1
    (line,) = log().splitlines()
    assert message in line


def test_without_aiohttp(start, missing):
    missing('aiohttp')
    process, log = start()
    assert process.wait(300) == 1
    (line,) = log().splitlines()
    assert 'the view needs aiohttp' in line
    assert 'python3-aiohttp' in line
