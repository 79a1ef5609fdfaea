// The filter box: words that must occur, and qualifiers that narrow one field. Terms are joined by
// "and"; a leading minus turns one round; quotes keep spaces together.
//
//   alice verb:retr -status:ok ip:192.0.2. "maildrop busy"

const fields = {
  user: (r, v) => lower(r.user).includes(v),
  ip: (r, v) => lower(r.address).startsWith(v) || lower(r.address) === v,
  verb: (r, v) => lower(r.verb).startsWith(v),
  status: (r, v) => (v === 'err' || v === '-err' ? bad(r) : v === 'ok' || v === '+ok' ? r.status === '+OK' : false),
  kind: (r, v) => lower(r.kind).startsWith(v),
  session: (r, v) => lower(r.session).startsWith(v),
};

const lower = (s) => (s ?? '').toLowerCase();

// bad tells whether a record is one that somebody looking for trouble wants to see.
export const bad = (r) => r.status === '-ERR' || r.kind === 'anomaly' || r.kind === 'gap' || r.kind === 'refused';

const said = ['verb', 'arg', 'status', 'code', 'text', 'user', 'address', 'detail', 'uid', 'session', 'kind', 'listener'];
const contains = (r, v) => said.some((f) => lower(r[f]).includes(v));

// compile turns the text of the box into a predicate over records, or null when it asks for nothing.
export function compile(text) {
  const terms = (text.match(/-?(?:\w+:)?(?:"[^"]*"?|\S+)/g) ?? []).map(term).filter(Boolean);
  if (terms.length === 0) return null;
  return (record) => terms.every((t) => t(record));
}

function term(raw) {
  const not = raw.length > 1 && raw[0] === '-';
  const bare = not ? raw.slice(1) : raw;
  const colon = bare.indexOf(':');
  const field = colon > 0 ? fields[lower(bare.slice(0, colon))] : undefined;
  const value = lower(field ? bare.slice(colon + 1) : bare).replaceAll('"', '');
  if (value === '') return null; // still being typed
  const test = field ?? contains;
  return not ? (r) => !test(r, value) : (r) => test(r, value);
}
