// The model: what the page knows of the log, derived from frames in the order they arrive. It holds no
// signal and touches no page, so it can be applied to later (pause) as well as now.
//
// A hello brings the live sessions and the totals as of `last`. Records up to `last` that follow are
// history: they fill the stream and the charts. Records after it also move the sessions and the totals.

export const KEEP = 20000; // rows kept of the stream
const ENDED = 100; // ended sessions kept below the live ones
export const STEP = 5000; // one bar of a chart, in milliseconds
export const BARS = 60;

const none = { ok: 0, failed: 0, octets: 0, commands: 0, sessions: 0 };

export class Model {
  constructor() {
    this.log = ''; // the identity of the log that the page follows
    this.clear();
  }

  clear() {
    this.records = []; // oldest first, at most KEEP
    this.seen = 0; // the newest record applied
    this.counted = 0; // records up to here are in the sessions and totals of the hello
    this.live = new Map(); // id -> session
    this.ended = []; // newest first
    this.liveCount = 0;
    this.totals = {};
    this.bars = new Map(); // bucket number -> sums of that STEP
  }

  // hello starts a stream. It returns false when the stream does not continue what is held.
  hello(f) {
    const continues = f.log === this.log && f.after === this.seen && this.seen > 0;
    if (!continues) this.clear();
    this.log = f.log;
    this.seen = f.after;
    this.counted = f.last;
    this.totals = { ...f.totals };
    this.day = f.day;
    this.liveCount = f.live_count;
    this.live = new Map((f.live ?? []).map((s) => [s.id, sessionOf(s)]));
    this.ended = (f.recent ?? []).filter((s) => !this.live.has(s.id)).map(sessionOf).sort((a, b) => b.finished - a.finished);
    return continues;
  }

  // add applies a batch; records it has already seen change nothing.
  add(batch) {
    for (const raw of batch) {
      if (raw.seq <= this.seen) continue;
      this.seen = raw.seq;
      const r = recordOf(raw);
      this.records.push(r);
      this.chart(r);
      if (r.seq > this.counted) this.count(r);
    }
    if (this.records.length > KEEP) this.records.splice(0, this.records.length - KEEP);
  }

  // chart adds a record to the bar of its moment.
  chart(r) {
    const at = Math.floor(r.at / STEP);
    let bar = this.bars.get(at);
    if (!bar) {
      bar = { ...none };
      this.bars.set(at, bar);
      for (const old of this.bars.keys()) if (old < at - 2 * BARS) this.bars.delete(old);
    }
    if (r.kind === 'connect') bar.sessions++;
    if (r.kind === 'end') bar.sessions--;
    if (r.kind === 'command') bar.commands++;
    if (r.login === 'ok') bar.ok++;
    if (r.login === 'failed') bar.failed++;
    bar.octets += r.octets ?? 0;
  }

  // count moves the totals and the session that the record belongs to.
  count(r) {
    this.newDay(r);
    const t = this.totals;
    const s = this.live.get(r.session);
    if (r.kind === 'connect') this.connect(r);
    if (r.kind === 'command') t.commands++;
    if (r.login === 'ok') t.logins_ok++;
    if (r.login === 'failed') t.logins_failed++;
    if (r.kind === 'anomaly') t.anomalies++;
    if (complete(r)) t.retrieved++;
    if (r.kind === 'delete' && r.detail === 'committed') t.deleted++;
    if (s) advance(s, r);
    if (r.kind === 'end') this.end(r, s);
  }

  newDay(r) {
    const day = r.time.slice(0, 10);
    if (day <= this.day) return;
    this.day = day;
    for (const key of Object.keys(this.totals)) this.totals[key] = 0;
  }

  connect(r) {
    this.totals.sessions++;
    this.liveCount++;
    this.live.set(r.session, sessionOf({
      id: r.session, start: r.time, state: 'connected', peer: r.peer, listener: r.listener,
      backend: r.backend, greeting: r.text, tls: r.tls, backend_tls: r.backend_tls, logins_failed: 0, commands: 0, octets: 0, anomalies: 0,
      opened: 0, retrieved: 0, deleted: 0, rolled_back: 0, unknown: 0,
    }));
  }

  end(r, s) {
    this.totals.sent += r.sent ?? 0;
    this.totals.received += r.received ?? 0;
    this.liveCount = Math.max(0, this.liveCount - 1);
    if (!s) return;
    this.live.delete(r.session);
    this.ended.unshift(s);
    this.ended.length = Math.min(this.ended.length, ENDED);
  }

  // untouched tells that no session is known at all.
  untouched() {
    return this.live.size === 0 && this.ended.length === 0 && !(this.totals.sessions > 0);
  }

  // octets is what was sent to clients today, with what live sessions were sent so far.
  octets() {
    let n = this.totals.sent ?? 0;
    for (const s of this.live.values()) n += s.octets;
    return n;
  }

  // series returns the last BARS bars up to now; sessions are reckoned back from those that live now.
  series(now) {
    const last = Math.floor(now / STEP);
    const known = Math.min(last, ...this.bars.keys());
    const out = [];
    let sessions = this.liveCount;
    for (let at = last; at > last - BARS; at--) {
      const bar = this.bars.get(at) ?? none;
      out.push(at < known ? { ...none, octets: null, live: null } : { ...bar, live: Math.max(0, sessions) });
      sessions -= bar.sessions;
    }
    return out.reverse();
  }
}

// recordOf adds to a record what the page asks of it again and again.
export function recordOf(raw) {
  raw.at = Date.parse(raw.time);
  raw.ms = (raw.duration_ns ?? 0) / 1e6;
  raw.address = host(raw.peer);
  return raw;
}

// sessionOf does the same for a session.
export function sessionOf(raw) {
  return {
    ...raw,
    started: Date.parse(raw.start),
    finished: raw.end ? Date.parse(raw.end) : 0,
    address: host(raw.peer),
    octets: raw.sent || raw.octets || 0, // what was sent is known at the end
    doing: '',
  };
}

const complete = (r) => r.kind === 'command' && r.verb === 'RETR' && r.status === '+OK' && !r.partial;
const fates = { committed: 'deleted', rolled_back: 'rolled_back', unknown: 'unknown' };

// advance moves a live session by one of its records.
export function advance(s, r) {
  if (r.user) s.user = r.user;
  if (r.tls) s.tls = r.tls;
  switch (r.kind) {
    case 'command':
      s.commands++;
      s.octets += r.octets ?? 0;
      s.doing = '';
      if (r.login) [s.login, s.mechanism] = [r.login, r.mechanism];
      if (r.login === 'ok') s.state = 'authorized';
      if (r.login === 'failed') s.logins_failed++;
      if (complete(r)) s.retrieved++;
      break;
    case 'delete':
      s[fates[r.detail]]++;
      break;
    case 'opened':
      s.opened++;
      s.doing = 'reading';
      break;
    case 'intent':
      s.doing = 'deleting';
      break;
    case 'anomaly':
      s.anomalies++;
      break;
    case 'end':
      Object.assign(s, { state: 'ended', doing: '', finished: r.at, end_side: r.side, end_reason: r.detail });
      s.octets = r.sent || s.octets;
      s.received = r.received ?? 0;
      s.sent = r.sent ?? 0;
  }
}

// host takes the port, and an IPv6 address's brackets, off "192.0.2.1:110" or "[2001:db8::1]:110".
function host(peer) {
  if (!peer) return '';
  return peer.slice(0, peer.lastIndexOf(':')).replace(/^\[|\]$/g, '');
}
