"""Options that both command lines share."""

import argparse
import pickle

import pytest
from checkout import CONFIG

from linknet_ros.errors import LinknetError
from linknet_ros.ground.settings import GroundSettings
from linknet_ros.inference.settings import InferenceSettings
from linknet_ros.products.products import ProductSettings
from linknet_ros.recordings import settings as line
from linknet_ros.recordings.settings import Settings, chosen_settings
from linknet_ros.system.package_files import SHIPPED_MODEL, package_file


def parse(*arguments, extras=False):
    parser = argparse.ArgumentParser()
    line.add_arguments(parser, 'labels,overlay', extras=extras)
    return line.parse(parser, [*map(str, arguments)])


def test_defaults_are_those_of_the_node():
    options = parse()
    settings, model = chosen_settings(options)
    assert model.path == package_file(SHIPPED_MODEL)
    assert settings == Settings(
        model.path, model.sha256, ('labels', 'overlay'), InferenceSettings(), ProductSettings()
    )
    assert not options.resume
    assert not options.overwrite


def test_all(model):
    arguments = (
        '--model', str(model.path), '--outputs', 'labels, masks/car ,', '--backend', 'onnxruntime',
        '--precision', 'fp32', '--threads', '2', '--network-size', '64x32', '--min-confidence',
        '0.25', '--drivable-classes', 'road,sky', '--overlay-opacity', '1', '--jpeg-quality', '50',
        '--no-overlay-legend',
    )  # fmt: skip
    settings, _ = chosen_settings(parse(*arguments))
    assert settings == Settings(
        model.path,
        model.sha256,
        ('labels', 'masks/car'),
        InferenceSettings(str(model.path), 'onnxruntime', 'fp32', 2, 64, 32, 0.25),
        ProductSettings(('road', 'sky'), ('car',), 1.0, False, 50),
    )
    assert pickle.loads(pickle.dumps(settings)) == settings
    segmenter = settings.segmenter(model, 1)
    assert (segmenter.backend, segmenter.precision) == ('onnxruntime', 'fp32')
    segmenter.close()


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (('--min-confidence', '2'), "invalid share '2' (expected a number from 0 to 1)"),
        (('--jpeg-quality', '0'), "invalid count '0' (expected a whole number from 1 to 100)"),
        (('--threads', '-1'), "invalid count '-1' (expected a whole number from 0 to 256)"),
        (('--network-size', '16x64'), "invalid size '16x64' (each side must be 32 to 4096)"),
        (('--backend', 'magic'), "invalid choice: 'magic'"),
    ],
)
def test_wrong(capsys, arguments, message):
    with pytest.raises(SystemExit):
        parse(*arguments)
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (('--outputs', 'label'), "no output 'label'"),
        (('--outputs', ''), 'no output is named'),
        (('--drivable-classes', 'grass'), "unknown class 'grass'"),
        (('--model', 'nothing.onnx'), "no model file 'nothing.onnx'"),
    ],
)
def test_fails_before_anything_is_read(model, arguments, message):
    with pytest.raises(LinknetError, match=message):
        chosen_settings(parse('--model', model.path, *arguments))


def test_parameter_file_of_the_node(model, tmp_path):
    """It counts where no option says otherwise; what only the node has is passed over."""
    path = tmp_path / 'robot.yaml'
    path.write_text(f"""
/**:
  ros__parameters:
    model: {model.path}
    autostart: false
    max_age: 0.5
    backend: onnxruntime
    network_width: 64
    network_height: 32
    drivable_classes: [road, '']
    overlay_opacity: 1
    jpeg_quality: 30
    ground: {{height: 2, unknown_classes: [sky]}}
    ground.pitch: 0.25
""")
    arguments = ('--params', path, '--jpeg-quality', '50', '--ground-yaw', '-0.5')
    settings, _ = chosen_settings(parse(*arguments, extras=True))
    assert settings == Settings(
        model.path,
        model.sha256,
        ('labels', 'overlay'),
        InferenceSettings(str(model.path), 'onnxruntime', network_width=64, network_height=32),
        ProductSettings(('road',), (), 1.0, jpeg_quality=50),
        (),
        GroundSettings(height=2.0, pitch=0.25, yaw=-0.5, unknown_classes=('sky',)),
    )


def test_files_that_ship_are_read():
    parse('--params', CONFIG / 'camvid.yaml', extras=True)
    cameras = ('--params', CONFIG / 'three_cameras.yaml')
    values = vars(parse(*cameras, '--params-camera', 'left', extras=True))
    # Its own, the common one, and what no line of the file says.
    assert (values['rotate'], values['ground.pitch']) == (90, 0.4)
    assert (values['ground.forward'], values['ground.resolution']) == (15.0, 0.1)
    for camera, message in (
        ([], 'is of several'),
        (['--params-camera', 'top'], "camera 'top' in"),
    ):
        with pytest.raises(SystemExit, match=f'{message}.*use --params-camera front, left, rear'):
            parse(*cameras, *camera, extras=True)


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('- ]', 'is not a parameter file'),
        ('a: 5', 'is not a parameter file'),
        ('/**: {ros__parameters: {modell: x}}', "unknown parameter 'modell' in"),
        ('/**: {ros__parameters: {jpeg_quality: 0}}', "invalid value '0' of jpeg_quality"),
        ('/**: {ros__parameters: {threads: many}}', "invalid value 'many' of threads"),
        ('/**: {ros__parameters: {backend: magic}}', "invalid value 'magic' of backend"),
        ('/**: {ros__parameters: {ground: {height: low}}}', "invalid value 'low' of ground.hei"),
    ],
)
def test_wrong_parameter_file(tmp_path, text, message):
    path = tmp_path / 'robot.yaml'
    path.write_text(text)
    with pytest.raises(SystemExit, match=message):
        parse('--params', path, extras=True)
