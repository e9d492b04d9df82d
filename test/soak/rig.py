"""What every trial needs: a tiny model, the node as a process, and a camera and planner here."""

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.srv import ChangeState, GetState
from onnx import TensorProto, helper, numpy_helper
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from linknet_ros.classes import ClassTable
from linknet_ros.inference.model_file import metadata_of
from linknet_ros.node.statistics import Drop
from linknet_ros.ros.images import array_to_image

RELIABLE = QoSProfile(depth=50, reliability=ReliabilityPolicy.RELIABLE)
NAMES = ('road', 'car', 'sky')
WIDTH, HEIGHT = 96, 64

#: A pixel that the tiny model fails on, as a library below the node may.
POISON = 255


def write_model(path, names=NAMES):
    """Write a model whose label is the largest channel, its confidence, and POISON its death."""
    shape = (1, 'height', 'width')
    nodes = [
        helper.make_node('Cast', ['image'], ['x'], to=TensorProto.FLOAT),
        helper.make_node('ArgMax', ['x'], ['index'], axis=3, keepdims=0),
        helper.make_node('Cast', ['index'], ['number'], to=TensorProto.FLOAT),
        helper.make_node('Cast', ['number'], ['labels'], to=TensorProto.UINT8),
        helper.make_node('ReduceMax', ['x'], ['highest'], axes=[3], keepdims=0),
        helper.make_node('Cast', ['highest'], ['row'], to=TensorProto.INT64),
        # Out of bounds for 255.
        helper.make_node('Gather', ['table', 'row'], ['value']),
        helper.make_node('Cast', ['value'], ['confidence'], to=TensorProto.UINT8),
    ]
    graph = helper.make_graph(
        nodes,
        'tiny',
        [helper.make_tensor_value_info('image', TensorProto.UINT8, (*shape, 3))],
        [
            helper.make_tensor_value_info(n, TensorProto.UINT8, shape)
            for n in ('labels', 'confidence')
        ],
        [numpy_helper.from_array(np.arange(POISON, dtype=np.float32), 'table')],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=8)
    classes = ClassTable(
        names=tuple(names),
        colors=tuple((40 * i, 100, 200) for i in range(len(names))),
        drivable=(True, *[False] * (len(names) - 1)),
    )
    metadata = metadata_of(
        classes,
        architecture='Tiny (1 layer)',
        dataset='hand-made',
        label_set='three',
        default_size=(WIDTH, HEIGHT),
        accuracy={'val_miou': 0.5},
    )
    helper.set_model_props(model, metadata)
    path.write_bytes(model.SerializeToString())
    return path


def random_pixels(seed, width=WIDTH, height=HEIGHT):
    """Pixels of 1 to 254: never POISON, never without confidence."""
    return np.random.default_rng(seed).integers(1, POISON, (height, width, 3), dtype=np.uint8)


def expected_labels(pixels, min_confidence=0.0):
    """What the tiny model and the node must say of a frame of the network's size."""
    labels = pixels.argmax(2).astype(np.uint8)
    labels[pixels.max(2) < max(1, round(255 * min_confidence))] = 255
    return labels


def plane(message):
    """Pixels of a mono8 message, and that it is one."""
    assert (message.encoding, message.step) == ('mono8', message.width)
    return np.frombuffer(message.data, np.uint8).reshape(message.height, message.width)


class Process:
    """A node, or anything else, in a process of its own; its log is in a file.

    :param arguments: of Python.
    """

    def __init__(self, folder, *arguments, environment=None):
        self.log_path = Path(folder) / f'log_{time.monotonic_ns()}.txt'
        with open(self.log_path, 'wb') as log:
            self.popen = subprocess.Popen(
                [sys.executable, *map(str, arguments)],
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
            )
        self.pid = self.popen.pid

    @classmethod
    def node(cls, folder, *arguments, environment=None, **parameters):
        """Start the segmentation node."""
        given = [x for k, v in parameters.items() for x in ('-p', f'{k}:={v}')]
        command = ('-m', 'linknet_ros', 'segment_node', '--ros-args', *given, *arguments)
        return cls(folder, *command, environment=environment)

    def log(self):
        return self.log_path.read_text(errors='replace')

    def status(self, key):
        """A number of /proc/PID/status, as VmRSS (kB) or Threads."""
        for line in Path(f'/proc/{self.pid}/status').read_text().splitlines():
            if line.startswith(f'{key}:'):
                return line.split()[1]
        raise KeyError(key)

    def rss_mib(self):
        return int(self.status('VmRSS')) / 1024

    def threads(self):
        return int(self.status('Threads'))

    def descriptors(self):
        return len(os.listdir(f'/proc/{self.pid}/fd'))

    def catches_signals(self):
        """Whether a handler for SIGTERM is in place: the process's own code runs."""
        return bool(int(self.status('SigCgt'), 16) >> (signal.SIGTERM - 1) & 1)

    def end(self, number=signal.SIGTERM):
        """Send a signal; returns (exit code, seconds until the end), kills after 20 s."""
        start = time.monotonic()
        if self.popen.poll() is None:
            self.popen.send_signal(number)
        try:
            return self.popen.wait(20), time.monotonic() - start
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait()
            return None, time.monotonic() - start


class Rig:
    """Camera and planner in this process; `start` gives them a node."""

    def __init__(self, folder, context):
        self.folder = Path(folder)
        self.model = write_model(self.folder / 'tiny.onnx')
        self.context = context
        self.peer = rclpy.create_node('soak', context=context)
        self.executor = SingleThreadedExecutor(context=context)
        self.executor.add_node(self.peer)
        self.camera = self.peer.create_publisher(Image, 'image', RELIABLE)
        self.received = {}
        self.status = {}
        self.reports = 0
        self.peer.create_subscription(DiagnosticArray, '/diagnostics', self._diagnostics, 10)
        self.processes = []
        self.node = None
        self.sent = 0

    def _diagnostics(self, message):
        [status] = message.status
        if status.name == 'linknet: segmentation':
            self.reports += 1
            self.status = {v.key: v.value for v in status.values} | {'message': status.message}

    def start(self, *arguments, **parameters):
        """Start a node with the tiny model; waits until it listens, or is there at all."""
        environment = parameters.pop('environment', None)
        self.sent, self.status = 0, {}
        parameters = {'model': self.model, 'backend': 'onnxruntime', **parameters}
        self.node = Process.node(self.folder, *arguments, environment=environment, **parameters)
        self.processes.append(self.node)
        if parameters.get('autostart') == 'false':
            self.until(lambda: self.client(GetState, 'get_state').service_is_ready())
        else:
            self.until(lambda: self.camera.get_subscription_count() > 0)
        return self.node

    def client(self, kind, name):
        key = (kind, name)
        clients = self.__dict__.setdefault('_clients', {})
        if key not in clients:
            clients[key] = self.peer.create_client(kind, f'/linknet/{name}')
        return clients[key]

    def call(self, kind, name, request, seconds=30):
        client = self.client(kind, name)
        self.until(client.service_is_ready)
        future = client.call_async(request)
        self.until(future.done, seconds)
        return future.result()

    def change(self, transition):
        """Ask for a transition by its number; whether it was made."""
        request = ChangeState.Request()
        request.transition.id = transition
        return self.call(ChangeState, 'change_state', request).success

    def state(self):
        return self.call(GetState, 'get_state', GetState.Request()).current_state.label

    def subscribe(self, *topics):
        for topic in topics:
            messages = self.received[topic] = []
            subscription = self.peer.create_subscription(
                Image, f'linknet/{topic}', messages.append, RELIABLE
            )
            self.__dict__.setdefault('_subscriptions', {})[topic] = subscription
            name = f'/linknet/{topic}'
            self.until(lambda n=name: self.peer.count_publishers(n) > 0)

    def unsubscribe(self, topic):
        self.peer.destroy_subscription(self._subscriptions.pop(topic))

    def until(self, condition, seconds=30):
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f'nothing came of it in time; {self._last_words()}'
            assert self.node is None or self.node.popen.poll() is None, self._last_words()
            self.executor.spin_once(timeout_sec=0.02)

    def spin(self, seconds):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.executor.spin_once(timeout_sec=0.02)

    def _last_words(self):
        return f'the node said: {self.node.log()[-1500:]}' if self.node else ''

    def send(self, message):
        self.sent += 1
        self.camera.publish(message)

    def frame(self, pixels, age=0.0):
        """A bgr8 message with a stamp of `age` seconds ago."""
        header = Header(frame_id='camera')
        now = self.peer.get_clock().now().nanoseconds - int(age * 1e9)
        header.stamp.sec, header.stamp.nanosec = divmod(now, 10**9)
        return array_to_image(pixels, 'bgr8', header)

    def answer(self, pixels, topic='labels', seconds=10):
        """Send frames until one is answered, and return that answer."""
        messages = self.received[topic]
        before = len(messages)
        deadline = time.monotonic() + seconds
        while len(messages) == before:
            assert time.monotonic() < deadline, f'no answer; {self._last_words()}'
            self.send(self.frame(pixels))
            wait = time.monotonic() + 0.5
            while len(messages) == before and time.monotonic() < wait:
                self.executor.spin_once(timeout_sec=0.02)
        return messages[-1]

    def counts(self):
        """Received, published and drops by reason as the newest diagnostics have them."""
        drops = {d.name: int(self.status.get(f'dropped, {d.value}', 0)) for d in Drop}
        return int(self.status.get('received', 0)), int(self.status.get('published', 0)), drops

    def settled_counts(self):
        """Counts after which nothing is on its way any more: two reports that agree."""
        before = None
        while True:
            reports = self.reports
            self.until(lambda n=reports: self.reports > n + 1)
            if (now := self.counts()) == before:
                return now
            before = now

    def stop(self):
        """End the node; it must end well."""
        if self.node is None:
            return 0.0
        code, seconds = self.node.end()
        log, self.node = self.node.log(), None
        assert code == 0, f'exit code {code}: {log[-1500:]}'
        assert 'Traceback' not in log, log[-3000:]
        return seconds

    def close(self):
        for process in self.processes:
            if process.popen.poll() is None:
                process.popen.kill()
                process.popen.wait()
        self.executor.shutdown()
        self.peer.destroy_node()


@contextmanager
def rig_in(folder, context):
    """A Rig for the length of a block; whatever it started is gone afterwards."""
    rig = Rig(folder, context)
    try:
        yield rig
        rig.stop()
    finally:
        rig.close()
