"""Parameters: what is declared on a node, what can change, and where people read of them."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from checkout import CONFIG, ROOT

pytest.importorskip('rclpy', reason='ROS 2 (ros-rclpy) not installed')

from rclpy.parameter import Parameter

from linknet_ros.errors import ParameterError
from linknet_ros.inference.backend import BACKENDS, PRECISIONS
from linknet_ros.inference.tensorrt.options import TensorrtOptions
from linknet_ros.node.parameter_pages import FILE, PAGE, parameter_file, with_table
from linknet_ros.node.parameters import (
    CAMERA_SETTINGS,
    SETTINGS,
    NodeParameters,
    Parameters,
    declare_parameters,
)
from linknet_ros.simulation.street import StreetDrive

SETTING = {about.name: about for about in SETTINGS}

#: Every parameter, with a value that is not the default: what others have in their files.
VALUES = {
    'autostart': False,
    'cameras': ['front', 'rear'],
    'image_topic': '/front/image_raw',
    'camera_info_topic': '/front/camera_info',
    'image_transport': 'compressed',
    'model': '/robot/model.onnx',
    'backend': 'onnxruntime',
    'precision': 'fp32',
    'threads': 4,
    'network_width': 640,
    'network_height': 480,
    'min_confidence': 0.25,
    'label_width': 320,
    'label_height': 240,
    'labels_like': '/depth/points',
    'rotate': 270,
    'mono16_max': 4095,
    'scene_check': 'warn',
    'frozen_frames': 9,
    'temporal_filter': True,
    'tensorrt.wait_for_engine': True,
    'tensorrt.cache_dir': '~/engines',
    'tensorrt.library': 'rtx',
    'tensorrt.device': 1,
    'tensorrt.zero_copy': 'off',
    'tensorrt.cuda_graph': False,
    'tensorrt.workspace_mib': 256,
    'tensorrt.optimization_level': 5,
    'max_rate': 12.5,
    'max_age': 0.5,
    'merge_timeout': 0.2,
    'drivable_classes': ['road', 'pavement'],
    'mask_classes': ['car'],
    'overlay_opacity': 1.0,
    'overlay_legend': False,
    'jpeg_quality': 100,
    'depth': '/depth/image',
    'ground.base_frame': 'base_footprint',
    'ground.use_tf': True,
    'ground.height': 1.2,
    'ground.x': 0.3,
    'ground.y': -0.1,
    'ground.roll': 0.01,
    'ground.pitch': 0.2,
    'ground.yaw': -0.5,
    'ground.plane_z': -0.1,
    'ground.rectified': True,
    'ground.max_range': 10.0,
    'ground.forward': 8.0,
    'ground.backward': 1.0,
    'ground.sideways': 4.0,
    'ground.resolution': 0.05,
    'ground.latched': True,
    'ground.min_confidence': 0.4,
    'ground.unknown_classes': ['sky', 'tree'],
    'ground.raised_classes': ['pole'],
    'ground.overhanging_classes': ['car'],
    'ground.clearance': 0.15,
    'ground.smallest_obstacle': 0.03,
    'ground.class_costs': ['road: 0', 'pavement: 30'],
    'ground.ego_mask': '/robot/mask.png',
    'ground.filter': True,
}
#: What is not [live], besides 'cameras'; 'ground.latched' decides how a topic is created.
READ_ONCE = {
    *(
        'autostart',
        'image_transport',
        'image_topic',
        'camera_info_topic',
        'backend',
        'precision',
        'threads',
    ),
    *('network_width', 'network_height', 'ground.latched'),
    *(name for name in VALUES if name.startswith('tensorrt.')),
}


def values_of(parameters):
    """Values by name, found without the code that put them there."""
    found = {}
    for name in VALUES:
        group, _, key = name.rpartition('.')
        places = [getattr(parameters, group)] if group else [parameters]
        places += [] if group else [parameters.inference, parameters.outputs, parameters.cloud]
        (value,) = (getattr(place, key) for place in places if hasattr(place, key))
        found[name] = list(value) if isinstance(value, tuple) else value
    return found


def declared(node):
    """What holds where a camera has no value of its own."""
    return declare_parameters(node).common


# Declared on a node.


def test_names_defaults_and_what_is_live():
    assert list(SETTING) == list(VALUES)
    assert {n for n, about in SETTING.items() if not about.live} == READ_ONCE | {'cameras'}
    defaults = values_of(Parameters())
    for name, about in SETTING.items():
        assert about.help.endswith('.'), name
        default = list(about.default) if about.default == () else about.default
        assert (defaults[name], type(defaults[name])) == (default, type(VALUES[name])), name
        assert default != VALUES[name], name
    # The most used of them, said again: who changes a default by mistake shall notice.
    expected = {'autostart': True, 'jpeg_quality': 80, 'overlay_opacity': 0.5, 'max_age': 0.0}
    expected |= {'ground.height': 0.0, 'ground.max_range': 20.0, 'ground.resolution': 0.1}
    assert defaults | expected == defaults
    assert SETTING['backend'].choices == ('auto', *BACKENDS)
    assert SETTING['precision'].choices == PRECISIONS


def test_every_value_from_outside(open_node):
    # Topics are each camera's own.
    for left_out in ({'cameras': []}, {'image_topic': '', 'camera_info_topic': ''}):
        given = {name: value for name, value in VALUES.items() if name not in left_out}
        assert values_of(declared(open_node(**given))) == VALUES | left_out
    assert declared(open_node()) == Parameters()


def test_values_from_the_command_line(open_node):
    words = ['-p', 'ground.x:=0.5', '-p', 'drivable_classes:=[road, traffic light]']
    words += ['-p', "mask_classes:=['', '']"]
    parameters = declared(open_node(*words))
    changes = {'ground.x': 0.5, 'drivable_classes': ('road', 'traffic light')}
    assert parameters == Parameters().changed(changes)
    assert parameters.ground.x == 0.5


@pytest.mark.parametrize(
    ('name', 'value', 'message'),
    [
        ('backend', 'tpu', "backend is 'tpu'; use one of auto, tensorrt, openvino, onnxruntime"),
        ('precision', 'int4', "precision is 'int4'; use one of auto, fp32, fp16, bf16, int8"),
        ('rotate', 45, "rotate is '45'; use one of 0, 90, 180, 270"),
        ('image_transport', '', "image_transport is ''; use one of raw, compressed"),
        ('tensorrt.zero_copy', 'x', "tensorrt.zero_copy is 'x'; use one of auto, on, off"),
        ('min_confidence', 1.5, 'min_confidence is 1.5; use 0 to 1'),
        ('jpeg_quality', 0, 'jpeg_quality is 0; use 1 to 100'),
        ('ground.pitch', 4.0, 'ground.pitch is 4.0; use -3.15 to 3.15'),
    ],
)
def test_value_that_cannot_work(open_node, name, value, message):
    with pytest.raises(ParameterError) as refused:
        declare_parameters(open_node(**{name: value}))
    assert str(refused.value) == f'parameter {message}'


@pytest.mark.parametrize('folder', ['', '~/engines', 'engines', '/var/engines'])
def test_tensorrt_options(monkeypatch, tmp_path, folder):
    monkeypatch.setenv('HOME', '/home/robot')
    monkeypatch.delenv('XDG_CACHE_HOME', raising=False)
    monkeypatch.chdir(tmp_path)
    said = []
    names = [name for name in VALUES if name.startswith('tensorrt.')]
    values = {name: VALUES[name] for name in names} | {'tensorrt.cache_dir': folder}
    options = Parameters().changed(values).tensorrt.options(said.append)
    expected = {
        '': '/home/robot/.cache/linknet_ros/engines',
        '~/engines': '/home/robot/engines',
        'engines': tmp_path / 'engines',
        '/var/engines': '/var/engines',
    }
    assert options == TensorrtOptions(
        cache_dir=Path(expected[folder]),
        device=1,
        zero_copy='off',
        cuda_graph=False,
        library='rtx',
        workspace_mib=256,
        optimization_level=5,
        cancel=options.cancel,
        report=options.report,
    )
    options.report('a line')
    assert said == ['a line']


# Changed while running.


def test_changes(open_node):
    before = declare_parameters(open_node(mask_classes=['car']))
    new = [
        Parameter('min_confidence', value=0.5),
        Parameter('use_sim_time', value=True),
        Parameter('mask_classes', Parameter.Type.STRING_ARRAY, []),
    ]
    for configured in (False, True):
        changes = before.changes_of(new, configured)
        assert changes == {'min_confidence': 0.5, 'mask_classes': []}
        parameters, changed = before.common, before.changed(changes).common
        assert changed.inference.min_confidence == 0.5
        assert (changed.outputs.mask_classes, parameters.outputs.mask_classes) == ((), ('car',))
    with pytest.raises(ParameterError, match='image_transport is'):
        before.changed({'image_transport': 'theora'})


@pytest.mark.parametrize('name', sorted(READ_ONCE))
def test_others_change_before_configuring_only(name):
    change = [Parameter('overlay_opacity', value=0.1), Parameter(name, value=VALUES[name])]
    changes_of = NodeParameters(Parameters()).changes_of
    assert set(changes_of(change, configured=False)) == {'overlay_opacity', name}
    message = f'^{name} is read when the node is configured; first .*lifecycle set .* `cleanup`'
    with pytest.raises(ParameterError, match=message):
        changes_of(change, configured=True)


# Of several cameras.


def test_a_camera_has_its_own_values_and_the_common_ones_for_the_rest(open_node, capfd):
    words = ['-p', 'front.ground.height:=1.5', '-p', 'front.mask_classes:=[car, tree]']
    words += ['-p', "rear.mask_classes:=['']", '-p', 'rear.image_topic:=/rear/rgb']
    given = {'cameras': ['front', 'rear'], 'ground.height': 1.0, 'mask_classes': ['car']}
    node = open_node(*words, **given, **{'rear.min_confidence': 0.25})
    parameters = declare_parameters(node)
    assert parameters.cameras == ('front', 'rear')
    front, rear = map(parameters.of, parameters.cameras)
    assert (front.ground.height, rear.ground.height) == (1.5, 1.0)
    # An empty list is a value too.
    assert (front.outputs.mask_classes, rear.outputs.mask_classes) == (('car', 'tree'), ())
    assert (front.image_topic, rear.image_topic) == ('', '/rear/rgb')
    assert (front.inference.min_confidence, rear.inference.min_confidence) == (0, 0.25)
    # What has no value says so.
    assert node.get_parameter('rear.ground.height').type_ == Parameter.Type.NOT_SET
    assert 'unknown' not in capfd.readouterr().err


def test_values_of_a_camera_change_and_go_back_to_the_common_one(open_node):
    node = open_node(cameras=['front'], **{'front.ground.height': 1.5})
    parameters = declare_parameters(node)

    def change(**values):
        nonlocal parameters
        new = [Parameter(name.replace('__', '.'), value=value) for name, value in values.items()]
        parameters = parameters.changed(parameters.changes_of(new, configured=True))
        return parameters.of('front').ground.height

    assert change(ground__height=1.2) == 1.5
    assert change(front__ground__height=2) == 2.0
    assert change(front__ground__height=None) == 1.2
    assert change(ground__height=1.0) == 1.0
    for name, value, message in (
        ('front__ground__height', 'high', "invalid value 'high' of ground.height in the param"),
        ('front__min_confidence', 1.5, "invalid value '1.5' of min_confidence in the parameters"),
        ('front__image_transport', 'raw', 'front.image_transport is read when the node is conf'),
        ('cameras', ['rear'], 'cameras is read when the node starts'),
    ):
        with pytest.raises(ParameterError, match=f'^{message}'):
            change(**{name: value})


def test_a_camera_is_told_of_names_that_it_does_not_have(open_node, capfd):
    words = ['-p', 'front.ground.heigth:=1.5', '-p', 'front.model:=x.onnx']
    declare_parameters(open_node(*words, cameras=['front']))
    said = capfd.readouterr().err
    hint = "'front.ground.heigth' is ignored; did you mean 'front.ground.height'?"
    assert f'unknown parameter {hint}' in said
    assert "unknown parameter 'front.model' is ignored" in said


@pytest.mark.parametrize(
    'cameras', [['front', 'front'], ['ground'], ['2nd'], ['le-ft'], ['a__b'], ['tensorrt']]
)
def test_names_that_cannot_be_topics_and_parameters(open_node, cameras):
    with pytest.raises(ParameterError, match=f"^cameras cannot have a camera '{cameras[-1]}'"):
        declare_parameters(open_node(cameras=cameras))


def test_what_cameras_share():
    shared = SETTING.keys() - {about.name for about in CAMERA_SETTINGS}
    assert {'model', 'backend', 'ground.base_frame', 'ground.resolution', 'cameras'} <= shared
    own = SETTING.keys() - shared
    assert {'rotate', 'max_rate', 'mask_classes', 'ground.height', 'ground.ego_mask'} <= own


# Where people read of them.


def test_page_and_file_are_of_today():
    again = 'run `python -m linknet_ros.node.parameter_pages`'
    page = (ROOT / PAGE).read_text('utf-8')
    assert page == with_table(page), again
    assert (ROOT / FILE).read_text('utf-8') == parameter_file(), again
    for name in VALUES:
        assert f'| `{name}` |' in page


def test_file_gives_the_defaults(open_node, capfd):
    assert declared(open_node('--params-file', ROOT / FILE)) == Parameters()
    values = yaml.safe_load((ROOT / FILE).read_text('utf-8'))['/**']['ros__parameters']
    for group in ('tensorrt', 'ground'):
        values |= {f'{group}.{name}': value for name, value in values.pop(group).items()}
    assert set(values) == set(VALUES)
    assert 'unknown' not in capfd.readouterr().err


def test_file_can_be_changed(open_node, tmp_path):
    file = tmp_path / 'changed.yaml'
    text = (ROOT / FILE).read_text('utf-8')
    file.write_text(text.replace("mask_classes: ['']", 'mask_classes: [car, tree]'))
    changed = declared(open_node('--params-file', file))
    assert changed == Parameters().changed({'mask_classes': ('car', 'tree')})


def test_file_of_the_street_has_its_camera(open_node, capfd):
    camera = StreetDrive().camera
    parameters = Parameters()
    ground = replace(parameters.ground, height=camera.height_m, pitch=camera.pitch)
    node = open_node('--params-file', CONFIG / 'street.yaml')
    assert declared(node) == replace(parameters, ground=ground)
    assert 'unknown' not in capfd.readouterr().err
