"""Sources of frames: the street, folders with and without labels, videos, and damaged files."""

import os
import struct
import subprocess
import sys
import zlib

import cv2
import numpy as np
import pytest
from checkout import ROOT
from png_files import png_of

from linknet_ros.errors import SourceError
from linknet_ros.frames import video
from linknet_ros.frames.files import IMAGE_SUFFIXES, SourceFrame, open_files, read_image

#: 2 rows of 3 pixels, BGR.
PIXELS = np.array(
    [[[255, 0, 0], [0, 255, 0], [0, 0, 255]], [[1, 2, 3], [40, 50, 60], [7, 7, 7]]], np.uint8
)
LABELS = np.array([[3, 3, 0], [11, 255, 8]], np.uint8)


@pytest.fixture
def folder(tmp_path):
    """Empty folder val/."""
    folder = tmp_path / 'val'
    folder.mkdir()
    return folder


@pytest.fixture
def annotations(tmp_path):
    """Empty folder valannot/."""
    folder = tmp_path / 'valannot'
    folder.mkdir()
    return folder


def encoded(suffix, image):
    """Bytes of an image file."""
    there, data = cv2.imencode(suffix, image)
    assert there
    return data.tobytes()


def write(path, image=PIXELS):
    path.write_bytes(encoded(path.suffix.lower(), image))


def solid(blue, size=(4, 4)):
    """Picture of one colour, with the given blue."""
    return np.full((*size, 3), (blue, 20, 30), np.uint8)


def noise():
    """Picture that no format makes small, (40, 60, 3)."""
    return np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)


def write_video(path, blues):
    video = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'MJPG'), 10, (32, 24))
    assert video.isOpened()
    for blue in blues:
        video.write(solid(blue, (24, 32)))
    video.release()


# A folder of images.


def test_folder_is_read_by_name(folder):
    for blue, name in ((3, 'c.bmp'), (1, '10.png'), (2, '9.PNG'), (4, 'd.tiff')):
        write(folder / name, solid(blue))
    (folder / 'a.txt').write_text('no image')
    (folder / 'readme').write_text('no image')
    frames = list(open_files(str(folder)).frames())
    assert [frame.bgr[0, 0].tolist() for frame in frames] == [
        [blue, 20, 30] for blue in (1, 2, 3, 4)
    ]
    assert [frame.labels for frame in frames] == [None] * 4


def test_grey_image_becomes_bgr(folder):
    write(folder / 'a.png', np.array([[0, 100], [200, 255]], np.uint8))
    (frame,) = open_files(str(folder)).frames()
    expected = [[[0] * 3, [100] * 3], [[200] * 3, [255] * 3]]
    np.testing.assert_array_equal(frame.bgr, np.array(expected, np.uint8))


def test_folder_plays_twice(folder):
    for blue in (1, 2):
        write(folder / f'{blue}.png', solid(blue))
    source = open_files(str(folder))
    first, second = source.frames(), source.frames()
    next(first)
    for frames, blues in ((second, [1, 2]), (first, [2])):
        assert [frame.bgr[0, 0, 0] for frame in frames] == blues


def test_labels_lie_beside_the_folder(folder, annotations):
    write(folder / 'a.png')
    write(folder / 'b.jpg')
    write(folder / 'c.png')
    write(annotations / 'a.png', LABELS)
    write(annotations / 'b.png', LABELS[::-1])
    a, b, c = open_files(str(folder)).frames()
    np.testing.assert_array_equal(a.labels, LABELS)
    np.testing.assert_array_equal(b.labels, LABELS[::-1])
    assert c.labels is None
    assert a.labels.dtype == np.uint8


@pytest.mark.parametrize(
    ('picture', 'message'),
    [
        (PIXELS, "uint8 (2, 3, 3), expected 8 bits of its frame's size (2, 3)"),
        (LABELS * np.uint16(2), "uint16 (2, 3), expected 8 bits of its frame's size (2, 3)"),
        (LABELS[:1], 'a.png is 3x1, its frame 3x2'),
    ],
    ids=['color', '16-bit', 'size'],
)
def test_annotation_that_holds_no_ids(folder, annotations, picture, message):
    write(folder / 'a.png')
    write(annotations / 'a.png', picture)
    (error,) = open_files(str(folder)).frames()
    assert isinstance(error, SourceError)
    assert message in str(error)


def with_orientation(path, orientation):
    """Write a JPEG of 3x2 pixels that EXIF says is to be turned."""
    entry = struct.pack('>HHHIHHHI', 1, 0x112, 3, 1, orientation, 0, 0, 0)
    exif = b'Exif\0\0MM\0*\0\0\0\x08' + entry
    data = encoded('.jpg', PIXELS)
    path.write_bytes(data[:2] + b'\xff\xe1' + struct.pack('>H', len(exif) + 2) + exif + data[2:])


def test_frame_that_exif_turns(folder, annotations):
    with_orientation(folder / 'a.JPG', 6)
    write(annotations / 'a.PNG', np.ascontiguousarray(np.rot90(LABELS, -1)))
    (frame,) = open_files(str(folder)).frames()
    assert frame.bgr.shape == (3, 2, 3)
    np.testing.assert_array_equal(frame.labels, np.rot90(LABELS, -1))
    write(annotations / 'a.PNG', LABELS)
    (error,) = open_files(str(folder)).frames()
    assert 'a.PNG is 3x2, as ' in str(error)
    assert 'a.JPG is stored; its EXIF orientation turns that frame to 2x3; turn the' in str(error)


@pytest.mark.parametrize(
    ('name', 'data', 'message'),
    [
        ('b.png', encoded('.png', noise())[:4000], r'b\.png is cut short \(4000 bytes\); copy it'),
        ('b.jpg', encoded('.jpg', noise())[:2000], r'b\.jpg is cut short \(2000 bytes\); copy it'),
        ('b.jpg', encoded('.jpg', noise())[:-2], r'b\.jpg is cut short \(\d+ bytes\); copy it'),
        (
            'b.bmp',
            encoded('.bmp', noise())[:4000],
            r'b\.bmp is not a readable image \(4000',
        ),
        ('b.png', b'', r'b\.png is not a readable image \(0 bytes\); copy it again'),
        ('b.png', b'To do: copy the images.\n', r'b\.png is not a readable image \(24 bytes\)'),
    ],
    ids=['png', 'jpg', 'jpg-end', 'bmp', 'empty', 'text'],
)
def test_damaged_image_comes_as_its_error(folder, name, data, message):
    write(folder / 'a.png', solid(1))
    (folder / name).write_bytes(data)
    write(folder / 'c.png', solid(3))
    a, error, c = open_files(str(folder)).frames()
    assert [frame.bgr[0, 0, 0] for frame in (a, c)] == [1, 3]
    with pytest.raises(SourceError, match=message):
        raise error


def test_image_that_is_removed_while_replaying(folder):
    write(folder / 'a.png', solid(1))
    write(folder / 'b.png', solid(2))
    source = open_files(str(folder))
    (folder / 'a.png').unlink()
    error, b = source.frames()
    with pytest.raises(SourceError, match=r'cannot read .*a\.png: No such file or directory'):
        raise error
    assert b.bgr[0, 0, 0] == 2


@pytest.mark.parametrize('suffix', IMAGE_SUFFIXES)
def test_whole_files_of_every_format_are_read(tmp_path, suffix):
    path = tmp_path / f'a{suffix}'
    path.write_bytes(encoded(suffix, noise()))
    assert read_image(path).shape == (40, 60, 3)
    # Some programs write a few bytes of their own behind the image.
    path.write_bytes(encoded(suffix, noise()) + bytes(100))
    assert read_image(path).shape == (40, 60, 3)


def png_of_one_colour(side):
    """A black PNG of one bit per pixel; its file is a 9000th of the pixels as BGR."""
    row = b'\0' + bytes(-(-side // 8))
    pack = zlib.compressobj(9)
    data = b''.join([*(pack.compress(row) for _ in range(side)), pack.flush()])
    return png_of(side, side, (), depth=1, color=0, compressed=data)


#: Reads an image in some more address space than this takes already; OpenCV is imported by it.
READ = """
import resource, sys
from pathlib import Path
import {first}
from linknet_ros.frames.files import read_image
in_use = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (in_use + 500 * 2**20,) * 2)
print(read_image(Path(sys.argv[1])).shape)
"""


def read_in_child(path, first):
    """What a process prints that imports some module before it reads an image."""
    command = [sys.executable, '-c', READ.format(first=first), path]
    child = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    return child.stdout + child.stderr


@pytest.mark.parametrize('first', ['linknet_ros', 'training'])
def test_small_file_of_a_huge_image(tmp_path, first):
    path = tmp_path / 'a.png'
    path.write_bytes(png_of_one_colour(8192))
    assert '(8192, 8192, 3)' in read_in_child(path, first)
    path.write_bytes(png_of_one_colour(12000))
    assert path.stat().st_size < 50_000
    text = read_in_child(path, first)
    assert 'SourceError' in text
    assert 'a.png' in text
    # Not for want of memory.
    assert 'OPENCV_IO_MAX_IMAGE_PIXELS' in text
    assert 'nsufficient memory' not in text


def test_pipe_and_endless_file_among_the_images(folder):
    # Reading it would wait for somebody who writes.
    os.mkfifo(folder / 'a.png')
    (folder / 'b.png').touch()
    os.truncate(folder / 'b.png', 1 << 40)
    pipe, large = open_files(str(folder)).frames()
    assert 'cannot read' in str(pipe)
    assert 'it is a pipe or a device, not a file' in str(pipe)
    assert f'it has {1 << 40} bytes, more than the' in str(large)


# A video.


def test_video_of_too_large_frames(video_path, monkeypatch):
    monkeypatch.setattr(video, 'MAX_PIXELS', 32 * 24)
    assert len(list(open_files(str(video_path)).frames())) == 3
    monkeypatch.setattr(video, 'MAX_PIXELS', 32 * 24 - 1)
    with pytest.raises(SourceError, match=r'drive\.avi has frames of 32x24, more than 767 pixels'):
        open_files(str(video_path))


def test_playlist_is_no_video(tmp_path, video_path):
    # FFmpeg would open what it names, in other folders and on other machines.
    path = tmp_path / 'list.mp4'
    path.write_text(
        f'#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{video_path}\n#EXT-X-ENDLIST\n'
    )
    with pytest.raises(SourceError, match=r'cannot read a frame of video'):
        open_files(str(path))


@pytest.fixture
def video_path(tmp_path):
    """Video of three frames whose blue is 40, 120, 200."""
    path = tmp_path / 'drive.avi'
    write_video(path, (40, 120, 200))
    return path


def test_video_plays_twice(video_path):
    source = open_files(str(video_path))
    for _ in range(2):
        frames = list(source.frames())
        assert all(isinstance(frame, SourceFrame) for frame in frames)
        assert [frame.bgr.shape for frame in frames] == [(24, 32, 3)] * 3
        for frame, blue in zip(frames, (40, 120, 200), strict=True):
            # Motion JPEG keeps colours of a flat picture to a few steps.
            assert np.abs(frame.bgr.astype(int) - solid(blue, (24, 32))).max() <= 4
        assert [frame.labels for frame in frames] == [None] * 3


def test_video_without_frames(tmp_path):
    path = tmp_path / 'drive.avi'
    write_video(path, ())
    assert path.stat().st_size > 0
    with pytest.raises(SourceError, match=r'cannot read a frame of video .*drive\.avi; is it com'):
        open_files(str(path))


@pytest.mark.parametrize('data', [b'', b'no video\n'], ids=['empty', 'text'])
def test_video_that_is_none(tmp_path, data):
    path = tmp_path / 'drive.mp4'
    path.write_bytes(data)
    with pytest.raises(SourceError, match=r'cannot read a frame of video .*drive\.mp4'):
        open_files(str(path))


# Nothing to replay.


def test_empty_folder(folder):
    (folder / 'notes.txt').write_text('images come later')
    with pytest.raises(SourceError, match=r'no image in folder .*val; it should hold \.png, \.jp'):
        open_files(str(folder))


def test_missing_path(tmp_path):
    message = r"no folder or video '.*/none'; give an existing path"
    with pytest.raises(SourceError, match=message):
        open_files(str(tmp_path / 'none'))


@pytest.mark.parametrize('name', ['notes.txt', 'frame.png', 'street'])
def test_file_of_another_kind(tmp_path, name):
    path = tmp_path / name
    path.write_text('something')
    message = rf"cannot replay '.*{name}': neither a folder of images nor a video \(\.mp4, \.avi"
    with pytest.raises(SourceError, match=message):
        open_files(str(path))
