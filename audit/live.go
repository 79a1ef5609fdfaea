package audit

import (
	"context"
	"errors"
	"time"

	"postern/proxy"
)

const (
	// countsEvery is how old the running counts in a live session's row may be.
	countsEvery = time.Second
	// countsAtOnce bounds the rows one commit rewrites only for their counts.
	countsAtOnce = 256
)

// live is the writer's memory of the sessions that are open. It is ahead of the table by the batch being
// written, and forgotten when a commit fails: what is needed is then read from the records.
type live struct {
	reader *Reader
	open   map[proxy.SessionID]*entry
	urgent []*entry // to be saved by this commit
	counts []due    // to be saved when due, in order
}

// entry is an open session and how its row lags behind.
type entry struct {
	Session
	urgent bool // in live.urgent
	dirty  bool // the row is older than this
	queued bool // in live.counts
}

type due struct {
	at time.Time
	*entry
}

func newLive(r *Reader) *live {
	return &live{reader: r, open: map[proxy.SessionID]*entry{}}
}

func (l *live) reset() {
	clear(l.open)
	l.urgent, l.counts = nil, nil
}

// apply adds what r tells to its session, and stamps r with whose session it is.
func (l *live) apply(r *Record, now time.Time) error {
	e := l.open[r.Session]
	if e == nil {
		var err error
		if e, err = l.find(r.Session, r.Kind == proxy.KindConnect); err != nil {
			return err
		}
	}
	fact := e.Session.apply(r)
	e.stamp(r)
	l.mark(e, fact || e.State == StateEnded, now)
	return nil
}

// find makes the entry of a session: empty if it is new, else from its records.
func (l *live) find(id proxy.SessionID, isNew bool) (*entry, error) {
	e := new(entry)
	if !isNew {
		s, err := rebuild(l.reader, id)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return nil, err
		}
		e.Session = s
	}
	l.open[id] = e
	return e, nil
}

// knows tells whether the log has a record of the session.
func (l *live) knows(id proxy.SessionID) (bool, error) {
	e := l.open[id]
	if e == nil {
		var err error
		if e, err = l.find(id, false); err != nil {
			return false, err
		}
	}
	if e.ID == 0 {
		delete(l.open, id)
	}
	return e.ID != 0, nil
}

// mark notes that the row of e is to be rewritten, by this commit or within a second.
func (l *live) mark(e *entry, urgent bool, now time.Time) {
	e.dirty = true
	switch {
	case urgent && !e.urgent:
		e.urgent = true
		l.urgent = append(l.urgent, e)
	case !urgent && !e.queued:
		e.queued = true
		l.counts = append(l.counts, due{now.Add(countsEvery), e})
	}
}

// save writes the rows of which a fact changed, and those whose counts have waited long enough.
func (l *live) save(s *store, now time.Time) error {
	for _, e := range l.urgent {
		if err := l.saveOne(s, e); err != nil {
			return err
		}
	}
	l.urgent = l.urgent[:0]
	for range countsAtOnce {
		if !l.isDue(now) {
			return nil
		}
		e := l.counts[0].entry
		l.counts = l.counts[1:]
		e.queued = false
		if err := l.saveOne(s, e); err != nil {
			return err
		}
	}
	return nil
}

func (l *live) saveOne(s *store, e *entry) error {
	if !e.dirty {
		return nil
	}
	if err := s.upsert(&e.Session); err != nil {
		return err
	}
	e.urgent, e.dirty = false, false
	if e.State == StateEnded {
		delete(l.open, e.ID)
	}
	return nil
}

// nextDue returns when counts are to be saved next.
func (l *live) nextDue() (at time.Time, ok bool) {
	if len(l.counts) == 0 {
		return at, false
	}
	return l.counts[0].at, true
}

func (l *live) isDue(now time.Time) bool {
	at, ok := l.nextDue()
	return ok && !now.Before(at)
}

// rebuild makes a session anew from its records. What the first version noted of lost ones stands in its row only.
func rebuild(r *Reader, id proxy.SessionID) (Session, error) {
	row, err := r.Session(context.Background(), id)
	if err != nil {
		return Session{}, err
	}
	var s Session
	err = replay(context.Background(), r, id, func(rec *Record) { s.apply(rec) })
	s.Partial = s.Partial || row.Partial
	return s, err
}

// replay visits all records of a session, oldest first.
func replay(ctx context.Context, r *Reader, id proxy.SessionID, visit func(*Record)) error {
	return replayAfter(ctx, r, id, 0, visit)
}

// replayAfter visits the records of a session after the given number, oldest first.
func replayAfter(ctx context.Context, r *Reader, id proxy.SessionID, after int64, visit func(*Record)) error {
	for {
		recs, err := r.Transcript(ctx, id, after, tailBatch)
		if err != nil {
			return err
		}
		for i := range recs {
			visit(&recs[i])
		}
		if len(recs) < tailBatch {
			return nil
		}
		after = recs[len(recs)-1].Seq
	}
}
