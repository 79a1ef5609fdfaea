package audit

import (
	"sync/atomic"
	"time"
)

// strictPace is the longest time from one commit's end to the next one's begin: those whom it released come back and
// share the next. It ends when all have come or ended. After a pause longer than that a commit begins at once.
const strictPace = time.Millisecond

// company is who shares the next commit: a commit costs as much for one session as for many.
type company struct {
	awaited bool         // the writer waits for it, and needs no nudge when the first comes; under Log.mu
	enough  atomic.Int64 // sessions with which it is complete: those that the last commit released, and who came meanwhile; 0: it never is
}

// come notes that one more session waits for the batch or has ended in it.
func (b *batch) come() {
	if n := b.came.Add(1); b.log != nil && n == b.log.company.enough.Load() {
		b.log.nudge()
	}
}

// shareLocked lets the next commit wait for those whom b, which is on disk, releases. Only unshare ends that, though the
// commit of a chore may come in between: who has come first since then did not nudge.
func (l *Log) shareLocked(b *batch) {
	if l.opts.Durability == Relaxed {
		l.company.awaited = true
	}
	if released := b.came.Load() - b.ended; released > 1 { // who is alone has nobody to wait for
		l.company.awaited = true
		l.company.enough.Store(released + l.gathering.came.Load())
	}
}

// isSharing reports whether the next commit is to wait for company.
func (l *Log) isSharing() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.company.awaited
}

// isEnough reports whether it need not wait for more.
func (l *Log) isEnough() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	enough := l.company.enough.Load()
	return enough > 0 && l.gathering.came.Load() >= enough || len(l.gathering.events) >= queueSize/2
}

// unshare ends the wait for company, and reports whether anything has come.
func (l *Log) unshare() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.company.awaited = false
	l.company.enough.Store(0)
	return len(l.gathering.events) > 0
}

// share waits for those whom the last commit released, and reports whether there may be anything to commit: what it was
// nudged for meanwhile need not be an event.
func (w *writer) share() (news bool) {
	end := w.ended.Add(w.log.opts.pace)
	for time.Now().Before(end) && !w.log.isEnough() && !w.isClosing() {
		news = w.pause(time.Until(end)) || news
	}
	return w.log.unshare() || news
}
