"""The int8 twin of a model file: what precision `auto` takes on a processor made for int8.

There it is 1.5 to 1.7 times as fast as bf16, at the same mIoU (measured with AMX, OpenVINO).
"""

from __future__ import annotations

import platform
from pathlib import Path

from linknet_ros.errors import ModelError
from linknet_ros.inference.model_file import ModelFile, load_model

#: Instructions for dot products of int8, as Linux calls them (arch/x86/include/asm/cpufeatures.h).
_INSTRUCTIONS = ('amx_int8', 'avx512_vnni', 'avx_vnni')

#: How much less than the file itself its twin may reach in any figure of accuracy that both have.
_MOST_LOST = 0.01

_CPUINFO = Path('/proc/cpuinfo')


def int8_instructions() -> str:
    """The processor's best instructions for int8; empty where it has none, or that is unknown."""
    try:
        lines = _CPUINFO.read_text().splitlines()
    except OSError:
        return ''
    flags = next((line.split() for line in lines if line.startswith('flags')), [])
    return next((name for name in _INSTRUCTIONS if name in flags), '')


def int8_overflows() -> bool:
    """Whether convolutions of int8 are wrong here: on x86 without instructions for them.

    There the product of two pairs is added up in 16 bits before anything wider (vpmaddubsw), which
    255 * 127 * 2 does not fit into (oneDNN's guide, "Nuances of int8 computations").
    """
    return platform.machine().lower() in ('x86_64', 'amd64') and not int8_instructions()


def int8_twin(model: ModelFile) -> ModelFile | None:
    """The twin that a model file names, from the same folder; None where it is not there.

    :raises ModelError: when it cannot be read, or does not agree with the file.
    """
    path = model.path.with_name(model.int8_twin) if model.int8_twin else None
    if path is None or not path.is_file():
        return None
    twin = load_model(path)
    alike = ('classes', 'architecture', 'dataset', 'label_set', 'default_size', 'stride')
    for what in (*alike, 'fixed_size'):
        if getattr(twin, what) != getattr(model, what):
            raise ModelError(f'{path} is not used: its {what} is not that of {model.name}')
    if twin.precision != 'int8':
        raise ModelError(f'{path} is not used: it is made for {twin.precision}, not int8')
    if twin.quantized_from not in ('', model.sha256):
        raise ModelError(
            f'{path} is not used: it was made from another {model.name}',
            'make it again with quantize_model',
        )
    for name, figure in model.accuracy.items():
        if twin.accuracy.get(name, figure) < figure - _MOST_LOST:
            raise ModelError(
                f'{path} is not used: its {name} is {twin.accuracy[name]:g}, that of '
                f'{model.name} {figure:g}'
            )
    return twin
