package main

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postern/cmd/internal/config"
	"postern/cmd/internal/control"
	"postern/cmd/internal/peers"
	"postern/cmd/internal/show"
	"postern/tlsup"
)

// configOf is a configuration of the defaults.
func configOf(t *testing.T) *config.Config {
	t.Helper()
	return config.Default()
}

// certsWorld is a daemon with a pair of files beside the local authority.
func certsWorld(t *testing.T) (dir string, pair peers.Pair, d *daemon) {
	t.Helper()
	dir = t.TempDir()
	pair = peers.SelfSigned(t, peers.Leaf{Name: "file.example.test"})
	c := config.Default()
	c.ListenPOP3S, c.ListenPOP3, c.Web = []string{"127.0.0.1:0"}, nil, "127.0.0.1:0"
	c.Backend, c.TLSLocal, c.DataDir = "127.0.0.1:1", true, dir
	c.TLSCerts, c.TLSKeys = []string{pair.Cert}, []string{pair.Key}
	d, err := startDaemon(t.Context(), c, io.Discard, newLogger(c, &logBuffer{}), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return dir, pair, d
}

func TestCertsListsWhatIsInService(t *testing.T) {
	dir, pair, _ := certsWorld(t)
	got := invoke(t, "certs", "--data-dir", dir)
	for _, want := range []string{"NAMES", "LEFT", "NEXT RENEWAL", "localhost", "local", "Postern local authority", "file.example.test",
		"when the file changes", "file " + pair.Cert, "good"} {
		if got.code != 0 || !strings.Contains(got.out, want) {
			t.Errorf("%q is missing from\n%s%s", want, got.out, got.err)
		}
	}
	if strings.Contains(got.out, "\x1b") {
		t.Error("colours outside a terminal")
	}
	sources := make(map[string]show.Certificate)
	for line := range strings.Lines(invoke(t, "certs", "--json", "--data-dir", dir).out) {
		var c show.Certificate
		if err := json.Unmarshal([]byte(line), &c); err != nil {
			t.Fatal(err)
		}
		sources[c.Source] = c
	}
	if local := sources["local"]; local.State != show.CertificateGood || local.Serial == "" || local.NextRenewal.IsZero() || local.NotAfter.Before(time.Now()) {
		t.Errorf("the local one is %+v", local)
	}
	if file := sources["file"]; file.State != show.CertificateGood || file.File != pair.Cert || !file.NextRenewal.IsZero() {
		t.Errorf("the file's is %+v", file)
	}
}

func TestCertsRenew(t *testing.T) {
	dir, pair, d := certsWorld(t)
	serial := func(name string) string {
		t.Helper()
		for _, c := range d.inService(time.Now()) {
			if strings.Contains(strings.Join(c.Names, " "), name) {
				return c.Serial
			}
		}
		t.Fatalf("%s is not in service", name)
		return ""
	}
	old := serial("localhost")
	got := invoke(t, "certs", "renew", "localhost", "--data-dir", dir)
	if fresh := serial("localhost"); got.code != 0 || fresh == old || !strings.HasPrefix(got.out, "Issued again after ") ||
		!strings.Contains(got.out, "serial "+fresh+" by Postern local authority") || !strings.Contains(got.err, "Renewing the certificate of localhost") {
		t.Errorf("%s became %s: %+v", old, fresh, got)
	}
	pair.Replace(t, peers.SelfSigned(t, peers.Leaf{Name: "file.example.test"}))
	got = invoke(t, "certs", "renew", "FILE.example.test.", "--data-dir", dir)
	if !strings.HasPrefix(got.out, "Read again after ") || !strings.Contains(got.out, serial("file.example.test")) {
		t.Errorf("%+v", got)
	}
	got = invoke(t, "certs", "renew", "nobody.example\x1b[2J", "--data-dir", dir)
	if got.code != 1 || !strings.Contains(got.err, "no certificate has the name \"nobody.example\\x1b[2J\"; there are ") || !strings.Contains(got.err, "file.example.test, localhost") {
		t.Errorf("%+v", got)
	}
	harmless(t, got.err)
	if err := os.WriteFile(pair.Cert, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	got = invoke(t, "certs", "renew", "file.example.test", "--data-dir", dir)
	if got.code != 1 || strings.Count(strings.TrimSpace(got.err), "\n") != 1 || !strings.Contains(got.err, pair.Cert) {
		t.Errorf("a broken file: %+v", got)
	}
}

func TestCertsWithoutAServe(t *testing.T) {
	dir := t.TempDir()
	for _, args := range [][]string{{"certs"}, {"certs", "--json"}, {"certs", "renew", "localhost"}} {
		got := invoke(t, append(args, "--data-dir", dir)...)
		if got.code != 1 || got.out != "" || !strings.Contains(got.err, "no postern serve runs on "+dir) || !strings.Contains(got.err, "systemctl start postern") {
			t.Errorf("%v: %+v", args, got)
		}
	}
	for _, args := range [][]string{{"certs", "now"}, {"certs", "renew"}, {"certs", "renew", "a", "b"}, {"ca", "export", "x"}, {"ca", "x"}} {
		if got := invoke(t, args...); got.code != 2 {
			t.Errorf("%v: %+v", args, got)
		}
	}
}

func TestCAExport(t *testing.T) {
	dir, _, d := certsWorld(t)
	got := invoke(t, "ca", "export", "--data-dir", dir)
	roots := x509.NewCertPool()
	if got.code != 0 || !roots.AppendCertsFromPEM([]byte(got.out)) {
		t.Fatalf("%+v", got)
	}
	g := &gate{pop3s: d.bound[0].Addr().String()}
	if _, err := g.certificateOf("localhost", roots); err != nil {
		t.Errorf("the root does not vouch for localhost: %v", err)
	}
	file := filepath.Join(t.TempDir(), "root.pem")
	if told := invoke(t, "ca", "export", "--data-dir", dir, "--out", file); told.code != 0 || told.out != "" || !strings.Contains(told.err, file) {
		t.Errorf("%+v", told)
	}
	if written, err := os.ReadFile(file); err != nil || string(written) != got.out {
		t.Errorf("%s was written, %v", written, err)
	}
	if told := invoke(t, "ca", "export", "--data-dir", dir, "--out", file+"/x"); told.code != 1 || !strings.Contains(told.err, "not a directory") {
		t.Errorf("%+v", told)
	}
	if told := invoke(t, "ca", "export", "--data-dir", t.TempDir()); told.code != 1 || !strings.Contains(told.err, "no local authority in") || !strings.Contains(told.err, "--tls-local") {
		t.Errorf("%+v", told)
	}
}

// Who does not wait for an order gives it up, and is told so.
func TestCertsRenewGivenUp(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	mux := http.NewServeMux()
	ended := make(chan struct{})
	mux.Handle("POST /certificates/renew", control.JSON(func(ctx context.Context, _ renewal) (listing, error) {
		defer close(ended)
		cancel()
		<-ctx.Done()
		return listing{}, ctx.Err()
	}))
	answerIn(t, dir, mux)
	err := run(ctx, []string{"certs", "renew", "a.example", "--data-dir", dir}, strings.NewReader(""), io.Discard, io.Discard)
	if exitCode(err) != 1 || !strings.Contains(err.Error(), "given up") {
		t.Errorf("ended with %v", err)
	}
	<-ended
}

// answerIn has h answer at the control socket of dir until the test ends.
func answerIn(t *testing.T, dir string, h http.Handler) {
	t.Helper()
	claim, err := control.Take(dir)
	if err != nil {
		t.Fatal(err)
	}
	socket, err := claim.Serve(h)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(socket.Close(), claim.Close()); err != nil {
			t.Error(err)
		}
	})
}

func TestWarnings(t *testing.T) {
	for _, test := range []struct {
		backend, security, verify string
		want                      string
	}{
		{"m:110", "plain", "roots", ""}, {"m:995", "tls", "roots", ""}, {"m:110", "stls", "none", "is not verified"},
		{"m:995", "plain", "roots", "Give --backend-tls tls."},
	} {
		c := config.Default()
		c.Backend, c.BackendTLS, c.BackendVerify, c.MaxSessions = test.backend, test.security, test.verify, 1
		got := strings.Join(warnings(c), "\n")
		if (got == "") != (test.want == "") || !strings.Contains(got, test.want) {
			t.Errorf("%+v: %s", test, got)
		}
	}
}

func TestStatesOfCertificates(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	const day = 24 * time.Hour
	for _, test := range []struct {
		life, left time.Duration
		awaited    bool
		want       show.CertificateState
	}{
		{90 * day, 15 * day, false, show.CertificateGood}, {90 * day, 13 * day, false, show.CertificateExpiring},
		{6 * day, 2 * day, false, show.CertificateGood}, {6 * day, 23 * time.Hour, false, show.CertificateExpiring},
		{90 * day, 0, false, show.CertificateExpired}, {90 * day, -day, false, show.CertificateExpired}, {0, 0, true, show.CertificateAwaited},
	} {
		c := tlsup.Certificate{NotBefore: now.Add(test.left - test.life), NotAfter: now.Add(test.left), Awaited: test.awaited}
		if got := stateOf(c, now); got != test.want {
			t.Errorf("%v of %v left: %s, want %s", test.left, test.life, got, test.want)
		}
	}
}

// The control socket belongs to serve: it is there while it runs, for nobody else, and gone afterwards.
func TestTheControlSocket(t *testing.T) {
	dir := t.TempDir()
	d := wholeDaemon(t, dir, &logBuffer{})
	path := filepath.Join(dir, "control.sock")
	if info, err := os.Stat(path); err != nil || info.Mode() != fs.ModeSocket|0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if err := d.stop(context.Background()); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it is left behind: %v", err)
	}
}
