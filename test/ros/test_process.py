"""How a process of a node starts and ends, seen from outside."""

import ctypes
import os
import random
import signal
import subprocess
import sys

import pytest

pytest.importorskip('rclpy', reason='needs ROS 2 (pip install .[ros])')

SOURCE = """
import sys
from linknet_ros.errors import LinknetError
from linknet_ros.ros.process import ros_process
with ros_process('camera', ['program', *sys.argv[2:]]) as executor:
    print('started')
    exec(compile(sys.argv[1], 'test', 'exec'))
"""


def run(code, *arguments, **variables):
    """Exit code, output and log of a process that runs some code within ros_process."""
    local = {'ROS_DOMAIN_ID': str(random.randrange(1, 100))}
    local['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
    result = subprocess.run(
        [sys.executable, '-c', SOURCE, code, *arguments],
        env={**os.environ, **local, **variables},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    # rcl has a line of its own, which says less.
    log = [line for line in result.stderr.splitlines() if '[rcl]' not in line]
    return result.returncode, result.stdout, log


def test_good_end():
    assert run('pass', '--ros-args', '--log-level', 'camera:=debug') == (0, 'started\n', [])


@pytest.mark.parametrize('error', ['KeyboardInterrupt', 'ExternalShutdownException'])
def test_end_from_outside_is_quiet(error):
    code = 'from rclpy.executors import ExternalShutdownException\n'
    assert run(f'{code}raise {error}') == (0, 'started\n', [])


def test_own_error_is_one_line():
    code, _, [line] = run("raise LinknetError('no camera; plug it in')")
    assert code == 1
    assert line.startswith('[ERROR] ')
    assert line.endswith('[camera]: no camera; plug it in')


def test_fault_of_ours_has_a_traceback():
    code, _, log = run('1 / 0')
    assert code == 1
    assert log[0].startswith('Traceback')
    assert log[-1] == 'ZeroDivisionError: division by zero'


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (
            ['--log-level', 'loud'],
            "cannot read the argument '--log-level loud' (Argument does not use a valid severity "
            'level); use debug, info, warn, error or fatal, e.g. --log-level warn',
        ),
        (['-p', 'threads'], "cannot read the argument '-p threads' ("),
        (['-p', 'threads'], '; use name:=value, e.g. -p threads:=2'),
        (['-r', 'image'], "cannot read the argument '-r image' ("),
        (
            ['-r', '__ns:=front-left'],
            '; use from:=to with names of letters, digits and _, e.g. -r',
        ),
        (['--params-file', '/nowhere'], "cannot read the argument '--params-file /nowhere' ("),
        (['--params-file', '/nowhere'], '; use a YAML file that exists, e.g. --params-file'),
        (['--nonsense'], "unknown arguments ['--nonsense']; after --ros-args come only those of"),
    ],
)
def test_bad_argument_is_one_line(arguments, message):
    code, out, [line] = run('pass', '--ros-args', *arguments)
    assert (code, out) == (1, '')
    assert '[camera]: ' in line
    assert message in line
    assert '.c:' not in line


def test_bad_environment_is_one_line():
    code, out, log = run('pass', ROS_DOMAIN_ID='many')
    assert (code, out) == (1, '')
    assert 'ROS does not start: ' in log[-1]
    assert not any('Traceback' in line for line in log)


#: Pages that Linux has to clear for 50 times 4 pictures.
PICTURES = """
import resource
import numpy as np
def pictures(times):
    for _ in range(times):
        [np.ones((720, 1280, 3), np.uint8) for _ in range(4)]
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
before = pictures(5)
print(pictures(50) - before)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), 'mallopt'), reason='needs glibc')
def test_freed_memory_is_kept():
    code, out, log = run(PICTURES)
    assert (code, log) == (0, [])
    # A picture has 675 pages.
    assert int(out.splitlines()[-1]) < 200 * 675 / 100


#: A context that ends without the wake-up that goes with it, while the executor waits.
LOST_WAKE_UP = """
import threading, time
import rclpy
executor.add_node(rclpy.create_node('camera'))
def end():
    time.sleep(0.3)
    rclpy.get_default_context().handle.shutdown()
threading.Thread(target=end).start()
executor.spin()
"""


def test_signal_whose_wake_up_is_lost():
    assert run(LOST_WAKE_UP) == (0, 'started\n', [])


#: A signal that rclpy's handlers have missed.
MISSED = """
import os, signal
import rclpy
from linknet_ros.system.signals import end_quietly
from rclpy.signals import uninstall_signal_handlers
uninstall_signal_handlers()
end_quietly(endless=True)
executor.add_node(rclpy.create_node('camera'))
os.kill(os.getpid(), signal.SIGTERM)
executor.spin()
"""


def test_signal_that_rclpy_has_missed():
    assert run(MISSED) == (0, 'started\n', [])


#: rclpy's thread for signals shuts ROS down just before somebody else does.
OVERTAKEN = """
from rclpy.context import Context
def overtaken(context):
    context.try_shutdown = lambda: None
    context.handle.shutdown()
    context.handle.shutdown()
Context.try_shutdown = overtaken
"""


@pytest.mark.parametrize('code', ['', MISSED])
def test_signal_at_the_same_moment(code):
    assert run(OVERTAKEN + code) == (0, 'started\n', [])


def test_process_that_hangs_is_ended():
    code, _, [line] = run(
        'import time, rclpy\nrclpy.get_default_context().handle.shutdown()\ntime.sleep(50)'
    )
    assert code == 0
    assert line.endswith('[camera.process]: ended while something was still at work')


def test_signal_before_there_is_an_executor():
    code = """
import linknet_ros.ros.process as module
def interrupted():
    raise KeyboardInterrupt
module.SingleThreadedExecutor = interrupted
rclpy.try_shutdown()
with ros_process('camera', ['program']):
    print('not reached')
"""
    assert run('import rclpy\n' + code) == (0, 'started\n', [])


LOOP = """
import os, rclpy
from linknet_ros.ros.process import ros_process, spin_once
from linknet_ros.system.signals import end_quietly
end_quietly(endless={endless})
with ros_process('camera', ['program']) as executor:
    executor.add_node(rclpy.create_node('camera'))
    os.write(1, b'ready\\n')
    while True:
        spin_once(executor, 0.1)
"""


@pytest.mark.parametrize(
    ('endless', 'number', 'code'),
    [(True, signal.SIGINT, 0), (False, signal.SIGINT, 130), (False, signal.SIGTERM, 143)],
)
def test_signal_ends_a_loop_of_its_own(endless, number, code):
    command = [sys.executable, '-c', LOOP.format(endless=endless)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout.readline() == b'ready\n'
    process.send_signal(number)
    assert (*process.communicate(timeout=900), process.returncode) == (b'', b'', code)
