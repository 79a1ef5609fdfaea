// The store: the one model, its link, and the signals that the page draws from.

import { computed, signal } from '@preact/signals';
import { compile } from './filter.js';
import { Link } from './link.js';
import { KEEP, Model } from './model.js';

export const model = new Model();

export const tick = signal(0); // changes when the model did, at most once a frame of the display
export const now = signal(Date.now()); // the server's clock, each second
export const link = signal({ is: 'connecting' });
export const newest = signal(0); // the newest committed record we know of
export const lag = signal(0); // records that were committed over a second ago and are not here yet
export const paused = signal(false);
export const server = signal({}); // version, health, problems, warnings, hint
export const generation = signal(0); // changes when the stream begins anew, with something missing
export const query = signal('');
export const predicate = computed(() => compile(query.value));

const listeners = new Set();
let pending = []; // frames for the next draw: the model changes only with the page, or a scroll in between would mistake its rows
let held = []; // frames that wait while paused
let heldRecords = 0;
let received = 0; // the newest record taken in, applied or held
let skew = 0; // the server's clock less ours

const stream = new Link({
  resume: () => (received > 0 ? `?after=${received}&log=${encodeURIComponent(model.log)}` : ''),
  state: (s) => (link.value = s),
  frame: take,
});

export function start() {
  stream.open();
  setInterval(second, 1000);
}

// waiting is how many committed records the held view does not show.
export const waiting = computed(() => tick.value >= 0 && Math.max(0, newest.value - model.seen));

// onRecords calls f with each batch as it is applied; the returned function ends that.
export function onRecords(f) {
  listeners.add(f);
  return () => listeners.delete(f);
}

export function togglePause() {
  paused.value = !paused.value;
  if (paused.value) return;
  const full = heldRecords >= KEEP;
  pending = pending.concat(held);
  [held, heldRecords] = [[], 0];
  if (full) stream.again(); // what was not held any more is still in the log
  draw();
}

function take(frame) {
  if (frame.now) skew = Date.parse(frame.now) - Date.now();
  if (frame.type === 'hello') newest.value = 0;
  newest.value = Math.max(newest.value, frame.last);
  if (frame.type === 'beat' || frame.type === 'hello') {
    const { health, problems, warnings } = frame;
    server.value = { ...server.value, health, problems, warnings, ...(frame.type === 'hello' && { version: frame.version, hint: frame.hint }) };
  }
  if (frame.type !== 'beat') admit(frame);
  draw();
}

function admit(frame) {
  if (!paused.value) return accept(frame, pending);
  if (heldRecords >= KEEP) return; // resuming asks the log for the rest
  heldRecords += frame.records?.length ?? 0;
  accept(frame, held);
}

function accept(frame, queue) {
  received = frame.type === 'hello' ? frame.after : Math.max(received, frame.records.at(-1).seq);
  queue.push(frame);
}

function apply(frame) {
  if (frame.type === 'hello') {
    const first = model.log === '';
    if (!model.hello(frame) && !first) generation.value++;
    return;
  }
  model.add(frame.records);
  for (const f of listeners) f(frame.records);
}

let drawing = false;

// draw lets the page follow, once for all that arrives within one frame of the display.
function draw() {
  if (drawing) return;
  drawing = true;
  const then = () => {
    drawing = false;
    for (const frame of pending.splice(0)) apply(frame);
    tick.value++;
  };
  if (document.hidden) setTimeout(then, 1000);
  else requestAnimationFrame(then);
}

let before = 0;

// second moves the clock, and finds out whether what was committed a second ago has arrived.
function second() {
  now.value = Date.now() + skew;
  lag.value = received < before ? newest.value - received : 0;
  before = newest.value;
}
