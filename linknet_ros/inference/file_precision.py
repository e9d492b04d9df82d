"""Which arithmetic a model file can be run in: an int8 file in int8 only, the others never."""

from __future__ import annotations

from linknet_ros.errors import BackendError
from linknet_ros.inference.model_file import ModelFile
from linknet_ros.system.package_files import SHIPPED_INT8_MODEL


def check_file_precision(model: ModelFile, precision: str) -> None:
    """Refuse what a model file is not made for.

    :param precision: one of PRECISIONS. An fp16 file may be run in fp32 or bf16: only its weights
        and constants are rounded then.
    :raises BackendError: for an int8 file that shall run in something else, and the other way
        round.
    """
    if model.precision == 'int8' and precision not in ('auto', 'int8'):
        raise BackendError(
            f'{model.path} is made for int8, not {precision}; use precision auto or int8, or the '
            'fp32 file of the same network'
        )
    if model.precision != 'int8' and precision == 'int8':
        raise BackendError(
            f'{model.path} is made for {model.precision}, not int8; use {SHIPPED_INT8_MODEL} '
            '(taken where no model is named), or make one with '
            'python -m training.export --precision int8'
        )
