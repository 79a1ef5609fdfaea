package audit

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mattn/go-sqlite3"
)

const (
	// indexRecords and indexEvery bound how many records, or for how long, wait to be found by their session's index.
	indexRecords = 2048
	indexEvery   = time.Second
)

// sessionIndex writes the table session_records, by which a session's records are found. It follows behind the
// records: an index of SQLite's own would rewrite a page for each session in each commit, which cost two thirds of
// what 64 sessions paid for a record. Numbers are gathered and written many at a time, in order of sessions.
//
// The row metaIndexed tells up to which record that is done; readers walk the few behind it. It is the writer's, and
// like the sealer ahead of the table by the batch being written.
type sessionIndex struct {
	waiting []place
	since   time.Time // when the first of them began to wait
}

// place is a record of a session.
type place struct{ session, record int64 }

// add notes a record.
func (x *sessionIndex) add(r *Record, now time.Time) {
	if r.Session == 0 {
		return
	}
	if len(x.waiting) == 0 {
		x.since = now
	}
	x.waiting = append(x.waiting, place{int64(r.Session), r.Seq})
}

// nextDue returns when what waits is to be written.
func (x *sessionIndex) nextDue() (at time.Time, ok bool) {
	return x.since.Add(indexEvery), len(x.waiting) > 0
}

// save writes what waits if that is due, or at once. The newest record is number last.
func (x *sessionIndex) save(s *store, now time.Time, last int64, atOnce bool) error {
	at, waits := x.nextDue()
	if !waits || !atOnce && len(x.waiting) < indexRecords && now.Before(at) {
		return nil
	}
	slices.SortFunc(x.waiting, func(a, b place) int {
		return cmp.Or(cmp.Compare(a.session, b.session), cmp.Compare(a.record, b.record))
	})
	for some := range slices.Chunk(x.waiting, placesAtOnce) {
		if err := s.insertPlaces(some); err != nil {
			return err
		}
	}
	x.waiting = x.waiting[:0]
	if cap(x.waiting) > 2*indexRecords {
		x.waiting = nil
	}
	return s.note(metaIndexed, strconv.FormatInt(last, 10))
}

// load takes up the records that are not in the table yet.
func (x *sessionIndex) load(s *store) error {
	rows, err := s.rows("SELECT session, seq FROM records WHERE seq > ("+selectIndexed+") AND session <> 0 ORDER BY seq", 2)
	if err != nil {
		return err
	}
	x.waiting = x.waiting[:0]
	for _, row := range rows {
		x.waiting = append(x.waiting, place{row[0].(int64), row[1].(int64)})
	}
	return nil
}

// selectIndexed asks up to which record session_records is complete.
const selectIndexed = "SELECT ifnull(max(CAST(value AS INTEGER)), 0) FROM meta WHERE name = '" + metaIndexed + "'"

// ofSession asks for the records of one session that w chooses, with a number in (after, last], oldest first.
func ofSession(session, after, last int64, limit int, w *where) (query string, args []any) {
	found, behind := w.copy(), w.copy()
	found.and("session_id = ? AND record > ? AND record <= ?", session, after, last)
	behind.and("session = ? AND seq > max(?, ("+selectIndexed+")) AND seq <= ?", session, after, last)
	query = "SELECT * FROM (SELECT " + recordColumns + " FROM session_records CROSS JOIN records ON seq = record" + found.String() +
		" ORDER BY record LIMIT ?) UNION ALL SELECT * FROM (SELECT " + recordColumns + " FROM records" + behind.String() +
		" ORDER BY seq LIMIT ?) ORDER BY seq LIMIT ?"
	return query, slices.Concat(found.args, []any{limit}, behind.args, []any{limit, limit})
}

// placesAtOnce is how many places a statement inserts: 0.29 µs each, where one by one they cost 0.67.
const placesAtOnce = 32

func insertPlaces(n int) string {
	return "INSERT INTO session_records(session_id, record) VALUES(?, ?)" + strings.Repeat(", (?, ?)", n-1)
}

// insertPlaces adds records to their sessions', at most placesAtOnce.
func (s *store) insertPlaces(some []place) error {
	if len(some) == placesAtOnce {
		return s.insertWith(s.places, some)
	}
	for i := range some {
		if err := s.insertWith(s.place, some[i:i+1]); err != nil {
			return err
		}
	}
	return nil
}

func (s *store) insertWith(stmt *sqlite3.SQLiteStmt, some []place) error {
	s.args = s.args[:0]
	s.boxes.reset()
	for _, p := range some {
		s.args = append(s.args, s.boxes.number(p.session), s.boxes.number(p.record))
	}
	return s.run(stmt)
}
