"""Frames in number: memory, overload, damaged messages, and parameters that change meanwhile."""

import os
import random
import signal
import time
from array import array as byte_array

import numpy as np
import rclpy
from rcl_interfaces.srv import GetParameters, SetParameters, SetParametersAtomically
from rclpy.parameter import Parameter
from sensor_msgs.msg import Image

from linknet_ros.frames.raw import LAYOUTS
from linknet_ros.node.statistics import Drop
from soak.rig import (
    HEIGHT,
    NAMES,
    POISON,
    WIDTH,
    Process,
    expected_labels,
    plane,
    random_pixels,
)

#: Bytes that a frame may leave behind, on average: less than the smallest array object of NumPy
#: (about 112), let alone a frame (18 kB) or its labels (6 kB). Below the floor: the allocator.
BYTES_PER_FRAME, FLOOR_MIB = 96, 8.0


def memory(rig, frames=100_000):
    """Resident memory of the node after warm-up and after many frames of two sizes."""
    rig.start()
    rig.subscribe('labels')
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
                assert rig.node.popen.poll() is None, rig.node.log()[-1500:]
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
    rig.stop()
    return {
        'frames': frames,
        'rss_mib': [round(rss[0], 1), round(max(rss), 1), round(rss[-1], 1)],
        'growth_mib': round(growth, 2),
        'bound_mib': round(bound, 1),
        'frames_per_second': round((frames + warm_up) / seconds),
    }


def every_drop(rig, rounds=40, seed=0):
    """All six reasons in one run, as a planner sees them in /diagnostics: nothing is missing."""
    rng = random.Random(seed)
    # A network large enough that frames wait for it.
    rig.start(max_age=60.0, network_width=1024, network_height=576)
    rig.subscribe('labels')
    good = random_pixels(seed)
    large = random_pixels(seed, 1920, 1080)
    poison = np.full_like(good, POISON)
    large_frame = rig.frame(large)
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
        else:
            for _ in range(12):
                rig.send(large_frame)
            if kind == 'INACTIVE':
                # Frames are in the network, fitted and waiting now.
                assert rig.change(4)
                assert rig.change(3)
                rig.until(lambda: rig.camera.get_subscription_count() == 1)
        rig.spin(0.1)
    received, published, drops = rig.settled_counts()
    assert received == published + sum(drops.values()), (received, published, drops)
    assert received <= rig.sent
    assert all(drops.values()), f'a reason did not occur: {drops}'
    rig.stop()
    return {'sent': rig.sent, 'received': received, 'published': published} | drops


def malformed_image(rng):
    """A random message with at least one fault, and its name."""
    encoding = rng.choice([*LAYOUTS, *LAYOUTS, 'jpeg', '', '32FC1', 'BGR8', 'bgr8; png', '\x00'])
    layout = LAYOUTS.get(encoding)
    width, height = rng.randrange(1, 20) * 2 + 4, rng.randrange(1, 20) * 2 + 4
    step = layout.row_bytes(width) + rng.choice([0, 0, 1, 7]) if layout else 4 * width
    length = step * (layout.rows(height) if layout else height)
    faults = (
        ['truncated', 'empty', 'zero', 'huge', 'step', 'small step'] if layout else ['encoding']
    )
    fault = rng.choice(faults)
    if fault == 'truncated':
        length = rng.randrange(length)
    elif fault == 'empty':
        length = 0
    elif fault == 'zero':
        width, height = rng.choice([(0, height), (width, 0), (0, 0)])
    elif fault == 'huge':
        side = rng.choice([16385, 2**16, 2**31 - 1, 2**31, 2**32 - 1])
        width, height = rng.choice([(side, height), (width, side), (side, side)])
    elif fault == 'step':
        step = rng.choice([step * 1000, 2**31, 2**32 - 1])
    elif fault == 'small step':
        step = rng.randrange(layout.row_bytes(width))
    message = Image(width=width, height=height, encoding=encoding, step=step)
    message.is_bigendian = rng.choice([0, 1, 255])
    message.data = byte_array('B', rng.randbytes(length))
    message.header.frame_id = rng.choice(['', 'camera', 'Kamera \u00fc', 'x' * 3000])
    message.header.stamp.sec = rng.choice([0, 1, -1, -(2**31), 2**31 - 1])
    message.header.stamp.nanosec = rng.choice([0, 999_999_999, 2**32 - 1])
    return message, fault


def malformed(rig, images=10_000, seed=0):
    """Messages with a fault each: every one is counted as bad, and good ones come through."""
    rng = random.Random(seed)
    rig.start(max_age=0.0)
    rig.subscribe('labels')
    pixels = random_pixels(seed)
    # Until an answer has come the node need not know that somebody listens.
    rig.answer(pixels)
    unheard = rig.settled_counts()[2]['NO_SUBSCRIBER']
    faults = {}
    number = 0
    # One that is replaced before its turn is not looked at; another one is, then.
    while rig.counts()[2]['BAD_FRAME'] < images:
        assert number < 3 * images + 1000, rig.counts()
        message, fault = malformed_image(rng)
        faults[fault] = faults.get(fault, 0) + 1
        rig.send(message)
        # A good one now and then is the proof that those before it have been dealt with.
        number += 1
        if number % 4 == 0:
            assert (plane(rig.answer(pixels)) == expected_labels(pixels)).all()
        else:
            rig.spin(0.003)
    received, published, drops = rig.settled_counts()
    good = rig.sent - number
    lost = rig.sent - received
    assert received == published + sum(drops.values()), (received, published, drops)
    assert published <= good, f'{published} answers to {good} good frames'
    bad, replaced = drops.pop('BAD_FRAME'), drops.pop('REPLACED')
    assert drops.pop('NO_SUBSCRIBER') == unheard
    assert not any(drops.values()), drops
    assert images <= bad <= number <= bad + replaced + lost
    rig.stop()
    return {
        'images': number,
        'bad': bad,
        'replaced': replaced,
        'lost': lost,
        'good': published,
    } | {f'fault {k}': v for k, v in sorted(faults.items())}


def _settings(count):
    """Settings of which each gives another pair of labels and drivable area."""
    return [
        {
            'min_confidence': round(0.5 + 0.4 * number / count, 4),
            'drivable_classes': [NAMES[number % 3]],
            'overlay_opacity': number / count,
            'mask_classes': [[], ['car'], ['sky', 'car']][number % 3],
        }
        for number in range(count)
    ]


def parameter_storm(rig, changes=1000, clients=4, seed=0):
    """Several clients change parameters at once: every frame shows one setting, not two halves."""
    rng = random.Random(seed)
    rig.start()
    rig.subscribe('labels', 'drivable')
    pixels = random_pixels(seed)
    settings = _settings(12)
    pairs = {}
    for number, values in enumerate(
        [{'min_confidence': 0.0, 'drivable_classes': ['road']}, *settings]
    ):
        labels = expected_labels(pixels, values['min_confidence'])
        drivable = (labels == NAMES.index(values['drivable_classes'][0])) * np.uint8(255)
        pairs[labels.tobytes(), drivable.astype(np.uint8).tobytes()] = number
    nodes = [rclpy.create_node(f'client_{n}', context=rig.context) for n in range(clients)]
    camera = rig.peer.create_timer(0.004, lambda: rig.send(rig.frame(pixels)))
    waiting = {}
    accepted = refused = matched = 0
    try:
        askers = []
        for node in nodes:
            rig.executor.add_node(node)
            at_once = node.create_client(
                SetParametersAtomically, '/linknet/set_parameters_atomically'
            )
            singly = node.create_client(SetParameters, '/linknet/set_parameters')
            askers.append((at_once, singly))
            rig.until(lambda a=at_once, s=singly: a.service_is_ready() and s.service_is_ready())
        while accepted + refused < changes:
            for index, (at_once, singly) in enumerate(askers):
                if index in waiting:
                    continue
                values, valid = dict(rng.choice(settings)), rng.random() < 0.7
                if not valid:
                    fault = rng.choice(
                        [
                            {'drivable_classes': ['unicorn']},
                            {'mask_classes': ['sky', 'unicorn']},
                            {'min_confidence': 7.0},
                            {'overlay_opacity': float('nan')},
                            {'max_age': 'soon'},
                            {'backend': 'openvino'},
                        ]
                    )
                    values |= fault
                messages = [
                    Parameter(k, value=v).to_parameter_msg() for k, v in values.items() if v != []
                ]
                if valid or rng.random() < 0.8:
                    request = SetParametersAtomically.Request(parameters=messages)
                    waiting[index] = (at_once.call_async(request), valid)
                else:
                    # One by one: only the faulty one, so that no half of a setting is taken.
                    faulty = [m for m in messages if m.name in fault]
                    waiting[index] = (
                        singly.call_async(SetParameters.Request(parameters=faulty)),
                        False,
                    )
            rig.executor.spin_once(timeout_sec=0.01)
            assert rig.node.popen.poll() is None, rig.node.log()[-1500:]
            for index, (future, valid) in list(waiting.items()):
                if future.done():
                    del waiting[index]
                    result = future.result()
                    results = getattr(result, 'results', None) or [result.result]
                    assert all(r.successful == valid for r in results), results
                    accepted, refused = accepted + valid, refused + (not valid)
            matched += _match(rig, pairs)
        rig.until(lambda: all(f.done() for f, _ in waiting.values()))
    finally:
        rig.peer.destroy_timer(camera)
        for node in nodes:
            rig.executor.remove_node(node)
            node.destroy_node()
    rig.spin(0.3)
    matched += _match(rig, pairs)
    names = ['min_confidence', 'drivable_classes', 'overlay_opacity']
    values = rig.call(GetParameters, 'get_parameters', GetParameters.Request(names=names)).values
    last = (values[0].double_value, list(values[1].string_array_value), values[2].double_value)
    assert last in [tuple(s[n] for n in names) for s in settings], last
    labels = plane(rig.answer(pixels))
    assert (labels == expected_labels(pixels, last[0])).all()
    received, published, drops = rig.settled_counts()
    assert received == published + sum(drops.values())
    assert matched > 0
    rig.stop()
    return {
        'accepted': accepted,
        'refused': refused,
        'clients': clients,
        'pairs_checked': matched,
        'published': published,
    }


def _match(rig, pairs):
    """Check labels and drivable area of the same frame against the settings; number checked."""
    by_stamp = {}
    for topic in ('labels', 'drivable'):
        for message in rig.received[topic]:
            stamp = message.header.stamp
            by_stamp.setdefault((stamp.sec, stamp.nanosec), {})[topic] = message
    both = {s: m for s, m in by_stamp.items() if len(m) == 2}
    for messages in both.values():
        pair = tuple(bytes(messages[topic].data) for topic in ('labels', 'drivable'))
        assert pair in pairs, 'a frame shows two settings at once, or none'
    for topic in ('labels', 'drivable'):
        kept = [
            m
            for m in rig.received[topic]
            if (m.header.stamp.sec, m.header.stamp.nanosec) not in both
        ]
        rig.received[topic][:] = kept[-5:]
    return len(both)


def stalled_subscriber(rig, frames=200, width=640, height=360):
    """A reliable subscriber that stops reading: all others hear every frame as before."""
    rig.start()
    rig.subscribe('labels')
    pixels = random_pixels(0, width, height)
    script = (
        'import rclpy; from sensor_msgs.msg import Image; from rclpy.qos import QoSProfile; '
        "rclpy.init(); n = rclpy.create_node('stalled'); "
        "n.create_subscription(Image, 'linknet/labels', lambda m: None, QoSProfile(depth=1)); "
        'rclpy.spin(n)'
    )
    other = Process(rig.folder, '-c', script)
    rig.processes.append(other)
    rig.until(lambda: rig.peer.count_subscribers('/linknet/labels') == 2)
    rig.answer(pixels)
    longest = {}
    for stalled in (False, True):
        if stalled:
            os.kill(other.pid, signal.SIGSTOP)
        slowest = 0.0
        for _ in range(frames):
            start = time.monotonic()
            message = rig.answer(pixels, seconds=5)
            assert (message.width, message.height) == (width, height)
            slowest = max(slowest, time.monotonic() - start)
        longest[stalled] = round(slowest, 3)
    other.popen.kill()
    other.popen.wait()
    rig.answer(pixels)
    rig.stop()
    return {'frames': frames, 'slowest_answer_s': longest[False], 'with_stalled_s': longest[True]}
