package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode"

	"postern/audit"
	"postern/proxy"
)

var update = flag.Bool("update", false, "write the golden files")

// spoken is what one call of the program printed.
type spoken struct {
	out, err string
	code     int
}

// invoke runs the program in this process; no setting of the environment reaches it.
func invoke(t *testing.T, args ...string) spoken {
	t.Helper()
	var out, errs bytes.Buffer
	err := run(t.Context(), args, strings.NewReader(""), &out, &errs)
	s := spoken{out.String(), errs.String(), exitCode(err)}
	if err != nil {
		s.err += "postern: " + err.Error()
	}
	return s
}

func TestExitCodesAndRemedies(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "postern.toml")
	if err := os.WriteFile(file, []byte("backend = \"mail\"\nlog_lvl = \"info\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		args string
		code int
		want []string // parts of what is printed
	}{
		{"", 0, []string{"Examples:", "postern demo", "Read the audit log:"}},
		{"--help", 0, []string{"Examples:"}},
		{"version", 0, []string{"postern devel go1."}},
		{"config", 0, []string{"#listen_pop3s = [\":995\"]", "#timeout_idle = \"11m\""}},
		{"serve --help", 0, []string{"Limits:", "--max-sessions N", "(default 10000)", "POSTERN_LISTEN_POP3S"}},
		{"completion bash", 0, []string{"bash completion"}},
		{"__complete serve --durability ", 0, []string{"strict\nrelaxed\n"}},
		{"srve", 2, []string{"unknown command \"srve\": did you mean serve"}},
		{"certs --help", 0, []string{"Commands:", "renew", "Renew the certificate of a name now"}},
		{"completion zsch", 2, []string{"unknown command \"zsch\": postern completion --help tells"}},
		{"ca", 0, []string{"export", "Print the root certificate that clients must trust"}},
		{"serve now", 2, []string{"postern serve takes no arguments, not \"now\""}},
		{"serve --bakend x:1", 2, []string{"unknown flag: --bakend\npostern serve --help tells what there is"}},
		{"serve", 2, []string{"--backend: no mail server", "no source of certificates"}},
		{"serve --config " + file, 2, []string{"for 3 reasons", file + ":1:11: \"mail\" is not host:port", file + ":2:1: unknown key \"log_lvl\"",
			"did you mean \"log_level\"?", "no source of certificates"}},
		{"serve --backend m:1 --tls-local --web 0.0.0.0:80", 2, []string{"--web: ", "no accounts yet"}},
		{"serve --backend m:1 --tls-local --listen-pop3s= --listen-pop3=", 2, []string{"--listen-pop3s: no address to listen on"}},
		{"serve --backend m:1 --tls-local --listen-pop3s :1 --listen-pop3 :1", 2, []string{"--listen-pop3: :1 is taken by --listen-pop3s"}},
		{"serve --backend m:1 --tls-local --data-dir " + file + "/x", 2, []string{"--data-dir: ", "not a directory", "install -d -m 0700"}},
		{"tail --data-dir /nowhere", 1, []string{"no audit log at /nowhere/audit.db", "--data-dir"}},
		{"tail --lines -1", 2, []string{"--lines"}},
		{"tail --ip nobody", 2, []string{"want an address such as 192.0.2.7"}},
		{"sessions --limit 0", 2, []string{"--limit wants a number from 1 to 1000"}},
		{"sessions --since -1h", 2, []string{"--since"}},
		{"session", 2, []string{"session wants one ID"}},
		{"session what", 2, []string{"want 13 characters"}},
	} {
		t.Run(strings.ReplaceAll(test.args, "/", "_"), func(t *testing.T) {
			got := invoke(t, strings.Split(test.args, " ")...)
			if test.args == "" {
				got = invoke(t)
			}
			if got.code != test.code {
				t.Errorf("exit code %d, want %d", got.code, test.code)
			}
			for _, want := range test.want {
				if !strings.Contains(got.out+got.err, want) {
					t.Errorf("%q is missing from\n%s%s", want, got.out, got.err)
				}
			}
		})
	}
}

func TestTheEnvironmentNamesTheFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "x.toml")
	if err := os.WriteFile(file, []byte("web = 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("POSTERN_CONFIG", file)
	t.Setenv("POSTERN_BACKEND", "nowhere")
	got := invoke(t, "serve", "--tls-local")
	for _, want := range []string{file + ":1:7: web wants a text", "POSTERN_BACKEND: \"nowhere\" is not host:port"} {
		if got.code != 2 || !strings.Contains(got.err, want) {
			t.Errorf("%q is missing from\n%s", want, got.err)
		}
	}
}

// nasty is text that would act on a terminal.
const nasty = "\x1b[2J\x1b]0;owned\a\u202egnp.exe\u200b\r\n12:00 > QUIT\xff"

// sampleLog makes a data directory with two sessions in its log, one of them still open until the log
// was closed, and returns it with their IDs.
func sampleLog(t *testing.T) (dir string, ids [2]proxy.SessionID) {
	t.Helper()
	dir = t.TempDir()
	log, err := audit.Open(t.Context(), audit.Options{Path: filepath.Join(dir, "audit.db"), Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	began := time.Date(2025, 11, 23, 12, 0, 0, 0, time.UTC)
	for i, user := range []string{"ada", "bob" + nasty} {
		at := began.Add(time.Duration(i) * time.Minute)
		ids[i] = proxy.SessionID(int64(i+1) << 50)
		peer := netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(7 + i)}), 40_000)
		for _, ev := range []proxy.Event{
			{Kind: proxy.KindConnect, Peer: peer, Listener: "pop3s", Backend: "mail:110", Text: "ready" + nasty,
				TLS: &proxy.TLS{Version: "TLS 1.3", Cipher: "TLS_AES_128_GCM_SHA256", Group: "X25519", SNI: nasty}},
			{Kind: proxy.KindCommand, Verb: "USER", Arg: user, Status: "+OK", Duration: time.Millisecond},
			{Kind: proxy.KindCommand, Verb: "PASS", Arg: proxy.Redacted, Status: "+OK", Text: nasty, User: user, Mechanism: "USER",
				Login: proxy.LoginOK, Duration: 2 * time.Millisecond},
			{Kind: proxy.KindOpened, Verb: "RETR", Message: 1, UID: "u" + nasty},
			{Kind: proxy.KindCommand, Verb: "RETR", Arg: "1", Message: 1, Status: "+OK", Octets: 12_345, Lines: 200, Duration: time.Second},
			{Kind: proxy.KindCommand, Verb: "QUIT", Status: "+OK", Text: "bye", Duration: time.Millisecond},
			{Kind: proxy.KindEnd, Side: proxy.SideClient, Detail: "quit", Duration: 3 * time.Second, Received: 30, Sent: 12_500},
		} {
			ev.Session, ev.Time = ids[i], at
			at = at.Add(500 * time.Millisecond)
			if err := log.Record(ev).Wait(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	return dir, ids
}

// harmless fails when text holds anything that acts on a terminal.
func harmless(t *testing.T, text string) {
	t.Helper()
	for _, r := range text {
		if r != '\n' && !unicode.IsPrint(r) {
			t.Errorf("%U reaches the terminal", r)
		}
	}
}

func TestReadingTheLog(t *testing.T) {
	dir, ids := sampleLog(t)
	for name, args := range map[string][]string{
		"transcript.txt": {"session", ids[1].String()},
		"sessions.txt":   {"sessions"},
		"tail.txt":       {"tail", "--follow=false", "--ip", "192.0.2.0/24", "--lines", "9"},
	} {
		got := invoke(t, append(args, "--data-dir", dir)...)
		if got.code != 0 || got.err != "" {
			t.Errorf("%s: exit %d\n%s", name, got.code, got.err)
		}
		harmless(t, got.out)
		path := filepath.Join("testdata", name)
		if *update {
			if err := os.WriteFile(path, []byte(got.out), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if want, err := os.ReadFile(path); err != nil || string(want) != got.out {
			t.Errorf("%s differs (go test -update writes it), %v:\n%s", path, err, got.out)
		}
	}
}

func TestChoosing(t *testing.T) {
	dir, ids := sampleLog(t)
	records := func(args ...string) (all []audit.Record) {
		t.Helper()
		dir, _ := sampleLog(t) // none has the record of an access before this one
		got := invoke(t, append(args, "--json", "--data-dir", dir)...)
		harmless(t, got.out)
		for line := range strings.Lines(got.out) {
			var r audit.Record
			if err := json.Unmarshal([]byte(line), &r); err != nil {
				t.Fatal(err)
			}
			all = append(all, r)
		}
		return all
	}
	for _, test := range []struct {
		args        []string
		count       int
		first, last int64
	}{
		{[]string{"tail", "--follow=false"}, 10, 7, 16},
		{[]string{"tail", "--follow=false", "-n", "3"}, 3, 14, 16},
		{[]string{"tail", "--follow=false", "-n", "100"}, 16, 1, 16},
		{[]string{"tail", "--follow=false", "--after", "12"}, 4, 13, 16},
		{[]string{"tail", "--follow=false", "--ip", "192.0.2.7", "-n", "2"}, 2, 7, 8},
		{[]string{"tail", "--follow=false", "--ip", "192.0.2.7", "-n", "50"}, 7, 2, 8},
		{[]string{"tail", "--follow=false", "--user", "ada", "-n", "1"}, 1, 8, 8},
		{[]string{"session", ids[0].String()}, 7, 2, 8},
	} {
		got := records(test.args...)
		if len(got) != test.count || got[0].Seq != test.first || got[len(got)-1].Seq != test.last {
			t.Errorf("%v gave %d records", test.args, len(got))
		}
	}
	for _, test := range []struct {
		args string
		want int
	}{{"--user ada", 1}, {"--ip 192.0.2.8", 1}, {"--ip 192.0.2.0/24", 2}, {"--limit 1", 1}, {"--live", 0}, {"--since 1h", 0}} {
		got := invoke(t, append(strings.Fields("sessions --json "+test.args), "--data-dir", dir)...)
		if n := strings.Count(got.out, "\n"); n != test.want {
			t.Errorf("sessions %s gave %d, want %d: %s", test.args, n, test.want, got.out)
		}
	}
	if got := invoke(t, "sessions", "--user", "nobody", "--data-dir", dir); got.err != "No session is like that.\n" || got.code != 0 {
		t.Errorf("%+v", got)
	}
	if got := invoke(t, "session", (ids[0] + 1).String(), "--data-dir", dir); got.code != 1 || !strings.Contains(got.err, "no session") {
		t.Errorf("%+v", got)
	}
}

func TestAnEmptyLogTeaches(t *testing.T) {
	dir := t.TempDir()
	log, err := audit.Open(t.Context(), audit.Options{Path: filepath.Join(dir, "audit.db")})
	if err != nil {
		t.Fatal(err)
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	if got := invoke(t, "sessions", "--data-dir", dir); got.code != 0 || got.err != noSessions || got.out != "" {
		t.Errorf("%+v", got)
	}
}

// TestTailFollows reads a log while it is written, until a person has seen enough.
func TestTailFollows(t *testing.T) {
	dir := t.TempDir()
	log, err := audit.Open(t.Context(), audit.Options{Path: filepath.Join(dir, "audit.db")})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	out := &until{text: "NOOP", done: cancel}
	ended := make(chan error, 1)
	go func() {
		ended <- run(ctx, []string{"tail", "--data-dir", dir, "--user", "ada"}, strings.NewReader(""), out, &bytes.Buffer{})
	}()
	id := proxy.NewSessionID(time.Now())
	log.Record(proxy.Event{Kind: proxy.KindConnect, Session: id, Time: time.Now()})
	log.Record(proxy.Event{Kind: proxy.KindCommand, Session: id, Time: time.Now(), Verb: "PASS", User: "ada", Login: proxy.LoginOK})
	log.Record(proxy.Event{Kind: proxy.KindCommand, Session: id, Time: time.Now(), Verb: "NOOP", Status: "+OK"})
	if err := <-ended; err != nil || !strings.Contains(out.String(), "NOOP") {
		t.Errorf("tail ended with %v and\n%s", err, out.String())
	}
}

// until calls done once text was written to it. One goroutine writes; it is read when that has ended.
type until struct {
	written bytes.Buffer
	text    string
	done    func()
}

func (u *until) String() string { return u.written.String() }

func (u *until) Write(p []byte) (int, error) {
	n, err := u.written.Write(p)
	if strings.Contains(u.String(), u.text) {
		u.done()
	}
	return n, err
}

// brokenPipe is an output whose reader has gone.
type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) {
	return 0, &os.PathError{Op: "write", Path: "/dev/stdout", Err: syscall.EPIPE}
}

func TestABrokenPipeEndsQuietly(t *testing.T) {
	dir, ids := sampleLog(t)
	for _, args := range [][]string{{"tail"}, {"tail", "--json"}, {"sessions"}, {"sessions", "--json"}, {"session", ids[0].String()}, {"config"}, {"version"}} {
		if len(args) > 0 && args[0] != "config" && args[0] != "version" {
			args = append(args, "--data-dir", dir)
		}
		var errs bytes.Buffer
		err := run(t.Context(), args, strings.NewReader(""), brokenPipe{}, &errs)
		if err != nil || errs.Len() > 0 {
			t.Errorf("%v: %v, %s", args, err, errs.String())
		}
	}
}

func TestExitCode(t *testing.T) {
	if exitCode(nil) != 0 || exitCode(errors.New("x")) != 1 || exitCode(errors.Join(usageError{errors.New("x")})) != 2 {
		t.Error("wrong exit codes")
	}
}
