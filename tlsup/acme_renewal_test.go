package tlsup

import (
	"crypto/tls"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postern/tlsup/acmetest"

	"go.uber.org/goleak"
)

// A certificate that lives for seconds is renewed in its last third, and served at once.
func TestACMERenewal(t *testing.T) {
	w := newACMEWorld(t, acmetest.Config{Profiles: map[string]time.Duration{"blink": 5 * time.Second}}, "renewal.example.test")
	w.config.Profile = "blink"
	a := w.open(t)
	first := obtained(t, a, 1)[0]
	if want := first.NotAfter.Add(-first.NotAfter.Sub(first.NotBefore) / 3); !first.NextRenewal.Equal(want) {
		t.Errorf("next renewal %v, want %v", first.NextRenewal, want)
	}
	eventually(t, "a renewal", func() bool { return len(w.told(EventRenewed)) > 0 })
	if early := first.NextRenewal.Sub(w.told(EventRenewed)[0].Time); early > time.Second {
		t.Errorf("renewed %v too early", early)
	}
	leaf, err := shake(t, a, &tls.Config{RootCAs: w.ca.Roots, ServerName: "renewal.example.test"})
	if err != nil || leaf.SerialNumber.Text(16) == first.Serial || len(w.told(EventFailed)) != 0 {
		t.Errorf("served %v, error %v, failures %+v", leaf, err, w.told(EventFailed))
	}
}

// While the authority is away nothing keeps anybody from starting, ending, or being served what there is. When it is
// back the order goes through.
func TestACMEOutage(t *testing.T) {
	w := newACMEWorld(t, acmetest.Config{}, "outage.example.test")
	w.ca.Stop()
	a := w.open(t)
	eventually(t, "a failure", func() bool { return len(w.told(EventFailed)) > 1 })
	got := a.certificates()
	if len(got) != 1 || !got[0].Awaited || !got[0].NotAfter.IsZero() || !strings.Contains(got[0].Err, "cannot be reached") || got[0].ErrAt.IsZero() {
		t.Errorf("awaited: %+v", got)
	}
	if cert := a.certificate(&tls.ClientHelloInfo{}, "outage.example.test"); cert != nil {
		t.Error("a certificate out of nowhere")
	}
	w.ca.Return(t)
	first := obtained(t, a, 1)[0]
	if first.Err != "" || !first.ErrAt.IsZero() {
		t.Errorf("an error that is over: %+v", first)
	}
	w.ca.Stop()
	if err := a.renew(t.Context(), "outage.example.test"); err == nil || !strings.Contains(err.Error(), "cannot be reached") {
		t.Errorf("renewal without an authority: error %v", err)
	}
	if got := obtained(t, a, 1)[0]; got.Serial != first.Serial || got.Err == "" {
		t.Errorf("not served on: %+v", got)
	}
	w.ca.Return(t)
	if err := a.renew(t.Context(), "outage.example.test"); err != nil {
		t.Error(err)
	}
	if got := obtained(t, a, 1)[0]; got.Serial == first.Serial || got.Err != "" || len(w.told(EventRenewed)) != 1 {
		t.Errorf("after the renewal: %+v", got)
	}
	start := time.Now()
	a.close()
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("close took %v", took)
	}
}

// Neither goroutines nor locks are left by a client that waits for its authority.
func TestACMECloseLeavesNothing(t *testing.T) {
	// What keeps a lock's file fresh sleeps five seconds before it sees that the lock is gone.
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent(),
		goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.keepLockfileFresh"))
	w := acmeWorld{dir: t.TempDir(),
		config: ACME{Domains: []string{"leak.example.test"}, Directory: "https://" + acmetest.FreeAddr(t) + "/dir", TLSPort: -1}}
	w.logger = w.log.logger(t)
	a := w.open(t)
	eventually(t, "a failure", func() bool { return len(w.told(EventFailed)) > 0 })
	a.close()
	if locks, err := filepath.Glob(filepath.Join(w.dir, "acme", "locks", "*")); err != nil || len(locks) != 0 {
		t.Errorf("locks left behind: %v, error %v", locks, err)
	}
	if len(w.told(EventFailed)) != 1 {
		t.Error("the end is taken for a failure")
	}
}
