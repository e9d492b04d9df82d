"""Labels of every format become the folder that training reads: the same ids, or why not."""

import base64
import json
import re
import shutil
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from linknet_ros.classes import CITYSCAPES, ClassTable
from linknet_ros.frames.encode import encode_palette_png
from linknet_ros.recordings.label_folder import class_file, read_labels, write_labels
from linknet_ros.recordings.label_shapes import fill, from_runs, patches, runs
from linknet_ros.recordings.label_tools import ToolFiles
from training.datasets import open_dataset
from training.import_labels import main

CLASSES = ClassTable(
    ('road', 'car', 'sky'), ((128, 64, 128), (0, 0, 142), (70, 130, 180)), (True, False, False)
)
SIZE = 40, 60  # height, width
VOID = 255


def frame(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*SIZE, 3), np.uint8)


def scene():
    """Sky, road with a hole of void in it and a car in that, lines of one pixel, corners."""
    ids = np.full(SIZE, 2, np.uint8)
    ids[15:] = 0
    ids[20:35, 10:30] = VOID
    ids[24:30, 15:25] = 1
    ids[26, 18:20] = VOID
    ids[2:9, 50] = 1
    ids[39, 0] = ids[38, 1] = 1
    ids[0:4, 0:7] = VOID
    return ids


def save(path, image):
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    data = image if isinstance(image, bytes) else cv2.imencode(path.suffix, image)[1].tobytes()
    path.write_bytes(data)


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """`run(*arguments)`: what was printed, or the message that it ended with."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        capsys.readouterr()
        try:
            main([*map(str, arguments)])
        except SystemExit as stop:
            return str(stop.code)
        return capsys.readouterr().out

    return run


def labels(name='a', out='out'):
    return read_labels(Path(out, 'labels', f'{name}.png'))


def names(out='out'):
    lines = Path(out, 'classes.csv').read_text().splitlines()[1:]
    return [line.split(',')[1] for line in lines]


# Shapes and masks of one frame


def test_polygons_along_pixels_give_them_back():
    rng = np.random.default_rng(3)
    for _ in range(60):
        ids = rng.integers(0, 3, rng.integers(1, 12, 2)).astype(np.uint8)
        ids[rng.random(ids.shape) < 0.2] = VOID
        canvas = np.full(ids.shape, VOID, np.uint8)
        fill(canvas, [(patch.outline, patch.id) for patch in patches(ids)])
        np.testing.assert_array_equal(canvas, ids)
        # With their holes left out, in any order.
        canvas = np.full(ids.shape, VOID, np.uint8)
        fill(canvas, [(patch.in_one(), patch.id) for patch in patches(ids)[::-1]])
        np.testing.assert_array_equal(canvas, ids)


def test_a_pixel_belongs_to_a_polygon_if_its_middle_does():
    canvas = np.zeros((4, 6), np.uint8)
    fill(canvas, [(np.array([[0.6, 0.4], [3.4, 0.4], [3.4, 2.6], [0.6, 2.6]]), 1)])
    assert canvas.tolist() == [[0, 1, 1, 0, 0, 0]] * 3 + [[0] * 6]
    # Out of the frame, and two rings: the inner one is a hole.
    rings = [
        np.array([[-9, -9], [9, -9], [9, 9], [-9, 9]]),
        np.array([[1, 1], [2, 1], [2, 2], [1, 2]]),
    ]
    fill(canvas, [([ring.astype(float) for ring in rings], 2)])
    assert (canvas == 2).sum() == 23
    assert canvas[1, 1] == 1


def test_runs():
    for mask in ([], [True], [False, False], [True, False, True, True]):
        assert from_runs(runs(np.array(mask, bool)), len(mask)).tolist() == mask
    assert runs(np.array([True, False])) == [0, 1, 1]
    with pytest.raises(ValueError, match='runs of 3 pixels for 4'):
        from_runs([1, 2], 4)


# Through tools and back


@pytest.fixture
def tools():
    """Files of two frames for all tools, in tools/ beside frames/."""
    made = {'a': scene(), 'b_2': scene()[::-1].copy()}
    for number, name in enumerate(made):
        save(f'frames/{name}.png', frame(number))
    files = ToolFiles(Path('tools'), CLASSES)
    for name, ids in made.items():
        files.add(Path(f'frames/{name}.png'), ids)
    files.write()
    Path('classes.csv').write_text(class_file(CLASSES))
    return made


FILES = ('cvat_masks.xml', 'coco_rle.json', 'label_studio_brush.json')
POLYGONS = ('cvat_polygons.xml', 'coco_polygons.json', 'label_studio_polygons.json', 'labelme')


@pytest.mark.parametrize('file', [*FILES, *POLYGONS])
def test_round_trip(run, tools, file):
    text = run(f'tools/{file}', 'out', '--classes', 'classes.csv', '--frames', 'frames')
    assert Path('out/classes.csv').read_text() == class_file(CLASSES), text
    for name, ids in tools.items():
        assert (
            Path(f'out/frames/{name}.png').read_bytes() == Path(f'frames/{name}.png').read_bytes()
        )
        wrong = labels(name) != ids
        if file in FILES:
            assert not wrong.any()
            continue
        # Middles that are nearer to an edge than TOLERANCE are those next to it.
        inner = np.ones(SIZE, bool)
        grown = np.pad(ids, 1, constant_values=99)
        for y in range(3):
            for x in range(3):
                inner &= grown[y : y + SIZE[0], x : x + SIZE[1]] == ids
        assert not (wrong & inner).any()
        assert wrong.mean() < 0.02


def test_corrected_labels_go_back_where_they_came_from(run, tools):
    Path('out').mkdir()
    Path('frames').rename('out/frames')
    Path('out/classes.csv').write_text(class_file(CLASSES))
    write_labels(Path('out'), 'a', np.zeros(SIZE, np.uint8), CLASSES)
    message = run('tools/cvat_masks.xml', 'out')
    assert message.startswith('import_labels: out has labels already, first out/labels/a.png; add')
    assert not labels().any()
    run('tools/cvat_masks.xml', 'out', '--overwrite')
    for name, ids in tools.items():
        np.testing.assert_array_equal(labels(name), ids)
    assert sorted(path.name for path in Path('out/frames').iterdir()) == ['a.png', 'b_2.png']


def test_the_pixels_of_each_class_are_counted(run, tools):
    text = run('tools/coco_rle.json', 'out', '--frames', 'frames', '--map', 'car=sky')
    assert names() == ['road', 'sky']
    number = 2 * int((scene() == 1).sum() + (scene() == 2).sum())
    assert f'1  sky   {number:>13,}'.replace(',', ' ') in text
    text = run('tools/coco_rle.json', 'more', '--frames', 'frames', '--classes', 'camvid')
    assert re.search(r'2  pole +no pixel\n', text)
    assert cv2.imread('more/labels_1.jpg').shape[1] == 6 * 252


# CVAT


def cvat(*shapes, name='a.png', size=SIZE):
    text = ''.join(shapes)
    return (
        f'<annotations><image id="0" name="{name}" width="{size[1]}" height="{size[0]}">{text}'
        '</image></annotations>'
    )


def test_cvat_draws_by_z_order(run):
    save('frames/a.png', frame())
    box = '<box label="{}" xtl="{}" ytl="10" xbr="{}" ybr="20" z_order="{}" {}/>'
    Path('x.xml').write_text(
        cvat(
            box.format('car', 10, 30, 1, ''),
            box.format('road', 0, 20, 0, ''),
            box.format('sky', 40, 50, 0, 'rotation="90"'),
            '<polyline label="road" points="0,0;5,5"/>',
            '<ellipse label="sky" cx="30" cy="32" rx="6" ry="3"/>',
        )
    )
    text = run('x.xml', 'out', '--frames', 'frames')
    assert '1 x polyline: has no area, left out' in text
    assert names() == ['road', 'sky', 'car']
    expected = np.full(SIZE, VOID, np.uint8)
    expected[10:20, 0:20], expected[10:20, 10:30], expected[10:20, 40:50] = 0, 2, 1
    y, x = np.indices(SIZE) + 0.5
    expected[((x - 30) / 6) ** 2 + ((y - 32) / 3) ** 2 < 1] = 1
    assert (labels() != expected).sum() <= 2  # an ellipse of 64 corners
    np.testing.assert_array_equal(labels()[:25], expected[:25])


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('<annotations><track/></annotations>', 'x.xml is CVAT for video; export the task as'),
        (cvat('<mask label="a" rle="3,5" left="0" top="0" width="3" height="3"/>'), 'runs of 8'),
        ('<annotations>', 'x.xml is damaged (no element found'),
        ('<html/>', 'x.xml is in no format that is known; name one with --format'),
        (cvat('<polygon label="a"/>'), "x.xml is damaged (image a.png: KeyError('points'))"),
        ('<annotations/>', 'no labelled frame in x.xml'),
        (cvat('<box label="a" xtl="0" ytl="0" xbr="9" ybr="9"/>', size=(60, 40)), 'is 40x60, its'),
        (cvat(name='b.png'), '1 of 1 frames are not in frames, first b.png; say where they are'),
    ],
)
def test_cvat_mistakes(run, text, message):
    save('frames/a.png', frame())
    Path('x.xml').write_text(text)
    assert message in run('x.xml', 'out', '--frames', 'frames')
    assert not Path('out').exists()


# COCO


def coco(*segmentations):
    return {
        'images': [{'id': 5, 'file_name': 'train/a.png', 'width': 60, 'height': 40}],
        'categories': [{'id': 7, 'name': 'road'}, {'id': 3, 'name': 'car'}],
        'annotations': [
            {'id': n, 'image_id': 5, 'category_id': id_, 'segmentation': s, 'area': area}
            for n, (id_, area, s) in enumerate(segmentations)
        ],
    }


def test_coco_compressed_and_the_order_of_areas(run):
    save('frames/a.png', frame())
    # By pycocotools, of rows 3 to 29 and columns 5 to 44 with two lines out, and the first pixel.
    counts = '01Z66hI' + ';;EE' * 15 + '13M82E' + ';;EE' * 23 + ';`6'
    mask = np.zeros((40, 50), bool)
    mask[3:30, 5:45] = True
    mask[10:12] = mask[20:25, 20] = False
    mask[0, 0] = True
    small = [[12, 12, 16, 12, 16, 16, 12, 16], [20, 32, 22, 32, 22, 34, 20, 34]]
    file = coco((3, 20, small), (7, 1062, {'size': [40, 50], 'counts': counts}), (7, 0, []))
    file['images'][0]['width'] = 50
    save('frames/a.png', frame()[:, :50])
    Path('instances_val.json').write_text(json.dumps(file))
    text = run('instances_val.json', 'out', '--frames', 'frames')
    assert '1 x annotation without segmentation: has no area' in text
    expected = np.full((40, 50), VOID, np.uint8)
    expected[mask] = 0
    expected[12:16, 12:16] = expected[32:34, 20:22] = 1
    np.testing.assert_array_equal(labels(), expected)
    assert Path('out/val.txt').read_text() == 'a\n'
    file['annotations'][1]['segmentation']['size'] = [50, 40]
    Path('instances_val.json').write_text(json.dumps(file))
    assert 'a mask of (40, 50)' in run('instances_val.json', 'no', '--frames', 'frames')


# Label Studio


def test_label_studio_export(run):
    """The newest of several, a name with eight signs before it, sizes in percent."""
    save('frames/a.png', frame())
    size = {'original_width': 60, 'original_height': 40, 'image_rotation': 0}
    old = {'type': 'polygonlabels', **size, 'value': {'points': [], 'polygonlabels': ['car']}}
    square = [[50, 25], [75, 25], [75, 75], [50, 75]]
    results = [
        {**old, 'value': {'points': square, 'polygonlabels': ['road']}},
        {
            'type': 'rectanglelabels',
            **size,
            'value': {'x': 50, 'y': 50, 'width': 10, 'height': 10, 'rectanglelabels': ['car']},
        },
        {'type': 'choices', 'value': {'choices': ['day']}},
    ]
    task = {
        'data': {'image': '/data/upload/3/1a2b3c4d-a.png'},
        'annotations': [{'result': [old]}, {'result': results}, {'was_cancelled': True}],
        'predictions': [],
    }
    Path('export.json').write_text(json.dumps([task]))
    assert '1 x choices' in run('export.json', 'out', '--frames', 'frames')
    expected = np.full(SIZE, VOID, np.uint8)
    expected[10:30, 30:45] = names().index('road')
    expected[20:24, 30:36] = names().index('car')
    np.testing.assert_array_equal(labels('1a2b3c4d-a'), expected)
    minimal = {'image': 'x/a.png', 'tag': [{**size, **results[0]['value']}]}
    Path('min.json').write_text(json.dumps([{**minimal, 'annotation_id': 1}]))
    run('min.json', 'minimal', '--frames', 'frames')
    assert (labels('a', 'minimal') == 0).sum() == 20 * 15


def test_label_studio_brushes_of_single_samples(run):
    """Its own encoder writes lone samples, which ours never does."""
    save('frames/a.png', frame()[:1, :2])
    # 8 samples, 8 bits each; lengths of 3, 4, 8, 16 bits; 4 times 0 as a run, then 255 four times
    # one by one: 0, width 0, length 4.
    bits = f'{8:032b}{7:05b}{2:04b}{3:04b}{7:04b}{15:04b}' + f'100{3:03b}{0:08b}'
    bits += f'000{3:03b}' + f'{255:08b}' * 4
    bits += '0' * (-len(bits) % 8)
    rle = [int(bits[at : at + 8], 2) for at in range(0, len(bits), 8)]
    value = {'format': 'rle', 'rle': rle, 'brushlabels': ['road']}
    result = {'type': 'brushlabels', 'original_width': 2, 'original_height': 1, 'value': value}
    task = {'data': {'image': 'a.png'}, 'annotations': [{'result': [result]}]}
    Path('export.json').write_text(json.dumps([task]))
    run('export.json', 'out', '--frames', 'frames')
    assert labels().tolist() == [[VOID, 0]]


# Labelme, Supervisely


def png_text(mask, packed=False):
    data = cv2.imencode('.png', mask.astype(np.uint8) * 255)[1].tobytes()
    return base64.b64encode(zlib.compress(data) if packed else data).decode()


def test_labelme(run):
    save('set/a.png', frame())
    mask = np.eye(5, dtype=bool)
    shapes = [
        {
            'label': 'road',
            'shape_type': 'polygon',
            'points': [[0, 20], [60, 20], [60, 40], [0, 40]],
        },
        {'label': 'car', 'shape_type': 'rectangle', 'points': [[20, 30], [10, 25]]},
        {'label': 'sky', 'shape_type': 'mask', 'points': [[3, 2], [7, 6]], 'mask': png_text(mask)},
        {'label': 'sky', 'shape_type': 'circle', 'points': [[40, 10], [45, 10]]},
        {'label': 'sky', 'shape_type': 'point', 'points': [[1, 1]]},
    ]
    file = {'shapes': shapes, 'imagePath': 'a.png', 'imageWidth': 60, 'imageHeight': 40}
    save('set/a.json', json.dumps(file).encode())
    assert '1 x point: has no area' in run('set', 'out')
    expected = np.full(SIZE, VOID, np.uint8)
    expected[20:] = 0
    expected[25:30, 10:20] = 1
    expected[2:7, 3:8][mask] = 2
    y, x = np.indices(SIZE) + 0.5
    expected[(x - 40) ** 2 + (y - 10) ** 2 < 24] = 2
    assert (labels() != expected).sum() <= 8
    np.testing.assert_array_equal(labels()[20:], expected[20:])
    np.testing.assert_array_equal(labels()[:8, :10], expected[:8, :10])


def test_supervisely(run):
    save('project/val/img/a.jpg', frame())
    classes = [{'title': t, 'color': c} for t, c in (('road', '#804080'), ('car', '#00008E'))]
    save('project/meta.json', json.dumps({'classes': classes}).encode())
    mask = np.eye(5, dtype=bool)
    outline = {
        'exterior': [[0, 20], [59, 20], [59, 39], [0, 39]],
        'interior': [[[10, 25], [19, 25], [19, 29], [10, 29]]],
    }
    bitmap = {'origin': [57, 1], 'data': png_text(mask, packed=True)}
    file = {
        'size': {'height': 40, 'width': 60},
        'objects': [
            {'classTitle': 'road', 'geometryType': 'polygon', 'points': outline},
            {'classTitle': 'car', 'geometryType': 'bitmap', 'bitmap': bitmap},
        ],
    }
    save('project/val/ann/a.jpg.json', json.dumps(file).encode())
    run('project', 'out')
    expected = np.full(SIZE, VOID, np.uint8)
    expected[20:] = 0
    expected[25:30, 10:20] = VOID
    expected[1:6, 57:60][mask[:, :3]] = 1
    np.testing.assert_array_equal(labels(), expected)
    assert Path('out/classes.csv').read_text().splitlines()[1] == '0,road,128,64,128,yes'
    assert Path('out/val.txt').read_text() == 'a\n'
    # The bytes of the photograph are those of the source.
    assert Path('out/frames/a.jpg').read_bytes() == Path('project/val/img/a.jpg').read_bytes()


# Masks

RGB = np.array([(0, 0, 0), (128, 64, 128), (0, 0, 142)], np.uint8)


def some_ids():
    ids = np.zeros(SIZE, np.uint8)
    ids[20:], ids[25:30, 5:9] = 1, 2
    return ids


def palette(ids, colors):
    table = np.zeros((256, 3), np.uint8)
    table[: len(colors)] = np.array(colors)[:, ::-1]
    return encode_palette_png(ids, table)


@pytest.mark.parametrize('mask', [palette(some_ids(), RGB), RGB[some_ids()][..., ::-1]])
def test_cvat_segmentation_mask(run, mask):
    save('set/JPEGImages/a.jpg', frame())
    save('set/SegmentationClass/a.png', mask)
    text = (
        '# label:color_rgb:parts:actions\nbackground:0,0,0::\nroad:128,64,128::\ncar:0,0,142::\n'
    )
    save('set/labelmap.txt', text.encode())
    run('set', 'out')
    assert names() == ['road', 'car']
    np.testing.assert_array_equal(labels(), np.where(some_ids() == 0, VOID, some_ids() - 1))


def test_voc(run):
    save('voc/JPEGImages/a.jpg', frame())
    ids = some_ids()
    ids[ids == 1] = 7
    ids[0] = 255
    save('voc/SegmentationClass/a.png', palette(ids, RGB))
    save('voc/ImageSets/Segmentation/val.txt', b'a\n')
    run('voc', 'out')
    assert names()[7] == 'car'
    np.testing.assert_array_equal(labels(), ids)
    assert Path('out/val.txt').read_text() == 'a\n'


def test_ade20k(run):
    save('scene/images/training/a.jpg', frame())
    ids = some_ids()
    save('scene/annotations/training/a.png', ids)
    run('scene', 'out')
    assert names()[:2] == ['wall', 'building']
    np.testing.assert_array_equal(labels(), np.where(ids == 0, VOID, ids - 1))
    # The whole: class 2978 is 110 in red and 162 in green; blue tells instances apart.
    whole = np.zeros((*SIZE, 3), np.uint8)
    whole[20:] = (1, 162, 110)
    whole[25:30, 5:9] = (2, 44, 20)
    save('full/street/a.jpg', frame())
    save('full/street/a_seg.png', whole)
    text = '001 # 0 # 0 # road, route # road # ""\n002 # 0 # 0 # car # car # ""\n'
    save('full/street/a_atr.txt', text.encode())
    run('full', 'whole')
    assert names('whole') == ['road', 'car']
    np.testing.assert_array_equal(labels(out='whole'), np.where(ids == 0, VOID, ids - 1))


def test_mapillary(run):
    rows = [('void--unlabeled', 'Unlabeled'), ('a--road', 'Road'), ('b--car', 'Car')]
    config = {
        'labels': [
            {'name': n, 'readable': r, 'color': c.tolist()}
            for (n, r), c in zip(rows, RGB, strict=True)
        ]
    }
    save('set/config_v2.0.json', json.dumps(config).encode())
    save('set/validation/images/a.jpg', frame())
    save('set/validation/v2.0/labels/a.png', palette(some_ids(), RGB))
    save('set/validation/v1.2/labels/a.png', palette(some_ids() * 0, RGB))
    run('set', 'out')
    assert names() == ['Road', 'Car']
    np.testing.assert_array_equal(labels(), np.where(some_ids() == 0, VOID, some_ids() - 1))
    assert Path('out/val.txt').read_text() == 'a\n'


def test_camvid_with_colours(run):
    save('set/class_dict.csv', b'name,r,g,b\nVoid,0,0,0\nRoad,128,64,128\nCar,0,0,142\n')
    for split, names_ in (('train', ('0001_1', '0001_2')), ('test', ('0006_1',))):
        for name in names_:
            save(f'set/{split}/{name}.png', frame())
            save(f'set/{split}_labels/{name}_L.png', RGB[some_ids()][..., ::-1])
    run('set', 'out')
    assert names() == ['Road', 'Car']
    np.testing.assert_array_equal(
        labels('0001_2'), np.where(some_ids() == 0, VOID, some_ids() - 1)
    )
    assert Path('out/test.txt').read_text() == '0006_1\n'
    smooth = RGB[some_ids()].copy()
    smooth[19:21, 0] = (120, 60, 120)
    save('set/test_labels/0006_1_L.png', smooth[..., ::-1])
    assert (
        'set/test_labels/0006_1_L.png has 2 pixels of the colour 120, 60, 120, which '
        'set/class_dict.csv does not list; add a line' in run('set', 'other')
    )


def test_masks_of_0_and_255(run):
    mask = np.where(some_ids() > 0, 255, 0).astype(np.uint8)
    save('set/images/a.jpg', frame())
    save('set/masks/a.png', mask)
    text = run('set', 'out')
    assert 'masks of 0 and 255: taken for background and foreground' in text
    np.testing.assert_array_equal(labels(), mask // 255)
    save('set/classes.txt', b'other\nfloor\n')
    run('set', 'named')
    assert names('named') == ['other', 'floor']
    np.testing.assert_array_equal(labels(out='named'), mask // 255)
    run('set', 'mapped', '--map', 'other=void', '--map', 'floor=path')
    assert names('mapped') == ['path']
    np.testing.assert_array_equal(labels(out='mapped'), np.where(mask == 0, VOID, 0))


@pytest.mark.parametrize(
    ('image', 'mask', 'split'),
    [
        ('images/a.jpg', 'labels/a.png', ''),
        ('imgs/a.JPG', 'masks/a_mask.png', ''),
        ('images/train/a.jpg', 'labels/train/a.png', 'train'),
        ('val/images/a.png', 'val/masks/a.png', 'val'),
        ('test/a.png', 'testannot/a.png', 'test'),
        ('Training/img/a.png', 'Training/gt/a_gt.png', 'train'),
        ('photos/a.jpg', 'photos/a_mask.png', ''),
        ('a.jpg', 'a_L.png', ''),
        ('images/a.jpg', 'drivable/a.png', ''),
        ('images/a.jpg', 'masks/a.jpg.png', ''),
        ('images/image_7.jpg', 'masks/mask_7.png', ''),
        ('images/IMG_7.JPG', 'labels/img_7.png', ''),
        ('all/a.jpg', 'all/a.png', ''),
    ],
)
def test_folders_of_any_usual_names(run, image, mask, split):
    save(f'set/{image}', frame())
    save(f'set/{mask}', some_ids())
    save('set/classes.txt', b'sky\nroad\ncar\n')
    run('set', 'out')
    np.testing.assert_array_equal(labels(Path(image).stem), some_ids())
    for other in ('val', 'test'):
        assert Path(f'out/{other}.txt').exists() == (split == other)


@pytest.mark.parametrize('archive', ['', '_trainvaltest/{}'])
def test_cityscapes(run, archive):
    parts = [f'set/{part}{archive.format(part)}/val/ulm' for part in ('leftImg8bit', 'gtFine')]
    save(f'{parts[0]}/a_leftImg8bit.png', frame())
    save(f'{parts[1]}/a_gtFine_labelIds.png', np.array([7, 0, 26], np.uint8)[some_ids()])
    save(f'{parts[1]}/a_gtFine_color.png', RGB[some_ids()])  # the same once more
    run('set', 'out', '--classes', 'cityscapes')
    road, car = CITYSCAPES.names.index('road'), CITYSCAPES.names.index('car')
    expected = np.array([road, VOID, car], np.uint8)[some_ids()]
    np.testing.assert_array_equal(labels('a_leftImg8bit'), expected)
    assert Path('out/val.txt').read_text() == 'a_leftImg8bit\n'


def test_ids_need_names(run):
    save('set/images/a.png', frame())
    save('set/masks/a.png', some_ids())
    message = run('set', 'out')
    assert 'nothing in set names its ids 0, 1, 2; put a classes.txt' in message
    run('set', 'out', '--map', '0=void', '--map', '1=road', '--map', '2=car')
    assert names() == ['road', 'car']
    # With classes, ids are theirs.
    Path('classes.csv').write_text(class_file(CLASSES))
    text = run('set', 'given', '--classes', 'classes.csv')
    assert 'ids were taken for those of the classes, in their order' in text
    np.testing.assert_array_equal(labels(out='given'), some_ids())
    save('set/masks/a.png', (some_ids().astype(np.uint16) + 26000))
    save('set/classes.txt', b'sky\nroad\n')
    assert 'as instance ids do; give masks of class ids' in run('set', 'more')
    save('set/masks/a.jpg', some_ids())
    Path('set/masks/a.png').unlink()
    assert 'a.jpg is not a mask: JPEG changes ids' in run('set', 'more')


# What is wrong


def test_labels_that_are_no_class_are_listed(run, tools):
    command = ('tools/cvat_masks.xml', 'out', '--frames', 'frames', '--classes', 'cityscapes')
    Path('tools/cvat_masks.xml').write_text(
        Path('tools/cvat_masks.xml').read_text().replace('sky', 'heaven').replace('car', 'auto')
    )
    message = run(*command)
    assert message == (
        'import_labels: tools/cvat_masks.xml has labels that are not classes: auto, heaven; say '
        'what each means: --map auto=road, or --map auto=void'
    )
    assert run(*command, '--map', 'auto=x', '--map', 'heaven=sky').startswith(
        "import_labels: unknown class 'x' in --map; the classes: road, sidewalk"
    )
    assert '--map names nothing, which tools' in run(*command, '--map', 'nothing=sky')
    run(*command, '--map', 'auto=void', '--map', 'heaven=sky')
    expected = np.array([0, VOID, 10], np.uint8)[np.where(scene() == VOID, 1, scene())]
    np.testing.assert_array_equal(labels(), expected)


def test_a_mask_of_the_stored_size_of_a_turned_photograph_is_refused(run):
    entry = b'\x12\x01\x03\0\x01\0\0\0\x06\0\0\0'
    body = b'Exif\0\0II*\0\x08\0\0\0\x01\0' + entry + b'\0' * 4
    data = cv2.imencode('.jpg', frame())[1].tobytes()
    turned = data[:2] + b'\xff\xe1' + (len(body) + 2).to_bytes(2, 'big') + body + data[2:]
    save('set/images/a.jpg', turned)
    save('set/masks/a.png', some_ids())
    save('set/classes.txt', b'sky\nroad\ncar\n')
    assert 'its EXIF orientation turns that frame to 40x60' in run('set', 'out')
    save('set/masks/a.png', cv2.rotate(some_ids(), cv2.ROTATE_90_CLOCKWISE))
    run('set', 'out')
    # What is written is upright for every reader.
    plain = cv2.imread('out/frames/a.png', cv2.IMREAD_UNCHANGED)
    assert plain.shape == (60, 40, 3)


def test_archives(run):
    save('set/devkit/images/a.png', frame())
    save('set/devkit/masks/a.png', some_ids())
    save('set/devkit/classes.txt', b'sky\nroad\ncar\n')
    shutil.make_archive('export', 'zip', 'set')
    run('export.zip', 'out')
    np.testing.assert_array_equal(labels(), some_ids())
    run('set', 'again')
    np.testing.assert_array_equal(labels(out='again'), some_ids())
    Path('export.zip').write_bytes(b'PK')
    assert 'export.zip cannot be unpacked (File is not a zip file)' in run('export.zip', 'no')


def test_an_output_in_its_own_source_is_refused(run):
    assert 'set/out would lie in its own source' in run('set', 'set/out')
    assert "no file or folder 'set'" in run('set', 'out')


def test_frames_without_a_label_are_left_out(run, tools):
    save('frames/c.png', frame())
    text = Path('tools/cvat_masks.xml').read_text()
    empty = '<image id="9" name="c.png" width="60" height="40"/></annotations>'
    Path('x.xml').write_text(text.replace('</annotations>', empty))
    assert '1 frames have no label and are left out' in run('x.xml', 'out', '--frames', 'frames')
    assert not Path('out/labels/c.png').exists()


# Training reads it


def test_training_reads_frames_and_labels(run):
    Path('classes.csv').write_text(class_file(CLASSES))
    for sequence in 'ab':
        for number in range(5 + (sequence == 'a')):
            name = f'{sequence}_{number}'
            save(f'frames/{name}.png', frame(number))
            if name != 'a_5':
                write_labels(Path(), name, scene(), CLASSES)
    train, val = (open_dataset('folder', Path(), split) for split in ('train', 'val'))
    # The last fifth of each drive; a frame without labels is of neither.
    assert val.names == ['a_4', 'b_4']
    assert train.names == [f'{s}_{n}' for s in 'ab' for n in range(4)]
    np.testing.assert_array_equal(val[0][1], scene())
    Path('val.txt').write_text('a_0\n')
    Path('test.txt').write_text('b_1\n')
    splits = {s: open_dataset('folder', Path(), s).names for s in ('train', 'val', 'test')}
    assert splits['val'] == ['a_0']
    assert splits['test'] == ['b_1']
    assert len(splits['train']) == 8
    Path('test.txt').write_text('b_9\n')
    with pytest.raises(Exception, match=r'test.txt lists b_9, which has no labels'):
        open_dataset('folder', Path(), 'train')
    Path('test.txt').unlink()
    with pytest.raises(Exception, match=r'is of test; name some in test.txt'):
        open_dataset('folder', Path(), 'test')
