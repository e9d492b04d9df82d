"""A node without ROS graph: publishers with as many subscribers as a test says."""

from types import SimpleNamespace

from rclpy.exceptions import InvalidHandle


class FakePublisher:
    """Keeps what is sent; after it is destroyed it raises what rclpy raises."""

    def __init__(self, node, kind, topic, qos):
        self.node, self.kind, self.topic_name, self.qos = node, kind, topic, qos
        self.name = topic.removeprefix('~/')
        self.subscribers, self.destroyed = 0, False
        self.sent = []

    def get_subscription_count(self):
        if self.destroyed:
            raise InvalidHandle('destroyed')
        return self.subscribers

    def publish(self, message):
        if self.destroyed:
            raise InvalidHandle('destroyed')
        self.sent.append(message)
        self.node.sent.append(self.name)


class FakeNode:
    """What Topics and GroundTopics ask of a node."""

    def __init__(self):
        self.publishers = []
        #: Names of topics in the order of what was sent, warnings, and infos.
        self.sent, self.said, self.told = [], [], []

    def create_publisher(self, kind, topic, qos, **_):
        self.publishers.append(FakePublisher(self, kind, topic, qos))
        return self.publishers[-1]

    def destroy_publisher(self, publisher):
        publisher.destroyed = True
        self.publishers.remove(publisher)

    def get_logger(self):
        return SimpleNamespace(
            warning=lambda text, **_: self.said.append(text), info=self.told.append
        )

    def resolve_topic_name(self, name):
        return f'/camera/{name}'

    def names(self):
        return {publisher.name for publisher in self.publishers}

    def publisher(self, name):
        (found,) = (p for p in self.publishers if p.name == name)
        return found

    def subscribe(self, *names):
        """Be subscribed to these topics alone."""
        assert set(names) <= self.names()
        for publisher in self.publishers:
            publisher.subscribers = int(publisher.name in names)

    def newest(self, name):
        return self.publisher(name).sent[-1]
