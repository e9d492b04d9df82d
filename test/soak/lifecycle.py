"""Transitions through real services, while frames flow."""

import random

from lifecycle_msgs.msg import Transition
from rig import plane
from sensor_msgs.msg import Image

from soak.rig import NAMES, expected_labels, random_pixels, write_model

#: What each state answers to each transition with; all others are refused.
NEXT = {
    ('unconfigured', Transition.TRANSITION_CONFIGURE): 'inactive',
    ('unconfigured', Transition.TRANSITION_UNCONFIGURED_SHUTDOWN): 'finalized',
    ('inactive', Transition.TRANSITION_ACTIVATE): 'active',
    ('inactive', Transition.TRANSITION_CLEANUP): 'unconfigured',
    ('inactive', Transition.TRANSITION_INACTIVE_SHUTDOWN): 'finalized',
    ('active', Transition.TRANSITION_DEACTIVATE): 'inactive',
    ('active', Transition.TRANSITION_ACTIVE_SHUTDOWN): 'finalized',
}
SHUTDOWNS = (5, 6, 7)
#: 99 is no transition at all.
ASKED = (1, 2, 3, 4, *SHUTDOWNS, 99)

#: Of a node of three threads and tiny buffers, after its first hundred transitions. One leaked
#: pipeline, back end or publisher of each round would be many times this.
GROWTH_MIB = 8.0


#: Topics of a node that is not configured.
ALWAYS = ('/diagnostics', '/linknet/transition_event', '/parameter_events', '/rosout')


def _made(rig):
    """Topics that the node has besides those, as others see them, who learn of it a bit later."""
    ours = rig.peer.get_publisher_names_and_types_by_node('linknet', '/')
    theirs = rig.peer.get_subscriber_names_and_types_by_node('linknet', '/')
    return [topic for topic, _ in (*ours, *theirs) if topic not in ALWAYS]


def walk(rig, steps=100, seed=0):
    """A random walk over all transitions, possible and impossible, with frames flowing.

    Shutdown ends the life of a node, so it is asked for where it is impossible, and at the end.
    """
    rng = random.Random(seed)
    rig.start(autostart='false')
    subscription = rig.peer.create_subscription(Image, 'linknet/labels', lambda _: None, 1)
    pixels = random_pixels(seed)
    camera = rig.peer.create_timer(0.005, lambda: rig.send(rig.frame(pixels)))
    state, made, refused, bare = 'unconfigured', 0, 0, None
    while made < steps or state != 'unconfigured':
        possible = [t for s, t in NEXT if s == state and t not in SHUTDOWNS]
        asked = rng.choice(possible if rng.random() < 0.6 else ASKED)
        if asked in SHUTDOWNS and (state, asked) in NEXT:
            continue
        expected = NEXT.get((state, asked))
        assert rig.change(asked) == (expected is not None), f'{asked} in {state}'
        made, refused = made + (expected is not None), refused + (expected is None)
        state = expected or state
        assert rig.state() == state
        rig.spin(0.03 if state == 'active' else 0)
        if state == 'unconfigured' and made >= 20 and bare is None:
            bare = rig.node.held(), rig.node.rss_mib()
    rig.peer.destroy_timer(camera)
    held, rss = bare
    rig.until(lambda: not _made(rig), 'the topics to be gone')
    assert rig.node.held() == held, 'a thread or a file descriptor is left'
    growth = rig.node.rss_mib() - rss
    assert growth < GROWTH_MIB, f'{growth:.1f} MiB more'
    received, *_ = rig.settled_counts()
    assert min(refused, received) > 0
    assert rig.change(Transition.TRANSITION_UNCONFIGURED_SHUTDOWN)
    assert rig.state() == 'finalized'
    rig.peer.destroy_subscription(subscription)
    return {'made': made, 'refused': refused, 'frames': received, 'growth_mib': round(growth, 2)}


def shutdown_from_each_state(rig):
    """Shutdown from unconfigured, inactive and active; the process then ends as ever."""
    for way in ((5,), (1, 6), (1, 3, 7)):
        rig.start(autostart='false')
        for transition in way:
            assert rig.change(transition)
        assert rig.state() == 'finalized'
        assert not rig.change(Transition.TRANSITION_CONFIGURE)
        rig.until(lambda: not _made(rig), 'the topics to be gone')
        rig.stop()
    return {'states': 3}


def failing_configure(rig):
    """Each error of configure leaves the node unconfigured, says why, and can be put right."""
    broken = rig.folder / 'broken.onnx'
    broken.write_bytes(b'no model')
    cases = (
        ({'model': str(rig.folder / 'none.onnx')}, 'no model file'),
        ({'model': str(broken)}, 'is not a readable ONNX file'),
        ({'model': str(rig.model), 'mask_classes': ['unicorn']}, "unknown class 'unicorn'"),
        ({'mask_classes': [''], 'precision': 'fp16'}, 'fp16'),
    )
    rig.start(autostart='false')
    for values, reason in cases:
        rig.set_parameters(**values)
        assert not rig.change(Transition.TRANSITION_CONFIGURE)
        assert rig.state() == 'unconfigured'
        assert reason in rig.node.log(), f'{reason}: {rig.node.log()}'
    rig.set_parameters(precision='fp32')
    assert rig.change(Transition.TRANSITION_CONFIGURE)
    assert rig.change(Transition.TRANSITION_ACTIVATE)
    return {'cases': len(cases)}


def other_model(rig, rounds=3):
    """Reconfigure with a model of other classes: its labels, masks and names from then on."""
    models = {
        NAMES: rig.model,
        ('sky', 'road', 'tree'): write_model(rig.folder / 'other.onnx', ('sky', 'road', 'tree')),
    }
    pixels = random_pixels(7)
    rig.start(autostart='false')
    for number in range(2 * rounds):
        names = tuple(models)[number % 2]
        values = {'model': str(models[names]), 'mask_classes': [names[2]]}
        rig.set_parameters(drivable_classes=['road'], **values)
        assert rig.change(Transition.TRANSITION_CONFIGURE)
        assert rig.change(Transition.TRANSITION_ACTIVATE)
        mask = f'masks/{names[2]}'
        rig.subscribe('drivable', mask)
        labels = expected_labels(pixels)
        expected = (labels == names.index('road')) * 255
        assert (plane(rig.answer(pixels, 'drivable')) == expected).all()
        assert (plane(rig.answer(pixels, mask)) == (labels == 2) * 255).all()
        rig.until(lambda n=models[names].name: rig.status.get('model') == n)
        for topic in ('drivable', mask):
            rig.unsubscribe(topic)
        assert rig.change(Transition.TRANSITION_DEACTIVATE)
        assert rig.change(Transition.TRANSITION_CLEANUP)
    return {'reconfigured': 2 * rounds}
