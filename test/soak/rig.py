"""What every trial needs: the node as a process, and a camera and planner here."""

import os
import signal
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from rig import Rig, plane
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from std_srvs.srv import SetBool
from tiny_models import POISON, THREE_CLASSES, fragile_model, write

from linknet_ros.node.statistics import Drop
from linknet_ros.ros.images import array_to_image
from linknet_ros.system.child_process import start

#: Services of the node that change something, so that none of them can be called again.
CHANGING = (
    (ChangeState, 'change_state'),
    (SetParameters, 'set_parameters'),
    (SetBool, 'enable'),
)
NAMES = THREE_CLASSES.names
WIDTH, HEIGHT = 96, 64


def write_model(path, names=NAMES):
    """Write a model whose label is the largest channel, its confidence, and POISON its death."""
    return write(fragile_model(names, (WIDTH, HEIGHT)), path)


def random_pixels(seed, width=WIDTH, height=HEIGHT):
    """Pixels of 1 to 254: never POISON, never without confidence."""
    return np.random.default_rng(seed).integers(1, POISON, (height, width, 3), dtype=np.uint8)


def expected_labels(pixels, min_confidence=0.0):
    """What the tiny model and the node must say of a frame of the network's size."""
    labels = pixels.argmax(2).astype(np.uint8)
    labels[pixels.max(2) < max(1, round(255 * min_confidence))] = 255
    return labels


class Process:
    """A program in a process of its own; its log is in a file.

    :param arguments: see child_process.start.
    """

    def __init__(self, folder, *arguments, env=None):
        self.log_path = Path(folder) / f'log_{time.monotonic_ns()}.txt'
        with open(self.log_path, 'wb') as log:
            to = {'stdout': log, 'stderr': subprocess.STDOUT, 'env': env}
            self.popen = start(*map(str, arguments), **to)
        self.pid = self.popen.pid

    def log(self):
        return self.log_path.read_text(errors='replace')

    def status(self, key):
        """A number of /proc/PID/status, e.g. VmRSS (kB) or Threads."""
        for line in Path(f'/proc/{self.pid}/status').read_text().splitlines():
            if line.startswith(f'{key}:'):
                return int(line.split()[1])
        raise KeyError(key)

    def rss_mib(self):
        return self.status('VmRSS') / 1024

    def held(self):
        """Threads and open files."""
        return self.status('Threads'), len(os.listdir(f'/proc/{self.pid}/fd'))

    def kill(self):
        self.popen.kill()
        self.popen.wait()

    def end(self, number=signal.SIGTERM):
        """Send a signal, upon which it ends well; seconds until it does."""
        begin = time.monotonic()
        self.popen.send_signal(number)
        code = self.popen.wait(300)
        assert code == 0, f'exit code {code}: {self.log()[-1500:]}'
        assert 'Traceback' not in self.log(), self.log()[-3000:]
        return time.monotonic() - begin


class SoakRig(Rig):
    """Camera and planner in this process; `start` gives them a node."""

    def __init__(self, folder, context):
        super().__init__(context, 'soak')
        self.folder = Path(folder)
        self.model = write_model(self.folder / 'tiny.onnx')
        self.camera = self.publisher(Image, 'image')
        self.status, self.reports, self.sent = {}, 0, 0
        self.peer.create_subscription(DiagnosticArray, '/diagnostics', self._diagnostics, 10)
        self.processes, self.node, self._clients = [], None, {}

    def _diagnostics(self, message):
        [status] = message.status
        if status.name == 'linknet: segmentation':
            self.reports += 1
            self.status = {v.key: v.value for v in status.values} | {'message': status.message}

    def run(self, *arguments, env=None):
        """Start a program, which ends with the rig."""
        self.processes.append(Process(self.folder, *arguments, env=env))
        return self.processes[-1]

    def start(self, *topics, env=None, **parameters):
        """Start a node with the tiny model, and subscribe to some of its topics."""
        self.sent, self.status = 0, {}
        # Noise looks like no street.
        usual = {'model': self.model, 'backend': 'onnxruntime', 'scene_check': "'off'"}
        parameters = usual | parameters
        given = [x for k, v in parameters.items() for x in ('-p', f'{k}:={v}')]
        self.node = self.run('linknet_ros', 'segment_node', '--ros-args', *given, env=env)
        if parameters.get('autostart') != 'false':
            self.until(lambda: self.camera.get_subscription_count() > 0)
        # The node gets to know clients in their order: one that has its answer is the last.
        for kind, service in CHANGING:
            self._client(kind, f'/linknet/{service}')
        self.state()
        if topics:
            self.subscribe(*topics)
        return self.node

    def until(self, condition, what='it'):
        def done():
            assert self.node is None or self.node.popen.poll() is None, self.last_words()
            return condition()

        super().until(done, what)

    def last_words(self):
        said = self.node.log()[-1500:] if self.node else 'nothing'
        return f'{super().last_words()}; the node said: {said}'

    def call(self, kind, service, **fields):
        """Answer of a service of the node, through one client for all calls of a node.

        The first answer to a client gets lost where the node does not know the client yet, and
        nobody but the node knows that: what only asks is asked again.
        """
        client, repeat = self._client(kind, service), '/get_' in service
        self.until(client.service_is_ready, service)
        future, sent = client.call_async(kind.Request(**fields)), time.monotonic()

        def done():
            nonlocal future, sent
            if repeat and time.monotonic() > sent + 2:
                future, sent = client.call_async(kind.Request(**fields)), time.monotonic()
            return future.done()

        self.until(done, f'an answer of {service}')
        return future.result()

    def _client(self, kind, service):
        key = (self.node, service)
        if key not in self._clients:
            self._clients[key] = self.peer.create_client(kind, service)
        return self._clients[key]

    def change(self, transition):
        """Ask for a transition by its number; whether it was made."""
        asked = Transition(id=transition)
        return self.call(ChangeState, '/linknet/change_state', transition=asked).success

    def set_parameters(self, **values):
        """Change parameters of the node."""
        asked = [Parameter(k, value=v).to_parameter_msg() for k, v in values.items()]
        results = self.call(SetParameters, '/linknet/set_parameters', parameters=asked).results
        assert all(r.successful for r in results), results

    def state(self):
        return self.call(GetState, '/linknet/get_state').current_state.label

    def send(self, message):
        self.sent += 1
        self.camera.publish(message)

    def frame(self, pixels, age=0.0):
        """A bgr8 message with a stamp of `age` seconds ago."""
        header = Header(frame_id='camera')
        now = self.peer.get_clock().now().nanoseconds - int(age * 1e9)
        header.stamp.sec, header.stamp.nanosec = divmod(now, 10**9)
        return array_to_image(pixels, 'bgr8', header)

    def answer(self, pixels, topic='labels'):
        """Send frames until one is answered, and return that answer."""
        messages, sent = self.received[topic], -1.0
        before = len(messages)

        def answered():
            nonlocal sent
            if time.monotonic() > sent + 0.5:
                self.send(self.frame(pixels))
                sent = time.monotonic()
            return len(messages) > before

        self.until(answered, f'an answer on {topic}')
        return messages[-1]

    def check(self, pixels, min_confidence=0.0):
        """Labels of a frame are right."""
        expected = expected_labels(pixels, min_confidence)
        assert (plane(self.answer(pixels)) == expected).all()

    def counts(self):
        """Received, published and drops by reason as the newest diagnostics have them."""
        drops = {d.name: int(self.status.get(f'dropped, {d.value}', 0)) for d in Drop}
        return int(self.status.get('received', 0)), int(self.status.get('published', 0)), drops

    def settled_counts(self):
        """Counts after which nothing is on its way any more, none missing: two reports agree."""
        before = None
        while True:
            reports = self.reports
            self.until(lambda n=reports: self.reports > n + 1)
            if (now := self.counts()) == before:
                received, published, drops = now
                assert received == published + sum(drops.values()), now
                return now
            before = now

    def stop(self, number=signal.SIGTERM):
        """End the node, which must end well; seconds that it took."""
        node, self.node = self.node, None
        for topic in list(self._subscriptions):
            self.unsubscribe(topic)
        return node.end(number)

    def close(self):
        for process in self.processes:
            process.kill()
        super().close()


@contextmanager
def rig_in(folder, context):
    """A SoakRig for the length of a block; whatever it started is gone afterwards."""
    rig = SoakRig(folder, context)
    try:
        yield rig
        if rig.node is not None:
            rig.stop()
    finally:
        rig.close()
