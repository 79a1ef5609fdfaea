package audit

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"testing"
	"time"

	"postern/proxy"
)

// follow checks that a tail brings the numbers after+1 to last without loss or duplicate.
func follow(t *testing.T, r *Reader, after, last int64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	next := after + 1
	for batch, err := range r.Tail(ctx, after, Filter{}) {
		if err != nil || len(batch) == 0 || len(batch) > tailBatch {
			t.Errorf("a batch of %d, %v", len(batch), err)
			return
		}
		for _, rec := range batch {
			if rec.Seq != next {
				t.Errorf("record %d where %d was due", rec.Seq, next)
				return
			}
			next++
		}
		if next > last {
			return
		}
	}
	t.Errorf("the tail ended at %d, want %d", next-1, last)
}

func TestTailBringsEveryRecordOnce(t *testing.T) {
	l := openLog(t, Options{})
	outside, err := OpenReader(l.opts.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer outside.Close()
	const recorders, each = 4, 400
	const last = 1 + recorders*each
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() { follow(t, l.Reader(), 0, last) })
		wg.Go(func() { follow(t, outside, 0, last) })
	}
	for range recorders {
		wg.Go(func() {
			id := newID()
			l.Record(connect(id))
			for range each - 1 {
				keep(t, l, command(id, "NOOP", "", "+OK"))
			}
		})
	}
	wg.Wait()
	follow(t, outside, 777, last) // resumed
}

// TestTailWakes commits a record at the worst moment each time: just before the tail takes the channel
// that tells of growth. If it took it after its read, it would sleep through the record.
func TestTailWakes(t *testing.T) {
	l := openLog(t, Options{})
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	id := newID()
	r := &Reader{db: l.Reader().db, grown: func() <-chan struct{} {
		keep(t, l, command(id, "NOOP", "", "+OK"))
		return l.growth()
	}}
	next := int64(1)
	for batch, err := range r.Tail(ctx, 0, Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		if next += int64(len(batch)); next > 20 {
			return
		}
		keep(t, l, command(id, "NOOP", "", "+OK")) // for the channel that the tail has by now
	}
	t.Fatalf("the tail slept after %d records", next-1)
}

func TestTailEnds(t *testing.T) {
	l := openLog(t, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	for batch, err := range l.Reader().Tail(ctx, 0, Filter{}) {
		if err != nil {
			t.Errorf("a tail that was cancelled: %v", err)
		}
		if len(batch) == 1 {
			cancel()
		}
	}
	cancel()
	var last error
	started := false
	for _, err := range l.Reader().Tail(t.Context(), 0, Filter{}) {
		last = err
		if !started {
			started = true
			go l.Close()
		}
	}
	if !errors.Is(last, ErrClosed) {
		t.Errorf("a tail of a log that was closed: %v", last)
	}
}

func TestFilters(t *testing.T) {
	l := openLog(t, Options{})
	ann, bob := newID(), newID()
	six := connect(bob)
	six.Peer = netip.MustParseAddrPort("[2001:db8:1::9]:1")
	keep(t, l,
		connect(ann), six,
		login(ann, "ann", proxy.LoginOK), login(bob, "ann", proxy.LoginFailed), login(bob, "bob", proxy.LoginOK),
		command(ann, "STAT", "", "+OK"), command(bob, "STAT", "", "+OK"),
		proxy.Event{Time: time.Now(), Kind: proxy.KindRefused, Count: 3, Peer: netip.MustParseAddrPort("[::ffff:192.0.2.9]:0")},
	)
	for _, c := range []struct {
		name string
		f    Filter
		want string
	}{
		{"all", Filter{}, "start connect connect command:PASS command:PASS command:PASS command:STAT command:STAT refused"},
		{"user", Filter{User: "ann"}, "command:PASS command:PASS command:STAT"},
		{"session", Filter{Session: bob}, "connect command:PASS command:PASS command:STAT"},
		{"address", Filter{Addr: netip.MustParsePrefix("192.0.2.7/32")}, "connect command:PASS command:STAT"},
		{"network", Filter{Addr: netip.MustParsePrefix("192.0.0.0/15")}, "connect command:PASS command:STAT refused"},
		{"mapped", Filter{Addr: netip.MustParsePrefix("::ffff:192.0.2.9/128")}, "refused"},
		{"six", Filter{Addr: netip.MustParsePrefix("2001:db8::/32")}, "connect command:PASS command:PASS command:STAT"},
		{"everyone", Filter{Addr: netip.MustParsePrefix("0.0.0.0/0")}, "connect command:PASS command:STAT refused"},
		{"both", Filter{User: "bob", Addr: netip.MustParsePrefix("192.0.2.7/32")}, ""},
	} {
		recs, err := l.Reader().Records(t.Context(), 0, 100, c.f)
		if got := story(recs); err != nil || got != c.want {
			t.Errorf("%s: %q, %v, want %q", c.name, got, err, c.want)
		}
	}
}

// TestTailPassesWhatIsSkipped has more skipped records before the chosen one than one window holds.
func TestTailPassesWhatIsSkipped(t *testing.T) {
	l := openLog(t, Options{Durability: Relaxed})
	id := newID()
	for range tailWindow + 10 {
		l.Record(command(id, "NOOP", "", "+OK"))
	}
	wanted := newID()
	l.Record(connect(wanted))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for batch, err := range l.Reader().Tail(ctx, 0, Filter{Session: wanted}) {
		if err != nil || story(batch) != "connect" {
			t.Errorf("got %q, %v", story(batch), err)
		}
		return
	}
	t.Error("the tail never came to what was wanted")
}
