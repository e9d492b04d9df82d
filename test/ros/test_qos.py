"""Peers that QoS keeps apart from a node, named with the fix."""

import time

import pytest

pytest.importorskip('rclpy', reason='needs ROS 2 (pip install .[ros])')

import rclpy
from rclpy.context import Context
from rclpy.qos import DurabilityPolicy, ReliabilityPolicy
from rig import BEST_EFFORT, RELIABLE, latched
from std_msgs.msg import Empty, String

from linknet_ros.ros.qos import create_publisher, qos_faults, subscribe


@pytest.fixture
def nodes(open_rig):
    rig = open_rig('mine')
    return rig.peer, rig.new_node('driver', '/front')


def known(node, topic, publishers, subscriptions):
    deadline = time.monotonic() + 300
    while (
        len(node.get_publishers_info_by_topic(topic)) < publishers
        or len(node.get_subscriptions_info_by_topic(topic)) < subscriptions
    ):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_all_fits(nodes):
    mine, driver = nodes
    mine.create_subscription(Empty, '/a', print, BEST_EFFORT)
    driver.create_publisher(Empty, '/a', RELIABLE)
    mine.create_publisher(Empty, '/b', RELIABLE)
    driver.create_subscription(Empty, '/b', print, BEST_EFFORT)
    known(mine, '/a', 1, 1)
    known(mine, '/b', 1, 1)
    assert qos_faults(mine) == []


def test_peers_whose_qos_does_not_fit(nodes):
    mine, driver = nodes
    mine.create_subscription(Empty, '/a', print, RELIABLE)
    driver.create_publisher(Empty, '/a', BEST_EFFORT)
    mine.create_publisher(Empty, '/b', RELIABLE)
    driver.create_subscription(Empty, '/b', print, latched(1))
    driver.create_subscription(Empty, '/b', print, RELIABLE)
    known(mine, '/a', 1, 1)
    known(mine, '/b', 1, 2)
    publisher, subscriber = qos_faults(mine)
    assert publisher.startswith('/a and /front/driver: Best effort publisher and reliable subsc')
    assert publisher.endswith('; set qos_overrides./a.subscription.*, or the QoS there')
    assert subscriber.startswith('/b and /front/driver: ')
    assert 'transient local' in subscriber.lower()
    # The same pairs, from the other side.
    there = qos_faults(driver)
    assert [fault.partition(': ')[0] for fault in there] == ['/b and /mine', '/a and /mine']
    assert there[1].endswith('; set qos_overrides./a.publisher.*, or the QoS there')


def test_peer_of_another_type(nodes):
    mine, _ = nodes
    mine.create_publisher(Empty, '/b', RELIABLE)
    # One participant of DDS cannot know one topic with two types.
    elsewhere = Context()
    rclpy.init(args=[], context=elsewhere)
    driver = rclpy.create_node('driver', namespace='/front', context=elsewhere)
    try:
        driver.create_subscription(String, '/b', print, RELIABLE)
        known(mine, '/b', 1, 1)
        # The peer's name comes a moment after its topics.
        deadline = time.monotonic() + 300
        while '/front/driver' not in (fault := qos_faults(mine)[0]):
            assert time.monotonic() < deadline, fault
            time.sleep(0.02)
    finally:
        driver.destroy_node()
        rclpy.shutdown(context=elsewhere)
    assert fault == (
        '/b and /front/driver: it is std_msgs/msg/String there and std_msgs/msg/Empty here; '
        'remap one of them'
    )


def test_topics_add_nothing_that_the_executor_looks_at_every_time(nodes):
    mine, _ = nodes
    before = len(list(mine.waitables))
    publisher = create_publisher(mine, Empty, '~/labels')
    subscribe(mine, Empty, 'image', print)
    assert len(list(mine.waitables)) == before
    assert publisher.qos_profile.reliability == ReliabilityPolicy.RELIABLE
    assert publisher.qos_profile.durability == DurabilityPolicy.VOLATILE


def test_latched_topic_reaches_who_comes_later(open_rig):
    rig = open_rig('driver')
    publisher = create_publisher(rig.new_node('mine'), String, '/grid', latched=True)
    publisher.publish(String(data='first'))
    publisher.publish(String(data='second'))
    taken = []
    rig.peer.create_subscription(String, '/grid', taken.append, latched(1))
    rig.until(lambda: taken, 'the latched message')
    assert [message.data for message in taken] == ['second']
