"""A camera and a planner, and the robot's node in this process: what tests over DDS share."""

import time

import numpy as np
import rclpy
from builtin_interfaces.msg import Time
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

from linknet_ros.node.segment_node import SegmentNode
from linknet_ros.ros.images import array_to_image

OK = TransitionCallbackReturn.SUCCESS
RELIABLE = QoSProfile(depth=50, reliability=ReliabilityPolicy.RELIABLE)
BEST_EFFORT = QoSProfile(depth=50, reliability=ReliabilityPolicy.BEST_EFFORT)

#: Seconds until a test gives up, on a machine that has other things to do.
PATIENCE = 300


def latched(depth):
    return QoSProfile(
        depth=depth,
        reliability=ReliabilityPolicy.RELIABLE,
        durability=DurabilityPolicy.TRANSIENT_LOCAL,
    )


class Rig:
    """A node `peer` for a test's publishers and subscriptions, and an executor for all its nodes.

    :ivar received: messages by topic, of those subscribed to.
    """

    def __init__(self, context, node_name='peer', **options):
        self.context, self.received, self._subscriptions = context, {}, {}
        self.executor = SingleThreadedExecutor(context=context)
        self._nodes = []
        self.peer = self.add(rclpy.create_node(node_name, context=context, **options))

    def add(self, node):
        """Spin a node too; it ends with the rig."""
        self._nodes.append(node)
        self.executor.add_node(node)
        return node

    def new_node(self, name, namespace='', **options):
        return self.add(Node(name, context=self.context, namespace=namespace, **options))

    def until(self, condition, what='it', meanwhile=None):
        """Spin until something is so; `meanwhile` is called each time before."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, f'waited in vain for {what}; {self.last_words()}'
            if meanwhile is not None:
                meanwhile()
            self.executor.spin_once(timeout_sec=0.02)

    def spin(self, seconds):
        """Spin for a while, where nothing must come of it."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.executor.spin_once(timeout_sec=0.02)

    def last_words(self):
        """What helps to find out why a condition never held."""
        return f'received: { {t: len(m) for t, m in self.received.items()} }'

    def publisher(self, kind, topic, qos=RELIABLE):
        return self.peer.create_publisher(kind, topic, qos)

    def subscribe(self, *topics, kind=Image, qos=RELIABLE, prefix='linknet/'):
        """Subscribe, and wait until both sides know; `received` has the messages."""
        for topic in topics:
            messages = self.received[topic] = []
            name = topic if topic.startswith('/') else prefix + topic
            made = self.peer.create_subscription(kind, name, messages.append, qos)
            self._subscriptions[topic] = made
        self.matched(*(self._subscriptions[topic].topic_name for topic in topics))

    def unsubscribe(self, topic):
        """Unsubscribe, and wait until the publishers here know."""
        subscription = self._subscriptions.pop(topic)
        name = subscription.topic_name
        left = [p.get_subscription_count() - 1 for p in self.publishers(name)]
        self.peer.destroy_subscription(subscription)
        self.until(lambda: [p.get_subscription_count() for p in self.publishers(name)] == left)

    def publishers(self, topic):
        """Publishers of a topic among the nodes of this rig."""
        return [p for node in self._nodes for p in node.publishers if p.topic_name == topic]

    def subscriptions(self, topic):
        """Subscriptions to a topic among the nodes of this rig."""
        return [s for node in self._nodes for s in node.subscriptions if s.topic_name == topic]

    def matched(self, *topics):
        """Wait until publishers and subscriptions of each topic know of each other."""

        def all_know():
            for topic in map(self.peer.resolve_topic_name, topics):
                here, there = self.publishers(topic), self.subscriptions(topic)
                if not (here or self.peer.count_publishers(topic)):
                    return False
                if any(p.get_subscription_count() < max(len(there), 1) for p in here):
                    return False
                if any(s.get_publisher_count() < max(len(here), 1) for s in there):
                    return False
            return True

        self.until(all_know, f'publishers and subscriptions of {topics}')

    def taken(self, node, topic):
        """Messages that a subscription of a node has taken from now on."""
        [subscription] = [s for s in node.subscriptions if s.topic_name == topic]
        callback, messages = subscription.callback, []

        def take(message):
            callback(message)
            messages.append(message)

        subscription.callback = take
        return messages

    def call(self, kind, service, **fields):
        """Answer of a service."""
        client = self.peer.create_client(kind, service)
        self.until(client.service_is_ready, service)
        future = client.call_async(kind.Request(**fields))
        self.until(future.done, f'an answer of {service}')
        self.peer.destroy_client(client)
        return future.result()

    def close(self):
        self.executor.shutdown()
        for node in reversed(self._nodes):
            node.destroy_node()
            # It keeps a lifecycle node in the graph until it is collected as garbage. Then the
            # graph forgets the first node of that name: the next test's, perhaps.
            vars(node).pop('_state_machine', None)


class Robot(Rig):
    """A Rig with the real node in this process, and a camera for it.

    :param arguments: of ROS, as '-r', 'image:=/front/image_raw'.
    :param parameters: of the node.
    """

    def __init__(self, context, *arguments, **parameters):
        super().__init__(context)
        overrides = [Parameter(name, value=value) for name, value in parameters.items()]
        node = SegmentNode(
            context=context,
            cli_args=['--ros-args', *map(str, arguments)],
            parameter_overrides=overrides,
        )
        self.node = self.add(node)
        kind, topics = Image, [node.resolve_topic_name('image')]
        if parameters.get('image_transport') == 'compressed':
            kind, topics = CompressedImage, [topics[0].removesuffix('/compressed') + '/compressed']
        if 'cameras' in parameters:
            topics = [f'/{name}/image_raw' for name in parameters['cameras']]
        self.cameras = [self.publisher(kind, topic) for topic in topics]
        infos = [f'/{name}/camera_info' for name in parameters.get('cameras', ())]
        self.infos = [self.publisher(CameraInfo, topic) for topic in infos or ['camera_info']]
        self.camera, self.info = self.cameras[0], self.infos[0]
        self.header = self.stamped()

    def start(self, camera_info=None):
        """Configure and activate; with a CameraInfo, wait until the node has it."""
        assert self.node.trigger_configure() == OK
        assert self.node.trigger_activate() == OK
        self.matched(*(publisher.topic_name for publisher in (*self.cameras, *self.infos)))
        if camera_info is not None:
            self.tell_camera_info(camera_info)
        return self

    def tell_camera_info(self, camera_info, frame_id='camera_optical_frame', camera=0):
        """Publish a CameraInfo and wait until the node has it."""
        camera_info.header.frame_id = frame_id
        taken = self.taken(self.node, self.infos[camera].topic_name)
        self.infos[camera].publish(camera_info)
        self.until(lambda: taken, 'the node to take the camera_info')

    def stamped(self, age=0.0):
        """A header of the camera, stamped some seconds ago."""
        now = self.peer.get_clock().now().nanoseconds - round(age * 1e9)
        stamp = Time(sec=now // 10**9, nanosec=now % 10**9)
        return Header(frame_id='camera_optical_frame', stamp=stamp)

    def send(self, frame, header=None, camera=0):
        """Publish a frame of (H, W, 3) uint8 BGR."""
        self.cameras[camera].publish(array_to_image(frame, 'bgr8', header or self.header))

    def show(self, labels, confidence=None):
        """Send the frame from which a told model makes these labels; wait until it is done."""
        before = self.counts().published
        self.send(told_frame(labels, confidence))
        self.until(lambda: self.counts().published == before + 1, 'the labels')

    def counts(self, camera=0):
        """What has become of the frames of a camera."""
        return self.node.cameras.all[camera].statistics.snapshot()

    def new_diagnostics(self):
        """Statuses of diagnostics that are made from now on, which must be subscribed to.

        One that was made before may still be on its way.
        """
        now, messages = nanoseconds(self.stamped().stamp), self.received['/diagnostics']
        self.until(
            lambda: messages and nanoseconds(messages[-1].header.stamp) >= now, 'diagnostics'
        )
        return messages[-1].status

    def settle(self, frames, camera=0):
        """Wait until a number of frames has come and gone; the counts."""

        def done():
            now = self.counts(camera)
            return now.received == frames == now.published + sum(now.dropped.values())

        self.until(done, f'{frames} frames')
        return self.counts(camera)

    def set(self, **parameters):
        """Change parameters, which must succeed; a dot is written as two underscores."""
        changes = [Parameter(n.replace('__', '.'), value=v) for n, v in parameters.items()]
        result = self.node.set_parameters_atomically(changes)
        assert result.successful, result.reason

    def last_words(self):
        return (
            f'{super().last_words()}; statistics: {self.node.cameras.all[0].statistics.snapshot()}'
        )


def told_frame(labels, confidence=None):
    """The frame whose labels and confidence a model of write_label_model gives back."""
    frame = np.zeros((*labels.shape, 3), np.uint8)
    frame[..., 0] = labels
    frame[..., 1] = 255 if confidence is None else confidence
    return frame


def random_labels(classes=11, size=(96, 64)):
    width, height = size
    return np.random.default_rng(0).integers(0, classes, (height, width), dtype=np.uint8)


def plane(message):
    """Pixels of a mono8 image, (H, W) uint8."""
    assert (message.encoding, message.step) == ('mono8', message.width)
    return np.frombuffer(message.data, np.uint8).reshape(message.height, message.width)


def nanoseconds(stamp):
    return stamp.sec * 10**9 + stamp.nanosec
