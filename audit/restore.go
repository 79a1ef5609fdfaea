package audit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"postern/proxy"
)

// StateRestored is the Detail of the record with which a log goes on that was put back from a copy.
const StateRestored = "restored"

// RestoreOptions say what is put where.
type RestoreOptions struct {
	From    string                           // the copy
	Path    string                           // where the log belongs; its directory must exist
	Key     string                           // where its key belongs; default KeyPath(Path)
	Replace bool                             // a log that is there is kept under another name
	Report  func(verifying bool, p Progress) // told from time to time: octets, then records; nil is never
}

// Restored tells what was done.
type Restored struct {
	Copy
	Kept    []string // what was there before, under its other names
	Behind  int64    // the newest record of the log that was replaced, if it was this one; 0 when that is not known
	KeyFrom string   // the file that the key was taken from, "" if it was there
}

// Restore puts a copy in place of the log, which nobody may be writing. The whole copy is held against itself first, its key
// must be at hand, and the log goes on with a record that says that it was restored. When Restore fails what was there
// is as it was.
func Restore(ctx context.Context, o RestoreOptions) (*Restored, error) {
	if o.Key == "" {
		o.Key = KeyPath(o.Path)
	}
	if err := o.check(); err != nil {
		return nil, err
	}
	lock, err := takeLock(o.Path)
	if err != nil {
		return nil, err
	}
	r, err := o.restore(ctx)
	if err == nil {
		err = yieldOwner(lock, o.Path)
	}
	return r, errors.Join(err, lock.Close())
}

// check refuses what can be seen before anything is read.
func (o *RestoreOptions) check() error {
	from, err := os.Stat(o.From)
	if err != nil {
		return fmt.Errorf("the copy: %w", err)
	}
	if wal, err := os.Stat(o.From + "-wal"); err == nil && wal.Size() > 0 {
		return fmt.Errorf("%s is no backup, as %[1]s-wal holds a part of it: make one with postern backup", o.From)
	}
	there, err := os.Stat(o.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: run as the user of postern serve, or as root", err)
	case err != nil:
		return err
	case os.SameFile(from, there):
		return fmt.Errorf("%s is the log itself: name a copy", o.From)
	case !o.Replace:
		return fmt.Errorf("%w: %s is a log; --replace keeps it under another name and puts the copy in its place", fs.ErrExist, o.Path)
	}
	return nil
}

func (o *RestoreOptions) restore(ctx context.Context) (*Restored, error) {
	partial := o.Path + ".restoring"
	if err := removeDatabase(partial); err != nil { // of a restore that was killed: we hold the lock
		return nil, err
	}
	r, err := o.prepare(ctx, partial)
	if err != nil {
		return nil, errors.Join(err, removeDatabase(partial))
	}
	if err := o.replace(r, partial); err != nil {
		return nil, errors.Join(err, removeDatabase(partial))
	}
	r.Path = o.Path
	if err := appendOne(ctx, Options{Path: o.Path, Key: o.Key}, o.record(r)); err != nil {
		return r, fmt.Errorf("the log is restored, but the record of that is missing: %w", err)
	}
	return r, nil
}

func (o *RestoreOptions) record(r *Restored) proxy.Event {
	text := "from " + filepath.Base(o.From)
	if r.Behind > r.Verdict.Last {
		text += fmt.Sprintf("; the log that it replaced had %d records", r.Behind)
	}
	return proxy.Event{Kind: proxy.KindState, Time: time.Now(), Detail: StateRestored, Count: r.Verdict.Last, Text: text}
}

// prepare makes a good copy at partial, finds the key, and looks at what is there.
func (o *RestoreOptions) prepare(ctx context.Context, partial string) (*Restored, error) {
	if err := o.copyTo(ctx, partial); err != nil {
		return nil, fmt.Errorf("copy %s: %w%s", o.From, err, room(err, partial))
	}
	c, err := verifyCopy(ctx, partial, func(p Progress) { o.report(true, p) })
	if err != nil {
		return nil, fmt.Errorf("%s is not put in place: %w", o.From, err)
	}
	r := &Restored{Copy: *c}
	if r.KeyFrom, err = o.findKey(c.Verdict); err != nil {
		return nil, err
	}
	r.Behind = o.newestThere(ctx, c.Verdict.Origin)
	return r, nil
}

func (o *RestoreOptions) report(verifying bool, p Progress) {
	if o.Report != nil {
		o.Report(verifying, p)
	}
}

// copyTo copies the file, which is on disk then.
func (o *RestoreOptions) copyTo(ctx context.Context, partial string) error {
	from, err := os.Open(o.From)
	if err != nil {
		return err
	}
	defer from.Close()
	info, err := from.Stat()
	if err != nil {
		return err
	}
	to, err := os.OpenFile(partial, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	err = to.Chmod(0o600)
	for done := int64(0); err == nil && done < info.Size(); {
		var n int64
		if err = ctx.Err(); err == nil {
			n, err = io.CopyN(to, from, min(copyOctets, info.Size()-done))
		}
		done += n
		o.report(false, Progress{Done: done, Of: info.Size()})
	}
	return errors.Join(err, to.Sync(), to.Close())
}

// findKey returns where the key of the copy lies beside the copy, "" if the log's key is the one.
func (o *RestoreOptions) findKey(v *Verdict) (string, error) {
	there, err := readKey(o.Key)
	if err == nil && there.verifier == v.Key {
		return "", nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	beside := KeyPath(o.From)
	k, err := readKey(beside)
	switch {
	case err == nil && k.verifier == v.Key && (there == nil || o.Replace):
		return beside, nil
	case err == nil && k.verifier == v.Key:
		return "", fmt.Errorf("%s is the key of another log: --replace keeps it under another name and puts %s in its place", o.Key, beside)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return "", err
	}
	return "", fmt.Errorf("the key of this copy is neither at %s nor at %s; it is %s: put it at the latter", o.Key, beside, v.Key)
}

// newestThere returns the number of the newest record of the log that is there, 0 if it is another one or cannot be read.
func (o *RestoreOptions) newestThere(ctx context.Context, origin string) int64 {
	r, err := OpenReader(o.Path)
	if err != nil {
		return 0
	}
	defer r.Close()
	if its, err := meta(ctx, r.db, metaOrigin); err != nil || its != origin {
		return 0
	}
	seq, err := r.LastSeq(ctx)
	if err != nil {
		return 0
	}
	return seq
}

// replace keeps what is there under other names and puts the copy, and its key if need be, in its place.
func (o *RestoreOptions) replace(r *Restored, partial string) error {
	if err := o.giveToOwner(partial); err != nil {
		return err
	}
	w := swap{suffix: ".replaced-" + time.Now().UTC().Format("20060102T150405Z")}
	err := o.swap(&w, r.KeyFrom, partial)
	if err != nil {
		return errors.Join(err, w.undo())
	}
	r.Kept = w.kept()
	return syncDir(o.Path)
}

func (o *RestoreOptions) swap(w *swap, keyFrom, partial string) error {
	if err := w.away(o.Path, o.Path+w.suffix); err != nil {
		return err
	}
	// The WAL goes before the copy comes: SQLite would take it for the copy's. Beside what it is of, it keeps its name. It does
	// not go first: if we are killed in between, a log without its WAL would go on as if that had held nothing.
	if err := w.awayWAL(o.Path); err != nil {
		return err
	}
	if err := w.away(VerifiedPath(o.Path), VerifiedPath(o.Path)+w.suffix); err != nil {
		return err
	}
	if keyFrom != "" {
		if err := w.away(o.Key, o.Key+w.suffix); err != nil {
			return err
		}
		k, err := readKey(keyFrom)
		if err == nil {
			err = k.write(o.Key)
		}
		if err != nil {
			return err
		}
		w.made = append(w.made, o.Key)
		if err := o.giveToOwner(o.Key); err != nil {
			return err
		}
	}
	return os.Rename(partial, o.Path)
}

// swap remembers which files were moved away and made, so that it can be undone.
type swap struct {
	suffix string
	moved  [][2]string // from, to
	made   []string
}

// away moves a file to another name, if there is one.
func (w *swap) away(from, to string) error {
	err := os.Rename(from, to)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		w.moved = append(w.moved, [2]string{from, to})
	}
	return err
}

// awayWAL moves the WAL of a database that holds something. An empty one and the -shm are made anew by who opens it.
func (w *swap) awayWAL(path string) error {
	info, err := os.Stat(path + "-wal")
	if err == nil && info.Size() > 0 {
		err = w.away(path+"-wal", path+w.suffix+"-wal")
	} else if err == nil {
		err = os.Remove(path + "-wal")
	}
	if err == nil {
		err = os.Remove(path + "-shm")
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (w *swap) undo() error {
	var errs []error
	for _, path := range w.made {
		errs = append(errs, os.Remove(path))
	}
	for _, m := range w.moved {
		errs = append(errs, os.Rename(m[1], m[0]))
	}
	return errors.Join(errs...)
}

func (w *swap) kept() (names []string) {
	for _, m := range w.moved {
		names = append(names, m[1])
	}
	return names
}

// giveToOwner lets root restore for the user of serve, who owns the directory.
func (o *RestoreOptions) giveToOwner(path string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	info, err := os.Stat(filepath.Dir(o.Path))
	if err != nil {
		return err
	}
	owner := info.Sys().(*syscall.Stat_t)
	return os.Chown(path, int(owner.Uid), int(owner.Gid))
}
