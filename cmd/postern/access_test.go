package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"postern/audit"
	"postern/cmd/internal/config"
	"postern/proxy"
)

// accesses returns the records of access that the log in dir has.
func accesses(t *testing.T, dir string) (all []audit.Record) {
	t.Helper()
	r, err := audit.OpenReader(filepath.Join(dir, "audit.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	records, err := r.Records(t.Context(), 0, 10_000, audit.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	for _, record := range records {
		if record.Kind == proxy.KindAccess {
			all = append(all, record)
		}
	}
	return all
}

// reads are the commands that read the log, and what their record says of them. A copy goes to the file copied.
func reads(session proxy.SessionID, copied string) []struct{ args, verb, arg string } {
	return []struct{ args, verb, arg string }{
		{"tail --follow=false", "tail", "--follow=false"},
		{"tail --follow=false --json --user ada", "tail", "--follow=false --json --user=ada"},
		{"sessions", "sessions", ""},
		{"sessions --ip 192.0.2.0/24", "sessions", "--ip=192.0.2.0/24"},
		{"session " + session.String(), "session", session.String()},
		{"session " + (session + 1).String(), "session", (session + 1).String()}, // there is none
		{"verify", "verify", ""},
		{"verify --full --json", "verify", "--full --json"},
		{"retention --dry-run", "retention", "--dry-run"},
		{"hold list", "hold list", ""},
		{"prove 2", "prove", "2"},
		{"backup " + copied, "backup", copied},
	}
}

// silent are the commands that know where the log is and leave no record of access, and why.
var silent = map[string]string{
	"serve":         "it writes the log, and says so",
	"retention":     "without --dry-run it tells the rules, and nothing of any record",
	"retention run": "it leaves records of retention",
	"hold add":      "it leaves a record of the hold",
	"hold release":  "it leaves a record of the hold",
	"key export":    "the key is public",
	"key rotate":    "it leaves a record of the key",
	"restore":       "it leaves a record of what was restored",
}

// TestNoCommandReadsUnseen wants each command that knows of the log among those that are tested to leave a record, or excused.
func TestNoCommandReadsUnseen(t *testing.T) {
	var tested []string
	for _, read := range reads(1, "") {
		tested = append(tested, read.verb)
	}
	var walk func(cmd *cobra.Command, path string)
	walk = func(cmd *cobra.Command, path string) {
		for _, sub := range cmd.Commands() {
			name := strings.TrimSpace(path + " " + sub.Name())
			if sub.Flags().Lookup("audit-db") != nil && silent[name] == "" && !slices.Contains(tested, name) {
				t.Errorf("postern %s knows where the log is: let it leave a record of access, and have it tested, or say why not", name)
			}
			walk(sub, name)
		}
	}
	walk(newRoot(), "")
}

// eachLeavesOne runs every reading command on the log in dir.
func eachLeavesOne(t *testing.T, dir string, session proxy.SessionID) {
	t.Setenv("SUDO_USER", "")
	me, _ := operator()
	for _, read := range reads(session, filepath.Join(t.TempDir(), "copy.db")) {
		before := len(accesses(t, dir))
		got := invoke(t, append(strings.Fields(read.args), "--data-dir", dir)...)
		if strings.Contains(got.err, "no record of this access") {
			t.Errorf("%s: %s", read.args, got.err)
		}
		all := accesses(t, dir)
		if len(all) != before+1 {
			t.Fatalf("%s left %d records of access, want 1", read.args, len(all)-before)
		}
		r := all[len(all)-1]
		if r.Verb != read.verb || r.Arg != read.arg || r.User != me || r.Session != 0 || time.Since(r.Time) > time.Minute {
			t.Errorf("%s: recorded as %+v", read.args, r)
		}
		if strings.Contains(got.out, string(proxy.KindAccess)) && before == 0 {
			t.Errorf("%s shows its own access:\n%s", read.args, got.out)
		}
	}
}

// TestEachReadingCommandLeavesOneRecord without a serve, so that the command writes it.
func TestEachReadingCommandLeavesOneRecord(t *testing.T) {
	dir, ids := sampleLog(t)
	eachLeavesOne(t, dir, ids[0])
	log, err := audit.Open(t.Context(), audit.Options{Path: filepath.Join(dir, "audit.db")})
	if err != nil {
		t.Fatalf("after accesses were recorded: %v", err)
	}
	if h := log.Health(); h.Signed != h.LastSeq-1 && h.Signed != h.LastSeq {
		t.Errorf("accesses are not signed: %+v", h)
	}
	if err := log.Close(); err != nil {
		t.Error(err)
	}
}

// TestServeRecordsWhoReads has the same records made by the serve that writes the log.
func TestServeRecordsWhoReads(t *testing.T) {
	dir := t.TempDir()
	d := wholeDaemon(t, dir, new(logBuffer))
	defer d.stop(context.Background())
	eachLeavesOne(t, dir, proxy.NewSessionID(time.Now()))
	if lock, err := os.ReadFile(filepath.Join(dir, "audit.db.lock")); err != nil || len(lock) == 0 {
		t.Errorf("the log is not serve's: %v", err)
	}
	if got := invoke(t, "sessions", "--data-dir", t.TempDir(), "--audit-db", d.config.AuditPath()); got.err != noSessions {
		t.Errorf("another data directory: %s", got.err) // the socket beside the log is found
	}
}

// TestSudoNamesThePerson and whose rights they used.
func TestSudoNamesThePerson(t *testing.T) {
	dir, _ := sampleLog(t)
	t.Setenv("SUDO_USER", "grace"+strings.Repeat("é", proxy.MaxText))
	invoke(t, "sessions", "--data-dir", dir)
	all := accesses(t, dir)
	if len(all) != 1 || !strings.HasPrefix(all[0].User, "grace") || len(all[0].User) > proxy.MaxText {
		t.Fatalf("recorded as %+v", all)
	}
	if want := "as " + userName(os.Getuid()); all[0].Text != want || all[0].Count != 2 {
		t.Errorf("text is %q, want %q; count is %d, want 2", all[0].Text, want, all[0].Count)
	}
}

// TestAnAccessThatCannotBeRecorded is told of, and the log is read all the same.
func TestAnAccessThatCannotBeRecorded(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, dir string){
		"a copy without its key": func(t *testing.T, dir string) { remove(t, filepath.Join(dir, "audit.key")) },
		"written by another": func(t *testing.T, dir string) {
			log, err := audit.Open(t.Context(), audit.Options{Path: filepath.Join(dir, "audit.db")})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { log.Close() })
		},
		"a lock that cannot be": func(t *testing.T, dir string) {
			remove(t, filepath.Join(dir, "audit.db.lock"))
			if err := os.Mkdir(filepath.Join(dir, "audit.db.lock"), 0o700); err != nil { // for root, too, who may write everywhere
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir, ids := sampleLog(t)
			spoil(t, dir)
			got := invoke(t, "session", ids[0].String(), "--data-dir", dir)
			if got.code != 0 || !strings.Contains(got.out, "RETR 1") || !strings.Contains(got.err, "no record of this access") {
				t.Errorf("%+v", got)
			}
			if all := accesses(t, dir); len(all) > 0 {
				t.Errorf("recorded all the same: %+v", all)
			}
		})
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

// TestALogThatFailsSaysWhoCouldNotBeRecorded through serve, which goes on.
func TestALogThatFailsSaysWhoCouldNotBeRecorded(t *testing.T) {
	dir, _ := sampleLog(t)
	c := config.Default()
	c.DataDir = dir
	log, err := audit.Open(t.Context(), audit.Options{Path: c.AuditPath()})
	if err != nil {
		t.Fatal(err)
	}
	log.Close() // as refused as a log whose disk is full
	d := &daemon{config: c, audit: log}
	answerIn(t, dir, d.controls())
	got := invoke(t, "sessions", "--data-dir", dir)
	if got.code != 0 || strings.Count(got.out, "\n") != 3 || !strings.Contains(got.err, "not recorded: audit log closed") {
		t.Errorf("%+v", got)
	}
	if all := accesses(t, dir); len(all) > 0 {
		t.Errorf("recorded behind the back of serve: %+v", all)
	}
}

// TestTheDashboardAnswersAfterTheRecord of who asks is on disk.
func TestTheDashboardAnswersAfterTheRecord(t *testing.T) {
	d := wholeDaemon(t, t.TempDir(), &logBuffer{})
	last := func() int64 {
		seq, err := d.audit.Reader().LastSeq(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return seq
	}
	for i := range 20 {
		before := last()
		get(t, fmt.Sprintf("http://%s/api/sessions?user=user%d", d.dashboard.Addr(), i))
		if last() == before {
			t.Error("an answer without its record")
		}
	}
	if err := d.stop(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestServeIsNotTalkedIntoAnotherLog holds a record of access to the log that was read.
func TestServeIsNotTalkedIntoAnotherLog(t *testing.T) {
	dir, _ := sampleLog(t)
	d := &daemon{config: &config.Config{AuditDB: filepath.Join(dir, "audit.db")}}
	for _, path := range []string{"", "audit.db", filepath.Join(t.TempDir(), "audit.db"), dir} {
		if answer, err := d.recordAccess(t.Context(), access{Log: path}); err != nil || !answer.Elsewhere {
			t.Errorf("%q: %+v, %v", path, answer, err)
		}
	}
}
