"""Parameters: what is declared on a node, what is refused, and the file that shows them."""

from dataclasses import fields, replace
from pathlib import Path

import pytest
import yaml
from checkout import CONFIG

pytest.importorskip('rclpy', reason='ROS 2 (ros-rclpy) not installed')

from rclpy.parameter import Parameter

from linknet_ros.errors import ParameterError
from linknet_ros.inference.backend import BACKENDS, PRECISIONS
from linknet_ros.inference.tensorrt.options import TensorrtOptions
from linknet_ros.node.parameters import (
    SPECS,
    Parameters,
    changes_of,
    declare_parameters,
)
from linknet_ros.simulation.street import StreetDrive

CAMVID_YAML = CONFIG / 'camvid.yaml'

SPEC = {spec.name: spec for spec in SPECS}

#: None of them the default.
GROUND_VALUES = {
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
    'ground.overhanging_classes': ['car'],
    'ground.clearance': 0.15,
    'ground.ego_mask': '/robot/mask.png',
    'ground.filter': True,
}

STRINGS = Parameter.Type.STRING_ARRAY


@pytest.fixture
def parameters():
    """Parameters with their defaults."""
    return Parameters(**{spec.field: spec.default for spec in SPECS})


# The table.


def test_every_parameter_has_a_field():
    assert [spec.field for spec in SPECS] == [field.name for field in fields(Parameters)]


def test_every_parameter_says_what_it_is():
    for spec in SPECS:
        assert spec.description.endswith('.'), spec.name
        assert spec.descriptor().name == spec.name
        assert spec.descriptor().description == spec.description


def test_options_are_those_of_the_back_ends():
    assert SPEC['backend'].options == ('auto', *BACKENDS)
    assert SPEC['precision'].options == PRECISIONS
    for name in ('backend', 'precision'):
        constraints = SPEC[name].descriptor().additional_constraints
        assert constraints == f'one of: {", ".join(SPEC[name].options)}'
    constraints = SPEC['backend'].descriptor().additional_constraints
    assert 'auto, tensorrt, openvino, onnxruntime' in constraints
    assert SPEC['model'].descriptor().additional_constraints == ''


@pytest.mark.parametrize(
    ('name', 'ends'),
    [
        *((name, (0.0, 1.0)) for name in ('min_confidence', 'overlay_opacity')),
        *((name, (0, 4096)) for name in ('network_width', 'network_height')),
        ('threads', (0, 256)),
        ('jpeg_quality', (1, 100)),
    ],
)
def test_range(name, ends):
    assert SPEC[name].limits == ends


def test_no_range():
    for name in ('autostart', 'model', 'backend', 'mask_classes'):
        assert SPEC[name].limits is None


# Declared on a node.


def test_defaults(open_node, parameters):
    node = open_node()
    assert declare_parameters(node) == parameters
    assert parameters == Parameters(
        autostart=True,
        image_transport='raw',
        model='',
        backend='auto',
        precision='auto',
        threads=0,
        tensorrt_wait_for_engine=False,
        tensorrt_cache_dir='',
        tensorrt_device=0,
        tensorrt_zero_copy='auto',
        tensorrt_cuda_graph=True,
        tensorrt_workspace_mib=512,
        tensorrt_optimization_level=3,
        network_width=0,
        network_height=0,
        min_confidence=0.0,
        max_age=0.0,
        drivable_classes=(),
        mask_classes=(),
        overlay_opacity=0.5,
        overlay_legend=True,
        jpeg_quality=80,
        ground_base_frame='base_link',
        ground_use_tf=False,
        ground_height=0.0,
        ground_x=0.0,
        ground_y=0.0,
        ground_roll=0.0,
        ground_pitch=0.0,
        ground_yaw=0.0,
        ground_plane_z=0.0,
        ground_rectified=False,
        ground_max_range=20.0,
        ground_forward=20.0,
        ground_backward=0.0,
        ground_sideways=10.0,
        ground_resolution=0.1,
        ground_latched=False,
        ground_min_confidence=0.0,
        ground_unknown_classes=(),
        ground_overhanging_classes=(),
        ground_clearance=0.2,
        ground_ego_mask='',
        ground_filter=False,
    )
    for spec in SPECS:
        value = node.get_parameter(spec.name).value
        assert value == (list(spec.default) if spec.default == () else spec.default)


def test_node_knows_the_descriptors(open_node):
    node = open_node()
    declare_parameters(node)
    described = {spec.name: node.describe_parameter(spec.name) for spec in SPECS}
    assert {name: d.description for name, d in described.items()} == {
        spec.name: spec.description for spec in SPECS
    }
    assert described['threads'].integer_range[0].to_value == 256
    assert described['min_confidence'].floating_point_range[0].to_value == 1.0
    assert described['precision'].additional_constraints == 'one of: auto, fp32, fp16, bf16, int8'


def test_values_from_code(open_node):
    node = open_node(
        autostart=False,
        image_transport='compressed',
        model='/robot/model.onnx',
        backend='onnxruntime',
        precision='fp32',
        threads=4,
        **{
            'tensorrt.wait_for_engine': True,
            'tensorrt.cache_dir': 'engines',
            'tensorrt.device': 1,
            'tensorrt.zero_copy': 'off',
            'tensorrt.cuda_graph': False,
            'tensorrt.workspace_mib': 256,
            'tensorrt.optimization_level': 5,
        },
        network_width=640,
        network_height=480,
        min_confidence=0.25,
        max_age=0.5,
        drivable_classes=['road', 'pavement'],
        mask_classes=['car'],
        overlay_opacity=1.0,
        overlay_legend=False,
        jpeg_quality=100,
        **GROUND_VALUES,
    )
    assert declare_parameters(node) == Parameters(
        autostart=False,
        image_transport='compressed',
        model='/robot/model.onnx',
        backend='onnxruntime',
        precision='fp32',
        threads=4,
        tensorrt_wait_for_engine=True,
        tensorrt_cache_dir='engines',
        tensorrt_device=1,
        tensorrt_zero_copy='off',
        tensorrt_cuda_graph=False,
        tensorrt_workspace_mib=256,
        tensorrt_optimization_level=5,
        network_width=640,
        network_height=480,
        min_confidence=0.25,
        max_age=0.5,
        drivable_classes=('road', 'pavement'),
        mask_classes=('car',),
        overlay_opacity=1.0,
        overlay_legend=False,
        jpeg_quality=100,
        **{
            name.replace('.', '_'): tuple(value) if isinstance(value, list) else value
            for name, value in GROUND_VALUES.items()
        },
    )


def test_values_from_the_command_line(open_node, parameters):
    arguments = ['threads:=2', 'min_confidence:=0.5', 'drivable_classes:=[road, traffic light]']
    node = open_node(*(word for argument in arguments for word in ('-p', argument)))
    assert declare_parameters(node) == parameters.changed(
        {'threads': 2, 'min_confidence': 0.5, 'drivable_classes': ('road', 'traffic light')}
    )


@pytest.mark.parametrize('text', ["['']", '[]', '["", ""]'])
@pytest.mark.parametrize('name', ['drivable_classes', 'mask_classes'])
def test_empty_list_from_the_command_line(open_node, parameters, name, text):
    node = open_node('-p', f'{name}:={text}')
    assert declare_parameters(node) == parameters


def test_empty_name_in_a_list_is_no_class(open_node):
    node = open_node(mask_classes=['', 'car', ''])
    assert declare_parameters(node).mask_classes == ('car',)


def test_empty_list_while_running(open_node):
    node = open_node(mask_classes=['car'])
    parameters = declare_parameters(node)
    for value in ([], ['']):
        new = Parameter('mask_classes', STRINGS, value)
        (result,) = node.set_parameters([new])
        assert result.successful, result.reason
        changed = parameters.changed(changes_of([new], configured=True))
        assert changed == parameters.changed({'mask_classes': ()})
    assert parameters.mask_classes == ('car',)


@pytest.mark.parametrize(
    ('argument', 'message'),
    [
        ('autostart:=1', 'autostart is 1, an integer; it takes true or false'),
        ('model:=5', 'model is 5, an integer; it takes a string'),
        ('threads:=many', "threads is 'many', a string; it takes an integer"),
        ('threads:=2.0', 'threads is 2.0, a double; it takes an integer'),
        (
            'mask_classes:=car',
            "mask_classes is 'car', a string; it takes a list of strings, as [road, car]",
        ),
        (
            'overlay_opacity:=1',
            'overlay_opacity is 1, an integer; it takes a number with a decimal point, as 0.5',
        ),
    ],
)
def test_wrong_type(open_node, argument, message):
    node = open_node('-p', argument)
    with pytest.raises(ParameterError) as refused:
        declare_parameters(node)
    assert str(refused.value) == f'parameter {message}'


def test_numbers_for_a_list_of_names(open_node):
    message = '^parameter mask_classes is .*, an integer array; it takes a list of strings'
    with pytest.raises(ParameterError, match=message):
        declare_parameters(open_node('-p', 'mask_classes:=[1, 2]'))


@pytest.mark.parametrize(
    'argument',
    [
        *('threads:=-1', 'threads:=257', 'network_width:=4097', 'network_height:=-32'),
        *('min_confidence:=1.01', 'min_confidence:=-0.5', 'min_confidence:=.nan'),
        *('overlay_opacity:=50.0', 'overlay_opacity:=-0.1', 'overlay_opacity:=.inf'),
        *('jpeg_quality:=0', 'jpeg_quality:=101'),
    ],
)
def test_out_of_range(open_node, argument):
    name, _, value = argument.partition(':=')
    node = open_node('-p', argument)
    low, high = SPEC[name].limits
    with pytest.raises(ParameterError) as refused:
        declare_parameters(node)
    value = value.lstrip('.')
    assert str(refused.value) == f'parameter {name} is {value}; use {low:g} to {high:g}'


@pytest.mark.parametrize('name', ['threads', 'network_width', 'network_height', 'jpeg_quality'])
def test_ends_of_a_range_are_allowed(open_node, name):
    for value in SPEC[name].limits:
        node = open_node(**{name: value})
        assert getattr(declare_parameters(node), name) == value


@pytest.mark.parametrize(
    ('name', 'value', 'options'),
    [
        ('backend', 'tensorflow', 'auto, tensorrt, openvino, onnxruntime'),
        ('backend', '', 'auto, tensorrt, openvino, onnxruntime'),
        ('precision', 'int4', 'auto, fp32, fp16, bf16, int8'),
        ('image_transport', 'theora', 'raw, compressed'),
    ],
)
def test_unknown_option(open_node, name, value, options):
    node = open_node(**{name: value})
    with pytest.raises(
        ParameterError, match=f"parameter {name} is '{value}'; use one of {options}"
    ):
        declare_parameters(node)


def test_ranges_hold_while_running(open_node):
    node = open_node()
    declare_parameters(node)
    for name, value in (('min_confidence', 2.0), ('threads', 1000)):
        (result,) = node.set_parameters([Parameter(name, value=value)])
        assert not result.successful
        assert 'out of range' in result.reason
        assert node.get_parameter(name).value == SPEC[name].default


# Names that do not exist.


def warnings_of(node, capfd):
    """What is logged while the node's parameters are declared."""
    capfd.readouterr()
    declare_parameters(node)
    return [line.partition(']: ')[2] for line in capfd.readouterr().err.splitlines()]


@pytest.mark.parametrize(
    ('name', 'hint'),
    [
        ('thraeds', "did you mean 'threads'?"),
        ('opacity', "did you mean 'overlay_opacity'?"),
        ('device', "did you mean 'tensorrt.device'?"),
        ('tensorrt.wait_for_engin', "did you mean 'tensorrt.wait_for_engine'?"),
        ('qos', f'there are {", ".join(SPEC)}'),
    ],
)
def test_unknown_name_is_named_once_with_the_nearest(open_node, capfd, name, hint):
    expected = f"unknown parameter '{name}' is ignored; {hint}"
    assert warnings_of(open_node('-p', f'{name}:=1'), capfd) == [expected]


def test_unknown_keys_of_a_file(open_node, capfd, tmp_path):
    file = tmp_path / 'params.yaml'
    keys = '{threads: 2, thraeds: 2, tensorrt: {devise: 1}}'
    file.write_text(f'/**: {{ros__parameters: {keys}}}')
    assert warnings_of(open_node('--params-file', file), capfd) == [
        "unknown parameter 'tensorrt.devise' is ignored; did you mean 'tensorrt.device'?",
        "unknown parameter 'thraeds' is ignored; did you mean 'threads'?",
    ]


def test_known_names_are_no_news(open_node, capfd):
    overrides = {
        **{spec.name: spec.default for spec in SPECS if spec.default != ()},
        'use_sim_time': False,
        'start_type_description_service': False,
        'qos_overrides./image.subscription.depth': 3,
    }
    assert warnings_of(open_node(**overrides), capfd) == []
    assert warnings_of(open_node('--params-file', CAMVID_YAML), capfd) == []


# Changed while running.


def test_live_parameters():
    assert {spec.name for spec in SPECS if spec.live} == {
        *('min_confidence', 'max_age', 'drivable_classes', 'mask_classes'),
        *('overlay_opacity', 'overlay_legend', 'jpeg_quality'),
        *(set(GROUND_VALUES) - {'ground.latched'}),
    }


@pytest.mark.parametrize('configured', [False, True])
def test_changes_of_live_parameters(configured):
    changes = changes_of(
        [
            Parameter('min_confidence', value=0.5),
            Parameter('use_sim_time', value=True),
            Parameter('mask_classes', value=['car', 'sky']),
        ],
        configured,
    )
    assert changes == {'min_confidence': 0.5, 'mask_classes': ['car', 'sky']}


@pytest.mark.parametrize('name', [spec.name for spec in SPECS if not spec.live])
def test_other_parameters_change_before_configuring_only(name):
    change = [
        Parameter('overlay_opacity', value=0.1),
        Parameter(name, value=SPEC[name].default),
    ]
    assert changes_of(change, configured=False) == {
        'overlay_opacity': 0.1,
        name: SPEC[name].default,
    }
    message = f'^{name} is read when the node is configured; first .*lifecycle set .* `cleanup`'
    with pytest.raises(ParameterError, match=message):
        changes_of(change, configured=True)


def test_parameters_of_others_are_no_changes():
    assert changes_of([Parameter('use_sim_time', value=True)], configured=True) == {}


def test_changed(parameters):
    changed = parameters.changed({'overlay_opacity': 0.75, 'mask_classes': ['car', '']})
    assert changed == Parameters(
        **{spec.field: spec.default for spec in SPECS}
        | {'overlay_opacity': 0.75, 'mask_classes': ('car',)}
    )
    assert (parameters.overlay_opacity, parameters.mask_classes) == (0.5, ())
    # What was changed before stays; what is no parameter of the node is not asked for.
    again = changed.changed({'min_confidence': 0.25, 'use_sim_time': True})
    assert (again.overlay_opacity, again.mask_classes) == (0.75, ('car',))
    assert again.min_confidence == 0.25


def test_changed_checks_options_too(parameters):
    with pytest.raises(ParameterError, match="parameter precision is 'fp8'; use one of auto, fp3"):
        parameters.changed({'precision': 'fp8'})


def test_tensorrt_options_are_those_of_the_parameters(parameters, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', '/cache')
    monkeypatch.setenv('HOME', '/home/robot')
    said = []
    options = parameters.tensorrt_options(said.append)
    assert options == TensorrtOptions(cancel=options.cancel, report=options.report)
    assert options.cache_dir == Path('/cache/linknet_ros/engines')
    options.report('building')
    assert said == ['building']
    changed = parameters.changed(
        {
            'tensorrt.cache_dir': '~/engines',
            'tensorrt.device': 1,
            'tensorrt.zero_copy': 'off',
            'tensorrt.cuda_graph': False,
            'tensorrt.workspace_mib': 256,
            'tensorrt.optimization_level': 5,
        }
    ).tensorrt_options(said.append)
    assert changed == TensorrtOptions(
        cache_dir=Path('/home/robot/engines'),
        device=1,
        zero_copy='off',
        cuda_graph=False,
        workspace_mib=256,
        optimization_level=5,
        cancel=changed.cancel,
        report=changed.report,
    )


# config/camvid.yaml.


def test_file_gives_the_defaults(open_node, parameters):
    values = yaml.safe_load(CAMVID_YAML.read_text('utf-8'))['/**']['ros__parameters']
    for group in ('tensorrt', 'ground'):
        values |= {f'{group}.{name}': value for name, value in values.pop(group).items()}
    assert set(values) == set(SPEC)
    for name, value in values.items():
        # YAML has no empty list of strings.
        value = () if value == [''] else value
        assert value == SPEC[name].default, name
        assert type(value) is type(SPEC[name].default), name
    node = open_node('--params-file', CAMVID_YAML)
    assert declare_parameters(node) == parameters


def test_file_is_read(open_node, tmp_path):
    changed = tmp_path / 'changed.yaml'
    text = CAMVID_YAML.read_text('utf-8')
    changed.write_text(text.replace("mask_classes: ['']", 'mask_classes: [car, tree]'))
    node = open_node('--params-file', changed)
    assert declare_parameters(node).mask_classes == ('car', 'tree')


def test_file_explains_every_key():
    text = CAMVID_YAML.read_text('utf-8').partition('ros__parameters:\n')[2]
    comments, comment, group = {}, [], ''
    for line in text.splitlines():
        key, _, value = line.strip().partition(':')
        if line.lstrip().startswith('#'):
            comment.append(line.strip())
        elif not line.strip():
            comment, group = [], ''
        elif not value:
            group, comment = f'{key}.', []
        else:
            comments[group + key] = ' '.join(comment)
            if group:
                # Keys of a group stand close; each has a comment of its own.
                comment = []
    assert set(comments) == set(SPEC)
    assert all(comments.values())
    for spec in SPECS:
        assert ('[live]' in comments[spec.name]) == spec.live, spec.name
        for option in spec.options:
            assert option in comments[spec.name], spec.name
        for limit in spec.limits or ():
            assert str(type(spec.default)(limit)) in comments[spec.name], spec.name


def test_file_of_the_street_has_its_camera(open_node, parameters, capfd):
    file = CAMVID_YAML.with_name('street.yaml')
    camera = StreetDrive().camera
    expected = replace(parameters, ground_height=camera.height_m, ground_pitch=camera.pitch)
    assert declare_parameters(open_node('--params-file', file)) == expected
    assert 'unknown' not in capfd.readouterr().err


def test_readme_has_every_parameter_with_its_default():
    readme = (CAMVID_YAML.parents[1] / 'README.md').read_text()
    rows = [line.split('|') for line in readme.splitlines() if line.startswith('| `')]
    defaults = {name.strip(' `'): row[2].strip() for row in rows for name in row[1].split(',')}
    for spec in SPECS:
        default = {(): "['']", '': "''"}.get(spec.default, str(spec.default).lower())
        assert defaults[spec.name] == default
