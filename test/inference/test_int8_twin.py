"""The int8 twin that precision auto runs on a processor made for int8."""

import pytest

from linknet_ros.errors import ModelError
from linknet_ros.inference.int8_twin import int8_instructions, int8_twin
from linknet_ros.inference.model_file import load_model
from linknet_ros.inference.open_backend import open_backend
from linknet_ros.system.package_files import model_path


@pytest.fixture
def processor(monkeypatch, tmp_path):
    """Make the flags of this processor: `processor('avx2', 'avx_vnni')`."""

    def make(*flags):
        text = f'processor\t: 0\nmodel name\t: any\nflags\t\t: fpu {" ".join(flags)} sse2\n\n'
        (tmp_path / 'cpuinfo').write_text(text * 2)
        monkeypatch.setattr('linknet_ros.inference.int8_twin._CPUINFO', tmp_path / 'cpuinfo')

    return make


@pytest.fixture
def pair(half_proto, int8_proto, write_model, with_metadata):
    """Write a model file and its twin: `pair(changes of the twin's metadata) -> model`."""

    def write(name='model_int8.onnx', **changes):
        write_model(with_metadata(int8_proto, **{'precision': 'int8'} | changes), name)
        return load_model(write_model(with_metadata(half_proto, int8_twin='model_int8.onnx')))

    return write


@pytest.mark.parametrize(
    ('flags', 'found'),
    [
        (('avx2', 'avx512_vnni', 'amx_int8'), 'amx_int8'),
        (('avx512_vnni', 'avx_vnni'), 'avx512_vnni'),
        (('avx_vnni',), 'avx_vnni'),
        (('avx2', 'avx512f', 'avx512_bf16'), ''),
    ],
)
def test_instructions(processor, flags, found):
    processor(*flags)
    assert int8_instructions() == found


def test_processor_that_nothing_is_known_of(monkeypatch, tmp_path):
    monkeypatch.setattr('linknet_ros.inference.int8_twin._CPUINFO', tmp_path / 'none')
    assert int8_instructions() == ''


def open_it(model, precision='auto'):
    pytest.importorskip('openvino', reason='needs OpenVINO')
    lines = []
    opened = open_backend(
        model, 32, 32, backend='openvino', precision=precision, on_choice=lines.append
    )
    opened.close()
    return opened.precision, lines


def test_auto_runs_the_twin_and_says_so(processor, pair):
    processor('avx_vnni')
    model = pair()
    assert open_it(model) == (
        'int8',
        [
            'model_int8.onnx runs, the int8 twin of model.onnx: this processor has avx_vnni; '
            'precision bf16 or fp32 runs the file itself'
        ],
    )
    assert open_it(model, 'fp32') == ('fp32', [])
    processor('avx2')
    assert open_it(model)[0] in ('fp32', 'bf16')


def test_file_without_a_twin(processor, half_proto, write_model, pair, with_metadata):
    processor('avx_vnni')
    assert int8_twin(load_model(write_model(half_proto))) is None
    pair('other.onnx')
    named = load_model(write_model(with_metadata(half_proto, int8_twin='other.onnx')))
    assert int8_twin(named).path.name == 'other.onnx'
    pair()
    none = load_model(write_model(with_metadata(half_proto, int8_twin='')))
    assert int8_twin(none) is None
    assert open_it(none)[1] == []


@pytest.mark.parametrize(
    ('changes', 'reason'),
    [
        ({'dataset': 'other'}, 'its dataset is not that of model.onnx'),
        ({'architecture': 'other'}, 'its architecture is not that of model.onnx'),
        ({'default_size': '64x64'}, 'its default_size is not that of model.onnx'),
        ({'precision': 'fp32'}, 'it is made for fp32, not int8'),
        ({'accuracy': '{"val_miou": 0.48}'}, 'its val_miou is 0.48, that of model.onnx 0.5'),
    ],
)
def test_twin_that_does_not_agree_is_not_run(processor, pair, changes, reason):
    processor('amx_int8')
    model = pair(**changes)
    precision, (line,) = open_it(model)
    assert precision != 'int8'
    assert line.endswith(f'model_int8.onnx is not used: {reason}')


def test_twin_that_cannot_be_read(processor, pair):
    processor('amx_int8')
    model = pair()
    model.path.with_name('model_int8.onnx').write_bytes(b'damaged')
    precision, (line,) = open_it(model)
    assert precision != 'int8'
    assert 'is not a readable ONNX file' in line


@pytest.mark.parametrize('name', ['../model_int8.onnx', '/tmp/a.onnx', 'a/b.onnx'])
def test_twin_lies_in_the_same_folder(half_proto, write_model, with_metadata, name):
    with pytest.raises(ModelError, match='int8_twin must be the name of a file in the same'):
        load_model(write_model(with_metadata(half_proto, int8_twin=name)))


def test_shipped_model():
    twin = load_model(model_path('', 'int8'))
    assert int8_twin(load_model(model_path('', 'fp32'))) == twin
    assert int8_twin(twin) is None
