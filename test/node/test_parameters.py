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
from linknet_ros.node.parameters import SETTINGS, Parameters, changes_of, declare_parameters
from linknet_ros.simulation.street import StreetDrive

SETTING = {about.name: about for about in SETTINGS}

#: Every parameter, with a value that is not the default: what others have in their files.
VALUES = {
    'autostart': False,
    'image_transport': 'compressed',
    'model': '/robot/model.onnx',
    'backend': 'onnxruntime',
    'precision': 'fp32',
    'threads': 4,
    'network_width': 640,
    'network_height': 480,
    'min_confidence': 0.25,
    'mono16_max': 4095,
    'tensorrt.wait_for_engine': True,
    'tensorrt.cache_dir': '~/engines',
    'tensorrt.library': 'rtx',
    'tensorrt.device': 1,
    'tensorrt.zero_copy': 'off',
    'tensorrt.cuda_graph': False,
    'tensorrt.workspace_mib': 256,
    'tensorrt.optimization_level': 5,
    'max_age': 0.5,
    'drivable_classes': ['road', 'pavement'],
    'mask_classes': ['car'],
    'overlay_opacity': 1.0,
    'overlay_legend': False,
    'jpeg_quality': 100,
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
    'ground.ego_mask': '/robot/mask.png',
    'ground.filter': True,
}
#: What is not [live]; 'ground.latched' decides how a topic is created.
READ_ONCE = {
    *('autostart', 'image_transport', 'model', 'backend', 'precision', 'threads'),
    *('network_width', 'network_height', 'ground.latched'),
    *(name for name in VALUES if name.startswith('tensorrt.')),
}


def values_of(parameters):
    """Values by name, found without the code that put them there."""
    found = {}
    for name in VALUES:
        group, _, key = name.rpartition('.')
        places = [getattr(parameters, group)] if group else [parameters]
        places += [] if group else [parameters.inference, parameters.outputs]
        (value,) = (getattr(place, key) for place in places if hasattr(place, key))
        found[name] = list(value) if isinstance(value, tuple) else value
    return found


# Declared on a node.


def test_names_defaults_and_what_is_live():
    assert list(SETTING) == list(VALUES)
    assert {name for name, about in SETTING.items() if not about.live} == READ_ONCE
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
    assert values_of(declare_parameters(open_node(**VALUES))) == VALUES
    assert declare_parameters(open_node()) == Parameters()


def test_values_from_the_command_line(open_node):
    words = ['-p', 'ground.x:=0.5', '-p', 'drivable_classes:=[road, traffic light]']
    words += ['-p', "mask_classes:=['', '']"]
    parameters = declare_parameters(open_node(*words))
    changes = {'ground.x': 0.5, 'drivable_classes': ('road', 'traffic light')}
    assert parameters == Parameters().changed(changes)
    assert parameters.ground.x == 0.5


@pytest.mark.parametrize(
    ('name', 'value', 'message'),
    [
        ('backend', 'tpu', "backend is 'tpu'; use one of auto, tensorrt, openvino, onnxruntime"),
        ('precision', 'int4', "precision is 'int4'; use one of auto, fp32, fp16, bf16, int8"),
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
    parameters = declare_parameters(open_node(mask_classes=['car']))
    new = [
        Parameter('min_confidence', value=0.5),
        Parameter('use_sim_time', value=True),
        Parameter('mask_classes', Parameter.Type.STRING_ARRAY, []),
    ]
    for configured in (False, True):
        changes = changes_of(new, configured)
        assert changes == {'min_confidence': 0.5, 'mask_classes': []}
        changed = parameters.changed(changes)
        assert changed.inference.min_confidence == 0.5
        assert (changed.outputs.mask_classes, parameters.outputs.mask_classes) == ((), ('car',))
    with pytest.raises(ParameterError, match='image_transport is'):
        parameters.changed({'image_transport': 'theora'})


@pytest.mark.parametrize('name', sorted(READ_ONCE))
def test_others_change_before_configuring_only(name):
    change = [Parameter('overlay_opacity', value=0.1), Parameter(name, value=VALUES[name])]
    assert set(changes_of(change, configured=False)) == {'overlay_opacity', name}
    message = f'^{name} is read when the node is configured; first .*lifecycle set .* `cleanup`'
    with pytest.raises(ParameterError, match=message):
        changes_of(change, configured=True)


# Where people read of them.


def test_page_and_file_are_of_today():
    again = 'run `python -m linknet_ros.node.parameter_pages`'
    page = (ROOT / PAGE).read_text('utf-8')
    assert page == with_table(page), again
    assert (ROOT / FILE).read_text('utf-8') == parameter_file(), again
    for name in VALUES:
        assert f'| `{name}` |' in page


def test_file_gives_the_defaults(open_node, capfd):
    assert declare_parameters(open_node('--params-file', ROOT / FILE)) == Parameters()
    values = yaml.safe_load((ROOT / FILE).read_text('utf-8'))['/**']['ros__parameters']
    for group in ('tensorrt', 'ground'):
        values |= {f'{group}.{name}': value for name, value in values.pop(group).items()}
    assert set(values) == set(VALUES)
    assert 'unknown' not in capfd.readouterr().err


def test_file_can_be_changed(open_node, tmp_path):
    file = tmp_path / 'changed.yaml'
    text = (ROOT / FILE).read_text('utf-8')
    file.write_text(text.replace("mask_classes: ['']", 'mask_classes: [car, tree]'))
    changed = declare_parameters(open_node('--params-file', file))
    assert changed == Parameters().changed({'mask_classes': ('car', 'tree')})


def test_file_of_the_street_has_its_camera(open_node, capfd):
    camera = StreetDrive().camera
    parameters = Parameters()
    ground = replace(parameters.ground, height=camera.height_m, pitch=camera.pitch)
    node = open_node('--params-file', CONFIG / 'street.yaml')
    assert declare_parameters(node) == replace(parameters, ground=ground)
    assert 'unknown' not in capfd.readouterr().err
