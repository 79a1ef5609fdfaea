package audit

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// loaded keeps a log busy, with as many sessions, until stop is called, which returns how long each command waited.
func loaded(t testing.TB, l *Log, sessions int) (stop func() []time.Duration) {
	t.Helper()
	quit := make(chan struct{})
	var all []time.Duration
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range sessions {
		wg.Go(func() {
			var waits []time.Duration
			id := newID()
			l.Record(connect(id))
			for n := 0; ; n++ {
				select {
				case <-quit:
					mu.Lock()
					all = append(all, waits...)
					mu.Unlock()
					return
				default:
				}
				began := time.Now()
				if err := l.Record(command(id, "NOOP", strings.Repeat("x", 200), "+OK")).Wait(); err != nil {
					t.Error(err)
					return
				}
				waits = append(waits, time.Since(began))
			}
		})
	}
	return func() []time.Duration {
		close(quit)
		wg.Wait()
		slices.Sort(all)
		return all
	}
}

// A log is copied while it is written: the copy is one of its moments, is good, and nobody has waited long.
func TestABackupOfALogAtWork(t *testing.T) {
	l, dest := openLog(t, Options{}), filepath.Join(t.TempDir(), "copy.db")
	for range 300 {
		id := newID()
		l.Record(connect(id))
		for range 100 {
			l.Record(command(id, "NOOP", strings.Repeat("x", 300), "+OK"))
		}
		l.Record(end(id))
	}
	keep(t, l, connect(newID()))
	stop := loaded(t, l, 4)
	before := l.Health().LastSeq
	var octets, records int64
	c, err := Backup(t.Context(), BackupOptions{Path: l.opts.Path, Dest: dest, Report: func(verifying bool, p Progress) {
		if verifying {
			records = max(records, p.Done)
			return
		}
		if p.Done > p.Of || p.Done <= octets { // commits would have it begin anew
			t.Errorf("copied %+v, after %d", p, octets)
		}
		octets = p.Done
	}})
	after := l.Health().LastSeq
	waits := stop()
	if err != nil {
		t.Fatal(err)
	}
	if c.Verdict.Last < before || c.Verdict.Last > after || after == before || c.Path != dest || c.Octets != octets || records != c.Verdict.Last || c.Newest.Size == 0 {
		t.Errorf("%+v, with records %d to %d, copied %d, verified %d", c, before, after, octets, records)
	}
	if longest := waits[len(waits)*99/100]; longest > time.Second { // a second is no measure, but says that nobody waited for the whole
		t.Errorf("of %d commands one in a hundred waited %v", len(waits), longest)
	}
	wantAlone(t, dest)
	if v, err := Verify(t.Context(), VerifyOptions{Path: dest, Full: true}); err != nil || !v.OK {
		t.Errorf("%+v, %v", v, err)
	}
}

// wantAlone checks that a backup is a file of its user's, with nothing beside it.
func wantAlone(t *testing.T, path string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 {
		t.Errorf("beside the backup: %v, %v", entries, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("the backup: %v, %v", info, err)
	}
}

func TestABackupReplacesNothing(t *testing.T) {
	l, dir := openLog(t, Options{}), t.TempDir()
	for name, want := range map[string]string{"copy.db": "a backup replaces nothing", "other.db.partial": "another backup writes it, or one was killed"} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Backup(t.Context(), BackupOptions{Path: l.opts.Path, Dest: strings.TrimSuffix(path, ".partial")})
		if !errors.Is(err, fs.ErrExist) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
		if b, err := os.ReadFile(path); err != nil || string(b) != "mine" {
			t.Errorf("%s: %q, %v", name, b, err)
		}
	}
}

func TestABackupThatFailsLeavesNothing(t *testing.T) {
	l := openLog(t, Options{})
	for range 3000 {
		l.Record(connect(newID()))
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	altered := filepath.Join(t.TempDir(), "altered.db")
	copyFile(t, l.opts.Path, altered)
	execute(t, altered, "UPDATE records SET verb = 'STAT' WHERE seq = 2000")
	for name, test := range map[string]struct {
		ctx  context.Context
		path string
		want string
	}{
		"given up": {ended, l.opts.Path, "context canceled"},
		"no log":   {t.Context(), filepath.Join(t.TempDir(), "none.db"), "no audit log at"},
		"altered":  {t.Context(), altered, "seq 2000"},
	} {
		dir := t.TempDir()
		if _, err := Backup(test.ctx, BackupOptions{Path: test.path, Dest: filepath.Join(dir, "copy.db")}); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", name, err)
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("%s: left behind %v, %v", name, left, err)
		}
	}
}

// fullBackupScene backs the log up where files may not grow as large.
func fullBackupScene(path string) error {
	signal.Ignore(syscall.SIGXFSZ)
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		return err
	}
	limit.Cur = 300 << 10
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		return err
	}
	dir := path + ".backups"
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	if c, err := Backup(context.Background(), BackupOptions{Path: path, Dest: filepath.Join(dir, "copy.db")}); err == nil {
		return fmt.Errorf("a good copy: %+v", c)
	}
	left, err := os.ReadDir(dir)
	if err == nil && len(left) > 0 {
		err = fmt.Errorf("left behind: %v", left)
	}
	return err
}

func TestABackupOnAFullDisk(t *testing.T) {
	l := openLog(t, Options{})
	for range 3000 {
		l.Record(connect(newID()))
	}
	keep(t, l, connect(newID()))
	if err := child(t, "full-backup", l.opts.Path).Run(); err != nil {
		t.Fatal(err)
	}
	keep(t, l, connect(newID()))
}
