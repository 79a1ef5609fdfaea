package audit

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"postern/proxy"
)

// backedUp is a closed log of some hundred records, with a backup that is older by some.
func backedUp(t *testing.T) (path, copied string) {
	t.Helper()
	l := openLog(t, Options{})
	for range 300 {
		id := newID()
		keepAll(l, connect(id), login(id, "ada", proxy.LoginOK), end(id))
	}
	keep(t, l, connect(newID()))
	copied = filepath.Join(t.TempDir(), "copy.db")
	if _, err := Backup(t.Context(), BackupOptions{Path: l.opts.Path, Dest: copied}); err != nil {
		t.Fatal(err)
	}
	for range 50 {
		l.Record(connect(newID()))
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return l.opts.Path, copied
}

func sizeOf(t *testing.T, path string) (records int64) {
	t.Helper()
	r, err := OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if records, err = r.LastSeq(t.Context()); err != nil {
		t.Fatal(err)
	}
	return records
}

// wantRestored checks that the log is the copy with the record of that, and that it can be gone on with.
func wantRestored(t *testing.T, path string, copied int64, text string) {
	t.Helper()
	recs := records(t, path)
	last := recs[len(recs)-1]
	if last.Seq != copied+1 || last.Kind != proxy.KindState || last.Detail != StateRestored || last.Count != copied || last.Text != text {
		t.Errorf("the log ends with %+v", last)
	}
	l := openLog(t, Options{Path: path})
	keep(t, l, connect(newID()))
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if v, err := Verify(t.Context(), VerifyOptions{Path: path, Full: true}); err != nil || !v.OK {
		t.Errorf("%+v, %v", v, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("the log: %v, %v", info, err)
	}
}

// names lists what is in the directory of path.
func names(t *testing.T, path string) (all []string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

func TestALogIsRestoredInPlaceOfAnother(t *testing.T) {
	path, copied := backedUp(t)
	was, is := sizeOf(t, path), sizeOf(t, copied)
	if _, err := Restore(t.Context(), RestoreOptions{From: copied, Path: path}); !errors.Is(err, fs.ErrExist) || !strings.Contains(err.Error(), "--replace") {
		t.Fatalf("without leave: %v", err)
	}
	if v, err := Verify(t.Context(), VerifyOptions{Path: path, Keep: true}); err != nil || !v.OK { // leaves what it has seen beside it
		t.Fatal(v, err)
	}
	r, err := Restore(t.Context(), RestoreOptions{From: copied, Path: path, Replace: true})
	if err != nil {
		t.Fatal(err)
	}
	if r.Behind != was || r.Verdict.Last != is || r.KeyFrom != "" || r.Path != path || len(r.Kept) != 2 {
		t.Errorf("%+v", r)
	}
	if got := sizeOf(t, r.Kept[0]); got != was {
		t.Errorf("%s has %d records, want %d", r.Kept[0], got, was)
	}
	wantRestored(t, path, is, fmt.Sprintf("from copy.db; the log that it replaced had %d records", was))
}

// On a new machine there is neither log nor key.
func TestALogIsRestoredWithItsKey(t *testing.T) {
	path, copied := backedUp(t)
	fresh := filepath.Join(t.TempDir(), "audit.db")
	_, err := Restore(t.Context(), RestoreOptions{From: copied, Path: fresh})
	if err == nil || !strings.Contains(err.Error(), "the key of this copy is neither at "+KeyPath(fresh)+" nor at "+KeyPath(copied)) {
		t.Fatalf("without the key: %v", err)
	}
	if got := names(t, fresh); !slices.Equal(got, []string{"audit.db.lock"}) {
		t.Errorf("left behind: %v", got)
	}
	copyFile(t, KeyPath(path), KeyPath(copied))
	r, err := Restore(t.Context(), RestoreOptions{From: copied, Path: fresh})
	if err != nil || r.KeyFrom != KeyPath(copied) || len(r.Kept) > 0 || r.Behind != 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	if info, err := os.Stat(KeyPath(fresh)); err != nil || info.Mode() != 0o600 {
		t.Errorf("the key: %v, %v", info, err)
	}
	wantRestored(t, fresh, sizeOf(t, copied), "from copy.db")
}

// After a loss a new log was begun, with a key of its own. Both are kept.
func TestANewLogGivesWay(t *testing.T) {
	path, copied := backedUp(t)
	fresh := filepath.Join(t.TempDir(), "audit.db")
	openLog(t, Options{Path: fresh}).Close()
	copyFile(t, KeyPath(path), KeyPath(copied))
	r, err := Restore(t.Context(), RestoreOptions{From: copied, Path: fresh, Replace: true})
	if err != nil || len(r.Kept) != 2 || r.Behind != 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	wantRestored(t, fresh, sizeOf(t, copied), "from copy.db")
}

func TestWhatIsNotRestored(t *testing.T) {
	path, copied := backedUp(t)
	altered, waiting := filepath.Join(t.TempDir(), "altered.db"), filepath.Join(t.TempDir(), "waiting.db")
	copyFile(t, copied, altered)
	execute(t, altered, "UPDATE records SET user = 'eve' WHERE seq = 200")
	copyFile(t, copied, waiting)
	copyFile(t, copied, waiting+"-wal")
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte(strings.Repeat("dear diary\n", 500)), 0o600); err != nil {
		t.Fatal(err)
	}
	before := names(t, path)
	for from, want := range map[string]string{
		altered: "seq 200", waiting: "is no backup", path: "is the log itself", text: "not an audit log of postern",
		filepath.Join(t.TempDir(), "none"): "no such file",
	} {
		if _, err := Restore(t.Context(), RestoreOptions{From: from, Path: path, Replace: true}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", from, err, want)
		}
	}
	l := openLog(t, Options{Path: path})
	if _, err := Restore(t.Context(), RestoreOptions{From: copied, Path: path, Replace: true}); !errors.Is(err, ErrLocked) {
		t.Errorf("while it is written: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if after := names(t, path); !slices.Equal(before, after) {
		t.Errorf("there were %v, now %v", before, after)
	}
}

// When the last step fails everything is where it was.
func TestARestoreThatFailsIsUndone(t *testing.T) {
	path, copied := backedUp(t)
	was := sizeOf(t, path)
	if err := removeLeftovers(path); err != nil {
		t.Fatal(err)
	}
	before := names(t, path)
	o := RestoreOptions{From: copied, Path: path, Key: KeyPath(path), Replace: true}
	if err := o.replace(&Restored{KeyFrom: KeyPath(path)}, path+".not-there"); err == nil {
		t.Fatal("restored what is not there")
	}
	w := swap{suffix: ".x"}
	if err := o.swap(&w, "", path+".not-there"); err == nil {
		t.Fatal("restored what is not there")
	}
	if err := w.undo(); err != nil {
		t.Fatal(err)
	}
	if after := names(t, path); !slices.Equal(before, after) || sizeOf(t, path) != was {
		t.Errorf("there were %v, now %v", before, after)
	}
}

// removeLeftovers removes the empty files that a reader has left beside the database.
func removeLeftovers(path string) error {
	return errors.Join(os.Remove(path+"-wal"), os.Remove(path+"-shm"))
}

// A log whose process was killed has a part of it in the WAL: that is kept, too.
func TestAWALIsKeptWithItsLog(t *testing.T) {
	path, copied := backedUp(t)
	killUnderLoad(t, path)
	wal, err := os.Stat(path + "-wal")
	if err != nil || wal.Size() == 0 {
		t.Fatalf("the WAL: %v, %v", wal, err)
	}
	r, err := Restore(t.Context(), RestoreOptions{From: copied, Path: path, Replace: true})
	if err != nil || len(r.Kept) != 2 || r.Kept[1] != r.Kept[0]+"-wal" {
		t.Fatalf("%+v, %v", r, err)
	}
	if got := sizeOf(t, r.Kept[0]); got != r.Behind || got <= r.Verdict.Last {
		t.Errorf("the log that was replaced has %d records, want %d", got, r.Behind)
	}
	wantRestored(t, path, sizeOf(t, copied), fmt.Sprintf("from copy.db; the log that it replaced had %d records", r.Behind))
}

// A restore that is killed while it moves the log away leaves no log that goes on without what only its WAL had.
func TestARestoreThatIsKilled(t *testing.T) {
	for _, obstacle := range []string{".replaced-x", ".replaced-x-wal"} { // what it cannot move any more
		l := openLog(t, Options{})
		keep(t, l, connect(newID()))
		if err := l.perform(t.Context(), &chore{alone: (*writer).emptyWAL}); err != nil {
			t.Fatal(err)
		}
		keep(t, l, proxy.Event{Time: time.Now(), Kind: proxy.KindConfig})
		path := crash(t, l)
		if err := os.MkdirAll(filepath.Join(path+obstacle, "full"), 0o700); err != nil {
			t.Fatal(err)
		}
		o := RestoreOptions{Path: path, Key: KeyPath(path)}
		if err := o.swap(&swap{suffix: ".replaced-x"}, "", path+".restoring"); err == nil {
			t.Fatal("nothing was in its way")
		}
		again, err := Open(t.Context(), Options{Path: path, statfs: roomy})
		if err != nil {
			continue
		}
		again.Close()
		if got := story(records(t, path)); !strings.Contains(got, "config") {
			t.Errorf("stopped at %s it leaves a log with %s", obstacle, got)
		}
	}
}
