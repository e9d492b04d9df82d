"""What a robot's night brings: processes that die, signals, files that change, full disks."""

import json
import os
import signal
import subprocess
from contextlib import contextmanager
from pathlib import Path

from checkout import FAKES
from lifecycle_msgs.msg import Transition
from rig import plane

from soak.rig import expected_labels, random_pixels, write_model

#: From a signal to the end of the process, seconds, on a machine that has a core to spare; launch
#: sends the next one after 5.
END_WITHIN = 2.0


def camera_killed(rig, rounds=5):
    """The camera's process is killed and started again: the node says so and goes on."""
    rig.start('labels')
    answers = rig.received['labels']
    for _ in range(rounds):
        camera = rig.run(
            *('linknet_ros', 'replay_node', '--ros-args', '-r', 'image_raw:=image'),
            *('-p', 'source:=street', '-p', 'rate:=20.0', '-p', 'loop:=true'),
        )
        answers.clear()
        rig.until(lambda: len(answers) > 5)
        camera.kill()
        rig.until(lambda: 'no frame for' in rig.status.get('message', ''))
    rig.check(random_pixels(1))
    return {'killed': rounds}


def in_time(seconds):
    """Seconds, if they are within END_WITHIN, or as many times it as cores are short."""
    crowd = max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
    assert seconds < END_WITHIN * crowd, f'it took {seconds:.2f} s to end, crowd {crowd:.1f}'
    return round(seconds, 2)


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
    rig.start('labels', model=model)
    for name, (content, reason) in cases.items():
        model.unlink() if content is None else model.write_bytes(content)
        rig.check(pixels)
        assert rig.change(Transition.TRANSITION_DEACTIVATE)
        assert rig.change(Transition.TRANSITION_ACTIVATE)
        rig.check(pixels)
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
        environment = _fake_gpu(rig) | {
            'ROS_LOG_DIR': str(folder),
            'XDG_CACHE_HOME': str(folder / 'cache'),
        }
        rig.start('labels', backend='tensorrt', env=environment)

        def engine_serves():
            rig.check(pixels)
            return rig.status.get('backend') == 'tensorrt'

        rig.until(engine_serves)
        log = rig.node.log()
        assert 'No space left on device' in log, log[-2000:]
        rig.stop()
    return {'told': 'No space left on device'}


def same_name(rig):
    """Two nodes of one name: both answer; when one is killed, the other goes on."""
    pixels = random_pixels(5)
    first = rig.start()
    rig.start('labels')
    rig.until(lambda: rig.camera.get_subscription_count() == 2)
    rig.until(lambda: rig.peer.count_publishers('/linknet/labels') == 2)

    def both_answer():
        rig.received['labels'].clear()
        rig.send(rig.frame(pixels))
        rig.spin(0.5)
        return len(rig.received['labels']) == 2

    rig.until(both_answer)
    for message in rig.received['labels']:
        assert (plane(message) == expected_labels(pixels)).all()
    first.kill()
    rig.check(pixels)
    return {'answers_to_one_frame': 2}


def _fake_gpu(rig, **rules):
    """Environment of a node with a stand-in for TensorRT, see fakes/tensorrt.py."""
    return {
        'FAKE_CUDA': '{"fail": {}}',
        'FAKE_TENSORRT': json.dumps({'version': '10.3.0', **rules}),
        'PYTHONPATH': os.pathsep.join([str(FAKES), os.environ.get('PYTHONPATH', '')]),
        'XDG_CACHE_HOME': str(rig.folder / 'cache'),
    }


def _children(pid):
    listed = Path(f'/proc/{pid}/task').glob('*/children')
    return [int(child) for path in listed for child in path.read_text().split()]


def builder_killed(rig):
    """The process that builds an engine is killed: the processor goes on, the reason is said."""
    pixels = random_pixels(6)
    rig.start('labels', backend='auto', env=_fake_gpu(rig, build='hangs'))
    rig.answer(pixels)
    rig.until(lambda: 'building an engine: ' in rig.node.log())
    builders = _children(rig.node.pid)
    for pid in builders:
        os.kill(pid, signal.SIGKILL)

    def said():
        rig.check(pixels)
        return 'SIGKILL' in rig.status.get('passed over', '')

    rig.until(said)
    assert rig.status['backend'] in ('openvino', 'onnxruntime')
    return {'killed': len(builders)}


def build_in_the_way(rig):
    """A frame of a new size waits for its engine, for minutes: deactivate and signals do not."""
    # The engine of the model's own size is there; that of a wide frame is not.
    built = rig.run('linknet_ros', 'build_engine', rig.model, env=_fake_gpu(rig))
    assert built.popen.wait(300) == 0, built.log()
    parameters = {'backend': 'tensorrt', 'tensorrt.wait_for_engine': 'true'}
    longest = 0.0
    for number in (None, signal.SIGINT, signal.SIGTERM):
        rig.start('labels', env=_fake_gpu(rig, build='hangs'), **parameters)
        rig.answer(random_pixels(0))
        while 'building an engine: ' not in rig.node.log():
            rig.send(rig.frame(random_pixels(0, 96, 32)))
            rig.spin(0.1)
        if number is None:
            # The build hangs for ever: that there is an answer shows that nobody waits for it.
            assert rig.change(Transition.TRANSITION_DEACTIVATE)
            assert rig.change(Transition.TRANSITION_ACTIVATE)
            rig.answer(random_pixels(0))
        longest = max(longest, in_time(rig.stop(number or signal.SIGTERM)))
    return {'ways': 3, 'longest_s': longest}
