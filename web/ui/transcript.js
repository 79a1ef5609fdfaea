// The Session page: what was said, like a terminal, and beside it the facts. A live session goes on
// being written.

import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks';
import { html } from './html.js';
import { plural } from './format.js';
import { icon } from './icons.js';
import { Facts } from './facts.js';
import { advance, recordOf, sessionOf } from './model.js';
import { Lines } from './lines.js';
import { openLive } from './route.js';
import { generation, onRecords, tick } from './store.js';

const PAGE = 500; // records asked for at once
const MOST = 5000; // records on the page before it asks whether to go on

export function Transcript({ id }) {
  const [t, setTranscript] = useState(null);
  const box = useRef(null);
  const bottom = useRef(false);
  tick.value; // the clock of a live session

  useEffect(() => follow(id, setTranscript), [id, generation.value]);
  useLayoutEffect(() => {
    if (bottom.current && box.current) box.current.scrollTop = box.current.scrollHeight;
  });
  const scrolled = (e) => {
    const { scrollHeight, clientHeight, scrollTop } = e.currentTarget;
    bottom.current = scrollHeight - clientHeight - scrollTop < 40;
  };

  return html`<main class="session-page" id="main">
    <nav><button onClick=${openLive}>${icon('back')} Live</button><h1>Session <code>${id}</code></h1></nav>
    ${t?.error && html`<p class="missing" role="alert">${t.error}</p>`}
    ${t?.session && html`<div class="split">
      <div class="transcript" id="transcript" ref=${box} onScroll=${scrolled} tabindex="0" role="region" aria-label="Transcript">
        <${Lines} records=${t.records} session=${t.session} />
        ${t.more && html`<button class="more" onClick=${t.next}>Show the next records, after ${plural(t.records.length, 'record')}</button>`}
        ${!t.more && t.session.state !== 'ended' && html`<p class="going"><i class="dot"></i> live</p>`}
      </div>
      <${Facts} session=${t.session} />
    </div>`}
  </main>`;
}

// follow loads a session and its records, joins to them what the stream brings, and calls set with each
// new state {session, records, more, next, error}. The returned function ends it.
function follow(id, set) {
  const t = { session: null, records: [], more: false, allowed: MOST };
  const fresh = []; // from the stream while pages are still being loaded
  const leaving = new AbortController();
  const show = () => leaving.signal.aborted || set({ ...t });
  const load = async () => {
    try {
      const loaded = await pages(id, t, leaving.signal, show);
      if (loaded) add(t, fresh.splice(0));
    } catch (e) {
      if (e.name !== 'AbortError') t.error = e.message;
    }
    show();
  };
  t.next = () => {
    t.allowed += MOST;
    t.more = false;
    load();
  };
  const stop = onRecords((batch) => {
    const mine = batch.filter((r) => r.session === id);
    if (mine.length === 0 || t.more) return;
    if (!t.whole) return fresh.push(...mine);
    add(t, mine);
    show();
    if (mine.some((r) => r.kind === 'end')) load(); // its row now holds the exact sums
  });
  load();
  return () => {
    leaving.abort();
    stop();
  };
}

// pages loads records until there are no more, or enough. It tells whether it has them all.
async function pages(id, t, signal, show) {
  t.session ??= sessionOf(await get(`/api/sessions/${id}`, signal));
  for (;;) {
    const after = t.records.at(-1)?.seq ?? 0;
    const { records } = await get(`/api/sessions/${id}/records?after=${after}&limit=${PAGE}`, signal);
    t.records = t.records.concat(records.map(recordOf));
    t.whole = records.length < PAGE;
    if (t.whole) break;
    t.more = t.records.length >= t.allowed;
    show();
    if (t.more) return false;
  }
  t.session = sessionOf(await get(`/api/sessions/${id}`, signal));
  return true;
}

// add joins records of the stream to those there are; a record never comes twice.
function add(t, batch) {
  const last = t.records.at(-1)?.seq ?? 0;
  const next = batch.filter((r) => r.seq > last);
  if (next.length === 0) return;
  t.records = t.records.concat(next);
  t.session = { ...t.session };
  for (const r of next) advance(t.session, r);
}

async function get(url, signal) {
  const answer = await fetch(url, { signal });
  const body = await answer.json();
  if (!answer.ok) throw new Error(body.error ?? `the server answered ${answer.status}`);
  return body;
}
