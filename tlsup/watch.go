package tlsup

import (
	"context"
	"path/filepath"
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
	// pollUnwatched is how often when the system gives no watch: the number of its watches is small.
	pollUnwatched = 500 * time.Millisecond
)

// watch reads files again when their directories tell of a change: the files themselves are replaced by others, and
// symbolic links by other links.
func (s *Source) watch(ctx context.Context) {
	all := s.watched()
	if len(all) == 0 {
		return
	}
	var changes <-chan fsnotify.Event
	poll := pollEvery
	if w, err := watcherOf(all); err != nil {
		poll = pollUnwatched
		s.log.Debug("certificate files are looked at, for the system gives no watch", "every", poll, "err", err)
	} else {
		defer w.Close()
		changes = w.Events
		s.running.Go(func() { // a watcher blocks while its errors are not read
			for err := range w.Errors {
				s.log.Warn("watching certificate files", "err", err)
			}
		})
	}
	next, soon := time.NewTimer(settle), true // for what changed before the watch began
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-changes:
			if !soon {
				next.Reset(settle)
				soon = true
			}
		case <-next.C:
			next.Reset(refreshAll(all, poll))
			soon = false
		}
	}
}

// refreshAll returns when to look again, after poll at the latest.
func refreshAll(all []watched, poll time.Duration) time.Duration {
	again := poll
	for _, w := range all {
		if !w.refresh() {
			again = min(poll, graceOfHalfAPair)
		}
	}
	return again
}

// watcherOf watches the directories in which the files lie, and those that they lie in when links are followed.
func watcherOf(all []watched) (*fsnotify.Watcher, error) {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, err
	}
	for _, one := range all {
		for _, path := range one.paths() {
			dirs := []string{filepath.Dir(path)}
			if real, err := filepath.EvalSymlinks(path); err == nil && filepath.Dir(real) != dirs[0] {
				dirs = append(dirs, filepath.Dir(real))
			}
			for _, dir := range dirs {
				if err := w.Add(dir); err != nil {
					w.Close()
					return nil, err
				}
			}
		}
	}
	return w, nil
}
