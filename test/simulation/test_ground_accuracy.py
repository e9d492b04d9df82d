"""The ground projection against the street's geometry; nothing is timed."""

import re

import numpy as np
import pytest

from linknet_ros.classes import CAMVID
from linknet_ros.simulation.ground_accuracy import (
    Accuracy,
    Trial,
    camera_model,
    camera_mount,
    main,
    measure,
)
from linknet_ros.simulation.street import StreetDrive
from linknet_ros.simulation.truth import CAR, KERB


def test_street_camera_is_the_model():
    camera = StreetDrive(3).camera
    points = np.array([[5.0, 1, 0], [12, -3, 1], [7, 0, 0]])
    mount = camera_mount(camera)
    rays = (points - mount.position) @ mount.matrix
    np.testing.assert_allclose(
        camera_model(camera).project(rays), camera.project(points)[:, :2], atol=1e-6
    )


def test_true_labels_give_the_true_ground():
    trial = Trial('true', lambda _, labels: (labels, None), CAMVID, clearance=0.2)
    [accuracy] = measure([trial], [1], 2)
    assert accuracy.grid.iou > 0.85
    assert accuracy.grid.falsely_free < 0.02
    true, error, reason = np.concatenate(accuracy.errors).T
    kerb = (reason == KERB) & (true < 10)
    assert kerb.sum() > 300
    # Every contact within 10 m is found, to some centimetres.
    assert not np.isnan(error[kerb]).any()
    assert np.quantile(np.abs(error[kerb]), 0.9) < 0.08
    assert abs(np.median(error[kerb])) < 0.03
    assert len(accuracy.milliseconds) == 2
    # Cells that a kerb crosses cost what the pavement does.
    (roads, really), (paved, pavements) = accuracy.costs[0], accuracy.costs[30]
    assert really > 0.999 * roads > 10_000
    assert pavements > 0.85 * paved > 2_000


def test_report_counts():
    accuracy = Accuracy(milliseconds=[1.0, 3.0, 2.0])
    cells = np.array([[0, 0, 100], [-1, 0, -1]], np.int8)
    free = np.array([[True, False, False], [True, True, True]])
    accuracy.grid.add(cells, free)
    accuracy.near.add(cells, free, np.array([[True, True, True], [False] * 3]))
    accuracy.errors.append(
        np.array([[4, 0.1, KERB], [4, -0.3, KERB], [4, np.nan, KERB], [12, 1, CAR], [30, 9, CAR]])
    )
    lines = accuracy.lines()
    assert 'IoU 0.400' in lines[0]
    assert '33.33% of the cells reported as free are not' in lines[0]
    assert '50.0% of the free cells are found' in lines[0]
    assert lines[1].startswith('within 8 m: 1 of the 2 cells reported as free are not; 0 of the 1')
    road, pavement = CAMVID.ids(['road', 'pavement'])
    accuracy.add_costs(np.array([[0, 0, 30, 100]], np.int8), np.array([[road, pavement] * 2]))
    assert '50.0% of 2 cells of the cost of road are road' in accuracy.lines()[2]
    assert '0.0% of 1 cells of the cost of pavement are pavement' in accuracy.lines()[2]
    assert '2.00 ms (median), 3.00 ms (longest)' in lines[3]
    (kerb,) = (line for line in lines if line.startswith('kerb'))
    assert kerb.split() == ['kerb', '0-5', '3', '66.7%', '-0.10', '0.20,', '0.28']
    (car,) = (line for line in lines if line.startswith('car'))
    assert car.split()[:3] == ['car', '10-20', '1']


def test_command_line(model_path, tmp_path, capsys):
    arguments = ['--seeds', '1', '--frames', '1', '--model', str(model_path)]
    arguments += ['--clearance', '0', '0.2', '--every-pixel']
    main([*arguments, '--backend', 'onnxruntime', '--pictures', str(tmp_path / 'pictures')])
    said = capsys.readouterr().out
    titles = re.findall(r'^\d\. With (.*), 1 streets, 1 frames each:$', said, re.M)
    own, model = "the street's own labels", 'labels of model.onnx (onnxruntime, fp32)'
    above = ', cars 0.2 m above the ground'
    every = [
        (name + more, name + more + ', every pixel')
        for name in (own, model)
        for more in ('', above)
    ]
    assert titles == [title for both in every for title in both]
    written = sorted(path.name for path in (tmp_path / 'pictures').iterdir())
    assert written == [f'{number}_street_1.png' for number in range(1, 9)]
    with pytest.raises(SystemExit, match=r'error: .*nowhere\.onnx'):
        main(['--model', '/nowhere.onnx'])
    first = tmp_path / 'pictures' / written[0]
    with pytest.raises(SystemExit, match=r"error: .*exists: '.*1_street_1\.png'"):
        main([*arguments, '--backend', 'onnxruntime', '--pictures', str(first)])
