"""The projection beside the street's geometry; nothing is timed."""

import numpy as np
import pytest

from linknet_ros.classes import CAMVID
from linknet_ros.ground.contacts import CONTACT, UNKNOWN, Contacts
from linknet_ros.simulation.ground_accuracy import (
    Report,
    camera_model,
    camera_mount,
    main,
    measure,
)
from linknet_ros.simulation.street import StreetDrive
from linknet_ros.simulation.truth import CAR, KERB, StreetTruth


@pytest.fixture(scope='module')
def truth():
    """Street 0 at 4 s."""
    drive = StreetDrive(0)
    return StreetTruth(drive, drive.camera).at(4.0, drive.frame(4.0).labels)


def test_street_camera_is_the_model():
    camera = StreetDrive(3).camera
    points = np.array([[5.0, 1, 0], [12, -3, 1], [7, 0, 0]])
    mount = camera_mount(camera)
    rays = (points - mount.position) @ mount.matrix
    np.testing.assert_allclose(
        camera_model(camera).project(rays), camera.project(points)[:, :2], atol=1e-6
    )


def test_true_labels_give_the_true_ground():
    report = measure(lambda _, labels: (labels, None), CAMVID, [1, 2], 2, None, clearance=0.2)
    assert report.grid.iou > 0.85
    assert report.grid.falsely_free < 0.02
    true, error, reason = np.concatenate(report.errors).T
    kerb = (reason == KERB) & (true < 10)
    assert kerb.sum() > 300
    # Every contact within 10 m is found, to some centimetres.
    assert not np.isnan(error[kerb]).any()
    assert np.quantile(np.abs(error[kerb]), 0.9) < 0.08
    assert abs(np.median(error[kerb])) < 0.03
    assert len(report.milliseconds) == 4


def test_report_counts():
    report = Report(milliseconds=[1.0, 3.0, 2.0])
    cells = np.array([[0, 0, 100], [-1, 0, -1]], np.int8)
    free = np.array([[True, False, False], [True, True, True]])
    report.grid.add(cells, free)
    report.errors.append(
        np.array([[4, 0.1, KERB], [4, -0.3, KERB], [4, np.nan, KERB], [12, 1, CAR], [30, 9, CAR]])
    )
    lines = report.lines()
    assert 'IoU 0.400' in lines[0]
    assert '33.33% is not' in lines[0]
    assert '50.0% is found' in lines[0]
    assert '2.00 ms (median), 3.00 ms (longest)' in lines[1]
    (kerb,) = (line for line in lines if line.startswith('kerb'))
    assert kerb.split() == ['kerb', '0-5', '3', '66.7%', '-0.10', '0.20,', '0.28']
    (car,) = (line for line in lines if line.startswith('car'))
    assert car.split()[:3] == ['car', '10-20', '1']


def test_contacts_are_compared_with_the_truth_of_their_bearing(truth):
    street = truth

    class Rays:
        azimuth = street.azimuth[street.reason == KERB][::7] + 0.0001
        near = np.ones((len(azimuth), 2))

    class Projection:
        rays = Rays

    limits = street.limit[street.nearest(Rays.azimuth)]
    kinds = np.full(len(limits), CONTACT, np.uint8)
    kinds[0] = UNKNOWN
    report = Report()
    report.add_contacts(Projection, Contacts(limits + 0.25, kinds), street)
    (rows,) = report.errors
    assert np.isnan(rows[0, 1]) or street.cut[street.nearest(Rays.azimuth)][0]
    np.testing.assert_allclose(rows[1:, 1], 0.25)
    assert set(rows[:, 2]) == {KERB}


def test_command_line(model_path, tmp_path, capsys):
    folder = tmp_path / 'pictures'
    arguments = ['--seeds', '1', '--frames', '1', '--model', str(model_path)]
    main([*arguments, '--backend', 'onnxruntime', '--pictures', str(folder)])
    said = capsys.readouterr().out
    assert "With the street's own labels, 1 streets, 1 frames each:" in said
    assert 'With labels of' in said
    assert {path.relative_to(folder).as_posix() for path in folder.rglob('*.png')} == {
        'true/street_1.png',
        'model/street_1.png',
    }


def test_command_line_without_a_model():
    with pytest.raises(SystemExit, match=r'error: .*nowhere\.onnx'):
        main(['--model', '/nowhere.onnx'])
