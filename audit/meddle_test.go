package audit

import (
	"bytes"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"postern/proxy"
)

// holdScene locks the database as another program would, until its stdin ends.
func holdScene(path string) error {
	db, err := sql.Open("sqlite3", dsn(path, "_txlock=immediate"))
	if err != nil {
		return err
	}
	defer db.Close()
	tx, err := db.Begin()
	if err != nil {
		return err
	}
	fmt.Println("held")
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return err
	}
	return tx.Rollback()
}

// hold starts a process that locks the database, and returns what ends it.
func hold(t *testing.T, path string) (release func()) {
	t.Helper()
	cmd := child(t, "hold", path)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 4)); err != nil {
		t.Fatal(err)
	}
	return func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	}
}

func TestAnotherProcessHoldsTheLock(t *testing.T) {
	t.Parallel() // most of it is waiting
	l := openLog(t, Options{})
	id := newID()
	keep(t, l, connect(id))
	release := hold(t, l.opts.Path)
	held := time.Now()
	err := l.Record(command(id, "NOOP", "", "+OK")).Wait()
	if !errors.Is(err, proxy.ErrNotRecorded) || !strings.Contains(err.Error(), "keeps "+l.opts.Path+" locked") {
		t.Errorf("a command while another process holds the lock: %v", err)
	}
	time.Sleep(12*time.Second - time.Since(held))
	if err := l.Ready(); !errors.Is(err, proxy.ErrNotRecorded) {
		t.Errorf("a locked log lets a session in: %v", err)
	}
	release()
	since := time.Now()
	if err := well(l); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(since); took > 5*time.Second {
		t.Errorf("well %v after the lock was free", took)
	}
	l.Record(end(id))
	keep(t, l, connect(newID()))
	wantStory(t, l.opts.Path, "start connect state:failing gap gap state:recovered end:quit connect")
}

func TestShortLockIsWaitedFor(t *testing.T) {
	l := openLog(t, Options{})
	release := hold(t, l.opts.Path)
	receipt := l.Record(connect(newID()))
	time.Sleep(500 * time.Millisecond)
	release()
	if err := receipt.Wait(); err != nil {
		t.Error(err)
	}
	if h := l.Health(); h.Failures != 0 {
		t.Errorf("health: %+v", h)
	}
}

// scribble overwrites pages of the database with noise.
func scribble(t *testing.T, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	noise := bytes.Repeat([]byte{0xa5, 0x5a, 0x13}, 4096)
	for at := int64(4096); at < info.Size(); at += 4096 { // all but the first, which has the header
		if _, err := f.WriteAt(noise[:4096], at); err != nil {
			t.Fatal(err)
		}
	}
}

func TestDamagedWhileRunning(t *testing.T) {
	l := openLog(t, Options{})
	id := newID()
	keep(t, l, connect(id))
	execute(t, l.opts.Path, fmt.Sprintf("PRAGMA user_version = %d; PRAGMA wal_checkpoint(TRUNCATE)", schemaVersion)) // what SQLite has in memory is read anew
	scribble(t, l.opts.Path)
	disown(t, l.opts.Path)
	waitFor(t, "failure", func() bool {
		return l.Record(command(id, "NOOP", strings.Repeat("x", 3000), "+OK")).Wait() != nil
	})
	if h := l.Health(); h.OK || !strings.Contains(h.Err, "restore a backup") {
		t.Errorf("health: %+v", h)
	}
	if err := l.Ready(); !errors.Is(err, proxy.ErrNotRecorded) {
		t.Errorf("a damaged log lets a session in: %v", err)
	}
	if err := l.Close(); err == nil || !strings.Contains(err.Error(), "restore a backup") {
		t.Errorf("closing a damaged log: %v", err)
	}
	if _, err := Open(t.Context(), Options{Path: l.opts.Path}); err == nil {
		t.Error("a damaged log opens")
	}
}

func TestDamagedBeforeStart(t *testing.T) {
	l := openLog(t, Options{})
	for range 200 {
		l.Record(command(newID(), "NOOP", strings.Repeat("x", 300), "+OK"))
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	scribble(t, l.opts.Path)
	disown(t, l.opts.Path)
	_, err := Open(t.Context(), Options{Path: l.opts.Path})
	if err == nil || !strings.Contains(err.Error(), "restore a backup") {
		t.Errorf("opening a damaged log: %v", err)
	}
}

// The clock is set back two hours in the middle of a session, and the program goes on: numbers follow each other,
// checkpoints are made, and the session's row is kept up. What the log waits for is measured by Go's monotonic clock.
func TestClockSetBack(t *testing.T) {
	l := openLog(t, Options{})
	id := newID()
	keep(t, l, connect(id), command(id, "NOOP", "", "+OK"))
	back := func(ev proxy.Event) proxy.Event {
		ev.Time = ev.Time.Add(-2 * time.Hour)
		return ev
	}
	later := proxy.NewSessionID(time.Now().Add(-2 * time.Hour))
	if later <= id {
		t.Errorf("the session that began later has the ID %s, and the one before %s", later, id)
	}
	keep(t, l, back(command(id, "STAT", "", "+OK")), back(connect(later)), back(command(later, "NOOP", "", "+OK")))
	seq := l.Health().LastSeq
	waitFor(t, "checkpoint", func() bool { return l.Health().Signed >= seq })
	waitFor(t, "row", func() bool {
		s, err := l.Reader().Session(t.Context(), id)
		return err == nil && s.Commands == 2
	})
	path := crash(t, l)
	l = openLog(t, Options{Path: path})
	for _, id := range []proxy.SessionID{id, later} {
		s, err := l.Reader().Session(t.Context(), id)
		if err != nil || s.State != StateEnded || s.EndReason != Aborted {
			t.Errorf("a session that the crash left open: %+v, %v", s, err)
		}
	}
	wantStory(t, path, "start connect command:NOOP command:STAT connect command:NOOP end:aborted end:aborted start")
	for _, r := range records(t, path) {
		if r.Duration < 0 {
			t.Errorf("record %d lasted %v", r.Seq, r.Duration)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	wantSealed(t, path)
}
