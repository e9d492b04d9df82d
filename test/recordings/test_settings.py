"""Options that both command lines share."""

import argparse
import pickle

import pytest

from linknet_ros.errors import LinknetError
from linknet_ros.recordings.settings import Settings, add_arguments, settings_of
from linknet_ros.system.package_files import SHIPPED_MODEL, package_file


def parse(*arguments):
    parser = argparse.ArgumentParser()
    add_arguments(parser, 'labels,overlay')
    return parser.parse_args(arguments)


def test_defaults():
    options = parse()
    settings = settings_of(options)
    model = package_file(SHIPPED_MODEL)
    assert settings == Settings(model, ('labels', 'overlay'), sha256=settings.sha256)
    assert len(settings.sha256) == 64
    assert not options.resume
    assert not options.overwrite


def test_all(model):
    arguments = (
        '--model', str(model.path), '--outputs', 'labels, masks/car ,', '--backend', 'onnxruntime',
        '--precision', 'fp32', '--threads', '2', '--network-size', '64x32', '--min-confidence',
        '0.25', '--drivable-classes', 'road,sky', '--overlay-opacity', '1', '--jpeg-quality', '50',
        '--no-overlay-legend',
    )  # fmt: skip
    settings = settings_of(parse(*arguments))
    assert settings == Settings(
        model=model.path,
        outputs=('labels', 'masks/car'),
        backend='onnxruntime',
        precision='fp32',
        threads=2,
        network_size=(64, 32),
        min_confidence=0.25,
        drivable_classes=('road', 'sky'),
        overlay_opacity=1.0,
        overlay_legend=False,
        jpeg_quality=50,
        sha256=model.sha256,
    )
    assert pickle.loads(pickle.dumps(settings)) == settings
    segmenter = settings.segmenter(model)
    assert (segmenter.backend, segmenter.precision) == ('onnxruntime', 'fp32')
    segmenter.close()


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (('--min-confidence', '2'), "'2' is no number of 0 to 1"),
        (('--overlay-opacity', 'half'), "'half' is no number of 0 to 1"),
        (('--overlay-opacity', 'nan'), "'nan' is no number of 0 to 1"),
        (('--jpeg-quality', '0'), "'0' is no number of 1 to 100"),
        (('--threads', '-1'), "'-1' is no number of 0 to 256"),
        (('--network-size', '64'), "'64' is no size; write it as 1280x720"),
        (('--network-size', '16x64'), '16x64: sides of 32 to 4096 work'),
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
