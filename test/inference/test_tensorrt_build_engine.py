"""The command line that builds engines ahead of time, on the stand-ins for TensorRT and CUDA."""

import signal

import pytest

from linknet_ros.inference.segmenter import Segmenter
from linknet_ros.inference.tensorrt import build_engine
from linknet_ros.system.package_files import SHIPPED_MODEL


@pytest.fixture(autouse=True)
def own_signals():
    """Leave pytest's signal handlers as they were."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def run(model, tmp_path, *arguments):
    build_engine.main([str(model.path), '--cache-dir', str(tmp_path / 'engines'), *arguments])
    return sorted((tmp_path / 'engines').glob('*.engine'))


def test_builds_for_the_network_size_and_each_frame(model, fake_gpu, tmp_path, capsys):
    fake_gpu()
    # The model is for 96x64; a wide frame becomes 96x32, and 192x128 is the same as the model's.
    assert len(run(model, tmp_path, '--frame', '300x90', '192x128')) == 2
    lines = capsys.readouterr().out.splitlines()
    done = [line for line in lines if '.engine' in line]
    assert [line.split(':')[0] for line in done] == ['96x64 in fp16', '96x32 in fp16']


def test_what_it_builds_is_what_the_segmenter_opens(
    model, fake_gpu, tmp_path, capsys, monkeypatch
):
    fake_gpu()
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    build_engine.main([str(model.path)])
    capsys.readouterr()

    def no_build(*arguments):
        raise AssertionError('built again')

    monkeypatch.setattr('linknet_ros.inference.tensorrt.backend.build_in_child', no_build)
    segmenter = Segmenter(model, backend='tensorrt')
    assert (segmenter.backend, segmenter.precision) == ('tensorrt', 'fp16')
    segmenter.close()


def test_options(model, fake_gpu, tmp_path, capsys):
    fake_gpu()
    (path,) = run(
        model,
        tmp_path,
        *('--network-size', '64x32', '--precision', 'fp32', '--optimization-level', '1'),
    )
    assert b'"level": 1' in path.read_bytes()
    assert '64x32 in fp32: ' in capsys.readouterr().out


def test_rebuild(model, fake_gpu, tmp_path, capsys):
    fake_gpu()
    for arguments, builds in ((), 1), ((), 0), (('--rebuild',), 1):
        run(model, tmp_path, *arguments)
        assert capsys.readouterr().out.count('this takes minutes') == builds


def test_fails_in_one_line(model, fake_gpu, tmp_path):
    fake_gpu(devices=[])
    with pytest.raises(SystemExit, match=r'^build_engine: CUDA: cudaGetDeviceCount failed.*\Z'):
        run(model, tmp_path)


def test_engine_that_cannot_be_kept_is_a_failure(model, fake_gpu, tmp_path, capsys):
    fake_gpu()
    (tmp_path / 'engines').touch()
    with pytest.raises(SystemExit) as stop:
        run(model, tmp_path)
    assert stop.value.code == 1
    assert 'engines cannot be kept' in capsys.readouterr().out


@pytest.mark.parametrize('size', ['64', '64x', '0x32', 'axb'])
def test_no_size(model, tmp_path, capsys, size):
    with pytest.raises(SystemExit):
        run(model, tmp_path, '--frame', size)
    assert f"'{size}' is no size; write it as 1280x720" in capsys.readouterr().err


def test_model_behind_the_sizes(model, capsys):
    with pytest.raises(SystemExit):
        build_engine.main(['--frame', '64x64', str(model.path)])
    assert 'is no size; write MODEL before --frame' in capsys.readouterr().err


def test_shipped_model_by_default(model, fake_gpu, tmp_path, capsys, monkeypatch):
    fake_gpu()
    asked = []
    monkeypatch.setattr(build_engine, 'package_file', lambda n: asked.append(n) or model.path)
    build_engine.main(['--cache-dir', str(tmp_path), '--frame', '300x90'])
    assert asked == [SHIPPED_MODEL]
    assert '96x64 in fp16: ' in capsys.readouterr().out


def test_help_explains_every_option(help_of):
    texts = help_of(build_engine.main)
    assert {'model', '--frame', '--zero-copy', '--cache-dir'} <= set(texts)
    for name, text in texts.items():
        assert text, name
        assert text.count('default') <= 1, name
        assert 'None' not in text, name


def test_interrupted(model, fake_gpu, tmp_path, monkeypatch):
    fake_gpu(build='hangs')

    def interrupt(line, flush):
        if 'MiB are free' in line:
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr('builtins.print', interrupt)
    with pytest.raises(SystemExit, match='build_engine: building an engine was cancelled'):
        run(model, tmp_path)
