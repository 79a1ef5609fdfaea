package anchor

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"postern/audit"
)

// fake is a place that does as it is told.
type fake struct {
	mu    sync.Mutex
	err   error
	sizes []int64
	times []time.Time
	block chan struct{} // not nil: carry waits for it, whatever its context says
}

func (f *fake) carry(_ context.Context, c audit.Checkpoint) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.block != nil {
		<-f.block
	}
	f.sizes, f.times = append(f.sizes, c.Size), append(f.times, time.Now())
	return f.err
}

func (f *fake) be(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

func (f *fake) seen() []int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]int64(nil), f.sizes...)
}

// startFake carries checkpoints to f alone.
func (s *scene) startFake(o Options, f *fake) *Anchors {
	s.Helper()
	a := s.start(o)
	o.Log, o.Logger = s.log, a.log
	if o.retry == 0 {
		o.retry = time.Millisecond
	}
	r := newRunner(a, &o, "fake", "it", f)
	a.runners = append(a.runners, r)
	a.running.Go(r.run)
	return a
}

func TestOnlyWhatIsNewIsCarried(t *testing.T) {
	s, f := newScene(t), &fake{}
	a := s.startFake(Options{Every: time.Millisecond}, f)
	s.arrives(a, 1)
	for range 3 {
		if got := s.arrives(a, s.grow(1)); got.LagRecords != 0 || got.Err != "" || got.At.IsZero() {
			t.Errorf("status: %+v", got)
		}
	}
	end(a) // the last attempt has nothing to carry
	sizes := f.seen()
	for i := range sizes {
		if i > 0 && sizes[i] <= sizes[i-1] {
			t.Errorf("carried %v", sizes)
		}
	}
}

func TestItIsCarriedAtMostSoOften(t *testing.T) {
	const every = 300 * time.Millisecond
	s, f := newScene(t), &fake{}
	a := s.startFake(Options{Every: every}, f)
	for range 3 {
		s.arrives(a, s.grow(1))
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.times[1:] {
		if d := f.times[i+1].Sub(f.times[i]); d < every {
			t.Errorf("carried again after %v", d)
		}
	}
}

// The last checkpoint, which covers the stop record, is carried at the end, though the next one would be due in an hour.
func TestTheLastCheckpointIsCarried(t *testing.T) {
	s, f := newScene(t), &fake{}
	a := s.startFake(Options{Every: time.Hour}, f)
	s.arrives(a, 1)
	s.grow(5)
	s.eventually("lag", func() bool { // once the anchor knows that there is a newer one
		got := a.List()[0]
		return got.Size == 1 && got.LagRecords >= 5 && got.Lag > 0
	})
	if err := s.log.Stop(); err != nil {
		t.Fatal(err)
	}
	end(a)
	last, _ := s.log.Newest()
	if sizes := f.seen(); sizes[len(sizes)-1] != last.Size || len(sizes) != 2 {
		t.Errorf("carried %v, the last checkpoint is of %d", sizes, last.Size)
	}
	if got := a.List()[0]; got.LagRecords != 0 || got.Lag != 0 {
		t.Errorf("status: %+v", got)
	}
}

func TestAPlaceThatFailsIsTriedAgain(t *testing.T) {
	s, f := newScene(t), &fake{err: errors.New("nobody is in")}
	a := s.startFake(Options{}, f)
	s.eventually("three attempts", func() bool { return a.List()[0].Errors >= 3 })
	if got := a.List()[0]; got.Err != "nobody is in" || got.Size != 0 || got.Lag <= 0 || got.LagRecords < 1 || got.Refused {
		t.Errorf("status: %+v", got)
	}
	f.be(nil)
	if got := s.arrives(a, 1); got.Err != "" || got.Lag != 0 {
		t.Errorf("status: %+v", got)
	}
	for _, line := range []string{"do not arrive at their anchor", "arrive at their anchor again"} {
		if n := strings.Count(s.said.String(), line); n != 1 {
			t.Errorf("%q is said %d times", line, n)
		}
	}
	if states := s.states(); len(states) > 0 {
		t.Errorf("recorded %+v", states)
	}
}

func TestAttemptsBecomeRare(t *testing.T) {
	r := &runner{retry: firstRetry, first: firstRetry}
	var d time.Duration
	for range 12 {
		d = r.pause(errors.New("no"))
	}
	if d < lastRetry || d > lastRetry*5/4+1 {
		t.Errorf("after many failures the next attempt is %v later", d)
	}
	r.retry = firstRetry
	if d := r.pause(busy{errors.New("no"), 40 * time.Second}); d < 40*time.Second || d > 51*time.Second {
		t.Errorf("asked for 40 s, waits %v", d)
	}
	if d := r.pause(busy{errors.New("no"), 1000 * time.Hour}); d > longestWish*5/4+1 {
		t.Errorf("asked for very long, waits %v", d)
	}
}

func TestAStuckPlaceHoldsNobodyUp(t *testing.T) {
	s, f := newScene(t), &fake{block: make(chan struct{})}
	a := s.startFake(Options{}, f)
	s.grow(3) // the log goes on
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	began := time.Now()
	a.Close(ctx)
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("closed after %v", took)
	}
	if !strings.Contains(s.said.String(), "stuck") {
		t.Errorf("said %q", s.said.String())
	}
	close(f.block)
	a.running.Wait()
}

func TestARefusalIsAnAlarmOnce(t *testing.T) {
	s, f := newScene(t), &fake{err: refusal{errors.New("another history")}}
	a := s.startFake(Options{}, f)
	s.eventually("three attempts", func() bool { return a.List()[0].Errors >= 3 })
	f.be(errors.New("nobody is in")) // which takes nothing back
	s.fails(a, "nobody is in")
	if got := a.List()[0]; !got.Refused {
		t.Errorf("status: %+v", got)
	}
	f.be(nil)
	s.arrives(a, s.log.Health().LastSeq)
	s.eventually("two state records", func() bool { return len(s.states()) == 2 })
	states := s.states()
	if states[0].Detail != "witness_refused" || states[0].Arg != "it" || states[0].Text != "another history" ||
		states[1].Detail != "witness_accepted" || a.List()[0].Refused {
		t.Errorf("recorded %+v", states)
	}
	if n := strings.Count(s.said.String(), "level=ERROR"); n != 1 {
		t.Errorf("the alarm is said %d times:\n%s", n, s.said.String())
	}
}
