// The facts of one session.

import { html } from './html.js';
import { age, clock, count, date, octets, plural, span, took, wire, zoneName } from './format.js';
import { utc } from './settings.js';
import { now } from './store.js';
import { spoken, verified, version } from './words.js';

const list = (title, rows) => html`<section><h2>${title}</h2><dl>${rows.filter(([, v]) => v || v === 0).map(([k, v, cls]) => html`<div class=${cls}><dt>${k}</dt><dd>${v}</dd></div>`)}</dl></section>`;

export function Facts({ session: s }) {
  return html`<aside class="facts" aria-label="Facts of the session" tabindex="0">
    <p class=${`verdict is-${s.state}`}><i class="dot"></i>${verdict(s)}</p>
    ${list('Session', [
      ['User', s.user ? wire(s.user) : 'no login'],
      ['Login', s.login && `${s.login === 'ok' ? 'accepted' : 'failed'}${s.mechanism ? `, ${wire(s.mechanism)}` : ''}`, s.login === 'failed' && 'bad'],
      ['Failed logins', s.logins_failed || '', 'bad'],
      ['From', wire(s.peer)], ['Listener', wire(s.listener)], ['Backend', wire(s.backend)],
      ['Started', `${date(s.started, utc())} ${clock(s.started, utc(), false)} ${zoneName(utc())}`],
      [s.finished ? 'Lasted' : 'Age', s.finished ? span(s.finished - s.started) : age(now.value - s.started)],
    ])}
    ${tls(s.tls)}
    ${behind(s)}
    ${list('Mail', [
      ['Commands', count(s.commands)], ['Opened', count(s.opened)], ['Read whole', count(s.retrieved)], ['Deleted', count(s.deleted), s.deleted > 0 && 'drop'],
      ['Kept after all', s.rolled_back > 0 && plural(s.rolled_back, 'delete')], ['Fate unknown', s.unknown > 0 && plural(s.unknown, 'delete'), 'bad'],
      ['Sent', octets(s.octets)], ['Received', s.state === 'ended' && octets(s.received ?? 0)], ['Anomalies', s.anomalies || '', 'warn'],
    ])}
    ${s.partial && html`<p class="warn">Some records of this session were lost while the log could not be written.</p>`}
  </aside>`;
}

function verdict(s) {
  if (s.state !== 'ended') return s.state === 'authorized' ? 'live, logged in' : 'live, not logged in';
  return html`ended${s.end_side ? ` by the ${wire(s.end_side)}` : ''}: ${spoken(s.end_reason) || 'no reason given'}`;
}

function tls(t) {
  if (!t) return list('TLS', [['Encryption', 'none', 'warn']]);
  return list('TLS', [
    ...agreed(t), ['Server name', t.sni ? wire(t.sni) : 'not sent'], ['ALPN', t.alpn ? wire(t.alpn) : 'not offered'],
    ['Served', t.serial && `certificate ${wire(t.serial)}`], ['Fingerprint', t.ja4 && html`<code>${wire(t.ja4)}</code>`],
    ['Client showed', t.sha256 && wire(t.subject || 'a certificate without a name')], ['its SHA-256', t.sha256 && html`<code>${wire(t.sha256)}</code>`],
  ]);
}

// behind is the backend's leg; of a backend that never greeted it is not known.
function behind(s) {
  const t = s.backend_tls;
  if (!t) return s.greeting && list('TLS to the backend', [['Encryption', 'none']]);
  return list('TLS to the backend', [
    ...agreed(t), ['Verified', verified(t), !t.verified && 'bad'], ['Its certificate', t.serial && wire(t.serial)],
  ]);
}

const agreed = (t) => [
  ['Version', wire(version(t)), t.legacy && 'warn'], ['Cipher', wire(t.cipher)], ['Group', t.group && wire(t.group)], ['Resumed', t.resumed ? 'yes' : 'no'],
  ['Handshake', took((t.handshake_ns ?? 0) / 1e6)],
];
