// Draws the lanes of a report from its data. No library, nothing fetched.
//
// What it drew is told in attributes of the root element (lanes, ticks, faults, errors), which the
// test in headless Chromium reads.
#include "chaos/report_parts.hpp"

namespace hf::chaos {
namespace {

constexpr std::string_view kScript = R"js('use strict';
const told = document.documentElement.dataset;
told.errors = 0;
addEventListener('error', (e) => { told.errors = +told.errors + 1; told.error = e.message; });

const data = JSON.parse(document.getElementById('data').textContent);
const plot = document.getElementById('plot');
const tip = document.getElementById('tip');
const left = 128, right = 14;

function add(parent, name, attributes, text) {
  const node = document.createElementNS('http://www.w3.org/2000/svg', name);
  for (const key in attributes) node.setAttribute(key, attributes[key]);
  if (text !== undefined) node.textContent = text;
  parent.appendChild(node);
  return node;
}
const colour = (engine) => engine < 0 ? 'var(--eu)' : `var(--e${engine % 8})`;
const engineName = (engine) => data.engines[engine] ?? 'unknown';
function ms(value) {
  const size = Math.abs(value);
  if (size >= 999.5) return `${+(value / 1000).toFixed(size >= 10000 ? 1 : 2)} s`;
  return `${+value.toFixed(size >= 100 ? 0 : size >= 10 ? 1 : 2)} ms`;
}

// Hundredths of a millisecond, as differences: times in ms, and the engine of each tick.
for (const lane of data.lanes) {
  let at = 0;
  lane.times = lane.t.map((step) => (at += step) / 100);
  lane.by = [];
  for (let i = 0; i < lane.w.length; i += 2) {
    for (let n = lane.w[i + 1]; n > 0; --n) lane.by.push(lane.w[i]);
  }
  lane.start = lane.b / 100;
  lane.end = lane.d / 100;
  lane.gap = 0;  // the longest; and where another engine goes on
  lane.moves = [];
  for (let i = 1; i < lane.times.length; ++i) {
    if (lane.times[i] - lane.times[i - 1] > lane.gap) {
      lane.gap = lane.times[i] - lane.times[i - 1];
      lane.gapAt = i;
    }
    const moved = lane.by[i] !== lane.by[i - 1] && lane.by[i] >= 0 && lane.by[i - 1] >= 0;
    if (moved) lane.moves.push(i);
  }
}
for (const fault of data.faults) {
  fault.at = fault.a / 100;
  fault.until = fault.u === null ? null : fault.u / 100;
}
const whole = [0, Math.max(1, data.end / 100, ...data.lanes.map((lane) => lane.end))];
let view = whole;
const everyGap = data.lanes.flatMap((lane) => lane.times.slice(1).map((t, i) => t - lane.times[i]))
    .sort((a, b) => a - b);
const usual = everyGap[Math.floor(everyGap.length / 2)] ?? 0;
const hit = data.lanes.filter((lane) => lane.g === 2 && lane.gap);
const longest = (hit.length ? hit : data.lanes)
    .reduce((most, lane) => lane.gap > (most?.gap ?? 0) ? lane : most, null);

const groups = [
  ['went wrong', data.lanes.filter((lane) => lane.g === 0)],
  ['ended in an error', data.lanes.filter((lane) => lane.g === 1)],
  ['struck by a fault', data.lanes.filter((lane) => lane.g === 2)],
  ['not struck', data.lanes.filter((lane) => lane.g === 3)],
].filter(([, lanes]) => lanes.length > 0);
const height = data.lanes.length <= 24 ? 18 : data.lanes.length <= 130 ? 11 : 8;
const tickHeight = height - (height > 12 ? 5 : 3);

let width = 0, x = null, shown = [], svg = null, top0 = 0, bottom = 0, crossbar = null;

// Fault names in as few rows as they need.
function faultNames() {
  const ends = [];
  const inView = data.faults.filter((fault) =>
      fault.at <= view[1] && (fault.until ?? fault.at) >= view[0]);
  for (const fault of inView) {
    const text = `${fault.n}  ${ms(fault.at)}${fault.v ? '' : '  (no effect seen)'}`;
    const needs = text.length * 6.6 + 14;
    const at = Math.max(left, x(fault.at));
    const turned = at + needs > width;
    const from = turned ? Math.max(left, at - needs) : at;
    let row = ends.findIndex((end) => end < from);
    if (row < 0) row = ends.push(0) - 1;
    ends[row] = from + needs;
    fault.label = { text, row, x: turned ? from : at + 5 };
  }
  return { inView, rows: Math.max(1, ends.length) };
}

function drawFaults({ inView }) {
  for (const fault of inView) {
    const at = x(fault.at), y = 4 + fault.label.row * 15;
    const group = add(svg, 'g', { class: 'faults' });
    if (fault.until !== null) {
      const until = x(fault.until);
      add(group, 'rect', { class: 'span', x: Math.max(left, at), y, height: bottom - y,
        width: Math.max(1, Math.min(width - right, until) - Math.max(left, at)) });
      if (fault.until <= view[1]) {
        add(group, 'line', { class: 'fault unproved', x1: until, x2: until, y1: y + 14,
          y2: bottom });
      }
    }
    if (fault.at >= view[0]) {
      add(group, 'line', { class: fault.v ? 'fault' : 'fault unproved', x1: at, x2: at, y1: y,
        y2: bottom });
    }
    add(group, 'text', { class: 'fname', x: fault.label.x, y: y + 10 }, fault.label.text);
  }
}

function steps() {
  const want = (view[1] - view[0]) / Math.max(2, (width - left - right) / 95);
  const power = 10 ** Math.floor(Math.log10(want));
  return power * [1, 2, 5, 10].find((n) => n * power >= want);
}

function drawGrid(y) {
  const step = steps();
  for (let t = Math.ceil(view[0] / step) * step; t <= view[1] + 1e-9; t += step) {
    const inMs = view[1] < 1000 || step < 10;
    const text = inMs ? `${+t.toFixed(3)} ms` : `${+(t / 1000).toFixed(3)} s`;
    add(svg, 'line', { class: 'grid', x1: x(t), x2: x(t), y1: y, y2: bottom });
    for (const at of [y - 4, bottom + 14]) {
      add(svg, 'text', { x: x(t), y: at, 'text-anchor': 'middle' }, text);
    }
  }
}

// Tokens a second, by engine: who carries the load, and when.
function drawRates(y, high) {
  const bins = Math.max(10, Math.floor((width - left - right) / 8));
  const engines = [...data.engines.keys(), -1];
  const counts = new Map(engines.map((engine) => [engine, new Array(bins).fill(0)]));
  const scale = bins / (view[1] - view[0]);
  for (const lane of data.lanes) {
    lane.times.forEach((t, i) => {
      const bin = Math.floor((t - view[0]) * scale);
      if (bin >= 0 && bin < bins) (counts.get(lane.by[i]) ?? counts.get(-1))[bin] += 1;
    });
  }
  const sums = new Array(bins).fill(0);
  for (const line of counts.values()) line.forEach((n, i) => { sums[i] += n; });
  const most = Math.max(1, ...sums);
  const base = new Array(bins).fill(0);
  const step = (width - left - right) / bins;
  for (const [engine, line] of counts) {
    let path = '';
    line.forEach((n, i) => {
      if (!n) return;
      const from = y + high - base[i] / most * high, up = n / most * high;
      path += `M${(left + i * step).toFixed(1)} ${from.toFixed(1)}h${(step - .6).toFixed(1)}` +
          `v${(-up).toFixed(1)}h${(.6 - step).toFixed(1)}z`;
      base[i] += n;
    });
    if (path) add(svg, 'path', { d: path, style: `fill:${colour(engine)}` });
  }
  add(svg, 'text', { x: 0, y: y + 11 }, 'tokens a second');
  add(svg, 'text', { x: 0, y: y + 25 },
      `up to ${Math.round(most * scale * 1000).toLocaleString('en')}`);
  add(svg, 'line', { class: 'grid', x1: left, x2: width - right, y1: y + high, y2: y + high });
}
)js"
                                     R"js(
function drawTicks(group, lane, y) {
  const paths = new Map();
  const from = y + (height - tickHeight) / 2;
  lane.times.forEach((t, i) => {
    if (t < view[0] || t > view[1]) return;
    const so = paths.get(lane.by[i]) ?? '';
    paths.set(lane.by[i], `${so}M${x(t).toFixed(1)} ${from}v${tickHeight}`);
  });
  for (const [engine, d] of paths) {
    add(group, 'path', { d, class: 'ticks', style: `stroke:${colour(engine)}` });
  }
}

function clampX(t) {
  return x(Math.min(view[1], Math.max(view[0], t)));
}

// The pauses that mean something: where another engine went on, and what is long for this run.
function drawGaps(group, lane, y) {
  for (const at of lane.moves) drawGap(group, lane, y, at, 'gap moved');
  const isLong = lane.gap > 4 * usual && (lane.g !== 3 || lane.gap > 10 * usual);
  if (lane.gapAt && (isLong || lane === longest) && !lane.moves.includes(lane.gapAt)) {
    drawGap(group, lane, y, lane.gapAt, 'gap');
  }
}

function drawGap(group, lane, y, index, kind) {
  const from = lane.times[index - 1], to = lane.times[index];
  if (to < view[0] || from > view[1]) return;
  const a = clampX(from) + 1, b = clampX(to) - 1;
  if (b - a < 1.5) return;
  add(group, 'rect', { class: kind, x: a, width: b - a, y: y + 1.5, height: height - 3 });
  if (b - a > 42 && height > 9 && lane !== longest) {
    add(group, 'text', { class: 'ms', x: (a + b) / 2, y: y + height / 2 + 3.2,
      'text-anchor': 'middle' }, ms(to - from));
  }
}

function drawEnd(group, lane, y) {
  if (lane.o === 'complete' || lane.end < view[0] || lane.end > view[1]) return;
  const at = x(lane.end), mid = y + height / 2, r = 3;
  if (lane.o === 'client_gone' || lane.o === 'stopped') {
    add(group, 'circle', { class: 'over gone', cx: at, cy: mid, r: 2.5 });
  } else {
    add(group, 'path', { class: 'over', style: 'stroke:var(--bad);stroke-width:2',
      d: `M${at - r} ${mid - r}l${2 * r} ${2 * r}m0 ${-2 * r}l${-2 * r} ${2 * r}` });
  }
}

function drawLane(lane, y) {
  const group = add(svg, 'g', { class: lane.g === 2 ? 'lane hit' : 'lane', 'data-id': lane.i });
  const mid = y + height / 2;
  const first = lane.times[0] ?? lane.end;
  if (lane.end >= view[0] && lane.start <= view[1]) {
    add(group, 'line', { class: 'wait', x1: clampX(lane.start), x2: clampX(first), y1: mid,
      y2: mid });
    add(group, 'line', { class: 'life', x1: clampX(first), x2: clampX(lane.end), y1: mid,
      y2: mid });
  }
  drawGaps(group, lane, y);
  drawTicks(group, lane, y);
  drawEnd(group, lane, y);
  if (height > 9) {
    add(group, 'text', { class: 'name', x: 0, y: mid + 3.4 }, `#${lane.i}`);
    const other = lane.o === 'complete' ? '' : lane.o;
    const word = lane.g < 2 ? (lane.e ?? lane.o) : lane.m ?? (lane.h ? 'struck' : other);
    const kind = lane.g < 2 ? 'name bad' : 'name mode';
    add(group, 'text', { class: kind, x: left - 8, y: mid + 3.4, 'text-anchor': 'end' },
        word.length > 16 ? `${word.slice(0, 15)}…` : word);
  }
  shown.push({ lane, y });
}

// The longest pause of a struck stream, by name: what one looks for first.
function drawCallout() {
  const at = shown.find((entry) => entry.lane === longest);
  if (!at || !longest.gapAt) return;
  const from = longest.times[longest.gapAt - 1], to = longest.times[longest.gapAt];
  if (to < view[0] || from > view[1]) return;
  const end = clampX(to), rightSide = end + 150 < width;
  add(svg, 'text', { class: 'callout', x: rightSide ? end + 6 : clampX(from) - 6,
    y: at.y + height / 2 + 4, 'text-anchor': rightSide ? 'start' : 'end' },
      `longest pause ${ms(longest.gap)}`);
}

function draw() {
  width = Math.max(640, plot.clientWidth);
  x = (t) => left + (t - view[0]) / (view[1] - view[0]) * (width - left - right);
  shown = [];
  plot.textContent = '';
  const names = faultNames();
  const rates = 10 + names.rows * 15, high = 54;
  top0 = rates + high + 24;
  bottom = top0 + groups.reduce((sum, [, lanes]) => sum + 18 + lanes.length * height, 0);
  svg = add(plot, 'svg', { width, height: bottom + 22, role: 'img',
    'aria-label': 'One lane a stream, tokens as ticks coloured by engine' });
  let y = top0;
  for (const [name, lanes] of groups) {
    add(svg, 'rect', { class: 'band', x: 0, y, width, height: 16 });
    add(svg, 'text', { class: 'group', x: 0, y: y + 12 },
        `${lanes.length.toLocaleString('en')} ${name}`);
    y += 18 + lanes.length * height;
  }
  drawGrid(top0);
  drawRates(rates, high);
  y = top0;
  for (const [, lanes] of groups) {
    y += 18;
    for (const lane of lanes) {
      drawLane(lane, y);
      y += height;
    }
  }
  drawFaults(names);
  drawCallout();
  crossbar = add(svg, 'line', { class: 'cross', y1: rates, y2: bottom, visibility: 'hidden' });
  for (const button of document.querySelectorAll('#bar button')) {
    button.classList.toggle('on', button.view === view);
  }
}

function describe(lane, t) {
  const lines = [`stream #${lane.i}  ${lane.p}${lane.q ? '  (not streamed)' : ''}`];
  lines.push(`${lane.o}${lane.s ? ` ${lane.s}` : ''}${lane.e ? `: ${lane.e}` : ''}` +
      `${lane.m ? `, went on by ${lane.m}` : ''}, ${lane.n} tokens`);
  if (lane.times.length) lines.push(`first token after ${ms(lane.times[0] - lane.start)}`);
  if (lane.gap) lines.push(`longest pause ${ms(lane.gap)}`);
  let near = -1;
  lane.times.forEach((at, i) => {
    if (near < 0 || Math.abs(at - t) < Math.abs(lane.times[near] - t)) near = i;
  });
  if (near >= 0) {
    const before = near ? `, ${ms(lane.times[near] - lane.times[near - 1])} after the one before`
                        : '';
    lines.push(`token ${near + 1} at ${ms(lane.times[near])} from ` +
        `${engineName(lane.by[near])}${before}`);
  }
  return lines.join('\n');
}

let drag = null;
function timeAt(event) {
  const at = event.clientX - svg.getBoundingClientRect().left;
  const t = view[0] + (at - left) / (width - left - right) * (view[1] - view[0]);
  return Math.min(view[1], Math.max(view[0], t));
}
plot.addEventListener('pointermove', (event) => {
  const box = svg.getBoundingClientRect();
  const t = timeAt(event), y = event.clientY - box.top;
  crossbar.setAttribute('x1', x(t));
  crossbar.setAttribute('x2', x(t));
  crossbar.setAttribute('visibility', 'visible');
  if (drag) {
    drag.rect.setAttribute('x', x(Math.min(t, drag.t)));
    drag.rect.setAttribute('width', Math.abs(x(t) - x(drag.t)));
  }
  const entry = shown.find((one) => y >= one.y && y < one.y + height);
  tip.hidden = !entry;
  if (!entry) return;
  tip.textContent = describe(entry.lane, t);
  tip.style.left = `${Math.min(event.clientX + 16, innerWidth - tip.offsetWidth - 8)}px`;
  tip.style.top = `${Math.min(event.clientY + 16, innerHeight - tip.offsetHeight - 8)}px`;
});
plot.addEventListener('pointerleave', () => { tip.hidden = true; });
plot.addEventListener('pointerdown', (event) => {
  const rect = add(svg, 'rect', { class: 'brush', y: 0, height: bottom, x: 0, width: 0 });
  drag = { t: timeAt(event), rect };
});
addEventListener('pointerup', (event) => {
  if (!drag) return;
  const span = [drag.t, timeAt(event)].sort((a, b) => a - b);
  drag.rect.remove();
  if (x(span[1]) - x(span[0]) > 5) {
    view = span;
    draw();
  }
  drag = null;
});
plot.addEventListener('dblclick', () => { view = whole; draw(); });
)js"
                                     R"js(
function drawBar() {
  const bar = document.getElementById('bar');
  const key = (style, text) => {
    const span = document.createElement('span'), swatch = document.createElement('i');
    span.className = 'key';
    swatch.style.cssText = style;
    span.append(swatch, text);
    bar.append(span);
  };
  const used = new Set(data.lanes.flatMap((lane) => lane.by));
  data.engines.forEach((name, i) => key(`background:${colour(i)}`, `token of ${name}`));
  if (used.has(-1)) key(`background:${colour(-1)}`, 'token of an engine not known');
  key('background:var(--pause)', 'pause, to scale');
  key('background:var(--fault);width:3px', 'fault');
  const button = (text, span) => {
    const node = document.createElement('button');
    node.textContent = text;
    node.view = span;
    node.addEventListener('click', () => { view = span; draw(); });
    bar.append(node);
  };
  button('whole run', whole);
  if (longest?.gapAt) {
    const from = longest.times[longest.gapAt - 1], room = longest.gap * 1.2 + 20;
    button('longest pause', [Math.max(0, from - room), from + longest.gap + room]);
  }
  for (const fault of data.faults.slice(0, 6)) {
    const to = (fault.until ?? fault.at), room = Math.max(100, whole[1] / 20);
    button(fault.n, [Math.max(0, fault.at - room), Math.min(whole[1], to + 2 * room)]);
  }
  bar.append('drag to zoom, double click for the whole');
  if (data.lanes.length < data.streams) {
    bar.append(` · ${data.lanes.length} of ${data.streams.toLocaleString('en')} streams drawn`);
  }
}

// How a sample lies, on a logarithmic axis.
function distribution(title, sample) {
  const values = sample.filter((value) => value > 0).sort((a, b) => a - b);
  if (values.length < 2) return;
  const w = 250, h = 56, pad = 4;
  const low = Math.log10(values[0]) - .05, high = Math.log10(values[values.length - 1]) + .05;
  const at = (value) => pad + (Math.log10(value) - low) / (high - low) * (w - 2 * pad);
  const bins = new Array(48).fill(0);
  for (const value of values) {
    bins[Math.min(47, Math.floor((Math.log10(value) - low) / (high - low) * 48))] += 1;
  }
  const most = Math.max(...bins), wide = (w - 2 * pad) / 48;
  const box = add(document.getElementById('dists'), 'svg', { width: w, height: h + 32 });
  const middle = values[Math.floor((values.length - 1) / 2)];
  add(box, 'text', { x: pad, y: 10 },
      `${title}: ${values.length.toLocaleString('en')}, median ${ms(middle)}`);
  let path = '';
  bins.forEach((n, i) => {
    if (!n) return;
    const up = Math.max(1, n / most * (h - 4));
    path += `M${(pad + i * wide).toFixed(1)} ${h + 14}h${(wide - .7).toFixed(1)}` +
        `v${-up.toFixed(1)}h${(.7 - wide).toFixed(1)}z`;
  });
  add(box, 'path', { class: 'bars', d: path });
  add(box, 'line', { class: 'axis', x1: pad, x2: w - pad, y1: h + 14.5, y2: h + 14.5 });
  add(box, 'line', { class: 'mark', x1: at(middle), x2: at(middle), y1: 16, y2: h + 14 });
  add(box, 'text', { x: pad, y: h + 27 }, ms(values[0]));
  add(box, 'text', { x: w - pad, y: h + 27, 'text-anchor': 'end' },
      ms(values[values.length - 1]));
  add(box, 'text', { x: w / 2, y: h + 27, 'text-anchor': 'middle' }, 'logarithmic');
}

function drawDistributions() {
  distribution('pause of the struck', hit.map((lane) => lane.gap));
  distribution('time to first token',
      data.lanes.filter((lane) => lane.times.length).map((lane) => lane.times[0] - lane.start));
  distribution('between tokens', everyGap);
}

drawBar();
draw();
drawDistributions();
let late = 0;
addEventListener('resize', () => { clearTimeout(late); late = setTimeout(draw, 80); });
addEventListener('beforeprint', draw);

told.lanes = document.querySelectorAll('#plot g.lane').length;
told.faults = document.querySelectorAll('#plot g.faults').length;
told.ticks = [...document.querySelectorAll('#plot path.ticks')]
    .reduce((sum, path) => sum + path.getAttribute('d').split('M').length - 1, 0);
told.ready = 'yes';
)js";

}  // namespace

std::string_view report_script() {
  return kScript;
}

}  // namespace hf::chaos
