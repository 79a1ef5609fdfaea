package anchor

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"postern/audit"
)

// lite is litewitness, the witness of filippo.io/torchwood, run as a process of its own. It takes its key from an SSH agent.
type lite struct {
	*testing.T
	program string
	dir     string // short: the paths of sockets are
	key     ed25519.PrivateKey
	addr    string
	cmd     *exec.Cmd
}

const liteName = "lite.example.org/w1"

func newLite(t *testing.T) *lite {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute) // of which the first build takes half a minute
	defer cancel()
	build := exec.CommandContext(ctx, "go", "tool", "-n", "litewitness")
	build.Dir = filepath.Join("..", "..", ".ci", "tools")
	build.Stderr = t.Output()
	program, err := build.Output()
	if err != nil {
		t.Fatalf("build litewitness: %v", err)
	}
	l := &lite{T: t, program: strings.TrimSpace(string(program))}
	if l.dir, err = os.MkdirTemp("", "lite"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(l.dir) })
	if _, l.key, err = ed25519.GenerateKey(nil); err != nil {
		t.Fatal(err)
	}
	l.serveKey()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.addr = free.Addr().String()
	free.Close()
	l.start()
	return l
}

// serveKey is the SSH agent.
func (l *lite) serveKey() {
	l.Helper()
	keys := agent.NewKeyring()
	if err := keys.Add(agent.AddedKey{PrivateKey: l.key}); err != nil {
		l.Fatal(err)
	}
	socket, err := net.Listen("unix", filepath.Join(l.dir, "agent"))
	if err != nil {
		l.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := socket.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				agent.ServeAgent(keys, conn)
				conn.Close()
			})
		}
	})
	l.Cleanup(func() {
		l.stop()
		socket.Close()
		serving.Wait()
	})
}

func (l *lite) start() {
	l.Helper()
	public, err := ssh.NewPublicKey(l.key.Public())
	if err != nil {
		l.Fatal(err)
	}
	l.cmd = exec.Command(l.program, "-name", liteName, "-db", filepath.Join(l.dir, "db"), "-ssh-agent", filepath.Join(l.dir, "agent"),
		"-listen", l.addr, "-key", ssh.FingerprintSHA256(public))
	l.cmd.Stderr = l.Output()
	if err := l.cmd.Start(); err != nil {
		l.Fatal(err)
	}
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		conn, err := net.Dial("tcp", l.addr)
		if err == nil {
			conn.Close()
			return
		}
		if time.Since(began) > patience {
			l.Fatalf("litewitness does not listen: %v", err)
		}
	}
}

func (l *lite) stop() {
	if l.cmd != nil {
		l.cmd.Process.Kill()
		l.cmd.Wait()
		l.cmd = nil
	}
}

// know makes the log of s known to the witness, as its operator would.
func (l *lite) know(s *scene) {
	l.Helper()
	key, err := s.log.Reader().Verifier(l.Context())
	if err != nil {
		l.Fatal(err)
	}
	db, err := sql.Open("sqlite3", filepath.Join(l.dir, "db")+"?_busy_timeout=5000")
	if err != nil {
		l.Fatal(err)
	}
	defer db.Close()
	empty := sha256.Sum256(nil)
	_, err = db.Exec("INSERT INTO log VALUES(?, 0, ?)", s.origin(), base64.StdEncoding.EncodeToString(empty[:]))
	if err == nil {
		_, err = db.Exec("INSERT INTO key VALUES(?, ?)", s.origin(), key)
	}
	if err != nil {
		l.Fatal(err)
	}
}

func (l *lite) place() Witness {
	l.Helper()
	material := append([]byte{4}, l.key.Public().(ed25519.PublicKey)...)
	sum := sha256.Sum256(append([]byte(liteName+"\n"), material...))
	key, err := audit.ParseWitness(fmt.Sprintf("%s+%x+%s", liteName, sum[:4], base64.StdEncoding.EncodeToString(material)))
	if err != nil {
		l.Fatal(err)
	}
	return Witness{URL: "http://" + l.addr, Key: key}
}

// A witness that others wrote and run: it does not know the log, learns of it, cosigns as it grows, is away and comes back, and
// refuses a rewritten history.
func TestLitewitness(t *testing.T) {
	s := newScene(t)
	l := newLite(t)
	a := s.start(Options{Witnesses: []Witness{l.place()}})
	s.fails(a, "ask its operator to add the log "+s.origin())
	l.know(s)
	s.arrives(a, s.grow(10))
	s.close()
	old := s.path + ".old"
	end(a)
	copyLog(t, s.path, old)

	s.open()
	a = s.start(Options{Witnesses: []Witness{l.place()}})
	got := s.arrives(a, s.grow(300))
	if text := s.stored(got.Size); strings.Count(text, "\n— "+liteName+" ") != 1 {
		t.Errorf("the checkpoint is\n%s", text)
	}
	l.stop()
	size := s.grow(300)
	s.fails(a, "connection refused")
	l.start()
	s.arrives(a, size)
	end(a)
	s.close()

	copyLog(t, old, s.path)
	s.open()
	a = s.start(Options{Witnesses: []Witness{l.place()}})
	if got := s.fails(a, "the log was rolled back"); !got.Refused {
		t.Errorf("status: %+v", got)
	}
	s.grow(1000)
	if got := s.fails(a, "are not those that it cosigned"); !got.Refused {
		t.Errorf("status: %+v", got)
	}
	if states := s.states(); len(states) != 1 || states[0].Detail != "witness_refused" || states[0].Arg != liteName {
		t.Errorf("recorded %+v", states)
	}
}
