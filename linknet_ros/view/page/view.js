'use strict';
// Everything that comes from the robot is shown as text, never as HTML.

const CHANNELS = ['camera', 'overlay', 'grid'];
const SLIDERS = ['overlay_opacity', 'min_confidence'];
// Seconds after which a picture is marked as old, and seconds without a message after which the
// server counts as silent.
const OLD_AFTER = 2, SILENT_AFTER = 4;
// Most that the page's clock drifts against the server's, seconds per status message.
const DRIFT = 0.0005;

const $ = (selector, root = document) => root.querySelector(selector);
const seconds = () => performance.now() / 1000;

let socket = null;
// Smallest difference between our clock and the server's on this connection, i.e. that of the
// fastest message. It tells the age of a picture that was delayed on its way.
let clock = {offset: Infinity};
let lastMessage = 0;
// Per channel: when the drawn picture arrived at the server, and on which clock.
const drawn = {};
const hints = {};
const problems = {};
const sliders = {};

function showNote(level, text) {
  const note = $('#note');
  note.className = level;
  if (note.textContent !== text) note.textContent = text;
}

function send(message) {
  if (socket && socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message));
}

function sendVisibility() {
  lastMessage = seconds();
  send({visible: !document.hidden});
  if (!document.hidden) CHANNELS.forEach(channel => send({next: channel}));
}

function connect() {
  const scheme = location.protocol === 'https:' ? 'wss' : 'ws';
  socket = new WebSocket(`${scheme}://${location.host}/socket`);
  socket.binaryType = 'arraybuffer';
  lastMessage = seconds();
  socket.onopen = () => {
    clock = {offset: Infinity};
    sendVisibility();
  };
  socket.onmessage = event => {
    lastMessage = seconds();
    if (typeof event.data !== 'string') takePicture(event.data);
    else {
      const message = JSON.parse(event.data);
      if (message.type === 'status') takeStatus(message); else takeAnswer(message);
    }
  };
  socket.onclose = () => {
    lose();
    setTimeout(connect, 1000);
  };
}

function lose() {
  showNote('error', 'the connection to the view is lost; trying again');
  document.body.classList.add('lost');
  for (const name of SLIDERS) {
    sliders[name].input.disabled = true;
    sliders[name].pending = sliders[name].requested = null;
  }
}

async function takePicture(buffer) {
  const from = socket, of = clock;
  const length = new DataView(buffer).getUint32(0);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  const figure = $(`#${header.channel}`);
  problems[header.channel] = header.problem || '';
  if (!header.problem) {
    try {
      const blob = new Blob([new Uint8Array(buffer, 4 + length)], {type: header.kind});
      const bitmap = await createImageBitmap(blob);
      const canvas = $('canvas', figure);
      if (canvas.width !== bitmap.width || canvas.height !== bitmap.height) {
        canvas.width = bitmap.width;
        canvas.height = bitmap.height;
      }
      canvas.getContext('2d').drawImage(bitmap, 0, 0);
      bitmap.close();
      drawn[header.channel] = {time: header.time, clock: of};
      delete hints[header.channel];
    } catch {
      problems[header.channel] = 'the browser cannot decode a picture';
    }
  }
  $('figcaption span', figure).textContent = header.caption;
  showAges();
  // Request the next one only now that this one is drawn: a slow browser gets fewer.
  if (from === socket) send({next: header.channel});
}

// An old picture must never look like a live one.
function showAges() {
  for (const channel of CHANNELS) {
    const figure = $(`#${channel}`);
    const picture = drawn[channel];
    const age = picture ? Math.max(0, seconds() - picture.clock.offset - picture.time) : 0;
    const old = age > OLD_AFTER;
    figure.classList.toggle('old', old || (problems[channel] || '') !== '');
    $('.age', figure).textContent = old ? `${age.toFixed(0)} s old` : '';
    const hint = problems[channel] || (old || !picture ? hints[channel] : '') || '';
    if ($('.hint', figure).textContent !== hint) $('.hint', figure).textContent = hint;
  }
}

function takeStatus(status) {
  clock.offset = Math.min(clock.offset + DRIFT, seconds() - status.now);
  document.body.classList.remove('lost');
  showNote(status.level, status.note);
  $('#node').textContent = status.node;
  document.title = `${status.node} · ${status.note}`;
  for (const channel of CHANNELS) hints[channel] = status.hints[channel];
  for (const name of SLIDERS) showSlider(name, status.parameters[name]);
  showLegend(status.legend);
  $('#legend_problem').textContent = status.legend_problem;
  showNumbers(status.values);
  showAges();
}

function showLegend(legend) {
  const list = $('#legend');
  const key = JSON.stringify(legend);
  if (list.dataset.key === key) return;
  list.dataset.key = key;
  list.replaceChildren(...legend.map(entry => {
    const item = document.createElement('li');
    const color = document.createElement('i');
    color.style.background = `rgb(${entry.color.map(Number).join(', ')})`;
    const name = document.createElement('span');
    name.textContent = entry.name;
    item.append(color, name);
    if (entry.drivable) {
      const mark = document.createElement('small');
      mark.textContent = 'drivable';
      item.append(mark);
    }
    return item;
  }));
}

function table(id, rows) {
  $(id).replaceChildren(...rows.map(([name, value, share]) => {
    const row = document.createElement('tr');
    const head = document.createElement('th');
    head.textContent = name;
    const cell = document.createElement('td');
    cell.textContent = value;
    row.append(head, cell);
    row.classList.toggle('zero', value === '0');
    if (value.length > 30) {
      head.remove();
      cell.textContent = `${name}: ${value}`;
      cell.className = 'long';
      cell.colSpan = 2;
    }
    if (share !== undefined) {
      const bar = document.createElement('td');
      bar.className = 'bar';
      const filled = document.createElement('i');
      filled.style.width = `${100 * share}%`;
      bar.append(filled);
      row.append(bar);
    }
    return row;
  }));
}

// The keys are those of linknet_ros/node/diagnostics.py.
function showNumbers(values) {
  const rest = {...values};
  const take = key => { const value = rest[key]; delete rest[key]; return value; };
  const rates = [
    ['from the camera', take('input fps'), 'fps'],
    ['published', take('output fps'), 'fps'],
    ['latency', take('latency ms'), 'ms'],
  ];
  table('#rates', rates.filter(row => row[1] !== undefined).map(([n, v, u]) => [n, `${v} ${u}`]));
  const frames = ['received', 'published'].filter(k => k in rest).map(k => [k, take(k)]);
  const stages = [], drops = [];
  for (const key of Object.keys(values)) {
    if (key.startsWith('dropped, ')) drops.push([key.slice('dropped, '.length), take(key)]);
    else if (key.endsWith(' ms') && key in rest) stages.push([key.slice(0, -3), take(key)]);
  }
  const longest = Math.max(...stages.map(([, v]) => Number(v)), 1e-9);
  table('#stages', stages.map(([n, v]) => [n, `${v} ms`, Number(v) / longest]));
  table('#frames', frames);
  table('#drops', drops);
  table('#settings', Object.entries(rest));
}

function showSlider(name, value) {
  const slider = sliders[name];
  const there = typeof value === 'number';
  slider.input.disabled = !there;
  slider.output.textContent = there ? value.toFixed(2) : '–';
  const busy = slider.held || slider.pending !== null || slider.requested !== null;
  if (there && !busy) slider.input.value = value;
}

// One change in flight at a time, over all sliders: while a finger moves one, only its newest value
// counts.
function setNext() {
  if (SLIDERS.some(name => sliders[name].pending !== null)) return;
  const name = SLIDERS.find(n => sliders[n].requested !== null);
  if (name === undefined) return;
  const slider = sliders[name];
  slider.pending = slider.requested;
  slider.requested = null;
  send({set: name, value: slider.pending});
}

function takeAnswer(answer) {
  const slider = sliders[answer.set];
  slider.pending = null;
  slider.problem.textContent = answer.problem;
  setNext();
}

for (const name of SLIDERS) {
  const root = $(`#${name}`);
  const slider = sliders[name] = {
    input: $('input', root), output: $('output', root), problem: $('.problem', root),
    held: false, pending: null, requested: null,
  };
  slider.input.addEventListener('input', () => {
    slider.requested = Number(slider.input.value);
    setNext();
  });
  slider.input.addEventListener('pointerdown', () => { slider.held = true; });
  for (const end of ['pointerup', 'pointercancel', 'blur']) {
    slider.input.addEventListener(end, () => { slider.held = false; });
  }
}

document.addEventListener('visibilitychange', sendVisibility);
setInterval(() => {
  if (document.hidden) return;
  showAges();
  if (socket.readyState === WebSocket.OPEN && seconds() - lastMessage > SILENT_AFTER) {
    document.body.classList.add('lost');
    showNote('error', `the view has been silent for ${(seconds() - lastMessage).toFixed(0)} s`);
  }
}, 250);
connect();
