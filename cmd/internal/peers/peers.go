// Package peers runs real POP3 servers and real mail clients for tests: Dovecot, GNU mailutils, popa3d, Courier
// and Cyrus as backends, seven clients that people and scripts use, a client that keeps every octet of a reply, a
// network that delivers one octet at a time, a wire that is tapped, and an authority for certificates, good and bad.
//
// A test starts a server with Dovecot(t, accounts...) or another of that form and fetches with any of Clients.
// Servers run on loopback, from a folder of their own, and are ended with the test. Dovecot and mailutils are
// those of the machine and run without root; the others are unpacked by .ci/peers and run in a root directory of
// their own. What is not there fails the test and names what to do: nothing is ever skipped.
//
// The package knows nothing of the proxy. It is used by tests only.
package peers

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// Mode is how a client speaks TLS.
type Mode string

const (
	Plain Mode = "plain" // none
	TLS   Mode = "pop3s" // from the first octet
	STLS  Mode = "stls"  // after STLS, required
)

// Account is a user of a Server, with the maildrop it begins with.
type Account struct {
	User, Password string
	Mail           [][]byte // lines end in LF or CRLF
}

// Target is what a client needs to fetch a maildrop.
type Target struct {
	Addr           string // host:port
	Mode           Mode
	User, Password string
	CAFile         string // certificates to trust, PEM
	Own            Pair   // what the client shows of itself, when asked; curl, openssl and Raw can
}

// port is that of Addr.
func (t Target) port() string {
	_, port, _ := net.SplitHostPort(t.Addr)
	return port
}

// Server is a POP3 server that is running.
type Server struct {
	Addr    string // host:port of plain POP3, with STLS where CAFile is set
	AddrTLS string // host:port of POP3S, or ""
	CAFile  string // what clients are to trust, or ""
	Log     string // path of Dovecot's log, or ""
}

// Target names the maildrop of a on s.
func (s *Server) Target(mode Mode, a Account) Target {
	addr := s.Addr
	if mode == TLS {
		addr = s.AddrTLS
	}
	return Target{Addr: addr, Mode: mode, User: a.User, Password: a.Password, CAFile: s.CAFile}
}

const (
	startTimeout = 20 * time.Second // a server's start, with room for the race detector next door
	stopTimeout  = 5 * time.Second
	fetchTimeout = 2 * time.Minute
)

// Need returns the path of a program or fails the test naming the Debian package that brings it.
func Need(t testing.TB, program, debian string) string {
	t.Helper()
	for _, dir := range []string{"", "/usr/sbin/"} { // servers live outside a plain user's PATH
		if path, err := exec.LookPath(dir + program); err == nil {
			return path
		}
	}
	t.Fatalf("%s is not installed: apt-get install %s", program, debian)
	return ""
}

// serverDir makes a folder that the user a server runs as can reach; t.TempDir is closed to others. Its path is
// short because UNIX socket paths in it are bounded.
func serverDir(t testing.TB, name string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// account is who a server runs as: nobody when the tests run as root, else whoever runs them.
func account(t testing.TB) *user.User {
	t.Helper()
	u, err := user.Current()
	if err == nil && u.Uid == "0" {
		u, err = user.Lookup("nobody")
	}
	if err != nil {
		t.Fatalf("look up the user to run servers as: %v", err)
	}
	return u
}

// command prepares a server that runs as u, in dir, which it is given to own.
func command(t testing.TB, u *user.User, dir string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = dir
	if os.Getuid() != 0 {
		return cmd
	}
	uid, err1 := strconv.Atoi(u.Uid)
	gid, err2 := strconv.Atoi(u.Gid)
	if err := errors.Join(err1, err2, chown(dir, uid, gid)); err != nil {
		t.Fatal(err)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	return cmd
}

func chown(dir string, uid, gid int) error {
	return filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, uid, gid)
	})
}

// run starts cmd, waits until addr greets, and ends it with the test. The log file and what cmd printed are shown
// when the test fails.
func run(t testing.TB, cmd *exec.Cmd, addr, log string) {
	t.Helper()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", cmd.Path, err)
	}
	done := make(chan struct{})
	go func() {
		cmd.Wait() // how it ended is in its log
		close(done)
	}()
	t.Cleanup(func() {
		stop(cmd, done)
		if t.Failed() {
			text, _ := os.ReadFile(log)
			t.Logf("%s:\n%s%s", cmd.Path, tail(text), tail(out.Bytes()))
		}
	})
	if err := waitGreeting(addr, done); err != nil {
		t.Fatalf("start %s: %v", cmd.Path, err)
	}
}

// stop asks the process to end, then makes it.
func stop(cmd *exec.Cmd, done <-chan struct{}) {
	cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-done:
	case <-time.After(stopTimeout):
		cmd.Process.Kill()
		<-done
	}
}

// waitGreeting returns once addr sent a POP3 greeting, or says why it never will.
func waitGreeting(addr string, exited <-chan struct{}) error {
	deadline := time.Now().Add(startTimeout)
	for {
		err := greet(addr)
		if err == nil {
			return nil
		}
		select {
		case <-exited:
			return errors.New("it exited")
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("not ready in %v: %w", startTimeout, err)
		}
	}
}

func greet(addr string) error {
	conn, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Second))
	var b [3]byte
	if _, err := io.ReadFull(conn, b[:]); err != nil {
		return err
	}
	if string(b[:]) != "+OK" {
		return fmt.Errorf("greeting begins with %q", b)
	}
	_, err = conn.Write([]byte("QUIT\r\n"))
	return err
}

// freePort returns a port of 127.0.0.1 that nobody listens on, and that no other test takes while t runs: a listener
// on the same port of another loopback address says so. It lies below the ports the kernel gives away.
func freePort(t testing.TB) int {
	t.Helper()
	const first, count, tries = 20_000, 10_000, 100
	for range tries {
		port := first + rand.IntN(count)
		claim, err := net.Listen("tcp", net.JoinHostPort("127.77.77.77", strconv.Itoa(port)))
		if err != nil {
			continue
		}
		if l, err := net.Listen("tcp", loopback(port)); err == nil {
			l.Close()
			t.Cleanup(func() { claim.Close() })
			return port
		}
		claim.Close()
	}
	t.Fatalf("no free port in %d tries", tries)
	return 0
}

// tail keeps the end of a log, where the reason is.
func tail(b []byte) []byte {
	const most = 4 << 10
	return b[max(0, len(b)-most):]
}
