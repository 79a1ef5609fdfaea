package tlsup

import (
	"crypto/tls"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// clock runs ahead of the real one by as much as it is told.
type clock struct{ ahead atomic.Int64 }

func (c *clock) now() time.Time          { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *clock) advance(d time.Duration) { c.ahead.Add(int64(d)) }

// served tells whose certificate a client gets, whatever its name.
func served(t *testing.T, addr string) string {
	t.Helper()
	state, err := dial(addr, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	return state.PeerCertificates[0].DNSNames[0]
}

func TestReload(t *testing.T) {
	var log logBook
	var clock clock
	dir := t.TempDir()
	c := newPair(t, "first.example.test", soon(), 0).config(t, dir)
	c.Logger = log.logger(t)
	s := open(t, c)
	s.provider.(*pairFiles).now = clock.now
	addr := greet(t, listen(t), s.TLSConfig())
	want := func(name string) {
		t.Helper()
		clock.advance(checkEvery)
		if got := served(t, addr); got != name {
			t.Fatalf("served %s, want %s", got, name)
		}
	}
	want("first.example.test")

	second := newPair(t, "second.example.test", soon(), 0)
	write(t, dir, "cert.pem", second.cert) // half a replacement
	want("first.example.test")
	want("first.example.test")
	if n := strings.Count(log.String(), "certificate not reloaded"); n != 1 {
		t.Errorf("one failure was logged %d times", n)
	}
	write(t, dir, "key.pem", second.key)
	want("second.example.test")
	if got := s.Expiry(); len(got) != 1 || !got[0].NotAfter.Equal(second.leaf.NotAfter) ||
		!slices.Equal(got[0].Names, []string{"second.example.test"}) || got[0].Source != SourceFile {
		t.Errorf("expiry %v", got)
	}

	write(t, dir, "cert.pem", []byte("nonsense"))
	want("second.example.test")
	if !strings.Contains(log.String(), c.CertFile+" holds no PEM certificate") {
		t.Error("the log does not say why")
	}
	if err := os.Remove(c.KeyFile); err != nil {
		t.Fatal(err)
	}
	want("second.example.test")

	newPair(t, "third.example.test", soon(), 0).config(t, dir)
	want("third.example.test")
}

// Between two looks a handshake does not touch the disk.
func TestReloadWaits(t *testing.T) {
	dir := t.TempDir()
	s := open(t, newPair(t, "first.example.test", soon(), 0).config(t, dir))
	start := time.Now()
	s.provider.(*pairFiles).now = func() time.Time { return start }
	newPair(t, "second.example.test", soon(), 0).config(t, dir)
	if got := s.Expiry()[0].Names[0]; got != "first.example.test" {
		t.Errorf("read again at once: %s", got)
	}
}

// Replacing by rename, through a symbolic link, with the same size and time is still a change.
func TestReloadRenamed(t *testing.T) {
	var clock clock
	dir := t.TempDir()
	first, second := newPair(t, "aaaaa.example.test", soon(), 0), newPair(t, "bbbbb.example.test", soon(), 0)
	for name, p := range map[string]pair{"one": first, "two": second} {
		both := write(t, dir, name, append(p.cert, p.key...))
		stamp := time.Unix(1_700_000_000, 0)
		if err := os.Chtimes(both, stamp, stamp); err != nil {
			t.Fatal(err)
		}
	}
	link := dir + "/live"
	if err := os.Symlink("one", link); err != nil {
		t.Fatal(err)
	}
	s := open(t, Config{CertFile: link, KeyFile: link})
	s.provider.(*pairFiles).now = clock.now
	if err := os.Symlink("two", dir+"/new"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(dir+"/new", link); err != nil {
		t.Fatal(err)
	}
	clock.advance(checkEvery)
	if got := s.Expiry()[0].Names[0]; got != "bbbbb.example.test" {
		t.Errorf("still %s", got)
	}
}

// A pair that failed is tried again though it looks the same, as after a change of permissions.
func TestReloadRetries(t *testing.T) {
	var clock clock
	dir := t.TempDir()
	stamp := time.Unix(1_700_000_000, 0)
	s := open(t, newPair(t, "first.example.test", soon(), 0).config(t, dir))
	s.provider.(*pairFiles).now = clock.now
	second := newPair(t, "second.example.test", soon(), 0)
	both := append(slices.Clone(second.cert), second.key...)
	look := func(cert []byte) string {
		t.Helper()
		for _, path := range []string{write(t, dir, "cert.pem", cert), write(t, dir, "key.pem", both)} {
			if err := os.Chtimes(path, stamp, stamp); err != nil {
				t.Fatal(err)
			}
		}
		clock.advance(checkEvery)
		return s.Expiry()[0].Names[0]
	}
	if got := look(make([]byte, len(both))); got != "first.example.test" {
		t.Fatalf("served %s from a broken file", got)
	}
	if got := look(both); got != "second.example.test" {
		t.Errorf("still %s", got)
	}
}

func TestFilesRunNothing(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	s, err := New(t.Context(), newPair(t, "pop.example.test", soon(), 0).config(t, t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	s.Expiry() // and no Close
}

func TestFileWarnings(t *testing.T) {
	const day = 24 * time.Hour
	tests := map[string]struct {
		notAfter time.Time
		mode     os.FileMode
		want     string
	}{
		"expired":       {time.Now().Add(-day), 0o600, "certificate has expired"},
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
			if err := os.Chmod(c.KeyFile, test.mode); err != nil {
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
