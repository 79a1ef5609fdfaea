package tlsup

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"postern/tlsup/acmetest"

	"github.com/mholt/acmez/v3/acme"
)

// newDNSWorld starts an authority that can validate by DNS only, asking a real named that takes updates.
func newDNSWorld(t *testing.T, zone, algorithm string, domains ...string) (*acmeWorld, *acmetest.NameServer) {
	t.Helper()
	named := acmetest.StartNamed(t, zone, algorithm, zone)
	w := newACMEWorld(t, acmetest.Config{Resolver: named.Addr}, domains...)
	w.config.HTTPPort = -1
	w.config.DNS = DNS{Server: named.Addr, TSIGName: named.KeyName, TSIGAlgorithm: algorithm, TSIGKeyFile: named.KeyFile,
		Resolvers: []string{named.Addr}, Propagation: 5 * time.Second}
	return w, named
}

// A host name, wildcards and a delegated name are validated through a real name server, which keeps nothing.
func TestACMEByDNSUpdate(t *testing.T) {
	for _, algorithm := range []string{"hmac-sha256", "hmac-sha512"} {
		t.Run(algorithm, func(t *testing.T) {
			t.Parallel()
			zone := algorithm + ".test"
			domains := []string{zone, "*." + zone, "alias." + zone}
			w, named := newDNSWorld(t, zone, algorithm, domains...)
			if algorithm == "hmac-sha512" {
				w.config.DNS.Zone = zone
			}
			a := w.open(t)
			for i, got := range obtained(t, a, 3) {
				if !slices.Equal(got.Names, []string{domains[i]}) || got.Err != "" {
					t.Errorf("in service: %+v", got)
				}
			}
			if o := a.order("any." + zone); o == nil || o.name != "*."+zone {
				t.Error("the wildcard does not answer for its names")
			}
			if a.order("two.labels."+zone) != nil || a.order("test") != nil {
				t.Error("a wildcard answers for names that are not its own")
			}
			for _, name := range []string{"_acme-challenge." + zone, "_acme-challenge.target." + zone} {
				if left := named.Values(t, name); len(left) != 0 {
					t.Errorf("left at %s: %q", name, left)
				}
			}
			checkQuiet(t, w, zone)
		})
	}
}

// What goes wrong with updates is told by what is to be mended.
func TestDNSUpdateProblems(t *testing.T) {
	named := acmetest.StartNamed(t, "problems.test", "hmac-sha256", "allowed.problems.test")
	wrong := filepath.Join(t.TempDir(), "wrong.key")
	if err := os.WriteFile(wrong, []byte("c29tZSBvdGhlciBzZWNyZXQ="), 0o600); err != nil {
		t.Fatal(err)
	}
	nobody := acmetest.FreeAddr(t)
	good := DNS{Server: named.Addr, TSIGName: named.KeyName, TSIGKeyFile: named.KeyFile}
	tests := map[string]struct {
		change func(*DNS)
		name   string
		want   []string
	}{
		"right":        {func(*DNS) {}, "allowed.problems.test", nil},
		"refused":      {func(*DNS) {}, "other.problems.test", []string{"refuses to change other.problems.test", "update-policy", named.KeyName}},
		"unsigned":     {func(c *DNS) { c.TSIGName, c.TSIGKeyFile = "", "" }, "allowed.problems.test", []string{"refuses"}},
		"wrong secret": {func(c *DNS) { c.TSIGKeyFile = wrong }, "allowed.problems.test", []string{"does not accept TSIG key postern", "acme-dns-tsig"}},
		"wrong name":   {func(c *DNS) { c.TSIGName = "other" }, "allowed.problems.test", []string{"does not accept TSIG key other"}},
		"other zone":   {func(c *DNS) { c.Zone = "elsewhere.test" }, "a.elsewhere.test", []string{"not in charge of zone elsewhere.test", "acme-dns-zone"}},
		"no zone":      {func(*DNS) {}, "a.elsewhere.test", []string{"has no zone for a.elsewhere.test", "acme-dns-zone"}},
		"nobody there": {func(c *DNS) { c.Server = nobody }, "allowed.problems.test", []string{nobody, "connection refused", "TCP"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			c := good
			test.change(&c)
			u, err := newDNSUpdates(c)
			if err != nil {
				t.Fatal(err)
			}
			err = u.present(t.Context(), test.name, "value")
			if (err == nil) != (test.want == nil) {
				t.Fatalf("error %v", err)
			}
			if err != nil {
				want(t, explain(fmt.Errorf("wrapped: %w", err), orderFacts{}), test.want...)
				return
			}
			if err := u.cleanup(t.Context(), test.name, "value"); err != nil {
				t.Error(err)
			}
		})
	}
}

// A record is one of several at its name; the others stay.
func TestDNSUpdateSparesOthers(t *testing.T) {
	named := acmetest.StartNamed(t, "others.test", "hmac-sha256", "others.test")
	u, err := newDNSUpdates(DNS{Server: named.Addr, TSIGName: named.KeyName, TSIGKeyFile: named.KeyFile})
	if err != nil {
		t.Fatal(err)
	}
	for _, value := range []string{"one", "two"} {
		if err := u.present(t.Context(), "_acme-challenge.others.test", value); err != nil {
			t.Fatal(err)
		}
	}
	if err := u.cleanup(t.Context(), "_acme-challenge.others.test", "one"); err != nil {
		t.Fatal(err)
	}
	if left := named.Values(t, "_acme-challenge.others.test"); !slices.Equal(left, []string{"two"}) {
		t.Errorf("left: %q", left)
	}
}

// Without resolvers named, a zone's own servers are asked whether the record is seen.
func TestDNSWait(t *testing.T) {
	named := acmetest.StartNamed(t, "wait.test", "hmac-sha256", "wait.test")
	s, err := newDNSSolver(DNS{Server: named.Addr, TSIGName: named.KeyName, TSIGKeyFile: named.KeyFile, Propagation: 300 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(named.Addr)
	if err != nil {
		t.Fatal(err)
	}
	s.system, s.port, s.poll = []string{named.Addr}, port, 10*time.Millisecond
	challenge := acme.Challenge{Type: acme.ChallengeTypeDNS01, KeyAuthorization: "token.thumbprint",
		Identifier: acme.Identifier{Type: "dns", Value: "alias.wait.test"}}
	if got := s.nameServers(t.Context(), "deep.below.wait.test"); !slices.Equal(got, []string{named.Addr}) {
		t.Errorf("name servers %q", got)
	}
	want(t, fmt.Sprint(s.Wait(t.Context(), challenge)), "TXT _acme-challenge.target.wait.test is not seen at "+named.Addr, "acme-dns-propagation")
	if err := s.Present(t.Context(), challenge); err != nil {
		t.Fatal(err)
	}
	if err := s.Wait(t.Context(), challenge); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Wait(ctx, challenge); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	s.system = nil
	want(t, fmt.Sprint(s.Wait(t.Context(), challenge)), "name servers", "acme-dns-resolver")
}

// hook writes a shell script.
func hook(t *testing.T, script string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "hook")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

// A hook such as operators write, with BIND's own nsupdate, carries a wildcard.
func TestACMEByHook(t *testing.T) {
	w, named := newDNSWorld(t, "hook.test", "hmac-sha256", "*.hook.test")
	secret, err := os.ReadFile(named.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	host, port, err := net.SplitHostPort(named.Addr)
	if err != nil {
		t.Fatal(err)
	}
	w.config.DNS = DNS{Resolvers: []string{named.Addr}, Hook: hook(t, fmt.Sprintf(`
case $1 in present) do="add $2 30 TXT $3" ;; cleanup) do="delete $2 TXT $3" ;; *) exit 2 ;; esac
printf 'server %s %s\nupdate %%s\nsend\n' "$do" | nsupdate -y hmac-sha256:%s:%s
`, host, port, named.KeyName, strings.TrimSpace(string(secret))))}
	obtained(t, w.open(t), 1)
	if left := named.Values(t, "_acme-challenge.hook.test"); len(left) != 0 {
		t.Errorf("left: %q", left)
	}
}

func TestDNSHook(t *testing.T) {
	t.Setenv("POSTERN_ACME_EAB_KEY_FILE", "secret-place")
	t.Setenv("PROVIDER_TOKEN", "for-the-hook")
	out := filepath.Join(t.TempDir(), "out")
	tests := map[string]struct {
		script string
		limit  time.Duration
		want   []string
	}{
		"right":         {`echo "$@ $PROVIDER_TOKEN $POSTERN_ACME_EAB_KEY_FILE" > ` + out, time.Minute, nil},
		"failed":        {"echo zone is locked >&2; echo try later >&2; exit 7", time.Minute, []string{"present a.test", "exit status 7", "it says: zone is locked try later"}},
		"silent":        {"exit 1", time.Minute, []string{"exit status 1", "it says nothing"}},
		"endless":       {"echo waiting; exec sleep 60", 100 * time.Millisecond, []string{"was stopped after 100ms", "waiting"}},
		"flood":         {"yes | head -c 1000000 >&2; exit 1", time.Minute, []string{"y y y"}},
		"children stay": {"sleep 60 & exit 0", time.Minute, nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			h, err := newDNSHook(hook(t, test.script))
			if err != nil {
				t.Fatal(err)
			}
			h.timeout = test.limit
			start := time.Now()
			err = h.present(t.Context(), "a.test", "value")
			if took := time.Since(start); took > hookGrace+5*time.Second {
				t.Errorf("took %v", took)
			}
			if (err == nil) != (test.want == nil) {
				t.Fatalf("error %v", err)
			}
			if err != nil {
				text := explain(err, orderFacts{})
				want(t, text, test.want...)
				if len(text) > maxHookOutput+500 || strings.Contains(text, "\n") {
					t.Errorf("%d octets", len(text))
				}
			}
		})
	}
	if got, err := os.ReadFile(out); err != nil || string(got) != "present a.test value for-the-hook \n" {
		t.Errorf("the hook was run with %q, error %v", got, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := (&dnsHook{path: "/bin/sleep", timeout: time.Minute}).cleanup(ctx, "60", ""); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

// left are the records that somebody put into the DNS.
type left map[string]bool

func (l left) present(ctx context.Context, name, _ string) error {
	l[name] = true
	return ctx.Err()
}

func (l left) cleanup(ctx context.Context, name, _ string) error {
	if _, bounded := ctx.Deadline(); ctx.Err() == nil && bounded {
		delete(l, name)
	}
	return ctx.Err()
}

// An order that is given up leaves nothing in the DNS.
func TestDNSCleanUpAfterTheEnd(t *testing.T) {
	records := left{}
	s := &dnsSolver{records: records}
	challenge := acme.Challenge{Type: acme.ChallengeTypeDNS01, Identifier: acme.Identifier{Type: "dns", Value: "a.example.test"}}
	ctx, cancel := context.WithCancel(t.Context())
	if err := s.Present(ctx, challenge); err != nil || len(records) != 1 {
		t.Fatal(records, err)
	}
	cancel()
	if err := s.CleanUp(ctx, challenge); err != nil || len(records) != 0 {
		t.Errorf("left in the DNS: %v, %v", records, err)
	}
}
