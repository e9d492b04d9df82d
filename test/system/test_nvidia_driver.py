"""What a driver library says, works, and refuses."""

import pytest

from linknet_ros.system import nvidia_driver as module
from linknet_ros.system.nvidia_driver import CudaError, cuda_driver, driver_found


@pytest.fixture
def driver(cuda_library, monkeypatch):
    """Make a driver library, `driver('0')` with what cuInit returns, the one that is loaded."""
    return lambda init: monkeypatch.setattr(module, 'LIBRARY', str(cuda_library(init)))


def test_device(driver):
    driver('0')
    assert driver_found()
    orin = {'name': 'Orin', 'capability': '8.7', 'memory_mb': 8000}
    assert cuda_driver() == {'version': '12.6', 'devices': [orin]}


def test_driver_that_refuses(driver):
    driver('999')
    with pytest.raises(CudaError, match='cuInit fails with CUDA error 999'):
        cuda_driver()


def test_no_driver(monkeypatch):
    monkeypatch.setattr(module, 'LIBRARY', 'libno_such_driver.so.1')
    assert not driver_found()
    with pytest.raises(OSError, match=r'libno_such_driver\.so\.1: cannot open shared object'):
        cuda_driver()
