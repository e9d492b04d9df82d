"""Frames of bags, videos and images: the right ones, with their names, stamps and bytes."""

import cv2
import numpy as np
import pytest

from linknet_ros.errors import LinknetError
from linknet_ros.frames.video import VideoWriter
from linknet_ros.recordings.frame_streams import is_recording, open_streams


def everything(_):
    return True


def read(source, wanted=everything, **how):
    with open_streams([str(source)], **how) as (stream,):
        return list(stream.read(wanted))


def jpeg(frame):
    return cv2.imencode('.jpg', frame, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()


def turned_jpeg(frame, orientation=6):
    """A JPEG that EXIF says is to be turned."""
    tiff = (
        b'II*\0\x08\0\0\0\x01\0' + b'\x12\x01\x03\0\x01\0\0\0' + bytes([orientation]) + b'\0' * 7
    )
    body = b'Exif\0\0' + tiff
    segment = b'\xff\xe1' + (len(body) + 2).to_bytes(2, 'big') + body
    data = jpeg(frame)
    return data[:2] + segment + data[2:]


def test_bag(bags, frames, tmp_path):
    made = frames(4)
    messages = [('/camera', 7, bags.image(frame, i)) for i, frame in enumerate(made)]
    path = bags.write(tmp_path / 'my_drive.mcap', messages)
    found = read(path, lambda index: index % 2 == 1)
    assert [frame.index for frame in found] == [1, 3]
    # Seconds and nanoseconds of the stamp; the sequence is what is before the first '_'.
    names = ['my-drive_000001_000000001', 'my-drive_000003_000000003']
    assert [frame.name for frame in found] == names
    assert [frame.stamp for frame in found] == [1_000_000_001, 3_000_000_003]
    for frame in found:
        np.testing.assert_array_equal(frame.bgr, made[frame.index])
        ending, data = frame.file()
        assert ending == '.png'
        png = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(png, frame.bgr)


def test_without_a_stamp_the_time_of_receipt_names_a_frame(bags, frames, tmp_path):
    path = bags.write(tmp_path / 'a.mcap', [('/camera', 5 * 10**9, bags.image(frames(1)[0]))])
    assert read(path)[0].name == 'a_000005_000000000'


def test_compressed_messages_keep_their_bytes(bags, frames, tmp_path):
    frame = frames(1, width=64, height=64)[0]
    grey = cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY)
    sent = [jpeg(frame), jpeg(grey), cv2.imencode('.png', frame)[1].tobytes()]
    messages = [('/c', i, bags.compressed(data, i + 1)) for i, data in enumerate(sent)]
    found = read(bags.write(tmp_path / 'a_db3', messages))
    assert [frame.file() for frame in found] == list(
        zip(('.jpg', '.jpg', '.png'), sent, strict=True)
    )


def test_bytes_that_show_something_else_are_not_kept(bags, frames, tmp_path):
    """A Bayer pattern, 16 bits, and EXIF that other readers would turn by."""
    frame = frames(1, width=64, height=64)[0]
    deep = (frame[..., 0].astype(np.uint16) << 4).clip(1)
    sent = [
        bags.compressed(cv2.imencode('.png', frame[..., 0])[1].tobytes(), 1, 'bayer_rggb8; png'),
        bags.compressed(cv2.imencode('.png', deep)[1].tobytes(), 2, 'mono16; png'),
        bags.compressed(turned_jpeg(frame), 3),
    ]
    path = bags.write(tmp_path / 'a.mcap', [('/c', i, message) for i, message in enumerate(sent)])
    for found in read(path):
        ending, data = found.file()
        assert ending == '.png'
        seen = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(seen, found.bgr)


def test_files_turned_by_exif_are_written_upright(frames, tmp_path):
    frame = cv2.resize(frames(1, 6, 4)[0], (96, 64), interpolation=cv2.INTER_CUBIC)
    (tmp_path / 'photos').mkdir()
    (tmp_path / 'photos' / 'a.jpg').write_bytes(turned_jpeg(frame))
    (tmp_path / 'photos' / 'b.jpg').write_bytes(jpeg(frame))
    turned, plain = read(tmp_path / 'photos')
    assert turned.name == 'photos_a'
    assert turned.bgr.shape == (96, 64, 3)
    ending, data = turned.file()
    assert ending == '.png'
    seen = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(seen, turned.bgr)
    assert plain.file() == ('.jpg', jpeg(frame))


def test_video(frames, tmp_path):
    pytest.importorskip('av')
    writer = VideoWriter(tmp_path / 'clip.mp4')
    for index, frame in enumerate(frames(5)):
        writer.write(frame, index / 10, 10)
    writer.close(0.5)
    found = read(tmp_path / 'clip.mp4', lambda index: index == 3)
    assert [(f.index, f.name, f.stamp) for f in found] == [
        (3, 'clip_000000_300000000', 300_000_000)
    ]
    assert found[0].file()[0] == '.png'


def test_several_sources_and_topics_have_names_of_their_own(bags, frames, tmp_path):
    frame = frames(1)[0]
    messages = [(topic, 1, bags.image(frame, 1)) for topic in ('/left', '/right')]
    path = bags.write(tmp_path / 'x.mcap', messages)
    for folder in ('a/left', 'b/left'):
        (tmp_path / folder).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / folder / '0.png'), frame)
    sources = [str(path), str(tmp_path / 'a/left'), str(tmp_path / 'b/left')]
    with open_streams(sources, ['/left', '/right']) as streams:
        names = [frame.name for stream in streams for frame in stream.read(everything)]
    moment = '000001_000000001'
    assert names == [f'x-left_{moment}', f'x-right_{moment}', 'left_0', 'left-2_0']
    with (
        pytest.raises(LinknetError, match='name one with --topic: /left, /right'),
        open_streams([str(path)]),
    ):
        pass


def test_bad_frames_are_told_and_left_out(bags, frames, tmp_path):
    sent = [bags.compressed(b'no image', 1), bags.compressed(jpeg(frames(1)[0]), 2)]
    path = bags.write(tmp_path / 'a.mcap', [('/c', i, message) for i, message in enumerate(sent)])
    failed = []
    with open_streams([str(path)]) as (stream,):
        found = list(stream.read(everything, lambda index, error: failed.append((index, error))))
    assert [frame.index for frame in found] == [1]
    assert failed[0][0] == 0
    assert 'neither JPEG nor PNG' in str(failed[0][1])


@pytest.mark.parametrize(
    ('name', 'is_one'),
    [('a.mcap', True), ('a.db3.zstd', True), ('a.bag', True), ('a.mp4', False), ('none', False)],
)
def test_what_a_recording_is_called(tmp_path, name, is_one):
    assert is_recording(tmp_path / name) == is_one
    (tmp_path / 'folder').mkdir()
    (tmp_path / 'folder' / name).touch()
    assert is_recording(tmp_path / 'folder') == is_one
