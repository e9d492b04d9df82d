"""One browser: what it gets, how fast, and what it may send."""

import asyncio
import contextlib
import functools
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

pytest.importorskip('aiohttp', reason='aiohttp (extra "view") not installed')

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from linknet_ros.errors import FrameError
from linknet_ros.view.board import Board
from linknet_ros.view.pictures import Picture
from linknet_ros.view.session import Session
from linknet_ros.view.status import Diagnostics

VISIBLE = {'visible': True}


class Page:
    """A session, and the other end of its socket."""

    def __init__(self, board, rate):
        self.board = board
        self.changes = []
        self.asked = []
        self.go_on = None
        self._rate = rate
        self._encoder = ThreadPoolExecutor(1)

    async def _handle(self, request):
        socket = web.WebSocketResponse(timeout=0.2)
        await socket.prepare(request)
        self.session = Session(
            socket, self.board, self._set, self._encoder, self._rate, self._look
        )
        loop = asyncio.get_running_loop()
        self.board.on_picture(lambda: loop.call_soon_threadsafe(self.session.wake))
        await self.session.run()
        return socket

    async def _set(self, name, value):
        self.asked.append((name, value))
        if self.go_on is not None:
            await self.go_on.wait()
        return '' if value <= 1 else 'too large'

    def _look(self):
        self.changes.append(self.session.visible)

    @contextlib.asynccontextmanager
    async def open(self):
        application = web.Application()
        application.router.add_get('/', self._handle)
        async with TestClient(TestServer(application)) as client, client.ws_connect('/') as socket:
            self.socket = socket
            yield
        self._encoder.shutdown()

    async def say(self, *messages):
        for message in messages:
            await self.socket.send_str(json.dumps(message))

    async def picture(self, seconds=300.0):
        """Header and bytes of the next picture."""
        while True:
            message = await self.socket.receive(seconds)
            if message.type == aiohttp.WSMsgType.BINARY:
                length = int.from_bytes(message.data[:4], 'big')
                return json.loads(message.data[4 : 4 + length]), message.data[4 + length :]
            assert message.type == aiohttp.WSMsgType.TEXT, message

    async def text(self, kind):
        """The next message of a kind."""
        while True:
            message = await self.socket.receive_json(timeout=300)
            if message['type'] == kind:
                return message

    async def nothing(self, seconds=0.4):
        """No picture comes."""
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(self.picture(), seconds)


@pytest.fixture
def page(request):
    """A page, which on_a_page opens; the parameter is its rate."""
    return Page(Board('/linknet'), getattr(request, 'param', 1000.0))


def on_a_page(test):
    """Let a test be a coroutine, which runs while its page is open."""

    @functools.wraps(test)
    def run(page, **others):
        async def work():
            async with page.open():
                await test(page, **others)

        asyncio.run(asyncio.wait_for(work(), 60))

    return run


def picture(data=b'x', **more):
    return Picture(lambda: data, **more)


@on_a_page
async def test_picture_with_its_header(page):
    shown = picture(b'\xff\xd8 bytes', kind='image/png', caption='/image')
    page.board.put('grid', shown)
    await page.say(VISIBLE, {'next': 'grid'})
    header, data = await page.picture()
    assert data == b'\xff\xd8 bytes'
    assert header == {
        'channel': 'grid',
        'time': shown.time,
        'kind': 'image/png',
        'caption': '/image',
    }


@on_a_page
async def test_one_picture_per_request_the_newest(page):
    page.board.put('camera', picture(b'1'))
    await page.say(VISIBLE, {'next': 'camera'})
    assert (await page.picture())[1] == b'1'
    # Without a new request, pictures do not pile up for a slow browser.
    for k in range(2, 50):
        page.board.put('camera', picture(b'%d' % k))
    await page.nothing()
    await page.say({'next': 'camera'})
    assert (await page.picture())[1] == b'49'
    # It never gets the same one twice.
    await page.say({'next': 'camera'})
    await page.nothing()
    page.board.put('camera', picture(b'50'))
    assert (await page.picture())[1] == b'50'


@on_a_page
async def test_encodes_only_what_is_sent(page):
    encoded = []

    def show(k):
        page.board.put('camera', Picture(lambda: encoded.append(k) or b'%d' % k))

    show(0)
    await page.say({'next': 'camera'})
    await page.nothing()
    await page.say(VISIBLE, {'next': 'camera'})
    await page.picture()
    for k in range(1, 10):
        show(k)
    await page.nothing()
    assert encoded == [0]


@on_a_page
async def test_slow_encoder_does_not_block(page):
    release = threading.Event()
    page.board.put('camera', Picture(lambda: release.wait(300) and b'late'))
    await page.say(VISIBLE, {'next': 'camera'})
    assert await page.text('status')
    # All browsers share the event loop: it must not block.
    await asyncio.sleep(0.1)
    release.set()
    assert (await page.picture())[1] == b'late'


@pytest.mark.parametrize('page', [10.0], indirect=True)
@on_a_page
async def test_rate_is_kept(page):
    stop = threading.Event()

    def send():
        while not stop.wait(0.005):
            page.board.put('overlay', picture())

    sender = threading.Thread(target=send)
    sender.start()
    try:
        await page.say(VISIBLE)
        asked, came = [], []
        for _ in range(6):
            asked.append(time.monotonic())
            await page.say({'next': 'overlay'})
            await page.picture()
            came.append(time.monotonic())
    finally:
        stop.set()
        sender.join()
    # Sent a tenth of a second apart, however late each of them was noticed.
    assert all(b - a > 0.09 for a, b in zip(asked, came[1:], strict=False))
    assert came[-1] - asked[0] > 0.49


@on_a_page
async def test_hidden_tab_gets_nothing_and_then_the_newest(page):
    await page.say(VISIBLE, {'next': 'camera'}, {'visible': False})
    while page.changes != [True, False]:
        await asyncio.sleep(0.01)
    with contextlib.suppress(asyncio.TimeoutError):
        # A status may have been in flight.
        await page.socket.receive(0.2)
    page.board.put('camera', picture(b'1'))
    with pytest.raises(asyncio.TimeoutError):
        # No numbers either.
        await page.socket.receive(1.2)
    page.board.put('camera', picture(b'2'))
    await page.say(VISIBLE, {'next': 'camera'})
    assert (await page.picture())[1] == b'2'
    assert page.changes == [True, False, True]
    await page.socket.close()
    while page.changes != [True, False, True, False]:
        await asyncio.sleep(0.01)


@on_a_page
async def test_broken_frame_is_reported(page):
    def encode():
        raise FrameError("encoding 'x' cannot be converted")

    page.board.put('camera', Picture(encode))
    await page.say(VISIBLE, {'next': 'camera'})
    header, data = await page.picture()
    assert (header['problem'], data) == ("encoding 'x' cannot be converted", b'')
    # The next frame may be fine.
    page.board.put('camera', picture(b'fine'))
    await page.say({'next': 'camera'})
    header, data = await page.picture()
    assert (header.get('problem'), data) == (None, b'fine')


@on_a_page
async def test_status_is_repeated(page):
    await page.say(VISIBLE)
    first = await page.text('status')
    diagnostics = Diagnostics(time.monotonic(), False, '', {'state': 'active'})
    page.board.update(diagnostics=diagnostics, parameters={'min_confidence': 0.25})
    second = await page.text('status')
    assert first['parameters']['min_confidence'] is None
    assert second['parameters']['min_confidence'] == 0.25
    assert second['now'] > first['now']


@on_a_page
async def test_setting(page):
    # Pictures are sent while the node is busy.
    page.go_on = asyncio.Event()
    await page.say(VISIBLE, {'set': 'min_confidence', 'value': 0.5}, {'next': 'camera'})
    page.board.put('camera', picture(b'1'))
    assert (await page.picture())[1] == b'1'
    page.go_on.set()
    assert await page.text('answer') == {
        'type': 'answer',
        'set': 'min_confidence',
        'value': 0.5,
        'problem': '',
    }
    # The next one may follow the answer.
    await page.say({'set': 'overlay_opacity', 'value': 7})
    assert (await page.text('answer'))['problem'] == 'too large'
    assert page.asked == [('min_confidence', 0.5), ('overlay_opacity', 7.0)]


async def closed_for_a_reason(page):
    while (message := await page.socket.receive(20)).type == aiohttp.WSMsgType.TEXT:
        pass
    assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1008)
    return page.asked


@pytest.mark.parametrize(
    'text',
    [
        '',
        'nonsense',
        '[' * 1000,
        '[]',
        '1',
        'null',
        '{}',
        '{"visible": 1}',
        '{"visible": "yes"}',
        '{"next": "labels"}',
        '{"next": ["camera"]}',
        '{"set": "min_confidence"}',
        '{"set": "min_confidence", "value": "0.5"}',
        '{"set": "min_confidence", "value": true}',
        '{"set": "min_confidence", "value": NaN}',
        '{"set": "min_confidence", "value": Infinity}',
        '{"set": "min_confidence", "value": 1e999}',
        '{"set": "min_confidence", "value": 1' + '0' * 500 + '}',
        '{"set": "min_confidence", "value": null}',
        # Only the sliders' parameters.
        '{"set": "drivable_classes", "value": 1.0}',
        '{"set": "model", "value": 1.0}',
        '{"set": ["min_confidence"], "value": 1.0}',
        # Text only.
        b'{"visible": true}',
    ],
)
@on_a_page
async def test_invalid_message_ends_it(page, text):
    send = page.socket.send_bytes if isinstance(text, bytes) else page.socket.send_str
    await send(text)
    assert await closed_for_a_reason(page) == []
    assert True not in page.changes


@on_a_page
async def test_second_change_before_the_answer_ends_it(page):
    page.go_on = asyncio.Event()
    change = {'set': 'min_confidence', 'value': 0.5}
    await page.say(change, change)
    assert await closed_for_a_reason(page) == [('min_confidence', 0.5)]
