package tlsup

import (
	"crypto/tls"
	"strings"
	"testing"
)

// The RSA certificate makes every suite possible that the policy does not forbid.
func TestPolicy(t *testing.T) {
	p := newPair(t, "pop.example.test", soon(), 2048)
	addr := greet(t, listen(t), open(t, p.config(t, t.TempDir())).TLSConfig())
	twelve := func(suite uint16) *tls.Config {
		return &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{suite}}
	}
	tests := map[string]struct {
		client  *tls.Config
		refused bool
	}{
		"TLS 1.3":             {&tls.Config{MinVersion: tls.VersionTLS13}, false},
		"TLS 1.2":             {&tls.Config{MaxVersion: tls.VersionTLS12}, false},
		"TLS 1.1":             {&tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, true},
		"ECDHE GCM":           {twelve(tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256), false},
		"ECDHE ChaCha":        {twelve(tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256), false},
		"ECDHE CBC":           {twelve(tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA), true},
		"ECDHE CBC SHA256":    {twelve(tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256), true},
		"RSA key exchange":    {twelve(tls.TLS_RSA_WITH_AES_128_GCM_SHA256), true},
		"3DES":                {twelve(tls.TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA), true},
		"pop3 by ALPN":        {&tls.Config{NextProtos: []string{"pop3"}}, false},
		"http/1.1 by ALPN":    {&tls.Config{NextProtos: []string{"http/1.1"}}, true},
		"imap and h2 by ALPN": {&tls.Config{NextProtos: []string{"imap", "h2"}}, true},
		"acme-tls/1 by ALPN":  {&tls.Config{NextProtos: []string{ProtocolACME}}, true},
		"foreign and pop3":    {&tls.Config{NextProtos: []string{"imap", "pop3"}}, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			test.client.RootCAs, test.client.ServerName = p.pool(), "pop.example.test"
			state, err := dial(addr, test.client)
			if (err != nil) != test.refused {
				t.Fatalf("error %v, want refused %v", err, test.refused)
			}
			if err == nil && len(test.client.NextProtos) > 0 && state.NegotiatedProtocol != "pop3" {
				t.Errorf("protocol %q", state.NegotiatedProtocol)
			}
		})
	}
}

// The suites alone would keep old versions out, with an error that tells nobody why.
func TestOldVersionsAreNamed(t *testing.T) {
	p := newPair(t, "pop.example.test", soon(), 0)
	addr := greet(t, listen(t), open(t, p.config(t, t.TempDir())).TLSConfig())
	_, err := dial(addr, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11})
	if err == nil || !strings.Contains(err.Error(), "protocol version not supported") {
		t.Errorf("error %v", err)
	}
}

func TestResumption(t *testing.T) {
	p := newPair(t, "pop.example.test", soon(), 0)
	addr := greet(t, listen(t), open(t, p.config(t, t.TempDir())).TLSConfig())
	client := &tls.Config{RootCAs: p.pool(), ServerName: "pop.example.test", ClientSessionCache: tls.NewLRUClientSessionCache(1)}
	for _, want := range []bool{false, true} {
		state, err := dial(addr, client)
		if err != nil || state.DidResume != want {
			t.Fatalf("resumed %v, want %v, error %v", state.DidResume, want, err)
		}
	}
}
