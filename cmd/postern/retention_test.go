package main

import (
	"context"
	"encoding/json"
	"io"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postern/audit"
	"postern/cmd/internal/config"
	"postern/proxy"
)

// agedLog makes a data directory with a session of each user that ended that many days ago.
func agedLog(t *testing.T, days map[string]int) (dir string) {
	t.Helper()
	dir = t.TempDir()
	log, err := audit.Open(t.Context(), audit.Options{Path: filepath.Join(dir, "audit.db"), Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	for user, ago := range days {
		at := time.Now().AddDate(0, 0, -ago)
		id := proxy.NewSessionID(at)
		for _, ev := range []proxy.Event{
			{Kind: proxy.KindConnect, Peer: netip.MustParseAddrPort("192.0.2.7:40000"), Listener: "pop3s"},
			{Kind: proxy.KindCommand, Verb: "PASS", Arg: proxy.Redacted, Status: "+OK", User: user, Mechanism: "USER", Login: proxy.LoginOK},
			{Kind: proxy.KindEnd, Side: proxy.SideClient, Detail: "quit"},
		} {
			ev.Session, ev.Time = id, at
			if err := log.Record(ev).Wait(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

// wants checks the exit code and parts of what is printed.
func (s spoken) wants(t *testing.T, code int, parts ...string) {
	t.Helper()
	if s.code != code {
		t.Errorf("exit %d, want %d\n%s%s", s.code, code, s.out, s.err)
	}
	harmless(t, s.out)
	for _, part := range parts {
		if !strings.Contains(s.out+s.err, part) {
			t.Errorf("%q is missing from\n%s%s", part, s.out, s.err)
		}
	}
}

// servedLog serves the log of dir.
func servedLog(t *testing.T, dir string) {
	t.Helper()
	c := config.Default()
	c.ListenPOP3S, c.ListenPOP3, c.Web = []string{"127.0.0.1:0"}, nil, ""
	c.Backend, c.TLSLocal, c.DataDir = "127.0.0.1:1", true, dir
	c.RetainUsers = config.Age(100 * 24 * time.Hour)
	d, err := startDaemon(t.Context(), c, io.Discard, newLogger(c, &logBuffer{}), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
}

// TestRetentionFromTheOutside plays an operator's year, without a serve and with one.
func TestRetentionFromTheOutside(t *testing.T) {
	for name, serve := range map[string]func(*testing.T, string){"at rest": func(*testing.T, string) {}, "served": servedLog} {
		t.Run(name, func(t *testing.T) {
			dir := agedLog(t, map[string]int{"ada": 400, "bob": 500, "eve": 200, "joe": 2})
			serve(t, dir)
			postern := func(args ...string) spoken {
				t.Helper()
				args = append(args, "--data-dir", dir)
				if name == "at rest" && args[0] == "retention" {
					args = append(args, "--retain-users", "100d")
				}
				return invoke(t, args...)
			}
			postern("retention").wants(t, 0, "sessions older than 365 days are deleted", "users older than 100 days are thinned", "Oldest ")
			postern("hold", "add", "--user", "ada", "--reason", "case 7").wants(t, 0, "is in force: user \"ada\"")
			postern("hold", "list").wants(t, 0, "user \"ada\"", "case 7")
			postern("retention").wants(t, 0, "1 legal hold in force")
			dry := postern("retention", "--dry-run", "--json")
			dry.wants(t, 0, `"records":3`, `"held":1`)
			mine := postern("retention", "--dry-run", "--retain-sessions", "1d").err
			if told := strings.Contains(mine, "--retain-sessions has no effect here"); told != (name == "served") {
				t.Errorf("rules that were typed, %s: %q", name, mine)
			}
			ran := postern("retention", "run", "--json")
			if dry.out != ran.out || ran.code != 0 {
				t.Errorf("a dry run says\n%sand the run\n%s%s", dry.out, ran.out, ran.err)
			}
			postern("retention", "run").wants(t, 0, "sessions older than 365 days", "deleted")
			if users := usersOf(t, dir); users["ada"] != 1 || users["joe"] != 1 || users["bob"]+users["eve"] != 0 || len(users) != 3 {
				t.Errorf("left are sessions of %v", users)
			}
			id := holdNumber(t, postern("hold", "list", "--json").out)
			postern("hold", "release", id).wants(t, 0, "Hold "+id+" is released: user \"ada\"")
			postern("hold", "release", id).wants(t, 1, "not found", "postern hold list")
			postern("hold", "list").wants(t, 0, "No hold is in force")
			postern("retention", "run").wants(t, 0, "sessions older than 365 days")
			postern("retention", "run").wants(t, 0, "Nothing is old enough.")
			if users := usersOf(t, dir); users["ada"] != 0 || len(users) != 2 {
				t.Errorf("left are sessions of %v", users)
			}
			postern("verify").wants(t, 0)
			postern("tail", "--follow=false", "--lines", "100").wants(t, 0, "hold begun", "case 7", "hold released", "retention deleted", "retention thinned")
		})
	}
}

// usersOf counts the sessions of each user.
func usersOf(t *testing.T, dir string) map[string]int {
	t.Helper()
	r, err := audit.OpenReader(filepath.Join(dir, "audit.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	sessions, err := r.Sessions(t.Context(), audit.SessionQuery{})
	if err != nil {
		t.Fatal(err)
	}
	users := make(map[string]int)
	for _, s := range sessions {
		users[s.User]++
	}
	return users
}

func holdNumber(t *testing.T, list string) string {
	t.Helper()
	var h struct{ ID json.Number }
	if err := json.Unmarshal([]byte(list), &h); err != nil {
		t.Fatal(err)
	}
	return h.ID.String()
}

func TestHoldsThatAreNone(t *testing.T) {
	dir := agedLog(t, map[string]int{"ada": 1})
	for args, want := range map[string]string{
		"hold add":            "a user, a period, or both",
		"hold add --user ada": "a hold needs a reason",
		"hold add --since 2026-02-01 --until 2026-01-01 --reason x": "ends before it begins",
		"hold add --since yesterday":                                "want a date such as",
		"hold release":                                              "hold release wants one ID",
		"hold release one":                                          "not the number of a hold",
	} {
		invoke(t, append(strings.Fields(args), "--data-dir", dir)...).wants(t, 2, want)
	}
	invoke(t, "hold", "list", "--data-dir", "/nowhere").wants(t, 1, "no audit log at")
	invoke(t, "retention", "run", "--data-dir", "/nowhere").wants(t, 1, "no audit log at")
	invoke(t, "retention", "run", "--data-dir", dir, "--retain-sessions", "7").wants(t, 2, "not an age such as 90d")
	invoke(t, "retention", "--dry-run", "--data-dir", dir, "--retain-sessions", "0").wants(t, 0, "No rule is in force")
}
