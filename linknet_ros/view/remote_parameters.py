"""Parameters of another node, read and set over its services; nothing here waits."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import GetParameters, SetParametersAtomically
from rclpy.client import Client
from rclpy.node import Node
from rclpy.task import Future

#: Seconds after which an answer is no longer expected.
_PATIENCE = 3.0

#: Field of ParameterValue by its type.
_FIELDS = {
    ParameterType.PARAMETER_BOOL: 'bool_value',
    ParameterType.PARAMETER_INTEGER: 'integer_value',
    ParameterType.PARAMETER_DOUBLE: 'double_value',
    ParameterType.PARAMETER_STRING: 'string_value',
    ParameterType.PARAMETER_STRING_ARRAY: 'string_array_value',
}


class RemoteParameters:
    """Of one node. All calls and callbacks are on the executor's thread.

    :param node: that asks.
    :param target: full name of the node that is asked.
    """

    def __init__(self, node: Node, target: str) -> None:
        self._node = node
        self._target = target
        self._get = node.create_client(GetParameters, f'{target}/get_parameters')
        self._set = node.create_client(
            SetParametersAtomically, f'{target}/set_parameters_atomically'
        )
        self._open: list[tuple[float, Client, Future]] = []

    def get(self, names: Sequence[str], done: Callable[[dict[str, Any]], None]) -> None:
        """Ask for values; one request at a time, so nothing where the last is not answered yet.

        :param done: gets the values by name; none at all where the node lacks one of them.
        """
        if any(client is self._get for _, client, _ in self._open):
            return
        if not self._get.service_is_ready():
            return

        def take(response: GetParameters.Response) -> None:
            pairs = zip(names, response.values, strict=False)
            values = {name: _plain(value) for name, value in pairs}
            done({name: value for name, value in values.items() if value is not None})

        self._call(self._get, GetParameters.Request(names=list(names)), take)

    def set(self, values: Mapping[str, float], done: Callable[[str], None]) -> None:
        """Set numbers, all or none.

        :param done: gets the reason of a refusal, or ''.
        """
        if not self._set.service_is_ready():
            done(f'{self._target} is not there')
            return
        kind = ParameterType.PARAMETER_DOUBLE
        request = SetParametersAtomically.Request(
            parameters=[
                Parameter(name=name, value=ParameterValue(type=kind, double_value=value))
                for name, value in values.items()
            ]
        )

        def take(response: SetParametersAtomically.Response) -> None:
            result = response.result
            done('' if result.successful else result.reason or 'refused, without a reason')

        self._call(self._set, request, take)

    def forget_unanswered(self) -> None:
        """Give up what was asked too long ago, as of a node that died meanwhile."""
        now = time.monotonic()
        for entry in [e for e in self._open if now - e[0] > _PATIENCE]:
            self._open.remove(entry)
            _, client, future = entry
            client.remove_pending_request(future)

    def close(self) -> None:
        """Ask no more."""
        for client in (self._get, self._set):
            self._node.destroy_client(client)
        self._open.clear()

    def _call(self, client: Client, request: Any, take: Callable[[Any], None]) -> None:
        future = client.call_async(request)
        entry = (time.monotonic(), client, future)
        self._open.append(entry)

        def answered(future: Future) -> None:
            if entry in self._open:
                self._open.remove(entry)
                take(future.result())

        future.add_done_callback(answered)


def _plain(value: ParameterValue) -> Any:
    """The value itself; None for one that is not set, or of a type that nobody here asks for."""
    field = _FIELDS.get(value.type)
    found: Any = None if field is None else getattr(value, field)
    return tuple(found) if field == 'string_array_value' else found
