package peers

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// Client is a real mail client that fetches a whole maildrop and leaves it on the server.
type Client struct {
	Name      string
	Program   string // what is run
	Debian    string // the package that brings it
	Modes     []Mode // the ways it can connect
	Mechanism string // how it logs in where a server offers everything Dovecot does
	Legacy    bool   // it logs in by USER at Mailutils, which greets as if it knew APOP

	// fetch runs the client in dir, which is empty, and returns the messages as the client keeps them.
	fetch func(j job) ([][]byte, error)
}

// job is one run of a Client.
type job struct {
	ctx context.Context
	Target
	host, port string
	bin, dir   string
	count      int // of messages in the maildrop, for clients that cannot ask
}

var (
	everyMode = []Mode{Plain, TLS, STLS}
	onlyTLS   = []Mode{TLS, STLS}
	noSTLS    = []Mode{Plain, TLS}
)

// Clients are those whose mail must come through untouched.
var Clients = []Client{
	{"curl", "curl", "curl", everyMode, "CRAM-MD5", false, curl},
	{"fetchmail", "fetchmail", "fetchmail", everyMode, "CRAM-MD5", true, fetchmail},
	{"mpop", "mpop", "mpop", everyMode, "PLAIN", false, mpop},
	{"getmail", "getmail", "getmail6", noSTLS, "USER", true, getmail},
	{"poplib", "python3", "python3", everyMode, "APOP", false, pythonPoplib},
	{"Net::POP3", "perl", "perl libio-socket-ssl-perl", everyMode, "USER", true, perlNetPOP3},
	{"openssl", "openssl", "openssl", onlyTLS, "USER", false, openssl},
}

// Named returns the client of that name.
func Named(name string) Client {
	return Clients[slices.IndexFunc(Clients, func(c Client) bool { return c.Name == name })]
}

// Supports tells whether c can connect so.
func (c Client) Supports(mode Mode) bool { return slices.Contains(c.Modes, mode) }

// Fetch runs the client and returns the count messages it got, sorted, as the client keeps them. They compare
// equal with those of another run of the same client against the same maildrop.
func (c Client) Fetch(t testing.TB, target Target, count int) [][]byte {
	t.Helper()
	bin := Need(t, c.Program, c.Debian)
	ctx, cancel := context.WithTimeout(t.Context(), fetchTimeout)
	defer cancel()
	// Certificates name the host; fetchmail does not take an address in them.
	mail, err := c.fetch(job{ctx, target, "localhost", target.port(), bin, t.TempDir(), count})
	if err != nil {
		t.Fatalf("%s by %s from %s: %v", c.Name, target.Mode, target.Addr, err)
	}
	if len(mail) != count {
		t.Fatalf("%s by %s from %s: got %d messages, want %d", c.Name, target.Mode, target.Addr, len(mail), count)
	}
	slices.SortFunc(mail, bytes.Compare)
	return mail
}

// run runs the client's program in the job's folder and returns what it printed.
func (j job) run(stdin string, args ...string) ([]byte, error) {
	var out bytes.Buffer
	err := j.pipe(strings.NewReader(stdin), &out, args)
	if err != nil {
		return nil, fmt.Errorf("%w%s", err, tail(out.Bytes()))
	}
	return out.Bytes(), nil
}

// pipe is run with an input and an output of the caller's.
func (j job) pipe(stdin io.Reader, stdout io.Writer, args []string) error {
	cmd := exec.CommandContext(j.ctx, j.bin, args...)
	cmd.WaitDelay = time.Second
	cmd.Dir = j.dir
	cmd.Env = append(os.Environ(), "HOME="+j.dir, "LC_ALL=C.UTF-8")
	cmd.Stdin = stdin
	var errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = stdout, &errs
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%w: %s", errors.Join(err, j.ctx.Err()), tail(errs.Bytes()))
	}
	return nil
}

// write puts a file, private as clients demand, into the job's folder.
func (j job) write(name, text string) (path string, err error) {
	path = filepath.Join(j.dir, name)
	return path, os.WriteFile(path, []byte(text), 0o600)
}

// delivered reads all the files of a folder the client delivered to.
func (j job) delivered(folder string) ([][]byte, error) {
	entries, err := os.ReadDir(filepath.Join(j.dir, folder))
	if err != nil {
		return nil, err
	}
	var mail [][]byte
	for _, entry := range entries {
		b, err := os.ReadFile(filepath.Join(j.dir, folder, entry.Name()))
		if err != nil {
			return nil, err
		}
		mail = append(mail, b)
	}
	return mail, nil
}

// chunks reads what the scripts print: messages, each after its length as four octets.
func chunks(b []byte) ([][]byte, error) {
	var mail [][]byte
	for len(b) >= 4 {
		n := int(binary.BigEndian.Uint32(b))
		if n > len(b)-4 {
			return nil, fmt.Errorf("a message of %d octets is cut to %d", n, len(b)-4)
		}
		mail, b = append(mail, b[4:4+n]), b[4+n:]
	}
	return mail, nil
}

// Same fails the test where two fetches differ.
func Same(t testing.TB, want, got [][]byte) {
	t.Helper()
	if len(want) != len(got) {
		t.Fatalf("%d messages, want %d", len(got), len(want))
	}
	for i := range want {
		if bytes.Equal(want[i], got[i]) {
			continue
		}
		at := 0
		for at < len(want[i]) && at < len(got[i]) && want[i][at] == got[i][at] {
			at++
		}
		t.Errorf("message %d of %d differs from octet %d on: %d octets ...%.80q, want %d octets ...%.80q",
			i+1, len(want), at, len(got[i]), got[i][at:], len(want[i]), want[i][at:])
	}
}
