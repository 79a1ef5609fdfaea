// What of the model the filter lets through. It works only on what is new since the last time, unless
// the filter changed.

export class View {
  constructor(model) {
    this.model = model;
    this.reset(null);
  }

  reset(predicate) {
    this.predicate = predicate;
    this.origin = this.model.records[0]?.seq ?? 0;
    this.upto = 0; // the newest record looked at
    this.rows = [];
    this.sessions = new Set(); // those with a record that matches
  }

  // update returns {rows, sessions}; sessions is null when there is no filter. predicate(r) chooses.
  update(predicate) {
    const all = this.model.records;
    if (!predicate) {
      this.predicate = null;
      return { rows: all, sessions: null };
    }
    const restarted = all.length === 0 || all.at(-1).seq < this.upto;
    if (predicate !== this.predicate || restarted) this.reset(predicate);
    for (let i = firstAfter(all, this.upto); i < all.length; i++) {
      if (!predicate(all[i])) continue;
      this.rows.push(all[i]);
      if (all[i].session) this.sessions.add(all[i].session);
    }
    this.upto = all.at(-1)?.seq ?? 0;
    this.trim(all[0]?.seq ?? 0);
    return { rows: this.rows, sessions: this.sessions };
  }

  // trim forgets what the model no longer keeps.
  trim(first) {
    if (first === this.origin) return;
    this.origin = first;
    const n = firstAfter(this.rows, first - 1);
    if (n === 0) return;
    this.rows.splice(0, n);
    this.sessions = new Set(this.rows.map((r) => r.session));
  }
}

// firstAfter returns the index of the first record numbered above seq; rows are in order.
export function firstAfter(rows, seq) {
  let [low, high] = [0, rows.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (rows[middle].seq > seq) high = middle;
    else low = middle + 1;
  }
  return low;
}
