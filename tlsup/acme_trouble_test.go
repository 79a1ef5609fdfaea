package tlsup

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"

	"postern/tlsup/acmetest"
)

// firstFailure waits for one, and returns its one line.
func (w *acmeWorld) firstFailure(t *testing.T) string {
	t.Helper()
	eventually(t, "a failure", func() bool { return len(w.told(EventFailed)) > 0 })
	err := w.told(EventFailed)[0].Err
	if strings.Contains(err, "\n") || !strings.Contains(w.log.String(), err[:20]) {
		t.Errorf("not one line, or not in the log: %s", err)
	}
	return err
}

// want checks that a text has all the parts.
func want(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%q lacks %q", text, part)
		}
	}
}

// What a real authority says reaches the operator with its words and a remedy.
func TestACMEProblems(t *testing.T) {
	key := base64.RawURLEncoding.EncodeToString([]byte("an external account's MAC key...."))
	limit := func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, "/order-plz") {
			return false
		}
		acmetest.Problem(w, http.StatusTooManyRequests, "rateLimited", "too many certificates (5) already issued in the last 168h0m0s, "+
			"retry after 2031-02-03 04:05:06 UTC: see https://letsencrypt.org/docs/rate-limits/")
		return true
	}
	tests := map[string]struct {
		authority acmetest.Config
		change    func(*testing.T, *acmeWorld)
		want      []string
	}{
		"port closed": {change: func(_ *testing.T, w *acmeWorld) { w.config.HTTPPort = acmetest.FreePort(t) },
			want: []string{"the authority cannot reach", "open port 80", "connection refused"}},
		"another server": {change: func(t *testing.T, w *acmeWorld) {
			serveNothing(t, fmt.Sprintf("127.0.0.1:%d", w.config.HTTPPort))
		}, want: []string{"another machine answers", "point its A and AAAA records here", "port 80"}},
		"not vouched for": {authority: acmetest.Config{Blocked: []string{"not-vouched-for.test"}},
			want: []string{"does not vouch for", "leave the name out", "acme-ca"}},
		"rate limit":       {authority: acmetest.Config{Intercept: limit}, want: []string{"limits orders", "too many certificates (5)", "again at 2031-02-03T04:05:06Z"}},
		"account demanded": {authority: acmetest.Config{EAB: map[string]string{"kid": key}}, want: []string{"external account", "acme-eab-kid"}},
		"account unknown": {authority: acmetest.Config{EAB: map[string]string{"kid": key}}, change: eab("other", key),
			want: []string{"refuses the account", "acme-eab-key-file"}},
		"account key wrong": {authority: acmetest.Config{EAB: map[string]string{"kid": key}}, change: eab("kid", key[4:]),
			want: []string{"refuses the account", "acme-eab-key-file"}},
		"profile": {change: func(_ *testing.T, w *acmeWorld) { w.config.Profile = "nonesuch" },
			want: []string{"does not know the profile", "nonesuch", "acme-profile"}},
		"roots":      {change: func(_ *testing.T, w *acmeWorld) { w.config.Roots = "" }, want: []string{"is not trusted", "acme-roots"}},
		"directory":  {change: func(_ *testing.T, w *acmeWorld) { w.config.Directory += "/nowhere" }, want: []string{"is no ACME directory", "acme-ca"}},
		"plain HTTP": {change: plainDirectory, want: []string{"cannot be reached", "acme-ca"}},
		"host name": {change: func(_ *testing.T, w *acmeWorld) { w.config.Directory = "https://nowhere.invalid/dir" },
			want: []string{"cannot be reached", "nowhere.invalid", "acme-ca"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newACMEWorld(t, test.authority, strings.ReplaceAll(name, " ", "-")+".test")
			w.config.pace.retry = []time.Duration{time.Hour}
			if test.change != nil {
				test.change(t, w)
			}
			w.open(t)
			want(t, w.firstFailure(t), test.want...)
		})
	}
}

// eab configures an external account.
func eab(id, key string) func(*testing.T, *acmeWorld) {
	return func(t *testing.T, w *acmeWorld) {
		w.config.EABKeyID, w.config.EABKeyFile = id, filepath.Join(t.TempDir(), "eab.key")
		if err := os.WriteFile(w.config.EABKeyFile, []byte(key+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// plainDirectory names a server that speaks no TLS.
func plainDirectory(t *testing.T, w *acmeWorld) {
	addr := acmetest.FreeAddr(t)
	serveNothing(t, addr)
	w.config.Directory = "https://" + addr + "/dir"
}

// serveNothing answers by HTTP that there is nothing.
func serveNothing(t *testing.T, addr string) {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: http.NotFoundHandler()}
	go s.Serve(l)
	t.Cleanup(func() { s.Close() })
}

// An external account's key is taken in either alphabet, and reaches neither log nor events.
func TestACMEExternalAccount(t *testing.T) {
	raw := []byte{0xfb, 0xff, 0xfe, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29}
	w := newACMEWorld(t, acmetest.Config{EAB: map[string]string{"kid": base64.RawURLEncoding.EncodeToString(raw)}}, "eab.example.test")
	padded := base64.StdEncoding.EncodeToString(raw)
	eab("kid", padded)(t, w)
	obtained(t, w.open(t), 1)
	if strings.Contains(w.log.String(), padded[:12]) || strings.Contains(w.log.String(), w.config.EABKeyFile) {
		t.Error("the log tells the key")
	}
}

// An authority that rejects half of all nonces is nothing to bother the operator with.
func TestACMENonces(t *testing.T) {
	w := newACMEWorld(t, acmetest.Config{RejectNonces: 50}, "nonces.example.test")
	a := w.open(t)
	obtained(t, a, 1)
	checkQuiet(t, w, "nonces.example.test")
	if len(w.told(EventFailed)) != 0 {
		t.Errorf("failures %+v", w.told(EventFailed))
	}
}

// A limited order is not tried again before its time, unless the operator says so.
func TestACMERateLimit(t *testing.T) {
	var limited atomic.Bool
	limited.Store(true)
	until := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	w := newACMEWorld(t, acmetest.Config{Intercept: func(w http.ResponseWriter, r *http.Request) bool {
		if !limited.Load() || !strings.HasSuffix(r.URL.Path, "/order-plz") {
			return false
		}
		acmetest.Problem(w, http.StatusTooManyRequests, "rateLimited", "too many new orders, retry after "+until.Format("2006-01-02 15:04:05 MST"))
		return true
	}}, "limit.example.test")
	a := w.open(t)
	want(t, w.firstFailure(t), until.Format(time.RFC3339))
	limited.Store(false)
	time.Sleep(300 * time.Millisecond) // six times the usual pause: what must not happen has no signal
	if n := w.ca.Orders(); n != 1 {
		t.Errorf("%d orders though the authority asked for patience", n)
	}
	if err := a.renew(t.Context(), "limit.example.test"); err != nil {
		t.Error(err)
	}
	if got := obtained(t, a, 1)[0]; got.Err != "" || w.ca.Orders() != 2 {
		t.Errorf("in service: %+v after %d orders", got, w.ca.Orders())
	}
	if err := a.renew(t.Context(), "other.example.test"); !errors.Is(err, ErrUnknownName) {
		t.Errorf("error %v", err)
	}
}

// A certificate that the authority revoked is replaced, whether it says so by OCSP or by its renewal information.
func TestACMERevoked(t *testing.T) {
	for name, c := range map[string]acmetest.Config{"ocsp": {OCSP: true}, "ari": {RenewalInfo: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			name += "-revoked.example.test"
			w := newACMEWorld(t, c, name)
			w.config.pace.ocsp = 100 * time.Millisecond
			a := w.open(t)
			first := obtained(t, a, 1)[0]
			serial, _ := new(big.Int).SetString(first.Serial, 16)
			w.ca.Revoke(t, serial)
			eventually(t, "a renewal", func() bool { return len(w.told(EventRenewed)) > 0 })
			leaf, err := shake(t, a, &tls.Config{RootCAs: w.ca.Roots, ServerName: name})
			if err != nil || leaf.SerialNumber.Cmp(serial) == 0 {
				t.Errorf("served %v, error %v", leaf, err)
			}
			if revoked := w.told(EventRevoked); c.OCSP && (len(revoked) != 1 || revoked[0].Serial != first.Serial) {
				t.Errorf("events %+v", revoked)
			}
		})
	}
}

// The authority says when to renew, and is heeded.
func TestACMERenewalInformation(t *testing.T) {
	w := newACMEWorld(t, acmetest.Config{RenewalInfo: true}, "ari.example.test")
	a := w.open(t)
	first := obtained(t, a, 1)[0]
	ideal := first.NotAfter.Add(-first.NotAfter.Sub(first.NotBefore) / 3)
	if d := first.NextRenewal.Sub(ideal).Abs(); d == 0 || d > 25*time.Hour {
		t.Errorf("next renewal %v, want a moment in the two days around %v", first.NextRenewal, ideal)
	}
	serial, _ := new(big.Int).SetString(first.Serial, 16)
	later := first.NotAfter.Add(-5 * 24 * time.Hour)
	w.ca.SuggestRenewal(t, serial, later, later.Add(time.Hour))
	eventually(t, "another moment", func() bool {
		next := a.certificates()[0].NextRenewal
		return !next.Before(later) && !next.After(later.Add(time.Hour))
	})
	w.ca.SuggestRenewal(t, serial, time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour))
	eventually(t, "a renewal", func() bool { return len(w.told(EventRenewed)) > 0 })
}

// Names on the list are ordered when a client asks for them, and no others, however many are asked for.
func TestACMEOnDemand(t *testing.T) {
	w := newACMEWorld(t, acmetest.Config{})
	w.config.OnDemand = []string{"demand.example.test", "never.example.test"}
	a := w.open(t)
	if got := a.certificates(); len(got) != 0 {
		t.Errorf("ordered before anybody asked: %+v", got)
	}
	hello := &tls.ClientHelloInfo{}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range 10_000 {
		if a.certificate(hello, fmt.Sprintf("%x.random%d.example.test", i*7919, i)) != nil {
			t.Fatal("a certificate for a random name")
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 1<<20 || w.ca.Orders() != 0 || len(a.orders) != 2 {
		t.Errorf("memory grew by %d octets, %d orders", grown, w.ca.Orders())
	}
	// The one that asks first waits for it.
	if _, err := shake(t, a, &tls.Config{RootCAs: w.ca.Roots, ServerName: "demand.example.test"}); err != nil {
		t.Error(err)
	}
	if got := a.certificates(); len(got) != 1 || w.ca.Orders() != 1 {
		t.Errorf("%d orders, in service %+v", w.ca.Orders(), got)
	}
	a.close()
	w.ca.Stop()
	// After a restart it is there without anybody asking, so that it is renewed too.
	obtained(t, w.open(t), 1)
}

// Who asks for a certificate on demand while the authority is away waits for one attempt, and those after it not at all.
func TestACMEOnDemandPatience(t *testing.T) {
	w := newACMEWorld(t, acmetest.Config{})
	w.ca.Stop()
	w.config.OnDemand = []string{"patience.example.test"}
	a := w.open(t)
	start := time.Now()
	for range 20 {
		if _, err := shake(t, a, &tls.Config{RootCAs: w.ca.Roots, ServerName: "patience.example.test"}); err == nil {
			t.Error("a certificate out of nowhere")
		}
	}
	if took := time.Since(start); took > orderWait {
		t.Errorf("twenty clients waited %v", took)
	}
}

// One order registers the account at a time, whichever address each takes it to have.
func TestACMEAccountIsRegisteredOnce(t *testing.T) {
	s := acmeStorage{FileStorage: &certmagic.FileStorage{Path: t.TempDir()}, folder: ecdsaFolder, log: slog.New(slog.DiscardHandler)}
	if err := s.Lock(t.Context(), registering); err != nil {
		t.Fatal(err)
	}
	soon, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := s.Lock(soon, registering+"_default"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("two register at once: %v", err)
	}
	if err := s.Unlock(t.Context(), registering); err != nil {
		t.Fatal(err)
	}
	if err := s.Lock(t.Context(), registering+"_default"); err != nil {
		t.Error(err)
	}
}
