"""One browser: what it gets, how fast, and what it may say."""

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
from linknet_ros.view.status import Report

LOOKING = {'looking': True}


class Page:
    """A session, and the other end of its socket."""

    def __init__(self, board, rate=1000.0):
        self.board = board
        self.looks = []
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
        self.looks.append(self.session.looking)

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

    async def picture(self, seconds=20.0):
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
            message = await self.socket.receive_json(timeout=20)
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
        page.board.show('grid', shown)
        await page.say(LOOKING, {'next': 'grid'})
        header, data = await page.picture()
        assert data == b'\xff\xd8 bytes'
        assert header == {
            'channel': 'grid',
            'time': shown.time,
            'kind': 'image/png',
            'caption': '/image',
        }

    run(work)


def test_one_for_each_time_it_asks_and_the_newest():
    async def work(page):
        page.board.show('camera', picture(b'1'))
        await page.say(LOOKING, {'next': 'camera'})
        assert (await page.picture())[1] == b'1'
        # It has not asked again: a slow browser's pictures do not pile up.
        for k in range(2, 50):
            page.board.show('camera', picture(b'%d' % k))
        await page.nothing()
        await page.say({'next': 'camera'})
        assert (await page.picture())[1] == b'49'
        # Nor does it get the same twice.
        await page.say({'next': 'camera'})
        await page.nothing()
        page.board.show('camera', picture(b'50'))
        assert (await page.picture())[1] == b'50'

    run(work)


def test_nobody_encodes_what_nobody_gets():
    async def work(page):
        encoded = []

        def show(k):
            page.board.show('camera', Picture(lambda: encoded.append(k) or b'%d' % k))

        show(0)
        await page.say({'next': 'camera'})
        await page.nothing()
        await page.say(LOOKING, {'next': 'camera'})
        await page.picture()
        for k in range(1, 10):
            show(k)
        await page.nothing()
        assert encoded == [0]

    run(work)


def test_slow_encoder_does_not_hold_up_the_numbers():
    async def work(page):
        release = threading.Event()
        page.board.show('camera', Picture(lambda: release.wait(30) and b'late'))
        await page.say(LOOKING, {'next': 'camera'})
        assert await page.text('status')
        # Another browser's loop is the same: it must go on.
        await asyncio.sleep(0.1)
        release.set()
        assert (await page.picture())[1] == b'late'

    run(work)


def test_rate_is_kept():
    async def work(page):
        stop = threading.Event()

        def send():
            while not stop.wait(0.005):
                page.board.show('overlay', picture())

        sender = threading.Thread(target=send)
        sender.start()
        try:
            await page.say(LOOKING)
            times = []
            for _ in range(6):
                await page.say({'next': 'overlay'})
                await page.picture()
                times.append(time.monotonic())
        finally:
            stop.set()
            sender.join()
        # A tenth of a second apart, but for the time on the way.
        assert all(b - a > 0.05 for a, b in pairwise(times))
        assert times[-1] - times[0] > 0.4

    run(work, rate=10.0)


def test_hidden_tab_gets_nothing_and_sees_the_newest_when_it_is_back():
    async def work(page):
        await page.say(LOOKING, {'next': 'camera'}, {'looking': False})
        while page.looks != [True, False]:
            await asyncio.sleep(0.01)
        with contextlib.suppress(asyncio.TimeoutError):
            # One state may have been on its way.
            await page.socket.receive(0.2)
        page.board.show('camera', picture(b'meanwhile'))
        with pytest.raises(asyncio.TimeoutError):
            # No numbers either.
            await page.socket.receive(1.2)
        assert page.looks == [True, False]

    run(work)


def test_shown_again():
    async def work(page):
        await page.say(LOOKING, {'next': 'camera'}, {'looking': False})
        page.board.show('camera', picture(b'1'))
        page.board.show('camera', picture(b'2'))
        await page.say(LOOKING, {'next': 'camera'})
        assert (await page.picture())[1] == b'2'

    run(work)


def test_frame_that_cannot_be_shown_is_said():
    async def work(page):
        def encode():
            raise FrameError("encoding 'x' cannot be converted")

        page.board.show('camera', Picture(encode))
        await page.say(LOOKING, {'next': 'camera'})
        header, data = await page.picture()
        assert (header['problem'], data) == ("encoding 'x' cannot be converted", b'')
        # The next frame may be fine.
        page.board.show('camera', picture(b'fine'))
        await page.say({'next': 'camera'})
        header, data = await page.picture()
        assert (header.get('problem'), data) == (None, b'fine')

    run(work)


def test_status_comes_again_and_again():
    async def work(page):
        await page.say(LOOKING)
        first = await page.text('status')
        report = Report(time.monotonic(), False, '', {'state': 'active'})
        page.board.learn(report=report, parameters={'min_confidence': 0.25})
        second = await page.text('status')
        assert first['parameters']['min_confidence'] is None
        assert second['parameters']['min_confidence'] == 0.25
        assert second['now'] > first['now']

    run(work)


def test_setting():
    async def work(page):
        await page.say({'set': 'min_confidence', 'value': 0.5})
        assert await page.text('answer') == {
            'type': 'answer',
            'set': 'min_confidence',
            'value': 0.5,
            'problem': '',
        }
        # The next may come as soon as the answer is there.
        await page.say({'set': 'overlay_opacity', 'value': 7})
        assert (await page.text('answer'))['problem'] == 'too large'
        assert page.asked == [('min_confidence', 0.5), ('overlay_opacity', 7.0)]

    run(work)


def test_pictures_go_on_while_the_node_thinks():
    async def work(page):
        page.go_on = asyncio.Event()
        await page.say(LOOKING, {'set': 'min_confidence', 'value': 0.5}, {'next': 'camera'})
        page.board.show('camera', picture(b'1'))
        assert (await page.picture())[1] == b'1'
        page.go_on.set()
        assert (await page.text('answer'))['problem'] == ''

    run(work)


async def ends_with_a_word(page):
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
        '{"looking": 1}',
        '{"looking": "yes"}',
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
        # Of the node's parameters these two only.
        '{"set": "drivable_classes", "value": 1.0}',
        '{"set": "model", "value": 1.0}',
        '{"set": ["min_confidence"], "value": 1.0}',
    ],
)
def test_what_is_no_message_of_the_page_ends_it(text):
    async def work(page):
        await page.socket.send_str(text)
        assert await ends_with_a_word(page) == []

    run(work)


def test_bytes_end_it():
    async def work(page):
        await page.socket.send_bytes(b'{"looking": true}')
        await ends_with_a_word(page)
        assert True not in page.looks

    run(work)


def test_second_change_before_the_answer_ends_it():
    async def work(page):
        page.go_on = asyncio.Event()
        change = {'set': 'min_confidence', 'value': 0.5}
        await page.say(change, change)
        assert await ends_with_a_word(page) == [('min_confidence', 0.5)]

    run(work)


def test_end_is_told():
    async def work(page):
        await page.say(LOOKING)
        await page.text('status')
        await page.socket.close()
        while page.looks != [True, False]:
            await asyncio.sleep(0.01)

    run(work)
