"""Videos as phones and cameras make them: times, turns, odd sides, damage, codecs."""

import sys
from fractions import Fraction

import cv2
import numpy as np
import pytest

from linknet_ros.errors import FrameError, SourceError
from linknet_ros.frames.video import Video, VideoWriter

#: Seconds of frames at a changing rate, and the end of the last.
TIMES, END = (0.0, 0.04, 0.5, 0.54, 1.9), 3.0


@pytest.fixture
def av():
    return pytest.importorskip('av', reason='needs PyAV (pip install .[bags])')


def solid(value, size=(48, 64)):
    return np.full((*size, 3), value, np.uint8)


def levels(path):
    """Mean of each frame, and their times."""
    found = list(Video(path).frames())
    return [round(float(frame.mean())) for frame, _ in found], [time for _, time in found]


def encode(av, path, pictures, codec='libx264', times=None, **stream_options):
    """A video as another program makes it."""
    with av.open(str(path), 'w') as container:
        stream = container.add_stream(codec, rate=10)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = 'yuvj420p' if codec == 'mjpeg' else 'yuv420p'
        for name, value in stream_options.items():
            getattr(stream, name)(value)
        for index, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format='bgr24')
            if times:
                stream.codec_context.time_base = frame.time_base = Fraction(1, 1000)
                frame.pts = round(1000 * times[index])
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@pytest.mark.parametrize('size', [(48, 64), (97, 161), (48, 63), (47, 64)])
def test_keeps_times_and_sides(av, tmp_path, size):
    path = tmp_path / 'a.mp4'
    writer = VideoWriter(path)
    for index, time in enumerate(TIMES):
        writer.write(solid(50 * index, size), time, 10.0)
    writer.close(END)
    assert writer.notes == []
    means, times = levels(path)
    np.testing.assert_allclose(means, [0, 50, 100, 150, 200], atol=6)
    np.testing.assert_allclose(times, TIMES, atol=1e-3)
    video = Video(path)
    assert next(video.frames())[0].shape == (*size, 3)
    assert sum(1 for _ in video.frames()) == video.count == 5
    assert video.length == pytest.approx(END, abs=1e-3)
    assert video.damage == []
    opened = cv2.VideoCapture(str(path))
    assert (opened.get(cv2.CAP_PROP_FRAME_HEIGHT), opened.get(cv2.CAP_PROP_FRAME_WIDTH)) == size
    with av.open(str(path)) as container:
        assert container.duration == pytest.approx(1e6 * END, abs=2000)


@pytest.mark.parametrize('suffix', ['.mp4', '.mkv', '.mov'])
def test_changing_rate_of_other_programs(av, tmp_path, suffix):
    path = tmp_path / f'a{suffix}'
    encode(av, path, [solid(50 * i) for i in range(5)], times=[t + 7 for t in TIMES])
    means, times = levels(path)
    np.testing.assert_allclose(means, [0, 50, 100, 150, 200], atol=6)
    # Some containers begin at 7 s, some at 0: the first frame is the beginning.
    np.testing.assert_allclose(times, TIMES, atol=2e-3)


@pytest.mark.parametrize(('turn', 'expected'), [(90, 1), (-90, 3), (180, 2), (0, 0)])
def test_turned_as_opencv_turns_it(av, tmp_path, turn, expected):
    picture = solid(0)
    picture[:24, :32] = 250
    path = tmp_path / 'a.mp4'
    encode(av, path, [picture] * 3, set_display_rotation=turn)
    frame = next(Video(path).frames())[0]
    np.testing.assert_allclose(frame.astype(int), np.rot90(picture, expected), atol=30)
    np.testing.assert_allclose(frame, cv2.VideoCapture(str(path)).read()[1], atol=6)


@pytest.mark.parametrize(
    ('codec', 'suffix'),
    [('libx265', '.mp4'), ('libsvtav1', '.mkv'), ('libvpx-vp9', '.webm'), ('mjpeg', '.avi')],
)
def test_codecs(av, tmp_path, codec, suffix):
    if codec not in av.codecs_available:
        pytest.skip(f'this FFmpeg has no {codec}')
    path = tmp_path / f'a{suffix}'
    encode(av, path, [solid(60 * i, (64, 96)) for i in range(4)], codec)
    video = Video(path)
    assert len(list(video.frames())) == 4
    # The number of frames in these containers is a guess or missing, and no damage.
    assert video.damage == []


@pytest.mark.parametrize('library', ['av', 'opencv'])
def test_cut_short(av, tmp_path, library, monkeypatch):
    path = tmp_path / 'a.avi'
    rng = np.random.default_rng(0)
    encode(av, path, list(rng.integers(0, 256, (40, 48, 64, 3), np.uint8)), 'mjpeg')
    if library == 'opencv':
        monkeypatch.setitem(sys.modules, 'av', None)
    video = Video(path)
    assert len(list(video.frames())) == 40
    assert video.damage == []
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    video = Video(path)
    assert 10 < len(list(video.frames())) < 30
    assert video.damage or library == 'opencv'  # which counts what is there in some versions


def test_damaged_inside(av, tmp_path):
    path = tmp_path / 'a.mp4'
    rng = np.random.default_rng(0)
    encode(av, path, list(rng.integers(0, 256, (20, 48, 64, 3), np.uint8)))
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 3000] = b'\xff' * 3000
    path.write_bytes(data)
    video = Video(path)
    assert 5 < len(list(video.frames())) <= 20
    assert video.damage or len(list(video.frames())) == 20


def test_codec_without_a_decoder_is_named(av, tmp_path):
    path = tmp_path / 'a.mp4'
    encode(av, path, [solid(9)] * 3)
    path.write_bytes(path.read_bytes().replace(b'avc1', b'dvx9'))
    with pytest.raises(SourceError, match=r'dvx9|unknown|cannot decode') as error:
        list(Video(path).frames())
    assert 'a.mp4' in str(error.value)


def test_size_that_changes(av, tmp_path):
    writer = VideoWriter(tmp_path / 'a.mp4')
    writer.write(solid(0), 0.0, 10.0)
    with pytest.raises(FrameError, match='a frame of 32x32 in a video of 64x48'):
        writer.write(solid(0, (32, 32)), 0.1, 10.0)
    writer.close(0.2)
    with pytest.raises(SourceError, match='none of the frames can be shown'):
        VideoWriter(tmp_path / 'b.mp4').close()


@pytest.mark.parametrize('size', [(48, 64), (97, 161)])
def test_without_pyav(tmp_path, monkeypatch, size):
    """One rate, and odd sides are padded, which is said."""
    monkeypatch.setitem(sys.modules, 'av', None)
    path = tmp_path / 'a.mp4'
    writer = VideoWriter(path)
    for index in range(4):
        writer.write(solid(60 * index, size), index / 5, 5.0)
    writer.close(0.8)
    assert len(writer.notes) == size[0] % 2
    video = Video(path)
    found = list(video.frames())
    assert [round(time, 3) for _, time in found] == [0.0, 0.2, 0.4, 0.6]
    assert found[0][0].shape == (*(side + side % 2 for side in size), 3)
    assert (video.count, video.rate, video.damage) == (4, 5.0, [])
