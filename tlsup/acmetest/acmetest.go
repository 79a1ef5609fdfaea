// Package acmetest is support for tests: a real ACME authority (letsencrypt/pebble) that runs inside the test, and a
// real name server (ISC's named) that takes dynamic updates. Nothing of the product imports it.
//
// The authority validates for real: it asks DNS, and connects to the ports that it was told. Beyond what pebble does, a
// test can take it off the network and back, count its orders, make it refuse, and revoke what it issued.
package acmetest

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"log"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/letsencrypt/challtestsrv"
	"github.com/letsencrypt/pebble/v2/ca"
	"github.com/letsencrypt/pebble/v2/core"
	"github.com/letsencrypt/pebble/v2/db"
	"github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"
)

// Config says what an Authority is like. The zero Config validates on ports 80 and 443 and issues for 90 days.
type Config struct {
	HTTPPort, TLSPort int                      // where it validates
	Resolver          string                   // host:port of the name server it asks; "": one where every name is 127.0.0.1
	Profiles          map[string]time.Duration // how long certificates are good; nil: 90 days
	EAB               map[string]string        // base64url keys of external accounts, by their id; one is then demanded
	Blocked           []string                 // domains it does not vouch for
	RejectNonces      int                      // per cent of good nonces that it rejects
	RenewalInfo       bool                     // it tells by ARI (RFC 9773) when to renew
	OCSP              bool                     // certificates name its responder, and have RSA issuers
	// Intercept, if not nil, sees every request first; true says that it has answered.
	Intercept func(http.ResponseWriter, *http.Request) bool
}

// Authority is a running ACME authority.
type Authority struct {
	Directory string         // its URL
	RootsFile string         // PEM file of what vouches for the directory's own TLS
	Roots     *x509.CertPool // what vouches for the certificates that it issues
	RootPEM   []byte         // the same

	config  Config
	handler http.Handler
	store   *db.MemoryStore
	issuer  *x509.Certificate
	key     crypto.Signer // of issuer; nil unless Config.OCSP
	addr    string
	server  *httptest.Server // owned by the test
	log     book
	orders  atomic.Int64
}

// environment guards the variables through which pebble is told what it has no arguments for.
var environment sync.Mutex

// Start runs an Authority until the end of the test.
func Start(t testing.TB, c Config) *Authority {
	t.Helper()
	a := &Authority{Roots: x509.NewCertPool(), config: c, store: db.NewMemoryStore(), addr: FreeAddr(t)}
	logger := log.New(&a.log, "", 0)
	if c.Resolver == "" {
		c.Resolver = startDNS(t, logger)
	}
	authority := ca.New(logger, a.store, a.responder(t), map[bool]string{false: "ecdsa", true: "rsa"}[c.OCSP], 0, 1, profiles(c))
	a.issuer = authority.GetIntermediateCert(0).Cert
	if key := authority.GetIntermediateKey(0); key != nil {
		a.key = key
	}
	a.handler = a.front(t, c, logger, authority)
	a.trust(authority.GetRootCert(0))
	a.Return(t)
	a.keepRoots(t)
	t.Cleanup(func() {
		a.Stop()
		if t.Failed() {
			t.Log(a.log.String())
		}
	})
	return a
}

// front makes pebble's web front, as the environment tells it to be.
func (a *Authority) front(t testing.TB, c Config, logger *log.Logger, authority *ca.CAImpl) http.Handler {
	t.Helper()
	for id, key := range c.EAB {
		if err := a.store.AddExternalAccountKeyByID(id, key); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range c.Blocked {
		if err := a.store.AddBlockedDomain(name); err != nil {
			t.Fatal(err)
		}
	}
	environment.Lock()
	defer environment.Unlock()
	os.Setenv("PEBBLE_VA_NOSLEEP", "1") // else validations wait up to 5 s
	os.Setenv("PEBBLE_WFE_NONCEREJECT", strconv.Itoa(c.RejectNonces))
	os.Setenv("PEBBLE_AUTHZREUSE", "0") // else some orders need no validation
	validator := va.New(logger, c.HTTPPort, c.TLSPort, true, c.Resolver, a.store)
	front := wfe.New(logger, a.store, validator, authority, []string{"pebble.test"}, true, len(c.EAB) > 0, 0, 0)
	return front.Handler()
}

func profiles(c Config) map[string]ca.Profile {
	if c.Profiles == nil {
		c.Profiles = map[string]time.Duration{"default": 90 * 24 * time.Hour}
	}
	out := make(map[string]ca.Profile)
	for name, life := range c.Profiles {
		out[name] = ca.Profile{Description: life.String(), ValidityPeriod: uint64(life / time.Second)}
	}
	return out
}

func (a *Authority) trust(root *core.Certificate) {
	a.Roots.AddCert(root.Cert)
	a.RootPEM = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root.Cert.Raw})
}

func (a *Authority) keepRoots(t testing.TB) {
	a.RootsFile = filepath.Join(t.TempDir(), "api.pem")
	b := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.server.Certificate().Raw})
	if err := os.WriteFile(a.RootsFile, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// ServeHTTP is the authority's front: it counts orders, lets the test answer first, and keeps ARI to itself unless told.
func (a *Authority) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasSuffix(r.URL.Path, "/order-plz") {
		a.orders.Add(1)
	}
	if a.config.Intercept != nil && a.config.Intercept(w, r) {
		return
	}
	answer := httptest.NewRecorder()
	a.handler.ServeHTTP(answer, r)
	maps.Copy(w.Header(), answer.Header())
	if strings.Contains(r.URL.Path, "/renewalInfo/") {
		w.Header().Del("Retry-After") // else nobody asks again within the test
	}
	w.WriteHeader(answer.Code)
	body := answer.Body.Bytes()
	if r.URL.Path == wfe.DirectoryPath && !a.config.RenewalInfo {
		body = bytes.Replace(body, []byte(`"renewalInfo"`), []byte(`"hidden"`), 1)
	}
	w.Write(body)
}

// Stop takes the authority off the network: who connects is refused.
func (a *Authority) Stop() {
	if a.server != nil {
		a.server.Close()
	}
	a.server = nil
}

// Return puts it back, at the address that it had.
func (a *Authority) Return(t testing.TB) {
	t.Helper()
	l, err := net.Listen("tcp", a.addr)
	if err != nil {
		t.Fatal(err)
	}
	a.server = httptest.NewUnstartedServer(a)
	a.server.Listener.Close()
	a.server.Listener = l
	a.server.Config.ErrorLog = log.New(&a.log, "", 0)
	a.server.StartTLS()
	a.Directory = a.server.URL + wfe.DirectoryPath
}

// Orders counts the orders that came, granted or not.
func (a *Authority) Orders() int { return int(a.orders.Load()) }

// Problem answers a request with an ACME problem (RFC 8555 section 6.7) in the authority's place.
func Problem(w http.ResponseWriter, status int, kind, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"type":"urn:ietf:params:acme:error:%s","detail":%q,"status":%d}`, kind, detail, status)
}

// startDNS serves a zone in which every name is 127.0.0.1.
func startDNS(t testing.TB, logger *log.Logger) string {
	t.Helper()
	addr := FreeAddr(t)
	dns, err := challtestsrv.New(challtestsrv.Config{Log: logger, DNSAddrs: []string{addr}})
	if err != nil {
		t.Fatal(err)
	}
	dns.SetDefaultDNSIPv4("127.0.0.1")
	dns.SetDefaultDNSIPv6("")
	go dns.Run()
	t.Cleanup(dns.Shutdown)
	return addr
}

// FreeAddr finds a loopback port that nobody uses, neither by TCP nor by UDP. It is below those that systems give out by
// themselves (32768 and up): until the test listens there, nobody comes by it but by the same chance.
func FreeAddr(t testing.TB) string {
	t.Helper()
	for range 100 {
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(10_000+rand.IntN(22_000)))
		l, err := net.Listen("tcp", addr)
		if err != nil {
			continue
		}
		u, err := net.ListenPacket("udp", addr)
		l.Close()
		if err == nil {
			u.Close()
			return addr
		}
	}
	t.Fatal("no port is free")
	return ""
}

// FreePort is the port of FreeAddr.
func FreePort(t testing.TB) int {
	t.Helper()
	addr, err := net.ResolveTCPAddr("tcp", FreeAddr(t))
	if err != nil {
		t.Fatal(err)
	}
	return addr.Port
}

// book collects what is logged, from any goroutine.
type book struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write implements io.Writer.
func (l *book) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// String is all that was written.
func (l *book) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
