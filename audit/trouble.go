package audit

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"syscall"
	"time"

	"github.com/mattn/go-sqlite3"

	"postern/proxy"
)

// stallLimit is how long one commit may take before those who wait for it are told that it failed. It is
// longer than SQLite's busy timeout.
const stallLimit = 10 * time.Second

var errStalled = errors.New("the disk does not answer")

// trouble is the part of a Log that tells what is wrong with it. It is under Log.mu.
type trouble struct {
	verdict *batch    // the Receipt of every event while the log is failing or closed; nil while it is well
	reason  string    // why it is failing
	since   time.Time // when it began to fail, or to be well
	fails   int64     // how often it began to fail since Open
	lost    int64     // events not recorded since Open
	losses  *losses   // what the next commit has to tell of; nil if nothing

	// wounded are the running sessions of which an event was lost while the log refuses. Their later events
	// are recorded but their receipts stay bad: a good one would vouch for the lost event too.
	wounded map[proxy.SessionID]struct{}
	scar    *batch // the receipt of their events
}

// maxWounds bounds the sessions whose losses are remembered one by one; beyond it they are only counted.
const maxWounds = 65_536

// lossesLocked returns where losses are noted until the next commit takes them.
func (l *Log) lossesLocked() *losses {
	if l.losses == nil {
		l.losses = &losses{reason: l.reason, sessions: map[proxy.SessionID]wound{}}
	}
	return l.losses
}

// loseLocked notes that ev will not be recorded.
func (l *Log) loseLocked(ev *proxy.Event) {
	if l.lossesLocked().add(ev) {
		l.lost++
	}
	switch {
	case l.opts.OnFailure == Continue || ev.Session == 0:
	case ev.Kind == proxy.KindEnd:
		delete(l.wounded, ev.Session)
	case len(l.wounded) < maxWounds:
		l.wounded[ev.Session] = struct{}{}
	}
}

// isWoundedLocked tells whether an earlier event of ev's session was lost.
func (l *Log) isWoundedLocked(ev *proxy.Event) bool {
	if len(l.wounded) == 0 {
		return false
	}
	_, wounded := l.wounded[ev.Session]
	if wounded && ev.Kind == proxy.KindEnd {
		delete(l.wounded, ev.Session)
	}
	return wounded
}

// failed notes that a commit of b, and of the losses before it, has failed. It returns since when the log is failing,
// and why.
func (l *Log) failed(err error, b *batch, lost *losses) (since time.Time, reason string) {
	l.mu.Lock()
	l.lost += l.lossesLocked().merge(lost)
	for i := range b.events {
		l.loseLocked(&b.events[i])
	}
	news := l.breakLocked(err)
	b.settleLocked(l.scarErr())
	since, reason = l.since, l.reason
	l.mu.Unlock()
	l.report(news)
	return since, reason
}

// stalled notes that the commit of b takes too long. It may still succeed: then the log is well again.
func (l *Log) stalled(b *batch) {
	l.mu.Lock()
	news := false
	if !b.settled {
		news = l.breakLocked(errStalled)
		b.settleLocked(l.scarErr())
	}
	l.mu.Unlock()
	l.report(news)
}

// scarErr is what those are told whose event was lost: nothing, if they may continue.
func (l *Log) scarErr() error {
	if l.opts.OnFailure == Continue {
		return nil
	}
	return fmt.Errorf("%w: %s", proxy.ErrNotRecorded, l.reason)
}

// breakLocked makes the log refuse events, also those gathered, and reports whether that is new.
func (l *Log) breakLocked(err error) (news bool) {
	news = l.reason == ""
	if news {
		l.since = time.Now()
		l.fails++
	}
	l.reason = err.Error() + ": " + remedy(err, l.opts.Path)
	l.scar = settled(l.scarErr())
	if !l.closed {
		l.verdict = l.scar
	}
	for i := range l.gathering.events {
		l.loseLocked(&l.gathering.events[i])
	}
	l.gathering.settleLocked(l.scarErr())
	l.gathering = l.gather(nil)
	l.lossesLocked().reason = l.reason
	l.room.Broadcast()
	return news
}

// outage is a time during which the log could not be written.
type outage struct {
	since, until time.Time // until is zero while it lasts
	reason       string
}

// healLocked lets events in again after a commit that succeeded. It returns the outage that has ended, none if the log
// was well.
func (l *Log) healLocked() (o outage, healed bool) {
	if l.reason == "" {
		return o, false
	}
	o = outage{l.since, time.Now(), l.reason}
	l.reason, l.since = "", o.until
	if !l.closed {
		l.verdict = nil
	}
	if l.losses != nil {
		l.nudge() // what was lost during the commit is told of by the next
	}
	return o, true
}

func (l *Log) report(news bool) {
	if !news {
		return
	}
	h := l.Health()
	l.log.Error("audit log cannot be written", "path", l.opts.Path, "err", h.Err, "on_failure", h.OnFailure)
}

// remedy tells what to do about err.
func remedy(err error, path string) string {
	e, _ := errors.AsType[sqlite3.Error](err)
	switch {
	case isFull(err):
		return "free space on the disk of " + filepath.Dir(path)
	case e.Code == sqlite3.ErrBusy || e.Code == sqlite3.ErrLocked:
		return "another program keeps " + path + " locked: end it"
	case e.Code == sqlite3.ErrReadonly || e.Code == sqlite3.ErrCantOpen || errors.Is(err, fs.ErrPermission),
		isErrno(err, e, syscall.EROFS):
		return "make " + path + " and its directory writable for this user"
	case errors.Is(err, errGone):
		return "put back what was taken away, or stop postern and restore a backup"
	case errors.Is(err, errRead):
		return "end the program that reads " + path
	case errors.Is(err, ErrNotALog):
		return "name another, or if it was damaged, move it away, keep it, and restore a backup"
	case e.Code == sqlite3.ErrCorrupt:
		return "move " + path + " away, keep it, and restore a backup"
	}
	return "look after the disk of " + filepath.Dir(path)
}

// withRemedy adds what to do about an error of SQLite's, or a file that it cannot read.
func withRemedy(err error, path string) error {
	if _, ok := errors.AsType[sqlite3.Error](err); !ok && !errors.Is(err, ErrNotALog) {
		return err
	}
	return fmt.Errorf("%w: %s", err, remedy(err, path))
}

// isFull tells whether what failed wanted room.
func isFull(err error) bool {
	e, _ := errors.AsType[sqlite3.Error](err)
	return e.Code == sqlite3.ErrFull || isErrno(err, e, syscall.ENOSPC) || isErrno(err, e, syscall.EDQUOT) ||
		isErrno(err, e, syscall.EFBIG)
}

// isErrno tells whether the system said no, to SQLite or to us.
func isErrno(err error, e sqlite3.Error, no syscall.Errno) bool {
	return e.SystemErrno == no || errors.Is(err, no)
}
