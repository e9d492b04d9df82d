"""The command line that proposes labels."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from linknet_ros.recordings import pre_label
from linknet_ros.recordings.label_folder import read_labels, write_labels

BLUE, GREEN, RED = (230, 0, 0), (0, 230, 0), (0, 0, 230)


def frame():
    """Road (blue) below, sky (red) above, a car (green), and a grey patch that nobody knows."""
    made = np.zeros((64, 96, 3), np.uint8)
    made[:30], made[30:] = RED, BLUE
    made[40:60, 10:30] = GREEN
    made[40:60, 60:80] = (90, 91, 90)
    made[2:4, 2:4] = GREEN
    return made


def labels():
    ids = np.where(np.indices((64, 96))[0] < 30, 2, 0).astype(np.uint8)
    ids[40:60, 10:30] = 1
    ids[40:60, 60:80] = 255  # unsure
    ids[2:4, 2:4] = 255  # too small a patch to be drawn by hand
    return ids


@pytest.fixture
def run(command, on_model):
    """`run(*arguments)`, where out/frames has two frames; see command."""
    Path('out/frames').mkdir(parents=True)
    cv2.imwrite('out/frames/a_1.png', frame())
    cv2.imwrite('out/frames/b_2.png', frame()[:, ::-1])
    return command(pre_label.main, *on_model)


def contents():
    return {path: path.read_bytes() for path in Path('out').rglob('*') if path.is_file()}


def test_labels_what_the_model_is_sure_of(run):
    code, text, _ = run('out')
    assert code == 0
    assert text.startswith('out: 2 frames labelled\n')
    np.testing.assert_array_equal(read_labels(Path('out/labels/a_1.png')), labels())
    np.testing.assert_array_equal(read_labels(Path('out/labels/b_2.png')), labels()[:, ::-1])
    # In a viewer, each class has its colour.
    shown = cv2.imread('out/labels/a_1.png')
    assert [shown[y, x].tolist() for y, x in ((50, 20), (63, 0), (50, 70))] == [
        [142, 0, 0],
        [128, 64, 128],
        [192, 224, 224],
    ]
    counts = [int((labels() == id_).sum()) * 2 for id_ in (0, 1, 2, 255)]
    for name, count in zip(('road', 'car', 'sky', 'void'), counts, strict=True):
        share = count / (2 * 64 * 96)
        assert f'{name:<4}  {count:>13,}  {share:6.1%}'.replace(',', ' ') in text
    assert Path('out/classes.csv').read_text().splitlines()[:2] == [
        'id,name,red,green,blue,drivable',
        '0,road,128,64,128,yes',
    ]
    sheet = cv2.imread('out/labels_1.jpg')
    assert sheet.shape == (160 + 12 + 26, 6 * 252, 3)


def test_a_class_without_pixels_is_named(run):
    for path in Path('out/frames').iterdir():
        cv2.imwrite(str(path), np.full((64, 96, 3), BLUE, np.uint8))
    _, text, _ = run('out')
    assert '  1  car   no pixel\n' in text


def test_the_same_command_changes_nothing(run):
    run('out')
    before = contents()
    code, text, _ = run('out')
    assert (code, contents()) == (0, before)
    assert text.startswith('out: 0 frames labelled, 2 had labels, kept\n')


def test_what_a_person_corrected_is_kept(run, model):
    run('out')
    corrected = labels()
    corrected[corrected == 255] = 0
    write_labels(Path('out'), 'a_1', corrected, model.classes)
    _, text, _ = run('out', '--overwrite', '--least-area', '0')
    assert text.startswith('out: 1 frames labelled, 1 had labels, kept\n')
    np.testing.assert_array_equal(read_labels(Path('out/labels/a_1.png')), corrected)
    assert read_labels(Path('out/labels/b_2.png'))[3, -4] == 1
    # Files for tools have the corrected ones.
    images = json.loads(Path('out/tools/coco_rle.json').read_text())
    area = {(a['image_id'], a['category_id']): a['area'] for a in images['annotations']}
    assert area[1, 1] == (corrected == 0).sum()


def test_teachers_vote(run, half_proto, write_model, with_metadata):
    rows = [
        {'name': name, 'color': [n, n, n], 'drivable': False}
        for n, name in enumerate(['sky', 'car', 'street'])
    ]
    second = write_model(with_metadata(half_proto, classes=json.dumps(rows)), 'second.onnx')
    # It calls red sky (logit 230), green car (115) and blue street (57), with these confidences.
    options = ('--least-confidence', '0.2', '--teacher', second)
    assert run('out', *options)[0] == 0
    found = read_labels(Path('out/labels/a_1.png'))
    assert found[10, 50] == 2
    assert found[50, 20] == 1
    assert found[35, 50] == 0  # street is no class here, so that teacher says nothing
    assert run('out', *options, '--overwrite', '--map', 'street=car')[0] == 0
    assert read_labels(Path('out/labels/a_1.png'))[35, 50] == 255  # now it disagrees


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (('nothing',), 'no image in nothing/frames; make it with pick_frames, or put images'),
        (('out', '--teacher', 'x.txt'), 'x.txt is not a teacher'),
        (('out', '--map', 'a=b'), "unknown class 'b'; the model knows: road, car, sky"),
    ],
)
def test_mistakes(run, arguments, message):
    code, _, text = run(*arguments)
    assert code == 1
    assert text.startswith(f'pre_label: {message}')
    assert not Path('out/labels').exists()


@pytest.mark.parametrize(
    ('corrected', 'message'),
    [
        (np.full((64, 96), 3, np.uint8), 'has the id 3, the classes are 0 to 2; correct it'),
        (np.zeros((32, 48), np.uint8), 'is 48x32, its frame 96x64'),
    ],
)
def test_corrected_labels_that_do_not_fit_are_named(run, model, corrected, message):
    run('out')
    write_labels(Path('out'), 'b_2', corrected, model.classes)
    code, _, text = run('out')
    assert code == 1
    assert text.startswith(f'pre_label: out/labels/b_2.png {message}')
    assert text.count('\n') <= 1


def test_sheets_take_the_place_of_the_old_ones(run):
    for name in ('labels_1.jpg', 'labels_2.jpg', 'labels_mine.jpg'):
        Path('out', name).write_text('old')
    assert run('out')[0] == 0
    assert {path.name for path in Path('out').glob('*.jpg')} == {'labels_1.jpg', 'labels_mine.jpg'}
    assert cv2.imread('out/labels_1.jpg') is not None


def test_sheets_that_cannot_be_written(run, monkeypatch):
    write = Path.write_bytes

    def full(path, data):
        if path.suffix == '.jpg':
            raise OSError(28, 'No space left on device')
        return write(path, data)

    monkeypatch.setattr(Path, 'write_bytes', full)
    code, _, text = run('out')
    assert (code, text.strip()) == (
        1,
        'pre_label: [Errno 28] No space left on device; the same command goes on',
    )


def test_labels_of_other_classes_are_not_mixed(run):
    Path('out/classes.csv').write_text('id,name,red,green,blue,drivable\n0,floor,1,2,3,yes\n')
    code, _, text = run('out')
    assert code == 1
    assert "out/classes.csv has other classes than the model's road, car, sky" in text
    cv2.imwrite('out/frames/a_1.jpg', frame())
    assert 'are two frames of one name' in run('out')[2]
