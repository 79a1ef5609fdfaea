// The Live page: sessions now, and beside them the stream of records.

import { html } from './html.js';
import { age, count, moment, octets, span, took, wire, zoneName } from './format.js';
import { Charts } from './charts.js';
import { FirstSession } from './empty.js';
import { openSession } from './route.js';
import { model, now, predicate, query, tick } from './store.js';
import { narrow, shown, utc } from './settings.js';
import { View } from './view.js';
import { Windowed } from './windowed.js';
import { happened, redact, spoken, tone } from './words.js';

const view = new View(model);

export function Live() {
  tick.value;
  const { rows, sessions } = view.update(predicate.value);
  return html`<main class=${`live show-${shown.value}`} id="main">
    <h1 class="unseen">Live</h1>
    <${Charts} />
    <div class="switch" role="group" aria-label="What to show">
      ${['records', 'sessions'].map((name) => html`<button aria-pressed=${shown.value === name} onClick=${() => (shown.value = name)}>
        ${name === 'records' ? 'Records' : `Sessions ${count(model.liveCount)}`}</button>`)}
    </div>
    <div class="panes">
      <${Sessions} among=${sessions} />
      <${Records} rows=${rows} />
    </div>
  </main>`;
}

const sessionKey = (s) => s.id;
const recordKey = (r) => r.seq;

// Sessions lists the live ones, newest first, and below them those that ended last.
function Sessions({ among }) {
  const matches = (s) => !among || among.has(s.id) || predicate.value({ ...s, session: s.id, kind: 'session' });
  const live = [...model.live.values()].sort((a, b) => (a.id < b.id ? 1 : -1)).filter(matches);
  const ended = model.ended.filter(matches);
  return html`<section class="pane sessions" aria-labelledby="sessions-title">
    <header><h2 id="sessions-title">Sessions</h2><p>${count(model.liveCount)} now${among && `, ${count(live.length)} match`}<i>${count(ended.length)} ended lately</i></p></header>
    <${Windowed} name="sessions" label="Sessions" rows=${[...live, ...ended]} keyOf=${sessionKey} height=${46}
      head=${sessionHead} render=${sessionRow} onOpen=${(s) => openSession(s.id)}
      stamp=${tick.value} cover=${live.length + ended.length === 0 && (among ? 'No session matches the filter.' : 'Nobody is connected.')} />
  </section>`;
}

const columns = (names) => names.map(([name, cls]) => html`<span role="columnheader" class=${cls}>${name}</span>`);
const sessionHead = columns([['User, address', 'who'], ['State, TLS', 'state'], ['Cmds', 'n'], ['Octets', 'octets'], ['Age', 'age']]);

const orderly = ['quit', 'eof'];

function stateOf(s) {
  if (s.state === 'ended') return [orderly.includes(s.end_reason) ? 'ended' : 'ended is-broken', spoken(s.end_reason) || 'ended'];
  if (s.doing) return [s.doing, s.doing];
  if (s.state === 'authorized') return ['open', 'logged in'];
  return s.login === 'failed' ? ['failed', 'login failed'] : ['connected', 'connected'];
}

function sessionRow(s) {
  const [cls, state] = stateOf(s);
  const over = s.state === 'ended';
  return {
    class: `session is-${cls}`,
    cells: html`
      <span role="gridcell" class="who" title=${wire(s.peer)}><i class="dot"></i><a href=${`#/session/${s.id}`} tabindex="-1">${s.user ? wire(s.user) : html`<em>no login</em>`}</a>
        <small>${wire(s.address)}</small></span>
      <span role="gridcell" class="state">${state}${s.anomalies > 0 && html` <b class="flag" title="anomalies">${s.anomalies}!</b>`}
        <small>${s.tls ? wire(s.tls.version) : html`<em>clear</em>`} · ${wire(s.listener)}</small></span>
      <span role="gridcell" class="n">${count(s.commands)}<small></small></span>
      <span role="gridcell" class="octets">${octets(s.octets)}<small></small></span>
      <span role="gridcell" class="age">${over ? span(s.finished - s.started) : age(now.value - s.started)}<small>${over && `${age(now.value - s.finished)} ago`}</small></span>`,
  };
}

function Records({ rows }) {
  tick.value; // rows is the same list, grown
  const all = model.records.length;
  const total = query.value.trim() ? `${count(rows.length)} of ${count(all)} match` : count(all);
  return html`<section class="pane records" aria-labelledby="records-title">
    <header><h2 id="records-title">Records</h2><p id="shown">${total}</p></header>
    <${Windowed} name="records" label="Records" rows=${rows} keyOf=${recordKey} height=${narrow.value ? 46 : 28} home="bottom"
      head=${recordHead()} render=${recordRow} onOpen=${(r) => r.session && openSession(r.session)}
      stamp=${tick.value} cover=${model.untouched() ? html`<${FirstSession} />` : rows.length === 0 && 'No record matches the filter.'} />
  </section>`;
}

const recordHead = () => columns([[`Time, ${zoneName(utc())}`, 'at'], ['User', 'who'], ['Event', 'event'], ['Reply', 'reply'], ['Octets', 'octets'], ['Took', 'took']]);

function recordRow(r) {
  return {
    class: `record ${r.kind} tone-${tone(r)}`,
    cells: html`
      <span role="gridcell" class="at">${moment(r.at, now.value, utc(), !narrow.value)}</span>
      <span role="gridcell" class="who" title=${r.address}>${r.user ? wire(r.user) : html`<em>${wire(r.address)}</em>`}</span>
      ${r.kind === 'command' ? command(r) : other(r)}`,
  };
}

function command(r) {
  return html`
    <span role="gridcell" class="event" title=${wire(r.arg)}><b class="verb">${redact(r.verb)}</b> ${redact(r.arg)}</span>
    <span role="gridcell" class="reply" title=${wire(r.text)}><${Status} r=${r} /> ${r.code && html`<b class="code">${wire(r.code)}</b> `}${redact(r.text)}</span>
    <span role="gridcell" class="octets">${r.octets > 0 && octets(r.octets)}</span>
    <span role="gridcell" class="took">${took(r.ms)}</span>`;
}

function other(r) {
  const [word, phrase] = happened(r);
  return html`<span role="gridcell" aria-colspan="4" class="event wide"><b class="verb">${word}</b> ${phrase}</span>`;
}

// Status is the first word of a reply; a reply that was cut says so.
export function Status({ r }) {
  if (r.partial) return html`<b class="status bad">cut</b>`;
  if (r.status === '+OK') return html`<b class="status ok">+OK</b>`;
  return html`<b class="status bad">${r.status ? wire(r.status) : 'no reply'}</b>`;
}
