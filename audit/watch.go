package audit

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"time"

	"github.com/mattn/go-sqlite3"
)

// watch is what the writer knows of the disk under the log. It is the writer's own.
type watch struct {
	log     *Log
	due     time.Time // when to look next
	full    bool      // the disk is full: until the reserve is whole again only what ends sessions is written
	suspect bool      // the system said that it could not write: what it has in memory may not be on disk
	level   string    // SpaceLow or SpaceCritical; "" when there is room
	looked  bool      // at the space, once
	reserve reserve
	files   files
	speed   speed
}

const (
	// lookEvery is how often the writer looks after the disk, and fullEvery while it is full.
	lookEvery = time.Second
	fullEvery = 250 * time.Millisecond
)

// pulse is the part of a Log that tells how the disk fares. It is under Log.mu, and written by the writer alone.
type pulse struct {
	slow    bool
	space   Space
	latency Latency
}

func newWatch(l *Log) watch {
	return watch{
		log: l, files: files{path: l.opts.Path}, reserve: reserve{path: l.opts.Path + ".reserve", size: l.opts.Reserve},
		speed: speed{limit: l.opts.slow},
	}
}

// broke notes that the log fails for want of room, or of trust. It reports whether giving the reserve away has made
// room.
func (w *watch) broke(err error) (room bool) {
	e, _ := errors.AsType[sqlite3.Error](err)
	w.suspect = w.suspect || e.Code == sqlite3.ErrIoErr
	if !isFull(err) {
		return false
	}
	w.full = true
	return w.reserve.release()
}

// look looks after the disk if it is time to, and reports whether the log can be written as far as can be seen.
func (w *writer) look() bool {
	now := time.Now()
	if now.Before(w.watch.due) {
		return true
	}
	stall := time.AfterFunc(w.log.opts.stall, func() { w.log.stalled(newBatch(nil)) }) // a disk may hang here, too
	defer stall.Stop()
	if err := w.watch.files.check(); err != nil {
		w.failed(errors.Join(err, w.store.rewriteWAL(), w.close()), newBatch(nil), nil) // what only the WAL has is saved first
		return false
	}
	w.lookAfterSpace()
	w.watch.due = now.Add(w.log.opts.look)
	if w.watch.full {
		w.watch.due = now.Add(fullEvery)
	}
	return true
}

// lookAfterSpace takes note of how much is left, and makes the reserve if it is not there.
func (w *writer) lookAfterSpace() {
	c, err := w.log.opts.statfs(w.log.opts.Path)
	if err != nil {
		w.log.log.Warn("audit log: how much space is left cannot be told", "path", w.log.opts.Path, "err", err)
		return
	}
	held := w.watch.reserve.keep(c.free)
	if w.watch.full && held {
		w.watch.full = false // and the next commit heals
	}
	s := c.within(w.log.opts.Room, w.watch.files.size())
	s.Reserve = w.watch.reserve.octets()
	was := w.watch.level
	w.watch.level = level(was, s.Used)
	s.Level = levelName(w.watch.level)
	w.log.mu.Lock()
	w.log.pulse.space = s
	w.log.mu.Unlock()
	if w.watch.level != was {
		w.tellSpace(s, w.watch.looked)
	}
	w.watch.looked = true
}

// files are the database's and its WAL's, as they were first seen. SQLite writes on into a file that was removed,
// and all of it would be gone with the process.
type files struct {
	path    string
	db, wal fs.FileInfo
}

var errGone = errors.New("the database was removed or replaced while postern writes it")

// check reports that one of the files is no longer where it was.
func (f *files) check() error {
	if err := same(f.path, &f.db); err != nil {
		return err
	}
	return same(f.path+"-wal", &f.wal)
}

func same(path string, first *fs.FileInfo) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && *first == nil:
		return nil // not made yet
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: %s", errGone, path)
	case err != nil:
		return err
	case *first == nil:
		*first = info
	case !os.SameFile(*first, info):
		return fmt.Errorf("%w: %s", errGone, path)
	}
	return nil
}

// size returns how many octets the log takes.
func (f *files) size() (n int64) {
	for _, path := range []string{f.path, f.path + "-wal"} {
		if info, err := os.Stat(path); err == nil {
			n += info.Size()
		}
	}
	return n
}

// spaceOf asks the file system that path is on.
func spaceOf(path string) (capacity, error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(path, &st); err != nil {
		return capacity{}, &fs.PathError{Op: "statfs", Path: path, Err: err}
	}
	block := uint64(st.Bsize)
	return capacity{used: int64((uint64(st.Blocks) - uint64(st.Bfree)) * block), free: int64(uint64(st.Bavail) * block)}, nil
}
