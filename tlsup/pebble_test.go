package tlsup

import (
	"crypto/x509"
	"encoding/pem"
	"log"
	"net"
	"net/http/httptest"
	"testing"

	"github.com/letsencrypt/challtestsrv"
	"github.com/letsencrypt/pebble/v2/ca"
	"github.com/letsencrypt/pebble/v2/db"
	"github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"
)

// pebble is a real ACME authority that runs inside the test.
type pebble struct {
	directory string         // its URL
	apiRoots  string         // file of the roots of the directory's TLS
	roots     *x509.CertPool // of what it issues
	log       *logBook
	stop      func()
}

// startPebble runs one that finds every name on 127.0.0.1, and asks there on these ports.
func startPebble(t *testing.T, httpPort, tlsPort int) *pebble {
	t.Helper()
	p := &pebble{roots: x509.NewCertPool(), log: new(logBook)}
	logger := log.New(p.log, "", 0)
	store := db.NewMemoryStore()
	authority := ca.New(logger, store, "", "ecdsa", 0, 1,
		map[string]ca.Profile{"default": {Description: "90 days", ValidityPeriod: 90 * 86400}})
	validator := va.New(logger, httpPort, tlsPort, true, startDNS(t, logger), store)
	front := wfe.New(logger, store, validator, authority, []string{"pebble.test"}, true, false, 0, 0)
	server := httptest.NewTLSServer(front.Handler())
	p.stop = server.Close
	t.Cleanup(server.Close)
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(p.log.String())
		}
	})
	p.directory = server.URL + wfe.DirectoryPath
	p.roots.AddCert(authority.GetRootCert(0).Cert)
	p.apiRoots = write(t, t.TempDir(), "api.pem",
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	return p
}

// startDNS serves a zone in which every name is 127.0.0.1.
func startDNS(t *testing.T, logger *log.Logger) string {
	t.Helper()
	addr := freeAddr(t)
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

// freeAddr finds a loopback port that nobody uses, neither by TCP nor by UDP.
func freeAddr(t *testing.T) string {
	t.Helper()
	for range 10 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		addr := l.Addr().String()
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

// freePort is the port of freeAddr.
func freePort(t *testing.T) int {
	t.Helper()
	addr, err := net.ResolveTCPAddr("tcp", freeAddr(t))
	if err != nil {
		t.Fatal(err)
	}
	return addr.Port
}
