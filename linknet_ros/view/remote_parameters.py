"""Reads and sets parameters of another node over its services, without blocking."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import GetParameters, SetParametersAtomically
from rclpy.client import Client
from rclpy.node import Node
from rclpy.task import Future

#: Seconds after which a response is no longer expected.
_TIMEOUT = 3.0

#: Field of ParameterValue that has the value, by its type.
_FIELDS = {
    ParameterType.PARAMETER_BOOL: 'bool_value',
    ParameterType.PARAMETER_INTEGER: 'integer_value',
    ParameterType.PARAMETER_DOUBLE: 'double_value',
    ParameterType.PARAMETER_STRING: 'string_value',
    ParameterType.PARAMETER_STRING_ARRAY: 'string_array_value',
}


class RemoteParameters:
    """Parameters of one other node. All calls and callbacks are on the executor's thread.

    :param node: node that sends the requests.
    :param target: full name of the other node.
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
        """Request values; does nothing while the last request is open or the node is missing.

        :param done: called with the values by name; with none if the node misses one of them.
        """
        if any(client is self._get for _, client, _ in self._open):
            return
        if not self._get.service_is_ready():
            return

        def on_response(response: GetParameters.Response) -> None:
            pairs = zip(names, response.values, strict=False)
            values = {name: _plain(value) for name, value in pairs}
            done({name: value for name, value in values.items() if value is not None})

        self._call(self._get, GetParameters.Request(names=list(names)), on_response)

    def set(self, name: str, value: float, done: Callable[[str], None]) -> None:
        """Set a number.

        :param done: called with the reason of a refusal, or ''.
        """
        if not self._set.service_is_ready():
            done(f'{self._target} is not running')
            return
        number = ParameterValue(type=ParameterType.PARAMETER_DOUBLE, double_value=value)
        request = SetParametersAtomically.Request(parameters=[Parameter(name=name, value=number)])

        def on_response(response: SetParametersAtomically.Response) -> None:
            result = response.result
            done('' if result.successful else result.reason or 'refused without a reason')

        self._call(self._set, request, on_response)

    def forget_unanswered(self) -> None:
        """Give up requests that are open too long, e.g. since the node has died."""
        now = time.monotonic()
        for entry in [e for e in self._open if now - e[0] > _TIMEOUT]:
            self._open.remove(entry)
            _, client, future = entry
            client.remove_pending_request(future)

    def close(self) -> None:
        """Destroy the clients."""
        for client in (self._get, self._set):
            self._node.destroy_client(client)
        self._open.clear()

    def _call(self, client: Client, request: Any, on_response: Callable[[Any], None]) -> None:
        future = client.call_async(request)
        entry = (time.monotonic(), client, future)
        self._open.append(entry)

        def on_done(future: Future) -> None:
            if entry in self._open:
                self._open.remove(entry)
                on_response(future.result())

        future.add_done_callback(on_done)


def _plain(value: ParameterValue) -> Any:
    """The value itself; None if it is not set or has a type not in _FIELDS."""
    field = _FIELDS.get(value.type)
    found: Any = None if field is None else getattr(value, field)
    return tuple(found) if field == 'string_array_value' else found
