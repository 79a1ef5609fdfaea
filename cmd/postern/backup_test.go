package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"postern/audit"
)

// A backup is made beside a running serve, put back on another machine with its key, and read there.
func TestALogIsBackedUpAndRestored(t *testing.T) {
	dir, log, safe := t.TempDir(), &logBuffer{}, t.TempDir()
	d := wholeDaemon(t, dir, log)
	dest := filepath.Join(safe, "copy.db")
	got := invoke(t, "backup", "--data-dir", dir, dest)
	for _, want := range []string{dest + " is a good copy.", "records     1 to ", "checkpoint  of record ", "The key is not in it, and a restored log needs it"} {
		if got.code != 0 || !strings.Contains(got.out+got.err, want) {
			t.Errorf("%q is missing from\n%s%s", want, got.out, got.err)
		}
	}
	got = invoke(t, "backup", "--json", "--with-key", "--data-dir", dir, filepath.Join(safe, "keyed.db"))
	var result copyResult
	if err := json.Unmarshal([]byte(got.out), &result); err != nil || got.code != 0 || result.Records == 0 || result.KeyFile != filepath.Join(safe, "keyed.key") ||
		!strings.HasPrefix(result.Checkpoint, result.Origin+"\n") || !strings.Contains(got.err, "THE KEY IS BESIDE IT") {
		t.Errorf("%+v, %v\n%s", result, err, got.err)
	}
	if got := invoke(t, "restore", "--replace", "--data-dir", dir, dest); got.code != 1 || !strings.Contains(got.err, "being written by another postern") {
		t.Errorf("while serve runs: %+v", got)
	}
	if err := d.stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	fresh := filepath.Join(t.TempDir(), "fresh")
	got = invoke(t, "restore", "--data-dir", fresh, filepath.Join(safe, "keyed.db"))
	for _, want := range []string{"is restored, and goes on after record ", "taken from " + result.KeyFile, "history was rewritten"} {
		if got.code != 0 || !strings.Contains(got.out+got.err, want) {
			t.Errorf("%q is missing from\n%s%s", want, got.out, got.err)
		}
	}
	r, err := audit.OpenReader(filepath.Join(fresh, "audit.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	records, err := r.Records(t.Context(), result.Records, 10, audit.Filter{})
	if err != nil || len(records) != 1 || records[0].Detail != "restored" || records[0].Count != result.Records {
		t.Errorf("%+v, %v", records, err)
	}
	if got := invoke(t, "verify", "--full", "--data-dir", fresh); got.code != 0 {
		t.Errorf("%+v", got)
	}
	accesses, err := r.Records(t.Context(), 0, 100, audit.Filter{})
	if err != nil || !strings.Contains(verbs(accesses), " backup") {
		t.Errorf("no access by backup on record: %s, %v", verbs(accesses), err)
	}
}

func verbs(records []audit.Record) (all string) {
	for _, r := range records {
		all += " " + r.Verb
	}
	return all
}

// What was lost, and which anchor knows of it, is told.
func TestARestoredLogIsBehindItsAnchors(t *testing.T) {
	dir := smallLog(t)
	safe, anchors := filepath.Join(t.TempDir(), "copy.db"), filepath.Join(t.TempDir(), "anchors")
	if got := invoke(t, "backup", "--data-dir", dir, safe); got.code != 0 {
		t.Fatalf("%+v", got)
	}
	path := filepath.Join(dir, "audit.db")
	log, err := audit.Open(t.Context(), audit.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	if err := log.Stop(); err != nil {
		t.Fatal(err)
	}
	last, _ := log.Newest()
	if err := os.WriteFile(anchors, []byte(last.Note), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	got := invoke(t, "restore", "--data-dir", dir, safe)
	if got.code != 1 || !strings.Contains(got.err, "--replace keeps it under another name") {
		t.Errorf("%+v", got)
	}
	got = invoke(t, "restore", "--replace", "--data-dir", dir, "--audit-anchor-file", anchors, safe)
	for _, want := range []string{"kept      " + path + ".replaced-", "lost      2 records, 4 to 5", "The anchor " + anchors + " has a checkpoint of 5 records"} {
		if got.code != 0 || !strings.Contains(got.out+got.err, want) {
			t.Errorf("%q is missing from\n%s%s", want, got.out, got.err)
		}
	}
}

// smallLog makes a data directory with a log that was opened and closed.
func smallLog(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	log, err := audit.Open(t.Context(), audit.Options{Path: filepath.Join(dir, "audit.db")})
	if err == nil {
		err = log.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestWrongUsesOfBackupAndRestore(t *testing.T) {
	dir := smallLog(t)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	for args, want := range map[string]struct {
		code int
		text string
	}{
		"backup":                                {2, "backup wants one DEST"},
		"restore":                               {2, "restore wants one FILE"},
		"backup --data-dir /nowhere /tmp/x.db":  {1, "no audit log at /nowhere/audit.db"},
		"backup --data-dir " + dir + " " + file: {1, "a backup replaces nothing"},
		"backup --data-dir " + dir + " /nowhere/copy.db":          {1, "/nowhere/copy.db.partial: no such file or directory"},
		"restore --data-dir " + t.TempDir() + " /nowhere/copy.db": {1, "/nowhere/copy.db: no such file or directory"},
		"restore --data-dir " + t.TempDir() + " " + file:          {1, "not an audit log"},
	} {
		if got := invoke(t, strings.Split(args, " ")...); got.code != want.code || !strings.Contains(got.err, want.text) {
			t.Errorf("%s: %+v", args, got)
		}
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "mine" {
		t.Errorf("%q, %v", b, err)
	}
}
