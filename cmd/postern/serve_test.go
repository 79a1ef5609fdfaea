package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"postern/cmd/internal/config"
)

// wholeDaemon starts a daemon in dir whose backend is never asked, and stops it when the test ends.
func wholeDaemon(t *testing.T, dir string, log *logBuffer) *daemon {
	t.Helper()
	c := config.Default()
	c.ListenPOP3S, c.ListenPOP3 = []string{"127.0.0.1:0", "127.0.0.1:0"}, []string{"127.0.0.1:0"}
	c.Web, c.Backend, c.TLSLocal, c.DataDir, c.LogFormat = "127.0.0.1:0", "127.0.0.1:1", true, dir, "json"
	d, err := startDaemon(t.Context(), c, io.Discard, newLogger(c, log), nil)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestADaemonAnnouncesWhatItBound(t *testing.T) {
	dir, log := filepath.Join(t.TempDir(), "new"), &logBuffer{}
	d := wholeDaemon(t, dir, log)
	announced := make(map[string]string)
	for _, e := range log.entries() {
		if e["msg"] == "listening" {
			announced[e["listener"].(string)] = e["address"].(string)
		}
	}
	if len(announced) != 4 || announced["web"] != d.dashboard.Addr().String() || announced["pop3"] != d.bound[2].Addr().String() ||
		announced["pop3s@"+d.bound[1].Addr().String()] == "" {
		t.Errorf("announced %v", announced)
	}
	if page := get(t, "http://"+announced["web"]+"/healthz"); page == "" {
		t.Error("healthz says nothing")
	}
	for name, mode := range map[string]os.FileMode{"": 0o700, "audit.db": 0o600} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%q has mode %v, want %v, %v", name, info.Mode(), mode, err)
		}
	}
	if err := d.stop(context.Background()); err != nil {
		t.Error(err)
	}
	for name, addr := range announced {
		if conn, err := net.Dial("tcp", addr); err == nil {
			conn.Close()
			t.Errorf("%s still listens", name)
		}
	}
}

func TestADashboardThatFailsLeavesTheRelayUp(t *testing.T) {
	log := &logBuffer{}
	d := wholeDaemon(t, t.TempDir(), log)
	d.dashboard.Close()
	eventually(t, "the log line", func() bool { return strings.Contains(string(log.bytes()), "the dashboard has stopped") })
	conn, err := net.Dial("tcp", d.bound[2].Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if greeting, err := io.ReadAll(conn); err != nil || !strings.HasPrefix(string(greeting), "-ERR [SYS/TEMP]") {
		t.Errorf("the relay said %q, %v", greeting, err)
	}
	select {
	case err := <-d.failed:
		t.Errorf("the relay has failed: %v", err)
	default:
	}
	if err := d.stop(context.Background()); err != nil {
		t.Error(err)
	}
}

func TestHealthTellsOfDraining(t *testing.T) {
	d := &daemon{}
	d.readiness.Store(&errDraining)
	if d.ready() != errDraining {
		t.Error("ready while draining")
	}
	d.readiness.Store(nil)
	if d.ready() != nil {
		t.Error("never ready")
	}
}

// Who is refused a data directory has changed nothing in it.
func TestASecondDaemonLeavesADataDirectoryAlone(t *testing.T) {
	dir := t.TempDir()
	d := wholeDaemon(t, dir, &logBuffer{})
	leaf := filepath.Join(dir, "local-ca", "leaf.pem")
	before, err := os.ReadFile(leaf)
	if err != nil {
		t.Fatal(err)
	}
	got := invoke(t, "serve", "--backend", "127.0.0.1:1", "--tls-local", "--tls-default-name", "other.example", "--listen-pop3", "", "--web", "",
		"--listen-pop3s", "127.0.0.1:0", "--data-dir", dir, "--audit-db", filepath.Join(t.TempDir(), "audit.db"))
	if got.code != 1 || !strings.Contains(got.err, "in use by another postern") {
		t.Errorf("%+v", got)
	}
	if after, err := os.ReadFile(leaf); err != nil || !bytes.Equal(after, before) {
		t.Errorf("the certificate of the one that runs was replaced, %v", err)
	}
	if err := d.stop(context.Background()); err != nil {
		t.Error(err)
	}
}

func TestTwoCannotShareADataDirectoryOrAPort(t *testing.T) {
	dir := t.TempDir()
	d := wholeDaemon(t, dir, &logBuffer{})
	start := []string{"serve", "--backend", "127.0.0.1:1", "--tls-local", "--listen-pop3", "", "--web", ""}
	got := invoke(t, append(start, "--data-dir", dir, "--listen-pop3s", "127.0.0.1:0")...)
	if got.code != 1 || !strings.Contains(got.err, "being written by another postern") {
		t.Errorf("%+v", got)
	}
	taken := d.bound[0].Addr().String()
	got = invoke(t, append(start, "--data-dir", t.TempDir(), "--listen-pop3s", taken)...)
	_, port, _ := net.SplitHostPort(taken)
	for _, want := range []string{"--listen-pop3s " + taken + ": address already in use", "ss -ltnp 'sport = :" + port + "'"} {
		if got.code != 1 || !strings.Contains(got.err, want) {
			t.Errorf("%q is missing from\n%s", want, got.err)
		}
	}
	if err := d.stop(context.Background()); err != nil {
		t.Error(err)
	}
	http.DefaultClient.CloseIdleConnections()
}
