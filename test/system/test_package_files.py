"""Files of the package in a checkout, beside the installed module, and in a symlinked install."""

import pytest
from checkout import ROOT

from linknet_ros.inference.model_file import load_model
from linknet_ros.system import package_files
from linknet_ros.system.package_files import (
    SHIPPED_MODEL,
    SHM_PROFILE,
    package_file,
    shipped_model,
)


def share(prefix):
    folder = prefix / 'share' / 'linknet_ros'
    folder.mkdir(parents=True)
    (folder / 'package.xml').touch()
    return folder


@pytest.fixture
def module_at(monkeypatch):
    """Pretend that the module lies in a folder."""

    def put(folder):
        path = folder / 'linknet_ros' / 'system' / 'package_files.py'
        path.parent.mkdir(parents=True, exist_ok=True)
        monkeypatch.setattr(package_files, '__file__', str(path))

    return put


def test_checkout():
    assert package_file('config/camvid.yaml') == ROOT / 'config' / 'camvid.yaml'
    assert package_file('none.txt') == ROOT / 'none.txt'


def test_paths_that_others_rely_on():
    assert SHIPPED_MODEL == 'models/linknet_camvid.onnx'
    assert SHM_PROFILE == 'config/fastdds_shm.xml'
    assert package_file(SHIPPED_MODEL).is_file()
    assert package_file(SHM_PROFILE).is_file()


def test_share_beside_lib(module_at, tmp_path, monkeypatch):
    """As colcon and pip install it."""
    monkeypatch.delenv('AMENT_PREFIX_PATH', raising=False)
    folder = share(tmp_path / 'install')
    module_at(tmp_path / 'install' / 'lib' / 'python3.12' / 'site-packages')
    assert package_file(SHIPPED_MODEL) == folder / 'models' / 'linknet_camvid.onnx'


def test_share_above_local(module_at, tmp_path, monkeypatch):
    """Colcon on Ubuntu 22.04 puts modules below local/, and share/ beside it."""
    monkeypatch.delenv('AMENT_PREFIX_PATH', raising=False)
    folder = share(tmp_path / 'install')
    module_at(tmp_path / 'install' / 'local' / 'lib' / 'python3.10' / 'dist-packages')
    assert package_file(SHM_PROFILE) == folder / SHM_PROFILE


def test_own_prefix_is_before_a_listed_one(module_at, tmp_path, monkeypatch):
    """An overlay whose module runs must not use the files of the package below it."""
    folder = share(tmp_path / 'overlay')
    share(tmp_path / 'underlay')
    module_at(tmp_path / 'overlay' / 'lib' / 'python3.12' / 'site-packages')
    monkeypatch.setenv('AMENT_PREFIX_PATH', str(tmp_path / 'underlay'))
    assert package_file(SHIPPED_MODEL) == folder / SHIPPED_MODEL


def test_share_of_a_listed_prefix(module_at, tmp_path, monkeypatch):
    """`colcon build --symlink-install`: the module is in build/, the files in install/."""
    folder = share(tmp_path / 'second')
    module_at(tmp_path / 'build')
    monkeypatch.setenv('AMENT_PREFIX_PATH', f'{tmp_path / "first"}::{tmp_path / "second"}')
    assert package_file(SHIPPED_MODEL) == folder / SHIPPED_MODEL


def test_nowhere(module_at, tmp_path, monkeypatch):
    module_at(tmp_path / 'build')
    monkeypatch.delenv('AMENT_PREFIX_PATH', raising=False)
    assert package_file('a.txt') == tmp_path / 'build' / 'a.txt'


@pytest.mark.parametrize(
    ('precision', 'name'),
    [('int8', 'linknet_camvid_int8.onnx')]
    + [(other, 'linknet_camvid.onnx') for other in ('auto', 'fp32', 'fp16', 'bf16')],
)
def test_model_of_a_precision(precision, name):
    assert shipped_model(precision) == f'models/{name}'


@pytest.mark.parametrize('precision', ['auto', 'int8'])
def test_shipped_models_are_what_they_are_taken_for(precision):
    model = load_model(package_file(shipped_model(precision)))
    assert model.precision == ('int8' if precision == 'int8' else 'fp32')
    assert model.accuracy['val_miou'] > 0.66
