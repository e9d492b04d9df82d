"""What the readers of damaged bags share."""

import pytest

from linknet_ros.recordings.salvage import connection_of, plain, zstd_module

QOS = """
- {history: 3, depth: 0, reliability: 1, durability: 1, deadline: {sec: 1, nsec: 2},
   lifespan: {sec: 1, nsec: 2}, liveliness: 1, liveliness_lease_duration: {sec: 1, nsec: 2},
   avoid_ros_namespace_conventions: false}
"""


@pytest.fixture(autouse=True)
def rosbags():
    pytest.importorskip('rosbags', reason='needs rosbags (pip install .[bags])')


def test_plain():
    message = b'\0\1\0\0' + bytes(50)
    assert plain(message) == message
    assert plain(zstd_module().compress(message)) == message
    damaged = zstd_module().compress(message)[:-3]
    assert plain(damaged) == damaged


def test_connection():
    found = connection_of(3, '/a', 'b/msg/C', 'ros2msg', 'int8 x', 'RIHS01_1', QOS)
    assert (found.id, found.topic, found.msgtype, found.digest) == (3, '/a', 'b/msg/C', 'RIHS01_1')
    assert found.msgdef.data == 'int8 x'
    assert found.ext.offered_qos_profiles[0].durability.name == 'TRANSIENT_LOCAL'


@pytest.mark.parametrize('qos', ['', '[', '- 5', 'text'])
def test_qos_that_cannot_be_read(qos):
    assert connection_of(3, '/a', 'b/msg/C', '', '', '', qos).ext.offered_qos_profiles == []
