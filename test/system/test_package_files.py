"""Files of the package in a checkout, beside the installed module, and in a symlinked install."""

from pathlib import Path

import pytest
from checkout import ROOT

from linknet_ros.inference.model_file import load_model
from linknet_ros.system import package_files
from linknet_ros.system.package_files import SHIPPED_MODEL, SHM_PROFILE, model_path, package_file


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
    assert package_file(SHM_PROFILE).is_file()


@pytest.mark.parametrize(
    ('module', 'prefixes', 'listed', 'found'),
    [
        # As colcon and pip install it.
        ('install/lib/python3.12/site-packages', ['install'], '', 'install'),
        # Colcon on Ubuntu 22.04 puts modules below local/, and share/ beside it.
        ('install/local/lib/python3.10/dist-packages', ['install'], '', 'install'),
        # An overlay whose module runs must not use the files of the package below it.
        ('over/lib/python3.12/site-packages', ['over', 'under'], '{0}/under', 'over'),
        # `colcon build --symlink-install`: the module is in build/, the files in install/.
        ('build', ['second'], '{0}/first::{0}/second', 'second'),
    ],
)
def test_installed(module_at, tmp_path, monkeypatch, module, prefixes, listed, found):
    for prefix in prefixes:
        folder = tmp_path / prefix / 'share' / 'linknet_ros'
        folder.mkdir(parents=True)
        (folder / 'package.xml').touch()
    monkeypatch.setenv('AMENT_PREFIX_PATH', listed.format(tmp_path))
    module_at(tmp_path / module)
    share = tmp_path / found / 'share' / 'linknet_ros'
    assert package_file(SHIPPED_MODEL) == share / 'models' / 'linknet_camvid.onnx'


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
    assert model_path('', precision) == package_file(f'models/{name}')
    assert model_path('mine.onnx', precision) == Path('mine.onnx')


@pytest.mark.parametrize('precision', ['auto', 'int8'])
def test_shipped_model_is_what_it_is_taken_for(precision):
    model = load_model(model_path('', precision))
    assert model.precision == ('int8' if precision == 'int8' else 'fp32')
    assert model.accuracy['val_miou'] > 0.66
