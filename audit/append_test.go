package audit

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"postern/proxy"
)

// TestAppend adds records to a log that is at rest, each of them signed, and makes nothing where there is none.
func TestAppend(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.db")
	o := Options{Path: path}
	access := proxy.Event{Kind: proxy.KindAccess, Verb: "tail", User: "ada"}
	if err := Append(t.Context(), o, access); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("without a log: %v", err)
	}
	if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) > 0 {
		t.Fatalf("made %v, %v", entries, err)
	}
	reopen := func() {
		t.Helper()
		l, err := Open(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	reopen()
	for range 3 {
		if err := Append(t.Context(), o, access); err != nil {
			t.Fatal(err)
		}
	}
	r, err := OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	records, err := r.Records(t.Context(), 2, 10, Filter{})
	if err != nil || len(records) != 3 || records[0].Seq != 3 || records[2].Verb != "tail" || records[2].Time.IsZero() {
		t.Errorf("%+v, %v", records, err)
	}
	if signed, err := newestCheckpoint(t.Context(), r.db); err != nil || signed.Size != 5 {
		t.Errorf("signed up to %d, %v", signed.Size, err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	reopen() // takes up the tree that Append left, or fails
}

// TestAppendWaitsForTheLock that another Append holds for a moment, and gives up on one that a Log holds.
func TestAppendWaitsForTheLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.db")
	l, err := Open(t.Context(), Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	access := proxy.Event{Kind: proxy.KindAccess}
	if err := Append(t.Context(), Options{Path: path}, access); !errors.Is(err, ErrLocked) {
		t.Errorf("beside a Log: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	failed := make(chan error, 8)
	for range cap(failed) {
		go func() { failed <- Append(t.Context(), Options{Path: path}, access) }()
	}
	for range cap(failed) {
		if err := <-failed; err != nil && !errors.Is(err, ErrLocked) { // on a disk that is slow
			t.Error(err)
		}
	}
}

// TestAppendLeavesTheDatabaseWhole without its WAL, also while the command that asked for it reads.
func TestAppendLeavesTheDatabaseWhole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.db")
	if err := openLog(t, Options{Path: path}).Close(); err != nil {
		t.Fatal(err)
	}
	r, err := OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := r.LastSeq(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := Append(t.Context(), Options{Path: path}, proxy.Event{Kind: proxy.KindAccess}); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path + "-wal"); err == nil && info.Size() > 0 {
		t.Errorf("%d octets are in the WAL", info.Size())
	}
	if last, err := r.LastSeq(t.Context()); err != nil || last != 3 {
		t.Errorf("the reader sees %d records, %v", last, err)
	}
}

// TestReadingWhereNothingCanBeWritten opens copies that SQLite cannot make its files beside: one of a log at rest, and one
// of a log that is being written, with what only its WAL has.
func TestReadingWhereNothingCanBeWritten(t *testing.T) {
	l := openLog(t, Options{})
	keep(t, l, connect(newID()))
	alive := copied(t, l.opts.Path)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]int64{alive: 2, copied(t, l.opts.Path): 3} {
		if err := os.Mkdir(path+"-shm", 0o700); err != nil { // stops root, too, who may write everywhere
			t.Fatal(err)
		}
		r, err := OpenReader(path)
		if err != nil {
			t.Fatal(err)
		}
		if last, err := r.LastSeq(t.Context()); err != nil || last != want {
			t.Errorf("it has %d records, want %d, %v", last, want, err)
		}
		r.Close()
	}
}

// copied copies the database and its WAL, if it has one.
func copied(t *testing.T, path string) (copy string) {
	t.Helper()
	copy = filepath.Join(t.TempDir(), "audit.db")
	for _, suffix := range []string{"", "-wal"} {
		text, err := os.ReadFile(path + suffix)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = os.WriteFile(copy+suffix, text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return copy
}

// TestRootLeavesTheLogToItsOwner so that the user of serve can start it again.
func TestRootLeavesTheLogToItsOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can act for another user")
	}
	const nobody = 65534
	dir := t.TempDir()
	path := filepath.Join(dir, "audit.db")
	if err := openLog(t, Options{Path: path}).Close(); err != nil {
		t.Fatal(err)
	}
	remove := []string{path + ".lock", path + "-wal", path + "-shm"} // Append makes them
	for _, name := range remove {
		os.Remove(name)
	}
	owned := func(check func(name string, owner uint32)) {
		t.Helper()
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			info, err := e.Info()
			if err != nil {
				t.Fatal(err)
			}
			check(filepath.Join(dir, e.Name()), info.Sys().(*syscall.Stat_t).Uid)
		}
	}
	owned(func(name string, _ uint32) {
		if err := os.Chown(name, nobody, nobody); err != nil {
			t.Fatal(err)
		}
	})
	r, err := OpenReader(path) // holds the files that SQLite makes
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := Append(t.Context(), Options{Path: path}, proxy.Event{Kind: proxy.KindAccess}); err != nil {
		t.Fatal(err)
	}
	owned(func(name string, owner uint32) {
		if owner != nobody {
			t.Errorf("%s belongs to user %d", name, owner)
		}
	})
}
