"""The web server over real sockets: its files, whom it refuses, and when the robot is watched."""

import asyncio
import contextlib
import re
import socket
import time
from concurrent.futures import Future

import pytest

pytest.importorskip('aiohttp', reason='aiohttp (extra "view") not installed')

import aiohttp

from linknet_ros.errors import ServeError
from linknet_ros.view import server as view_server
from linknet_ros.view.board import Board
from linknet_ros.view.server import ViewServer

VISIBLE = {'visible': True}


class Control:
    """Stand-in for the listener."""

    def __init__(self):
        self.changes = []
        self.asked = []

    def set_watched(self, watched):
        self.changes.append(watched)

    def set_parameter(self, name, value):
        self.asked.append((name, value))
        future = Future()
        if value <= 1:
            future.set_result('')
        # Otherwise nobody ever answers.
        return future


@pytest.fixture
def control():
    return Control()


@pytest.fixture
def open_server(control):
    """A server on a free port: `open_server(host='::1')`."""
    with contextlib.ExitStack() as stack:

        def make(**options):
            served = ViewServer(Board('/linknet'), control, **{'port': 0} | options)
            stack.callback(served.stop)
            return served

        yield make


@pytest.fixture
def server(open_server):
    return open_server(names=['Robot.local'])


def ask(url, work=None, headers=None, path=''):
    """Status, headers and text of an answer; or what `work(client)` gives."""

    async def run():
        async with aiohttp.ClientSession() as client:
            if work is not None:
                return await work(client)
            async with client.get(url + path, headers=headers) as answer:
                return answer.status, answer.headers, await answer.text()

    return asyncio.run(run())


def open_socket(client, url, headers=(), **options):
    headers = {'Origin': url.rstrip('/'), **dict(headers)}
    return client.ws_connect(f'{url}socket', headers=headers, **options)


def refusal(url, **headers):
    """Status of a WebSocket that is refused."""

    async def work(client):
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            async with client.ws_connect(f'{url}socket', headers=headers):
                pass
        return caught.value.status

    return ask(url, work)


def wait_for(ready):
    end = time.monotonic() + 300
    while not ready():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize('path', ['', 'index.html', 'view.js', 'view.css', 'icon.svg'])
def test_files(server, path):
    status, headers, text = ask(server.url, path=path)
    assert status == 200
    assert text == (view_server.PAGE / (path or 'index.html')).read_text()
    kind = {'js': 'text/javascript', 'css': 'text/css', 'svg': 'image/svg+xml'}
    assert headers['Content-Type'].startswith(kind.get(path.rpartition('.')[2], 'text/html'))
    assert "default-src 'none'" in headers['Content-Security-Policy']
    assert headers['X-Content-Type-Options'] == 'nosniff'


def test_page_loads_nothing_from_elsewhere():
    for path in view_server.PAGE.iterdir():
        text = path.read_text()
        # The only address is the name space of the icon.
        addresses = re.findall(r'\w+://\S+?(?=["\'\s])', text)
        assert set(addresses) <= {'http://www.w3.org/2000/svg'}
        assert '"//' not in text
        # Values are text, never HTML.
        assert 'innerHTML' not in text
        assert 'insertAdjacentHTML' not in text
        assert ' onclick' not in text


@pytest.mark.parametrize('path', ['package.xml', 'view.py', '%2e%2e/package.xml', 'a/b'])
def test_no_other_file(server, path):
    status, _, text = ask(server.url, path=path)
    assert status == 404
    assert 'linknet' not in text


@pytest.mark.parametrize('path', ['', 'view.js', 'socket', 'nothing'])
@pytest.mark.parametrize('host', ['evil.example', 'evil.example:8080', 'localhost.evil.example'])
def test_unknown_host_name_is_refused(server, control, path, host):
    """DNS rebinding: the page of evil.example sends requests to a name that now means us."""
    origin = {'Origin': f'http://{host}'}
    for headers in ({'Host': host}, {'Host': host, **origin}):
        status, _, text = ask(server.url, headers=headers, path=path)
        assert status == 403
        assert 'allowed_hosts' in text
    assert refusal(server.url, Host=host, **origin) == 403
    assert control.changes == []


@pytest.mark.parametrize(
    'origin', ['http://evil.example', 'http://127.0.0.1:1', 'http://localhost', 'null', 'file://']
)
def test_page_of_another_site_is_refused(server, control, origin):
    assert refusal(server.url, Origin=origin) == 403
    assert ask(server.url, headers={'Origin': origin})[0] == 403
    # A WebSocket without an origin is not a browser's.
    assert refusal(server.url) == 403
    assert control.changes == []


@pytest.mark.parametrize('host', ['localhost:8080', 'robot.local', '[::1]', '10.0.0.3:9000'])
def test_names_of_this_machine_are_served(server, host):
    status, headers, _ = ask(server.url, headers={'Host': host})
    assert status == 200
    assert f'ws://{host} ' in headers['Content-Security-Policy']

    async def work(client):
        headers = {'Host': host, 'Origin': f'http://{host}'}
        async with open_socket(client, server.url, headers) as socket:
            await socket.send_json(VISIBLE)
            return (await socket.receive_json())['type']

    assert ask(server.url, work) == 'status'


def test_read_only(server):
    async def work(client):
        for method in ('POST', 'PUT', 'DELETE', 'OPTIONS'):
            async with client.request(method, server.url) as answer:
                assert answer.status == 405, method

    ask(server.url, work)


def test_robot_is_watched_while_a_page_is_visible(server, control):
    async def work(client):
        async with open_socket(client, server.url) as one, open_socket(client, server.url) as two:
            await asyncio.sleep(0.1)
            assert control.changes == []
            await one.send_json(VISIBLE)
            await one.receive()
            await two.send_json(VISIBLE)
            await two.receive()
            assert control.changes == [True]
            # A tab in the background.
            await one.send_json({'visible': False})
            await asyncio.sleep(0.1)
            assert control.changes == [True]
            await two.send_json({'visible': False})
            while control.changes != [True, False]:
                await asyncio.sleep(0.01)
            await two.send_json(VISIBLE)
            while control.changes != [True, False, True]:
                await asyncio.sleep(0.01)

    ask(server.url, work)
    # Both have disconnected.
    wait_for(lambda: control.changes == [True, False, True, False])


@pytest.mark.parametrize('frozen', [False, True], ids=['killed', 'frozen'])
def test_browser_that_vanishes_no_longer_watches(server, control, monkeypatch, frozen):
    monkeypatch.setattr(view_server, '_HEARTBEAT', 2.0)

    async def work(client):
        # A frozen one answers no ping, like a laptop that is closed.
        async with open_socket(client, server.url, autoping=not frozen) as socket:
            await socket.send_json(VISIBLE)
            await socket.receive()
            if not frozen:
                socket._response.connection.transport.abort()
            while control.changes != [True, False]:
                await asyncio.sleep(0.01)

    ask(server.url, work)


def test_limit_of_browsers(server, monkeypatch):
    monkeypatch.setattr(view_server, 'MAX_SESSIONS', 2)

    async def work(client):
        # Referenced, or they would be closed.
        sockets = [await open_socket(client, server.url) for _ in range(2)]
        for one in sockets:
            await one.send_json(VISIBLE)
            await one.receive()
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            await open_socket(client, server.url)
        return caught.value.status

    assert ask(server.url, work) == 503

    async def accepted(client):
        try:
            async with open_socket(client, server.url):
                return True
        except aiohttp.WSServerHandshakeError:
            return False

    # Those two disconnect.
    wait_for(lambda: ask(server.url, accepted))


def test_parameter_is_set_and_answered(server, control):
    async def work(client):
        async with open_socket(client, server.url) as socket:
            await socket.send_json({'set': 'overlay_opacity', 'value': 1})
            return await socket.receive_json()

    answer = {'type': 'answer', 'set': 'overlay_opacity', 'value': 1.0, 'problem': ''}
    assert ask(server.url, work) == answer
    assert control.asked == [('overlay_opacity', 1.0)]


def test_node_that_never_answers(server, monkeypatch):
    monkeypatch.setattr(view_server, '_TIMEOUT', 0.2)

    async def work(client):
        async with open_socket(client, server.url) as socket:
            await socket.send_json({'set': 'min_confidence', 'value': 2.0})
            return (await socket.receive_json())['problem']

    assert ask(server.url, work) == 'the node did not answer within 0.2 s'


def test_stop_ends_open_pages_at_once(server, control):
    async def work(client):
        async with open_socket(client, server.url) as socket:
            await socket.send_json(VISIBLE)
            await socket.receive()
            await asyncio.get_running_loop().run_in_executor(None, server.stop)
            while (message := await socket.receive()).type == aiohttp.WSMsgType.TEXT:
                pass
            return message

    message = ask(server.url, work)
    assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1001)
    assert control.changes == [True, False]


@pytest.mark.parametrize(
    'junk',
    [
        b'\0' * 100,
        b'GET / HTTP/1.1\r\n\r\n',
        b'GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n',
        b'GET /' + b'a' * 100_000 + b' HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n',
        b'GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nA: ' + b'a' * 100_000 + b'\r\n\r\n',
        b'\x16\x03\x01',
    ],
)
def test_garbage_is_refused_quietly(server, capfd, junk):
    port = int(server.url.rstrip('/').rpartition(':')[2])
    with socket.create_connection(('127.0.0.1', port), timeout=300) as other:
        # The server may hang up before it has read all.
        with contextlib.suppress(OSError):
            other.sendall(junk)
            other.shutdown(socket.SHUT_WR)
        answer = b''
        with contextlib.suppress(ConnectionResetError):
            while part := other.recv(4096):
                answer += part
    assert not answer or answer.split()[1] in (b'400', b'403')
    assert ask(server.url)[0] == 200
    assert capfd.readouterr().err == ''


def test_bug_is_logged(server, caplog, monkeypatch):
    def fail(*_):
        raise ZeroDivisionError('a bug')

    monkeypatch.setattr(view_server, 'response_headers', fail)
    assert ask(server.url)[0] == 500
    assert 'a bug' in caplog.text


@pytest.mark.parametrize('host', ['300.1.2.3', 'nowhere.invalid', '203.0.113.1', ' '])
def test_address_that_cannot_be_used(server, open_server, host):
    with pytest.raises(ServeError, match='cannot serve on'):
        open_server(host=host)
    port = int(server.url.rstrip('/').rpartition(':')[2])
    with pytest.raises(ServeError, match=rf'cannot serve on 127.0.0.1:{port} .*in use.*port'):
        open_server(port=port)


def test_missing_file(open_server, monkeypatch, tmp_path):
    monkeypatch.setattr(view_server, 'PAGE', tmp_path / 'gone')
    with pytest.raises(ServeError, match=r'cannot read .*gone .*install linknet_ros again'):
        open_server()


def test_ipv6(open_server):
    try:
        server = open_server(host='::1')
    except ServeError as error:
        pytest.skip(f'no IPv6 here: {error}')
    assert server.url.startswith('http://[::1]:')
    assert ask(server.url)[0] == 200
