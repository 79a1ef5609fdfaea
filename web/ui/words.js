// Records in words, for the stream and the transcript alike.

import { html } from './html.js';
import { count, octets, plural, wire } from './format.js';

const REDACTED = '<redacted>';

// Verbs by what they are about; the colour follows.
const families = {
  auth: ['USER', 'PASS', 'APOP', 'AUTH', 'STLS', 'RPOP'],
  read: ['RETR', 'TOP', 'MSG'],
  drop: ['DELE'],
};

export function family(verb) {
  return Object.keys(families).find((f) => families[f].includes(verb)) ?? 'plain';
}

// redact sets the places where a secret was left out apart from the text around them.
export function redact(text) {
  const parts = wire(text).split(REDACTED);
  return parts.flatMap((part, i) => (i === 0 ? [part] : [html`<span class="redacted">redacted</span>`, part]));
}

// spoken writes a stable name of the log as words: "idle_timeout" is "idle timeout".
export const spoken = (name) => wire(name).replaceAll(/[_-]/g, ' ');

export const tlsLong = (tls) => [version(tls), tls.cipher, tls.group, tls.resumed && 'resumed'].filter(Boolean).map(wire).join(' · ');

// version marks what is too old to be safe (RFC 8996).
export const version = (tls) => (tls.legacy ? `${tls.version} (outdated)` : tls.version);

// verified tells how a backend was verified: "name:HOST", "pin:KEY", or both with a comma between.
export function verified(tls) {
  if (!tls.verified) return 'not verified';
  return tls.verified.split(',').map((how) => wire(how.replace(/^name:/, 'as ').replace(/^pin:/, 'by its key '))).join(' and ');
}

// happened tells what a record other than a command is, in a word and a phrase.
export function happened(r) {
  switch (r.kind) {
    case 'start': return ['log', `started, ${wire(r.detail)}`];
    case 'stop': return ['log', `stopped ${spoken(r.detail)}`];
    case 'connect': return ['connect', `${wire(r.listener)}${r.tls ? ` · ${wire(version(r.tls))}` : ', in clear'}`];
    case 'tls': return ['tls', r.tls ? tlsLong(r.tls) : ''];
    case 'opened': return ['opened', r.message ? `message ${r.message}` : wire(r.verb)];
    case 'intent': return ['intent', `QUIT would delete ${plural(r.count ?? 0, 'message')}`];
    case 'delete': return ['delete', `message ${r.message ?? '?'} ${fate(r.detail)}`];
    case 'anomaly': return ['anomaly', `${spoken(r.detail)}${r.side ? `, by the ${wire(r.side)}` : ''}`];
    case 'end': return ['end', `${spoken(r.detail)}${r.side ? `, ${wire(r.side)}` : ''}${r.sent > 0 ? ` · ${octets(r.sent)} sent` : ''}`];
    case 'refused': return ['refused', `${plural(r.count || 1, 'connection')}: ${spoken(r.detail)}`];
    case 'certificate': return ['certificate', `${spoken(r.detail)}: ${[r.arg, r.text].filter(Boolean).map(wire).join(', ')}`];
    case 'backend': return ['backend', `${spoken(r.detail)}${r.text ? `: ${wire(r.text)}` : ''}`];
    case 'asked': return ['asked', `${wire(r.verb)} by Postern itself: ${wire(r.status || 'no reply')}`];
    case 'config': return ['setting', `${wire(r.arg)} = ${wire(r.text || 'none')}`];
    case 'access': return ['access', `by ${phrase(r.verb, r.arg)}${r.count > 0 ? `, ${count(r.count)} given out` : ''}${r.text ? `, ${wire(r.text)}` : ''}`];
    case 'state': return ['log', [spoken(r.detail), r.arg, r.text].filter(Boolean).map(wire).join(': ')];
    case 'retention': return ['retention', `${plural(r.count ?? 0, 'record')} ${spoken(r.detail)}, by the rule ${wire(r.arg)}`];
    case 'hold': return ['hold', `${r.verb === 'release' ? 'released' : 'begun'}: ${wire(r.arg)}${r.text ? `, ${wire(r.text)}` : ''}`];
    case 'key': return ['key', `${r.detail === 'lost' ? 'the old one was lost, and none vouches for the new one: ' : ''}checkpoints are signed with ${wire(r.arg)} from here on`];
    case 'gap': return ['gap', r.count > 0 ? `${plural(r.count, 'event')} not recorded` : 'some of this session was not recorded'];
    default: return [wire(r.kind), spoken(r.detail)];
  }
}

const phrase = (...words) => words.filter(Boolean).map(wire).join(' ');

export const fate = (detail) => ({ committed: 'deleted', rolled_back: 'kept: rolled back', unknown: 'fate unknown' })[detail] ?? spoken(detail);

const good = ['obtained', 'renewed', 'reloaded'];

// grave tells what clients notice, or will soon.
const grave = (r) => ({ certificate: ['failed', 'expired', 'revoked'], backend: ['down'], state: ['failing', 'space_critical', 'witness_refused'] })[r.kind]?.includes(r.detail);

// tone is the colour of a record in the stream.
export function tone(r) {
  if (r.kind === 'command') return family(r.verb);
  if (r.kind === 'anomaly' || r.kind === 'refused' || (r.kind === 'state' && ['slow', 'space_low'].includes(r.detail))) return 'warn';
  if (r.kind === 'gap' || grave(r)) return 'bad';
  if (r.kind === 'certificate') return good.includes(r.detail) ? 'plain' : 'warn';
  if (r.kind === 'delete' || r.kind === 'intent') return 'drop';
  if (r.kind === 'opened') return 'read';
  return r.kind === 'tls' || r.kind === 'connect' ? 'auth' : 'plain';
}
