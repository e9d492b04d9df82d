"""A real browser without a screen, driven over the DevTools protocol."""

import asyncio
import json
import shutil
import subprocess
import time

import aiohttp

NAMES = ('chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable')


def find_browser():
    """Path of an installed Chromium; None where there is none."""
    return next((path for path in map(shutil.which, NAMES) if path), None)


class Browser:
    """One page in a Chromium of its own.

    :param executable: of find_browser.
    :param folder: for its profile, empty.
    """

    def __init__(self, executable, folder):
        self._loop = asyncio.new_event_loop()
        self._number = 0
        #: What the page wrote to its console, and what went wrong in it.
        self.complaints = []
        #: Addresses that the page asked for.
        self.requests = []
        command = [
            executable,
            '--headless=new',
            '--disable-gpu',
            '--no-first-run',
            '--hide-scrollbars',
        ]
        command += ['--remote-debugging-port=0', f'--user-data-dir={folder}']
        # Containers have a small /dev/shm and no sandbox, and only our own page is looked at.
        command += ['--disable-dev-shm-usage', '--no-sandbox']
        command += ['--window-size=1400,900', 'about:blank']
        with open(folder / 'log', 'wb') as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            self._run(self._connect(folder / 'DevToolsActivePort'))
            self.resize(1400, 900)
        except BaseException:
            self.close()
            raise

    def visit(self, address):
        """Go to an address."""
        self.call('Page.navigate', url=address)
        self.wait("location.href !== 'about:blank' && document.readyState === 'complete'")

    def resize(self, width, height):
        """Another size of the window, in pixels."""
        about = {'width': width, 'height': height, 'deviceScaleFactor': 1, 'mobile': width < 600}
        self.call('Emulation.setDeviceMetricsOverride', **about)

    def ask(self, expression):
        """Value of an expression in the page; a promise is waited for."""
        answer = self.call(
            'Runtime.evaluate', expression=expression, awaitPromise=True, returnByValue=True
        )
        assert 'exceptionDetails' not in answer, answer
        return answer['result'].get('value')

    def wait(self, expression, seconds=300):
        """Until an expression is true; its value."""
        end = time.monotonic() + seconds
        while True:
            value = self.ask(expression)
            if value:
                return value
            assert time.monotonic() < end, f'{expression} is still {value!r}; {self.complaints}'
            self._run(asyncio.sleep(0.1))

    def call(self, method, **parameters):
        """One call of the DevTools protocol."""
        return self._run(self._call(method, parameters))

    def close(self):
        """End the browser."""
        self._process.terminate()
        self._process.wait(300)
        if hasattr(self, '_client'):
            self._run(self._client.close())
        self._loop.close()

    def _run(self, what):
        return self._loop.run_until_complete(asyncio.wait_for(what, 300))

    async def _connect(self, port_file):
        while not port_file.is_file() or port_file.read_text().count('\n') < 1:
            assert self._process.poll() is None, 'the browser ended; see its log'
            await asyncio.sleep(0.05)
        port, path = port_file.read_text().split('\n')
        self._client = aiohttp.ClientSession()
        address = f'ws://127.0.0.1:{port}{path}'
        self._socket = await self._client.ws_connect(address, max_msg_size=0)
        self._page = {}
        target = await self._call('Target.createTarget', {'url': 'about:blank'})
        about = {'targetId': target['targetId'], 'flatten': True}
        attached = await self._call('Target.attachToTarget', about)
        self._page = {'sessionId': attached['sessionId']}
        for domain in ('Page', 'Runtime', 'Log', 'Network'):
            await self._call(f'{domain}.enable', {})

    async def _call(self, method, parameters):
        self._number += 1
        number = self._number
        await self._socket.send_json(
            {'id': number, 'method': method, 'params': parameters, **self._page}
        )
        while True:
            message = json.loads((await self._socket.receive()).data)
            if message.get('id') == number:
                assert 'error' not in message, (method, message)
                return message['result']
            self._note(message)

    def _note(self, message):
        about = message.get('params', {})
        match message.get('method'):
            case 'Runtime.exceptionThrown' | 'Runtime.consoleAPICalled':
                self.complaints.append(about)
            # Warnings are the browser's own, e.g. that its pictures are drawn without a GPU.
            case 'Log.entryAdded' if about['entry']['level'] == 'error':
                self.complaints.append(about)
            case 'Network.requestWillBeSent':
                self.requests.append(about['request']['url'])
            case 'Network.webSocketCreated':
                self.requests.append(about['url'])
