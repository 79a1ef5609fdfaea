package anchor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"postern/audit"
)

// file is the path of a file that signed notes are appended to, one behind the other. It is opened anew for each, so that
// it can be rotated, and never written but at its end, so that it can be append-only (chattr +a).
type file string

func (f file) carry(_ context.Context, c audit.Checkpoint) error {
	fresh := f.isMissing()
	// O_NONBLOCK: a pipe that nobody reads must not hold us up; it is refused below.
	w, err := os.OpenFile(string(f), os.O_RDWR|os.O_APPEND|os.O_CREATE|syscall.O_NONBLOCK, 0o600)
	if err != nil {
		return explain(err)
	}
	err = errors.Join(appendNote(w, c.Note), w.Close())
	if err == nil && fresh {
		err = syncDir(filepath.Dir(string(f)))
	}
	if err != nil {
		return explain(err)
	}
	return nil
}

func (f file) isMissing() bool {
	_, err := os.Stat(string(f))
	return errors.Is(err, fs.ErrNotExist)
}

// appendNote writes the note in one piece. If a write before it was cut, as by a full disk, it begins on a line of its own.
func appendNote(w *os.File, note string) error {
	info, err := w.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is no regular file, and keeps nothing: name a file", w.Name())
	}
	last := []byte{'\n'}
	if size := info.Size(); size > 0 {
		if _, err := w.ReadAt(last, size-1); err != nil {
			return err
		}
	}
	if last[0] != '\n' {
		note = "\n" + note
	}
	if n, err := w.WriteString(note); err != nil {
		return errors.Join(err, takeBack(w, info.Size(), int64(n)))
	}
	return w.Sync()
}

// takeBack cuts off what was written of a note. Where that cannot be, as in an append-only file, it is passed over.
func takeBack(w *os.File, size, written int64) error {
	info, err := w.Stat()
	if err != nil || info.Size() != size+written {
		return err // another writer came in between
	}
	if err := w.Truncate(size); !errors.Is(err, fs.ErrPermission) {
		return err
	}
	return nil
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// explain adds what to do about an error of the file.
func explain(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: make its directory, or mount its disk", err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: let this user write it", err)
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("%w: free space on its disk", err)
	}
	return err
}
