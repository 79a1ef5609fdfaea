package audit

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"time"

	"postern/proxy"
)

// Retention does its work in chores, whose size follows how long they take, so that no commit waits much longer than
// choreTime for one; then the writer is left alone for twice as long.
const (
	choreTime    = 5 * time.Millisecond
	leastRest    = 2 * time.Millisecond
	leastRecords = 64
	mostRecords  = pieceRecords
)

// dose is how much of something makes a chore.
type dose struct{ size, least, most int64 }

// learn takes in how long the last one took.
func (d *dose) learn(took time.Duration) {
	switch {
	case took > choreTime:
		d.size = max(d.least, d.size/2)
	case took < choreTime/2:
		d.size = min(d.most, d.size+d.size/2)
	}
}

// reaper is the taker of a run: it has the writer do what the rules say, some records at a time. Each time is one
// transaction, and has its record in it.
type reaper struct {
	log     *Log
	by      string // who asked for the run
	holds   int64  // under which number the writer knows the holds that the sweep knows
	dose    dose   // of records
	waiting []*piece
	records int64 // of them
}

// erase implements taker. A session that is too large for one chore goes piece by piece, its row with the last.
func (p *reaper) erase(ctx context.Context, r *rule, u *unit, t *Taken) error {
	next := u.first
	for u.records > mostRecords {
		upTo, err := p.nth(ctx, u, next)
		if err != nil || upTo >= u.final {
			break
		}
		var left Session
		if err := replayAfter(ctx, p.log.reader, proxy.SessionID(u.session), upTo, func(r *Record) { left.apply(r) }); err != nil {
			return err
		}
		if err := p.add(ctx, r, &piece{unit: u, upTo: upTo, row: &left}, mostRecords, t); err != nil {
			return err
		}
		next = upTo + 1
	}
	return p.add(ctx, r, &piece{unit: u, upTo: u.final}, min(u.records, mostRecords), t)
}

// nth returns the number of the last record of a piece that begins at or after the given number.
func (p *reaper) nth(ctx context.Context, u *unit, from int64) (seq int64, err error) {
	const query = "SELECT ifnull(max(record), 0) FROM (SELECT record FROM session_records WHERE session_id = ? AND record >= ? ORDER BY record LIMIT ?)"
	err = p.log.reader.db.QueryRowContext(ctx, query, u.session, from, mostRecords).Scan(&seq)
	return seq, err
}

// thin implements taker.
func (p *reaper) thin(ctx context.Context, r *rule, cut *piece, t *Taken) error {
	return p.add(ctx, r, cut, int64(len(cut.rows)), t)
}

func (p *reaper) add(ctx context.Context, r *rule, cut *piece, records int64, t *Taken) error {
	if len(p.waiting) > 0 && p.records+records > p.dose.size {
		if err := p.finish(ctx, r, t); err != nil {
			return err
		}
	}
	p.waiting = append(p.waiting, cut)
	if p.records += max(1, records); p.records < p.dose.size {
		return nil
	}
	return p.finish(ctx, r, t)
}

// finish implements taker: it has the writer do what waits.
func (p *reaper) finish(ctx context.Context, r *rule, t *Taken) error {
	cuts := p.waiting
	p.waiting, p.records = nil, 0
	if len(cuts) == 0 {
		return nil
	}
	sum := *t
	c := &chore{
		do:    func(w *writer) error { return w.reap(r, cuts, &sum, p.by) },
		stale: func(w *writer) bool { return w.holds != p.holds },
	}
	if err := p.perform(ctx, c); err != nil {
		return err
	}
	p.dose.learn(c.took)
	p.log.reaped(r, sum.Records-t.Records)
	*t = sum
	return nil
}

// perform has the writer do c, and gives it rest.
func (p *reaper) perform(ctx context.Context, c *chore) error {
	if err := p.log.perform(ctx, c); err != nil {
		return err
	}
	sleep(ctx, max(leastRest, 2*c.took))
	return nil
}

// recover implements taker: after a change of the holds a rule begins anew.
func (p *reaper) recover(ctx context.Context, s *sweep, err error) error {
	if !errors.Is(err, errStale) {
		return err
	}
	p.waiting, p.records = nil, 0
	return p.learn(ctx, s)
}

// learn tells the sweep of the holds in force, and has all records be found by their session, or rules would take those of
// the last second for live. The number of the holds comes first: if they change in between, the chores that follow are
// refused.
func (p *reaper) learn(ctx context.Context, s *sweep) error {
	if err := p.log.perform(ctx, &chore{do: func(w *writer) error {
		p.holds = w.holds
		return w.index.save(w.store, w.began, w.seq, true)
	}}); err != nil {
		return err
	}
	return s.learn(ctx)
}

// reap does what the pieces say, and records it.
func (w *writer) reap(r *rule, cuts []*piece, sum *Taken, by string) error {
	all := Taken{}
	for _, cut := range cuts {
		do := w.store.thin
		if r.deletes() {
			do = w.store.erase
		}
		if err := do(cut, &all, sum); err != nil {
			return err
		}
	}
	if all.Records == 0 {
		return nil // sessions without records
	}
	return w.append(&proxy.Event{
		Time: w.began, Kind: proxy.KindRetention, Verb: r.class, Arg: r.words, Detail: r.does(), Count: all.Records,
		Text: fmt.Sprintf("%d-%d", all.First, all.Last), User: by,
	})
}

// erase deletes the records of a piece, and keeps their hashes.
func (s *store) erase(p *piece, all, sum *Taken) error {
	u := p.unit
	where, args := "seq = ?", []driver.Value{u.first}
	if u.session != 0 {
		where, args = "seq IN (SELECT record FROM session_records WHERE session_id = ? AND record <= ?)", []driver.Value{u.session, p.upTo}
	}
	if _, err := s.change("INSERT INTO pruned(seq, hash) SELECT seq, hash FROM records WHERE "+where, args...); err != nil {
		return err
	}
	n, err := s.change("DELETE FROM records WHERE "+where, args...)
	if err != nil {
		return err
	}
	octets := u.octets
	if p.row != nil {
		octets = 0 // they are told of with the last piece
	}
	all.add(u, u.first, p.upTo, n, octets)
	sum.add(u, u.first, p.upTo, n, octets)
	if u.session == 0 {
		return nil
	}
	if _, err := s.change("DELETE FROM session_records WHERE session_id = ? AND record <= ?", args...); err != nil {
		return err
	}
	if p.row != nil {
		return s.upsert(p.row)
	}
	sum.Sessions++
	_, err = s.change("DELETE FROM sessions WHERE id = ?", u.session)
	return err
}

// updateThinned writes what thinning may change of a record.
const updateThinned = "UPDATE records SET arg = ?, text = ?, uid = ?, user = ?, ip = ?, port = ?, mail = ?, subject = ?, fingerprint = ?, " +
	"seed = ? WHERE seq = ?"

// thin writes the records of a piece as they are left, and the row that they add up to.
func (s *store) thin(p *piece, all, sum *Taken) error {
	for _, cut := range p.rows {
		r := cut.row
		if _, err := s.change(updateThinned, r[placeArg], r[placeText], r[placeUID], r[placeUser], r[placeIP], r[placePort],
			r[placeMail], r[placeSubject], r[placeFingerprint], cut.column, r[placeSeq]); err != nil {
			return err
		}
	}
	all.addPiece(p)
	sum.addPiece(p)
	if p.row == nil {
		return nil
	}
	return s.upsert(p.row)
}
