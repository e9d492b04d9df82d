"""Weights that an exporter wrote into a second file, as PyTorch does unless told otherwise."""

from __future__ import annotations

from pathlib import Path

from linknet_ros.errors import ModelError
from linknet_ros.inference.onnx_checks import nodes_and_tensors
from linknet_ros.limits import MAX_MODEL_BYTES
from linknet_ros.system.bounded_file import read_file


def with_weights(path: Path, data: bytes) -> bytes:
    """The same network as one file.

    :param path: of the network; the other file must lie beside it.
    :param data: what is in it; bytes that are no ONNX network are returned as they are.
    :raises ModelError: when the weights cannot be read.
    """
    if b'location' not in data:
        return data
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load_model_from_string(data)
    except (DecodeError, ValueError):
        return data  # parse_onnx says why
    files: dict[str, bytes] = {}
    for tensor in nodes_and_tensors(model.graph):
        if not isinstance(tensor, onnx.TensorProto) or not tensor.external_data:
            continue
        about = {entry.key: entry.value for entry in tensor.external_data}
        name = about.get('location', '')
        if name not in files:
            files[name] = _read(path, name, MAX_MODEL_BYTES - sum(map(len, files.values())))
        start = int(about.get('offset') or 0)
        length = int(about.get('length') or len(files[name]) - start)
        if not 0 <= start <= start + length <= len(files[name]):
            raise ModelError(
                f'{path.with_name(name)} is not the file of weights that {path} was written with',
                'copy both of them again',
            )
        tensor.raw_data = files[name][start : start + length]
        tensor.ClearField('data_location')
        del tensor.external_data[:]
    joined: bytes = model.SerializeToString()
    return joined


def _read(path: Path, name: str, max_bytes: int) -> bytes:
    # A network of somebody else must not name any file of this machine.
    if not name or Path(name).name != name:
        raise ModelError(
            f"{path} has weights in the file '{name}', which is not beside it",
            'export it as one file (torch.onnx.export: external_data=False)',
        )
    try:
        return read_file(path.with_name(name), max_bytes)
    except OSError as error:
        raise ModelError(
            f"cannot read '{path.with_name(name)}', the weights of {path}: {error.strerror}",
            'copy it there too, or export one file (torch.onnx.export: external_data=False)',
        ) from error
