package tlsup

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// logBook collects what is logged, from any goroutine.
type logBook struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// logger keeps everything that is logged, and shows it if the test fails.
func (l *logBook) logger(t *testing.T) *slog.Logger {
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(l.String())
		}
	})
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug - 4}))
}

// open makes a Source that is closed at the end of the test.
func open(t *testing.T, c Config) *Source {
	t.Helper()
	s, err := New(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// listen opens a loopback port.
func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// greet shakes hands with all who come and greets them, as a POP3 server does.
func greet(t *testing.T, l net.Listener, c *tls.Config) string {
	var wg sync.WaitGroup
	t.Cleanup(func() { l.Close(); wg.Wait() })
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer conn.Close()
				conn.SetDeadline(time.Now().Add(5 * time.Second))
				server := tls.Server(conn, c)
				if server.Handshake() != nil || server.ConnectionState().NegotiatedProtocol == ProtocolACME {
					return
				}
				io.WriteString(server, "+OK\r\n")
				io.Copy(io.Discard, server)
			})
		}
	})
	return l.Addr().String()
}

// dial returns what was negotiated, once the greeting came.
func dial(addr string, c *tls.Config) (tls.ConnectionState, error) {
	d := &net.Dialer{Timeout: 5 * time.Second}
	conn, err := tls.DialWithDialer(d, "tcp", addr, c)
	if err != nil {
		return tls.ConnectionState{}, err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(5 * time.Second))
	var b [5]byte
	if _, err := io.ReadFull(conn, b[:]); err != nil {
		return tls.ConnectionState{}, err
	}
	return conn.ConnectionState(), nil
}

// pair is a self-signed certificate and its key.
type pair struct {
	cert, key []byte
	leaf      *x509.Certificate
}

// newPair makes one for name that is valid until notAfter; bits is the size of an RSA key, 0 for ECDSA.
func newPair(t testing.TB, name string, notAfter time.Time, bits int) pair {
	t.Helper()
	return makePair(t, name, notAfter.Add(-90*24*time.Hour), notAfter, bits)
}

// newLivingPair makes one that lives for so long.
func newLivingPair(t testing.TB, name string, notBefore time.Time, life time.Duration) pair {
	t.Helper()
	return makePair(t, name, notBefore, notBefore.Add(life), 0)
}

func makePair(t testing.TB, name string, notBefore, notAfter time.Time, bits int) pair {
	t.Helper()
	var key crypto.Signer
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if bits > 0 {
		key, err = rsa.GenerateKey(rand.Reader, bits)
	}
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{Subject: pkix.Name{CommonName: name}, NotBefore: notBefore, NotAfter: notAfter, IsCA: true,
		BasicConstraintsValid: true}
	if ip := net.ParseIP(name); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = []string{name}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pair{leaf: leaf, cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		key: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})}
}

// write puts a file into dir.
func write(t testing.TB, dir, name string, b []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// config writes the pair into dir and returns the Config that names it.
func (p pair) config(t testing.TB, dir string) Config {
	t.Helper()
	return Config{Files: []Pair{{write(t, dir, "cert.pem", p.cert), write(t, dir, "key.pem", p.key)}}}
}

func (p pair) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(p.leaf)
	return pool
}

func soon() time.Time { return time.Now().Add(30 * 24 * time.Hour) }

func TestMisconfigured(t *testing.T) {
	dir := t.TempDir()
	p, other := newPair(t, "pop.example.test", soon(), 0), newPair(t, "other.example.test", soon(), 0)
	cert, key := write(t, dir, "cert.pem", p.cert), write(t, dir, "key.pem", p.key)
	otherKey := write(t, dir, "other-key.pem", other.key)
	encrypted := write(t, dir, "encrypted.pem",
		pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte("x")}))
	der := write(t, dir, "cert.der", p.leaf.Raw)
	reversed := write(t, dir, "reversed.pem", append(bytes.Clone(other.cert), p.cert...))
	broken := write(t, dir, "broken.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")}))
	missing := filepath.Join(dir, "missing.pem")
	files := func(cert, key string) Config { return Config{Files: []Pair{{cert, key}}} }
	tests := map[string]struct {
		config Config
		want   string // is said, besides the file
		file   string
	}{
		"nothing":              {Config{}, "none given", ""},
		"no key file":          {files(cert, ""), "has no key file", cert},
		"no certificate file":  {files("", key), "has no certificate file", key},
		"no data directory":    {Config{Local: true}, "no data directory", ""},
		"missing certificate":  {files(missing, key), "certificate file", missing + " does not exist"},
		"missing key":          {files(cert, missing), "key file", missing + " does not exist"},
		"directory":            {files(dir, key), "is not a file", dir},
		"mismatch":             {files(cert, otherKey), "are no pair", otherKey},
		"second mismatch":      {Config{Files: []Pair{{cert, key}, {cert, otherKey}}}, "are no pair", otherKey},
		"swapped":              {files(key, cert), "swapped", key},
		"encrypted key":        {files(cert, encrypted), "openssl pkey -in", encrypted},
		"certificate as key":   {files(cert, cert), "no PEM private key", cert},
		"der":                  {files(der, key), "openssl x509 -inform der", der},
		"broken":               {files(broken, key), "are no pair", broken},
		"reversed chain":       {files(reversed, key), "certificate first", reversed},
		"local name":           {Config{DataDir: dir, Local: true, LocalNames: []string{"a b"}}, "neither a host name", "a b"},
		"policy":               {Config{DataDir: dir, Local: true, Policy: "lax"}, "intermediate", "lax"},
		"client mode":          {Config{DataDir: dir, Local: true, Clients: ClientAuth{Mode: "maybe"}}, "request or require", "maybe"},
		"no client roots":      {Config{DataDir: dir, Local: true, Clients: ClientAuth{Mode: ClientsRequire}}, "file of their authorities", ""},
		"client roots missing": {Config{DataDir: dir, Local: true, Clients: ClientAuth{Mode: ClientsRequire, CAFile: missing}}, "does not exist", missing},
		"client roots empty":   {Config{DataDir: dir, Local: true, Clients: ClientAuth{Mode: ClientsRequest, CAFile: key}}, "no PEM certificate", key},
		"ACME":                 {Config{DataDir: dir, ACME: ACME{Domains: []string{"pop.local"}}}, "private ACME directory", "pop.local"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s, err := New(t.Context(), test.config)
			if err == nil {
				s.Close()
				t.Fatal("accepted")
			}
			if !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), test.file) {
				t.Errorf("error %q: want %q and %q", err, test.want, test.file)
			}
			if strings.Contains(err.Error(), "PRIVATE KEY") {
				t.Errorf("error %q shows file content", err)
			}
		})
	}
}

// A file that this user may not read is told apart from one that is missing.
func TestUnreadable(t *testing.T) {
	c := newPair(t, "pop.example.test", soon(), 0).config(t, t.TempDir())
	if err := os.Chmod(c.Files[0].Key, 0); err != nil {
		t.Fatal(err)
	}
	errs := make(chan error)
	go func() {
		// Root reads everything: give that up for this thread, which ends with the goroutine.
		runtime.LockOSThread()
		if os.Geteuid() == 0 {
			syscall.Setfsuid(65534)
		}
		_, err := New(context.Background(), c)
		errs <- err
	}()
	err := <-errs
	if !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), c.Files[0].Key+" cannot be read by user id") {
		t.Fatalf("error %v", err)
	}
}

func TestCloseTwice(t *testing.T) {
	s := open(t, newPair(t, "pop.example.test", soon(), 0).config(t, t.TempDir()))
	if err := errors.Join(s.Close(), s.Close()); err != nil {
		t.Fatal(err)
	}
	if s.RootFile() != "" {
		t.Error("files have no root to export")
	}
}
