package audit

import (
	"bytes"
	"database/sql"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"postern/proxy"
)

// brokenLog returns a log that is full, and what makes room again. Session id is known to it and lost
// an event.
func brokenLog(t *testing.T, o Options, id proxy.SessionID) (l *Log, room func()) {
	t.Helper()
	pages := new(atomic.Int64)
	pages.Store(60)
	o.maxPages = pages
	l = openLog(t, o)
	if err := fill(l, command(id, "NOOP", strings.Repeat("x", 4000), "+OK"), o.OnFailure); err != nil {
		t.Fatal(err)
	}
	return l, func() {
		pages.Store(1 << 20)
		if err := well(l); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRefuse(t *testing.T) {
	id := newID()
	l, room := brokenLog(t, Options{}, id)
	start := time.Now()
	for range 2 * queueSize {
		l.Record(command(id, "NOOP", "", "+OK")) // must not block while the log is failing
	}
	if err := l.Record(connect(newID())).Wait(); !errors.Is(err, proxy.ErrNotRecorded) {
		t.Errorf("a new session got %v", err)
	}
	if d := time.Since(start); d > 2*time.Second {
		t.Errorf("recording in a broken log took %v", d)
	}
	room()
	// The session lost events: a good receipt would vouch for them.
	if err := l.Record(command(id, "NOOP", "", "+OK")).Wait(); !errors.Is(err, proxy.ErrNotRecorded) {
		t.Errorf("a session with lost events got %v", err)
	}
	l.Record(end(id))
	other := newID()
	keep(t, l, connect(other), end(other))
	if h := l.Health(); !h.OK || h.Err != "" || h.Lost < 2*queueSize {
		t.Errorf("health: %+v", h)
	}
	s, err := l.Reader().Session(t.Context(), id)
	if err != nil || s.State != StateEnded || !s.Partial {
		t.Errorf("the session that lost events: %+v, %v", s, err)
	}
	gap := only(t, l, proxy.KindGap)
	if gap.Count != l.Health().Lost {
		t.Errorf("the gap counts %d, health %d", gap.Count, l.Health().Lost)
	}
}

func TestContinue(t *testing.T) {
	id, unseen := newID(), newID()
	l, room := brokenLog(t, Options{OnFailure: Continue}, id)
	keep(t, l, connect(unseen), command(id, "NOOP", "", "+OK"))
	room()
	keep(t, l, command(id, "STAT", "", "+OK"), command(unseen, "STAT", "", "+OK"))
	for _, id := range []proxy.SessionID{id, unseen} {
		keep(t, l, end(id))
		s, err := l.Reader().Session(t.Context(), id)
		if err != nil || !s.Partial || s.State != StateEnded {
			t.Errorf("session: %+v, %v", s, err)
		}
		wantRowToFollow(t, l.Reader(), s)
	}
	if gap := only(t, l, proxy.KindGap); gap.Count != l.Health().Lost {
		t.Errorf("the gap counts %d, health %d", gap.Count, l.Health().Lost)
	}
}

// wantRowToFollow checks a session's row against its records.
func wantRowToFollow(t *testing.T, r *Reader, row Session) {
	t.Helper()
	s, err := rebuild(r, row.ID)
	if err != nil {
		t.Fatal(err)
	}
	row.TLS, s.TLS = nil, nil // pointers
	if row != s {
		t.Errorf("the row is\n  %+v\nits records add up to\n  %+v", row, s)
	}
}

// TestGoodReceiptsVouch fills the disk again and again under load. A good receipt stands for its event and
// for all of its session's before it, and each batch that fails leaves no trace.
func TestGoodReceiptsVouch(t *testing.T) {
	pages := new(atomic.Int64)
	pages.Store(30)
	l := openLog(t, Options{maxPages: pages})
	var promised sync.Map // of the last event with a good receipt, by session
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for !isClosed(stop) {
				id := newID()
				promised.Store(id, promiseMuch(l, id))
			}
		})
	}
	for range 3 {
		for l.Health().OK {
			time.Sleep(time.Millisecond)
		}
		commits := l.Health().Commits
		pages.Add(30)
		waitFor(t, "a commit", func() bool { return l.Health().Commits > commits }) // it is soon full again
	}
	close(stop)
	wg.Wait()
	pages.Store(1 << 20) // heard of when the log is opened anew
	for l.Record(connect(newID())).Wait() != nil {
		if err := well(l); err != nil {
			t.Fatal(err)
		}
	}
	records(t, l.opts.Path) // without holes
	promised.Range(func(id, n any) bool {
		wantPromiseKept(t, l.Reader(), id.(proxy.SessionID), n.(int64))
		return true
	})
}

// waitFor returns when ok does so.
func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no %s within a minute", what)
		}
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// promiseMuch plays a session and waits for every fifth event only. It goes on after a bad receipt, as
// no proxy would, and returns the number of the last event with a good one.
func promiseMuch(l *Log, id proxy.SessionID) (last int64) {
	l.Record(connect(id))
	for n := int64(1); n <= 50; n++ {
		ev := command(id, "NOOP", strings.Repeat("x", 200), "+OK")
		ev.Message = n
		if receipt := l.Record(ev); n%5 == 0 && receipt.Wait() == nil {
			last = n
		}
	}
	l.Record(end(id))
	return last
}

func wantPromiseKept(t *testing.T, r *Reader, id proxy.SessionID, promised int64) {
	t.Helper()
	s, err := r.Session(t.Context(), id)
	if errors.Is(err, ErrNotFound) && promised == 0 {
		return
	}
	if err != nil || s.State != StateEnded {
		t.Errorf("%d events were promised, the session is %+v, %v", promised, s, err)
		return
	}
	wantRowToFollow(t, r, s)
	recs, err := r.Transcript(t.Context(), id, 0, maxRecords)
	if err != nil {
		t.Fatal(err)
	}
	for n := int64(0); promised > 0 && n <= promised; n++ { // 0 is the connect
		if int(n) >= len(recs) || recs[n].Message != n {
			t.Errorf("%d events of %s were promised, number %d is missing", promised, id, n)
			return
		}
	}
}

// only returns the one record of a kind that is of no session.
func only(t *testing.T, l *Log, kind proxy.Kind) (found Record) {
	t.Helper()
	n := 0
	for _, r := range records(t, l.opts.Path) {
		if r.Kind == kind && r.Session == 0 {
			found = r
			n++
		}
	}
	if n != 1 {
		t.Fatalf("%d records of kind %s", n, kind)
	}
	return found
}

func TestEndWhileBrokenIsKept(t *testing.T) {
	id, unseen := newID(), newID()
	l, room := brokenLog(t, Options{}, id)
	for _, ev := range []proxy.Event{end(id), connect(unseen), end(unseen)} {
		if err := l.Record(ev).Wait(); !errors.Is(err, proxy.ErrNotRecorded) {
			t.Errorf("%s in a broken log: %v", ev.Kind, err)
		}
	}
	room()
	s, err := l.Reader().Session(t.Context(), id)
	if err != nil || s.State != StateEnded || s.EndReason != "quit" || !s.Partial {
		t.Errorf("session: %+v, %v", s, err)
	}
	if _, err := l.Reader().Session(t.Context(), unseen); !errors.Is(err, ErrNotFound) {
		t.Errorf("a session of which nothing was kept: %v", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.wounded) > 0 {
		t.Errorf("%d sessions are still marked", len(l.wounded))
	}
}

func TestRelaxedRefusesWhileBroken(t *testing.T) {
	pages := new(atomic.Int64)
	pages.Store(60)
	l := openLog(t, Options{Durability: Relaxed, maxPages: pages})
	id := newID()
	deadline := time.Now().Add(10 * time.Second)
	var err error
	for err == nil && time.Now().Before(deadline) {
		err = l.Record(command(id, "NOOP", strings.Repeat("x", 500), "+OK")).Wait()
	}
	if !errors.Is(err, proxy.ErrNotRecorded) {
		t.Errorf("a full log says %v", err)
	}
	if err := l.Close(); err != nil { // the batch that was too large is gone, there is room for little
		t.Error(err)
	}
	if recs := records(t, l.opts.Path); !strings.HasSuffix(strings.Replace(story(recs), " state:recovered", "", 1), "gap stop") { // it may be well by then
		t.Errorf("the log tells %s", story(recs))
	}
}

func TestTroubleIsToldOnce(t *testing.T) {
	var out bytes.Buffer // read after Close only
	id := newID()
	l, room := brokenLog(t, Options{Logger: slog.New(slog.NewTextHandler(&out, nil))}, id)
	time.Sleep(3 * firstBackoff) // one attempt to heal fails
	room()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"cannot be written", "free space on", "being written again"} {
		if n := strings.Count(out.String(), want); n != 1 {
			t.Errorf("%q is logged %d times:\n%s", want, n, out.String())
		}
	}
}

func TestStall(t *testing.T) {
	l := openLog(t, Options{stall: 50 * time.Millisecond})
	release := lockDatabase(t, l.opts.Path)
	id := newID()
	err := l.Record(connect(id)).Wait()
	if !errors.Is(err, proxy.ErrNotRecorded) || !strings.Contains(err.Error(), errStalled.Error()) {
		t.Errorf("a commit that takes too long: %v", err)
	}
	if h := l.Health(); h.OK {
		t.Errorf("health: %+v", h)
	}
	release()
	if err := well(l); err != nil {
		t.Fatal(err)
	}
	other := newID()
	keep(t, l, connect(other))
	wantStory(t, l.opts.Path, "start connect state:failing state:recovered connect")
}

// So it is with what is done between two commits, in a transaction of its own or in none.
func TestAChoreThatStalls(t *testing.T) {
	l := openLog(t, Options{stall: 50 * time.Millisecond})
	stalls := func(*writer) error {
		told := make(chan error, 1)
		go func() { told <- l.Record(connect(newID())).Wait() }()
		select {
		case err := <-told:
			if !errors.Is(err, proxy.ErrNotRecorded) {
				t.Errorf("behind a chore that takes too long: %v", err)
			}
		case <-time.After(5 * time.Second):
			t.Error("nobody is told")
		}
		return nil
	}
	for _, c := range []*chore{{do: stalls}, {alone: stalls}} {
		if err := l.perform(t.Context(), c); err != nil {
			t.Error(err)
		}
		waitFor(t, "recovery", func() bool { return l.Health().OK })
	}
}

// lockDatabase takes SQLite's own write lock, as a meddler would.
func lockDatabase(t *testing.T, path string) (release func()) {
	t.Helper()
	db, err := sql.Open("sqlite3", dsn(filepath.Clean(path), "_txlock=immediate"))
	if err != nil {
		t.Fatal(err)
	}
	tx, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		tx.Rollback()
		db.Close()
	}
}
