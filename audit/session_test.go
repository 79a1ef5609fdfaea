package audit

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postern/proxy"
)

func TestSessionFollowsItsRecords(t *testing.T) {
	l := openLog(t, Options{})
	id := newID()
	retr := command(id, "RETR", "1", "+OK")
	retr.Octets = 100
	cut := retr
	cut.Partial, cut.Octets = true, 50
	fate := proxy.Event{Session: id, Time: time.Now(), Kind: proxy.KindDelete, Message: 1, Detail: proxy.DeleteCommitted}
	undone := fate
	undone.Detail = proxy.DeleteRolledBack
	anomaly := proxy.Event{Session: id, Time: time.Now(), Kind: proxy.KindAnomaly, Detail: "long_line", Side: proxy.SideClient}
	failed := login(id, "eve", proxy.LoginFailed)
	opened := proxy.Event{Session: id, Time: time.Now(), Kind: proxy.KindOpened, Message: 1}
	begin, last := connect(id), end(id)
	keep(t, l, begin, failed, login(id, "ann", proxy.LoginOK), opened, retr, opened, cut, anomaly, fate, undone)

	s, err := l.Reader().Session(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if s.State != StateAuthorized || s.User != "ann" || !s.End.IsZero() {
		t.Errorf("live: %+v", s)
	}
	keep(t, l, last)
	s, err = l.Reader().Session(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if !s.Start.Equal(begin.Time) || !s.End.Equal(last.Time) || *s.TLS != TLS(*begin.TLS) {
		t.Errorf("start %v, end %v, TLS %+v", s.Start, s.End, s.TLS)
	}
	s.Start, s.End, s.TLS = time.Time{}, time.Time{}, nil
	want := Session{
		ID: id, State: StateEnded, Peer: begin.Peer, Listener: "pop3s", Backend: "127.0.0.1:110", Greeting: "ready",
		User: "ann", Mechanism: "USER", Login: proxy.LoginOK, LoginsFailed: 1,
		Commands: 4, Opened: 2, Retrieved: 1, Deleted: 1, RolledBack: 1, Anomalies: 1, Octets: 150,
		Received: 64, Sent: 4096, EndSide: proxy.SideClient, EndReason: "quit",
	}
	if s != want {
		t.Errorf("got  %+v\nwant %+v", s, want)
	}
	if _, err := l.Reader().Session(t.Context(), newID()); !errors.Is(err, ErrNotFound) {
		t.Errorf("no such session: %v", err)
	}
}

func TestCountsOfLiveSessionsFollow(t *testing.T) {
	l := openLog(t, Options{})
	id := newID()
	keep(t, l, connect(id), command(id, "NOOP", "", "+OK"))
	keep(t, l, command(id, "NOOP", "", "+OK")) // and then silence
	deadline := time.Now().Add(5 * countsEvery)
	for {
		s, err := l.Reader().Session(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if s.Commands == 2 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the row says %d commands, want 2", s.Commands)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func TestSessionsAndSnapshot(t *testing.T) {
	l := openLog(t, Options{})
	r := l.Reader()
	var ids []proxy.SessionID
	begin := time.Now().Add(-time.Hour)
	for i := range 10 {
		at := begin.Add(time.Duration(i) * time.Minute)
		id := proxy.NewSessionID(at)
		ids = append(ids, id)
		ev := connect(id)
		ev.Time = at
		keep(t, l, ev, login(id, []string{"ann", "bob"}[i%2], proxy.LoginOK))
		if i < 7 {
			keep(t, l, end(id))
		}
	}
	for _, c := range []struct {
		name string
		q    SessionQuery
		want []int
	}{
		{"all", SessionQuery{}, []int{9, 8, 7, 6, 5, 4, 3, 2, 1, 0}},
		{"page", SessionQuery{Limit: 3, Before: ids[5]}, []int{4, 3, 2}},
		{"user", SessionQuery{User: "ann", Limit: 2}, []int{8, 6}},
		{"live", SessionQuery{Live: true}, []int{9, 8, 7}},
		{"since", SessionQuery{Since: begin.Add(8 * time.Minute)}, []int{9, 8}},
		{"future", SessionQuery{Since: time.Now()}, nil},
		{"address", SessionQuery{Addr: netip.MustParsePrefix("192.0.2.0/24"), Limit: 1}, []int{9}},
		{"elsewhere", SessionQuery{Addr: netip.MustParsePrefix("198.51.100.0/24")}, nil},
	} {
		list, err := r.Sessions(t.Context(), c.q)
		if err != nil || len(list) != len(c.want) {
			t.Errorf("%s: %d sessions, %v, want %d", c.name, len(list), err, len(c.want))
			continue
		}
		for i, n := range c.want {
			if list[i].ID != ids[n] {
				t.Errorf("%s: session %d is %v, want %v", c.name, i, list[i].ID, ids[n])
			}
		}
	}
	snap, err := r.Snapshot(t.Context(), begin.Add(4*time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	if snap.LastSeq != l.Health().LastSeq || len(snap.Live) != 3 || snap.LiveCount != 3 {
		t.Errorf("snapshot: last %d, %d live, count %d", snap.LastSeq, len(snap.Live), snap.LiveCount)
	}
	want := Totals{Sessions: 6, LoginsOK: 6, Commands: snap.Totals.Commands, Sent: 3 * 4096, Received: 3 * 64}
	if snap.Totals != want || want.Commands != 6 {
		t.Errorf("totals: %+v, want %+v", snap.Totals, want)
	}
}

func TestIndicesAreUsed(t *testing.T) {
	l := openLog(t, Options{})
	wantPlan := func(query string, args []any, want string) {
		t.Helper()
		plan := explain(t, l, query, args)
		if !strings.Contains(plan, want) {
			t.Errorf("%s is answered by %s, want %s", query, plan, want)
		}
	}
	for f, want := range map[Filter]string{
		{}:           "SEARCH records USING INTEGER PRIMARY KEY",
		{Session: 7}: "SEARCH session_records USING PRIMARY KEY (session_id=? AND record>? AND record<?)",
	} {
		query, args := f.query(5, 9, 100)
		wantPlan(query, args, want)
	}
	for index, q := range map[string]SessionQuery{
		"sessions_user":    {User: "ann", Before: 9},
		"sessions_live":    {Live: true},
		"PRIMARY KEY":      {Before: 9},
		"sessions_started": {Since: time.Now()},
	} {
		w := q.where()
		wantPlan("SELECT * FROM sessions"+w.String()+" ORDER BY id DESC LIMIT 9", w.args, index)
		if plan := explain(t, l, "SELECT * FROM sessions"+w.String()+" ORDER BY id DESC LIMIT 9", w.args); strings.Contains(plan, "TEMP B-TREE") {
			t.Errorf("%v is sorted: %s", w, plan)
		}
	}
}

// explain returns how SQLite is going to answer a query.
func explain(t *testing.T, l *Log, query string, args []any) string {
	t.Helper()
	rows, err := l.Reader().db.Query("EXPLAIN QUERY PLAN "+query, args...)
	if err != nil {
		t.Fatal(err)
	}
	steps, err := collect(rows, func(step *string) error {
		var skip int
		return rows.Scan(&skip, &skip, &skip, step)
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(steps, "; ")
}

// crash leaves the log as a crash would: its files as they are on the disk now, in another place.
func crash(t *testing.T, l *Log) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "audit.db")
	for _, suffix := range []string{"", "-wal"} {
		copyFile(t, l.opts.Path+suffix, path+suffix)
	}
	copyFile(t, l.opts.Key, KeyPath(path))
	return path
}

func TestCrashTellsTheFateOfDeletes(t *testing.T) {
	l := openLog(t, Options{})
	intent := func(id proxy.SessionID) proxy.Event {
		return proxy.Event{Session: id, Time: time.Now(), Kind: proxy.KindIntent, Count: 1}
	}
	told := func(id proxy.SessionID, n int64, fate string) proxy.Event {
		return proxy.Event{Session: id, Time: time.Now(), Kind: proxy.KindDelete, Message: n, Detail: fate}
	}
	cases := []struct {
		name string
		play func(id proxy.SessionID) []proxy.Event
		want string
	}{
		{"idle", func(id proxy.SessionID) []proxy.Event { return nil }, ""},
		{"pending", func(id proxy.SessionID) []proxy.Event {
			return []proxy.Event{dele(id, 1), dele(id, 2)}
		}, " delete:1:rolled_back delete:2:rolled_back"},
		{"refused", func(id proxy.SessionID) []proxy.Event {
			return []proxy.Event{command(id, "DELE", "9", "-ERR")}
		}, ""},
		{"intended", func(id proxy.SessionID) []proxy.Event {
			return []proxy.Event{dele(id, 1), intent(id)}
		}, " delete:1:unknown"},
		{"accepted", func(id proxy.SessionID) []proxy.Event {
			return []proxy.Event{dele(id, 1), dele(id, 2), intent(id), command(id, "QUIT", "", "+OK"), told(id, 1, "committed")}
		}, " delete:2:committed"},
		{"not accepted", func(id proxy.SessionID) []proxy.Event {
			return []proxy.Event{dele(id, 1), intent(id), command(id, "QUIT", "", "-ERR")}
		}, " delete:1:rolled_back"},
		{"reset", func(id proxy.SessionID) []proxy.Event {
			return []proxy.Event{dele(id, 1), command(id, "RSET", "", "+OK"), told(id, 1, "rolled_back"), dele(id, 1), intent(id)}
		}, " delete:1:unknown"},
		{"reset, not told", func(id proxy.SessionID) []proxy.Event {
			return []proxy.Event{dele(id, 1), command(id, "RSET", "", "+OK")}
		}, " delete:1:rolled_back"},
	}
	ids := make([]proxy.SessionID, len(cases))
	before := make([]int, len(cases))
	for i, c := range cases {
		ids[i] = newID()
		events := append([]proxy.Event{connect(ids[i]), login(ids[i], "ann", proxy.LoginOK)}, c.play(ids[i])...)
		before[i] = len(events)
		keep(t, l, events...)
	}
	path := crash(t, l)
	again := openLog(t, Options{Path: path})
	for i, c := range cases {
		recs, err := again.Reader().Transcript(t.Context(), ids[i], 0, 100)
		if err != nil {
			t.Fatal(err)
		}
		got := " " + story(recs[before[i]:])
		if got != c.want+" end:aborted" {
			t.Errorf("%s: start-up added%s, want%s", c.name, got, c.want+" end:aborted")
		}
		for _, rec := range recs[before[i]:] {
			if rec.User != "ann" || !rec.Peer.IsValid() {
				t.Errorf("%s: %s has user %q, peer %v", c.name, rec.Kind, rec.User, rec.Peer)
			}
		}
		s, err := again.Reader().Session(t.Context(), ids[i])
		n := s.Deleted + s.RolledBack + s.Unknown
		if err != nil || s.State != StateEnded || s.EndSide != proxy.SideProxy || s.Partial || s.End.After(again.Health().Since) {
			t.Errorf("%s: %+v, %v", c.name, s, err)
		}
		fates := int64(0)
		for _, rec := range recs {
			if rec.Kind == proxy.KindDelete {
				fates++
			}
		}
		if n != fates {
			t.Errorf("%s: the row counts %d fates, the records %d", c.name, n, fates)
		}
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, b, 0o600); err != nil {
		t.Fatal(err)
	}
}
