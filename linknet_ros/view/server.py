"""The web server: a page of four files, and a WebSocket for what changes on it.

It runs in a thread of its own and knows no ROS.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Collection
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from linknet_ros.errors import ServeError
from linknet_ros.view.access import host_allowed, origin_allowed, response_headers
from linknet_ros.view.board import Board
from linknet_ros.view.session import Session

#: Folder of the page's files.
PAGE = Path(__file__).with_name('page')

#: Most browsers at a time.
MAX_SESSIONS = 8

#: Seconds that the node has to answer.
_TIMEOUT = 3.0

#: Longest message that the page sends [bytes].
_MAX_MESSAGE = 1024

#: Seconds between two pings; a browser that does not answer for up to twice as long is gone.
_HEARTBEAT = 10.0

_KINDS = {'.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css'}
_KINDS['.svg'] = 'image/svg+xml'

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Control(Protocol):
    """What the page can do to the robot; called from the server's thread, must not block."""

    def set_watched(self, watched: bool) -> None:
        """Called when the first page becomes visible, and when the last one no longer is."""

    def set_parameter(self, name: str, value: float) -> Future[str]:
        """Set a parameter of the node; the future has the reason of a refusal, or ''."""


class ViewServer:
    """Serves the page until it is stopped.

    :param board: what the page shows.
    :param control: what the page can do.
    :param host: address to serve on.
    :param port: port to serve on; 0 for any free one.
    :param names: names of this machine, beside its addresses and localhost; see host_allowed.
    :param rate: most pictures of a channel per second.
    :raises ServeError: when a file of the page is missing, or the address cannot be used.
    """

    def __init__(
        self,
        board: Board,
        control: Control,
        *,
        host: str = '127.0.0.1',
        port: int = 8080,
        names: Collection[str] = (),
        rate: float = 15.0,
    ) -> None:
        self._board = board
        self._control = control
        self._host, self._port = host, port
        self._names = frozenset(name.lower() for name in names)
        self._rate = rate
        self._files = _page_files()
        self._sessions: set[Session] = set()
        self._watched = False
        self._encoder = ThreadPoolExecutor(1, 'view_encoder')
        self._ready: Future[int] = Future()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name='view_server', daemon=True)
        self._thread.start()
        error = self._ready.exception()
        if error is not None:
            self._thread.join()
            self._encoder.shutdown(wait=False)
            raise error
        self._port = self._ready.result()

    @property
    def url(self) -> str:
        """Address of the page."""
        host = f'[{self._host}]' if ':' in self._host else self._host
        return f'http://{host}:{self._port}/'

    def stop(self) -> None:
        """Close all connections and end the thread."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()
        self._encoder.shutdown(wait=False)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception as error:
            if self._ready.done():
                raise
            self._ready.set_exception(error)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        application = web.Application(middlewares=[self._guard])
        application.router.add_get('/socket', self._open_socket)
        application.router.add_get('/{name:[a-z.]*}', self._send_file)
        runner = web.AppRunner(
            application, access_log=None, logger=_logger(), handle_signals=False
        )
        await runner.setup()
        try:
            site = web.TCPSite(runner, self._host, self._port)
            try:
                await site.start()
            except (OSError, UnicodeError) as error:
                reason = getattr(error, 'strerror', None) or str(error)
                raise ServeError(
                    f'cannot serve on {self._host}:{self._port} ({reason})',
                    'set the parameters host to an address of this machine and port to a free one',
                ) from error
            self._board.on_picture(self._wake)
            self._ready.set_result(int(runner.addresses[0][1]))
            await self._stop.wait()
        finally:
            self._board.on_picture(lambda: None)
            await asyncio.gather(*(session.close() for session in self._sessions))
            await runner.cleanup()

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        host, origin = request.headers.get('Host', ''), request.headers.get('Origin')
        if not host_allowed(host, self._names):
            raise web.HTTPForbidden(
                text='Unknown host name. Use the address of this machine, or add the name to the '
                'parameter allowed_hosts of the view.'
            )
        if origin is not None and not origin_allowed(origin, host):
            raise web.HTTPForbidden(text='Requests from other pages are refused.')
        response = await handler(request)
        if not response.prepared:
            response.headers.update(response_headers(host))
        return response

    async def _send_file(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info['name'] or 'index.html'
        if name not in self._files:
            raise web.HTTPNotFound
        kind, data = self._files[name]
        return web.Response(body=data, content_type=kind, charset='utf-8')

    async def _open_socket(self, request: web.Request) -> web.StreamResponse:
        if 'Origin' not in request.headers:
            # Browsers always send one, and nobody else needs to be served.
            raise web.HTTPForbidden(text='A WebSocket needs an Origin header.')
        if len(self._sessions) >= MAX_SESSIONS:
            raise web.HTTPServiceUnavailable(text=f'{MAX_SESSIONS} browsers are connected.')
        # Most of the data is JPEG: compressing it again gains nothing.
        socket = web.WebSocketResponse(
            timeout=0.5, heartbeat=_HEARTBEAT, compress=False, max_msg_size=_MAX_MESSAGE
        )
        await socket.prepare(request)
        session = Session(
            socket, self._board, self._set_parameter, self._encoder, self._rate, self._on_visible
        )
        self._sessions.add(session)
        try:
            await session.run()
        finally:
            self._sessions.discard(session)
            self._on_visible()
        return socket

    def _on_visible(self) -> None:
        watched = any(session.visible for session in self._sessions)
        if watched != self._watched:
            self._watched = watched
            self._control.set_watched(watched)

    async def _set_parameter(self, name: str, value: float) -> str:
        answer = asyncio.wrap_future(self._control.set_parameter(name, value))
        try:
            return await asyncio.wait_for(answer, _TIMEOUT)
        except asyncio.TimeoutError:
            return f'the node did not answer within {_TIMEOUT:g} s'

    def _wake(self) -> None:
        """Send what is new; called from any thread."""
        try:
            self._loop.call_soon_threadsafe(self._wake_sessions)
        except RuntimeError:
            # Harmless if the loop has just been closed: no session is left.
            if not self._loop.is_closed():
                raise

    def _wake_sessions(self) -> None:
        for session in self._sessions:
            session.wake()


def _logger() -> logging.Logger:
    """A logger for bugs, but not for requests that are not valid HTTP."""

    def is_bug(record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        return not isinstance(error, HttpProcessingError)

    logger = logging.getLogger('linknet_ros.view')
    logger.filters = [is_bug]
    return logger


def _page_files() -> dict[str, tuple[str, bytes]]:
    """MIME type and contents of the page's files, by name."""
    files = {}
    try:
        for path in PAGE.iterdir():
            if path.suffix in _KINDS:
                files[path.name] = (_KINDS[path.suffix], path.read_bytes())
    except OSError as error:
        raise ServeError(
            f'cannot read {error.filename} ({error.strerror})', 'install linknet_ros again'
        ) from error
    return files
