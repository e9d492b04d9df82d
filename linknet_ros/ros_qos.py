"""Peers that a node's topics never reach, because their QoS does not fit."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSCompatibility, qos_check_compatible


def qos_faults(node: Node) -> list[str]:
    """For each peer that shares a topic with the node but cannot exchange messages, one line.

    Asks the graph, so it works with every middleware.
    """
    faults = []
    for topic in sorted({s.topic_name for s in node.subscriptions}):
        mine = _of(node, node.get_subscriptions_info_by_topic(topic))
        others = node.get_publishers_info_by_topic(topic)
        faults += _misfits(topic, 'subscription', mine, others, _subscribes)
    for topic in sorted({p.topic_name for p in node.publishers}):
        mine = _of(node, node.get_publishers_info_by_topic(topic))
        others = node.get_subscriptions_info_by_topic(topic)
        faults += _misfits(topic, 'publisher', mine, others, _publishes)
    return faults


def _subscribes(mine: Any, other: Any) -> tuple[QoSCompatibility, str]:
    return qos_check_compatible(other, mine)


def _publishes(mine: Any, other: Any) -> tuple[QoSCompatibility, str]:
    return qos_check_compatible(mine, other)


def _of(node: Node, endpoints: Iterable[Any]) -> list[Any]:
    name = (node.get_name(), node.get_namespace())
    return [e for e in endpoints if (e.node_name, e.node_namespace) == name]


def _misfits(
    topic: str,
    side: str,
    mine: Iterable[Any],
    others: Iterable[Any],
    check: Callable[[Any, Any], tuple[QoSCompatibility, str]],
) -> list[str]:
    faults = []
    for other in others:
        for endpoint in mine:
            compatible, reason = check(endpoint.qos_profile, other.qos_profile)
            if compatible == QoSCompatibility.ERROR:
                peer = f'{other.node_namespace.rstrip("/")}/{other.node_name}'
                faults.append(
                    f'{topic} and {peer}: {reason.removeprefix("ERROR: ").rstrip("; ")}; set '
                    f'qos_overrides.{topic}.{side}.*, or the QoS there'
                )
    return list(dict.fromkeys(faults))
