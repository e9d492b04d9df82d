"""What the NVIDIA driver says, asked through its own library: no CUDA toolkit is needed.

Functions and codes: CUDA Driver API, https://docs.nvidia.com/cuda/cuda-driver-api/.
"""

from __future__ import annotations

import ctypes
from typing import Any

LIBRARY = 'libcuda.so.1'

#: Of CUdevice_attribute.
_CAPABILITY_MAJOR, _CAPABILITY_MINOR = 75, 76


class CudaError(Exception):
    """The driver's library is there and refuses; the message has the code of CUresult."""


def driver_found() -> bool:
    """Whether the driver's library is there; it says nothing about a GPU that works."""
    try:
        ctypes.CDLL(LIBRARY)
    except OSError:
        return False
    return True


def cuda_driver() -> dict[str, Any]:
    """Version of the driver and its devices.

    :returns: 'version', the newest CUDA that the driver can run, as '12.6', and 'devices', of
        which each has 'name', 'capability' as '8.7' and 'memory_mb'.
    :raises OSError: when the library is missing or cannot be loaded.
    :raises CudaError: when the driver does not work.
    """
    library = ctypes.CDLL(LIBRARY)

    def call(function: str, *arguments: Any) -> None:
        code = getattr(library, function)(*arguments)
        if code:
            raise CudaError(f'{function} fails with CUDA error {code}')

    call('cuInit', 0)
    number = ctypes.c_int()
    call('cuDriverGetVersion', ctypes.byref(number))
    version = f'{number.value // 1000}.{number.value % 1000 // 10}'
    call('cuDeviceGetCount', ctypes.byref(number))
    devices = []
    for index in range(number.value):
        device, name, memory = ctypes.c_int(), ctypes.create_string_buffer(256), ctypes.c_size_t()
        call('cuDeviceGet', ctypes.byref(device), index)
        call('cuDeviceGetName', name, len(name), device)
        call('cuDeviceTotalMem_v2', ctypes.byref(memory), device)
        capability = []
        for attribute in (_CAPABILITY_MAJOR, _CAPABILITY_MINOR):
            value = ctypes.c_int()
            call('cuDeviceGetAttribute', ctypes.byref(value), attribute, device)
            capability.append(str(value.value))
        devices.append(
            {
                'name': name.value.decode('utf-8', 'replace'),
                'capability': '.'.join(capability),
                'memory_mb': memory.value // 10**6,
            }
        )
    return {'version': version, 'devices': devices}
