package anchor

import (
	"bytes"
	"context"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"postern/audit"
	"postern/proxy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait of these tests.
const patience = 30 * time.Second

// scene is a real log, and what its anchors say.
type scene struct {
	*testing.T
	log  *audit.Log
	path string
	said said
}

func newScene(t *testing.T) *scene {
	t.Helper()
	t.Parallel() // they wait for checkpoints most of the time
	s := &scene{T: t, path: filepath.Join(t.TempDir(), "audit.db")}
	s.open()
	t.Cleanup(s.close)
	return s
}

func (s *scene) open() {
	s.Helper()
	log, err := audit.Open(s.Context(), audit.Options{Path: s.path})
	if err != nil {
		s.Fatal(err)
	}
	s.log = log
}

func (s *scene) close() {
	if err := s.log.Close(); err != nil {
		s.Errorf("close log: %v", err)
	}
}

// start carries checkpoints to the places of o until the test ends or end is called.
func (s *scene) start(o Options) *Anchors {
	s.Helper()
	o.Log, o.Logger = s.log, slog.New(slog.NewTextHandler(&s.said, nil))
	if o.Every == 0 {
		o.Every = time.Millisecond
	}
	if o.retry == 0 {
		o.retry = time.Millisecond
	}
	a := Start(o)
	s.Cleanup(func() { end(a) })
	return a
}

// end closes a, once.
func end(a *Anchors) {
	select {
	case <-a.stop:
		return
	default:
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	a.Close(ctx)
}

// grow records n events and returns the size of a checkpoint that vouches for them.
func (s *scene) grow(n int) int64 {
	s.Helper()
	var last proxy.Receipt
	for range n {
		last = s.log.Record(proxy.Event{Kind: proxy.KindBackend, Time: time.Now(), Detail: "up"})
	}
	if err := last.Wait(); err != nil {
		s.Fatal(err)
	}
	seq := s.log.Health().LastSeq
	s.eventually("a checkpoint", func() bool { return s.log.Health().Signed >= seq })
	return seq
}

func (s *scene) eventually(what string, is func() bool) {
	s.Helper()
	for began := time.Now(); !is(); time.Sleep(time.Millisecond) {
		if time.Since(began) > patience {
			s.Fatalf("waited %v for %s; the anchors said:\n%s", patience, what, s.said.String())
		}
	}
}

// arrives waits until the first place has a checkpoint of so many records.
func (s *scene) arrives(a *Anchors, size int64) Status {
	s.Helper()
	var got Status
	s.eventually("the checkpoint", func() bool { got = a.List()[0]; return got.Size >= size })
	return got
}

// fails waits until the first place has failed with an error that says want.
func (s *scene) fails(a *Anchors, want string) Status {
	s.Helper()
	var got Status
	s.eventually(want, func() bool { got = a.List()[0]; return strings.Contains(got.Err, want) })
	return got
}

// states returns the details of the state records in the log.
func (s *scene) states() (all []audit.Record) {
	s.Helper()
	records, err := s.log.Reader().Records(s.Context(), 0, 10_000, audit.Filter{})
	if err != nil {
		s.Fatal(err)
	}
	for _, r := range records {
		if r.Kind == proxy.KindState {
			all = append(all, r)
		}
	}
	return all
}

// said is what was logged.
type said struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *said) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(b)
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
