"""A signal at a random moment of every program, from its first line to its last."""

import contextlib
import os
import random
import re
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from pathlib import Path

from sensor_msgs.msg import Image
from small_bags import Bags

from linknet_ros.system.child_process import start, start_program, stop
from soak.rig import random_pixels

#: Seconds until a trial gives up: none here is meant to take that long.
PATIENCE = 300.0

#: Arguments of each program, and what it says once it is at work if only a signal ends it.
PROGRAMS = {
    'segment_node': (['-p', 'model:={model}'], 'waiting for frames'),
    'replay_node': (['-r', 'image_raw:=other'], 'frames per second'),
    'view_node': (['-p', 'port:=0'], 'open http'),
    'rerun_node': (['-p', 'save:={out}'], 'waiting for'),
    'demo --view': (['--view-port', '0', '--out', '{out}', '--model', '{model}'], 'segmenting: '),
    'demo': (['--count', '20', '--rate', '20', '--out', '{out}', '--model', '{model}'], ''),
    'segment_bag': (['{bag}', '{out}', '--overwrite', '--backend', 'openvino'], ''),
    'doctor': (['--model', '{model}', '--backend', 'openvino'], ''),
}


@contextlib.contextmanager
def busy(loops):
    """Keep processor cores busy."""
    spinning = [subprocess.Popen([sys.executable, '-c', 'while True: pass']) for _ in range(loops)]
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
    """A program as a shell starts it: in a process group of its own."""

    def __init__(self, folder, name, options):
        self.name, self.mark, self._log = name, uuid.uuid4().hex, folder / 'log.txt'
        arguments, self.at_work = PROGRAMS[name]
        arguments = [argument.format(**options) for argument in arguments]
        program, *flags = name.split()
        if program.endswith('_node'):
            arguments = ['--ros-args', *arguments]
        with self._log.open('wb') as log:
            to = {'stdout': log, 'stderr': log, 'start_new_session': True}
            to['env'] = {'SOAK_MARK': self.mark, 'PYTHONUNBUFFERED': '1'}
            self.process = start('linknet_ros', program, *flags, *arguments, **to)
        self._until(lambda: self.ended() or catches_signals(self.process.pid))

    def log(self):
        return self._log.read_text(errors='replace')

    def ended(self):
        return self.process.poll() is not None

    def _until(self, condition):
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, f'{self.name} takes too long: {self.log()}'
            time.sleep(0.002)

    def whole(self):
        """Without a signal: seconds of a command, or until a node is at work."""
        begin = time.monotonic()
        self._until(lambda: self.ended() or (self.at_work and self.at_work in self.log()))
        seconds = time.monotonic() - begin
        stop([self.process], PATIENCE)
        assert self.process.returncode == 0, self.log()
        return seconds + (2 if self.at_work else 0)

    def interrupt(self, numbers, pause, group):
        """Send signals, to the process or as a terminal to its group; seconds until it ends.

        Nothing is said but what was meant to be, the exit code is right, and no child is left.
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
        assert not re.search(r'Traceback|Exception|\[ERROR\]|(?m:^error: )', log), about
        assert log.count('stopped') <= (code > 128), about
        # Of a group children get the signal too, and may take a moment longer.
        self._until(lambda: not marked(self.mark))
        return code, seconds


def signals(rig, times=50, seed=0, programs=tuple(PROGRAMS), loops=2):
    """SIGINT or SIGTERM, once or twice, at random moments of each program; cores are busy.

    From the first line of the package on: before, Python starts, and the process dies of it.
    """
    rng = random.Random(seed)
    camera = {'source': 'street', 'rate': '10.0', 'width': '96', 'height': '64'}
    camera = start_program('replay_node', camera, ['-r', 'image_raw:=image'])
    rig.peer.create_subscription(Image, 'linknet/labels', lambda _: None, 1)
    bag, out = rig.folder / 'in.mcap', rig.folder / 'out'
    bags = Bags()
    frames = [bags.image(random_pixels(i, 320, 240), i) for i in range(40)]
    bags.write(bag, [('/image', i, frame) for i, frame in enumerate(frames)])
    options = {'model': rig.model, 'bag': bag, 'out': out}
    figures = {}
    with busy(loops), contextlib.ExitStack() as stack:
        stack.callback(stop, [camera])
        for name in programs:
            whole = Run(rig.folder, name, options).whole()
            codes, longest = Counter(), 0.0
            for _ in range(times):
                run = Run(rig.folder, name, options)
                time.sleep(rng.uniform(0, whole))
                numbers = rng.choices([signal.SIGINT, signal.SIGTERM], k=rng.choice([1, 1, 2]))
                code, seconds = run.interrupt(numbers, rng.uniform(0, 0.3), rng.random() < 0.5)
                codes[code] += 1
                longest = max(longest, seconds)
            figures[name] = f'{dict(sorted(codes.items()))}, {longest:.1f} s at most'
    return {'signals': times, **figures}
