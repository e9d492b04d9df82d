"""The page in a real browser, with a camera, a segmentation node and a view in three processes."""

import re
import subprocess
import sys
import time

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='needs ROS 2 (pip install .[ros])')
pytest.importorskip('aiohttp', reason='aiohttp (extra "view") not installed')
pytest.importorskip('onnxruntime', reason='ONNX Runtime (extra "cpu") not installed')

from headless_browser import Browser, find_browser
from rclpy.parameter import Parameter
from rclpy.parameter_client import AsyncParameterClient
from rig import PATIENCE

from linknet_ros.inference.model_file import load_model
from linknet_ros.system.child_process import start_program, stop
from linknet_ros.system.package_files import SHIPPED_MODEL, package_file

pytestmark = pytest.mark.skipif(
    find_browser() is None, reason='no Chromium here (apt install chromium)'
)

#: RGBA of all pixels of a picture, as one string of numbers.
PIXELS = """(() => {
  const canvas = document.querySelector('#%s canvas');
  const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
  return {width: canvas.width, height: canvas.height, data: Array.from(data.data).join()};
})()"""

MOVE = """(() => {
  const input = document.querySelector('#%s input');
  input.value = %s;
  input.dispatchEvent(new Event('input'));
})()"""


class Robot:
    """The processes."""

    def __init__(self, folder):
        self._folder = folder
        self.processes = {}

    def start(self, name, module, *remappings, **parameters):
        texts = {key: str(value) for key, value in parameters.items()}
        self.processes[name] = start_program(module, texts, list(remappings))

    def camera(self):
        self.start('camera', 'replay_node', '-r', 'image_raw:=image', rate=5.0)

    def segmentation(self):
        values = {'backend': 'onnxruntime', 'ground.height': 1.5}
        self.start('node', 'segment_node', '-r', '__ns:=/', **values)

    def view(self, port=0):
        """Address of the page."""
        command = [sys.executable, '-m', 'linknet_ros', 'view_node', '--ros-args']
        log = self._folder / 'view.log'
        with log.open('wb') as file:
            process = subprocess.Popen([*command, '-p', f'port:={port}'], stderr=file)
        self.processes['view'] = process
        end = time.monotonic() + PATIENCE
        while not (found := re.search(r'open (http://\S+) ', log.read_text())):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end
            time.sleep(0.05)
        return found[1]

    def stop(self, name):
        stop([self.processes.pop(name)])


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp('view')


@pytest.fixture(scope='module')
def robot(context, folder):
    made = Robot(folder)
    yield made
    stop(list(made.processes.values()))


@pytest.fixture(scope='module')
def url(robot):
    robot.camera()
    robot.segmentation()
    return robot.view()


@pytest.fixture(scope='module')
def page(url, folder):
    profile = folder / 'browser'
    profile.mkdir()
    browser = Browser(find_browser(), profile)
    browser.visit(url)
    yield browser
    browser.close()


def text(page, selector):
    return page.ask(f'document.querySelector({selector!r}).textContent')


def wait_for_text(page, selector, part):
    condition = f'document.querySelector({selector!r}).textContent.includes({part!r})'
    page.wait(condition)


def wait_for_pictures(page):
    for channel in ('camera', 'overlay', 'grid'):
        page.wait(f"'{channel}' in drawn")
    fresh = "['camera', 'overlay', 'grid'].every(c => !$('#' + c).classList.contains('old'))"
    page.wait(fresh)


def pixels(page, channel):
    """(H, W, 3) RGB of what is drawn."""
    answer = page.ask(PIXELS % channel)
    data = np.array(answer['data'].split(','), np.uint8)
    return data.reshape(answer['height'], answer['width'], 4)[..., :3]


def test_pictures_are_drawn(page):
    wait_for_pictures(page)
    camera, overlay, grid = (pixels(page, name) for name in ('camera', 'overlay', 'grid'))
    assert camera.shape == overlay.shape == (360, 480, 3)
    # A street, not one colour.
    assert camera.std() > 20
    colors = {tuple(color) for color in grid.reshape(-1, 3).tolist()}
    assert (255, 255, 255) in colors
    assert colors <= {(255, 255, 255), (200, 40, 40), (128, 128, 128)}


def test_overlay_has_the_colours_of_the_legend(page):
    wait_for_pictures(page)
    page.wait("!$('#overlay_opacity input').disabled")
    page.ask(MOVE % ('overlay_opacity', 1))
    wait_for_text(page, '#overlay_opacity output', '1.00')
    page.ask('delete drawn.overlay')
    page.wait("'overlay' in drawn")
    classes = load_model(package_file(SHIPPED_MODEL)).classes
    page.wait("document.querySelectorAll('#legend li').length > 0")
    legend = page.ask(
        "[...document.querySelectorAll('#legend li')].map(e => [$('span', e).textContent, "
        "getComputedStyle($('i', e)).backgroundColor, e.textContent.endsWith('drivable')])"
    )
    assert [name for name, _, _ in legend] == list(classes.names)
    assert [name for name, _, drivable in legend if drivable] == ['road']
    assert legend[3][1] == 'rgb(128, 64, 128)'
    # JPEG changes colours a little; most of the picture is near enough.
    drawn = pixels(page, 'overlay').reshape(-1, 1, 3).astype(int)
    nearest = np.abs(drawn - np.array(classes.colors)).max(axis=2).min(axis=1)
    assert (nearest < 12).mean() > 0.6
    road = np.abs(drawn[:, 0] - (128, 64, 128)).max(axis=1) < 12
    assert road.mean() > 0.1
    page.ask(MOVE % ('overlay_opacity', 0.5))
    wait_for_text(page, '#overlay_opacity output', '0.50')


def test_numbers_change(page):
    wait_for_text(page, '#frames', 'received')
    before = text(page, '#frames')
    page.wait(f"$('#frames').textContent !== {before!r}")
    for part in ('infer', 'products'):
        assert part in text(page, '#stages')
    assert 'nobody subscribed' in text(page, '#drops')
    assert 'onnxruntime' in text(page, '#settings')
    page.wait("$('#note').className === 'ok'")
    page.wait("$('#note').textContent.endsWith('frames per second')")


@pytest.fixture
def remote(open_rig):
    """`remote(name=value)` sets parameters as another client does; `remote()` reads both."""
    rig = open_rig('other')
    client = AsyncParameterClient(rig.peer, '/linknet')
    rig.until(client.services_are_ready, 'the services of the node')

    def run(**values):
        if values:
            future = client.set_parameters([Parameter(n, value=v) for n, v in values.items()])
        else:
            future = client.get_parameters(['overlay_opacity', 'min_confidence'])
        rig.until(future.done, 'an answer of the node')
        if values:
            assert all(result.successful for result in future.result().results)
            return None
        return [value.double_value for value in future.result().values]

    return run


def test_slider_sets_the_node(page, remote):
    page.wait("!$('#min_confidence input').disabled")
    # Faster than the node answers; the last value counts.
    for value in (0.1, 0.9, 0.3):
        page.ask(MOVE % ('min_confidence', value))
    wait_for_text(page, '#min_confidence output', '0.30')
    assert remote()[1] == 0.3
    assert text(page, '#min_confidence .problem') == ''


def test_slider_shows_what_others_set(page, remote):
    page.wait("!$('#min_confidence input').disabled")
    remote(min_confidence=0.15, overlay_opacity=0.8)
    wait_for_text(page, '#min_confidence output', '0.15')
    page.wait("$('#min_confidence input').value === '0.15'")
    wait_for_text(page, '#overlay_opacity output', '0.80')
    remote(min_confidence=0.0, overlay_opacity=0.5)
    wait_for_text(page, '#min_confidence output', '0.00')


def test_refusal_is_shown_and_the_slider_goes_back(page, remote):
    page.wait("!$('#min_confidence input').disabled")
    page.ask("$('#min_confidence input').max = 5")
    page.ask(MOVE % ('min_confidence', 4))
    wait_for_text(page, '#min_confidence .problem', 'out of range')
    page.wait("$('#min_confidence input').value === '0'")
    page.ask("$('#min_confidence input').max = 1")
    assert remote()[1] == 0.0


def test_hidden_tab_costs_the_robot_nothing(page, open_rig):
    rig = open_rig('graph')
    wait_for_pictures(page)

    def subscribers():
        return {
            info.node_name
            for topic in ('/linknet/overlay/compressed', '/linknet/drivable_grid', '/image')
            for info in rig.peer.get_subscriptions_info_by_topic(topic)
        }

    rig.until(lambda: 'view' in subscribers())
    hide = "Object.defineProperty(document, 'hidden', {{value: {}, configurable: true}}); "
    hide += "document.dispatchEvent(new Event('visibilitychange'))"
    page.ask(hide.format('true'))
    rig.until(lambda: 'view' not in subscribers())
    page.ask(hide.format('false'))
    rig.until(lambda: 'view' in subscribers())
    wait_for_pictures(page)


def test_nothing_is_run_or_loaded_from_elsewhere(page, url):
    """Whoever publishes diagnostics is not the page's author."""
    # In one go: the node's next numbers would take its place.
    made, legend = page.ask(
        "showNumbers({'<img src=x onerror=alert(1)>': '<b>1</b>', 'dropped, <i>': '<u>'}); "
        "showLegend([{name: '<script>alert(1)</script>', "
        "color: ['0);x', 1, 2], drivable: true}]); "
        "[document.querySelectorAll('img, #panels b, #panels script').length, "
        "$('#legend').textContent]"
    )
    assert made == 0
    assert '<script>alert(1)</script>' in legend
    page.ask(
        "window.ran = false; { const s = document.createElement('script'); "
        "s.textContent = 'window.ran = true'; document.body.append(s); s.remove(); }"
    )
    assert page.ask('window.ran') is False
    # The console reported it, and nothing else.
    assert any('Content Security Policy' in str(entry) for entry in page.complaints)
    page.complaints.clear()
    own = (url, url.replace('http:', 'ws:'))
    assert page.requests
    assert [request for request in page.requests if not request.startswith(own)] == []


def test_phone(page):
    wait_for_pictures(page)
    try:
        page.resize(390, 844)
        boxes = page.ask(
            "[...document.querySelectorAll('figure')].map(f => f.getBoundingClientRect())"
            '.map(r => [r.left, r.right, r.top])'
        )
        # One below the other, without scrolling sideways.
        assert all(0 <= left < right <= 390 for left, right, _ in boxes)
        assert len({top for _, _, top in boxes}) == 3
        assert page.ask('document.documentElement.scrollWidth') <= 390
    finally:
        page.resize(1400, 900)
    tops = page.ask(
        "[...document.querySelectorAll('figure')].map(f => f.getBoundingClientRect().top)"
    )
    assert len(set(tops)) == 1


# What disappears; each test restores it.


def test_camera_that_stops_is_marked(page, robot):
    wait_for_pictures(page)
    robot.stop('camera')
    page.wait("$('#camera').classList.contains('old') && $('#overlay').classList.contains('old')")
    wait_for_text(page, '#camera .age', 's old')
    wait_for_text(page, '#camera .hint', 'nobody publishes /image')
    wait_for_text(page, '#overlay .hint', 'the node gets no frames')
    page.wait("$('#note').className === 'warn'")
    wait_for_text(page, '#note', 'no frame for')
    robot.camera()
    wait_for_pictures(page)
    assert text(page, '#camera .age') == text(page, '#camera .hint') == ''


def test_node_that_dies_and_comes_back(page, robot):
    wait_for_pictures(page)
    robot.processes['node'].kill()
    robot.stop('node')
    wait_for_text(page, '#note', '/linknet has been silent for')
    assert page.ask("$('#note').className") == 'error'
    page.wait("$('#overlay').classList.contains('old')")
    # Its last numbers are gone, and its sliders are disabled.
    page.wait("$('#rates').textContent === ''")
    page.wait('SLIDERS.every(name => $(`#${name} input`).disabled)')
    robot.segmentation()
    page.wait("$('#note').className === 'ok'")
    wait_for_pictures(page)


def test_view_that_ends_and_comes_back(page, robot, url):
    wait_for_pictures(page)
    robot.stop('view')
    wait_for_text(page, '#note', 'the connection to the view is lost')
    page.wait("$('#overlay_opacity input').disabled")
    page.wait("$('#camera').classList.contains('old')")
    robot.view(port=url.rstrip('/').rpartition(':')[2])
    page.wait("$('#note').className === 'ok'")
    wait_for_pictures(page)
    assert page.ask("document.body.classList.contains('lost')") is False


def test_nothing_went_wrong_in_the_page(page):
    # That the view was away, and that these tests read the canvases back, is no fault of the page.
    meant = ('ERR_CONNECTION_REFUSED', 'Multiple readback operations')
    wrong = [e for e in page.complaints if not any(text in str(e) for text in meant)]
    assert wrong == []
