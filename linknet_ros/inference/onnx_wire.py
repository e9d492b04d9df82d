"""ONNX bytes before they are parsed: how many objects a parser would make of them.

protobuf makes an object of some 80 bytes from two bytes of file (15 MiB of empty nodes became
1.2 GB, measured with protobuf's upb), so a limit on the file's size is none on memory. Here only
tags and lengths are read; nothing is allocated for what they enclose.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from linknet_ros.errors import ModelError

#: Fields of all messages together; ENet with group norms, the most of our networks, has 15,000.
MAX_FIELDS = 200_000

#: Bytes of everything but the weights' raw data: names, shapes, attributes, metadata.
MAX_PLAIN_BYTES = 16 * 1024 * 1024

#: Messages inside each other; a weight in a node's attribute is the fourth.
MAX_DEPTH = 16

_WAY_OUT = 'make one with python -m training.export'

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

#: The one field that may be large.
_WEIGHTS = 'onnx.TensorProto.raw_data'


def check_wire(path: Path, data: bytes) -> None:
    """Refuse bytes of which a parser would make too many objects.

    :param path: where they come from, for messages.
    :raises ModelError: when there are more fields or plain bytes than a model needs, or when they
        are no protobuf message.
    """
    from onnx import ModelProto

    _Walk(path, data).message(0, len(data), ModelProto.DESCRIPTOR, 0)


class _Walk:
    def __init__(self, path: Path, data: bytes) -> None:
        self._path = path
        self._data = data
        self._fields = MAX_FIELDS
        self._plain = MAX_PLAIN_BYTES
        self._known: dict[str, dict[int, Any]] = {}

    def message(self, at: int, end: int, descriptor: Any, depth: int) -> None:
        """Go through the fields of a message in data[at:end]."""
        if depth > MAX_DEPTH:
            raise ModelError(f'{self._path} nests deeper than any model needs; {_WAY_OUT}')
        fields = self._fields_of(descriptor)
        while at < end:
            self._fields -= 1
            if self._fields < 0:
                raise ModelError(
                    f'{self._path} has more than {MAX_FIELDS} fields, far more than a model '
                    f'needs; {_WAY_OUT}'
                )
            tag, at = self._varint(at, end)
            kind = tag & 7
            if kind == _VARINT:
                _, at = self._varint(at, end)
            elif kind in (_FIXED64, _FIXED32):
                at += 8 if kind == _FIXED64 else 4
            elif kind == _BYTES:
                length, at = self._varint(at, end)
                # Before the message is entered: its own end must not lie behind ours.
                if length > end - at:
                    raise self._damaged()
                field = fields.get(tag >> 3)
                if field is not None and field.message_type is not None:
                    self.message(at, at + length, field.message_type, depth + 1)
                elif field is None or field.full_name != _WEIGHTS:
                    self._plain_bytes(at, length, field)
                at += length
            else:  # groups, which ONNX does not have
                raise self._damaged()
            if at > end or not 0 < tag >> 3 < 1 << 29:
                raise self._damaged()

    def _plain_bytes(self, at: int, length: int, field: Any) -> None:
        self._plain -= length
        if self._plain < 0:
            raise ModelError(
                f'{self._path} has more than {MAX_PLAIN_BYTES} bytes beside raw weights, far '
                f'more than a model needs; {_WAY_OUT}'
            )
        if field is not None and field.type == field.TYPE_STRING:
            # protobuf would give bytes for such a text, which fails somewhere later.
            try:
                self._data[at : at + length].decode()
            except UnicodeDecodeError:
                raise self._damaged() from None

    def _fields_of(self, descriptor: Any) -> dict[int, Any]:
        name = descriptor.full_name
        if name not in self._known:
            self._known[name] = {field.number: field for field in descriptor.fields}
        return self._known[name]

    def _varint(self, at: int, end: int) -> tuple[int, int]:
        """A number of 7 bits a byte, and where it ends."""
        value = 0
        for shift in range(0, 70, 7):
            if at >= end:
                break
            byte = self._data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, at
        raise self._damaged()

    def _damaged(self) -> ModelError:
        return ModelError(
            f'{self._path} is no readable ONNX file (its bytes are no protobuf message); '
            'copy or export it again'
        )
