"""Frames of one's own with a table of classes: what is read, and an error for each mistake."""

import cv2
import numpy as np
import pytest

from linknet_ros.errors import SourceError
from training.datasets import open_dataset
from training.datasets.folder import Folder, read_class_file

TABLE = """\
id,name,red,green,blue,drivable
0,,,,,
1,floor,128,64,128,yes
2,wall,128,0,0,no
7,door,0,0,192,NO
9,wall,128,0,0,no
"""

FRAME = np.array([[[1, 2, 3], [40, 50, 60]], [[7, 8, 9], [255, 0, 128]]], np.uint8)


def write(path, image):
    path.parent.mkdir(exist_ok=True)
    assert cv2.imwrite(str(path), image)


@pytest.fixture
def root(tmp_path):
    """One frame, whose pixels are void, floor, wall by its other id, and door."""
    folder = tmp_path / 'my_robot'
    folder.mkdir()
    (folder / 'classes.csv').write_text(TABLE)
    write(folder / 'train/a.png', FRAME)
    write(folder / 'trainannot/a.png', np.array([[0, 1], [9, 7]], np.uint8))
    return folder


def test_classes_and_labels(root):
    frames = Folder(root, 'train')
    assert frames.classes.names == ('floor', 'wall', 'door')
    assert frames.classes.colors == ((128, 64, 128), (128, 0, 0), (0, 0, 192))
    assert frames.classes.drivable == (True, False, False)
    frame, labels = frames[0]
    np.testing.assert_array_equal(frame, FRAME)
    np.testing.assert_array_equal(labels, [[255, 0], [1, 2]])
    assert labels.dtype == np.uint8
    assert (frames.title, frames.split) == ('my_robot', 'train')
    assert frames.label_set == 'classes.csv, 3 classes'


def test_255_is_void_unless_it_is_listed(root):
    write(root / 'trainannot/a.png', np.full((2, 2), 255, np.uint8))
    assert set(Folder(root, 'train')[0][1].ravel()) == {255}
    (root / 'classes.csv').write_text(TABLE + '255,sky,1,2,3,no\n')
    assert set(Folder(root, 'train')[0][1].ravel()) == {3}


def test_frames_may_be_jpeg(root):
    write(root / 'train/b.jpg', np.full((2, 2, 3), 100, np.uint8))
    write(root / 'trainannot/b.png', np.ones((2, 2), np.uint8))
    frames = Folder(root, 'train')
    assert frames.names == ['a', 'b']
    np.testing.assert_array_equal(frames[1][1], [[0, 0], [0, 0]])
    write(root / 'train/a.jpeg', FRAME)
    with pytest.raises(SourceError, match=r'a\.png and .*a\.jpeg are frames of one name; keep'):
        Folder(root, 'train')


def test_changed_table_is_not_answered_from_the_cache(root, tmp_path):
    cache = tmp_path / 'cache'

    def labels():
        return open_dataset('folder', root, 'train', cache=cache)[0][1].tolist()

    assert labels() == [[255, 0], [1, 2]]
    # The same names in the same order, by other ids.
    table = TABLE.replace('7,door', '8,door').replace('2,wall', '7,wall')
    (root / 'classes.csv').write_text(table)
    assert labels() == [[255, 0], [1, 1]]


def test_table_of_a_spreadsheet(tmp_path):
    path = tmp_path / 'classes.csv'
    path.write_bytes(
        b'\xef\xbb\xbfname,id,drivable,red,green,blue\r\n"floor, wet",4,1,1,2,3\r\n,,,,,\r\n'
    )
    classes, class_of_id = read_class_file(path)
    assert (classes.names, classes.drivable) == (('floor, wet',), (True,))
    assert class_of_id[4] == 0


# Each mistake.


@pytest.mark.parametrize(
    ('lines', 'match'),
    [
        ('', r"classes\.csv starts with ''; its first line must be 'id,name,red,green,blue,dri"),
        ('name,r,g,b\nroad,1,2,3', r"starts with 'name,r,g,b'; its first line must be 'id,name"),
        ('id;name;red;green;blue;drivable', "starts with 'id;name;red;green;blue;drivable'; its"),
        ('id,name,red,green,blue,drivable', r'classes\.csv: class table has 0 classes'),
        (TABLE + '1,door,0,0,192,no', r'classes\.csv line 7 lists id 1 again; keep one'),
        (TABLE + '256,a,0,0,0,no', "id of .*line 7 is '256', which is no whole number of 0 to"),
        (TABLE + 'x,a,0,0,0,no', "id of .*line 7 is 'x', which is no whole number"),
        (TABLE + '3,a,0,-1,0,no', "green of .*line 7 is '-1', which is no whole number"),
        (TABLE + '3,a,0,0,0,perhaps', "drivable of .*line 7 is 'perhaps'; write yes or no"),
        (TABLE + '3,a,0,0,0', r'line 7 has 5 values, not 6'),
        (TABLE + '3,wall,128,0,0,yes', "line 7: 'wall' has another colour or drivable flag above"),
        (TABLE + f'3,{"a" * 65},0,0,0,no', r'classes\.csv: class names must be one line of at'),
        (TABLE + '3,"a,0,0,0,no', r'cannot read the class table .*: unexpected end of data'),
        (b'\xff\xfe', r'cannot read the class table .*utf-8'),
    ],
)
def test_table_that_is_wrong(root, lines, match):
    data = lines if isinstance(lines, bytes) else lines.encode()
    (root / 'classes.csv').write_bytes(data)
    with pytest.raises(SourceError, match=match) as caught:
        Folder(root, 'train')
    assert '\n' not in str(caught.value)


def test_no_table(root):
    (root / 'classes.csv').unlink()
    with pytest.raises(SourceError, match=r"no class table .*classes\.csv; make one: a line 'id,"):
        Folder(root, 'train')


def test_wrong_folder(root):
    with pytest.raises(
        SourceError, match=r'a data set of your own is .* it is in .*my_robot, giv'
    ):
        Folder(root.parent, 'train')
    with pytest.raises(SourceError, match=r'no folder .*/val; a data set of your own is a folder'):
        Folder(root, 'val')


def test_id_that_is_not_listed(root):
    write(root / 'trainannot/a.png', np.array([[0, 1], [1, 4]], np.uint8))
    with pytest.raises(SourceError, match=r'a\.png has id 4 at column 1, row 1, which .*classes'):
        Folder(root, 'train')[0]


def test_annotation_in_colours(root):
    write(root / 'trainannot/a.png', FRAME)
    with pytest.raises(SourceError, match=r'3 channel.* must be ids of classes\.csv: no colours'):
        Folder(root, 'train')[0]


def test_annotation_of_another_size(root):
    write(root / 'trainannot/a.png', np.ones((4, 4), np.uint8))
    with pytest.raises(
        SourceError, match=r'a\.png is 4x4, its frame 2x2; frames and annot.* size'
    ):
        Folder(root, 'train')[0]


@pytest.mark.parametrize(('folder', 'what'), [('train', 'frame'), ('trainannot', 'annotation')])
def test_frame_or_annotation_missing(root, folder, what):
    write(root / 'train/b.png', FRAME)
    write(root / 'trainannot/b.png', np.ones((2, 2), np.uint8))
    (root / folder / 'b.png').unlink()
    with pytest.raises(SourceError, match=f'have no {what}, first .*; add it, or take the other'):
        Folder(root, 'train')


def test_no_frames(root):
    (root / 'train/a.png').unlink()
    with pytest.raises(SourceError, match=r'no frame in .*train; they end with \.png, \.jpg'):
        Folder(root, 'train')


def test_own_classes_do_not_get_the_names_of_camvid(root):
    with pytest.raises(SourceError, match=r'has classes of its own .*; use --dataset folder'):
        open_dataset('camvid', root, 'train')
