"""One browser: what it gets, how fast, and what it may send."""

import asyncio
import contextlib
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

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

    def __init__(self, board, rate=1000.0):
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
            yield self
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


def run(work, **options):
    async def with_page():
        async with Page(Board('/linknet'), **options).open() as page:
            await work(page)

    asyncio.run(asyncio.wait_for(with_page(), 60))


def picture(data=b'x', **more):
    return Picture(lambda: data, **more)


def test_picture_with_its_header():
    async def work(page):
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

    run(work)


def test_one_picture_per_request_the_newest():
    async def work(page):
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

    run(work)


def test_encodes_only_what_is_sent():
    async def work(page):
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

    run(work)


def test_slow_encoder_does_not_block():
    async def work(page):
        release = threading.Event()
        page.board.put('camera', Picture(lambda: release.wait(300) and b'late'))
        await page.say(VISIBLE, {'next': 'camera'})
        assert await page.text('status')
        # All browsers share the event loop: it must not block.
        await asyncio.sleep(0.1)
        release.set()
        assert (await page.picture())[1] == b'late'

    run(work)


def test_rate_is_kept():
    async def work(page):
        stop = threading.Event()

        def send():
            while not stop.wait(0.005):
                page.board.put('overlay', picture())

        sender = threading.Thread(target=send)
        sender.start()
        try:
            await page.say(VISIBLE)
            times = []
            for _ in range(6):
                await page.say({'next': 'overlay'})
                await page.picture()
                times.append(time.monotonic())
        finally:
            stop.set()
            sender.join()
        # A tenth of a second apart, but for the latency.
        assert all(b - a > 0.05 for a, b in pairwise(times))
        assert times[-1] - times[0] > 0.4

    run(work, rate=10.0)


def test_hidden_tab_gets_nothing_and_then_the_newest():
    async def work(page):
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

    run(work)


def test_broken_frame_is_reported():
    async def work(page):
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

    run(work)


def test_status_is_repeated():
    async def work(page):
        await page.say(VISIBLE)
        first = await page.text('status')
        diagnostics = Diagnostics(time.monotonic(), False, '', {'state': 'active'})
        page.board.update(diagnostics=diagnostics, parameters={'min_confidence': 0.25})
        second = await page.text('status')
        assert first['parameters']['min_confidence'] is None
        assert second['parameters']['min_confidence'] == 0.25
        assert second['now'] > first['now']

    run(work)


def test_setting():
    async def work(page):
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

    run(work)


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
def test_invalid_message_ends_it(text):
    async def work(page):
        send = page.socket.send_bytes if isinstance(text, bytes) else page.socket.send_str
        await send(text)
        assert await closed_for_a_reason(page) == []
        assert True not in page.changes

    run(work)


def test_second_change_before_the_answer_ends_it():
    async def work(page):
        page.go_on = asyncio.Event()
        change = {'set': 'min_confidence', 'value': 0.5}
        await page.say(change, change)
        assert await closed_for_a_reason(page) == [('min_confidence', 0.5)]

    run(work)
