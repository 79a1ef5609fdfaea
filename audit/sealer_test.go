package audit

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"postern/proxy"
)

// wantSealed checks that every record is its leaf, and that the newest checkpoint is a good one of all of them.
func wantSealed(t *testing.T, path string) {
	t.Helper()
	r, err := OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	leaves := readLeaves(t, path)
	last, err := newestCheckpoint(t.Context(), r.db)
	if err != nil || last.Size != int64(len(leaves)) || last.Root != rootOf(leaves) {
		t.Errorf("the newest checkpoint is %+v, %v, of %d records", last, err, len(leaves))
	}
	verifier, err := meta(t.Context(), r.db, metaKey)
	if err != nil {
		t.Fatal(err)
	}
	v, err := note.NewVerifier(verifier)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := note.Open([]byte(last.Note), note.VerifierList(v)); err != nil {
		t.Errorf("%q: %v", last.Note, err)
	}
	root, err := tlog.TreeHash(last.Size, hashes{t.Context(), r.db})
	if err != nil || root != last.Root {
		t.Errorf("the stored hashes make %v, %v", root, err)
	}
}

// readLeaves makes all leaves anew and compares them with the stored ones.
func readLeaves(t *testing.T, path string) (all []hash) {
	t.Helper()
	s, err := openStore(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	rows, err := s.rows("SELECT "+recordColumns+", seed, hash FROM records ORDER BY seq", recordFields+2)
	if err != nil {
		t.Fatal(err)
	}
	var e encoder
	for _, row := range rows {
		column, _ := row[recordFields].([]byte)
		leaf, err := e.leafOf(row, column)
		if stored, _ := row[recordFields+1].([]byte); err != nil || string(stored) != string(leaf[:]) {
			t.Errorf("record %v: leaf %v, %v, stored %x", row[placeSeq], leaf, err, stored)
		}
		all = append(all, leaf)
	}
	return all
}

func TestRecordsAreLeaves(t *testing.T) {
	l := openLog(t, Options{})
	for range 3 {
		for range 700 {
			id := newID()
			keepAll(l, connect(id), login(id, "ada", proxy.LoginOK), command(id, "UIDL", "1", "+OK"), end(id))
		}
		path := l.opts.Path
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		wantSealed(t, path)
		l = openLog(t, Options{Path: path})
	}
}

// keepAll records without waiting.
func keepAll(l *Log, events ...proxy.Event) {
	for _, ev := range events {
		l.Record(ev)
	}
}

func checkpoints(t *testing.T, path string) (sizes []int64) {
	t.Helper()
	s, err := openStore(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	rows, err := s.rows("SELECT size FROM checkpoints ORDER BY size", 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range rows {
		sizes = append(sizes, row[0].(int64))
	}
	return sizes
}

func TestCheckpointsComeInTime(t *testing.T) {
	l := openLog(t, Options{})
	wait := func(seq int64) time.Duration {
		start := time.Now()
		for l.Health().Signed < seq {
			if time.Since(start) > 10*time.Second {
				t.Fatalf("record %d is not signed: %+v", seq, l.Health())
			}
			time.Sleep(time.Millisecond)
		}
		return time.Since(start)
	}
	if l.Health().Signed != 1 {
		t.Errorf("the first record is not signed: %+v", l.Health())
	}
	id := newID()
	keep(t, l, connect(id))
	if took := wait(2); took > 2*signEvery {
		t.Errorf("a record was signed after %v", took)
	}
	start := time.Now()
	for range 3 * signRecords {
		l.Record(command(id, "NOOP", "", "+OK"))
	}
	wait(2 + signRecords)
	if n := len(checkpoints(t, l.opts.Path)); n < 3 && time.Since(start) < signEvery {
		t.Errorf("%d checkpoints", n)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	wantSealed(t, l.opts.Path)
}

// A log whose records are not those that were signed is not gone on with.
func TestAnAlteredLogDoesNotOpen(t *testing.T) {
	for name, query := range map[string]string{
		"tail cut":     "DELETE FROM records WHERE seq > 200",
		"a row gone":   "DELETE FROM records WHERE seq = 290",
		"another hash": "UPDATE records SET hash = zeroblob(32) WHERE seq = 270",
		"another root": "UPDATE blocks SET hash = zeroblob(32)",
		"another note": "UPDATE checkpoints SET note = 'x'",
	} {
		l := openLog(t, Options{})
		for range 300 {
			l.Record(connect(newID()))
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		execute(t, l.opts.Path, query)
		_, err := Open(t.Context(), Options{Path: l.opts.Path})
		if !errors.Is(err, ErrAltered) || !strings.Contains(err.Error(), "postern verify tells more") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// oldLog makes a database as postern's first version left it, with that many records.
func oldLog(t *testing.T, records int) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "audit.db")
	text, err := schemaFiles.ReadFile("schema/1.sql")
	if err != nil {
		t.Fatal(err)
	}
	execute(t, path, fmt.Sprintf("PRAGMA journal_mode = WAL; PRAGMA application_id = %d; PRAGMA user_version = 1; %s", applicationID, text))
	execute(t, path, fmt.Sprintf(`WITH RECURSIVE n(value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM n LIMIT %d) INSERT INTO records
		SELECT value, 0, value * 1000, 'command', 'NOOP', '', '+OK', '', 'text ' || value, 0, 0, 0, '', 0, 0, 5, 'ada', '', '', '', '', 0,
		x'c0000207', 4711, 'pop3s', 'mail:110', NULL, 0, 0 FROM n`, records))
	return path
}

func TestOldRecordsAreSealed(t *testing.T) {
	const old = 2*sealBatch + 300
	path := oldLog(t, old)
	l := openLog(t, Options{Path: path})
	keep(t, l, connect(newID()))
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	wantSealed(t, path)
	copies, err := filepath.Glob(path + ".v1-backup-*")
	if err != nil || len(copies) != 1 {
		t.Fatalf("copies: %v, %v", copies, err)
	}
	info, err := os.Stat(copies[0])
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("the copy: %v, %v", info, err)
	}
	if got := ask(t, copies[0], "SELECT count(*) || ' ' || (SELECT user_version FROM pragma_user_version) FROM records"); got != fmt.Sprint(old, " 1") {
		t.Errorf("the copy has %s", got)
	}
	openLog(t, Options{Path: path}).Close()
	if copies, _ = filepath.Glob(path + ".v1-backup-*"); len(copies) != 1 {
		t.Errorf("copies: %v", copies)
	}
}

func TestSealingIsTakenUpAgain(t *testing.T) {
	path := oldLog(t, 3*sealBatch+1)
	l, w := openForSealing(t, path)
	for range 2 {
		if err := w.sealer.sealSome(w.store); err != nil {
			t.Fatal(err)
		}
	}
	if got := ask(t, path, "SELECT count(hash) FROM records"); got != fmt.Sprint(2*sealBatch) {
		t.Errorf("%s records are sealed", got)
	}
	if err := errors.Join(l.reader.Close(), w.close()); err != nil {
		t.Fatal(err)
	}
	openLog(t, Options{Path: path}).Close()
	wantSealed(t, path)
}

// openForSealing does what Open does before it seals.
func openForSealing(t *testing.T, path string) (*Log, *writer) {
	t.Helper()
	store, err := openStore(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	reader, err := openReader(path)
	if err != nil {
		t.Fatal(err)
	}
	l := newLog(Options{Path: path}, reader)
	w := newWriter(l, store)
	w.sealer.encoder = newEncoder([32]byte{})
	return l, w
}

func TestAnOldLogWithAHoleIsRefused(t *testing.T) {
	path := oldLog(t, 1000)
	execute(t, path, "DELETE FROM records WHERE seq = 500")
	_, err := Open(t.Context(), Options{Path: path})
	if !errors.Is(err, ErrAltered) || !strings.Contains(err.Error(), "record 500 is missing") {
		t.Errorf("got %v", err)
	}
}

// fullMigrationScene lets the disk be full while the database is copied before it is migrated.
func fullMigrationScene(path string) error {
	signal.Ignore(syscall.SIGXFSZ)
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		return err
	}
	limit.Cur = 64 << 10
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		return err
	}
	_, err := Open(context.Background(), Options{Path: path})
	if err == nil || !strings.Contains(err.Error(), "copy the database before it is migrated") {
		return fmt.Errorf("opened, or for another reason not: %w", err)
	}
	return nil
}

func TestAFullDiskLeavesAnOldLogAsItWas(t *testing.T) {
	path := oldLog(t, 3000)
	if err := child(t, "full-migration", path).Run(); err != nil {
		t.Fatal(err)
	}
	left, err := filepath.Glob(path + ".[^d]*") // but the mark of a test that disowns the log
	if err != nil || len(left) != 1 || left[0] != path+".lock" {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if got := ask(t, path, "SELECT count(*) || ' ' || (SELECT user_version FROM pragma_user_version) FROM records"); got != "3000 1" {
		t.Errorf("the log has %s", got)
	}
	openLog(t, Options{Path: path}).Close()
	wantSealed(t, path)
}

// All records of an old log are sealed, and its first checkpoint, which comes with the start, is not there yet.
func TestASealedLogWithoutACheckpoint(t *testing.T) {
	path := oldLog(t, 2000)
	l, w, err := assemble(Options{Path: path, statfs: roomy})
	if err != nil {
		t.Fatal(err)
	}
	err = l.resume(t.Context(), w)
	if err = errors.Join(err, l.reader.Close(), w.close()); err != nil {
		t.Fatal(err)
	}
	if v, err := Verify(t.Context(), VerifyOptions{Path: path, Full: true}); !errors.Is(err, errMigrating) {
		t.Errorf("got %+v, %v", v, err)
	}
}

// What the first version noted of records that were lost stands in the rows alone.
func TestPartialSessionsOfAnOldLog(t *testing.T) {
	path := oldLog(t, 10)
	const record = `INSERT INTO records SELECT %d, 5, %d, '%s', '', '', '', '', '', 0, 0, 0, '', 0, 0, 0, '', '', '', '%s', '%s', 0,
		x'c0000207', 4711, 'pop3s', 'mail:110', NULL, 0, 0`
	execute(t, path, fmt.Sprintf(record, 11, 11000, "connect", "", ""))
	execute(t, path, fmt.Sprintf(record, 12, 12000, "end", "client", "quit"))
	execute(t, path, `INSERT INTO sessions SELECT 5, 11000, 12000, 'ended', x'c0000207', 4711, 'pop3s', 'mail:110', '', NULL, '', '', '', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
		'client', 'quit', 1`)
	l := openLog(t, Options{Path: path})
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	wantGood(t, full(path))
}
