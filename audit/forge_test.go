package audit

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"postern/proxy"
)

// forger changes a log and makes everything fit again that needs no key, or with a key of the forger's own.
type forger struct {
	*store
	t testing.TB
}

func newForger(t testing.TB, path string) *forger {
	t.Helper()
	s, err := openStore(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	f := &forger{s, t}
	t.Cleanup(func() { f.finish() })
	return f
}

func (f *forger) finish() {
	if f.store != nil {
		if err := f.close(); err != nil {
			f.t.Error(err)
		}
		f.store = nil
	}
}

func (f *forger) do(query string, args ...driver.Value) {
	f.t.Helper()
	if _, err := f.conn.Exec(query, args); err != nil {
		f.t.Fatalf("%s: %v", query, err)
	}
}

// rehash makes the hash of each record anew from what stands in it, and all blocks; it returns the tree.
func (f *forger) rehash() (t tree) {
	f.t.Helper()
	rows, err := f.rows("SELECT "+recordColumns+", seed FROM records ORDER BY seq", recordFields+1)
	if err != nil {
		f.t.Fatal(err)
	}
	f.do("DELETE FROM blocks")
	var e encoder
	for _, row := range rows {
		leaf, err := e.leafOf(row[:recordFields], row[recordFields].([]byte))
		if err != nil {
			f.t.Fatal(err)
		}
		f.do("UPDATE records SET hash = ? WHERE seq = ?", leaf[:], row[placeSeq])
		if err := t.append(leaf, f.insertBlock); err != nil {
			f.t.Fatal(err)
		}
	}
	return t
}

// resign signs the whole log anew with a key of the forger's own.
func (f *forger) resign(origin string) *key {
	f.t.Helper()
	k, err := newKey(origin)
	if err != nil {
		f.t.Fatal(err)
	}
	f.do("UPDATE records SET arg = ? WHERE kind = 'start'", k.verifier)
	f.do("UPDATE meta SET value = ? WHERE name = 'key'", k.verifier)
	f.do("DELETE FROM checkpoints")
	t := f.rehash()
	c, err := k.sign(&t)
	if err == nil {
		err = f.insertCheckpoint(&c)
	}
	if err != nil {
		f.t.Fatal(err)
	}
	return k
}

// longLog is a closed log of a few blocks, in which nothing was deleted, with a checkpoint for every 50 records or so.
func longLog(t *testing.T) (path string, last int64) {
	t.Helper()
	l := openLog(t, Options{})
	disown(t, l.opts.Path)
	for n := range 60 {
		stroll(l, n, time.Now())
		if n%5 == 4 {
			err := l.perform(t.Context(), &chore{do: func(w *writer) error { return w.sealer.sign(w.store, w.began, true) }})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return l.opts.Path, l.Health().LastSeq
}

// wantFirst verifies and wants the first finding to be as described.
func wantFirst(t *testing.T, o VerifyOptions, table, key, what string) Finding {
	t.Helper()
	v := verdict(t, o)
	if v.OK || len(v.Findings) == 0 {
		t.Errorf("not seen; want %s %s: %s", table, key, what)
		return Finding{}
	}
	f := v.Findings[0]
	if f.Table != table || key != "" && f.Key != key || f.What != what {
		t.Errorf("%s, want %s %s: %s", f, table, key, what)
	}
	return f
}

func full(path string) VerifyOptions { return VerifyOptions{Path: path, Full: true} }

// Who changes a record can make its hash and all roots fit. What is signed does not fit then, and the checkpoints around
// the record tell where it is.
func TestAForgedHashIsLocated(t *testing.T) {
	path, _ := longLog(t)
	f := newForger(t, path)
	f.do("UPDATE records SET text = 'forged' WHERE seq = 400")
	f.rehash()
	f.finish()
	v := verdict(t, full(path))
	if v.OK {
		t.Fatal("not seen")
	}
	var first, last int64
	if n, _ := fmt.Sscanf(v.Findings[0].Key, "seq %d to %d", &first, &last); n != 2 || first > 400 || last < 400 || last-first > 100 {
		t.Errorf("%s", v.Findings[0])
	}
}

func TestARecordTakenOutIsSeenWhateverIsRenumbered(t *testing.T) {
	path, last := longLog(t)
	f := newForger(t, path)
	f.do("DELETE FROM records WHERE seq = 300")
	for seq := int64(301); seq <= last; seq++ {
		f.do("UPDATE records SET seq = ? WHERE seq = ?", seq-1, seq)
	}
	f.finish()
	found := wantFirst(t, full(path), "records", "seq 300", wasReordered)
	if !strings.Contains(found.Detail, "recorded as 301") {
		t.Errorf("%s", found)
	}
}

func TestACutTail(t *testing.T) {
	path, last := longLog(t)
	wantGood(t, VerifyOptions{Path: path, Full: true, Keep: true})
	anchor := filepath.Join(t.TempDir(), "anchors")
	writeAnchor(t, path, anchor)
	f := newForger(t, path)
	f.do("DELETE FROM records WHERE seq > 500")
	f.do("DELETE FROM session_records WHERE record > 500")
	f.do("DELETE FROM blocks WHERE (n + 1) << (8 * level) > 500")
	f.do("UPDATE meta SET value = '500' WHERE name = 'indexed'")
	f.do("DELETE FROM sessions WHERE id NOT IN (SELECT session FROM records)")
	rest := fmt.Sprintf("seq 501 to %d", last)
	if got := wantFirst(t, full(path), "records", rest, wasRolled); !strings.Contains(got.Detail, "verified") {
		t.Errorf("%s", got)
	}
	if err := os.Remove(VerifiedPath(path)); err != nil {
		t.Fatal(err)
	}
	wantFirst(t, full(path), "records", rest, wasRolled) // the checkpoints tell
	f.do("DELETE FROM checkpoints WHERE size > 500")
	f.finish()
	o := full(path)
	o.Anchors = []string{anchor}
	if got := wantFirst(t, o, "records", rest, wasRolled); !strings.Contains(got.Detail, anchor) {
		t.Errorf("%s", got)
	}
}

// writeAnchor keeps all checkpoints of a log in a file.
func writeAnchor(t *testing.T, path, file string) {
	t.Helper()
	r, err := OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	rows, err := r.db.Query("SELECT note FROM checkpoints ORDER BY size")
	if err != nil {
		t.Fatal(err)
	}
	notes, err := collect(rows, func(s *string) error { return rows.Scan(s) })
	if err == nil {
		err = os.WriteFile(file, []byte("# kept by hand\n"+strings.Join(notes, "\n")), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestAnOlderCopy(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.db")
	l := openLog(t, Options{Path: path})
	disown(t, path)
	stroll(l, 1, time.Now())
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	older := filepath.Join(t.TempDir(), "older.db")
	copyFile(t, path, older)
	l = openLog(t, Options{Path: path})
	stroll(l, 2, time.Now())
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	anchor := filepath.Join(t.TempDir(), "anchors")
	writeAnchor(t, path, anchor)
	v := wantGood(t, VerifyOptions{Path: path, Full: true, Keep: true, Anchors: []string{anchor}})
	if v.Anchors < 3 {
		t.Errorf("%d anchors were compared", v.Anchors)
	}
	copyFile(t, older, path)
	wantFirst(t, VerifyOptions{Path: path}, "records", "", wasRolled)
	wantFirst(t, full(path), "records", "", wasRolled)
	o := full(older) // at a place where nothing was verified
	wantGood(t, o)
	o.Anchors = []string{anchor}
	wantFirst(t, o, "records", "", wasRolled)
}

// TestAnchorsAreRead reads a file in which a full disk cut a note off, and one in which somebody else's note is.
func TestAnchorsAreRead(t *testing.T) {
	path, last := longLog(t)
	anchor := filepath.Join(t.TempDir(), "anchors")
	writeAnchor(t, path, anchor)
	text, err := os.ReadFile(anchor)
	if err != nil {
		t.Fatal(err)
	}
	o := full(path)
	o.Anchors = []string{anchor}
	whole := wantGood(t, o)
	for name, c := range map[string]struct {
		text  string
		count int64
		notes int
	}{
		"cut off":          {string(text[:len(text)-20]) + "\n" + string(text), 2*whole.Anchors - 1, 1},
		"cut in a line":    {string(text[:len(text)-160]) + "\n" + string(text), 2*whole.Anchors - 1, 1},
		"of another":       {strings.ReplaceAll(string(text), whole.Origin, "postern/another"), 0, 1},
		"among other text": {"some words\n" + string(text) + "\nand more\n", whole.Anchors, 0},
	} {
		if err := os.WriteFile(anchor, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if v := wantGood(t, o); v.Anchors != c.count || len(v.Notes) != c.notes {
			t.Errorf("%s: %d anchors and %q, want %d and %d notes", name, v.Anchors, v.Notes, c.count, c.notes)
		}
	}
	k, err := newKey(whole.Origin)
	if err != nil {
		t.Fatal(err)
	}
	forged, err := k.sign(&tree{size: last, edge: []hash{{1}}})
	if err == nil {
		err = os.WriteFile(anchor, []byte(forged.Note), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	wantFirst(t, o, anchor, "line 1", wasAltered)
}

// TestAHistorySignedAnew is who can write everything beside the log, and signs another history: what was kept elsewhere shows it.
func TestAHistorySignedAnew(t *testing.T) {
	path, _ := longLog(t)
	was := wantGood(t, VerifyOptions{Path: path, Full: true, Keep: true})
	anchor := filepath.Join(t.TempDir(), "anchors")
	writeAnchor(t, path, anchor)
	f := newForger(t, path)
	f.do("UPDATE records SET text = 'forged' WHERE seq = 400")
	k := f.resign(was.Origin)
	f.finish()
	if v := verdict(t, full(path)); v.OK {
		t.Error("the verified checkpoint does not show it")
	}
	if err := os.Remove(VerifiedPath(path)); err != nil {
		t.Fatal(err)
	}
	wantFirst(t, full(path), "meta", "name key", wasBroken) // by the key file
	if err := os.Remove(KeyPath(path)); err != nil {
		t.Fatal(err)
	}
	if err := k.write(KeyPath(path)); err != nil {
		t.Fatal(err)
	}
	wantGood(t, full(path)) // nothing beside the log can show it now
	o := full(path)
	o.Keys = []string{was.Key}
	wantFirst(t, o, "meta", "name key", wasBroken)
	o = full(path)
	o.Anchors = []string{anchor}
	if v := verdict(t, o); v.OK {
		t.Error("the anchors do not show it")
	}
}

func TestAChangedSchema(t *testing.T) {
	s := newStoried(t)
	c := newCulprit(t, s.path)
	defer c.close()
	for query, want := range map[string]Finding{
		"CREATE TRIGGER t AFTER INSERT ON records BEGIN DELETE FROM records WHERE user = 'eve'; END": {Key: "trigger t", What: wasInserted},
		"CREATE TABLE other(x)":                         {Key: "table other", What: wasInserted},
		"CREATE VIEW v AS SELECT 1":                     {Key: "view v", What: wasInserted},
		"CREATE INDEX i ON records(user)":               {Key: "index i", What: wasInserted},
		"DROP INDEX sessions_user":                      {Key: "index sessions_user", What: wasRemoved},
		"DROP VIEW session_log":                         {Key: "view session_log", What: wasRemoved},
		"ALTER TABLE records ADD COLUMN x TEXT":         {Key: "table records", What: wasAltered},
		"ALTER TABLE sessions DROP COLUMN end_reason":   {Key: "table sessions", What: wasAltered},
		"ALTER TABLE pruned RENAME COLUMN hash TO hush": {Key: "table pruned", What: wasAltered},
		"DROP TABLE holds":                              {Key: "table holds", What: wasRemoved},
	} {
		c.do(query)
		wantFirst(t, full(c.path), "sqlite_schema", want.Key, want.What)
		c.reset()
	}
	for _, query := range []string{"PRAGMA application_id = 1", "PRAGMA user_version = 99", "PRAGMA user_version = 1"} {
		c.do(query)
		if _, err := Verify(t.Context(), full(c.path)); err == nil {
			t.Errorf("%s is not seen", query)
		}
		c.reset()
	}
}

func TestWhatOnlyLooksLikeRetention(t *testing.T) {
	path, _ := longLog(t)
	t.Run("deleted", func(t *testing.T) {
		c := newCulprit(t, path)
		defer c.close()
		c.do("INSERT INTO pruned SELECT seq, hash FROM records WHERE seq = 300")
		c.do("DELETE FROM session_records WHERE record = 300")
		c.do("DELETE FROM records WHERE seq = 300")
		wantFirst(t, full(c.path), "records", "seq 300", wasRemoved)
	})
	t.Run("a whole block", func(t *testing.T) {
		c := newCulprit(t, path)
		defer c.close()
		c.do("DELETE FROM session_records WHERE record BETWEEN 257 AND 512")
		c.do("DELETE FROM records WHERE seq BETWEEN 257 AND 512")
		wantFirst(t, full(c.path), "records", "seq 257 to 512", wasRemoved)
	})
	t.Run("more than it says", func(t *testing.T) {
		c := newCulprit(t, newStoried(t).path)
		defer c.close()
		id := c.all("SELECT session FROM records WHERE seq = 100")[0]
		c.do("UPDATE records SET detail = detail WHERE seq = 100") // in no span: 138 to 514 is
		c.do("INSERT INTO pruned SELECT seq, hash FROM records WHERE session = " + id)
		c.do("DELETE FROM session_records WHERE session_id = " + id)
		c.do("DELETE FROM records WHERE session = " + id)
		c.do("DELETE FROM sessions WHERE id = " + id)
		wantFirst(t, full(c.path), "records", "", wasRemoved)
	})
	t.Run("thinned", func(t *testing.T) {
		copied := filepath.Join(t.TempDir(), "audit.db")
		copyFile(t, path, copied)
		f := newForger(t, copied)
		rows, err := f.rows("SELECT "+recordColumns+", seed FROM records WHERE seq = 300", recordFields+1)
		if err != nil {
			t.Fatal(err)
		}
		column, err := newEncoder([32]byte{}).thin(rows[0][:recordFields], rows[0][recordFields].([]byte), groupAddress)
		if err != nil {
			t.Fatal(err)
		}
		f.do("UPDATE records SET ip = ?, port = ?, seed = ? WHERE seq = 300", rows[0][placeIP], rows[0][placePort], column)
		f.finish()
		wantFirst(t, full(copied), "records", "seq 300", wasAltered)
	})
}

func TestVerifyEndsWithItsContext(t *testing.T) {
	path, _ := longLog(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Verify(ctx, full(path)); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestACrashedLogVerifies(t *testing.T) {
	l := openLog(t, Options{})
	id := newID()
	keep(t, l, connect(id), login(id, "ann", proxy.LoginOK))
	stroll(l, 1, time.Now())
	keep(t, l, dele(id, 1))
	wantGood(t, full(crash(t, l)))
}

// TestVerifyOverThreeLevels is over more than 65,536 records: the roots of blocks of blocks are held to them.
func TestVerifyOverThreeLevels(t *testing.T) {
	if testing.Short() {
		t.Skip("it writes 70,000 records")
	}
	l := openLog(t, Options{Durability: Relaxed})
	for n := 0; l.Health().LastSeq < 70_000; n++ {
		playRead(l, n)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	path := l.opts.Path
	wantGood(t, VerifyOptions{Path: path, Full: true, Keep: true})
	for query, want := range map[string]string{
		"UPDATE blocks SET hash = zeroblob(32) WHERE level = 2": wasAltered,
		"DELETE FROM blocks WHERE level = 2":                    wasRemoved,
	} {
		c := newCulprit(t, path)
		c.do(query)
		wantFirst(t, full(c.path), "blocks", "level 2 n 0", want)
		copyFile(t, VerifiedPath(path), VerifiedPath(c.path))
		if v := verdict(t, VerifyOptions{Path: c.path}); v.OK {
			t.Errorf("%s: going on from a good verification does not show it", query)
		}
		c.close()
	}
}

func TestACopyThatCannotBeWritten(t *testing.T) {
	path, _ := longLog(t)
	kept := filepath.Join(t.TempDir(), "audit.db")
	copyFile(t, path, kept)
	playMounting(t, "read-only", kept)
}

// readOnlyScene verifies, and copies, a log on a file system that not even root can write.
func readOnlyScene(path string) error {
	dir := filepath.Dir(path)
	if syscall.Mount("none", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, "") != nil ||
		syscall.Mount(dir, dir, "", syscall.MS_BIND, "") != nil ||
		syscall.Mount("none", dir, "", syscall.MS_REMOUNT|syscall.MS_BIND|syscall.MS_RDONLY, "") != nil {
		os.Exit(cannotMount)
	}
	if f, err := os.Create(filepath.Join(dir, "file")); err == nil {
		return fmt.Errorf("%s can be written", f.Name())
	}
	v, err := Verify(context.Background(), full(path))
	if err == nil && !v.OK {
		err = fmt.Errorf("found %+v", v.Findings)
	}
	if err != nil {
		return err
	}
	to, err := os.MkdirTemp("", "")
	if err != nil {
		return err
	}
	_, err = Backup(context.Background(), BackupOptions{Path: path, Dest: filepath.Join(to, "copy.db")})
	return errors.Join(err, os.RemoveAll(to))
}
