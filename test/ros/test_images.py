"""Messages to BGR and back: every encoding, row padding, byte order, and damaged messages."""

import copy
import sys
from array import array as byte_array

import numpy as np
import pytest

pytest.importorskip('sensor_msgs', reason='ROS 2 messages (ros-jazzy-sensor-msgs) not installed')

from builtin_interfaces.msg import Time
from hypothesis import given, settings
from hypothesis import strategies as st
from sensor_msgs.msg import CameraInfo, Image, RegionOfInterest
from std_msgs.msg import Header

from linknet_ros.errors import CalibrationError, FrameError
from linknet_ros.frames.raw import LAYOUTS
from linknet_ros.limits import MAX_PIXELS
from linknet_ros.ros import images as ros_images
from linknet_ros.ros.images import array_to_image, camera_info_for, image_to_bgr

HEADER = Header(stamp=Time(sec=7, nanosec=9), frame_id='camera_optical')

# 2 rows of 2 pixels: blue and green, red and grey.
BGR = np.array([[[255, 0, 0], [0, 200, 0]], [[0, 0, 100], [7, 7, 7]]], np.uint8)
BAYER_COLORS = {
    'rggb': [['r', 'g'], ['g', 'b']],
    'bggr': [['b', 'g'], ['g', 'r']],
    'gbrg': [['g', 'b'], ['r', 'g']],
    'grbg': [['g', 'r'], ['b', 'g']],
}


def make_image(rows, encoding, width, height, padding=0, big=0):
    """Make a message of (R, bytes) rows, each followed by `padding` bytes of 0xEE."""
    rows = np.asarray(rows, np.uint8)
    padded = np.pad(rows, ((0, 0), (0, padding)), constant_values=0xEE)
    message = Image(header=HEADER, width=width, height=height, encoding=encoding)
    message.is_bigendian = big
    message.step = padded.shape[1]
    message.data = byte_array('B', padded.tobytes())
    return message


def as_rows(pixels):
    """Turn (H, W) or (H, W, C) into (H, bytes)."""
    return pixels.reshape(len(pixels), -1)


def random_rows(height, row_bytes):
    return np.random.default_rng(3).integers(0, 256, (height, row_bytes), np.uint8)


# ------------------------------------------------------------------ memory


@pytest.mark.parametrize('encoding', ['bgr8', '8UC3'])
def test_bgr_shares_the_memory_of_the_message(encoding):
    message = make_image(as_rows(BGR), encoding, 2, 2, padding=5)
    bgr = image_to_bgr(message)
    np.testing.assert_array_equal(bgr, BGR)
    message.data[0] = 1
    assert bgr[0, 0, 0] == 1
    with pytest.raises(ValueError, match='read-only'):
        bgr[0, 0, 0] = 2


# ------------------------------------------------------------------ damaged messages


@pytest.mark.parametrize(
    ('fields', 'message'),
    [
        ({'width': 0}, "'bgr8' image of 0 x 2: width and height must be at least 1"),
        ({'height': 0}, "'bgr8' image of 2 x 0: width and height must be at least 1"),
        ({'width': 16385}, '16385 x 2 is over the limit of 16384 pixels a side'),
        ({'height': 2**32 - 1}, '2 x 4294967295 is over the limit of 16384 pixels a side'),
        ({'step': 5}, 'has step 5, but a row needs 6 bytes; the camera driver must set step'),
        ({'step': 7}, r'has 12 bytes, but step 7 \* height 2 needs 14; the frame was cut short'),
        ({'encoding': 'yuyv', 'width': 3}, '3 x 2: this encoding needs an even width; set'),
        ({'encoding': 'nv12', 'width': 3}, '3 x 2: this encoding needs an even width and height'),
        (
            {'encoding': 'nv12', 'height': 4, 'step': 4},
            r'has 12 bytes, but step 4 \* 6 rows \(chroma included\) needs 24',
        ),
        ({'encoding': 'bayer_rggb8', 'width': 5}, 'needs an even width and height'),
        ({'encoding': 'bayer_rggb8'}, '2 x 2: a Bayer image needs at least 4 x 4 pixels'),
        # Checked before cv_bridge is asked.
        ({'encoding': '32FC1', 'step': 8}, r'has 12 bytes, but step 8 \* height 2 needs 16'),
    ],
)
def test_damaged_message(fields, message):
    image = make_image(as_rows(BGR), 'bgr8', 2, 2)
    for name, value in fields.items():
        setattr(image, name, byte_array('B', value) if name == 'data' else value)
    with pytest.raises(FrameError, match=message) as caught:
        image_to_bgr(image)
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('encoding', LAYOUTS)
def test_one_byte_or_one_step_less_is_an_error(encoding):
    layout = LAYOUTS[encoding]
    rows = random_rows(layout.rows(4), layout.row_bytes(4))
    message = make_image(rows, encoding, 4, 4)
    assert image_to_bgr(message, 65535).shape == (4, 4, 3)
    message.data.pop()
    with pytest.raises(FrameError, match=f'has {rows.size - 1} bytes, but .* needs {rows.size};'):
        image_to_bgr(message, 65535)
    message.step -= 1
    with pytest.raises(FrameError, match=f'a row needs {rows.shape[1]} bytes'):
        image_to_bgr(message, 65535)


@pytest.mark.parametrize('encoding', ['mono8', 'bgr8', '16UC1', 'bayer_rggb8', 'nv24', '32FC3'])
def test_too_many_pixels_are_refused_before_they_are_allocated(encoding):
    # An industrial camera of 65 million pixels passes, three times that does not.
    assert 9344 * 7000 <= MAX_PIXELS < 14000 * 10000
    image = Image(width=16384, height=16384, encoding=encoding, step=16384)
    message = f"'{encoding}' image of 16384 x 16384 is over the limit of {MAX_PIXELS} pixels"
    with pytest.raises(FrameError, match=message):
        image_to_bgr(image)


@settings(max_examples=400, deadline=None)
@given(
    width=st.integers(0, 12) | st.integers(0, 2**32 - 1),
    height=st.integers(0, 12) | st.integers(0, 2**32 - 1),
    step=st.integers(0, 64) | st.integers(0, 2**32 - 1),
    encoding=st.sampled_from([*LAYOUTS, '32FC1', '32FC3', '8SC3', 'BGR8', '', 'jpeg\n']),
    big=st.integers(0, 255),
    length=st.integers(0, 2500),
)
def test_any_message_gives_bgr_or_a_frame_error(width, height, step, encoding, big, length):
    message = Image(width=width, height=height, step=step, encoding=encoding, is_bigendian=big)
    message.data = byte_array('B', bytes(length))
    try:
        bgr = image_to_bgr(message)
    except FrameError:
        return
    assert bgr.shape == (height, width, 3)
    assert bgr.dtype == np.uint8


@pytest.mark.parametrize('encoding', ['16UC1', '32FC1'])
def test_depth_image_is_refused_with_the_fix(encoding):
    image = make_image(np.zeros((2, 8)), encoding, 2, 2)
    message = f"'{encoding}' is a depth image: .* distances.*; take the colour camera; .* mono16"
    with pytest.raises(FrameError, match=message):
        image_to_bgr(image)
    if encoding == '16UC1':
        # An infrared camera that calls its grey so.
        assert image_to_bgr(image, mono16_max=1023).shape == (2, 2, 3)


# ------------------------------------------------------------------ cv_bridge


@pytest.fixture
def cv_bridge(monkeypatch, tmp_path):
    """Return a function that puts a cv_bridge of the given source in front of any other."""
    real = sys.modules.pop('cv_bridge', None)
    monkeypatch.syspath_prepend(str(tmp_path))
    ros_images._open_cv_bridge.cache_clear()
    yield lambda source: (tmp_path / 'cv_bridge.py').write_text(source)
    ros_images._open_cv_bridge.cache_clear()
    sys.modules.pop('cv_bridge', None)
    if real is not None:
        sys.modules['cv_bridge'] = real


FAKE = """
class CvBridge:
    def imgmsg_to_cv2(self, message, desired_encoding):
        assert desired_encoding == 'bgr8'
        import numpy
        {body}
"""


def float_image():
    return make_image(np.zeros((2, 8)), '32FC3', 2, 2)


def test_unknown_encoding_goes_to_cv_bridge(cv_bridge):
    cv_bridge(FAKE.format(body="return numpy.full((2, 2, 3), 9, 'uint8')"))
    np.testing.assert_array_equal(image_to_bgr(float_image()), np.full((2, 2, 3), 9))


@pytest.mark.parametrize('error', ['TypeError', 'RuntimeError', 'AttributeError'])
def test_cv_bridge_refuses(cv_bridge, error):
    # CvBridgeError is a TypeError.
    cv_bridge(FAKE.format(body=f'raise {error}("not a color format")'))
    expected = "'32FC3' cannot .* refuses it .not a color format.; set the camera driver"
    with pytest.raises(FrameError, match=expected) as caught:
        image_to_bgr(float_image())
    assert type(caught.value.__cause__).__name__ == error


@pytest.mark.parametrize('error', ['ImportError', 'AttributeError', 'SystemError'])
def test_broken_cv_bridge_is_tried_once(cv_bridge, tmp_path, error):
    attempts = tmp_path / 'attempts'
    cv_bridge(f'open({str(attempts)!r}, "a").write("x")\nraise {error}("another NumPy")\n')
    for _ in range(3):
        with pytest.raises(FrameError, match=r"'32FC3' .* cv_bridge does not load") as caught:
            image_to_bgr(float_image())
        assert type(caught.value.__cause__).__name__ == error
    assert attempts.read_text() == 'x'


def test_cv_bridge_is_not_imported_for_usual_encodings(cv_bridge):
    cv_bridge('raise KeyboardInterrupt')
    for encoding in LAYOUTS:
        image_to_bgr(make_image(random_rows(12, 32), encoding, 4, 4), mono16_max=65535)


# ------------------------------------------------------------------ array_to_image


@pytest.mark.parametrize(
    ('array', 'encoding', 'step', 'data'),
    [
        (np.array([[0, 1, 2], [3, 4, 255]], np.uint8), 'mono8', 3, [0, 1, 2, 3, 4, 255]),
        (BGR, 'bgr8', 6, [255, 0, 0, 0, 200, 0, 0, 0, 100, 7, 7, 7]),
        # Not contiguous: every second column, and rows upside down.
        (np.arange(8, dtype=np.uint8).reshape(2, 4)[:, ::2], 'mono8', 2, [0, 2, 4, 6]),
        (BGR[::-1, :1], 'bgr8', 3, [0, 0, 100, 255, 0, 0]),
    ],
)
def test_array_to_image(array, encoding, step, data):
    message = array_to_image(array, encoding, HEADER)
    assert message.header is HEADER
    assert (message.height, message.width) == array.shape[:2]
    assert (message.encoding, message.is_bigendian, message.step) == (encoding, 0, step)
    assert message.data == byte_array('B', data)
    assert not np.shares_memory(np.frombuffer(message.data, np.uint8), array)


@pytest.mark.parametrize(
    ('array', 'encoding', 'message'),
    [
        (np.zeros((2, 2, 3), np.uint8), 'mono8', r"needs uint8 \('H', 'W'\), not uint8 \(2, 2, 3"),
        (np.zeros((2, 2, 1), np.uint8), 'mono8', 'mono8 needs uint8'),
        (np.zeros(4, np.uint8), 'mono8', 'mono8 needs uint8'),
        (np.zeros((2, 2), np.uint8), 'bgr8', r"bgr8 needs uint8 \('H', 'W', 3\), not uint8"),
        (np.zeros((2, 2, 4), np.uint8), 'bgr8', 'bgr8 needs uint8'),
        (np.zeros((2, 2), np.int64), 'mono8', r'not int64 \(2, 2\)'),
        (np.zeros((2, 2), np.uint8), 'rgb8', "encoding must be 'mono8' or 'bgr8', not 'rgb8'"),
    ],
)
def test_array_to_image_of_the_wrong_shape(array, encoding, message):
    with pytest.raises(ValueError, match=message):
        array_to_image(array, encoding, HEADER)


# ------------------------------------------------------------------ camera_info_for


def calibrated(**fields):
    """Return the camera_info of a 640 x 480 camera, with any fields replaced."""
    values = {
        'width': 640,
        'height': 480,
        'distortion_model': 'plumb_bob',
        'd': [0.1, -0.2, 0.01, 0.02, 0.0],
        'k': np.array([500.0, 0, 320, 0, 400, 240, 0, 0, 1]),
        'r': np.array([1.0, 0, 0, 0, 1, 0, 0, 0, 1]),
        'p': np.array([480.0, 0, 310, -48, 0, 380, 230, 0, 0, 0, 1, 0]),
        'header': Header(stamp=Time(sec=1), frame_id='driver'),
    }
    return CameraInfo(**(values | fields))


def assert_same_numbers(info, expected):
    """Compare everything but the header."""
    info = copy.deepcopy(info)
    info.header = expected.header
    assert info == expected


WINDOW = RegionOfInterest(x_offset=100, y_offset=50, width=320, height=240, do_rectify=True)


@pytest.mark.parametrize(
    ('fields', 'size', 'k', 'p'),
    [
        # (fx, cx, fy, cy) of K, and (fx, cx, Tx) of P.
        ({}, (640, 480), (500, 320, 400, 240), (480, 310, -48)),
        ({}, (320, 240), (250, 160, 200, 120), (240, 155, -24)),
        ({'binning_x': 2, 'binning_y': 2}, (320, 240), (250, 160, 200, 120), (240, 155, -24)),
        ({'binning_x': 1, 'binning_y': 1}, (640, 480), (500, 320, 400, 240), (480, 310, -48)),
        ({'roi': WINDOW}, (320, 240), (500, 220, 400, 190), (480, 210, -48)),
        ({'roi': WINDOW, 'binning_x': 2}, (160, 240), (250, 110, 400, 190), (240, 105, -24)),
        # The window, shown at half its size.
        ({'roi': WINDOW}, (160, 120), (250, 110, 200, 95), (240, 105, -24)),
        # 640 x 480 binned by 2 is 320 x 240; the image is half of that.
        ({'binning_x': 2, 'binning_y': 2}, (160, 120), (125, 80, 100, 60), (120, 77.5, -12)),
        # Drivers that set binning or a window but give the numbers of the image that they deliver.
        ({'binning_x': 2, 'binning_y': 2}, (640, 480), (500, 320, 400, 240), (480, 310, -48)),
        ({'roi': WINDOW}, (640, 480), (500, 320, 400, 240), (480, 310, -48)),
        # No window at all, and one that only says where it would begin.
        ({'roi': RegionOfInterest(do_rectify=True)}, (320, 240), (250, 160, 200, 120), ()),
        ({'roi': RegionOfInterest(x_offset=8)}, (320, 240), (250, 160, 200, 120), ()),
    ],
)
def test_size_window_and_binning_are_worked_in(fields, size, k, p):
    result = camera_info_for(calibrated(**fields), HEADER, *size)
    assert result.header is HEADER
    assert (result.width, result.height) == size
    assert result.r.tolist() == [1, 0, 0, 0, 1, 0, 0, 0, 1]
    assert result.d.tolist() == [0.1, -0.2, 0.01, 0.02, 0.0]
    assert result.distortion_model == 'plumb_bob'
    assert (result.roi, result.binning_x, result.binning_y) == (RegionOfInterest(), 0, 0)
    fx, cx, fy, cy = k
    assert result.k.tolist() == [fx, 0, cx, 0, fy, cy, 0, 0, 1]
    if p:
        assert result.p[[0, 2, 3]].tolist() == list(p)
    assert result.p[[1, 4, 7, 8, 9, 10, 11]].tolist() == [0, 0, 0, 0, 0, 1, 0]


@pytest.mark.parametrize(
    ('fields', 'size', 'message'),
    [
        (
            {},
            (480, 640),
            'the image of 480x640 does not have the shape of the 640x480 of camera_info',
        ),
        ({}, (480, 640), r'it was turned; calibrate the camera with its images'),
        ({}, (640, 360), 'cropped'),
        ({'roi': WINDOW, 'binning_x': 2}, (240, 160), 'turned'),
    ],
)
def test_image_of_another_shape_has_no_camera_info(fields, size, message):
    with pytest.raises(CalibrationError, match=message):
        camera_info_for(calibrated(**fields), HEADER, *size)


@pytest.mark.parametrize('size', [(0, 0), (0, 480), (640, 0)])
def test_camera_info_without_a_size(size):
    info = calibrated(width=size[0], height=size[1])
    assert_same_numbers(camera_info_for(info, HEADER, 320, 200), calibrated(width=320, height=200))


def test_uncalibrated_stays_uncalibrated():
    result = camera_info_for(CameraInfo(width=640, height=480), HEADER, 320, 240)
    assert_same_numbers(result, CameraInfo(width=320, height=240))


@pytest.mark.parametrize('size', [(640, 480), (320, 240), (1280, 961)])
def test_camera_info_is_not_modified(size):
    info = calibrated(roi=RegionOfInterest(width=640, height=480))
    before = copy.deepcopy(info)
    result = camera_info_for(info, HEADER, *size)
    assert info == before
    result.k[0] = result.p[0] = 1.0
    result.roi.width = 3
    assert info == before


# ------------------------------------------------------------------ any image, slowly


def slow_bgr(data, encoding, width, height, step, big):
    """BGR of an image, pixel by pixel and by the definitions, for all but Bayer.

    :returns: {(row, column): (b, g, r)}, and how far rounding may be off.
    """
    orders = {'bgr': (0, 1, 2), 'rgb': (2, 1, 0), 'bgra': (0, 1, 2), 'rgba': (2, 1, 0)}
    plain = {'8UC1': 'mono8', '8UC3': 'bgr8', '8UC4': 'bgra8'}
    plain |= {'16UC1': 'mono16', '16UC3': 'bgr16', '16UC4': 'bgra16'}
    name = plain.get(encoding, encoding)
    kind = name.rstrip('0123456789')
    shift = 8
    if name.endswith('16') and name != 'nv16':
        rows = np.frombuffer(data, np.uint8, step * height).reshape(height, step)
        row_bytes = width * LAYOUTS[name].channels * 2
        brightest = rows[:, :row_bytes].copy().view('>u2' if big else '<u2').max()
        # The fewest of 10, 12, 14 and 16 bits that hold it.
        shift = next(bits for bits in (10, 12, 14, 16) if brightest < 2**bits) - 8
    pixels = {}
    for row in range(height):
        for column in range(width):
            if kind in orders or kind == 'mono':
                wide = name.endswith('16')
                samples = 1 if kind == 'mono' else len(kind)
                start = row * step + column * samples * (2 if wide else 1)
                if wide:
                    order = 'big' if big else 'little'
                    values = [
                        int.from_bytes(data[i : i + 2], order) >> shift
                        for i in range(start, start + 2 * samples, 2)
                    ]
                else:
                    values = data[start : start + samples]
                pixels[row, column] = tuple(values[i] for i in orders.get(kind, (0, 0, 0)))
                continue
            y, u, v = _yuv_at(data, name, row, column, height, step)
            # OpenCV takes what is blacker than black for black; nv24 is not OpenCV's.
            y = y if name == 'nv24' else max(16, y)
            c, d, e = 1.164 * (y - 16), u - 128, v - 128
            bgr = (c + 2.018 * d, c - 0.391 * d - 0.813 * e, c + 1.596 * e)
            pixels[row, column] = tuple(min(255, max(0, x)) for x in bgr)
    return pixels, 0 if kind in orders or kind == 'mono' else 2


def _yuv_at(data, name, row, column, height, step):
    pair = row * step + column // 2 * 4
    if name in ('uyvy', 'yuv422'):
        return data[pair + 1 + column % 2 * 2], data[pair], data[pair + 2]
    if name in ('yuyv', 'yuv422_yuy2'):
        return data[pair + column % 2 * 2], data[pair + 1], data[pair + 3]
    y = data[row * step + column]
    if name in ('i420', 'yu12', 'yuv420', 'yv12'):
        first = height * step + row // 2 * (step // 2) + column // 2
        second = first + height * step // 4
        return (y, data[second], data[first]) if name == 'yv12' else (y, data[first], data[second])
    if name == 'nv24':
        chroma = height * step + row * 2 * step + 2 * column
    elif name == 'nv16':
        chroma = height * step + row * step + column // 2 * 2
    else:
        chroma = height * step + row // 2 * step + column // 2 * 2
    u, v = data[chroma], data[chroma + 1]
    return (y, v, u) if name == 'nv21' else (y, u, v)


@st.composite
def images(draw, encodings):
    """A sound message of random pixels, size, padding and byte order."""
    encoding = draw(st.sampled_from(encodings))
    layout = LAYOUTS[encoding]
    width, height = draw(st.integers(2, 6)) * 2, draw(st.integers(2, 6)) * 2
    if layout.width_multiple == 1:
        width -= draw(st.integers(0, 3))
    if layout.height_multiple == 1:
        height -= draw(st.integers(0, 3))
    step = layout.row_bytes(width) + draw(st.integers(0, 9))
    # Chroma rows of half the step.
    step += step % 2 if encoding in ('i420', 'yu12', 'yuv420', 'yv12') else 0
    # Some drivers send more than step * rows.
    length = step * layout.rows(height) + draw(st.sampled_from([0, 0, 5]))
    seed = draw(st.integers(0, 2**32 - 1))
    data = np.random.default_rng(seed).integers(0, 256, length, np.uint8).tobytes()
    message = Image(width=width, height=height, encoding=encoding, step=step)
    message.is_bigendian = draw(st.sampled_from([0, 1]))
    message.data = byte_array('B', data)
    return message


BAYER = [name for name in LAYOUTS if name.startswith('bayer')]
# 16UC1 is a depth image.
NO_BAYER = [name for name in LAYOUTS if name not in BAYER and name != '16UC1']


@given(images(NO_BAYER))
@settings(deadline=None, max_examples=300)
def test_any_image_is_as_slowly_worked_out(message):
    expected, off = slow_bgr(
        bytes(message.data),
        message.encoding,
        message.width,
        message.height,
        message.step,
        message.is_bigendian,
    )
    bgr = image_to_bgr(message)
    assert bgr.shape == (message.height, message.width, 3)
    for (row, column), value in expected.items():
        assert np.abs(bgr[row, column] - np.array(value)).max() <= off, (row, column)


@given(images(BAYER))
@settings(deadline=None, max_examples=100)
def test_any_bayer_image_keeps_its_samples(message):
    """Away from the border, each pixel has the sample that lies there in the sample's colour."""
    bgr = image_to_bgr(message)
    wide = message.encoding.endswith('16')
    colors = BAYER_COLORS[message.encoding.removeprefix('bayer_').rstrip('0123456789')]
    for row in range(1, message.height - 1):
        for column in range(1, message.width - 1):
            place = row * message.step + column * (2 if wide else 1)
            sample = message.data[place + (wide and not message.is_bigendian)]
            assert bgr[row, column, 'bgr'.index(colors[row % 2][column % 2])] == sample
