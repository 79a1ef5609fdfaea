package tlsup

import (
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// rootOf reads the root that a Source exported.
func rootOf(t *testing.T, s *Source) (*x509.Certificate, *x509.CertPool) {
	t.Helper()
	b, err := os.ReadFile(s.RootFile())
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(b)
	root, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(root)
	return root, pool
}

func TestLocal(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	s := open(t, Config{Local: true, LocalNames: []string{"Pop.Example.Test", "192.0.2.7", "localhost"}, DataDir: dir})
	root, pool := rootOf(t, s)
	if s.RootFile() != filepath.Join(dir, "postern-local-ca.pem") {
		t.Errorf("root exported to %s", s.RootFile())
	}
	key, ok := root.PublicKey.(*ecdsa.PublicKey)
	if !ok || key.Curve.Params().Name != "P-256" || !root.IsCA || !root.MaxPathLenZero || root.KeyUsage&x509.KeyUsageCertSign == 0 ||
		!strings.HasPrefix(root.Subject.CommonName, "Postern local authority ") {
		t.Errorf("root %v", root.Subject)
	}
	if years := time.Until(root.NotAfter).Hours() / 24 / 365; years < 9.9 || years > 10.1 {
		t.Errorf("root is valid for %.1f years", years)
	}
	addr := greet(t, listen(t), s.TLSConfig())
	names := []string{"localhost", "127.0.0.1", "::1", "pop.example.test", "192.0.2.7"}
	if host, err := os.Hostname(); err == nil && isHostName(strings.ToLower(host)) {
		names = append(names, strings.ToLower(host))
	}
	for _, name := range names {
		if _, err := dial(addr, &tls.Config{RootCAs: pool, ServerName: name, NextProtos: []string{"pop3"}}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := dial(addr, &tls.Config{RootCAs: pool, ServerName: "foreign.example.test"}); err == nil {
		t.Error("verified for a foreign name")
	}
	got := s.Certificates()
	if len(got) != 1 || got[0].Source != SourceLocal || !slices.Contains(got[0].Names, "::1") ||
		slices.Index(got[0].Names, "localhost") != 0 || slices.Contains(got[0].Names[1:], "localhost") {
		t.Errorf("expiry %v", got)
	}
	if days := time.Until(got[0].NotAfter).Hours() / 24; days < 89.9 || days > 90 {
		t.Errorf("leaf is valid for %.1f days", days)
	}
}

// OpenSSL is stricter about certificates than Go in some points and speaks for most mail clients.
func TestLocalOpenSSL(t *testing.T) {
	s := open(t, Config{Local: true, DataDir: t.TempDir()})
	addr := greet(t, listen(t), s.TLSConfig())
	run := func(verify ...string) (string, error) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		args := append([]string{"s_client", "-connect", addr, "-brief", "-alpn", "pop3", "-x509_strict",
			"-CAfile", s.RootFile(), "-no-CApath", "-no-CAstore", "-verify_return_error"}, verify...)
		out, err := exec.CommandContext(ctx, "openssl", args...).CombinedOutput()
		return string(out), err
	}
	for _, verify := range [][]string{
		{"-verify_hostname", "localhost"}, {"-verify_ip", "127.0.0.1"}, {"-verify_ip", "::1", "-noservername"},
	} {
		if out, err := run(verify...); err != nil || !strings.Contains(out, "Verification: OK") {
			t.Errorf("%v: %v\n%s", verify, err, out)
		}
	}
	if out, err := run("-verify_hostname", "foreign.example.test"); err == nil {
		t.Errorf("verified for a foreign name\n%s", out)
	}
}

func TestLocalModes(t *testing.T) {
	dir := t.TempDir()
	open(t, Config{Local: true, DataDir: dir})
	for name, want := range map[string]fs.FileMode{
		"local-ca": 0o700, "local-ca/root-key.pem": 0o600, "local-ca/root.pem": 0o644, "local-ca/leaf-key.pem": 0o600, "postern-local-ca.pem": 0o644,
	} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: mode %v, want %v, error %v", name, info.Mode(), want, err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "local-ca", ".new-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestLocalRestart(t *testing.T) {
	dir := t.TempDir()
	first, _ := rootOf(t, open(t, Config{Local: true, DataDir: dir}))
	if err := os.Remove(filepath.Join(dir, "postern-local-ca.pem")); err != nil {
		t.Fatal(err)
	}
	second, _ := rootOf(t, open(t, Config{Local: true, DataDir: dir})) // and exported again
	if !first.Equal(second) {
		t.Error("a new root after a restart")
	}
	other, _ := rootOf(t, open(t, Config{Local: true, DataDir: t.TempDir()}))
	if first.Subject.CommonName == other.Subject.CommonName {
		t.Error("two authorities of the same name")
	}
}

func TestLocalDamaged(t *testing.T) {
	const rootFile, keyFile = "local-ca/root.pem", "local-ca/root-key.pem"
	foreign := newPair(t, "foreign", soon(), 0)
	tests := map[string]func(t *testing.T, dir string) error{
		"key missing": func(_ *testing.T, dir string) error { return os.Remove(filepath.Join(dir, keyFile)) },
		"foreign key": func(_ *testing.T, dir string) error {
			return os.WriteFile(filepath.Join(dir, keyFile), foreign.key, 0o600)
		},
		"root cut": func(_ *testing.T, dir string) error { return os.Truncate(filepath.Join(dir, rootFile), 40) },
		"root expired": func(t *testing.T, dir string) error {
			old := newPair(t, "old", time.Now().Add(-time.Hour), 0)
			return errors.Join(os.WriteFile(filepath.Join(dir, rootFile), old.cert, 0o600),
				os.WriteFile(filepath.Join(dir, keyFile), old.key, 0o600))
		},
	}
	for name, damage := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			open(t, Config{Local: true, DataDir: dir})
			if err := damage(t, dir); err != nil {
				t.Fatal(err)
			}
			_, err := New(t.Context(), Config{Local: true, DataDir: dir})
			if !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), "restore it, or remove "+filepath.Join(dir, "local-ca")) {
				t.Errorf("error %v", err)
			}
		})
	}
}

// A start that ended between the two files is made good by the next.
func TestLocalInterrupted(t *testing.T) {
	dir := t.TempDir()
	open(t, Config{Local: true, DataDir: dir})
	if err := os.Remove(filepath.Join(dir, "local-ca", "root.pem")); err != nil {
		t.Fatal(err)
	}
	open(t, Config{Local: true, DataDir: dir})
}

// A leaf is replaced when a third of its life is left, though nobody connects, and for as long as the root lives.
func TestLocalRenewal(t *testing.T) {
	const day = 24 * time.Hour
	synctest.Test(t, func(t *testing.T) {
		var log logBook
		var events eventBook
		dir, start := t.TempDir(), time.Now()
		root := newLivingPair(t, "root", start, 125*day)
		if err := privateDir(filepath.Join(dir, "local-ca")); err != nil {
			t.Fatal(err)
		}
		write(t, dir, "local-ca/root.pem", root.cert)
		write(t, dir, "local-ca/root-key.pem", root.key)
		s := open(t, Config{Local: true, DataDir: dir, Logger: log.logger(t), Notify: events.add})
		first := s.Certificates()[0]
		if want := start.Add(60 * day); !first.NextRenewal.Equal(want) {
			t.Errorf("next renewal %v, want %v", first.NextRenewal, want)
		}
		for _, step := range []struct {
			days int
			want []EventKind
		}{{59, nil}, {2, []EventKind{EventRenewed}}, {52, nil}, {2, []EventKind{EventExpiring}},
			{9, []EventKind{EventExpiring}}, {2, []EventKind{EventExpired}}, {9, nil}} {
			time.Sleep(time.Duration(step.days) * day)
			synctest.Wait()
			if got := events.take(); !slices.Equal(got, step.want) {
				t.Fatalf("after %v: %v, want %v", time.Since(start), got, step.want)
			}
		}
		last := s.Certificates()[0]
		if !last.NotAfter.Equal(root.leaf.NotAfter) || last.Serial == first.Serial || !last.NextRenewal.IsZero() {
			t.Errorf("the last one %+v", last)
		}
		if got := log.String(); !strings.Contains(got, "local certificate renewed") || !strings.Contains(got, "remove local-ca") {
			t.Errorf("log %s", got)
		}
	})
}

// A renewal that cannot be kept on disk is told, and tried again, but not every minute.
func TestLocalRenewalFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var events eventBook
		dir := t.TempDir()
		s := open(t, Config{Local: true, DataDir: dir, Notify: events.add})
		first := s.Certificates()[0]
		away := filepath.Join(dir, "away")
		if err := os.Rename(filepath.Join(dir, "local-ca"), away); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Until(first.NextRenewal) + 3*reissueRetry)
		synctest.Wait()
		got := s.Certificates()[0]
		if kinds := events.take(); len(kinds) != 3 || kinds[0] != EventFailed || got.Serial != first.Serial || got.Err == "" {
			t.Errorf("events %v, certificate %+v", kinds, got)
		}
		if err := os.Rename(away, filepath.Join(dir, "local-ca")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(reissueRetry + wardenPace)
		synctest.Wait()
		got = s.Certificates()[0]
		if kinds := events.take(); !slices.Equal(kinds, []EventKind{EventRenewed}) || got.Serial == first.Serial || got.Err != "" {
			t.Errorf("events %v, certificate %+v", kinds, got)
		}
	})
}

// The leaf is kept: those who look at the log see the same one after a restart.
func TestLocalLeafIsKept(t *testing.T) {
	dir := t.TempDir()
	serial := func(names ...string) string {
		return open(t, Config{Local: true, LocalNames: names, DataDir: dir}).Certificates()[0].Serial
	}
	first := serial("a.example.test")
	if serial("a.example.test") != first {
		t.Error("a new leaf after a restart")
	}
	if serial("b.example.test") == first {
		t.Error("the old leaf for other names")
	}
	key := filepath.Join(dir, "local-ca", "root-key.pem")
	if err := os.Chmod(key, 0o644); err != nil {
		t.Fatal(err)
	}
	serial("b.example.test")
	if info, err := os.Stat(key); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key left open: %v %v", info.Mode(), err)
	}
}
