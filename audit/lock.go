package audit

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// lockPatience is how long a writer waits for another one to end. Append is done in moments, and must not keep a
// serve from starting that comes in between.
const lockPatience = time.Second

// takeLock makes this process the only writer of the database at path. The lock lies on a file beside
// it, not on the database, whose locks are SQLite's; it goes when the file is closed or the process dies.
func takeLock(path string) (*os.File, error) {
	name := path + ".lock"
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the audit log: %w", err)
	}
	for patience := time.Now().Add(lockPatience); ; time.Sleep(lockPatience / 50) {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EWOULDBLOCK) || time.Now().After(patience) {
			break
		}
	}
	if err == nil {
		if err = errors.Join(yieldOwner(f, path), notePID(f)); err == nil {
			return f, nil
		}
		return nil, errors.Join(err, f.Close())
	}
	defer f.Close()
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, fmt.Errorf("%w%s: stop it, or give this one a data directory of its own (lock %s)",
			ErrLocked, holder(name), name)
	}
	return nil, fmt.Errorf("lock %s: %w", name, err)
}

// yieldOwner gives a file beside the database to who owns that: root may read a log, or verify it, with a command while
// serve, whose user it is not, is down.
func yieldOwner(f *os.File, path string) error {
	info, err := os.Stat(path)
	if os.Geteuid() != 0 || err != nil {
		return nil // the database is yet to be made, by this user
	}
	owner := info.Sys().(*syscall.Stat_t)
	if err := f.Chown(int(owner.Uid), int(owner.Gid)); err != nil {
		return fmt.Errorf("give %s to the owner of the audit log: %w", f.Name(), err)
	}
	return nil
}

// notePID tells the next one who holds the lock.
func notePID(f *os.File) error {
	if err := f.Truncate(0); err != nil {
		return fmt.Errorf("note the process in %s: %w", f.Name(), err)
	}
	_, err := f.WriteAt(fmt.Appendln(nil, os.Getpid()), 0)
	if err != nil && !errors.Is(err, syscall.ENOSPC) { // a full disk must not stop what would tell of it
		return fmt.Errorf("note the process in %s: %w", f.Name(), err)
	}
	return nil
}

// holder returns " (process N)", or "" when the lock file does not say.
func holder(name string) string {
	b, err := os.ReadFile(name)
	pid := strings.TrimSpace(string(b))
	if err != nil || pid == "" || len(pid) > 10 {
		return ""
	}
	return " (process " + pid + ")"
}

// isLocked tells whether somebody writes to the database at path. It does not wait, and keeps nobody from taking the lock
// for longer than a moment.
func isLocked(path string) bool {
	f, err := os.Open(path + ".lock")
	if err != nil {
		return false
	}
	defer f.Close()
	return errors.Is(syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB), syscall.EWOULDBLOCK)
}

// canWriteBeside tells whether this user may make files beside the one at path.
func canWriteBeside(path string) bool {
	const mayWrite = 2
	return syscall.Access(filepath.Dir(path), mayWrite) == nil
}
