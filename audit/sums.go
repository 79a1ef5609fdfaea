package audit

import (
	"bytes"
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strings"
	"time"

	"postern/proxy"
)

// Places in recordColumns of fields that sessions are made from; others are in leaf.go.
const (
	placeSession   = 1
	placeTime      = 2
	placeStatus    = 6
	placeLocal     = 9
	placePartial   = 10
	placeMessage   = 11
	placeOctets    = 13
	placeDuration  = 15
	placeMechanism = 17
	placeLogin     = 18
	placeSide      = 19
	placeDetail    = 20
	placeCount     = 21
	placeListener  = 24
	placeBackend   = 25
	placeReceived  = 27
	placeSent      = 28
)

// fill reads what verification needs of a row as the driver gives it: what sessions are made from, and what the
// log tells of itself. Fields of another type are left empty: their leaf tells of them.
func (r *Record) fill(row []driver.Value) error {
	text := func(place int) string { s, _ := row[place].(string); return s }
	number := func(place int) int64 { n, _ := row[place].(int64); return n }
	*r = Record{
		Seq: number(placeSeq), Session: proxy.SessionID(number(placeSession)), Time: moment(number(placeTime)),
		Kind: proxy.Kind(text(placeKind)), Verb: text(placeVerb), Arg: text(placeArg), Status: text(placeStatus), Text: text(placeText),
		Local: number(placeLocal) != 0, Partial: number(placePartial) != 0, Message: number(placeMessage), UID: text(placeUID),
		Octets: number(placeOctets), Duration: time.Duration(number(placeDuration)),
		User: text(placeUser), Mechanism: text(placeMechanism), Login: text(placeLogin),
		Side: text(placeSide), Detail: text(placeDetail), Count: number(placeCount),
		Listener: text(placeListener), Backend: text(placeBackend), Received: number(placeReceived), Sent: number(placeSent),
	}
	if ip, ok := row[placeIP].([]byte); ok {
		addr, _ := netip.AddrFromSlice(ip)
		r.Peer = netip.AddrPortFrom(addr, uint16(number(placePort)))
	}
	c := client{subject: text(placeSubject), fingerprint: text(placeFingerprint)}
	if row[placeTLS] != nil || row[placeBackendTLS] != nil {
		if err := (column[TLS]{&r.TLS}).Scan(row[placeTLS]); err != nil {
			return fmt.Errorf("tls: %w", err)
		}
		if err := (column[TLS]{&r.BackendTLS}).Scan(row[placeBackendTLS]); err != nil {
			return fmt.Errorf("backend_tls: %w", err)
		}
	}
	c.complete(&r.TLS)
	return nil
}

// sums holds the rows of sessions against what their records add up to. Rows are read one by one as the sessions
// end; one that differs is looked at again together with all its records, in one transaction.
type sums struct {
	found   *findings
	lens    *lens
	open    map[proxy.SessionID]*tally
	row     [sessionFields]driver.Value
	values  []driver.Value
	boxes   boxes // of values
	proven  int64
	placed  int64 // records of sessions
	indexed int64 // the last record that the index of sessions has, as far as was looked
	sealed  int64 // the first record of the first run that knew of leaves: rows of older sessions may say more than records
}

// tally is a session as its records make it, so far.
type tally struct {
	Session
	whole bool // from its first record on
}

var (
	sessionNames = strings.Split(sessionColumns, ", ")
	selectRow    = "SELECT " + sessionColumns + " FROM sessions WHERE id = ?"
	selectOf     = "SELECT " + recordColumns + " FROM session_log CROSS JOIN records ON seq = record WHERE session_id = ? ORDER BY record"
)

// sessionFields is how many columns a session's row has.
const sessionFields = 30

// Places in sessionColumns.
const (
	placeOfTLS        = 9
	placeOfPartial    = 26
	placeOfBackendTLS = 27
)

// apply adds what r tells to its session, and checks the row of one that ends.
func (s *sums) apply(r *Record) error {
	if r.Session == 0 {
		return nil
	}
	t := s.open[r.Session]
	if t == nil {
		t = &tally{whole: r.Kind == proxy.KindConnect}
		s.open[r.Session] = t
	}
	t.Session.apply(r)
	if r.Kind != proxy.KindEnd {
		return nil
	}
	delete(s.open, r.Session)
	if !t.whole {
		return s.lookAgain(r.Session)
	}
	return s.check(t)
}

// check looks at the row of a session that has ended.
func (s *sums) check(t *tally) error {
	row, err := s.read(t.ID)
	if err != nil {
		return err
	}
	if row != nil && s.differs(&t.Session, row) < 0 {
		s.proven++
		return nil
	}
	return s.lookAgain(t.ID)
}

// read returns a session's row, nil if there is none.
func (s *sums) read(id proxy.SessionID) (row []driver.Value, err error) {
	err = s.lens.each(selectRow, s.row[:], func() error { row = s.row[:]; return nil }, int64(id))
	return row, err
}

// differs returns the place of the first value of a row that is not what the records add up to, -1 if there is none.
func (s *sums) differs(t *Session, row []driver.Value) int {
	s.values = t.appendValues(s.values[:0], &s.boxes)
	for place, want := range s.values {
		if !alike(row[place], want) && !(isJSON(place) && sameFacts(row[place], want)) {
			return place
		}
	}
	return -1
}

// isJSON tells which columns of sessions have facts of TLS.
func isJSON(place int) bool { return place == placeOfTLS || place == placeOfBackendTLS }

// sameFacts compares facts of TLS by what they say. The first version kept octets that are no text in another spelling of
// JSON than it has when it was read and is written again.
func sameFacts(a, b driver.Value) bool {
	var facts [2]*TLS
	for i, v := range []driver.Value{a, b} {
		if err := (column[TLS]{&facts[i]}).Scan(v); err != nil {
			return false
		}
	}
	return facts[0] != nil && facts[1] != nil && *facts[0] == *facts[1]
}

func alike(a, b driver.Value) bool {
	x, isOctets := a.([]byte)
	y, are := b.([]byte)
	if isOctets || are {
		return isOctets && are && bytes.Equal(x, y)
	}
	return a == b
}

// finish checks the rows of the sessions that have not ended, and finds rows without records.
func (s *sums) finish() error {
	for id := range s.open {
		if err := s.lookAgain(id); err != nil {
			return err
		}
	}
	return nil
}

// lookAgain compares a session's row with all its records as of one moment. A session that lives has a row that was
// true not long ago.
func (s *sums) lookAgain(id proxy.SessionID) error {
	return s.lens.within(func() error {
		row, err := s.read(id)
		if err != nil {
			return err
		}
		row = append([]driver.Value(nil), row...)
		l := look{sums: s, row: row, place: -1}
		var fields [recordFields]driver.Value
		err = s.lens.each(selectOf, fields[:], func() error { return l.add(fields[:]) }, int64(id))
		if err != nil {
			return err
		}
		l.conclude(id)
		return nil
	})
}

// look compares one row with each state that the session was in.
type look struct {
	*sums
	row     []driver.Value
	session Session
	first   int64
	matched bool
	place   int // of the value in which the row differs from the newest state
}

func (l *look) add(fields []driver.Value) error {
	var r Record
	if err := r.fill(fields); err != nil {
		return nil // told of already, as this record is
	}
	if l.first == 0 {
		l.first = r.Seq
	}
	l.session.apply(&r)
	if l.row == nil {
		return nil
	}
	if l.session.State == StateEnded {
		l.matched = false // a row is not behind an end
	}
	if l.place = l.differs(&l.session, l.row); l.place == placeOfPartial && l.first < l.sealed && l.row[l.place] == int64(1) {
		l.row[l.place] = int64(0)
		l.place = l.differs(&l.session, l.row)
	}
	l.matched = l.matched || l.place < 0
	return nil
}

// conclude says what the look has shown.
func (l *look) conclude(id proxy.SessionID) {
	if l.matched {
		l.proven++
		return
	}
	if l.row == nil && l.first == 0 {
		return // retention has deleted it since
	}
	f := Finding{Table: "sessions", Key: "id " + id.String(), What: wasAltered, at: behindAll}
	switch {
	case l.first == 0:
		f.What, f.Detail = wasInserted, "it has no record"
	case l.row == nil:
		f.What = wasRemoved
	default:
		f.Detail = sessionNames[max(l.place, 0)] + " is not what its records add up to"
	}
	l.found.add(f)
}

// orphanBatch bounds the rows that are looked at in one transaction.
const orphanBatch = 4096

// orphans finds rows of sessions that have no record.
func (s *sums) orphans(ctx context.Context) error {
	const query = `SELECT id, EXISTS(SELECT 1 FROM session_log WHERE session_id = id)
		FROM (SELECT id FROM sessions WHERE id > ? ORDER BY id LIMIT ?)`
	var row [2]driver.Value
	for after, more := int64(math.MinInt64), true; more; {
		var lone []proxy.SessionID
		more = false
		err := s.lens.each(query, row[:], func() error {
			after, more = row[0].(int64), true // the primary key is an integer
			if row[1] == int64(0) {
				lone = append(lone, proxy.SessionID(after))
			}
			return nil
		}, after, int64(orphanBatch))
		for _, id := range lone {
			if err == nil {
				err = s.lookAgain(id)
			}
		}
		if err := errors.Join(err, ctx.Err()); err != nil {
			return err
		}
	}
	return nil
}

// hasStrays tells whether the index of sessions may have entries that are of no record: it has not as many as there are
// records up to number last that it ought to have, each of which was looked for in it.
func (s *sums) hasStrays(last int64) (bool, error) {
	const query = `SELECT (SELECT count(*) FROM session_records) <> ? - (SELECT count(*) FROM records
		WHERE seq > (` + selectIndexed + `) AND seq <= ? AND session <> 0)`
	n, err := s.lens.number(query, s.placed, last)
	return n != 0, err
}

// strays finds them.
func (s *sums) strays(ctx context.Context) error {
	const query = `SELECT session_id, record, EXISTS(SELECT 1 FROM records WHERE seq = record AND session = session_id)
		FROM (SELECT session_id, record FROM session_records WHERE (session_id, record) > (?, ?) ORDER BY session_id, record LIMIT ?)`
	var row [3]driver.Value
	id, record := int64(math.MinInt64), int64(math.MinInt64)
	for more := true; more; {
		more = false
		err := s.lens.each(query, row[:], func() error {
			var isID, isRecord bool
			id, isID = row[0].(int64)
			record, isRecord = row[1].(int64)
			if !isID || !isRecord {
				return fmt.Errorf("session_records: %v, %v are no numbers", row[0], row[1])
			}
			if more = true; row[2] != int64(0) {
				s.indexed = max(s.indexed, record)
				return nil
			}
			s.found.add(Finding{Table: "session_records", Key: placeKey(id, record), What: wasInserted, at: behindAll})
			return nil
		}, id, record, int64(orphanBatch))
		if err := errors.Join(err, ctx.Err()); err != nil {
			return err
		}
	}
	return nil
}

// placeKey names an entry of the index of sessions.
func placeKey(session, record int64) string {
	return fmt.Sprintf("session_id %v record %d", proxy.SessionID(session), record)
}
