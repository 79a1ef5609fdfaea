package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"io"
	"net/netip"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"postern/audit"
	"postern/cmd/internal/peers"
)

// The end-to-end tests run the whole program against real servers with real clients. Most run it in this process,
// where the race detector sees it; what must be killed or measured runs as the built binary.

// patience bounds every wait of these tests: for a start, a stop, a record.
const patience = 15 * time.Second

// gate is a Postern that serves.
type gate struct {
	pop3s, pop3, web string // bound addresses
	dir              string // the data directory
	ca               string // what clients are to trust; "" is the local authority
	log              *logBuffer
	secrets          *secrets
}

// serve runs the program in this process in front of backend until the test ends, and then looks for secrets in
// everything it left: every test is a test of redaction. accounts are those whose passwords are secret.
func serve(t *testing.T, backend string, accounts []peers.Account, flags ...string) *gate {
	t.Helper()
	g := newGate(t, accounts)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, g.args(backend, flags), strings.NewReader(""), io.Discard, g.log) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("serve ended with: %v", err)
			}
		case <-time.After(patience):
			t.Errorf("serve did not end in %v", patience)
		}
		g.secrets.searchAll(t, g)
		g.showLog(t)
	})
	g.waitReady(t)
	return g
}

// buildBinary builds the program as people install it.
func buildBinary(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "postern")
	if out, err := exec.Command("go", "build", "-o", path, ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return path
}

// process is a Postern that runs as a process of its own.
type process struct {
	*gate
	cmd *exec.Cmd
}

// start runs the binary at path in front of backend, in g's data directory, which may have served before.
func start(t *testing.T, path string, g *gate, backend string, flags ...string) *process {
	t.Helper()
	g.log, g.pop3s, g.pop3, g.web = &logBuffer{}, "", "", ""
	cmd := exec.Command(path, g.args(backend, flags)...)
	cmd.Stderr = g.log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &process{gate: g, cmd: cmd}
	t.Cleanup(func() {
		if cmd.ProcessState == nil {
			cmd.Process.Kill()
			cmd.Wait()
		}
	})
	g.waitReady(t)
	return p
}

// kill ends the process as a power cut would, and returns when it is gone.
func (p *process) kill() {
	p.cmd.Process.Kill()
	p.cmd.Wait()
}

// terminate asks the process to end and expects that it does, with exit code 0.
func (p *process) terminate(t *testing.T) {
	t.Helper()
	p.cmd.Process.Signal(syscall.SIGTERM)
	timer := time.AfterFunc(patience, func() { p.cmd.Process.Kill() })
	defer timer.Stop()
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v", err)
		p.showLog(t)
	}
}

func newGate(t *testing.T, accounts []peers.Account) *gate {
	t.Helper()
	g := &gate{dir: t.TempDir(), log: &logBuffer{}, secrets: &secrets{}}
	for _, a := range accounts {
		g.secrets.add(a.Password)
	}
	return g
}

func (g *gate) args(backend string, flags []string) []string {
	return append([]string{"serve", "--backend", backend, "--data-dir", g.dir, "--tls-local",
		"--listen-pop3s", "127.0.0.1:0", "--listen-pop3", "127.0.0.1:0", "--web", "127.0.0.1:0",
		"--log-level", "debug", "--log-format", "json"}, flags...)
}

// waitReady learns the bound addresses from the log.
func (g *gate) waitReady(t *testing.T) {
	t.Helper()
	eventually(t, "the listeners", func() bool {
		for _, e := range g.log.entries() {
			switch {
			case e["msg"] != "listening":
			case e["listener"] == "pop3s":
				g.pop3s, _ = e["address"].(string)
			case e["listener"] == "pop3":
				g.pop3, _ = e["address"].(string)
			case e["listener"] == "web":
				g.web, _ = e["address"].(string)
			}
		}
		return g.pop3s != "" && g.pop3 != "" && g.web != ""
	}, g.showLog)
}

// target is a's maildrop seen through the gate.
func (g *gate) target(mode peers.Mode, a peers.Account) peers.Target {
	addr := g.pop3
	if mode == peers.TLS {
		addr = g.pop3s
	}
	return peers.Target{Addr: addr, Mode: mode, User: a.User, Password: a.Password,
		CAFile: cmp.Or(g.ca, filepath.Join(g.dir, "postern-local-ca.pem"))}
}

func (g *gate) database() string { return filepath.Join(g.dir, "audit.db") }

// reader reads the log from outside, as another process would.
func (g *gate) reader(t *testing.T) *audit.Reader {
	t.Helper()
	r, err := audit.OpenReader(g.database())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

// newest returns the newest session, once it has ended.
func (g *gate) newest(t *testing.T) audit.Session {
	t.Helper()
	return g.ended(t, func(audit.Session) bool { return true })
}

// sessionOf returns the session of a client by its own address, once it has ended.
func (g *gate) sessionOf(t *testing.T, c *peers.Raw) audit.Session {
	t.Helper()
	return g.ended(t, func(s audit.Session) bool { return s.Peer == netip.MustParseAddrPort(c.Addr()) })
}

func (g *gate) ended(t *testing.T, is func(audit.Session) bool) (found audit.Session) {
	t.Helper()
	r := g.reader(t)
	eventually(t, "the end of the session in the log", func() bool {
		sessions, err := r.Sessions(t.Context(), audit.SessionQuery{Limit: audit.MaxSessions})
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range sessions {
			if is(s) {
				found = s
				return s.State == audit.StateEnded
			}
		}
		return false
	}, g.showLog)
	return found
}

// transcript returns all records of a session.
func (g *gate) transcript(t *testing.T, s audit.Session) []audit.Record {
	t.Helper()
	records, err := g.reader(t).Transcript(t.Context(), s.ID, 0, 10_000)
	if err != nil {
		t.Fatal(err)
	}
	return records
}

// command runs another of the program's commands on the gate's data and returns what it printed.
func (g *gate) command(t *testing.T, args ...string) string {
	t.Helper()
	var out, errs bytes.Buffer
	args = append(args, "--data-dir", g.dir)
	if err := run(t.Context(), args, strings.NewReader(""), &out, &errs); err != nil {
		t.Fatalf("postern %s: %v\n%s", strings.Join(args, " "), err, errs.String())
	}
	return out.String()
}

func (g *gate) showLog(t *testing.T) {
	if t.Failed() {
		b := g.log.bytes()
		t.Logf("log of postern:\n%s", b[max(0, len(b)-16<<10):])
	}
}

// eventually waits until ok, or fails the test, after which last shows why.
func eventually(t *testing.T, what string, ok func() bool, last ...func(*testing.T)) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().Before(deadline) {
			continue
		}
		t.Errorf("waited %v for %s", patience, what)
		for _, f := range last {
			f(t)
		}
		t.FailNow()
	}
}

// logBuffer collects a log that is written while it is read.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) bytes() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Clone(l.b.Bytes())
}

// entries returns the log's lines as values; what is not JSON is left out.
func (l *logBuffer) entries() (entries []map[string]any) {
	for lines := bufio.NewScanner(bytes.NewReader(l.bytes())); lines.Scan(); {
		var e map[string]any
		if json.Unmarshal(lines.Bytes(), &e) == nil {
			entries = append(entries, e)
		}
	}
	return entries
}
