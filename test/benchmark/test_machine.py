"""What is said of the machine, with and without what it may lack."""

from linknet_ros.benchmark import machine as module
from linknet_ros.benchmark.machine import machine
from linknet_ros.system.child_process import Outcome


def test_machine(monkeypatch):
    gpu = {'version': '12.6', 'devices': [{'name': 'Orin'}]}
    monkeypatch.setattr(module, 'ask', lambda *arguments, seconds: Outcome(value=gpu))
    monkeypatch.setattr(module, 'BACKENDS', ('onnxruntime', 'no_such_package'))
    record = machine()
    assert set(record['versions']) == {'numpy', 'onnxruntime'}
    assert record['cores'] >= 1
    assert record['load'] >= 0
    assert record['processor']
    assert record['gpu'] == gpu


def test_without_gpu_and_cpuinfo(monkeypatch, tmp_path):
    lacking = Outcome(failure='OSError', message='libcuda.so.1: cannot open')
    monkeypatch.setattr(module, 'ask', lambda *arguments, seconds: lacking)
    (tmp_path / 'cpuinfo').write_text('Hardware: arm')
    monkeypatch.setattr(module, '_PROCESSORS', tmp_path / 'cpuinfo')
    record = machine()
    assert record['gpu'] is None
    assert record['processor']
