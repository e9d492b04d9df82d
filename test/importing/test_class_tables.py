"""Class tables from presets, CSV files in any form, and config.json."""

import json

import pytest

from linknet_ros.classes import CITYSCAPES, ClassTable
from linknet_ros.errors import ClassNameError
from linknet_ros.importing.class_tables import PRESETS, class_table, is_drivable

WANTED = ClassTable(
    ('floor', 'wall', 'door'), ((1, 2, 3), (4, 5, 6), (7, 8, 9)), (True, False, False)
)


@pytest.fixture
def table(tmp_path):
    """Read a table from a text: `table(text)`."""

    def read(text, name='classes.csv', background=''):
        (tmp_path / name).write_text(text)
        return class_table(str(tmp_path / name), background)

    return read


@pytest.mark.parametrize(
    ('name', 'count', 'first', 'last', 'drivable'),
    [
        ('ade20k', 150, 'wall', 'flag', ('floor', 'road')),
        ('cityscapes', 19, 'road', 'bicycle', ('road',)),
        ('camvid', 11, 'sky', 'bicyclist', ('road',)),
        ('drivable', 2, 'background', 'drivable', ('drivable',)),
    ],
)
def test_presets(name, count, first, last, drivable):
    preset = class_table(name)
    assert len(preset) == count
    assert (preset.names[0], preset.names[-1]) == (first, last)
    assert preset.drivable_names == drivable


def test_presets_of_street_and_of_things():
    mapillary, stuff = class_table('mapillary'), class_table('coco-stuff')
    assert (len(mapillary), mapillary.names.index('Road')) == (65, 13)
    assert mapillary.drivable_names == (
        *('Crosswalk - Plain', 'Road', 'Service Lane'),
        *('Lane Marking - Crosswalk', 'Lane Marking - General'),
    )
    assert mapillary.colors[13] == (128, 64, 128)
    assert (len(stuff), stuff.names.index('road')) == (171, 137)
    floors = ('floor-marble', 'floor-other', 'floor-stone', 'floor-tile', 'floor-wood')
    assert stuff.drivable_names == (*floors, 'road')
    for preset in PRESETS:
        if preset != 'ade20k':  # whose road and runway are of one colour
            assert len(set(class_table(preset).colors)) == len(class_table(preset)), preset


@pytest.mark.parametrize(
    'text',
    [
        'name,red,green,blue,drivable\nfloor,1,2,3,yes\nwall,4,5,6,no\ndoor,7,8,9,no\n',
        'drivable, B, G, R, Name\nTrue,3,2,1,floor\nFalse,6,5,4,wall\nFalse,9,8,7,door\n',
        'id,name,red,green,blue,drivable\n2,door,7,8,9,no\n0,floor,1,2,3,yes\n1,wall,4,5,6,\n',
        'id,name,red,green,blue,drivable\n0,floor,1,2,3,yes\n1,wall,4,5,6,\n2,door,7,8,9,\n11,,,,,\n',
        'floor,1,2,3,yes\nwall,4,5,6,no\ndoor,7,8,9,no\n',
        'yes,floor,1,2,3\nno,wall,4,5,6\nno,door,7,8,9\n',
        '0,floor,1,2,3,1\n1,wall,4,5,6,0\n2,door,7,8,9,0\n',
        'floor,1,2,3\nwall,4,5,6\n\ndoor,7,8,9\n',
        'name;red;green;blue;drivable\nfloor;1;2;3;yes\nwall;4;5;6;no\ndoor;7;8;9;no\n',
        'floor\t1\t2\t3\nwall\t4\t5\t6\ndoor\t7\t8\t9\n',
        '\ufefffloor,1,2,3,yes\r\nwall,4,5,6,no\r\ndoor,7,8,9,no\r\n',
    ],
)
def test_columns_in_any_order_with_and_without_a_header(table, text):
    assert table(text) == WANTED


def test_names_alone(table):
    names = table('road\nperson\nbarn\nshed\n')
    assert names.names == ('road', 'person', 'barn', 'shed')
    assert names.drivable == (True, False, False, False)
    assert names.colors[:2] == (CITYSCAPES.colors[0], CITYSCAPES.colors[11])
    assert len(set(names.colors)) == 4
    assert (0, 0, 0) not in names.colors


def test_synonyms_of_ade20k(table):
    names = table('wall\nroad;route\nchest;of;drawers\n')
    assert names.names == ('wall', 'road;route', 'chest;of;drawers')
    assert names.drivable == (False, True, False)


@pytest.mark.parametrize(('where', 'place'), [('first', 0), ('last', 3)])
def test_background_that_is_not_in_the_table(table, where, place):
    made = table('floor,1,2,3,yes\nwall,4,5,6,no\ndoor,7,8,9,no\n', background=where)
    assert made.names[place] == 'background'
    assert made.colors[place] == (0, 0, 0)
    assert made.drivable_names == ('floor',)


def test_one_class_is_told_from_the_rest(table):
    assert table('floor,1,2,3,yes\n').names == ('background', 'floor')


def test_config_of_hugging_face(table):
    labels = {'1': 'road', '0': 'wall', '2': 'door', '3': 'door'}
    made = table(json.dumps({'model_type': 'segformer', 'id2label': labels}), 'config.json')
    assert made.names == ('wall', 'road', 'door', 'door (2)')
    assert made.drivable_names == ('road',)


@pytest.mark.parametrize(
    ('text', 'name', 'message'),
    [
        ('', 'a.csv', 'it has no class; write one per line'),
        ('name,red,green,blue,drivable\n', 'a.csv', 'it has no class; write one per line'),
        ('1,2,3\n4,5,6\n', 'a.csv', 'no column has the names'),
        ('id,name\n0,\n1,\n', 'a.csv', 'it names no class; write a name behind each id'),
        ('id,name\n0,a\n2,b\n', 'a.csv', 'its ids are 0, 2; .* without a gap'),
        ('name,red,green,blue\na,1,2,x\n', 'a.csv', '1,2,x is not a colour'),
        ('name,red,green,blue\na,1,2,300\nb,1,2,3\n', 'a.csv', 'red, green, blue values of 0 to'),
        ('name,drivable\na,maybe\n', 'a.csv', "'maybe' is neither yes nor no"),
        ('a\na\n', 'a.csv', 'must be unique'),
        ('{', 'a.json', 'no JSON'),
        ('{"id2label": {"1": "a"}}', 'a.json', 'no id2label with the ids 0, 1, 2'),
        ('[1]', 'a.json', 'no id2label'),
    ],
)
def test_what_is_no_table(table, text, name, message):
    with pytest.raises(ClassNameError, match=rf'{name}: .*{message}') as caught:
        table(text, name)
    assert '\n' not in str(caught.value)


def test_what_is_no_file(tmp_path):
    with pytest.raises(ClassNameError, match="unknown class table 'kitti'; use ade20k, camvid"):
        class_table('kitti')
    with pytest.raises(ClassNameError, match=r'cannot read .*none\.csv'):
        class_table(str(tmp_path / 'none.csv'))


@pytest.mark.parametrize(
    ('name', 'drivable'),
    [
        ('Drivable Area', True),
        ('driveable_surface', True),
        ('lane marking', True),
        ('Lane Marking - Arrow (Left)', True),
        ('Lane Marking (only) - Crosswalk', True),
        ('road, route', True),
        ('floor;flooring', True),
        ('lane marking pole', False),
        ('floor lamp', False),
        ('floor fan', False),
        ('street light', False),
        ('streetlight;street;lamp', False),
        ('road, sidewalk', False),
        ('road/sidewalk', False),
        ('no road', False),
        ('não road', False),
        ('non-drivable', False),
        ('drivable fallback', False),
        ('lane', False),
        ('bike lane', False),
        ('railroad', False),
        ('sidewalk', False),
        ('road sign', False),
        ('road shoulder', False),
        ('background', False),
        ('pavement', False),
        ('roadblock', False),
        ('', False),
    ],
)
def test_only_known_names_are_drivable(name, drivable):
    assert is_drivable(name) is drivable
