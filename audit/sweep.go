package audit

import (
	"context"
	"math"
	"time"
)

// sweep finds what the rules take, in one run. What becomes of it is up to a taker: a run that is only to be told of, and one
// that is done, take the same.
type sweep struct {
	rules   []rule
	now     time.Time
	shears  shears
	custody custody
	taker   taker
	from    map[string]int64 // by class: all that began before that is thinned, or held; nil: nothing is known

	limit   int64 // of the rule by size
	excess  int64 // octets that are over it
	cutoff  int64 // what ended before it, the rule by age has deleted
	emptied rank  // up to where the rule by size has
	done    []Taken
}

// leastAge spares, by whatever rule, what has only just ended.
const leastAge = time.Minute

// taker takes what a rule takes.
type taker interface {
	// erase deletes all of u.
	erase(context.Context, *rule, *unit, *Taken) error
	// thin takes a piece's fields.
	thin(context.Context, *rule, *piece, *Taken) error
	// finish does what was put off, at the end of a rule.
	finish(context.Context, *rule, *Taken) error
	// recover makes the sweep ready to do a rule once more after an error, or returns it.
	recover(context.Context, *sweep, error) error
}

// run sweeps for each rule.
func (s *sweep) run(ctx context.Context) error {
	for i := range s.rules {
		r := &s.rules[i]
		s.done = append(s.done, Taken{Class: r.class, Rule: r.words, Does: r.does()})
		t := &s.done[len(s.done)-1]
		for emptied := s.emptied; ; s.emptied = emptied {
			err := s.sweep(ctx, r, t)
			if err == nil {
				break
			}
			if err = s.taker.recover(ctx, s, err); err != nil {
				return err
			}
			t.Held = 0 // and once more: what was taken is gone, and what waited to be is not
		}
	}
	return nil
}

func (s *sweep) sweep(ctx context.Context, r *rule, t *Taken) error {
	before := nanos(s.now.Add(-max(r.age, leastAge)))
	stuck := before // where the next sweep has to begin
	from := s.from[r.class]
	if from > before { // the clock was ahead: what began since it is right is not known
		from = 0
	}
	err := units(ctx, s.shears.reader.db, from, before, func(u *unit) (bool, error) {
		if r.class == ClassSize && s.excess <= 0 {
			return false, nil
		}
		if u.live || u.last >= before {
			stuck = min(stuck, u.started)
			return true, nil
		}
		held, err := s.custody.covers(ctx, s.shears.reader.db, u)
		switch {
		case err != nil:
			return false, err
		case held:
			t.Held++
			return true, nil
		case s.isGone(u):
			return true, nil
		}
		return true, s.take(ctx, r, u, t)
	})
	if err == nil {
		err = s.taker.finish(ctx, r, t)
	}
	if err == nil && s.from != nil && !r.deletes() {
		s.from[r.class] = stuck
	}
	if err == nil && r.class == ClassSessions {
		s.cutoff = before
	}
	return err
}

// isGone tells whether an earlier rule has deleted u, or would have.
func (s *sweep) isGone(u *unit) bool {
	return u.last < s.cutoff || u.rank().compare(s.emptied) <= 0
}

func (s *sweep) take(ctx context.Context, r *rule, u *unit, t *Taken) error {
	if !r.deletes() {
		return s.shears.thin(ctx, u, r.takes, func(p *piece) error { return s.taker.thin(ctx, r, p, t) })
	}
	s.excess -= u.octets
	if r.class == ClassSize {
		s.emptied = u.rank()
	}
	return s.taker.erase(ctx, r, u, t)
}

// counter is the taker of a dry run.
type counter struct{}

func (counter) erase(_ context.Context, _ *rule, u *unit, t *Taken) error {
	t.add(u, u.first, u.final, u.records, u.octets)
	if u.session != 0 {
		t.Sessions++
	}
	return nil
}

func (counter) thin(_ context.Context, _ *rule, p *piece, t *Taken) error {
	t.addPiece(p)
	return nil
}

func (counter) finish(context.Context, *rule, *Taken) error { return nil }

func (counter) recover(_ context.Context, _ *sweep, err error) error { return err }

// addPiece counts what is thinned of a unit.
func (t *Taken) addPiece(p *piece) {
	first, last := p.span()
	t.add(p.unit, first, last, int64(len(p.rows)), 0)
	if p.first && p.unit.session != 0 {
		t.Sessions++
	}
}

// span returns the numbers of the first and the last record that is thinned.
func (p *piece) span() (first, last int64) {
	return p.rows[0].row[placeSeq].(int64), p.rows[len(p.rows)-1].row[placeSeq].(int64)
}

// Plan tells what a run of the rules would take now of the log, whose key lies in the file key. Nothing is changed.
func (r *Reader) Plan(ctx context.Context, rules Rules, key string, now time.Time) ([]Taken, error) {
	k, err := readKey(key)
	if err != nil {
		return nil, err
	}
	return r.plan(ctx, rules, k.pseudonym, now)
}

func (r *Reader) plan(ctx context.Context, rules Rules, pseudonym [32]byte, now time.Time) ([]Taken, error) {
	s, err := newSweep(ctx, r, rules, pseudonym, now)
	if err == nil {
		s.taker = counter{}
		err = s.run(ctx)
	}
	if err != nil {
		return nil, r.wrap("plan retention", err)
	}
	return s.done, nil
}

// newSweep begins a sweep.
func newSweep(ctx context.Context, r *Reader, rules Rules, pseudonym [32]byte, now time.Time) (*sweep, error) {
	e := newEncoder(pseudonym)
	s := &sweep{rules: rules.list(), now: now, shears: shears{r, e}, custody: custody{keyed: &e.keyed}, limit: rules.Size,
		cutoff: math.MinInt64, emptied: rank{started: math.MinInt64}}
	return s, s.learn(ctx)
}

// learn looks up the holds in force and how large the log is.
func (s *sweep) learn(ctx context.Context) (err error) {
	if s.custody.holds, err = selectHolds(ctx, s.shears.reader.db); err != nil {
		return err
	}
	used, err := selectUsed(ctx, s.shears.reader.db)
	s.excess = used - s.limit
	return err
}

// selectUsed returns how many octets of the database are in use.
func selectUsed(ctx context.Context, q queryer) (octets int64, err error) {
	const query = "SELECT (page_count - freelist_count) * page_size FROM pragma_page_count, pragma_freelist_count, pragma_page_size"
	err = q.QueryRowContext(ctx, query).Scan(&octets)
	return octets, err
}
