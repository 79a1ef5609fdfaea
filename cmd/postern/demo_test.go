package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"net/textproto"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"postern/audit"
)

// shown is a demo that runs in this process.
type shown struct {
	text  string // what it printed until it was up
	dir   string
	stop  context.CancelFunc
	ended chan error
	rest  io.Reader
}

// showDemo starts a demo and returns when it has printed how to end it.
func showDemo(t *testing.T, flags ...string) *shown {
	t.Helper()
	t.Setenv("TMPDIR", t.TempDir())
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	d := &shown{stop: cancel, ended: make(chan error, 1)}
	in, out := io.Pipe()
	go func() {
		err := run(ctx, append([]string{"demo"}, flags...), strings.NewReader(""), out, io.Discard)
		out.Close()
		d.ended <- err
	}()
	lines := bufio.NewReader(in)
	d.rest = lines
	for !strings.Contains(d.text, "Ctrl-C") {
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatalf("the demo ended early: %v\n%s", <-d.ended, d.text)
		}
		d.text += line
	}
	d.dir = regexp.MustCompile(`--data-dir (\S+)`).FindStringSubmatch(d.text)[1]
	return d
}

// end stops the demo and returns what it printed last.
func (d *shown) end(t *testing.T) string {
	t.Helper()
	d.stop()
	rest, err := io.ReadAll(d.rest)
	if err != nil {
		t.Fatal(err)
	}
	if err := <-d.ended; err != nil {
		t.Errorf("the demo ended with %v", err)
	}
	return string(rest)
}

func (d *shown) find(t *testing.T, pattern string) string {
	t.Helper()
	found := regexp.MustCompile(pattern).FindStringSubmatch(d.text)
	if found == nil {
		t.Fatalf("no %s in\n%s", pattern, d.text)
	}
	return found[1]
}

// TestDemo reads a message as the demo tells people to, sees it in the log, and leaves nothing behind.
func TestDemo(t *testing.T) {
	before := goleak.IgnoreCurrent()
	began := time.Now()
	d := showDemo(t)
	page := get(t, d.find(t, `(http://\S+)`))
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("the page was up after %v", took)
	}
	if !strings.Contains(page, "<title>") {
		t.Errorf("that is no page: %.200s", page)
	}
	readDemoMail(t, d)
	if got := invoke(t, "session", newestOf(t, d.dir, demoUser), "--data-dir", d.dir); !strings.Contains(got.out, "> RETR 1") {
		t.Errorf("the transcript does not tell of RETR:\n%s%s", got.out, got.err)
	}
	eventually(t, "sample traffic", func() bool {
		return strings.Count(invoke(t, "sessions", "--data-dir", d.dir).out, "\n") > 2
	})
	if rest := d.end(t); rest != "" {
		t.Errorf("last words: %s", rest)
	}
	if _, err := os.Stat(d.dir); !os.IsNotExist(err) {
		t.Errorf("the data directory is still there: %v", err)
	}
	http.DefaultClient.CloseIdleConnections()
	goleak.VerifyNone(t, before)
}

// TestDemoKeepsAndIsQuiet also runs beside another demo, which has the usual ports.
func TestDemoKeepsAndIsQuiet(t *testing.T) {
	first := showDemo(t, "--no-traffic")
	second := showDemo(t, "--no-traffic", "--keep")
	if a, b := first.find(t, `(http://\S+)`), second.find(t, `(http://\S+)`); a == b {
		t.Errorf("both are at %s", a)
	}
	first.end(t)
	if rest := second.end(t); !strings.Contains(rest, "Kept: ") {
		t.Errorf("last words: %s", rest)
	}
	if got := invoke(t, "sessions", "--data-dir", second.dir); got.out != "" || got.err != noSessions {
		t.Errorf("somebody was there: %+v", got)
	}
	if info, err := os.Stat(filepath.Join(second.dir, "audit.db")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

func get(t *testing.T, url string) string {
	t.Helper()
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v", url, response.Status, err)
	}
	return string(body)
}

// readDemoMail reads message 1 over POP3S, trusting the certificate that the demo names.
func readDemoMail(t *testing.T, d *shown) {
	t.Helper()
	root, err := os.ReadFile(d.find(t, `--cacert (\S+)`))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(root)
	conn, err := tls.Dial("tcp", d.find(t, `pop3s://([^/]+)/`), &tls.Config{RootCAs: pool})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	text := textproto.NewConn(conn)
	for _, command := range []string{"", "USER " + demoUser, "PASS " + demoPassword, "RETR 1"} {
		if command != "" {
			text.PrintfLine("%s", command)
		}
		if status, err := text.ReadLine(); err != nil || !strings.HasPrefix(status, "+OK") {
			t.Fatalf("%s: %s, %v", command, status, err)
		}
	}
	if body, err := text.ReadDotBytes(); err != nil || !strings.Contains(string(body), "small guarded gate") {
		t.Errorf("message 1 is %q, %v", body, err)
	}
}

// newestOf returns the ID of a user's newest session.
func newestOf(t *testing.T, dir, user string) string {
	t.Helper()
	r, err := audit.OpenReader(filepath.Join(dir, "audit.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	found := ""
	eventually(t, "the session of "+user, func() bool {
		sessions, err := r.Sessions(t.Context(), audit.SessionQuery{User: user})
		if err != nil {
			t.Fatal(err)
		}
		if len(sessions) > 0 {
			found = sessions[0].ID.String()
		}
		return found != ""
	})
	return found
}
