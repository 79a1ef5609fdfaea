package audit

import "time"

// Latency counts commits by how long they took.
type Latency struct {
	Count int64
	Sum   time.Duration
	Under [len(latencyBounds)]int64 // commits that took at most the bound in its place
}

var latencyBounds = [...]time.Duration{
	time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond,
	50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond,
	time.Second, 2500 * time.Millisecond, 5 * time.Second, 10 * time.Second,
}

// Buckets returns the counts by bound in seconds, as a Prometheus histogram wants them.
func (l *Latency) Buckets() map[float64]uint64 {
	buckets := make(map[float64]uint64, len(latencyBounds))
	for i, bound := range latencyBounds {
		buckets[bound.Seconds()] = uint64(l.Under[i])
	}
	return buckets
}

func (l *Latency) add(took time.Duration) {
	l.Count++
	l.Sum += took
	for i, bound := range latencyBounds {
		if took <= bound {
			l.Under[i]++
		}
	}
}

// The log is slow when a few commits in a row took longer than slowCommit, or one took much longer, and no longer slow
// when for a while none did: a disk that is at its limit must not change state with every commit.
const (
	slowCommit  = 500 * time.Millisecond
	slowCommits = 3
	verySlow    = 4  // times slowCommit
	swiftFor    = 20 // times slowCommit
)

// speed tells slow from swift.
type speed struct {
	limit time.Duration
	row   int       // slow commits in a row
	last  time.Time // when the last of them ended
	slow  bool
}

// add takes in a commit and reports whether that changed something.
func (s *speed) add(now time.Time, took time.Duration) (changed bool) {
	was := s.slow
	if took < s.limit {
		s.row = 0
		s.slow = s.slow && now.Sub(s.last) < swiftFor*s.limit
		return s.slow != was
	}
	s.row++
	s.last = now
	s.slow = s.slow || s.row >= slowCommits || took >= verySlow*s.limit
	return s.slow != was
}

// timed notes how long a commit took.
func (w *writer) timed(took time.Duration) {
	now := time.Now()
	changed := w.watch.speed.add(now, took)
	slow := w.watch.speed.slow
	w.log.mu.Lock()
	w.log.pulse.latency.add(took)
	w.log.pulse.slow = slow
	w.log.mu.Unlock()
	switch {
	case !changed:
		return
	case slow:
		w.note(stateAt(now, LogSlow, "a commit took "+took.Round(time.Millisecond).String()))
		w.log.log.Warn("audit log is slow: clients wait for the disk", "path", w.log.opts.Path, "commit", took)
	default:
		w.note(stateAt(now, LogSpeedOK, ""))
		w.log.log.Info("audit log is fast again", "path", w.log.opts.Path)
	}
	w.log.nudge()
}
