"""QoS of a node's topics, and peers that they never reach because theirs does not fit."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import (
    DurabilityPolicy,
    QoSCompatibility,
    QoSProfile,
    ReliabilityPolicy,
    qos_check_compatible,
    qos_profile_sensor_data,
)
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.subscription import Subscription

try:
    from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import PublisherEventCallbacks, SubscriptionEventCallbacks


# rclpy gives every topic two handlers that log a misfit, and goes through all of them at every
# message: with a dozen topics that was 0.9 of 1.9 ms of processor time a frame. qos_faults says
# the same, with the peer's name and the way out.


def create_publisher(node: Node, kind: type, topic: str, *, latched: bool = False) -> Publisher:
    """A publisher of a node's results; its QoS can be overridden by parameters.

    Reliable reaches both kinds of subscriber; depth 1 because only the newest counts.

    :param latched: whoever subscribes later gets the last message too (transient local).
    """
    durability = DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE
    return node.create_publisher(
        kind,
        topic,
        QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=durability),
        qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        event_callbacks=PublisherEventCallbacks(use_default_callbacks=False),
    )


def subscribe(
    node: Node,
    kind: type,
    topic: str,
    callback: Callable[[Any], None],
    *,
    latched: bool = False,
) -> Subscription:
    """A subscription to a sensor, best effort; its QoS can be overridden by parameters.

    :param latched: get what was published before, too, from publishers that keep it (transient
        local); only those match. Its QoS cannot be overridden.
    """
    if latched:
        qos = QoSProfile(
            depth=1,
            reliability=ReliabilityPolicy.RELIABLE,
            durability=DurabilityPolicy.TRANSIENT_LOCAL,
        )
    else:
        qos = qos_profile_sensor_data
    overridable = None if latched else QoSOverridingOptions.with_default_policies()
    return node.create_subscription(
        kind,
        topic,
        callback,
        qos,
        qos_overriding_options=overridable,
        event_callbacks=SubscriptionEventCallbacks(use_default_callbacks=False),
    )


def qos_faults(node: Node) -> list[str]:
    """For each peer that shares a topic with the node but cannot exchange messages, one line.

    Asks the graph, so it works with every middleware.
    """
    faults = []
    for topic in sorted({s.topic_name for s in node.subscriptions}):
        mine = _of(node, node.get_subscriptions_info_by_topic(topic))
        others = node.get_publishers_info_by_topic(topic)
        faults += _misfits(topic, 'subscription', mine, others)
    for topic in sorted({p.topic_name for p in node.publishers}):
        mine = _of(node, node.get_publishers_info_by_topic(topic))
        others = node.get_subscriptions_info_by_topic(topic)
        faults += _misfits(topic, 'publisher', mine, others)
    return faults


def _of(node: Node, endpoints: Iterable[Any]) -> list[Any]:
    name = (node.get_name(), node.get_namespace())
    return [e for e in endpoints if (e.node_name, e.node_namespace) == name]


def _misfits(topic: str, side: str, mine: Iterable[Any], others: Iterable[Any]) -> list[str]:
    faults = []
    for other in others:
        peer = f'{topic} and {other.node_namespace.rstrip("/")}/{other.node_name}'
        for endpoint in mine:
            publisher, subscription = endpoint.qos_profile, other.qos_profile
            if side == 'subscription':
                publisher, subscription = subscription, publisher
            compatible, reason = qos_check_compatible(publisher, subscription)
            if other.topic_type != endpoint.topic_type:
                faults.append(
                    f'{peer}: it is {other.topic_type} there and {endpoint.topic_type} here; '
                    'remap one of them'
                )
            elif compatible == QoSCompatibility.ERROR:
                faults.append(
                    f'{peer}: {reason.removeprefix("ERROR: ").rstrip("; ")}; set '
                    f'qos_overrides.{topic}.{side}.*, or the QoS there'
                )
    return list(dict.fromkeys(faults))
