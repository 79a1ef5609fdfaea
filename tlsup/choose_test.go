package tlsup

import (
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"runtime"
	"strings"
	"testing"
	"time"
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

// Several pairs of one name: the one that the client can use and that is in its time, whatever the order they are
// listed in.
func TestChoiceOfPair(t *testing.T) {
	const name = "Pop.Example.Test"
	ended := time.Now().Add(-time.Hour)
	ec, rsa := newPair(t, name, soon(), 0), newPair(t, name, soon(), 2048)
	oldEC, oldRSA := newPair(t, name, ended, 0), newPair(t, name, ended, 2048)
	onlyRSA := &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12,
		CipherSuites: []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}}
	for _, test := range []struct {
		pairs      []pair
		both, only pair // what clients get that know both kinds, or RSA alone
	}{
		{[]pair{ec, rsa}, ec, rsa},
		{[]pair{rsa, ec}, ec, rsa},
		{[]pair{oldEC, rsa}, rsa, rsa},
		{[]pair{oldEC, oldRSA, ec}, ec, oldRSA},
		{[]pair{oldRSA, oldEC}, oldEC, oldRSA},
	} {
		var c Config
		for _, p := range test.pairs {
			c.Files = append(c.Files, p.config(t, t.TempDir()).Files...)
		}
		addr := greet(t, listen(t), open(t, c).TLSConfig())
		for _, sni := range []string{"pop.example.test", "unknown.org", ""} {
			for config, want := range map[*tls.Config]pair{{InsecureSkipVerify: true}: test.both, onlyRSA.Clone(): test.only} {
				config.ServerName = sni
				state, err := dial(addr, config)
				if err != nil || !state.PeerCertificates[0].Equal(want.leaf) {
					t.Errorf("%d pairs, %q: %v", len(test.pairs), sni, err)
				}
			}
		}
	}
}

// The default name is one that some certificate has; the local authority's is made to.
func TestDefaultName(t *testing.T) {
	files := newPair(t, "*.example.test", soon(), 0).config(t, t.TempDir()).Files
	for name, test := range map[string]struct {
		config Config
		want   string
	}{
		"by wildcard": {Config{Files: files, DefaultName: "Pop.example.test."}, "*.example.test"},
		"wildcard":    {Config{Files: files, DefaultName: "*.example.test"}, "*.example.test"},
		"local":       {Config{Files: files, Local: true, DataDir: t.TempDir(), DefaultName: "own.test"}, "localhost"},
		"nobody's":    {Config{Files: files, DefaultName: "other.test"}, ""},
	} {
		s, err := New(t.Context(), test.config)
		if test.want == "" {
			if !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), `default name "other.test"; choose one of *.example.test`) {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		must(t, err)
		addr := greet(t, listen(t), s.TLSConfig())
		state, err := dial(addr, &tls.Config{InsecureSkipVerify: true})
		must(t, err)
		if got := state.PeerCertificates[0]; got.DNSNames[0] != test.want || got.VerifyHostname(canonical(test.config.DefaultName)) != nil {
			t.Errorf("%s: shown %q", name, got.DNSNames)
		}
		must(t, s.Close())
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
