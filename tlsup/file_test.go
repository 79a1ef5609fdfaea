package tlsup

import (
	"crypto/tls"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// eventBook collects what a Source tells.
type eventBook struct {
	mu  sync.Mutex
	all []Event
}

func (b *eventBook) add(e Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.all = append(b.all, e)
}

func (b *eventBook) kinds() (kinds []EventKind) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range b.all {
		kinds = append(kinds, e.Kind)
	}
	return kinds
}

// take is kinds, and forgets them.
func (b *eventBook) take() []EventKind {
	kinds := b.kinds()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.all = b.all[len(kinds):]
	return kinds
}

// served tells whose certificate a client gets, whatever its name.
func served(t *testing.T, addr string) string {
	t.Helper()
	state, err := dial(addr, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	return state.PeerCertificates[0].DNSNames[0]
}

// within waits until what is so. A replaced file is served within a second; the machine may be busy with other tests.
func within(t *testing.T, what string, so func() bool) time.Duration {
	t.Helper()
	began := time.Now()
	for !so() {
		if time.Since(began) > 3*time.Second {
			t.Fatalf("not %s after %v", what, time.Since(began))
		}
		time.Sleep(5 * time.Millisecond)
	}
	return time.Since(began)
}

func TestReload(t *testing.T) {
	var log logBook
	var events eventBook
	dir := t.TempDir()
	c := newPair(t, "first.example.test", soon(), 0).config(t, dir)
	c.Logger, c.Notify = log.logger(t), events.add
	s := open(t, c)
	addr := greet(t, listen(t), s.TLSConfig())
	serves := func(name string) func() bool { return func() bool { return served(t, addr) == name } }
	within(t, "first", serves("first.example.test"))

	second := newPair(t, "second.example.test", soon(), 0)
	write(t, dir, "cert.pem", second.cert) // half a replacement
	within(t, "told", func() bool { return strings.Contains(log.String(), "certificate not reloaded") })
	if !serves("first.example.test")() {
		t.Error("half a pair is served")
	}
	write(t, dir, "key.pem", second.key)
	t.Logf("served after %v", within(t, "second", serves("second.example.test")))
	if n := strings.Count(log.String(), "certificate not reloaded"); n != 1 {
		t.Errorf("one failure was logged %d times", n)
	}
	got := s.Certificates()
	if len(got) != 1 || !got[0].NotAfter.Equal(second.leaf.NotAfter) || got[0].Err != "" || got[0].File != c.Files[0].Cert ||
		!slices.Equal(got[0].Names, []string{"second.example.test"}) || got[0].Source != SourceFile || got[0].KeyType != "ECDSA P-256" {
		t.Errorf("certificates %+v", got)
	}

	write(t, dir, "cert.pem", []byte("nonsense"))
	within(t, "told", func() bool { return strings.Contains(log.String(), c.Files[0].Cert+" holds no PEM certificate") })
	write(t, dir, "cert.pem", []byte("other nonsense"))
	within(t, "told again", func() bool { return strings.Count(log.String(), " holds no PEM certificate") == 2 })
	if got := s.Certificates()[0].Err; !strings.Contains(got, "holds no PEM certificate") {
		t.Errorf("the list says %q", got)
	}
	newPair(t, "third.example.test", soon(), 0).config(t, dir)
	within(t, "third", serves("third.example.test"))
	want := []EventKind{EventRefused, EventReloaded, EventRefused, EventRefused, EventReloaded}
	within(t, "told of all", func() bool { return len(events.kinds()) >= len(want) }) // told a moment after it is served
	if got := events.kinds(); !slices.Equal(got, want) {
		t.Errorf("events %v, want %v", got, want)
	}
}

// Replacing both files one right after the other, as programs do, is no failure.
func TestReloadInSteps(t *testing.T) {
	var events eventBook
	dir := t.TempDir()
	c := newPair(t, "first.example.test", soon(), 0).config(t, dir)
	c.Notify = events.add
	s := open(t, c)
	next := newPair(t, "next.example.test", soon(), 0)
	write(t, dir, "cert.pem", next.cert)
	time.Sleep(2 * settle)
	write(t, dir, "key.pem", next.key)
	within(t, "next", func() bool { return s.Certificates()[0].Names[0] == "next.example.test" })
	within(t, "told", func() bool { return len(events.kinds()) > 0 }) // a moment after it is served
	if got := events.kinds(); !slices.Equal(got, []EventKind{EventReloaded}) {
		t.Errorf("events %v", got)
	}
}

// TestReloadUnderLoad replaces the pair five times while clients come and go: none of them fails.
func TestReloadUnderLoad(t *testing.T) {
	dir := t.TempDir()
	s := open(t, newPair(t, "n0.example.test", soon(), 0).config(t, dir))
	addr := greet(t, listen(t), s.TLSConfig())
	done := make(chan struct{})
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if _, err := dial(addr, &tls.Config{InsecureSkipVerify: true}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for _, name := range []string{"n1.example.test", "n2.example.test", "n3.example.test", "n4.example.test", "n5.example.test"} {
		newPair(t, name, soon(), 0).config(t, dir)
		within(t, name, func() bool { return s.Certificates()[0].Names[0] == name })
	}
	close(done)
	clients.Wait()
}

func TestCloseEndsTheWatch(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	s, err := New(t.Context(), newPair(t, "pop.example.test", soon(), 0).config(t, t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
}

func TestFileWarnings(t *testing.T) {
	const day = 24 * time.Hour
	tests := map[string]struct {
		notAfter time.Time
		mode     os.FileMode
		want     string
	}{
		"not yet valid": {time.Now().Add(100 * day), 0o600, "not valid yet"},
		"open key":      {soon(), 0o644, "run chmod 0640"},
		"writable key":  {soon(), 0o660, "run chmod 0640"},
		"group's key":   {soon(), 0o640, ""},
		"fine":          {soon(), 0o400, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var log logBook
			c := newPair(t, "pop.example.test", test.notAfter, 0).config(t, t.TempDir())
			if err := os.Chmod(c.Files[0].Key, test.mode); err != nil {
				t.Fatal(err)
			}
			c.Logger = log.logger(t)
			open(t, c)
			if test.want == "" && log.String() != "" || !strings.Contains(log.String(), test.want) {
				t.Errorf("log %q, want %q", log.String(), test.want)
			}
		})
	}
}
