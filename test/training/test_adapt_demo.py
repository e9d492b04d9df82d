"""The adapt demo, whose programs have tests of their own: what it makes of them."""

import json
import shutil

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='needs ROS 2 (pip install .[ros])')

from linknet_ros.classes import CAMVID
from linknet_ros.frames.encode import encode_jpeg
from linknet_ros.frames.files import read_ids, read_image
from linknet_ros.metrics import ConfusionMatrix
from linknet_ros.simulation.street import StreetDrive
from training import adapt_demo, import_labels
from training.adapt_demo import _MEASURED, _RATE, _RECORDED, main
from training.datasets import open_dataset

#: Of the frames that stand in for picked ones, in the order of their importance.
INDICES = (7, 2, 4)


@pytest.fixture
def commands(tmp_path, monkeypatch):
    """What the demo runs, in `tmp_path`; little is done instead, labels are brought in."""
    run = []

    def command(name, *arguments):
        words = [name, *map(str, arguments)]
        run.append(words)
        if 'pick_frames' in words:
            pick(tmp_path / words[-3])
        elif name == 'training.import_labels':
            import_labels.main(words[1:])
        elif name == 'training.adapt':
            shutil.copy(words[words.index('--init') + 1], words[words.index('--export') + 1])
        elif 'demo' in words:
            (tmp_path / words[-1]).mkdir()
            (tmp_path / words[-1] / 'report.json').write_text('{"miou": 0.25}')

    def measure(model, folder):
        """The truth, after adapting; sky everywhere before."""
        matrix, said = ConfusionMatrix(len(CAMVID)), []
        for path in sorted((folder / 'valannot').iterdir()):
            truth = read_ids(path)
            labels = truth if model.name == 'adapted.onnx' else np.zeros_like(truth)
            matrix.add(truth, labels)
            said.append(labels)
        return adapt_demo.Measurement(matrix.scores(), said)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(adapt_demo, 'command', command)
    monkeypatch.setattr(adapt_demo, 'measure', measure)
    monkeypatch.setattr(adapt_demo, '_MEASURED_FRAMES', 3)
    monkeypatch.setattr(adapt_demo, '_TOWN_FRAMES', 1)
    monkeypatch.setattr(adapt_demo, 'isolate', lambda domain: None)
    return run


def pick(folder):
    (folder / 'frames').mkdir(parents=True)
    drive = StreetDrive(_RECORDED, look='snow')
    rows = ['rank,file,index']
    for rank, index in enumerate(INDICES, 1):
        jpeg = encode_jpeg(drive.frame(index / _RATE).bgr, 95)
        (folder / f'frames/drive_{index}.jpg').write_bytes(jpeg.tobytes())
        rows.append(f'{rank},frames/drive_{index}.jpg,{index}')
    (folder / 'frames.csv').write_text('\n'.join(rows) + '\n')


def test_the_road(commands, tmp_path, capsys):
    main(['--out', 'out', '--labelled', '2', '--count', '3'])
    programs = [words[1] if words[0] == 'linknet_ros' else words[0] for words in commands]
    assert programs == [
        *('replay_node', 'pick_frames', 'pre_label'),
        *('training.import_labels', 'training.adapt', 'demo'),
    ]
    assert f'bag:={tmp_path / "out/drive"}' in commands[0]
    # The truth of the two most important frames, by way of what CVAT exports.
    made = sorted((tmp_path / 'out/labelled/labels').iterdir())
    assert [path.name for path in made] == ['drive_2.png', 'drive_7.png']
    drive = StreetDrive(_RECORDED, look='snow')
    for path, index in zip(made, (2, 7), strict=True):
        np.testing.assert_array_equal(read_ids(path), drive.frame(index / _RATE).labels)
    # What is measured on is a data set, of another street.
    frame, labels = open_dataset('folder', tmp_path / 'out/measured', 'val')[0]
    true = StreetDrive(_MEASURED, look='snow').frame(0)
    np.testing.assert_array_equal(frame, true.bgr)
    np.testing.assert_array_equal(labels, true.labels)
    report = json.loads((tmp_path / 'out/report.json').read_text())
    assert (report['look'], report['labelled'], report['miou_in_the_node']) == ('snow', 2, 0.25)
    assert (report['before']['road'], report['after']['road']) == (0, 1)
    assert report['town_before']['mIoU'] < report['town_after']['mIoU'] == 1
    assert '  road      0.000  1.000' in capsys.readouterr().out
    picture = read_image(tmp_path / 'out/before_after.jpg')
    columns = picture.shape[1] // 4
    after, truth = picture[30:, 2 * columns : 3 * columns], picture[30:, 3 * columns :]
    assert np.abs(after.astype(int) - truth).mean() < 3


def test_a_folder_that_is_there_is_kept(commands, tmp_path):
    (tmp_path / 'out').mkdir()
    with pytest.raises(SystemExit, match='error: out exists; delete it, or name another folder'):
        main(['--out', 'out'])
    assert not commands


def test_a_program_that_fails_ends_it(capsys):
    with pytest.raises(adapt_demo.SourceError, match='pick_frames ended with 1; its message is'):
        adapt_demo.command('linknet_ros', 'pick_frames', '/nothing', '/nowhere')
    assert '$ python -m linknet_ros pick_frames /nothing /nowhere\n' in capsys.readouterr().out
