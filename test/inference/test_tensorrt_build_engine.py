"""The command line that builds engines ahead of time, on the stand-ins for TensorRT and CUDA."""

import os
import signal
import subprocess
import sys

import pytest

from linknet_ros.inference.segmenter import Segmenter
from linknet_ros.inference.tensorrt import build_engine


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


def test_model_behind_the_sizes(model, capsys):
    with pytest.raises(SystemExit):
        build_engine.main(['--frame', '64x64', str(model.path)])
    assert "model.onnx' (expected WIDTHxHEIGHT, e.g. 640x360)" in capsys.readouterr().err


def test_shipped_model_by_default(model, fake_gpu, tmp_path, capsys, monkeypatch):
    fake_gpu()
    asked = []
    monkeypatch.setattr(build_engine, 'model_path', lambda *a: asked.append(a) or model.path)
    build_engine.main(['--cache-dir', str(tmp_path), '--frame', '300x90'])
    assert asked == [(None, 'auto')]
    assert '96x64 in fp16: ' in capsys.readouterr().out


def test_help_explains_every_option(help_of):
    texts = help_of(build_engine.main)
    assert {'model', '--frame', '--zero-copy', '--cache-dir'} <= set(texts)
    for name, text in texts.items():
        assert text, name
        assert text.count('default') <= 1, name
        assert 'None' not in text, name


def test_interrupted(model, fake_gpu, tmp_path):
    fake_gpu(build='hangs')
    command = [sys.executable, '-m', 'linknet_ros', 'build_engine', str(model.path)]
    environment = os.environ | {'PYTHONPATH': os.pathsep.join(sys.path)}
    options = ['--cache-dir', str(tmp_path / 'engines')]
    pipes = {'stdout': subprocess.PIPE, 'stderr': subprocess.PIPE, 'text': True}
    with subprocess.Popen([*command, *options], env=environment, **pipes) as process:
        # It says so when the builder runs.
        lines = iter(process.stdout.readline, '')
        assert any('MiB are free' in line for line in lines)
        process.terminate()
        _, errors = process.communicate()
        assert (process.returncode, errors) == (128 + signal.SIGTERM, '')
    assert not list((tmp_path / 'engines').glob('*.engine'))
