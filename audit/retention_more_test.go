package audit

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"postern/proxy"
)

// used returns how many octets of the database are in use.
func used(t *testing.T, l *Log) int64 {
	t.Helper()
	n, err := selectUsed(t.Context(), l.Reader().db)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestTheOldestGoWhileTheLogIsTooLarge(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.db")
	fillOld(t, path, 1000, 400*day)
	fillOld(t, path, 1000, 100*day)
	l := openLog(t, Options{Path: path})
	alone := l.Health().LastSeq
	probe(t, l, time.Now().Add(-300*day)) // between the two
	size := used(t, l)
	for _, part := range []int64{90, 70, 40} {
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		limit := size * part / 100
		l = openLog(t, Options{Path: path, Retention: Rules{Size: limit}})
		took := retain(t, l)[0]
		if n := used(t, l); n > limit || n < limit*8/10 {
			t.Errorf("of %d octets %d are left where %d are allowed: %+v", size, n, limit, took)
		}
		if h := l.Health().Retention; h.Blocked != "" || h.Octets > limit+sparePages*4096*2 {
			t.Errorf("health says %+v", h)
		}
		if n := ask(t, path, fmt.Sprintf("SELECT count(*) FROM records WHERE seq = %d", alone+1)); n != "1" && part == 70 || n != "0" && part == 40 {
			t.Errorf("at %d %% there are %s of the record that stands between", part, n)
		}
	}
	if got := ask(t, path, "SELECT min(started) > strftime('%s', 'now', '-101 days') * 1000000000 FROM sessions"); got != "1" {
		t.Error("older sessions are left than were deleted")
	}
	if got := shorts(retain(t, l)); got != "size 0/0 held 0" {
		t.Errorf("one more run took %s", got)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	wantVerified(t, path)
}

// Holds are stronger than the rule by size. The operator is told, at once and by a record.
func TestHoldsBlockTheRuleBySize(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.db")
	fillOld(t, path, 300, 400*day)
	l := openLog(t, Options{Path: path, Retention: Rules{Size: 100_000}})
	h := holdIt(t, l, Scope{User: "ada"})
	if got := shorts(retain(t, l)); got != "size 0/0 held 300" {
		t.Errorf("a run took %s", got)
	}
	if why := l.Health().Retention.Blocked; !strings.Contains(why, "legal holds keep 300") {
		t.Errorf("health says %q", why)
	}
	retain(t, l)
	if _, err := l.ReleaseHold(t.Context(), h.ID, "root", ""); err != nil {
		t.Fatal(err)
	}
	l.keeper.log.opts.Retention.Size = 1_000_000
	retain(t, l)
	if why := l.Health().Retention.Blocked; why != "" {
		t.Errorf("after the release health says %q", why)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if got := ask(t, path, "SELECT group_concat(detail, ' ') FROM records WHERE kind = 'state'"); got != "too_large size_ok" {
		t.Errorf("the states are %s", got)
	}
	wantVerified(t, path)
}

// A hold that is put in force while the rules run is heeded from then on.
func TestAHoldWhileRulesRun(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.db")
	l := openLog(t, Options{Path: path, Retention: Rules{Sessions: 365 * day}})
	var ids []proxy.SessionID
	for i := range 300 {
		ids = append(ids, visit{at: time.Now().Add(-400*day + time.Duration(i)*time.Minute), user: "ada"}.play(t, l))
	}
	ended := make(chan error, 1)
	go func() {
		_, err := l.Retain(context.Background(), "root")
		ended <- err
	}()
	waitFor(t, "first records to be deleted", func() bool { return l.Health().Retention.Deleted > 0 })
	h := holdIt(t, l, Scope{User: "ada"})
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	after := ask(t, path, fmt.Sprintf("SELECT count(*) FROM records WHERE kind = 'retention' AND seq > %d", h.ID))
	if after != "0" {
		t.Errorf("%s times something was deleted after the hold", after)
	}
	if _, err := l.Reader().Session(t.Context(), ids[len(ids)-1]); err != nil {
		t.Logf("the run was over before the hold: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	wantVerified(t, path)
}

func TestTailPassesWhatIsDeleted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.db")
	fillOld(t, path, 3000, 400*day)
	l := openLog(t, Options{Path: path, Retention: Rules{Sessions: 365 * day}})
	retain(t, l)
	last := l.Health().LastSeq
	pages, records := 0, 0
	for after, more := int64(0), true; more; pages++ {
		b, next, again, err := l.Reader().page(t.Context(), after, Filter{})
		if err != nil || next <= after {
			t.Fatalf("after %d comes %d, %v", after, next, err)
		}
		records += len(b)
		after, more = next, again
	}
	if pages > 2 {
		t.Errorf("%d reads for %d records", pages, records)
	}
	follow(t, l.Reader(), last-1, last)
	if recs, err := l.Reader().Records(t.Context(), 0, 10_000, Filter{}); err != nil || len(recs) != records {
		t.Errorf("%d records, %v, the tail had %d", len(recs), err, records)
	}
}

func TestOldCheckpointsAreThinned(t *testing.T) {
	var c crowd
	var gone []int64
	for size := int64(1); size <= 3*checkpointSpan; size += 512 {
		gone = append(gone, c.add(sign{size, size == 1025 || size == 1537 || size == checkpointSpan+1})...)
	}
	left := make(map[int64]bool)
	for size := int64(1); size <= 3*checkpointSpan; size += 512 {
		left[size] = true
	}
	for _, size := range gone {
		if !left[size] {
			t.Errorf("%d is dropped twice", size)
		}
		delete(left, size)
	}
	const last = checkpointSpan - 511
	if len(left) != 5 || !left[1537] || !left[last] || !left[checkpointSpan+1] || !left[checkpointSpan+last] || !left[2*checkpointSpan+last] {
		t.Errorf("left are %v", left)
	}
}

// TestRetentionOfAnOldLog migrates a log of the first version, and deletes most of it.
func TestRetentionOfAnOldLog(t *testing.T) {
	const old = 60_000
	path := oldLog(t, old)
	before, _ := octetsOfFiles(t, path)
	l := openLog(t, Options{Path: path, Retention: Rules{Sessions: 365 * day}})
	visit{at: time.Now().Add(-day), user: "ada"}.play(t, l)
	if got := shorts(retain(t, l)); got != fmt.Sprintf("sessions %d/0 held 0", old) {
		t.Errorf("a run took %s", got)
	}
	if after, _ := octetsOfFiles(t, path); after > before/3 {
		t.Errorf("the database has %d octets and had %d", after, before)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	wantVerified(t, path)
}

func TestRetentionUsesIndices(t *testing.T) {
	l := openLog(t, Options{})
	for query, want := range map[string]string{
		selectAloneUnits:   "records_alone",
		selectSessionUnits: "sessions_started",
	} {
		plan := explain(t, l, query, []any{0, 0, 1, 1})
		if !strings.Contains(plan, want) || strings.Contains(plan, "SCAN records") || strings.Contains(plan, "SCAN sessions") {
			t.Errorf("%s is answered by %s", query, plan)
		}
	}
}

// A run that finds the disk full ends, and the next one goes on.
func TestRetentionOnAFullDisk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.db")
	fillOld(t, path, 1000, 400*day)
	var pages atomic.Int64
	var n int64
	fmt.Sscan(ask(t, path, "SELECT page_count FROM pragma_page_count"), &n)
	pages.Store(n + 3)
	l := openLog(t, Options{Path: path, Retention: Rules{Users: 365 * day}, maxPages: &pages})
	if _, err := l.Retain(t.Context(), "root"); !errors.Is(err, proxy.ErrNotRecorded) {
		t.Errorf("a run on a full disk: %v", err)
	}
	if h := l.Health().Retention; h.Err == "" || !h.LastRun.IsZero() {
		t.Errorf("health says %+v", h)
	}
	pages.Store(1 << 20)
	if err := well(l); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Retain(t.Context(), "root"); err != nil {
		t.Fatal(err)
	}
	if got := ask(t, path, "SELECT count(DISTINCT user) || substr(max(user), 1, 1) FROM sessions"); got != "1~" {
		t.Errorf("the users are %s", got)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	wantVerified(t, path)
}

// What is read of a session while its last records are not in the index is not all of it: the rules leave it for later.
func TestASessionIsTakenWhole(t *testing.T) {
	l := openLog(t, Options{Retention: Rules{Sessions: 365 * day}})
	at := time.Now().Add(-400 * day)
	id := proxy.NewSessionID(at)
	events := []proxy.Event{connect(id), login(id, "ada", proxy.LoginOK), dele(id, 1), end(id)}
	for i := range events {
		events[i].Time = at
	}
	keep(t, l, events[:2]...)
	read := func() (found unit) {
		err := units(t.Context(), l.reader.db, 0, time.Now().UnixNano(), func(u *unit) (bool, error) { found = *u; return false, nil })
		if err != nil || found.session != int64(id) {
			t.Errorf("got %+v, %v", found, err)
		}
		return found
	}
	err := l.perform(t.Context(), &chore{alone: func(w *writer) error {
		index := func(w *writer) error { return w.index.save(w.store, w.began, w.seq, true) }
		if err := errors.Join(w.transact(index), w.commit(events[2:], nil)); err != nil {
			return err
		}
		if u := read(); !u.live || u.records != 2 {
			t.Errorf("of a session half of which is in the index there is %+v", u)
		}
		err := w.transact(index)
		if u := read(); u.live || u.records != 4 {
			t.Errorf("of a session that is in the index there is %+v", u)
		}
		return err
	}})
	if err != nil {
		t.Fatal(err)
	}
	if got := shorts(retain(t, l)); got != "sessions 4/1 held 0" {
		t.Errorf("a run took %s", got)
	}
	wantGood(t, full(l.opts.Path))
}

// changing is a reaper whose first piece finds the holds changed.
type changing struct {
	*reaper
	change func()
}

func (c *changing) erase(ctx context.Context, r *rule, u *unit, t *Taken) error {
	if c.change != nil {
		c.change()
		c.change = nil
	}
	return c.reaper.erase(ctx, r, u, t)
}

// When the holds change while a rule runs it begins anew, and takes all that it is to take.
func TestARuleBeginsAnew(t *testing.T) {
	for name, rules := range map[string]Rules{"sessions": {Sessions: 365 * day}, "size": {Size: 1}} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "audit.db")
			fillOld(t, path, 100, 400*day)
			l := openLog(t, Options{Path: path, Retention: rules})
			s, err := newSweep(t.Context(), l.reader, l.opts.Retention, l.pseudonym, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			p := &reaper{log: l, dose: dose{size: 256, least: leastRecords, most: mostRecords}}
			if err := p.learn(t.Context(), s); err != nil {
				t.Fatal(err)
			}
			s.taker = &changing{p, func() { holdIt(t, l, Scope{User: "nobody"}) }}
			if err := s.run(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := ask(t, path, "SELECT count(*) FROM sessions"); got != "0" || s.done[0].Sessions != 100 {
				t.Errorf("%s sessions are left, %+v", got, s.done)
			}
		})
	}
}

// A run that took the little that there was, and leaves a log that is too large, is not one that keeps the rule.
func TestTooLargeAlthoughSomethingWasTaken(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.db")
	fillOld(t, path, 300, 400*day)
	l := openLog(t, Options{Path: path, Retention: Rules{Size: 100_000}})
	holdIt(t, l, Scope{User: "ada"})
	for range 2 {
		visit{at: time.Now().Add(-time.Hour), user: "bob"}.play(t, l)
		if got := shorts(retain(t, l)); got != "size 7/1 held 300" {
			t.Errorf("a run took %s", got)
		}
		if l.Health().Retention.Blocked == "" {
			t.Error("health says nothing")
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if got := ask(t, path, "SELECT group_concat(detail, ' ') FROM records WHERE kind = 'state'"); got != "too_large" {
		t.Errorf("the states are %s", got)
	}
}

// The clock was ahead by more than the age of a rule when that ran, and is right again.
func TestTheClockWasAhead(t *testing.T) {
	l := openLog(t, Options{Retention: Rules{Addresses: 10 * day}})
	k := l.keeper
	k.from, k.holds = map[string]int64{ClassAddresses: nanos(time.Now().Add(20 * day))}, 0 // as a run 30 days ahead leaves it
	v := visit{at: time.Now().Add(-11 * day), user: "ada"}
	v.id = v.play(t, l)
	if got := shorts(retain(t, l)); got != "addresses 7/1 held 0" {
		t.Errorf("a run took %s", got)
	}
}
