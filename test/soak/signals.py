"""A signal at a random moment of every program, from its first line to its last."""

import contextlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue

import cv2
import onnx
from domains import free_domain
from foreign_networks import network
from sensor_msgs.msg import Image
from small_bags import Bags

from linknet_ros.system.child_process import start, start_program, stop
from linknet_ros.system.package_files import SHIPPED_MODEL, package_file
from soak.rig import random_pixels

#: Seconds until a trial gives up: none here is meant to take that long.
PATIENCE = 300.0

#: Arguments of each program, and what it says once it is at work if only a signal ends it.
PROGRAMS = {
    'segment_node': ('-p model:={model}', 'waiting for frames'),
    'replay_node': ('-r image_raw:=other', 'frames per second'),
    'view_node': ('-p port:=0', 'open http'),
    'rerun_node': ('-p save:={out}.rrd', 'waiting for'),
    'demo --view': (
        '--view-port 0 --out {out} --model {model} --domain-id {domain}',
        'segmenting: ',
    ),
    'demo': ('--count 20 --rate 20 --out {out} --model {model} --domain-id {domain}', ''),
    'segment_bag': ('{bag} {out} --backend openvino', ''),
    'segment_files': ('{images} {out} --model {model} --backend openvino', ''),
    'doctor': ('--model {model} --backend openvino', ''),
    'pre_label': ('{out} --model {model}', ''),
    'pick_frames': ('--count 5 --model {model} {bag} {out}', ''),
    'quantize_model': (
        '{shipped} --images {images} --count 10 --least-agreement 0 --out {out}.onnx',
        '',
    ),
    'import_model': (
        '{network} --classes {classes} --preset 0-1 --order rgb --out {out}.onnx',
        '',
    ),
    'build_engine': (
        '{shipped} --library rtx --target SM86 --network-size 96x64 --cache-dir {out}',
        '',
    ),
    'planner_config': ('--params {street} --camera {camera} --out {out}', ''),
    'ground_accuracy': ('--seeds 0 --frames 3', ''),
    'benchmark': ('--model {model} --sizes 96x64 --rounds 1 --backends openvino --out {out}', ''),
    'node_benchmark': (
        '--model {model} --sizes 96x64 --quick --out {out} --domain-id {domain}',
        '',
    ),
}

#: The nodes, the demo and segment_bag; the others get a fifth of the signals.
OFTEN = tuple(PROGRAMS)[:7]
#: A calibrated camera, as camera_calibration writes it.
CAMERA = """image_width: 480
image_height: 360
camera_matrix: {rows: 3, cols: 3, data: [400, 0, 240, 0, 400, 180, 0, 0, 1]}
distortion_model: plumb_bob
distortion_coefficients: {rows: 1, cols: 5, data: [0, 0, 0, 0, 0]}
"""

#: In the short form of `make test`: a node, one with children, and a command.
FEW = ('segment_node', 'demo --view', 'segment_bag')


@contextlib.contextmanager
def busy(loops):
    """Keep processor cores busy; Linux may share them among sessions, so each has its own."""
    spinning = [
        subprocess.Popen([sys.executable, '-c', 'while True: pass'], start_new_session=True)
        for _ in range(loops)
    ]
    try:
        yield
    finally:
        for process in spinning:
            process.kill()
            process.wait()


def catches_signals(pid):
    """Whether a handler for SIGTERM is in place: the process's own code runs."""
    for line in Path(f'/proc/{pid}/status').read_text().splitlines():
        if line.startswith('SigCgt:'):
            return bool(int(line.split()[1], 16) >> (signal.SIGTERM - 1) & 1)
    return False


def marked(mark):
    """Processes that have a variable of the environment; nobody else has its value."""
    found = []
    for path in Path('/proc').glob('[0-9]*/environ'):
        try:
            if mark.encode() in path.read_bytes():
                found.append(path.parent.name)
        except OSError:
            pass
    return found


class Run:
    """A program as a shell starts it: in a process group, and with a folder of its own."""

    def __init__(self, folder, name, options):
        self.name, self.mark = name, uuid.uuid4().hex
        self.folder = folder / self.mark
        self._log, self._temporary = self.folder / 'log.txt', self.folder / 'tmp'
        self._temporary.mkdir(parents=True)
        arguments, self.at_work = PROGRAMS[name]
        options = options | {'out': self.folder / 'out'}
        if name == 'pre_label':
            shutil.copytree(options['images'], self.folder / 'out' / 'frames')
        arguments = [argument.format(**options) for argument in arguments.split()]
        program, *flags = name.split()
        if program.endswith('_node'):
            arguments = ['--ros-args', *arguments]
        with self._log.open('wb') as log:
            to = {'stdout': log, 'stderr': log, 'stdin': subprocess.DEVNULL}
            to['env'] = {'SOAK_MARK': self.mark, 'PYTHONUNBUFFERED': '1'}
            to['env']['TMPDIR'] = str(self._temporary)
            to |= {'start_new_session': True, 'cwd': self.folder}
            self.process = start('linknet_ros', program, *flags, *arguments, **to)
        self._until(lambda: self.ended() or catches_signals(self.process.pid))

    def log(self):
        return self._log.read_text(errors='replace')

    def ended(self):
        return self.process.poll() is not None

    def _until(self, condition):
        deadline = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > deadline:
                stop([self.process])
                raise AssertionError(f'{self.name} takes too long: {self.log()}')
            time.sleep(0.002)

    def whole(self):
        """Without a signal: seconds of a command, or until a node is at work."""
        begin = time.monotonic()
        self._until(lambda: self.ended() or (self.at_work and self.at_work in self.log()))
        seconds = time.monotonic() - begin
        stop([self.process], PATIENCE)
        assert self.process.returncode == 0, f'{self.name}: {self.log()}'
        self._tidied_up()
        return seconds + (2 if self.at_work else 0)

    def interrupt(self, numbers, pause, group):
        """Send signals, to the process or as a terminal to its group; seconds until it ends.

        Nothing is said but what was meant to be, the exit code is right, and neither a child nor a
        temporary file is left.
        """
        begin = time.monotonic()
        for number in numbers:
            with contextlib.suppress(ProcessLookupError):
                (os.killpg if group else os.kill)(self.process.pid, number)
            time.sleep(pause)
        code, log = self.process.wait(PATIENCE), self.log()
        seconds = time.monotonic() - begin
        about = f'{self.name}, {numbers}: exit code {code}; it said: {log[-3000:]}'
        # A command may have finished before.
        assert code in ({0} if self.at_work else {0, *(128 + number for number in numbers)}), about
        assert not re.search(r'Traceback|Exception|[Ee]rror:|\[ERROR\]|terminate called', log), (
            about
        )
        assert log.count('stopped') <= (code > 128), about
        # Of a group children get the signal too, and may take a moment longer.
        self._until(lambda: not marked(self.mark))
        self._tidied_up()
        return code, seconds

    def _tidied_up(self):
        left = [str(path.relative_to(self._temporary)) for path in self._temporary.rglob('*')]
        assert not left, f'{self.name} has left {left}; it said: {self.log()[-3000:]}'
        shutil.rmtree(self.folder)


def inputs(folder):
    """Paths of a small recording, of images and of a network of somebody else, by name."""
    bag, images, foreign = folder / 'in.mcap', folder / 'images', folder / 'foreign.onnx'
    bags = Bags()
    frames = [random_pixels(i, 320, 240) for i in range(12)]
    bags.write(bag, [('/image', i, bags.image(frame, i)) for i, frame in enumerate(frames)])
    images.mkdir()
    for i, frame in enumerate(frames):
        cv2.imwrite(str(images / f'{i:02}.png'), frame)
    onnx.save(network(), foreign)
    classes = folder / 'classes.csv'
    camera = folder / 'ost.yaml'
    camera.write_text(CAMERA)
    rows = [f'class{i},{i},{i},{i},{int(i == 0)}' for i in range(4)]
    classes.write_text('\n'.join(['name,red,green,blue,drivable', *rows, '']))
    return {
        'bag': bag,
        'images': images,
        'network': foreign,
        'classes': classes,
        'camera': camera,
        'street': package_file('config/street.yaml'),
        'shipped': package_file(SHIPPED_MODEL),
    }


def signals(rig, times=50, seed=0, programs=tuple(PROGRAMS), loops=8, at_once=4):
    """SIGINT or SIGTERM, once or twice, at random moments of each program; cores are busy.

    From the first line of the package on: before, Python starts, and the process dies of it.

    :param times: each of OFTEN is interrupted; the others a fifth of it.
    :param loops: processes that keep the cores busy.
    :param at_once: programs that run at the same time.
    """
    rng = random.Random(seed)
    camera = {'source': 'street', 'rate': '10.0', 'width': '96', 'height': '64'}
    camera = start_program('replay_node', camera, ['-r', 'image_raw:=image'])
    rig.peer.create_subscription(Image, 'linknet/labels', lambda _: None, 1)
    options = {'model': rig.model, **inputs(rig.folder)}
    domains = Queue()

    def interrupted(name, moment, numbers, pause, group):
        domain = domains.get()
        try:
            run = Run(rig.folder, name, options | {'domain': domain})
            time.sleep(moment)
            return run.interrupt(numbers, pause, group)
        finally:
            domains.put(domain)

    figures, failures = {}, []
    with (
        busy(loops),
        contextlib.ExitStack() as stack,
        ThreadPoolExecutor(at_once) as pool,
    ):
        # Demos, each in a domain of its own: four nodes of one name would hear each other, and
        # tests beside this one would hear them.
        for _ in range(at_once):
            domains.put(stack.enter_context(free_domain()))
        stack.callback(stop, [camera])
        for name in programs:
            domain = domains.get()
            whole = Run(rig.folder, name, options | {'domain': domain}).whole()
            domains.put(domain)
            codes, longest, runs = Counter(), 0.0, []
            for _ in range(times if name in OFTEN else max(1, times // 5)):
                numbers = rng.choices([signal.SIGINT, signal.SIGTERM], k=rng.choice([1, 1, 2]))
                moments = rng.uniform(0, whole), numbers, rng.uniform(0, 0.3), rng.random() < 0.5
                runs.append(pool.submit(interrupted, name, *moments))
            for run in runs:
                try:
                    code, seconds = run.result()
                except AssertionError as error:
                    failures.append(str(error))
                    continue
                codes[code] += 1
                longest = max(longest, seconds)
            figures[name] = f'{dict(sorted(codes.items()))}, {longest:.1f} s at most'
    assert not failures, f'{len(failures)} of {figures}: ' + '\n'.join(failures)
    return {'signals': times, **figures}
