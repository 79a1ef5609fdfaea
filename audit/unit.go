package audit

import (
	"cmp"
	"context"
	"math"
)

// unit is what retention takes or leaves as a whole: a session, or a record of no session.
type unit struct {
	session       int64 // 0: a record of no session
	started, last int64 // when its first record was made, and its last, in Unix nanoseconds
	live          bool  // it has not ended, or not all of its records are in the index yet
	records       int64
	first, final  int64 // their numbers
	octets        int64 // about, that they take up
}

// rank is where a unit stands in the order of age: by its start, sessions before records of none.
type rank struct{ started, alone, number int64 }

func (u *unit) rank() rank {
	if u.session == 0 {
		return rank{u.started, 1, u.first}
	}
	return rank{u.started, 0, u.session}
}

func (r rank) compare(q rank) int {
	return cmp.Or(cmp.Compare(r.started, q.started), cmp.Compare(r.alone, q.alone), cmp.Compare(r.number, q.number))
}

// unitsAtOnce bounds the units that are read in one transaction.
const unitsAtOnce = 128

// aloneKinds chooses the records of no session that retention may delete. It is the condition of the index
// records_alone, to the letter, or SQLite does not see that.
const aloneKinds = "session = 0 AND kind NOT IN ('start', 'key', 'retention', 'hold', 'gap', 'state')"

// octetsOf is less than what a record's row, its hash and its places in indices take up: a rule by size that counts with it
// takes rather too much at once than comes again.
const octetsOf = `150 + length(arg) + length(text) + length(uid) + length(user) + length(detail) + length(listener) + length(backend) +
	ifnull(length(tls), 0) + ifnull(length(backend_tls), 0) + ifnull(length(mail), 0) + length(subject) + length(fingerprint)`

const selectSessionUnits = `SELECT s.id, s.started, max(s.ended, ifnull(max(r.time), 0)),
	s.ended = 0 OR s.id IN (SELECT session FROM records WHERE seq > (` + selectIndexed + `)), count(r.seq), ifnull(min(r.seq), 0),
	ifnull(max(r.seq), 0), ifnull(sum(` + octetsOf + `), 0)
	FROM (SELECT id, started, ended FROM sessions WHERE (started, id) > (?, ?) AND started < ? ORDER BY started, id LIMIT ?) s
	LEFT JOIN session_records p ON p.session_id = s.id LEFT JOIN records r ON r.seq = p.record
	GROUP BY s.started, s.id ORDER BY s.started, s.id`

const selectAloneUnits = "SELECT 0, time, time, 0, 1, seq, seq, " + octetsOf + " FROM records WHERE " + aloneKinds +
	" AND (time, seq) > (?, ?) AND time < ? ORDER BY time, seq LIMIT ?"

// units yields, the oldest first, the units that began at or after from and before the other moment. None is read after do
// returned false.
func units(ctx context.Context, q queryer, from, before int64, do func(*unit) (bool, error)) error {
	sessions := stream{query: selectSessionUnits, after: rank{started: from, number: math.MinInt64}}
	alone := stream{query: selectAloneUnits, after: rank{started: from, number: math.MinInt64}}
	for {
		for _, s := range []*stream{&sessions, &alone} {
			if err := s.fill(ctx, q, before); err != nil {
				return err
			}
		}
		next := &sessions
		if len(sessions.read) == 0 || len(alone.read) > 0 && alone.read[0].rank().compare(sessions.read[0].rank()) < 0 {
			next = &alone
		}
		if len(next.read) == 0 {
			return nil
		}
		u := next.read[0]
		next.read = next.read[1:]
		if more, err := do(&u); err != nil || !more {
			return err
		}
	}
}

// stream reads units of one kind, some at a time.
type stream struct {
	query string
	after rank // the last that was read
	read  []unit
	ended bool
}

func (s *stream) fill(ctx context.Context, q queryer, before int64) error {
	if len(s.read) > 0 || s.ended {
		return nil
	}
	rows, err := q.QueryContext(ctx, s.query, s.after.started, s.after.number, before, unitsAtOnce)
	if err != nil {
		return err
	}
	s.read, err = collect(rows, func(u *unit) error {
		return rows.Scan(&u.session, &u.started, &u.last, &u.live, &u.records, &u.first, &u.final, &u.octets)
	})
	if err != nil {
		return err
	}
	if s.ended = len(s.read) < unitsAtOnce; len(s.read) > 0 {
		s.after = s.read[len(s.read)-1].rank()
	}
	return nil
}
