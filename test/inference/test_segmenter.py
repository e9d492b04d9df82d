"""Frame in, labels out: the whole way through a tiny network worked out by hand."""

import numpy as np
import pytest

import linknet_ros.inference.segmenter as segmenter_module
from linknet_ros.errors import FrameError, ParameterError
from linknet_ros.inference.backend import CPU_BACKENDS
from linknet_ros.inference.fitting import FrameFitter, fit_frame
from linknet_ros.inference.model_file import load_model
from linknet_ros.inference.segmenter import Segmenter

SIZES = [(640, 360), (480, 360), (1280, 720), (1920, 1080), (97, 51)]
BACKEND = 'onnxruntime'
EACH_BACKEND = pytest.mark.parametrize('backend', CPU_BACKENDS)


def random_frame(width, height, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def one_color(width, height, color):
    return np.full((height, width, 3), color, np.uint8)


@pytest.fixture
def segmenter(model):
    """Segmenter of channel_proto, 96x64."""
    segmenter = Segmenter(model, backend=BACKEND, precision='fp32')
    yield segmenter
    segmenter.close()


@pytest.fixture
def backends(monkeypatch):
    """List of the back ends that the segmenter opens, each with its size and `closed`."""
    opened = []

    class ChannelBackend:
        name, precision = 'channel', 'fp32'

        def __init__(self, model, *, height, width, **_):
            self.size = (width, height)
            self.closed = False
            opened.append(self)

        def infer(self, image):
            assert not self.closed
            assert image.shape == (*self.size[::-1], 3)
            return image.argmax(2).astype(np.uint8), image.max(2)

        def close(self):
            assert not self.closed
            self.closed = True

    monkeypatch.setattr(segmenter_module, 'open_backend', ChannelBackend)
    return opened


@EACH_BACKEND
@pytest.mark.parametrize('size', SIZES)
def test_any_size_equals_fitting_and_cropping_by_hand(model, backend, size):
    frame = random_frame(*size)
    segmenter = Segmenter(model, backend=backend, precision='fp32', network_size=(480, 360))
    result = segmenter.segment(frame)
    fitter = FrameFitter(fit_frame(*size, 480, 360))
    image = fitter.crop(fitter.to_network(frame))
    assert result.labels.dtype == result.confidence.dtype == np.uint8
    np.testing.assert_array_equal(result.labels, fitter.to_frame(image.argmax(2).astype(np.uint8)))
    np.testing.assert_array_equal(result.confidence, fitter.to_frame(image.max(2)))
    segmenter.close()


def test_confidence_is_scaled_when_it_is_asked_for(segmenter, monkeypatch):
    scaled = []
    to_frame = FrameFitter.to_frame

    def spy(self, image):
        scaled.append(image)
        return to_frame(self, image)

    monkeypatch.setattr(FrameFitter, 'to_frame', spy)
    result = segmenter.segment(random_frame(200, 120))
    assert len(scaled) == 1
    assert result.confidence.shape == (120, 200)
    assert result.confidence is result.confidence
    assert len(scaled) == 2


def test_another_size_comes_straight_from_the_network(segmenter):
    frame = random_frame(200, 120)
    result = segmenter.segment(frame, min_confidence=0.6)
    assert result.at_size(200, 120) is result
    # As the network has it: 96 by 58 of its 96 by 64 pixels.
    own = result.at_size(96, 58)
    np.testing.assert_array_equal(own.labels, result.network_labels)
    np.testing.assert_array_equal(own.confidence, result.network_confidence)
    half = result.at_size(48, 29)
    np.testing.assert_array_equal(half.labels, own.labels[1::2, 1::2])
    np.testing.assert_array_equal(half.confidence, own.confidence[1::2, 1::2])
    assert own.at_size(48, 29).labels.tolist() == half.labels.tolist()
    larger = result.at_size(301, 77)
    assert larger.labels.shape == larger.confidence.shape == (77, 301)
    # What is not certain stays so, pixel by pixel.
    np.testing.assert_array_equal(larger.labels == 255, larger.confidence < 153)


def test_another_size_of_a_turned_frame(segmenter):
    result = segmenter.finish(segmenter.infer(segmenter.fit(random_frame(48, 96), 90)), 0.6)
    assert result.at_size(48, 96) is result
    sized = result.at_size(24, 48)
    assert sized.labels.shape == (48, 24)
    own = result.at_size(*np.rot90(result.network_labels).shape[::-1])
    np.testing.assert_array_equal(own.labels, np.rot90(result.network_labels))
    np.testing.assert_array_equal(own.confidence, np.rot90(result.network_confidence))


def test_results_do_not_change_with_the_next_frame(segmenter):
    for size in [(96, 64), (97, 51)]:
        first = segmenter.segment(random_frame(*size, seed=1))
        labels, confidence = first.labels.copy(), first.confidence.copy()
        second = segmenter.segment(random_frame(*size, seed=2))
        np.testing.assert_array_equal(first.labels, labels)
        np.testing.assert_array_equal(first.confidence, confidence)
        assert (second.labels != labels).any()
        assert first.labels.flags.c_contiguous
        assert first.labels.flags.writeable


# Confidence.


@pytest.mark.parametrize(
    ('min_confidence', 'labels'),
    [
        (0.0, [0, 1, 2, 0]),
        (50 / 255, [0, 1, 2, 0]),
        (51 / 255, [255, 1, 2, 0]),
        (0.5, [255, 255, 2, 0]),
        (129 / 255, [255, 255, 255, 0]),
        (1.0, [255, 255, 255, 0]),
    ],
)
def test_less_certain_pixels_become_unlabelled(segmenter, min_confidence, labels):
    frame = one_color(96, 64, (0, 0, 255))
    # Confidences 50, 127, 128 and 255; 0.5 stands for 128.
    frame[0, :4] = [[50, 0, 0], [0, 127, 0], [0, 0, 128], [255, 0, 0]]
    result = segmenter.segment(frame, min_confidence)
    assert result.labels[0, :4].tolist() == labels
    assert (result.labels[1:] == 2).all()
    assert result.confidence[0, :4].tolist() == [50, 127, 128, 255]


def test_confidence_0_is_unlabelled(segmenter):
    frame = one_color(96, 64, (0, 9, 0))
    frame[3, 5] = 0
    frame[3, 6] = 1, 0, 0
    result = segmenter.segment(frame)
    assert result.labels[3, 4:7].tolist() == [1, 255, 0]
    assert (result.labels == 255).sum() == 1


@EACH_BACKEND
@pytest.mark.parametrize('size', [(96, 64), (97, 51), (192, 128)])
def test_nan_is_unlabelled_and_never_road(nan_proto, write_model, backend, size):
    # Black pixels make the network compute 0 / 0, whose argmax is class 0, road.
    model = load_model(write_model(nan_proto))
    segmenter = Segmenter(model, backend=backend, precision='fp32')
    frame = one_color(*size, (0, 200, 0))
    frame[: size[1] // 2] = 0
    result = segmenter.segment(frame)
    top, bottom = slice(0, size[1] // 2 - 2), slice(size[1] // 2 + 2, None)
    assert (result.labels[top] == 255).all()
    assert (result.confidence[top] == 0).all()
    assert (result.labels[bottom] == 1).all()
    assert (result.confidence[bottom] == 255).all()


# Frames and parameters that cannot work.


@pytest.mark.parametrize(
    ('frame', 'message'),
    [
        (np.zeros((4, 4), np.uint8), r'frame is uint8 of shape \(4, 4\), expected uint8 \(H'),
        (np.zeros((4, 4, 4), np.uint8), r'of shape \(4, 4, 4\)'),
        (np.zeros((1, 4, 4, 3), np.uint8), r'of shape \(1, 4, 4, 3\)'),
        (np.zeros((4, 4, 3), np.float32), 'frame is float32'),
        (np.zeros((0, 4, 3), np.uint8), r'of shape \(0, 4, 3\)'),
        (np.zeros((4, 0, 3), np.uint8), r'of shape \(4, 0, 3\)'),
    ],
)
def test_bad_frame(segmenter, frame, message):
    with pytest.raises(FrameError, match=message):
        segmenter.segment(frame)
    good = random_frame(96, 64)
    np.testing.assert_array_equal(segmenter.segment(good).labels, good.argmax(2))


@pytest.mark.parametrize('size', [(31, 64), (96, 31), (-96, 64)])
def test_network_size_too_small(model, size):
    message = f'network size {size[0]}x{size[1]} is too small; use 32x32 or more'
    with pytest.raises(ParameterError, match=message):
        Segmenter(model, network_size=size)


# Networks kept ready.


@pytest.mark.parametrize(
    ('network_size', 'opened'),
    [((0, 0), (96, 64)), ((200, 0), (224, 64)), ((0, 33), (96, 64)), ((32, 32), (32, 32))],
)
def test_zero_in_the_network_size_is_the_models_default(model, backends, network_size, opened):
    Segmenter(model, network_size=network_size)
    assert [backend.size for backend in backends] == [opened]


def test_prepare_opens_before_the_first_frame(model, backends):
    segmenter = Segmenter(model, network_size=(480, 360))
    segmenter.prepare(640, 360)
    assert [backend.size for backend in backends] == [(480, 384), (480, 288)]
    segmenter.segment(random_frame(640, 360))
    assert len(backends) == 2


def test_oldest_size_is_closed_and_opened_again_when_it_comes_back(model, backends):
    segmenter = Segmenter(model)
    # Buffers 96x64 (the default), 64x64, 32x64, 96x32, 96x64 again.
    for size in [(64, 64), (30, 64), (96, 30)]:
        segmenter.segment(random_frame(*size))
    assert [b.size for b in backends] == [(96, 64), (64, 64), (32, 64), (96, 32)]
    assert [b.closed for b in backends] == [True, False, False, False]
    frame = random_frame(96, 64)
    np.testing.assert_array_equal(segmenter.segment(frame).labels, frame.argmax(2))
    assert [b.closed for b in backends] == [True, True, False, False, False]


def test_size_in_use_is_kept_while_others_come_and_go(model, backends):
    segmenter = Segmenter(model)
    for size in [(64, 64), (30, 64), (96, 30), (64, 64), (30, 64)]:
        segmenter.segment(random_frame(*size))
        segmenter.segment(random_frame(96, 64))
    assert not backends[0].closed
    assert [b.size for b in backends].count((96, 64)) == 1


def test_shared_network_is_closed_with_its_last_size(model, backends):
    segmenter = Segmenter(model)
    # The default size and these two share the 96x64 network.
    segmenter.segment(random_frame(192, 128))
    segmenter.segment(random_frame(288, 192))
    assert len(backends) == 1
    segmenter.segment(random_frame(64, 64))
    segmenter.segment(random_frame(30, 64))
    assert not backends[0].closed
    segmenter.segment(random_frame(96, 30))
    assert [b.closed for b in backends] == [True, False, False, False]


def test_close_closes_every_network_once(model, backends):
    segmenter = Segmenter(model)
    for size in [(192, 128), (64, 64)]:
        segmenter.segment(random_frame(*size))
    segmenter.close()
    assert [backend.closed for backend in backends] == [True, True]
    segmenter.close()


def test_results_outlive_the_segmenter(model):
    segmenter = Segmenter(model, backend=BACKEND)
    frame = random_frame(96, 64)
    result = segmenter.segment(frame)
    segmenter.close()
    np.testing.assert_array_equal(result.labels, frame.argmax(2))
