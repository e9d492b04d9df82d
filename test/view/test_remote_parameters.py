"""Parameters of another node, over its services."""

import pytest

pytest.importorskip('rclpy', reason='needs ROS 2 (pip install .[ros])')

from rcl_interfaces.msg import SetParametersResult
from rig import Rig

from linknet_ros.view import remote_parameters
from linknet_ros.view.remote_parameters import RemoteParameters


class Nodes(Rig):
    """Two nodes; `remote` has the parameters of the other one."""

    def __init__(self, context):
        super().__init__(context, 'asking')
        self.asking, self.other = self.peer, self.new_node('other', '/front')
        values = {'opacity': 0.5, 'model': 'a.onnx', 'classes': ['road', 'car'], 'numbers': [1, 2]}
        for name, value in values.items():
            self.other.declare_parameter(name, value)
        self.remote = RemoteParameters(self.asking, '/front/other')
        self.answers = []

    def get(self, *names):
        self.remote.get(names, self.answers.append)

    def answer(self, request):
        """Repeat a request, which does nothing until the services are found, until an answer."""
        self.answers.clear()
        self.until(lambda: self.answers, 'an answer', meanwhile=request)
        return self.answers[0]

    def close(self):
        self.remote.close()
        super().close()


@pytest.fixture
def nodes(context):
    made = Nodes(context)
    yield made
    made.close()


@pytest.mark.parametrize(
    ('names', 'values'),
    [
        (
            ('opacity', 'model', 'classes'),
            {'opacity': 0.5, 'model': 'a.onnx', 'classes': ('road', 'car')},
        ),
        # Integer arrays are of no use to the view.
        (('opacity', 'numbers'), {'opacity': 0.5}),
        # The node answers with nothing if it does not know one of them.
        (('nothing', 'opacity'), {}),
    ],
)
def test_get(nodes, names, values):
    assert nodes.answer(lambda: nodes.get(*names)) == values


def test_one_request_at_a_time(nodes):
    nodes.answer(lambda: nodes.get('opacity'))
    nodes.answers.clear()
    for _ in range(5):
        nodes.get('opacity')
    nodes.until(lambda: nodes.answers, 'an answer')
    nodes.spin(0.4)
    assert len(nodes.answers) == 1


def test_set_and_refusal(nodes):
    assert nodes.answer(lambda: nodes.get('opacity'))
    nodes.answers.clear()
    assert nodes.answer(lambda: set_opacity(nodes, 0.25)) == ''
    assert nodes.other.get_parameter('opacity').value == 0.25
    nodes.other.add_on_set_parameters_callback(
        lambda _: SetParametersResult(successful=False, reason='too large')
    )
    nodes.until(lambda: not nodes.remote._open, 'the answers to the other requests')
    assert nodes.answer(lambda: set_opacity(nodes, 9.0)) == 'too large'
    assert nodes.other.get_parameter('opacity').value == 0.25


def set_opacity(nodes, value):
    def done(reason):
        # Not yet discovered.
        if 'not running' not in reason:
            nodes.answers.append(reason)

    nodes.remote.set('opacity', value, done)


def test_node_that_is_not_running(nodes):
    remote = RemoteParameters(nodes.asking, '/nobody')
    remote.get(['opacity'], nodes.answers.append)
    remote.set('opacity', 0.1, nodes.answers.append)
    assert nodes.answers == ['/nobody is not running']
    remote.close()


def test_node_that_never_answers_is_asked_again(nodes, monkeypatch):
    nodes.answer(lambda: nodes.get('opacity'))
    nodes.answers.clear()
    monkeypatch.setattr(remote_parameters, '_TIMEOUT', 0.05)
    nodes.executor.remove_node(nodes.other)
    # The executor still has the node in the round that it is in.
    nodes.spin(0.1)
    nodes.get('opacity')
    nodes.spin(0.1)
    assert nodes.answers == []
    nodes.remote.forget_unanswered()
    nodes.executor.add_node(nodes.other)
    nodes.get('opacity')
    nodes.until(lambda: nodes.answers, 'an answer')
    nodes.spin(0.4)
    # The late answer to the first request is ignored.
    assert nodes.answers == [{'opacity': 0.5}]
