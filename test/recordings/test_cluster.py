"""Recordings as tasks of a Ray cluster of two workers on this machine."""

import os
import signal
from dataclasses import replace

import pytest

from linknet_ros.errors import LinknetError, RecordingError
from linknet_ros.inference.settings import InferenceSettings
from linknet_ros.recordings.bags import BagJob, segment_recording
from linknet_ros.recordings.cluster import LOCAL, run_on_ray
from linknet_ros.recordings.settings import Settings

NAMES, FAULTS = ('a.mcap', 'b.mcap', 'c.mcap'), ('mistake', 'full')


@pytest.fixture(autouse=True)
def ray():
    return pytest.importorskip('ray', reason='needs Ray (pip install .[cluster])')


@pytest.fixture
def jobs(bags, frames, model, tmp_path):
    """Jobs of three recordings of 8 frames."""
    settings = Settings.of(
        model,
        ('labels', 'overlay'),
        InferenceSettings(backend='onnxruntime', precision='fp32', threads=1),
    )
    jobs = []
    for seed, name in enumerate(NAMES):
        images = [bags.image(frame, i) for i, frame in enumerate(frames(8, seed=seed))]
        path = bags.write(tmp_path / name, [('/camera', i, m) for i, m in enumerate(images)])
        jobs.append(BagJob(path, tmp_path / 'ray' / name, settings))
    return jobs


def single_run(jobs, tmp_path):
    """What one process makes of the jobs, by name."""
    made = {}
    for job in jobs:
        job = replace(job, out=tmp_path / 'single' / job.out.name)
        segment_recording(job)
        made[job.out.name] = job.out.read_bytes()
    return made


def test_faults_of_the_cluster_and_of_the_user(jobs, tmp_path):
    """Of b.mcap the first try is killed in its midst, of c.mcap the disk fails once.

    A user's mistake is not tried again, and a fault that stays is given up; the others go on.
    """
    tries, whole = tmp_path / 'tries', jobs[:3]

    def work(job):
        name = job.out.name
        with tries.open('a') as file:
            file.write(name)
        first = tries.read_text().count(name) == 1
        if name == 'mistake':
            raise RecordingError('no topic /x')
        if name == 'full':
            raise OSError(28, 'No space left on device')

        def progress(done, total):
            if first and done == 5 and name == 'b.mcap':
                os.kill(os.getpid(), signal.SIGKILL)
            if first and done == 5 and name == 'c.mcap':
                raise OSError(5, 'Input/output error')

        return segment_recording(job, progress)

    jobs = [*jobs, *(BagJob(tmp_path / n, tmp_path / n, jobs[0].settings) for n in FAULTS)]
    reports = {r.source: r for r in run_on_ray(jobs, LOCAL, cpus=2, work=work)}
    assert {source: (r.error, r.segmented, r.resumed) for source, r in reports.items()} == {
        str(tmp_path / 'a.mcap'): ('', 8, 0),
        # A try always goes on where another ended.
        str(tmp_path / 'b.mcap'): ('', 8, 5),
        str(tmp_path / 'c.mcap'): ('', 8, 5),
        str(tmp_path / 'mistake'): ('no topic /x', 0, 0),
        str(tmp_path / 'full'): (
            '4 tries failed, the last with OSError: [Errno 28] No space left on device; go on '
            'with --resume',
            *(0, 0),
        ),
    }
    counts = [tries.read_text().count(name) for name in (*NAMES, *FAULTS)]
    assert counts == [1, 2, 2, 1, 4]
    made = {path.name: path.read_bytes() for path in (tmp_path / 'ray').iterdir()}
    assert made == single_run(whole, tmp_path)


def test_no_cluster(jobs):
    with pytest.raises(LinknetError, match=r'no Ray cluster at 127\.0\.0\.1:1 \(.*ray start'):
        next(run_on_ray(jobs, '127.0.0.1:1'))
