package tlsup

import (
	"context"
	"crypto/sha256"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	// settle is how long after a change in a directory its files are read: programs write in several steps. Further
	// changes do not put that off, or a busy directory would do so for ever.
	settle = 100 * time.Millisecond
	// graceOfHalfAPair is how long a pair that does not fit may be one that is being replaced.
	graceOfHalfAPair = 700 * time.Millisecond
	// pollEvery is how often files are looked at without having been told to, as on network file systems.
	pollEvery = 5 * time.Second
	// pollUnwatched is how often when the system gives no watch: it has few of them.
	pollUnwatched = 500 * time.Millisecond
	// maxLinks is how many symbolic links the kernel follows in one path.
	maxLinks = 40
)

// watched is something on disk that is to be noticed when it changes.
type watched interface {
	paths() []string
	// refresh takes what is on disk, and reports whether it need not be looked at again soon.
	refresh() (settled bool)
}

// failure is why what is on disk is not in service; the zero failure is none.
type failure struct {
	text string
	what [sha256.Size]byte // digest of what failed
	at   time.Time         // when that was noticed
	told bool
}

// again keeps that a look ended with err, and reports whether that stood at an earlier look too, and was told. Files
// are replaced one after the other, and written in steps: a failure is one only if it stands. If something else fails
// for the same reason, that is another failure.
func (f *failure) again(err error, what [sha256.Size]byte, now time.Time) (stands, told bool) {
	if f.text != err.Error() || f.what != what {
		*f = failure{text: err.Error(), what: what, at: now}
		return false, false
	}
	if now.Sub(f.at) < graceOfHalfAPair {
		return false, false
	}
	told, f.told = f.told, true
	return true, told
}

// watch reads files again when their directories tell of a change: the files themselves are replaced by others, and
// symbolic links by other links. It runs until ctx is done.
func (s *Source) watch(ctx context.Context) {
	w := &watcher{log: s.log, poll: pollUnwatched}
	for _, p := range s.files {
		w.all = append(w.all, p)
	}
	if s.clients != nil {
		w.all = append(w.all, s.clients)
	}
	if len(w.all) > 0 {
		w.run(ctx)
	}
}

// watcher belongs to one goroutine.
type watcher struct {
	all     []watched
	log     *slog.Logger
	kernel  *fsnotify.Watcher // nil: there is none to be had
	changes chan fsnotify.Event
	errors  chan error
	places  []place // what kernel watches, or was asked to
	poll    time.Duration
}

// place is a directory, and which one that was.
type place struct {
	path string
	info fs.FileInfo
}

func (p place) same(q place) bool { return p.path == q.path && os.SameFile(p.info, q.info) }

func (w *watcher) run(ctx context.Context) {
	defer w.disarm()
	next, soon := time.NewTimer(0), true // they may have changed since they were opened
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case change := <-w.changes:
			w.mourn(change)
			if !soon {
				next.Reset(settle)
				soon = true
			}
		case err := <-w.errors:
			w.log.Warn("watching certificate files", "err", err)
		case <-next.C:
			pause := w.look()
			next.Reset(pause)
			soon = pause <= settle
		}
	}
}

// mourn forgets all places when one of them is gone, and the kernel's watch with it: the directory that follows may have
// got its number, and so look the same.
func (w *watcher) mourn(change fsnotify.Event) {
	gone := change.Has(fsnotify.Remove) || change.Has(fsnotify.Rename)
	if gone && slices.ContainsFunc(w.places, func(p place) bool { return p.path == change.Name }) {
		w.places = nil
	}
}

// look reads what changed and returns when to look again.
func (w *watcher) look() time.Duration {
	settled := true
	for _, one := range w.all {
		settled = one.refresh() && settled
	}
	// A link may lead elsewhere by now, or a directory have been replaced.
	if places := w.where(); !slices.EqualFunc(places, w.places, place.same) {
		w.arm(places)
		return settle // what changed just before told nobody
	}
	if settled {
		return w.poll
	}
	return min(w.poll, graceOfHalfAPair)
}

// where lists the directories in which a change may matter.
func (w *watcher) where() (places []place) {
	for _, one := range w.all {
		for _, path := range one.paths() {
			for _, dir := range directories(path) {
				known := slices.ContainsFunc(places, func(p place) bool { return p.path == dir })
				if info, err := os.Stat(dir); err == nil && !known {
					places = append(places, place{dir, info})
				}
			}
		}
	}
	return places
}

// arm has the kernel watch these places, and no others.
func (w *watcher) arm(places []place) {
	w.disarm()
	w.places, w.poll = places, pollEvery
	if err := w.ask(places); err != nil {
		w.poll = pollUnwatched
		w.log.Debug("certificate files are looked at, for the system gives no watch", "every", w.poll, "err", err)
	}
}

func (w *watcher) ask(places []place) (err error) {
	if w.kernel, err = fsnotify.NewWatcher(); err != nil {
		return err
	}
	w.changes, w.errors = w.kernel.Events, w.kernel.Errors
	for _, p := range places {
		err = errors.Join(err, w.kernel.Add(p.path))
	}
	return err
}

func (w *watcher) disarm() {
	if w.kernel != nil {
		w.kernel.Close()
		w.kernel, w.changes, w.errors = nil, nil, nil
	}
}

// directories are those that tell when another file is found at path: where it lies, and where each link on the way
// to it lies; if part of the way is missing, the one that lacks it.
func directories(path string) (dirs []string) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil
	}
	at, rest := "/", parts(path)
	for links := 0; len(rest) > 0 && links <= maxLinks; {
		next := filepath.Join(at, rest[0])
		rest = rest[1:]
		target, linkErr := os.Readlink(next)
		_, err := os.Lstat(next)
		switch {
		case err != nil:
			return append(dirs, at)
		case linkErr == nil:
			dirs = append(dirs, at)
			if links++; filepath.IsAbs(target) {
				at = "/"
			}
			rest = slices.Concat(parts(target), rest)
		case len(rest) == 0:
			dirs = append(dirs, at)
		default:
			at = next
		}
	}
	return dirs
}

// parts are the names in a path. What is empty or a dot leads nowhere else.
func parts(path string) []string {
	return slices.DeleteFunc(strings.Split(path, "/"), func(s string) bool { return s == "" || s == "." })
}
