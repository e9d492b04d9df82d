"""Files for the Rerun viewer beside an output: what is in them, and when."""

from dataclasses import replace

import cv2
import pytest
from rerun_files import content

from linknet_ros.errors import RecordingError
from linknet_ros.ground.settings import GroundSettings
from linknet_ros.inference.settings import InferenceSettings
from linknet_ros.recordings.bags import BagJob, segment_recording
from linknet_ros.recordings.files import FilesJob, segment_source
from linknet_ros.recordings.scene import check_rerun
from linknet_ros.recordings.settings import GROUND, Settings

ON = InferenceSettings(backend='onnxruntime', precision='fp32')


@pytest.fixture(autouse=True)
def rerun():
    return pytest.importorskip('rerun', reason='needs rerun-sdk (pip install .[rerun])')


def test_recording(bags, model, frames, tmp_path):
    header = bags.header(1)
    messages = [('/front/camera_info', 0, bags.camera_info((96, 64), 80.0, header))]
    messages += [
        ('/front/image_raw', i, bags.image(f, header=header)) for i, f in enumerate(frames(3))
    ]
    bags.write(tmp_path / 'in.mcap', messages)
    settings = Settings.of(
        model, ['labels', *GROUND], ON, None, GroundSettings(height=1.5, pitch=0.3)
    )
    scene = tmp_path / 'made' / 'scene.rrd'
    job = BagJob(tmp_path / 'in.mcap', tmp_path / 'out.mcap', settings, rerun=scene)
    plain = replace(job, out=tmp_path / 'plain' / 'out.mcap', rerun=None)
    assert segment_recording(job).complete
    assert segment_recording(plain).complete
    assert job.out.read_bytes() == plain.out.read_bytes()
    paths = content(scene)
    assert {
        '/world/camera',
        '/world/camera/image',
        '/world/camera/image/labels',
        '/confidence',
        '/world/ground/grid',
        '/world/ground/scan',
        '/world/ground/cloud',
        '/stages/network',
        '/',
    } <= paths
    assert [p.name for p in tmp_path.iterdir() if 'part' in p.name] == []


def test_images(model, frames, tmp_path):
    (tmp_path / 'in').mkdir()
    for index, frame in enumerate(frames(2)):
        assert cv2.imwrite(str(tmp_path / 'in' / f'{index}.png'), frame)
    settings = Settings.of(model, ['labels'], ON)
    scene = tmp_path / 'scene.rrd'
    segment_source(FilesJob(str(tmp_path / 'in'), tmp_path / 'out', settings, rerun=scene))
    paths = content(scene)
    assert {'/world/camera/image', '/world/camera/image/labels', '/confidence'} <= paths
    assert '/world/ground/grid' not in paths


def test_one_file_is_of_one_input(tmp_path):
    check_rerun(None, 5)
    check_rerun(tmp_path / 'a.rrd', 1)
    with pytest.raises(RecordingError, match=r'would be of 2 inputs; give them one after the oth'):
        check_rerun(tmp_path / 'a.rrd', 2)
