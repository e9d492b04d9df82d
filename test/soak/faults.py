"""What a robot's night brings: processes that die, signals, files that change, full disks."""

import os
import random
import signal
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

from checkout import FAKES
from lifecycle_msgs.msg import Transition

from linknet_ros.system.package_files import SHIPPED_MODEL, package_file
from soak.rig import NAMES, Process, expected_labels, plane, random_pixels, write_model

#: From a signal to the end of the process, seconds, on a machine that has a core to spare; launch
#: sends the next one after 5.
END_WITHIN = 2.0


def camera_killed(rig, rounds=5):
    """The camera's process is killed and started anew: the node says so and goes on."""
    rig.start()
    rig.subscribe('labels')
    answers = rig.received['labels']
    for _ in range(rounds):
        camera = Process(
            rig.folder,
            *('-m', 'linknet_ros', 'replay_node', '--ros-args', '-r', 'image_raw:=image'),
            *('-p', 'source:=street', '-p', 'rate:=20.0', '-p', 'loop:=true'),
        )
        rig.processes.append(camera)
        answers.clear()
        rig.until(lambda: len(answers) > 5)
        camera.popen.kill()
        camera.popen.wait()
        rig.until(lambda: 'no frame for' in rig.status.get('message', ''))
    pixels = random_pixels(1)
    assert (plane(rig.answer(pixels)) == expected_labels(pixels)).all()
    rig.stop()
    return {'killed': rounds}


def _in_time(seconds):
    """Seconds, if they are within END_WITHIN, or as many times it as cores are short."""
    crowd = max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
    assert seconds < END_WITHIN * crowd, f'it took {seconds:.2f} s to end, crowd {crowd:.1f}'
    return seconds


def signals(rig, times=60, seed=0):
    """SIGINT or SIGTERM at a random moment of start, configure, streaming and the end itself.

    From the first line of the package on: before, Python starts, and the process dies of it.
    """
    rng = random.Random(seed)
    taken, moments = [], {}
    # How long a start takes on this machine now, so that moments fall into all of it.
    began = time.monotonic()
    rig.start(backend='auto')
    start = time.monotonic() - began
    rig.stop()
    for number in range(times):
        kind = rng.choice([signal.SIGINT, signal.SIGTERM])
        moment = ('starting', 'streaming', 'starting', 'twice', 'starting', 'ending')[number % 6]
        if moment == 'starting':
            # The model that ships takes longest to load.
            model = rng.choice([rig.model, package_file(SHIPPED_MODEL)])
            node = Process.node(rig.folder, model=model, backend=rng.choice(['auto', 'openvino']))
            rig.processes.append(node)
            while not node.catches_signals():
                assert node.popen.poll() is None, node.log()
                time.sleep(0.001)
            time.sleep(rng.uniform(0, 1.1 * start))
        else:
            node = rig.start()
            rig.subscribe('labels')
            for seed in range(rng.randrange(1, 20)):
                rig.send(rig.frame(random_pixels(seed, 320, 240)))
                rig.spin(rng.uniform(0, 0.01))
        if moment in ('twice', 'ending'):
            node.popen.send_signal(kind)
            time.sleep(rng.uniform(0, 0.3 if moment == 'ending' else 0.02))
        code, seconds = node.end(rng.choice([signal.SIGINT, signal.SIGTERM]))
        log = node.log()
        assert code == 0, f'{kind.name} while {moment}: exit code {code}; {log[-2000:]}'
        assert 'Traceback' not in log, f'{kind.name} while {moment}: {log[-3000:]}'
        taken.append(_in_time(seconds))
        moments[moment] = moments.get(moment, 0) + 1
        rig.node = None
        if 'labels' in rig.__dict__.get('_subscriptions', {}):
            rig.unsubscribe('labels')
    late = sum(seconds >= END_WITHIN for seconds in taken)
    crowd = round(os.getloadavg()[0] / (os.cpu_count() or 1), 1)
    return {
        'signals': times,
        'longest_s': round(max(taken), 2),
        'over_2_s': late,
        'load_per_core': crowd,
    } | moments


def model_files(rig):
    """A file damaged, swapped or deleted beneath a running node: no effect until configure."""
    pixels = random_pixels(3)
    model = write_model(rig.folder / 'live.onnx')
    sound = model.read_bytes()
    other = write_model(rig.folder / 'swap.onnx', ('sky', 'road', 'tree')).read_bytes()
    cases = {
        'truncated': (sound[: len(sound) // 2], 'is not a readable ONNX file'),
        'garbage': (os.urandom(len(sound)), 'is not a readable ONNX file'),
        'empty': (b'', 'live.onnx'),
        'swapped': (other, None),
        'deleted': (None, 'no model file'),
    }
    rig.start(model=model)
    rig.subscribe('labels')
    for name, (content, reason) in cases.items():
        model.unlink() if content is None else model.write_bytes(content)
        assert (plane(rig.answer(pixels)) == expected_labels(pixels)).all(), name
        assert rig.change(Transition.TRANSITION_DEACTIVATE)
        assert rig.change(Transition.TRANSITION_ACTIVATE)
        assert (plane(rig.answer(pixels)) == expected_labels(pixels)).all(), name
        assert rig.change(Transition.TRANSITION_DEACTIVATE)
        assert rig.change(Transition.TRANSITION_CLEANUP)
        configured = rig.change(Transition.TRANSITION_CONFIGURE)
        assert configured == (reason is None), name
        if reason:
            line = [x for x in rig.node.log().splitlines() if 'cannot configure' in x][-1]
            assert reason in line, line
            model.write_bytes(sound)
            assert rig.change(Transition.TRANSITION_CONFIGURE)
        assert rig.change(Transition.TRANSITION_ACTIVATE)
    rig.stop()
    return {'cases': len(cases)}


@contextmanager
def full_disk(folder):
    """A file system with no byte left, mounted on a folder; None where we may not mount."""
    folder.mkdir()
    folder.chmod(0o700)
    command = ['mount', '-t', 'tmpfs', '-o', 'size=64k,mode=700', 'tmpfs', str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        yield None
        return
    try:
        with open(folder / 'filler', 'wb', buffering=0) as filler:
            while True:
                try:
                    filler.write(b'x' * 4096)
                except OSError:
                    break
        yield folder
    finally:
        subprocess.run(['umount', '-l', str(folder)], check=False)


def disk_full(rig):
    """No byte left for engines, logs and caches: frames are answered all the same."""
    pixels = random_pixels(4)
    with full_disk(rig.folder / 'full') as folder:
        if folder is None:
            return {'skipped': 'mounting a tmpfs is not allowed here'}
        environment = {
            'FAKE_CUDA': '{"fail": {}}',
            'FAKE_TENSORRT': '{"version": "10.3.0"}',
            'PYTHONPATH': os.pathsep.join([str(FAKES), os.environ.get('PYTHONPATH', '')]),
            'ROS_LOG_DIR': str(folder),
            'XDG_CACHE_HOME': str(folder / 'cache'),
        }
        rig.start(backend='tensorrt', environment=environment)
        rig.subscribe('labels')

        def engine_serves():
            assert (plane(rig.answer(pixels)) == expected_labels(pixels)).all()
            return rig.status.get('backend') == 'tensorrt'

        rig.until(engine_serves, 60)
        log = rig.node.log()
        assert 'No space left on device' in log, log[-2000:]
        rig.stop()
    return {'told': 'No space left on device'}


def same_name(rig):
    """Two nodes of one name: both answer; when one is killed, the other goes on."""
    pixels = random_pixels(5)
    first = rig.start()
    rig.start()
    rig.subscribe('labels')
    rig.until(lambda: rig.camera.get_subscription_count() == 2)
    rig.until(lambda: rig.peer.count_publishers('/linknet/labels') == 2)
    rig.spin(0.5)
    rig.send(rig.frame(pixels))
    rig.until(lambda: len(rig.received['labels']) == 2)
    for message in rig.received['labels']:
        assert (plane(message) == expected_labels(pixels)).all()
    first.popen.kill()
    first.popen.wait()
    assert (plane(rig.answer(pixels)) == expected_labels(pixels)).all()
    rig.stop()
    return {'answers_to_one_frame': 2}


def _children(pid):
    listed = Path(f'/proc/{pid}/task').glob('*/children')
    return [int(child) for path in listed for child in path.read_text().split()]


def builder_killed(rig):
    """The process that builds an engine is killed: the processor goes on, the reason is said."""
    pixels = random_pixels(6)
    environment = {
        'FAKE_CUDA': '{"fail": {}}',
        'FAKE_TENSORRT': '{"version": "10.3.0", "build": "hangs"}',
        'PYTHONPATH': os.pathsep.join([str(FAKES), os.environ.get('PYTHONPATH', '')]),
        'XDG_CACHE_HOME': str(rig.folder / 'cache'),
    }
    rig.start(backend='auto', environment=environment)
    rig.subscribe('labels')
    rig.answer(pixels)
    rig.until(lambda: 'building an engine: ' in rig.node.log())
    builders = _children(rig.node.pid)
    for pid in builders:
        os.kill(pid, signal.SIGKILL)

    def said():
        assert (plane(rig.answer(pixels)) == expected_labels(pixels)).all()
        return 'SIGKILL' in rig.status.get('passed over', '')

    rig.until(said, 60)
    assert rig.status['backend'] in ('openvino', 'onnxruntime')
    rig.stop()
    return {'killed': len(builders), 'classes': len(NAMES)}


def build_in_the_way(rig):
    """A frame of a new size waits for its engine, for minutes: deactivate and signals do not."""
    environment = {
        'FAKE_CUDA': '{"fail": {}}',
        'FAKE_TENSORRT': '{"version": "10.3.0", "build": "hangs"}',
        'PYTHONPATH': os.pathsep.join([str(FAKES), os.environ.get('PYTHONPATH', '')]),
        'XDG_CACHE_HOME': str(rig.folder / 'cache'),
    }
    # The engine of the model's own size is there; that of a wide frame is not.
    built = Process(
        rig.folder,
        *('-m', 'linknet_ros', 'build_engine', rig.model),
        environment=environment | {'FAKE_TENSORRT': '{"version": "10.3.0"}'},
    )
    assert built.popen.wait(60) == 0, built.log()
    parameters = {'backend': 'tensorrt', 'tensorrt.wait_for_engine': 'true'}
    longest = 0.0
    for way in ('deactivate', signal.SIGINT, signal.SIGTERM):
        rig.start(environment=environment, **parameters)
        rig.subscribe('labels')
        rig.answer(random_pixels(0))
        while 'building an engine: ' not in rig.node.log():
            rig.send(rig.frame(random_pixels(0, 96, 32)))
            rig.spin(0.1)
        began = time.monotonic()
        if way == 'deactivate':
            assert rig.change(Transition.TRANSITION_DEACTIVATE)
            assert time.monotonic() - began < 10, 'deactivate waits for the build'
            assert rig.change(Transition.TRANSITION_ACTIVATE)
            rig.answer(random_pixels(0))
        code, seconds = rig.node.end(signal.SIGTERM if way == 'deactivate' else way)
        assert code == 0, rig.node.log()[-2000:]
        longest = max(longest, _in_time(seconds))
        rig.node = None
        rig.unsubscribe('labels')
    return {'ways': 3, 'longest_s': round(longest, 2)}
