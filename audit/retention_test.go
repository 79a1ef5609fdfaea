package audit

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"postern/proxy"
)

const day = 24 * time.Hour

// visit is a session as tests of retention tell it.
type visit struct {
	id   proxy.SessionID
	at   time.Time
	user string
	peer string
	open bool // it has not ended
}

// play records v: a login, a listing, one message read and one deleted.
func (v visit) play(t testing.TB, l *Log) proxy.SessionID {
	t.Helper()
	if v.id == 0 {
		v.id = proxy.NewSessionID(v.at)
	}
	if v.peer == "" {
		v.peer = "192.0.2.7:4711"
	}
	begin := connect(v.id)
	begin.Peer = netip.MustParseAddrPort(v.peer)
	begin.TLS.Subject, begin.TLS.SHA256 = "CN="+v.user, "abcd"
	uidl := command(v.id, "UIDL", "1", "+OK")
	uidl.Text = "1 uid-1"
	retr := command(v.id, "RETR", "1", "+OK")
	retr.Message, retr.UID, retr.Octets, retr.Mail = 1, "uid-1", 100, &proxy.Mail{Subject: "hello", MessageID: "<1@example.org>"}
	events := []proxy.Event{begin, command(v.id, "USER", v.user, "+OK"), login(v.id, v.user, proxy.LoginOK), uidl, retr, dele(v.id, 1)}
	if !v.open {
		events = append(events, end(v.id))
	}
	for i := range events {
		events[i].Time = v.at.Add(time.Duration(i) * time.Second)
	}
	keep(t, l, events...)
	return v.id
}

// probe records connections that never became a session.
func probe(t testing.TB, l *Log, at time.Time) {
	t.Helper()
	keep(t, l, proxy.Event{Time: at, Kind: proxy.KindRefused, Peer: netip.MustParseAddrPort("[2001:db8:1:2::3]:0"), Listener: "pop3s", Detail: "silent", Count: 3})
}

// retain runs the rules and checks that a dry run had said so.
func retain(t testing.TB, l *Log) []Taken {
	t.Helper()
	if err := l.perform(t.Context(), &chore{do: func(w *writer) error { return w.index.save(w.store, w.began, w.seq, true) }}); err != nil {
		t.Fatal(err) // a dry run does not see what is younger than a second
	}
	plan, err := l.Reader().Plan(t.Context(), l.opts.Retention, l.opts.Key, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	took, err := l.Retain(t.Context(), "root")
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(plan, took) {
		t.Errorf("a dry run says\n%+v\nand the run took\n%+v", plan, took)
	}
	return took
}

// wantSound checks what verification checks of a log that retention has been at: every record is its leaf, or its hash is
// kept and a retention record tells of it; the tree is the one that was signed; and each session's row is what is
// left of its records.
func wantSound(t testing.TB, path string) {
	t.Helper()
	r, err := OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	ctx := context.Background()
	last, err := newestCheckpoint(ctx, r.db)
	if err != nil {
		t.Fatal(err)
	}
	root, err := tlog.TreeHash(last.Size, hashes{ctx, r.db})
	if err != nil || root != last.Root {
		t.Errorf("the tree is not the one that was signed: %v, %v", root, err)
	}
	final, err := r.LastSeq(ctx)
	if err != nil {
		t.Fatal(err)
	}
	told := readTold(t, r)
	present := wantLeaves(t, r, told)
	if missing := final - int64(len(present)); missing != told.deleted {
		t.Errorf("%d records are missing, retention tells of %d", missing, told.deleted)
	}
	for seq := int64(1); seq <= final; seq++ {
		if _, ok := present[seq]; !ok && !told.covers(RecordsDeleted, "", seq) {
			t.Errorf("nothing tells why record %d is missing", seq)
		}
	}
	wantRows(t, r)
}

// told is what retention records tell.
type told struct {
	spans   []Record
	deleted int64
}

func readTold(t testing.TB, r *Reader) (all told) {
	t.Helper()
	err := eachRecord(r, func(rec *Record) {
		if rec.Kind != proxy.KindRetention {
			return
		}
		if all.spans = append(all.spans, *rec); rec.Detail == RecordsDeleted {
			all.deleted += rec.Count
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func (a *told) covers(does, class string, seq int64) bool {
	return slices.ContainsFunc(a.spans, func(r Record) bool {
		var first, last int64
		fmt.Sscanf(r.Text, "%d-%d", &first, &last)
		return r.Detail == does && (class == "" || class == r.Verb) && first <= seq && seq <= last && seq < r.Seq
	})
}

func eachRecord(r *Reader, visit func(*Record)) error {
	for after := int64(0); ; {
		recs, err := r.Records(context.Background(), after, maxRecords, Filter{})
		if err != nil {
			return err
		}
		for i := range recs {
			visit(&recs[i])
			after = recs[i].Seq
		}
		if len(recs) < maxRecords {
			return nil
		}
	}
}

// wantLeaves checks each record against its leaf, and returns them all.
func wantLeaves(t testing.TB, r *Reader, told told) map[int64]Record {
	t.Helper()
	rows, err := r.db.Query("SELECT " + recordColumns + ", seed, hash FROM records ORDER BY seq")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	present, e := make(map[int64]Record), new(encoder)
	for rows.Next() {
		row := make(values, recordFields+2)
		if err := rows.Scan(row.cells()...); err != nil {
			t.Fatal(err)
		}
		var rec Record
		if err := rec.scan(row[:recordFields]); err != nil {
			t.Fatal(err)
		}
		present[rec.Seq] = rec
		leaf, err := e.leafOf(row[:recordFields], row[recordFields].([]byte))
		if err != nil || !slices.Equal(leaf[:], row[recordFields+1].([]byte)) {
			t.Errorf("record %d is not its leaf: %v", rec.Seq, err)
		}
		o, err := parseOpening(row[recordFields].([]byte))
		for g, class := range map[group]string{groupAddress: ClassAddresses, groupUser: ClassUsers, groupMessage: ClassMessages} {
			if o.lacks(g) && !told.covers(RecordsThinned, class, rec.Seq) {
				t.Errorf("nothing tells why record %d was thinned by %s: %v", rec.Seq, class, err)
			}
		}
	}
	return present
}

// wantRows checks each session's row against its records.
func wantRows(t testing.TB, r *Reader) {
	t.Helper()
	sessions := make(map[proxy.SessionID]*Session)
	err := eachRecord(r, func(rec *Record) {
		if rec.Session == 0 {
			return
		}
		s := sessions[rec.Session]
		if s == nil {
			s = new(Session)
			sessions[rec.Session] = s
		}
		s.apply(rec)
	})
	if err != nil {
		t.Fatal(err)
	}
	rows, err := r.db.Query("SELECT " + sessionColumns + " FROM sessions")
	if err != nil {
		t.Fatal(err)
	}
	all, err := collect(rows, func(s *Session) error { return s.scan(rows) })
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range all {
		s := sessions[row.ID]
		if s == nil || !reflect.DeepEqual(*s, row) && row.State == StateEnded {
			t.Errorf("the row of %s is\n%+v\nand its records add up to\n%+v", row.ID, row, s)
		}
		delete(sessions, row.ID)
	}
	for id := range sessions {
		t.Errorf("session %s has records and no row", id)
	}
}

func (t Taken) short() string {
	return fmt.Sprint(t.Class, " ", t.Records, "/", t.Sessions, " held ", t.Held)
}

func shorts(took []Taken) string {
	var all []string
	for _, t := range took {
		all = append(all, t.short())
	}
	return strings.Join(all, ", ")
}

func TestSessionsAreDeletedByAge(t *testing.T) {
	l := openLog(t, Options{Retention: Rules{Sessions: 365 * day}})
	now := time.Now()
	visit{at: now.Add(-400 * day), user: "ada"}.play(t, l)
	probe(t, l, now.Add(-370*day))
	long := visit{at: now.Add(-399 * day), user: "bob", open: true}.play(t, l)
	visit{at: now.Add(-398 * day), user: "eve", peer: "[2001:db8::7]:99"}.play(t, l)
	visit{at: now.Add(-364 * day), user: "ada"}.play(t, l)
	probe(t, l, now.Add(-364*day))
	if got := shorts(retain(t, l)); got != "sessions 15/2 held 0" {
		t.Errorf("a run took %s", got)
	}
	last := end(long)
	last.Time = now.Add(-366 * day)
	keep(t, l, last)
	if got := shorts(retain(t, l)); got != "sessions 7/1 held 0" {
		t.Errorf("once a long session had ended a run took %s", got)
	}
	if got := shorts(retain(t, l)); got != "sessions 0/0 held 0" {
		t.Errorf("one more run took %s", got)
	}
	path := l.opts.Path
	h := l.Health().Retention
	if h.Deleted != 22 || h.Oldest.After(now.Add(-363*day)) || h.LastRun.IsZero() || h.Err != "" {
		t.Errorf("health says %+v", h)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	wantSound(t, path)
	if got := ask(t, path, "SELECT group_concat(kind || ':' || user, ' ') FROM records WHERE kind IN ('retention', 'refused')"); got != "refused: retention:root retention:root" {
		t.Errorf("left are %s", got)
	}
	openLog(t, Options{Path: path}).Close()
	wantSound(t, path)
}

// left returns what is left of a record of a session, chosen by its verb or kind.
func left(t testing.TB, r *Reader, id proxy.SessionID, what string) Record {
	t.Helper()
	recs, err := r.Transcript(t.Context(), id, 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(recs, func(r Record) bool { return r.Verb == what || string(r.Kind) == what })
	if i < 0 {
		t.Fatalf("session %s has no %s", id, what)
	}
	return recs[i]
}

func TestFieldsAreThinnedByAge(t *testing.T) {
	l := openLog(t, Options{Retention: Rules{Messages: 30 * day, Addresses: 60 * day, Users: 90 * day}})
	now, r := time.Now(), l.Reader()
	oldest := visit{at: now.Add(-100 * day), user: "ada", peer: "[2001:db8:7:1::9]:99"}.play(t, l)
	older := visit{at: now.Add(-70 * day), user: "ada"}.play(t, l)
	old := visit{at: now.Add(-40 * day), user: "ada"}.play(t, l)
	young := visit{at: now.Add(-20 * day), user: "ada"}.play(t, l)
	living := visit{at: now.Add(-99 * day), user: "ada", open: true}.play(t, l)
	probe(t, l, now.Add(-100*day))
	waitFor(t, "counts of the session that lives", func() bool { s, err := r.Session(t.Context(), living); return err == nil && s.Commands == 5 })
	if got := shorts(retain(t, l)); got != "messages 9/3 held 0, addresses 15/2 held 0, users 7/1 held 0" {
		t.Errorf("a run took %s", got)
	}
	if got := shorts(retain(t, l)); got != "messages 0/0 held 0, addresses 0/0 held 0, users 0/0 held 0" {
		t.Errorf("one more run took %s", got)
	}
	for _, c := range []struct {
		id                 proxy.SessionID
		uid, peer, user    string
		subject, text, arg string
	}{
		{oldest, "", "[2001:db8:7::]:0", "~", "", "", ""},
		{older, "", "192.0.2.0:0", "ada", "CN=ada", "", "ada"},
		{old, "", "192.0.2.7:4711", "ada", "CN=ada", "", "ada"},
		{young, "uid-1", "192.0.2.7:4711", "ada", "CN=ada", "1 uid-1", "ada"},
		{living, "uid-1", "192.0.2.7:4711", "ada", "CN=ada", "1 uid-1", "ada"},
	} {
		retr, uidl, begin := left(t, r, c.id, "RETR"), left(t, r, c.id, "UIDL"), left(t, r, c.id, "connect")
		if retr.UID != c.uid || retr.Peer.String() != c.peer || (retr.Mail != nil) != (c.uid != "") || !strings.HasPrefix(retr.User, c.user) {
			t.Errorf("%s: RETR is %+v", c.id, retr)
		}
		if uidl.Text != c.text || begin.TLS.Subject != c.subject || left(t, r, c.id, "USER").Arg != c.arg || begin.Text != "ready" {
			t.Errorf("%s: UIDL is %+v, connect %+v", c.id, uidl, begin)
		}
		s, err := r.Session(t.Context(), c.id)
		if err != nil || s.Peer.String() != c.peer || s.User != retr.User || s.TLS.Subject != c.subject || s.Commands != 5 {
			t.Errorf("%s: the row is %+v, %v", c.id, s, err)
		}
	}
	path := l.opts.Path
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	wantSound(t, path)
}

// holdIt adds a hold.
func holdIt(t testing.TB, l *Log, s Scope) Hold {
	t.Helper()
	h, err := l.AddHold(t.Context(), Hold{Scope: s, By: "root", Reason: "case 7"})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestHoldsKeepFromEveryRule(t *testing.T) {
	now := time.Now()
	at := now.Add(-100 * day)
	all := Rules{Sessions: 40 * day, Messages: 30 * day, Addresses: 30 * day, Users: 30 * day, Size: 1}
	tried := func(t *testing.T, l *Log) proxy.SessionID { // somebody tried her name before his own
		id := proxy.NewSessionID(at)
		events := []proxy.Event{connect(id), login(id, "ada", proxy.LoginFailed), login(id, "bob", proxy.LoginOK), end(id)}
		for i := range events {
			events[i].Time = at
		}
		keep(t, l, events...)
		return id
	}
	for _, c := range []struct {
		name  string
		scope Scope
		held  bool
	}{
		{"user", Scope{User: "ada"}, true},
		{"user in capitals", Scope{User: "ADA"}, true},
		{"another user", Scope{User: "eve"}, false},
		{"period", Scope{Since: at.Add(-day), Until: at.Add(day)}, true},
		{"period that begins in its midst", Scope{Since: at.Add(3 * time.Second)}, true},
		{"period that ends in its midst", Scope{Until: at.Add(time.Second)}, true},
		{"period before", Scope{Until: at}, false},
		{"period after", Scope{Since: at.Add(time.Hour), Until: now}, false},
		{"user and period", Scope{User: "ada", Since: at.Add(-day)}, true},
		{"user and period after", Scope{User: "ada", Since: at.Add(day)}, false},
		{"another user and period", Scope{User: "eve", Since: at.Add(-day)}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := openLog(t, Options{Retention: all})
			id := visit{at: at, user: "ada"}.play(t, l)
			before := visitOf(t, l.Reader(), id)
			h := holdIt(t, l, c.scope)
			retain(t, l)
			if _, err := l.Reader().Session(t.Context(), id); (err == nil) != c.held {
				t.Errorf("its session: %v", err)
			}
			if got := visitOf(t, l.Reader(), id); c.held && got != before {
				t.Errorf("what was held is\n%s\nand was\n%s", got, before)
			}
			if _, err := l.ReleaseHold(t.Context(), h.ID, "root", "closed"); err != nil {
				t.Fatal(err)
			}
			retain(t, l)
			if got := visitOf(t, l.Reader(), id); got != "[]" {
				t.Errorf("after its release is left %s", got)
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			wantSound(t, l.opts.Path)
		})
	}
	t.Run("a login that failed", func(t *testing.T) {
		l := openLog(t, Options{Retention: all})
		id := tried(t, l)
		before := visitOf(t, l.Reader(), id)
		holdIt(t, l, Scope{User: "ada"})
		retain(t, l)
		if got := visitOf(t, l.Reader(), id); got != before {
			t.Errorf("what was held is\n%s\nand was\n%s", got, before)
		}
	})
}

// visitOf returns all that the log has of a session's records.
func visitOf(t testing.TB, r *Reader, id proxy.SessionID) string {
	t.Helper()
	recs, err := r.Transcript(t.Context(), id, 0, maxRecords)
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(recs)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// Who was thinned to a pseudonym can be held by the name, or by the pseudonym, which also holds what still has the name.
func TestHoldsByPseudonym(t *testing.T) {
	now := time.Now()
	for _, by := range []string{"ada", "her pseudonym"} {
		l := openLog(t, Options{Retention: Rules{Users: 90 * day}})
		old := visit{at: now.Add(-100 * day), user: "ada"}.play(t, l)
		young := visit{at: now.Add(-80 * day), user: "ada"}.play(t, l)
		visit{at: now.Add(-80 * day), user: "bob"}.play(t, l)
		retain(t, l)
		if s, err := l.Reader().Session(t.Context(), old); err != nil || s.User == "ada" {
			t.Fatalf("%+v, %v", s, err)
		} else if by != "ada" {
			by = s.User
		}
		holdIt(t, l, Scope{User: by})
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		l = openLog(t, Options{Path: l.opts.Path, Retention: Rules{Sessions: 50 * day, Users: 40 * day}})
		before := visitOf(t, l.Reader(), young)
		if got := shorts(retain(t, l)); got != "sessions 7/1 held 2, users 0/0 held 2" {
			t.Errorf("by %s: a run took %s", by, got)
		}
		if got := visitOf(t, l.Reader(), young); got != before {
			t.Errorf("by %s: held is %s", by, got)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		wantSound(t, l.opts.Path)
	}
}

// octetsOfFiles returns how large the database and its WAL are.
func octetsOfFiles(t *testing.T, path string) (db, wal int64) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if w, err := os.Stat(path + "-wal"); err == nil {
		wal = w.Size()
	}
	return info.Size(), wal
}

func TestSpaceIsGivenBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.db")
	fillOld(t, path, 3000, 400*day)
	before, _ := octetsOfFiles(t, path)
	l := openLog(t, Options{Path: path, Retention: Rules{Sessions: 365 * day}})
	visit{at: time.Now().Add(-day), user: "ada"}.play(t, l)
	if got := shorts(retain(t, l)); got != "sessions 30000/3000 held 0" {
		t.Errorf("a run took %s", got)
	}
	after, wal := octetsOfFiles(t, path)
	if after > before/4 || wal > 64<<10 { // a commit may have come since it was emptied
		t.Errorf("the database has %d octets and had %d; its WAL has %d", after, before, wal)
	}
	if n := ask(t, path, "SELECT count(*) FROM pruned"); len(n) > 3 {
		t.Errorf("%s hashes of deleted records are kept", n)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	wantSound(t, path)
	openLog(t, Options{Path: path}).Close()
}

// A session without records, which has its row only, does not count in the span that a run has taken.
func TestTakenSpan(t *testing.T) {
	var all Taken
	for _, u := range []unit{{session: 1, first: 10, final: 12, records: 3}, {session: 2}, {session: 3, first: 20, final: 21, records: 2}} {
		all.add(&u, u.first, u.final, u.records, 0)
	}
	if all.First != 10 || all.Last != 21 || all.Records != 5 {
		t.Errorf("%+v", all)
	}
}
