package audit

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
)

// takeLock makes this process the only writer of the database at path. The lock lies on a file beside
// it, not on the database, whose locks are SQLite's; it goes when the file is closed or the process dies.
func takeLock(path string) (*os.File, error) {
	name := path + ".lock"
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the audit log: %w", err)
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		return f, notePID(f)
	}
	defer f.Close()
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, fmt.Errorf("%w%s: stop it, or give this one a data directory of its own (lock %s)",
			ErrLocked, holder(name), name)
	}
	return nil, fmt.Errorf("lock %s: %w", name, err)
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
