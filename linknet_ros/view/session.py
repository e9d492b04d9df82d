"""The connection of one browser: pictures as fast as it draws them, and no faster.

The browser requests the next picture of a channel once it has drawn the last one, so at most one
of each is in flight, and a slow browser gets fewer. Everything runs in the server's event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from typing import Any

from aiohttp import WSMsgType, web

from linknet_ros.errors import LinknetError
from linknet_ros.view.board import Board
from linknet_ros.view.pictures import Picture
from linknet_ros.view.status import CHANNELS, SLIDERS, status_of

#: Seconds between two status messages.
_STATUS_PERIOD = 0.5

#: Sets a parameter; returns why it was refused, or ''.
SetParameter = Callable[[str, float], Awaitable[str]]


class Session:
    """The WebSocket of one page.

    It sends text messages (`type` is 'status', or 'answer' to a change of a parameter), and
    pictures as bytes: the length of a JSON header (4 bytes, big endian), the header, the encoded
    picture. It accepts {"visible": bool}, {"next": channel} and {"set": parameter, "value":
    number}.

    :param socket: a prepared WebSocket.
    :param board: what the page shows.
    :param set_parameter: sets a parameter of the node.
    :param encoder: executor that encodes pictures.
    :param rate: most pictures of a channel per second.
    :param on_visible: called when `visible` has changed.
    """

    def __init__(
        self,
        socket: web.WebSocketResponse,
        board: Board,
        set_parameter: SetParameter,
        encoder: Executor,
        rate: float,
        on_visible: Callable[[], None],
    ) -> None:
        #: Whether the page is visible, i.e. not in a hidden tab.
        self.visible = False
        self._socket = socket
        self._board = board
        self._set_parameter = set_parameter
        self._encoder = encoder
        self._period = 1 / rate
        self._on_visible = on_visible
        self._woken = asyncio.Event()
        self._requested: set[str] = set()
        self._sent: dict[str, Picture] = {}
        self._earliest = dict.fromkeys(CHANNELS, 0.0)
        self._status_due = 0.0
        self._setting: asyncio.Task[None] | None = None
        self._answer: dict[str, Any] | None = None

    def wake(self) -> None:
        """Check for something new to send."""
        self._woken.set()

    async def close(self) -> None:
        """Close the socket with a reason."""
        await self._socket.close(code=1001, message=b'the view ends')

    async def run(self) -> None:
        """Serve the page until it disconnects."""
        tasks = [asyncio.ensure_future(part) for part in (self._receive(), self._send())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            # First, since older versions of aiohttp cancel this task again while it waits below.
            self.visible = False
            self._on_visible()
            if self._setting is not None:
                tasks.append(self._setting)
            for task in tasks:
                task.cancel()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
        for end in ends:
            # A browser that disconnects is not an error, whatever was being sent.
            if isinstance(end, Exception) and not isinstance(end, ConnectionError):
                raise end

    async def _receive(self) -> None:
        async for message in self._socket:
            if message.type != WSMsgType.TEXT or not self._take(message.data):
                await self._socket.close(code=1008, message=b'invalid message')
                return

    def _take(self, text: str) -> bool:
        """Handle a message; returns whether it was valid."""
        try:
            # Integers as float, since converting one of 400 digits would fail later.
            request = json.loads(text, parse_int=float)
        except (ValueError, RecursionError):
            return False
        match request:
            case {'visible': bool(visible)}:
                self.visible = visible
                self._requested.clear()
                self._status_due = 0.0
                self._on_visible()
            case {'next': str(channel)} if channel in CHANNELS:
                # A page that has just been hidden may still draw a last picture and ask for more.
                if self.visible:
                    self._requested.add(channel)
            case {'set': str(name), 'value': float(value)} if name in SLIDERS:
                # The page waits for the answer before the next change.
                busy = self._setting is not None and not self._setting.done()
                if busy or not math.isfinite(value):
                    return False
                self._setting = asyncio.ensure_future(self._set(name, value))
            case _:
                return False
        self._woken.set()
        return True

    async def _set(self, name: str, value: float) -> None:
        problem = await self._set_parameter(name, value)
        self._answer = {'type': 'answer', 'set': name, 'value': value, 'problem': problem}
        self._woken.set()

    async def _send(self) -> None:
        while not self._socket.closed:
            self._woken.clear()
            if self._answer is not None:
                answer, self._answer = self._answer, None
                await self._socket.send_str(json.dumps(answer))
            now = time.monotonic()
            if self.visible and now >= self._status_due:
                self._status_due = now + _STATUS_PERIOD
                status = status_of(self._board.facts, self._board.times(), now)
                await self._socket.send_str(json.dumps({'type': 'status', **status}))
            for channel in self._due(time.monotonic()):
                await self._send_picture(channel)
            await self._wait()

    def _new(self, channel: str) -> Picture | None:
        """A picture that the page has requested and has not got yet."""
        picture = self._board.picture(channel) if channel in self._requested else None
        return None if picture is self._sent.get(channel) else picture

    def _due(self, now: float) -> list[str]:
        return [c for c in CHANNELS if self._earliest[c] <= now and self._new(c) is not None]

    async def _wait(self) -> None:
        """Wait until something is new, or something may be sent."""
        if self._woken.is_set():
            return
        times = [self._earliest[c] for c in CHANNELS if self._new(c) is not None]
        if self.visible:
            times.append(self._status_due)
        timeout = max(0.0, min(times) - time.monotonic()) if times else None
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._woken.wait(), timeout)

    async def _send_picture(self, channel: str) -> None:
        picture = self._new(channel)
        if picture is None:
            return
        header: dict[str, Any] = {
            'channel': channel,
            'time': picture.time,
            'kind': picture.kind,
            'caption': picture.caption,
        }
        data = b''
        try:
            loop = asyncio.get_running_loop()
            data = await loop.run_in_executor(self._encoder, picture.data)
        except LinknetError as error:
            header['problem'] = str(error)
        if channel not in self._requested:
            # The page has been hidden meanwhile.
            return
        self._requested.discard(channel)
        self._sent[channel] = picture
        self._earliest[channel] = time.monotonic() + self._period
        text = json.dumps(header).encode()
        await self._socket.send_bytes(len(text).to_bytes(4, 'big') + text + data)
