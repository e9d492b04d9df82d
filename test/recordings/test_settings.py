"""Options that both command lines share."""

import argparse
import pickle

import pytest

from linknet_ros.errors import LinknetError
from linknet_ros.inference.settings import InferenceSettings
from linknet_ros.products.products import ProductSettings
from linknet_ros.recordings.settings import Settings, add_arguments, settings_of
from linknet_ros.system.package_files import SHIPPED_MODEL, package_file


def parse(*arguments):
    parser = argparse.ArgumentParser()
    add_arguments(parser, 'labels,overlay')
    return parser.parse_args(arguments)


def test_defaults_are_those_of_the_node():
    options = parse()
    settings, model = settings_of(options)
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
    settings, _ = settings_of(parse(*arguments))
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
        (('--overlay-opacity', 'nan'), "invalid share 'nan'"),
        (('--jpeg-quality', '0'), "invalid count '0' (expected a whole number from 1 to 100)"),
        (('--threads', '-1'), "invalid count '-1' (expected a whole number from 0 to 256)"),
        (('--network-size', '64'), "invalid size '64' (expected WIDTHxHEIGHT, e.g. 640x360)"),
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
        settings_of(parse('--model', str(model.path), *arguments))
