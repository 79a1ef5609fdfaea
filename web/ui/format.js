// How times, octets and text from the wire are written. Pure functions; nothing here touches the page.

const two = (n) => String(n).padStart(2, '0');
const three = (n) => String(n).padStart(3, '0');

// clock writes the time of day of ms (Unix milliseconds), in UTC or in the zone of the browser.
export function clock(ms, utc, fraction = true) {
  const d = new Date(ms);
  const [h, m, s, f] = utc
    ? [d.getUTCHours(), d.getUTCMinutes(), d.getUTCSeconds(), d.getUTCMilliseconds()]
    : [d.getHours(), d.getMinutes(), d.getSeconds(), d.getMilliseconds()];
  return `${two(h)}:${two(m)}:${two(s)}${fraction ? '.' + three(f) : ''}`;
}

// date writes the day of ms as YYYY-MM-DD.
export function date(ms, utc) {
  const d = new Date(ms);
  return utc
    ? `${d.getUTCFullYear()}-${two(d.getUTCMonth() + 1)}-${two(d.getUTCDate())}`
    : `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())}`;
}

// moment writes the time of day of ms, and before it the month and day when that is not the day of now.
export function moment(ms, now, utc, fraction = true) {
  const day = date(ms, utc);
  if (day === date(now, utc)) return clock(ms, utc, fraction);
  return `${day.slice(5)} ${clock(ms, utc, false)}`;
}

// zoneName names the zone that clock writes: "UTC", or what the browser calls its own, e.g. "CET".
export function zoneName(utc) {
  if (utc) return 'UTC';
  const parts = new Intl.DateTimeFormat(undefined, { timeZoneName: 'short' }).formatToParts(new Date());
  return parts.find((p) => p.type === 'timeZoneName')?.value ?? 'local';
}

// age writes a span in the two largest units that matter: "4s", "3m 07s", "2h 15m", "5d 3h".
export function age(ms) {
  const s = Math.max(0, Math.floor(ms / 1000));
  if (s < 60) return `${s}s`;
  if (s < 3600) return `${Math.floor(s / 60)}m ${two(s % 60)}s`;
  if (s < 86400) return `${Math.floor(s / 3600)}h ${two(Math.floor((s % 3600) / 60))}m`;
  return `${Math.floor(s / 86400)}d ${Math.floor((s % 86400) / 3600)}h`;
}

// span writes how long something lasted, finer than age where it was short.
export const span = (ms) => (ms < 60000 ? took(ms) || '0 s' : age(ms));

// took writes a latency given in milliseconds.
export function took(ms) {
  if (!(ms > 0)) return '';
  if (ms < 1) return `${Math.max(1, Math.round(ms * 1000))} µs`;
  if (ms < 10) return `${ms.toFixed(1)} ms`;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  return ms < 60000 ? `${(ms / 1000).toFixed(1)} s` : age(ms);
}

const units = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'];

// octets writes a size in three digits or fewer: "812 B", "40.2 kB".
export function octets(n) {
  let u = 0;
  while (n >= 999.5 && u < units.length - 1) {
    n /= 1000;
    u++;
  }
  return `${u === 0 || n >= 99.95 ? Math.round(n) : n.toFixed(1)} ${units[u]}`;
}

// count writes a whole number with separators.
export const count = (n) => Math.round(n ?? 0).toLocaleString('en-US');

// plural writes "1 message" or "3 messages".
export const plural = (n, word) => `${count(n)} ${word}${n === 1 ? '' : 's'}`;

// Control characters, and those that turn the direction of writing, could disguise what a line says.
const disguise = /[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]/g;

// wire makes text that came over the wire visible: what would hide or turn it is written as an escape.
export function wire(text) {
  return String(text ?? '').replace(disguise, (c) => {
    const code = c.codePointAt(0);
    return code < 256 ? `\\x${code.toString(16).padStart(2, '0')}` : `\\u${code.toString(16).padStart(4, '0')}`;
  });
}
