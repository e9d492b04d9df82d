"""What is said of the machine, with and without what it may not have."""

import pytest

from linknet_ros.benchmark import machine as module
from linknet_ros.system.child_process import Outcome


@pytest.mark.parametrize('gpu', [{'version': '12.6', 'devices': [{'name': 'Orin'}]}, None])
def test_machine(monkeypatch, tmp_path, gpu):
    monkeypatch.setattr(module, 'ask', lambda *arguments, seconds: Outcome(value=gpu))
    monkeypatch.setattr(module, 'BACKENDS', ('onnxruntime', 'no_such_package'))
    if gpu is None:
        (tmp_path / 'cpuinfo').write_text('Hardware: arm')
        monkeypatch.setattr(module, '_PROCESSORS', tmp_path / 'cpuinfo')
    record = module.machine()
    assert set(record['versions']) == {'numpy', 'onnxruntime'}
    assert record['cores'] >= 1
    assert record['load'] >= 0
    assert record['processor']
    assert record['gpu'] == gpu
