package tlsup

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"postern/tlsup/acmetest"
)

// acmeWorld is an authority, a client of it, and what the client said.
type acmeWorld struct {
	ca     *acmetest.Authority
	config ACME
	dir    string // of data
	log    logBook
	logger *slog.Logger // into log

	mu     sync.Mutex
	events []Event
}

// newACMEWorld starts an authority that validates by HTTP-01. Every test has names of its own: certmagic counts failed
// renewals by name for the whole process.
func newACMEWorld(t *testing.T, c acmetest.Config, domains ...string) *acmeWorld {
	t.Helper()
	w := &acmeWorld{dir: t.TempDir()}
	c.HTTPPort = acmetest.FreePort(t)
	w.ca, w.logger = acmetest.Start(t, c), w.log.logger(t)
	w.config = ACME{Domains: domains, Directory: w.ca.Directory, Roots: w.ca.RootsFile,
		HTTPPort: c.HTTPPort, TLSPort: -1, Host: "127.0.0.1",
		pace: acmePace{check: 100 * time.Millisecond, retry: []time.Duration{50 * time.Millisecond}}}
	return w
}

func (w *acmeWorld) note(e Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, e)
}

// told returns the events of a kind.
func (w *acmeWorld) told(kind EventKind) (found []Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.events {
		if e.Kind == kind {
			found = append(found, e)
		}
	}
	return found
}

// open starts the client.
func (w *acmeWorld) open(t *testing.T) *acmeClient {
	t.Helper()
	a, err := openACME(t.Context(), w.config, w.dir, w.logger, w.note)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.close)
	return a
}

// eventually waits until what is so.
func eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	for end := time.Now().Add(15 * time.Second); !so(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 15 s: %s", what)
		}
	}
}

// obtained waits until nothing is awaited, and returns what is in service.
func obtained(t *testing.T, a *acmeClient, n int) []Certificate {
	t.Helper()
	eventually(t, "all certificates in service", func() bool {
		got := a.certificates()
		return len(got) == n && !slices.ContainsFunc(got, func(c Certificate) bool { return c.Awaited })
	})
	return a.certificates()
}

// serve is the server's side: what the client has for the name that is asked for, its first one if none is.
func serve(a *acmeClient) *tls.Config {
	return &tls.Config{NextProtos: []string{ProtocolPOP3, ProtocolACME},
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			if slices.Contains(hello.SupportedProtos, ProtocolACME) {
				return a.challenge(hello)
			}
			name := strings.ToLower(hello.ServerName)
			if name == "" {
				name = a.names[0]
			}
			return a.certificate(hello, name), nil
		}}
}

// shake is a handshake in memory, which returns the certificate that was served.
func shake(t *testing.T, a *acmeClient, c *tls.Config) (*x509.Certificate, error) {
	t.Helper()
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	near.SetDeadline(time.Now().Add(10 * time.Second))
	far.SetDeadline(time.Now().Add(10 * time.Second))
	server := tls.Server(far, serve(a))
	done := make(chan struct{})
	go func() { defer close(done); server.Handshake(); far.Close() }()
	client := tls.Client(near, c)
	err := client.Handshake()
	near.Close()
	<-done
	if err != nil {
		return nil, err
	}
	return client.ConnectionState().PeerCertificates[0], nil
}

// Each way in which a challenge can be met by a port ends in a certificate that a mail client verifies.
func TestACMEByPort(t *testing.T) {
	for _, challenge := range []string{"http-01", "tls-alpn-01"} {
		t.Run(challenge, func(t *testing.T) {
			port := acmetest.FreePort(t)
			w := newACMEWorld(t, acmetest.Config{TLSPort: port}, strings.ToUpper(challenge)+".Example.Test.")
			if challenge == "tls-alpn-01" {
				w.config.HTTPPort, w.config.TLSPort = -1, port
			}
			name := challenge + ".example.test"
			a := w.open(t)
			got := obtained(t, a, 1)[0]
			if !slices.Equal(got.Names, []string{name}) || got.Source != SourceACME || got.KeyType != "ECDSA P-256" ||
				time.Until(got.NotAfter) < 80*24*time.Hour || got.Err != "" || got.NextRenewal.After(got.NotAfter.Add(-29*24*time.Hour)) {
				t.Errorf("in service: %+v", got)
			}
			if !strings.Contains(w.log.String(), "challenge="+challenge) {
				t.Error("another challenge was met")
			}
			leaf, err := shake(t, a, &tls.Config{RootCAs: w.ca.Roots, ServerName: name})
			if err != nil {
				t.Fatal(err)
			}
			if _, ok := leaf.PublicKey.(*ecdsa.PublicKey); !ok {
				t.Errorf("key %T", leaf.PublicKey)
			}
			if events := w.told(EventObtained); len(events) != 1 || events[0].Serial != got.Serial || events[0].Issuer != got.Issuer ||
				!events[0].NotAfter.Equal(got.NotAfter) || events[0].Time.IsZero() || !slices.Equal(events[0].Names, got.Names) {
				t.Errorf("events %+v", events)
			}
			checkStored(t, w.dir)
			if _, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", port), time.Second); err == nil {
				t.Error("the port stays open behind the order")
			}
			checkQuiet(t, w, name)
		})
	}
}

// checkStored sees that nobody else can read what was kept.
func checkStored(t *testing.T, dir string) {
	t.Helper()
	var keys int
	err := filepath.WalkDir(filepath.Join(dir, "acme"), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		if strings.HasSuffix(path, ".key") {
			keys++
		}
		return nil
	})
	if err != nil || keys != 2 {
		t.Errorf("%d keys kept, want the account's and the certificate's; error %v", keys, err)
	}
}

// checkQuiet sees that the log tells the story, and neither nonces nor answers to challenges.
func checkQuiet(t *testing.T, w *acmeWorld, name string) {
	t.Helper()
	for _, want := range []string{"level=INFO msg=\"certificate ordered\" name=" + name, "level=INFO msg=\"certificate obtained\""} {
		if !strings.Contains(w.log.String(), want) {
			t.Errorf("the log does not say %s", want)
		}
	}
	for _, never := range []string{"Replay-Nonce", "PRIVATE KEY", "acme-challenge/", "level=ERROR", "level=WARN"} {
		if strings.Contains(w.log.String(), never) {
			t.Errorf("the log says %s", never)
		}
	}
}

// A mail listener to which the authority's port is forwarded answers validations itself.
func TestACMEOnMailListener(t *testing.T) {
	l := listen(t)
	port := l.Addr().(*net.TCPAddr).Port
	w := newACMEWorld(t, acmetest.Config{TLSPort: port}, "listener.example.test")
	w.config.HTTPPort, w.config.TLSPort = -1, port
	a := w.open(t)
	addr := greet(t, l, serve(a))
	obtained(t, a, 1)
	state, err := dial(addr, &tls.Config{RootCAs: w.ca.Roots, ServerName: "listener.example.test", NextProtos: []string{ProtocolPOP3}})
	if err != nil || state.NegotiatedProtocol != ProtocolPOP3 {
		t.Errorf("protocol %q, error %v", state.NegotiatedProtocol, err)
	}
}

// Ten orders at once, with no address to write to, make do without one, and share an account.
func TestACMEManyAtOnce(t *testing.T) {
	var domains []string
	for i := range 10 {
		domains = append(domains, fmt.Sprintf("many%d.example.test", i))
	}
	w := newACMEWorld(t, acmetest.Config{}, domains...)
	obtained(t, w.open(t), len(domains))
	if failed := w.told(EventFailed); len(failed) != 0 {
		t.Errorf("failures %+v", failed)
	}
}

// A validation that nobody ordered is not answered, and not worth a line.
func TestACMEChallengeNobodyOrdered(t *testing.T) {
	w := newACMEWorld(t, acmetest.Config{}, "quiet.example.test")
	a := w.open(t)
	obtained(t, a, 1)
	if _, err := shake(t, a, &tls.Config{RootCAs: w.ca.Roots, ServerName: "quiet.example.test", NextProtos: []string{ProtocolACME}}); err == nil {
		t.Error("a validation that nobody ordered was answered")
	}
	if strings.Contains(w.log.String(), "level=ERROR") {
		t.Error("anybody can fill the log")
	}
}

// Several names get a certificate each, of either kind of key; after a restart they are served though the authority is
// gone, each client with the kind it knows.
func TestACMEBothKeys(t *testing.T) {
	domains := []string{"both-a.example.test", "both-b.example.test"}
	w := newACMEWorld(t, acmetest.Config{}, domains...)
	w.config.RSA = true
	a := w.open(t)
	obtained(t, a, 4)
	a.close()
	w.ca.Stop()
	ordered := w.ca.Orders()
	a = w.open(t)
	obtained(t, a, 4)
	for _, name := range domains {
		leaf, err := shake(t, a, &tls.Config{RootCAs: w.ca.Roots, ServerName: name})
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := leaf.PublicKey.(*ecdsa.PublicKey); !ok {
			t.Errorf("%s: a client that knows both is served a %T", name, leaf.PublicKey)
		}
		leaf, err = shake(t, a, &tls.Config{RootCAs: w.ca.Roots, ServerName: name, MaxVersion: tls.VersionTLS12,
			CipherSuites: []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}})
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := leaf.PublicKey.(*rsa.PublicKey); !ok {
			t.Errorf("%s: a client that knows RSA only is served a %T", name, leaf.PublicKey)
		}
	}
	if w.ca.Orders() != ordered || ordered != 4 {
		t.Errorf("%d orders, then %d; want 4", ordered, w.ca.Orders())
	}
	accounts, err := filepath.Glob(filepath.Join(w.dir, "acme", "acme", "*", "users", "*"))
	if err != nil || len(accounts) != 1 {
		t.Errorf("accounts %q, want one for both kinds", accounts)
	}
}

// An address is validated by port, also where names are validated by DNS.
func TestACMEAddress(t *testing.T) {
	w := newACMEWorld(t, acmetest.Config{}, "::ffff:127.0.0.1")
	w.config.DNS.Hook = "/bin/false"
	a := w.open(t)
	if got := obtained(t, a, 1)[0]; !slices.Equal(got.Names, []string{"127.0.0.1"}) {
		t.Errorf("in service: %+v", got)
	}
	if _, err := shake(t, a, &tls.Config{RootCAs: w.ca.Roots, ServerName: "127.0.0.1"}); err != nil {
		t.Error(err)
	}
}
