"""The SROS 2 policy that ships: what a running node needs is allowed, and nothing else is."""

from fnmatch import fnmatchcase
from xml.etree import ElementTree

import pytest
from checkout import ROOT

pytest.importorskip('rclpy', reason='needs ROS 2 (pip install .[ros])')
pytest.importorskip('onnxruntime', reason='ONNX Runtime (extra "cpu") not installed')

from rig import Robot

POLICY = ROOT / 'config' / 'sros2_policy.xml'

#: What the policy allows though the node of this test has it not, and why.
NOT_IN_THIS_NODE = {
    ('subscribe', '/clock'): 'only with use_sim_time',
    ('subscribe', '/tf'): 'only with ground.use_tf',
    ('subscribe', '/tf_static'): 'only with ground.use_tf',
    # Jazzy and newer have it.
    ('reply', '/linknet/get_type_description'): 'not in Humble',
    ('subscribe', '/image/compressed'): 'only with image_transport compressed',
    ('publish', '/linknet/label_info'): 'only with vision_msgs',
}

#: Names of what may be done, by kind of list (schema policy.xsd of sros2).
QUALIFIERS = {
    'topics': {'publish', 'subscribe'},
    'services': {'reply', 'request'},
    'actions': {'call', 'execute'},
}


def resolved(name, namespace, node):
    """The full name that sros2's template permissions.xsl makes of an expression."""
    below = namespace if namespace.endswith('/') else f'{namespace}/'
    if name.startswith('/'):
        return name
    return f'{below}{node}{name[1:]}' if name.startswith('~') else f'{below}{name}'


def rules_of(root):
    """(what, full name) of all that a policy allows."""
    found = []
    for profile in root.iter('profile'):
        for group in profile:
            for what in group.attrib:
                for entry in group:
                    name = resolved(entry.text, profile.get('ns'), profile.get('node'))
                    found.append((what, name))
    return found


def refused(rules, used):
    """What a node uses and no rule allows."""
    return sorted(
        (what, name)
        for what, name in used
        if not any(what == may and fnmatchcase(name, pattern) for may, pattern in rules)
    )


def unused(rules, used):
    """What is allowed to a node that does not use it."""
    return sorted(
        (may, pattern)
        for may, pattern in rules
        if not any(what == may and fnmatchcase(name, pattern) for what, name in used)
    )


def used_by(node):
    """(what, full name) of all topics and services of a node, out of the ROS graph."""
    name, namespace = node.get_name(), node.get_namespace()
    lists = {
        'publish': node.get_publisher_names_and_types_by_node,
        'subscribe': node.get_subscriber_names_and_types_by_node,
        'reply': node.get_service_names_and_types_by_node,
        'request': node.get_client_names_and_types_by_node,
    }
    return {(what, topic) for what, list_ in lists.items() for topic, _ in list_(name, namespace)}


@pytest.fixture(scope='module')
def rules():
    return rules_of(ElementTree.parse(POLICY).getroot())


@pytest.fixture(scope='module', params=['raw', 'compressed'])
def used(context, request):
    """What an active node with masks uses."""
    robot = Robot(
        context,
        backend='onnxruntime',
        mask_classes=['car', 'sky'],
        image_transport=request.param,
    ).start()
    node = robot.node

    def known():
        """Whether the graph has learnt of all that there is: it does some moments later."""
        made = {('publish', publisher.topic_name) for publisher in node.publishers}
        made |= {('subscribe', subscription.topic_name) for subscription in node.subscriptions}
        made |= {('reply', node.resolve_service_name(s.srv_name)) for s in node.services}
        return {('publish', '/linknet/masks/sky'), *made} <= used_by(node)

    robot.until(known, 'the graph')
    yield used_by(node)
    robot.close()


def test_all_that_the_node_needs_is_allowed(rules, used):
    assert refused(rules, used) == []


def test_nothing_else_is_allowed(rules, used):
    # One of these two has the node, by its image_transport.
    inputs = {('subscribe', '/image'), ('subscribe', '/image/compressed')}
    assert set(unused(rules, used)) - inputs - NOT_IN_THIS_NODE.keys() == set()
    assert inputs & used


def test_structure_is_that_of_the_schema():
    # Of sros2's policy.xsd, version 0.2.0: order, names and attributes.
    root = ElementTree.parse(POLICY).getroot()
    assert (root.tag, root.attrib) == ('policy', {'version': '0.2.0'})
    (enclaves,) = root
    (enclave,) = enclaves
    (profiles,) = enclave
    (profile,) = profiles
    tags = [element.tag for element in (enclaves, enclave, profiles, profile)]
    assert tags == ['enclaves', 'enclave', 'profiles', 'profile']
    assert enclave.attrib == {'path': '/linknet'}
    assert profile.attrib == {'ns': '/', 'node': 'linknet'}
    for group in profile:
        assert len(group)
        assert set(group.attrib) <= QUALIFIERS[group.tag]
        assert set(group.attrib.values()) == {'ALLOW'}
        for entry in group:
            assert entry.tag == group.tag.removesuffix('s')
            assert not entry.attrib
            assert entry.text == entry.text.strip()


def test_rules_are_few_and_exact(rules):
    assert len(set(rules)) == len(rules)
    assert NOT_IN_THIS_NODE.keys() <= set(rules)
    assert [name for _, name in rules if set(name) & set('*?[')] == ['/linknet/masks/*']


def test_difference_is_found():
    rules = [('publish', '/n/a'), ('publish', '/n/masks/*'), ('subscribe', '/b')]
    used = {('publish', '/n/a'), ('publish', '/n/masks/car'), ('publish', '/b')}
    assert refused(rules, used) == [('publish', '/b')]
    assert unused(rules, used) == [('subscribe', '/b')]
    assert refused([], used) == sorted(used)
