"""Frames in number: memory, overload, damaged messages, and parameters that change meanwhile."""

import os
import random
import signal
import time
from array import array as byte_array
from collections import Counter

import numpy as np
from rcl_interfaces.srv import GetParameters, SetParametersAtomically
from rclpy.parameter import Parameter
from rig import nanoseconds
from sensor_msgs.msg import Image
from std_srvs.srv import SetBool
from tiny_models import POISON

from linknet_ros.frames.raw import LAYOUTS
from linknet_ros.node.statistics import Drop
from soak.rig import HEIGHT, NAMES, WIDTH, expected_labels, random_pixels

#: Bytes that a frame may leave behind, on average: less than the smallest array object of NumPy
#: (about 112), let alone a frame (18 kB) or its labels (6 kB). Below the floor: the allocator.
BYTES_PER_FRAME, FLOOR_MIB = 96, 8.0


def memory(rig, frames=100_000):
    """Resident memory of the node after warm-up and after many frames of two sizes."""
    rig.start('labels')
    small = rig.frame(random_pixels(0, WIDTH // 2, HEIGHT // 2))
    full = rig.frame(random_pixels(1))
    answers = rig.received['labels']
    warm_up = max(200, frames // 10)
    answered, sent, rss = 0, 0, []
    started = time.monotonic()
    while answered < frames + warm_up:
        # Two on their way: the node is always busy, and hardly ever replaces one.
        while sent - answered - len(answers) < 2:
            rig.send(small if sent % 10 == 0 else full)
            sent += 1
        before, deadline = len(answers), time.monotonic() + 0.2
        while len(answers) == before:
            rig.executor.spin_once(timeout_sec=0.05)
            if time.monotonic() > deadline:
                sent = answered + len(answers)  # lost on the way, or replaced: send others
                assert rig.node.popen.poll() is None, rig.last_words()
                break
        if len(answers) >= 100:
            answered += len(answers)
            answers.clear()
            if answered >= warm_up:
                rss.append(rig.node.rss_mib())
    seconds = time.monotonic() - started
    growth = rss[-1] - rss[0]
    bound = max(FLOOR_MIB, frames * BYTES_PER_FRAME / 2**20)
    assert growth < bound, f'{growth:.1f} MiB more after {frames} frames'
    return {
        'frames': frames,
        'rss_mib': [round(rss[0], 1), round(max(rss), 1), round(rss[-1], 1)],
        'growth_mib': round(growth, 2),
        'bound_mib': round(bound, 1),
        'frames_per_second': round((frames + warm_up) / seconds),
    }


def every_drop(rig, rounds=40, seed=0):
    """Every reason in one run, as a planner sees them in /diagnostics: nothing is missing."""
    rng = random.Random(seed)
    # A network large enough that frames wait for it.
    rig.start('labels', max_age=60.0, network_width=1024, network_height=576)
    good = random_pixels(seed)
    large = random_pixels(seed, 1920, 1080)
    poison = np.full_like(good, POISON)
    reasons = [reason.name for reason in Drop]
    for number in range(rounds + 40):
        kind = rng.choice(reasons)
        if number >= rounds:
            # On a busy machine a frame may be replaced before its own fault is found: once more.
            rig.settled_counts()
            missing = [reason for reason, drops in rig.counts()[2].items() if not drops]
            if not missing:
                break
            kind = missing[0]
        if kind == 'TOO_OLD':
            rig.send(rig.frame(good, age=3600))
        elif kind == 'BAD_FRAME':
            message = rig.frame(good)
            message.height += 1
            rig.send(message)
        elif kind == 'FAILED':
            rig.send(rig.frame(poison))
        elif kind == 'NO_SUBSCRIBER':
            rig.unsubscribe('labels')
            rig.spin(0.1)
            rig.send(rig.frame(good))
            rig.spin(0.1)
            rig.subscribe('labels')
            rig.spin(0.1)
        elif kind == 'BEYOND_RATE':
            rig.set_parameters(max_rate=0.1)
            for _ in range(3):
                rig.send(rig.frame(good))
                rig.spin(0.1)
            rig.set_parameters(max_rate=0.0)
        else:
            # With a stamp of now: on a busy machine this takes longer than max_age.
            large_frame = rig.frame(large)
            for _ in range(12):
                rig.send(large_frame)
            if kind == 'DISABLED':
                for enabled in (False, True):
                    assert rig.call(SetBool, '/linknet/enable', data=enabled).success
                rig.until(lambda: rig.camera.get_subscription_count() == 1)
            elif kind == 'INACTIVE':
                # Frames are in the network, fitted and waiting now.
                assert rig.change(4)
                assert rig.change(3)
                rig.until(lambda: rig.camera.get_subscription_count() == 1)
        rig.spin(0.1)
    received, published, drops = rig.settled_counts()
    assert received <= rig.sent
    assert all(drops.values()), f'a reason did not occur: {drops}'
    return {'sent': rig.sent, 'received': received, 'published': published} | drops


def malformed_image(rng):
    """A random message with at least one fault, and its name."""
    encoding = rng.choice([*LAYOUTS, *LAYOUTS, 'jpeg', '', '32FC1', 'BGR8', 'bgr8; png', '\x00'])
    layout = LAYOUTS.get(encoding)
    width, height = rng.randrange(1, 20) * 2 + 4, rng.randrange(1, 20) * 2 + 4
    row = layout.row_bytes(width) if layout else 4 * width
    step = row + rng.choice([0, 0, 1, 7])
    length = step * (layout.rows(height) if layout else height)
    fault = 'encoding'
    if layout:
        fault = rng.choice(['truncated', 'empty', 'zero', 'huge', 'step', 'small step'])
    side = {'zero': 0, 'huge': rng.choice([16385, 2**16, 2**31, 2**32 - 1])}.get(fault)
    if side is not None:
        width, height = rng.choice([(side, height), (width, side), (side, side)])
    length = {'truncated': rng.randrange(length), 'empty': 0}.get(fault, length)
    wrong = {'step': rng.choice([step * 1000, 2**32 - 1]), 'small step': rng.randrange(row)}
    message = Image(width=width, height=height, encoding=encoding, step=wrong.get(fault, step))
    message.is_bigendian = rng.choice([0, 1, 255])
    message.data = byte_array('B', rng.randbytes(length))
    message.header.frame_id = rng.choice(['', 'camera', 'Kamera \u00fc', 'x' * 3000])
    message.header.stamp.sec = rng.choice([0, 1, -1, -(2**31), 2**31 - 1])
    message.header.stamp.nanosec = rng.choice([0, 999_999_999, 2**32 - 1])
    return message, fault


def malformed(rig, images=10_000, seed=0):
    """Messages with a fault each: every one is counted as bad, and good ones come through."""
    rng = random.Random(seed)
    rig.start('labels', max_age=0.0)
    pixels = random_pixels(seed)
    # Until an answer has come the node need not know that anybody subscribes.
    rig.answer(pixels)
    unheard = rig.settled_counts()[2]['NO_SUBSCRIBER']
    faults, number = Counter(), 0
    # One that is replaced before its turn is not looked at; another one is, then.
    while rig.counts()[2]['BAD_FRAME'] < images:
        assert number < 3 * images + 1000, rig.counts()
        message, fault = malformed_image(rng)
        faults[f'fault {fault}'] += 1
        rig.send(message)
        # A good one now and then is the proof that those before it have been dealt with.
        number += 1
        if number % 4 == 0:
            rig.check(pixels)
        else:
            rig.spin(0.003)
    received, published, drops = rig.settled_counts()
    good, lost = rig.sent - number, rig.sent - received
    assert published <= good, f'{published} answers to {good} good frames'
    bad, replaced = drops.pop('BAD_FRAME'), drops.pop('REPLACED')
    assert drops.pop('NO_SUBSCRIBER') == unheard
    assert not any(drops.values()), drops
    assert images <= bad <= number <= bad + replaced + lost
    return {'images': number, 'bad': bad, 'replaced': replaced, 'lost': lost, **faults}


#: Changes that must be refused, whatever comes with them.
INVALID = (
    {'drivable_classes': ['unicorn']},
    {'mask_classes': ['sky', 'unicorn']},
    {'min_confidence': 7.0},
    {'overlay_opacity': float('nan')},
    {'max_age': 'soon'},
    {'backend': 'openvino'},
)


def parameter_storm(rig, changes=1000, clients=4, seed=0):
    """Several clients change parameters at once: every frame shows one setting, not two halves."""
    rng = random.Random(seed)
    rig.start('labels', 'drivable')
    pixels = random_pixels(seed)
    # Each gives another pair of labels and drivable area.
    settings = [
        {'min_confidence': 0.5 + n / 32, 'drivable_classes': [NAMES[n % 3]]} for n in range(12)
    ]
    pairs = set()
    for values in ({'min_confidence': 0.0, 'drivable_classes': ['road']}, *settings):
        labels = expected_labels(pixels, values['min_confidence'])
        drivable = (labels == NAMES.index(values['drivable_classes'][0])) * np.uint8(255)
        pairs.add((labels.tobytes(), drivable.astype(np.uint8).tobytes()))
    nodes = [rig.new_node(f'client_{n}') for n in range(clients)]
    name = '/linknet/set_parameters_atomically'
    askers = [node.create_client(SetParametersAtomically, name) for node in nodes]
    rig.until(lambda: all(asker.service_is_ready() for asker in askers))
    # Asked by a client that the node gets to know after those.
    rig.call(GetParameters, '/linknet/get_parameters', names=['model'])
    camera = rig.peer.create_timer(0.004, lambda: rig.send(rig.frame(pixels)))
    waiting, matched, done = {}, 0, Counter()

    def ask(asker):
        values, valid = dict(rng.choice(settings)), rng.random() < 0.7
        if not valid:
            values |= rng.choice(INVALID)
        messages = [Parameter(k, value=v).to_parameter_msg() for k, v in values.items()]
        request = SetParametersAtomically.Request(parameters=messages)
        waiting[asker] = (asker.call_async(request), valid)

    while done.total() < changes or waiting:
        for asker in askers:
            if asker not in waiting and done.total() < changes:
                ask(asker)
        rig.executor.spin_once(timeout_sec=0.01)
        assert rig.node.popen.poll() is None, rig.last_words()
        for asker, (future, valid) in list(waiting.items()):
            if future.done():
                del waiting[asker]
                assert future.result().result.successful == valid, future.result()
                done[valid] += 1
        matched += _match(rig, pairs)
    # While frames still come: all of those before may have been checked.
    rig.until(lambda: _match(rig, pairs))
    rig.peer.destroy_timer(camera)
    names = ['min_confidence', 'drivable_classes']
    values = rig.call(GetParameters, '/linknet/get_parameters', names=names).values
    last = {names[0]: values[0].double_value, names[1]: list(values[1].string_array_value)}
    assert last in settings
    rig.check(pixels, last['min_confidence'])
    rig.settled_counts()
    assert min(done[True], done[False], matched) > 0
    return {'accepted': done[True], 'refused': done[False], 'pairs_checked': matched}


def _match(rig, pairs):
    """Check labels and drivable area of the same frame against the settings; number checked."""
    by_stamp = {}
    for topic in ('labels', 'drivable'):
        for message in rig.received[topic]:
            by_stamp.setdefault(nanoseconds(message.header.stamp), {})[topic] = message
    both = {s: m for s, m in by_stamp.items() if len(m) == 2}
    for messages in both.values():
        pair = tuple(bytes(messages[topic].data) for topic in ('labels', 'drivable'))
        assert pair in pairs, 'a frame shows two settings at once, or none'
    for topic in ('labels', 'drivable'):
        left = [m for m in rig.received[topic] if nanoseconds(m.header.stamp) not in both]
        rig.received[topic][:] = left[-5:]
    return len(both)


#: A reliable subscriber, to be stopped.
STALLED = """
import rclpy
from sensor_msgs.msg import Image
from std_srvs.srv import SetBool
rclpy.init()
node = rclpy.create_node('stalled')
node.create_subscription(Image, 'linknet/labels', lambda message: None, 1)
rclpy.spin(node)
"""


def stalled_subscriber(rig, frames=200, width=640, height=360):
    """A reliable subscriber that stops reading: all others get every frame as before."""
    rig.start('labels')
    pixels = random_pixels(0, width, height)
    (rig.folder / 'stalled.py').write_text(STALLED)
    other = rig.run('stalled', env={'PYTHONPATH': str(rig.folder)})
    rig.until(lambda: rig.peer.count_subscribers('/linknet/labels') == 2)
    rig.answer(pixels)
    longest = {}
    for stalled in (False, True):
        if stalled:
            os.kill(other.pid, signal.SIGSTOP)
        slowest = 0.0
        for _ in range(frames):
            start = time.monotonic()
            message = rig.answer(pixels)
            assert (message.width, message.height) == (width, height)
            slowest = max(slowest, time.monotonic() - start)
        longest[stalled] = round(slowest, 3)
    other.kill()
    rig.answer(pixels)
    return {'frames': frames, 'slowest_answer_s': longest[False], 'with_stalled_s': longest[True]}
