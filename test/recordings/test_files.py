"""Images and videos through the network: every pixel and name of the output."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest

from linknet_ros.errors import LinknetError, RecordingError, SourceError
from linknet_ros.inference.settings import InferenceSettings
from linknet_ros.products.colors import blend, colorize
from linknet_ros.recordings.files import FilesJob, segment_source
from linknet_ros.recordings.settings import Settings

ON = InferenceSettings(backend='onnxruntime', precision='fp32')


@pytest.fixture
def job(model, tmp_path):
    settings = Settings.of(model, ('labels', 'overlay'), ON)
    return FilesJob(str(tmp_path / 'in'), tmp_path / 'out', settings)


@pytest.fixture
def images(frames, tmp_path):
    """Four images in the folder in/."""
    (tmp_path / 'in').mkdir()
    made = dict(zip(['a.png', 'b.png', 'c.bmp', 'd.png'], frames(4), strict=True))
    for name, frame in made.items():
        assert cv2.imwrite(str(tmp_path / 'in' / name), frame)
    return made


def write_video(path, pictures, rate=7):
    height, width = pictures[0].shape[:2]
    video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*'MJPG'), rate, (width, height))
    assert video.isOpened()
    for picture in pictures:
        video.write(picture)
    video.release()


def read_video(path):
    video, found = cv2.VideoCapture(str(path)), []
    while (read := video.read())[0]:
        found.append(read[1])
    return found, video.get(cv2.CAP_PROP_FPS)


def files(folder):
    found = (p for p in folder.rglob('*') if p.is_file() and p.name != 'classes.json')
    return sorted(p.relative_to(folder).as_posix() for p in found)


def read(path):
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


def test_folder(job, images, class_table):
    report = segment_source(job)
    names = ['a.png', 'b.png', 'c.png', 'd.png']
    assert files(job.out) == [f'{kind}/{name}' for kind in ('labels', 'overlay') for name in names]
    for name, frame in zip(names, images.values(), strict=True):
        labels = read(job.out / 'labels' / name)
        np.testing.assert_array_equal(labels, frame.argmax(2))
        colors = colorize(labels, class_table.palette_bgr())
        expected = blend(frame, colors, labels, 0.5)
        np.testing.assert_array_equal(read(job.out / 'overlay' / name), expected)
    about = json.loads((job.out / 'classes.json').read_text())
    assert about['classes'][1] == {'id': 1, 'name': 'car', 'color': [0, 0, 142], 'drivable': False}
    assert (about['sha256'], about['parameters']['jpeg_quality']) == (job.settings.sha256, 80)
    assert (report.frames, report.segmented, report.complete) == (4, 4, True)
    assert not job.out.with_name('out.part').exists()


def test_another_size(job, images):
    settings = replace(job.settings, inference=replace(ON, label_width=48))
    segment_source(replace(job, settings=settings))
    labels = read(job.out / 'labels' / 'a.png')
    np.testing.assert_array_equal(labels, images['a.png'].argmax(2)[1::2, 1::2])
    assert read(job.out / 'overlay' / 'a.png').shape == (64, 96, 3)


@pytest.mark.parametrize(
    ('setting', 'note'),
    [
        ({'labels_like': '/depth'}, 'labels_like is a topic, which only recordings have'),
        ({'temporal_filter': True}, 'temporal_filter needs a video or a recording, not images'),
    ],
)
def test_settings_without_effect_are_named(job, images, setting, note):
    settings = replace(job.settings, inference=replace(ON, **setting))
    assert segment_source(replace(job, settings=settings)).notes == [note]


def test_outputs(job, images, model):
    names = ('masks/car', 'confidence', 'overlay/compressed', 'labels/compressed')
    segment_source(replace(job, settings=Settings.of(model, names, ON)))
    kinds = ('confidence/{}.png', 'labels/{}.png', 'masks/car/{}.png', 'overlay/{}.jpg')
    assert files(job.out) == sorted(kind.format(name) for kind in kinds for name in 'abcd')
    frame = images['b.png']
    mask = np.where(frame.argmax(2) == 1, 255, 0)
    np.testing.assert_array_equal(read(job.out / 'masks/car/b.png'), mask)
    np.testing.assert_array_equal(read(job.out / 'confidence/b.png'), frame.max(2))
    np.testing.assert_array_equal(read(job.out / 'labels/b.png'), frame.argmax(2))


@pytest.mark.parametrize(('source', 'names'), [('in/[ab].png', 'ab'), ('in/c.bmp', 'c')])
def test_pattern_and_single_image(job, images, tmp_path, source, names):
    segment_source(replace(job, source=str(tmp_path / source)))
    assert files(job.out / 'labels') == [f'{name}.png' for name in names]


def test_same_name_twice(job, images, frames, tmp_path):
    (other,) = frames(1, seed=9)
    (tmp_path / 'in' / 'more').mkdir()
    for name in ('a.bmp', 'more/a.png'):
        cv2.imwrite(str(tmp_path / 'in' / name), other)
    segment_source(replace(job, source=str(tmp_path / 'in' / '**' / 'a.*')))
    assert files(job.out / 'labels') == ['a-2.png', 'a.png', 'a.png.png']
    first = read(job.out / 'labels' / 'a.png.png')
    np.testing.assert_array_equal(first, images['a.png'].argmax(2))
    for name in ('a.png', 'a-2.png'):
        np.testing.assert_array_equal(read(job.out / 'labels' / name), other.argmax(2))


def test_bad_image(job, images, tmp_path):
    (tmp_path / 'in' / 'b.png').write_bytes(b'nothing')
    report = segment_source(job)
    assert files(job.out / 'labels') == ['a.png', 'c.png', 'd.png']
    assert (report.frames, report.segmented) == (4, 3)
    (reason,) = report.bad
    assert 'b.png is not a readable image' in reason


def test_video_to_folder(job, frames, tmp_path):
    path = tmp_path / 'in.avi'
    write_video(path, frames(3))
    segment_source(replace(job, source=str(path)))
    shown, _ = read_video(path)
    assert files(job.out / 'labels') == ['000000.png', '000001.png', '000002.png']
    for number, frame in enumerate(shown):
        found = read(job.out / 'labels' / f'{number:06d}.png')
        np.testing.assert_array_equal(found, frame.argmax(2))


@pytest.mark.parametrize(('rate', 'expected'), [(0.0, 7), (25.0, 25)])
def test_video_to_video(job, tmp_path, class_table, rate, expected):
    # Large areas, which the codec keeps well enough to be told from each other.
    pictures = [np.full((64, 96, 3), color, np.uint8) for color in np.eye(3, dtype=np.uint8) * 250]
    path, out = tmp_path / 'in.avi', tmp_path / 'out.mp4'
    write_video(path, pictures)
    settings = replace(job.settings, outputs=('color',))
    segment_source(replace(job, source=str(path), out=out, settings=settings, rate=rate))
    shown, found = read_video(out)
    assert found == pytest.approx(expected, rel=1e-4)
    assert len(shown) == 3
    for index, picture in enumerate(shown):
        color = class_table.palette_bgr()[index]
        assert np.abs(picture.astype(int) - color).max() < 12


def test_images_of_a_camera_that_is_mounted_turned(job, frames, tmp_path):
    """Labels lie as the image does, the overlay is upright."""
    # Blocks, since what is turned has to be scaled.
    frame = frames(1, 6, 4)[0].repeat(16, 0).repeat(16, 1)
    (tmp_path / 'in').mkdir()
    cv2.imwrite(str(tmp_path / 'in' / 'a.png'), frame)
    products = replace(job.settings.products, overlay_opacity=0.0, overlay_legend=False)
    inference = replace(ON, rotate=90)
    settings = replace(job.settings, inference=inference, products=products)
    segment_source(replace(job, settings=settings))
    labels = read(job.out / 'labels' / 'a.png')
    assert labels.shape == frame.shape[:2]
    assert (labels == frame.argmax(2)).mean() > 0.9
    upright = np.rot90(frame, -1)
    np.testing.assert_array_equal(read(job.out / 'overlay' / 'a.png'), upright)


def test_video_shows_one_picture(job, images, tmp_path):
    for outputs in (('labels',), ('color', 'overlay')):
        settings = replace(job.settings, outputs=outputs)
        with pytest.raises(RecordingError, match='can show only color or overlay'):
            segment_source(
                replace(job, out=tmp_path / 'out.mp4', settings=settings, overwrite=True)
            )


def test_video_of_images_of_one_size(job, images, frames, tmp_path):
    cv2.imwrite(str(tmp_path / 'in' / 'b.png'), frames(1, 64, 64)[0])
    settings = replace(job.settings, outputs=('overlay',))
    report = segment_source(replace(job, out=tmp_path / 'out.mp4', settings=settings))
    assert dict(report.bad) == {'a frame of 64x64 in a video of 96x64': 1}
    assert len(read_video(tmp_path / 'out.mp4')[0]) == 3


def test_video_that_ends_early(job, frames, tmp_path):
    path = tmp_path / 'in.avi'
    write_video(path, frames(30))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    report = segment_source(replace(job, source=str(path)))
    assert 5 < report.segmented < 25
    assert len(files(job.out / 'labels')) == report.segmented
    assert report.damage
    assert not report.complete


def test_goes_on(job, images, monkeypatch, tmp_path):
    write = type(tmp_path).write_bytes
    written = []

    def full(path, data):
        written.append(path)
        if len(written) == 5:
            raise OSError(28, 'No space left on device')
        return write(path, data)

    monkeypatch.setattr(type(tmp_path), 'write_bytes', full)
    with pytest.raises(OSError, match='No space left'):
        segment_source(job)
    assert not job.out.exists()
    with pytest.raises(LinknetError, match='go on with --resume'):
        segment_source(job)
    report = segment_source(replace(job, resume=True))
    assert (report.resumed, report.segmented) == (3, 4)
    single = segment_source(replace(job, out=tmp_path / 'single'))
    assert single.resumed == 0
    assert files(job.out) == files(tmp_path / 'single')
    for name in files(job.out):
        assert (job.out / name).read_bytes() == (tmp_path / 'single' / name).read_bytes()
    assert segment_source(replace(job, resume=True)).skipped


@pytest.mark.parametrize(
    ('source', 'message'),
    [
        ('nothing', "no folder or video 'nothing'"),
        ('nothing/*.png', r"no image matches 'nothing/\*\.png'"),
    ],
)
def test_no_source(job, source, message):
    with pytest.raises(SourceError, match=message):
        segment_source(replace(job, source=source))
    assert not job.out.with_name('out.part').exists()
