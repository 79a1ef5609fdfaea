package tlsup

import (
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"runtime"
	"testing"
)

func TestChoiceByName(t *testing.T) {
	pairOf := func(name string, bits int) Pair {
		return newPair(t, name, soon(), bits).config(t, t.TempDir()).Files[0]
	}
	s := open(t, Config{Files: []Pair{pairOf("pop.example.test", 0), pairOf("*.example.test", 0), pairOf("other.test", 0),
		pairOf("other.test", 2048)}, Local: true, LocalNames: []string{"own.test"}, DataDir: t.TempDir(), DefaultName: "Other.Test."})
	addr := greet(t, listen(t), s.TLSConfig())
	onlyRSA := []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}
	for _, test := range []struct {
		sni, want string
		suites    []uint16
	}{
		{"pop.example.test", "pop.example.test", nil},
		{"POP.example.test", "pop.example.test", nil},
		{"imap.example.test", "*.example.test", nil},
		{"deep.imap.example.test", "other.test", nil},
		{"other.test", "other.test", nil},
		{"other.test", "other.test", onlyRSA},
		{"own.test", "localhost", nil},
		{"unknown.org", "other.test", nil},
		{"", "other.test", nil},
		{"", "other.test", onlyRSA},
	} {
		config := &tls.Config{InsecureSkipVerify: true, ServerName: test.sni, CipherSuites: test.suites}
		if test.suites != nil {
			config.MaxVersion = tls.VersionTLS12
		}
		state, err := dial(addr, config)
		if err != nil {
			t.Errorf("%q: %v", test.sni, err)
		} else if got := state.PeerCertificates[0].DNSNames[0]; got != test.want {
			t.Errorf("%q is shown %s, want %s", test.sni, got, test.want)
		}
	}
}

// A client that connects to an address and names no server is shown the certificate of that address.
func TestChoiceByAddress(t *testing.T) {
	name, address := newPair(t, "pop.example.test", soon(), 0), newPair(t, "127.0.0.1", soon(), 0)
	s := open(t, Config{Files: []Pair{name.config(t, t.TempDir()).Files[0], address.config(t, t.TempDir()).Files[0]}})
	addr := greet(t, listen(t), s.TLSConfig())
	if _, err := dial(addr, &tls.Config{RootCAs: address.pool(), ServerName: "127.0.0.1"}); err != nil {
		t.Error(err)
	}
}

// Names that nobody has cost nothing that lasts.
func TestRandomNames(t *testing.T) {
	s := open(t, Config{Local: true, DataDir: t.TempDir()})
	ask := func(n int) {
		var b [12]byte
		for range n {
			rand.Read(b[:])
			hello := &tls.ClientHelloInfo{ServerName: hex.EncodeToString(b[:]) + ".example.test"}
			if cert, err := s.certificate(hello); err != nil || cert == nil {
				t.Fatal(err)
			}
		}
	}
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	ask(100)
	before := heap()
	ask(10_000)
	if after := heap(); after > before+256<<10 {
		t.Errorf("the heap grew from %d to %d octets", before, after)
	}
}
