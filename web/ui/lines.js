// The lines of a transcript: C is the client, S the server, and marks tell what the log knows besides.

import { html } from './html.js';
import { clock, count, octets, plural, took, wire } from './format.js';
import { utc } from './settings.js';
import { fate, family, happened, redact, spoken, tlsLong } from './words.js';

export function Lines({ records, session }) {
  const fates = fatesOf(records);
  const out = [];
  let begun = null; // an opened or intent record whose command is not complete yet
  for (const r of records) {
    out.push(...linesOf(r, { begun, fates, session }));
    if (r.kind === 'opened' || r.kind === 'intent') begun = r;
    if (r.kind === 'command') begun = null;
  }
  return html`<ol class="lines">${out}</ol>`;
}

// fatesOf tells what became of each DELE, by its record's number: a delete record settles the oldest one
// of its message that is still open.
function fatesOf(records) {
  const [open, fates] = [new Map(), new Map()];
  for (const r of records) {
    const mine = open.get(r.message) ?? [];
    if (r.verb === 'DELE' && r.status === '+OK') open.set(r.message, [...mine, r.seq]);
    if (r.kind === 'delete' && mine.length > 0) fates.set(mine.shift(), r.detail);
  }
  return fates;
}

const line = (r, part, cls, sigil, text, end = '') => html`<li key=${`${r.seq}${part}`} class=${cls}>
  <time>${part[0] === 'b' ? '' : clock(r.at, utc())}</time><b class="sigil" aria-hidden="true">${sigil}</b><span class="said">${text}</span><span class="end">${end}</span></li>`;

function linesOf(r, { begun, fates, session }) {
  switch (r.kind) {
    case 'connect': return greeting(r);
    case 'command': return command(r, begun, fates, session);
    case 'opened': return [client(r, 'a', r), line(r, 'b', 'mark read', '◆', html`${r.message ? `message ${r.message}` : 'mail'}, on record before its first octet${uid(r)}`)];
    case 'intent': return [client(r, 'a', { verb: 'QUIT' }), line(r, 'b', 'mark drop', '◇', html`intention on record: ${plural(r.count ?? 0, 'delete')} pending`)];
    case 'delete': return [line(r, '', `mark drop fate-${r.detail}`, r.detail === 'committed' ? '✕' : '↺', html`message ${r.message ?? '?'} ${fate(r.detail)}${uid(r)}`)];
    case 'tls': return [line(r, '', 'mark auth', '◈', html`TLS agreed: ${r.tls ? tlsLong(r.tls) : 'no facts'}`)];
    case 'anomaly': return [line(r, '', 'mark warn', '!', html`<b>${spoken(r.detail)}</b>${r.side && ` by the ${wire(r.side)}`}${r.text && html`: ${redact(r.text)}`}`)];
    case 'end': return [line(r, '', 'mark ended', '■', html`ended${r.side && ` by the ${wire(r.side)}`}: ${spoken(r.detail)}`, `${octets(r.received ?? 0)} in, ${octets(r.sent ?? 0)} out`)];
    default: {
      const [word, phrase] = happened(r);
      return [line(r, '', `mark ${r.kind === 'gap' ? 'bad' : ''}`, '·', html`${word} ${phrase}`)];
    }
  }
}

const uid = (r) => r.uid && html` <small>${wire(r.uid)}</small>`;

function greeting(r) {
  const how = r.tls ? `TLS from the first octet: ${tlsLong(r.tls)}` : 'in clear';
  return [
    line(r, 'a', 'mark auth', '◈', html`${wire(r.peer)} to ${wire(r.listener)}, ${how}`),
    r.text && line(r, 'b', r.status === '-ERR' ? 'server bad' : 'server ok', 'S', html`<b>${r.status || '+OK'}</b> ${redact(r.text.replace(/^\+OK ?/, ''))}`),
  ];
}

const client = (r, part, { verb, arg }) => line(r, part, `client tone-${family(verb)}`, 'C', html`<b>${redact(verb)}</b>${arg && html` ${redact(arg)}`}`);

// command is what the client asked, unless a record before its end told that already, and the answer.
function command(r, begun, fates, session) {
  const asked = begun && (begun.kind === 'intent' ? r.verb === 'QUIT' : begun.verb === r.verb && begun.message === r.message);
  const status = r.status || 'no reply';
  const answer = html`<b>${wire(status)}</b>${r.code && html` <b class="code">[${wire(r.code)}]</b>`} ${redact(r.text)}${badges(r, fates, session)}`;
  const cls = r.status === '+OK' && !r.partial ? 'server ok' : 'server bad';
  return [!asked && client(r, 'a', r), line(r, 'b', cls, 'S', answer, html`${body(r)}${took(r.ms)}`), r.mail && mail(r)];
}

// mail is what the message says of itself, where the site wants that kept.
function mail(r) {
  const told = [['Message-ID', 'message_id'], ['From', 'from'], ['Date', 'date'], ['Subject', 'subject'], ['SHA-256', 'sha256']];
  return told.filter(([, key]) => r.mail[key]).map(([name, key]) => line(r, `b-${key}`, 'mark mail', '', html`<i>${name}</i>${wire(r.mail[key])}`));
}

const body = (r) => (r.octets > 0 || r.lines > 0) && html`<span>${octets(r.octets ?? 0)}, ${plural(r.lines ?? 0, 'line')}</span> `;

function badges(r, fates, session) {
  const out = [];
  const badge = (cls, text) => out.push(html` <em class=${`badge ${cls}`}>${text}</em>`);
  if (r.login === 'ok') badge('ok', 'logged in');
  if (r.login === 'failed') badge('bad', 'login failed');
  if (r.partial) badge('bad', `cut after ${count(r.octets)} octets`);
  if (r.local) badge('quiet', 'answered by Postern');
  if (r.verb === 'DELE' && r.status === '+OK') {
    const known = fates.get(r.seq);
    if (known) badge(known === 'committed' ? 'drop' : 'quiet', fate(known));
    else badge('drop', session.state === 'ended' ? 'fate unknown' : 'delete intended');
  }
  return out;
}
