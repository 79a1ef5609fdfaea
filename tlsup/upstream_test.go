package tlsup

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// upstreamOf connects as the proxy does to a backend with p, twice, so that the second handshake is resumed.
func upstreamOf(t *testing.T, p pair, server *tls.Config, u Upstream) (tls.ConnectionState, error) {
	t.Helper()
	cert, err := tls.X509KeyPair(p.cert, p.key)
	if err != nil {
		t.Fatal(err)
	}
	server.Certificates = []tls.Certificate{cert}
	addr := greet(t, listen(t), server)
	if u.ServerName == "" {
		u.ServerName = "pop.example.test"
	}
	c, err := u.TLSConfig()
	if err != nil {
		t.Fatal(err)
	}
	first, err := dial(addr, c)
	if err != nil {
		return first, err
	}
	second, err := dial(addr, c)
	if err == nil && !second.DidResume && time.Now().Before(p.leaf.NotAfter) { // crypto/tls resumes none that have expired
		t.Error("the second session was not resumed")
	}
	if got, want := u.Verified(second), u.Verified(first); got != want {
		t.Errorf("resumed, it is verified by %q, before %q", got, want)
	}
	return first, err
}

func TestUpstream(t *testing.T) {
	const name = "pop.example.test"
	good := newPair(t, name, soon(), 0)
	expired := newPair(t, name, time.Now().Add(-24*time.Hour), 0)
	early := newPair(t, name, soon().Add(200*24*time.Hour), 0)
	address := newPair(t, "127.0.0.1", soon(), 0)
	roots := func(p pair) string { return write(t, t.TempDir(), "roots.pem", p.cert) }
	tests := map[string]struct {
		pair     pair
		server   *tls.Config
		upstream Upstream
		verified string // how, when it is to be accepted
		refusal  string // part of the error when it is not
	}{
		"by name":       {good, &tls.Config{}, Upstream{CAFile: roots(good)}, "name:" + name, ""},
		"by address":    {address, &tls.Config{}, Upstream{CAFile: roots(address), ServerName: "127.0.0.1"}, "name:127.0.0.1", ""},
		"by pin":        {good, &tls.Config{}, Upstream{Pins: []string{pinOf(good.leaf)}}, "pin:" + pinOf(good.leaf), ""},
		"expired pin":   {expired, &tls.Config{}, Upstream{Pins: []string{pinOf(good.leaf), pinOf(expired.leaf)}}, "pin:" + pinOf(expired.leaf), ""},
		"name and pin":  {good, &tls.Config{}, Upstream{CAFile: roots(good), Pins: []string{pinOf(good.leaf)}}, "name:" + name + ",pin:" + pinOf(good.leaf), ""},
		"by nothing":    {expired, &tls.Config{}, Upstream{Verify: VerifyNone}, "", ""},
		"unknown":       {good, &tls.Config{}, Upstream{}, "", "backend-pin " + pinOf(good.leaf)},
		"foreign roots": {good, &tls.Config{}, Upstream{CAFile: roots(address)}, "", "nobody here vouches for"},
		"wrong pin":     {good, &tls.Config{}, Upstream{Pins: []string{pinOf(expired.leaf)}}, "", "the backend's key is " + pinOf(good.leaf)},
		"right roots, wrong pin": {good, &tls.Config{}, Upstream{CAFile: roots(good), Pins: []string{pinOf(expired.leaf)}}, "",
			"none of those pinned"},
		"expired":    {expired, &tls.Config{}, Upstream{CAFile: roots(expired)}, "", "expired on " + expired.leaf.NotAfter.UTC().Format(time.DateOnly)},
		"early":      {early, &tls.Config{}, Upstream{CAFile: roots(early)}, "", "check this machine's clock"},
		"wrong name": {good, &tls.Config{}, Upstream{CAFile: roots(good), ServerName: "mail.internal"}, "", "is for pop.example.test, not for mail.internal"},
		"old server": {good, &tls.Config{MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}, Upstream{CAFile: roots(good)}, "", "protocol version"},
		"old server, allowed": {newPair(t, name, soon(), 0), &tls.Config{MaxVersion: tls.VersionTLS10, MinVersion: tls.VersionTLS10},
			Upstream{Verify: VerifyNone, MinVersion: "1.0"}, "", ""},
		"too old for what was said": {good, &tls.Config{MaxVersion: tls.VersionTLS12}, Upstream{CAFile: roots(good), MinVersion: "1.3"}, "",
			"protocol version"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			state, err := upstreamOf(t, test.pair, test.server, test.upstream)
			if test.refusal != "" {
				if err == nil || !strings.Contains(err.Error(), test.refusal) {
					t.Fatalf("error %v, want %q", err, test.refusal)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			u := test.upstream
			if u.ServerName == "" {
				u.ServerName = "pop.example.test"
			}
			if got := u.Verified(state); got != test.verified {
				t.Errorf("verified by %q, want %q", got, test.verified)
			}
		})
	}
}

// A night without mail ends no resumption, although what was kept has expired by the morning.
func TestUpstreamResumesAfterARest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, "pop.example.test", time.Now().Add(365*24*time.Hour), 0)
		cert, err := tls.X509KeyPair(p.cert, p.key)
		if err != nil {
			t.Fatal(err)
		}
		server := &tls.Config{Certificates: []tls.Certificate{cert}}
		c, err := Upstream{ServerName: "pop.example.test", Verify: VerifyNone}.TLSConfig()
		if err != nil {
			t.Fatal(err)
		}
		session := func() bool {
			near, far := net.Pipe()
			go func() { tls.Server(far, server).Write([]byte("+OK")) }()
			conn := tls.Client(near, c)
			if _, err := io.ReadFull(conn, make([]byte, 3)); err != nil {
				t.Fatal(err)
			}
			near.Close()
			return conn.ConnectionState().DidResume
		}
		for _, rest := range []time.Duration{0, resumable + time.Second, 8 * 24 * time.Hour} { // a ticket lives for 7 days at most
			time.Sleep(rest)
			if session() {
				t.Errorf("the first session after %v was resumed", rest)
			}
			if !session() {
				t.Errorf("the second session after %v was not resumed", rest)
			}
		}
	})
}

func TestUpstreamMisconfigured(t *testing.T) {
	pin := pinPrefix + "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
	for want, u := range map[string]Upstream{
		"give one":              {},
		"choose 1.0":            {ServerName: "a", MinVersion: "3"},
		"choose roots or none":  {ServerName: "a", Verify: "maybe"},
		"roots or pins":         {ServerName: "a", Verify: VerifyNone, Pins: []string{pin}},
		"write it as sha256//":  {ServerName: "a", Pins: []string{"sha256//short"}},
		"does not exist":        {ServerName: "a", CAFile: "/nowhere/roots.pem"},
		"our certificate towar": {ServerName: "a", CertFile: "/nowhere/cert.pem", KeyFile: "/nowhere/key.pem"},
	} {
		if _, err := u.TLSConfig(); !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}

// The certificate that the backend asks for is read again when it was replaced.
func TestUpstreamShowsOurCertificate(t *testing.T) {
	dir := t.TempDir()
	server, ours := newPair(t, "pop.example.test", soon(), 0), newPair(t, "first", soon(), 0)
	seen := make(chan string, 2)
	cert, err := tls.X509KeyPair(server.cert, server.key)
	if err != nil {
		t.Fatal(err)
	}
	addr := greet(t, listen(t), &tls.Config{Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequireAnyClientCert, SessionTicketsDisabled: true,
		VerifyConnection: func(cs tls.ConnectionState) error {
			seen <- cs.PeerCertificates[0].Subject.CommonName
			return nil
		}})
	files := ours.config(t, dir).Files[0]
	c, err := Upstream{ServerName: "pop.example.test", Verify: VerifyNone, CertFile: files.Cert, KeyFile: files.Key}.TLSConfig()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"first", "second"} {
		if _, err := dial(addr, c); err != nil {
			t.Fatal(err)
		}
		if got := <-seen; got != want {
			t.Errorf("the backend was shown %s, want %s", got, want)
		}
		newPair(t, "second", soon(), 0).config(t, dir)
	}
}

func TestClientCertificates(t *testing.T) {
	good, foreign := newPair(t, "alice", soon(), 0), newPair(t, "mallory", soon(), 0)
	dir := t.TempDir()
	roots := write(t, dir, "clients.pem", good.cert)
	try := func(addr string, p *pair) error {
		c := &tls.Config{InsecureSkipVerify: true}
		if p != nil {
			cert, err := tls.X509KeyPair(p.cert, p.key)
			if err != nil {
				t.Fatal(err)
			}
			c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }
		}
		_, err := dial(addr, c)
		return err
	}
	for mode, want := range map[ClientMode][3]bool{ // with a good one, a foreign one, none
		ClientsOff: {true, true, true}, ClientsRequest: {true, false, true}, ClientsRequire: {true, false, false},
	} {
		s := open(t, Config{Local: true, DataDir: t.TempDir(), Clients: ClientAuth{Mode: mode, CAFile: roots}})
		addr := greet(t, listen(t), s.TLSConfig())
		for i, p := range []*pair{&good, &foreign, nil} {
			if err := try(addr, p); (err == nil) != want[i] {
				t.Errorf("%s, client %d: %v", mode, i, err)
			}
		}
		if mode == ClientsRequire {
			write(t, dir, "clients.pem", foreign.cert)
			within(t, "vouched for by new authorities", func() bool { return try(addr, &foreign) == nil })
			if try(addr, &good) == nil {
				t.Error("the old authorities still vouch")
			}
			write(t, dir, "clients.pem", good.cert)
		}
	}
}

func TestPolicies(t *testing.T) {
	cert := newPair(t, "pop.example.test", soon(), 2048).config(t, t.TempDir())
	for policy, oldest := range map[Policy]uint16{PolicyModern: tls.VersionTLS13, PolicyIntermediate: tls.VersionTLS12, PolicyLegacy: tls.VersionTLS10} {
		cert.Policy = policy
		addr := greet(t, listen(t), open(t, cert).TLSConfig())
		for version := uint16(tls.VersionTLS10); version <= tls.VersionTLS13; version++ {
			_, err := dial(addr, &tls.Config{InsecureSkipVerify: true, MinVersion: version, MaxVersion: version})
			if (err == nil) != (version >= oldest) {
				t.Errorf("%s, %s: %v", policy, tls.VersionName(version), err)
			}
		}
		_, err := dial(addr, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12,
			CipherSuites: []uint16{tls.TLS_RSA_WITH_AES_128_CBC_SHA}})
		if (err == nil) != (policy == PolicyLegacy) {
			t.Errorf("%s, RSA key exchange: %v", policy, err)
		}
		_, err = dial(addr, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12,
			CipherSuites: []uint16{tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA, tls.TLS_RSA_WITH_RC4_128_SHA}})
		if err == nil {
			t.Errorf("%s has 3DES or RC4", policy)
		}
	}
}

// BenchmarkHandshake is what choosing a certificate costs beside crypto/tls alone.
func BenchmarkHandshake(b *testing.B) {
	p := newPair(b, "pop.example.test", soon(), 0)
	cert, err := tls.X509KeyPair(p.cert, p.key)
	if err != nil {
		b.Fatal(err)
	}
	s, err := New(b.Context(), p.config(b, b.TempDir()))
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	for name, config := range map[string]*tls.Config{"plain": {Certificates: []tls.Certificate{cert}}, "source": s.TLSConfig()} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				near, far := net.Pipe()
				go func() { tls.Server(far, config).Handshake() }()
				if err := tls.Client(near, &tls.Config{InsecureSkipVerify: true, ServerName: "pop.example.test"}).Handshake(); err != nil {
					b.Fatal(err)
				}
				near.Close()
			}
		})
	}
}
