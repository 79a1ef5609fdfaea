package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"postern/audit"
	"postern/cmd/internal/peers"
	"postern/cmd/internal/show"
	"postern/proxy"
	"postern/tlsup/acmetest"
)

// pop is the name that the stories below order a certificate for, besides localhost, which real clients can find.
const pop = "pop.example.test"

// acmeGate runs the program as the README says, against a real authority instead of Let's Encrypt, until the test ends
// or stop is called.
func acmeGate(t *testing.T, authority *acmetest.Authority, backend string, alice peers.Account, flags ...string) (g *gate, stop func()) {
	t.Helper()
	g = newGate(t, []peers.Account{alice})
	args := append([]string{"serve", "--backend", backend, "--acme-domain", pop, "--acme-domain", "localhost",
		"--acme-ca", authority.Directory, "--acme-roots", authority.RootsFile, "--data-dir", g.dir,
		"--listen-pop3s", "127.0.0.1:0", "--listen-pop3", "127.0.0.1:0", "--web", "127.0.0.1:0", "--log-format", "json"}, flags...)
	return g, g.launch(t, args)
}

// launch runs serve with args and waits until it listens.
func (g *gate) launch(t *testing.T, args []string) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	g.log, g.pop3s, g.pop3, g.web = &logBuffer{}, "", "", ""
	go func() { ended <- run(ctx, args, strings.NewReader(""), io.Discard, g.log) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("serve ended with: %v", err)
		}
		g.secrets.searchAll(t, g)
		g.showLog(t)
	})
	t.Cleanup(stop)
	g.waitReady(t)
	return stop
}

// certificateOf shakes hands for a name and returns the certificate that it was served, or why roots do not vouch for it.
func (g *gate) certificateOf(name string, roots *x509.CertPool) (*x509.Certificate, error) {
	conn, err := tls.Dial("tcp", g.pop3s, &tls.Config{RootCAs: roots, ServerName: name, NextProtos: []string{"pop3"}})
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0], nil
}

// certs is what postern certs --json lists for a name that was ordered.
func (g *gate) certs(t *testing.T, name string) (found show.Certificate) {
	t.Helper()
	for line := range strings.Lines(g.command(t, "certs", "--json")) {
		var c show.Certificate
		if err := json.Unmarshal([]byte(line), &c); err != nil {
			t.Fatal(err)
		}
		if c.Source == "acme" && slices.Contains(c.Names, name) {
			return c
		}
	}
	t.Fatalf("no order of %s is listed", name)
	return found
}

// turnsOf lists what the log tells of a name's certificates.
func (g *gate) turnsOf(t *testing.T, name string) (told []string) {
	t.Helper()
	records, err := g.reader(t).Records(t.Context(), 0, 1000, audit.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range records {
		if r.Kind == proxy.KindCertificate && strings.Contains(r.Arg, name) {
			told = append(told, r.Detail+" "+r.Text)
		}
	}
	return told
}

// gated holds orders back until it is opened.
type gated struct{ open chan struct{} }

func (o gated) intercept(_ http.ResponseWriter, r *http.Request) bool {
	if strings.HasSuffix(r.URL.Path, "/order-plz") {
		<-o.open
	}
	return false
}

// localRoots are those of the local authority, as postern ca export gives them.
func (g *gate) localRoots(t *testing.T) *x509.CertPool {
	t.Helper()
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(g.command(t, "ca", "export"))) {
		t.Fatal("postern ca export gives no certificate")
	}
	return roots
}

// One command leads from nothing to a session with a certificate that a public authority vouches for. Until that is
// there the local authority stands in; the change needs nobody, and can be seen everywhere.
func TestFromNothingToACertificate(t *testing.T) {
	t.Parallel()
	alice := peers.Account{User: "alice", Password: "e2e from nothing 5Wq8", Mail: peers.Small(3)}
	backend := peers.Dovecot(t, alice)
	orders := gated{make(chan struct{})}
	httpPort, tlsPort := acmetest.FreePort(t), acmetest.FreePort(t)
	authority := acmetest.Start(t, acmetest.Config{HTTPPort: httpPort, TLSPort: tlsPort, Intercept: orders.intercept})
	release := sync.OnceFunc(func() { close(orders.open) })
	t.Cleanup(release)
	g, stop := acmeGate(t, authority, backend.Addr, alice, "--acme-http-port", fmt.Sprint(httpPort), "--acme-tls-port", fmt.Sprint(tlsPort))

	if _, err := g.certificateOf(pop, g.localRoots(t)); err != nil {
		t.Errorf("nobody stands in: %v", err)
	}
	if c := g.certs(t, pop); c.State != show.CertificateAwaited {
		t.Errorf("awaited, it is listed as %+v", c)
	}
	contains(t, "postern certs", g.command(t, "certs"), pop, "awaited, a local one stands in")
	contains(t, "/healthz", string(g.fetch(t, "/healthz")), `"status":"ok"`, "The certificate of "+pop+" is not there yet")
	contains(t, "the log", string(g.log.bytes()), `"level":"WARN"`)

	release()
	eventually(t, "the authority's certificates", func() bool {
		_, first := g.certificateOf(pop, authority.Roots)
		_, second := g.certificateOf("localhost", authority.Roots)
		return first == nil && second == nil
	}, g.showLog)
	roots := filepath.Join(t.TempDir(), "roots.pem")
	if err := os.WriteFile(roots, authority.RootPEM, 0o600); err != nil {
		t.Fatal(err)
	}
	client := peers.Named("poplib")
	for _, mode := range []peers.Mode{peers.TLS, peers.STLS} {
		through := g.target(mode, alice)
		through.CAFile = roots
		peers.Same(t, client.Fetch(t, backend.Target(peers.Plain, alice), 3), client.Fetch(t, through, 3))
	}
	c := g.certs(t, pop)
	if c.State != show.CertificateGood || c.Serial == "" || c.Issuer == "" || c.KeyType != "ECDSA P-256" || c.NextRenewal.IsZero() {
		t.Errorf("in service, it is listed as %+v", c)
	}
	contains(t, "/metrics", string(g.fetch(t, "/metrics")), `postern_certificate_events_total{kind="obtained"} 2`,
		`postern_certificate_not_after_seconds{name="`+pop+`",source="acme"}`)
	g.renewsOnRequest(t, authority, c)
	stop()
	g.tellsItsStory(t, c)
}

// renewsOnRequest renews what has just been obtained, and asks for what nobody has.
func (g *gate) renewsOnRequest(t *testing.T, authority *acmetest.Authority, old show.Certificate) {
	t.Helper()
	out := g.command(t, "certs", "renew", pop)
	fresh := g.certs(t, pop)
	contains(t, "postern certs renew", out, "Renewed after ", pop+", serial "+fresh.Serial+" by "+fresh.Issuer+" until ")
	if fresh.Serial == old.Serial {
		t.Errorf("the certificate %s is still there", old.Serial)
	}
	if cert, err := g.certificateOf(pop, authority.Roots); err != nil || fmt.Sprintf("%x", cert.SerialNumber.Bytes()) != fresh.Serial {
		t.Errorf("not the new certificate is served, %v", err)
	}
	var errs bytes.Buffer
	err := run(t.Context(), []string{"certs", "renew", "nobody.example", "--data-dir", g.dir}, strings.NewReader(""), io.Discard, &errs)
	if exitCode(err) != 1 || !strings.Contains(err.Error(), "no certificate has the name \"nobody.example\"; there are ") {
		t.Errorf("renewing an unknown name ended with %v", err)
	}
}

// tellsItsStory finds all of it in the log.
func (g *gate) tellsItsStory(t *testing.T, first show.Certificate) {
	t.Helper()
	var kinds []string
	for _, turn := range g.turnsOf(t, pop) {
		kind, _, _ := strings.Cut(turn, " ")
		kinds = append(kinds, kind)
	}
	if want := []string{"fallback", "obtained", "renewed"}; !slices.Equal(kinds, want) {
		t.Errorf("the log tells %q, want %q", kinds, want)
	}
	contains(t, "the record of the first certificate", strings.Join(g.turnsOf(t, pop), "\n"),
		"obtained serial "+first.Serial+" by "+first.Issuer+" until "+first.NotAfter.UTC().Format("2006-01-02 15:04 UTC"))
	if left, err := os.ReadDir(g.dir); err != nil || slices.ContainsFunc(left, func(e os.DirEntry) bool { return e.Name() == "control.sock" }) {
		t.Errorf("the control socket is left behind, %v", err)
	}
}

// An authority that is away is told in one line with the remedy, the listener stays up, and a second start serves
// what the first obtained without an order.
func TestAnAuthorityThatIsAway(t *testing.T) {
	t.Parallel()
	alice := peers.Account{User: "alice", Password: "e2e authority away 1Zb7", Mail: peers.Small(1)}
	backend := peers.Dovecot(t, alice)
	httpPort := acmetest.FreePort(t)
	authority := acmetest.Start(t, acmetest.Config{HTTPPort: httpPort, TLSPort: acmetest.FreePort(t)})
	authority.Stop()
	flags := []string{"--acme-http-port", fmt.Sprint(httpPort), "--acme-tls-port", "0"}
	g, stop := acmeGate(t, authority, backend.Addr, alice, flags...)
	eventually(t, "the error in postern certs", func() bool { return g.certs(t, pop).Err != "" }, g.showLog)
	contains(t, "postern certs", g.command(t, "certs"), "awaited, a local one stands in", "last error", "cannot be reached")
	if _, err := g.certificateOf(pop, g.localRoots(t)); err != nil {
		t.Errorf("nobody stands in: %v", err)
	}
	authority.Return(t)
	contains(t, "postern certs renew", g.command(t, "certs", "renew", pop), "Renewed after ", pop)
	contains(t, "postern certs renew", g.command(t, "certs", "renew", "localhost"), "Renewed after ", "localhost")
	if _, err := g.certificateOf(pop, authority.Roots); err != nil {
		t.Errorf("after the authority came back: %v", err)
	}
	stop()

	orders := authority.Orders()
	again := []string{"serve", "--backend", backend.Addr, "--acme-domain", pop, "--acme-domain", "localhost", "--acme-ca", authority.Directory,
		"--acme-roots", authority.RootsFile, "--data-dir", g.dir, "--listen-pop3s", "127.0.0.1:0", "--listen-pop3", "127.0.0.1:0",
		"--web", "127.0.0.1:0", "--log-format", "json"}
	g.launch(t, append(again, flags...))
	eventually(t, "what is on disk to be served", func() bool {
		_, err := g.certificateOf(pop, authority.Roots)
		return err == nil
	}, g.showLog)
	if now := authority.Orders(); now != orders {
		t.Errorf("the second start made %d orders", now-orders)
	}
}
