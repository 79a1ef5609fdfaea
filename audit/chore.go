package audit

import (
	"context"
	"errors"
	"fmt"
	"time"

	"postern/proxy"
)

// chore is what the writer does in a transaction of its own between two commits: whoever waits for a commit goes first.
type chore struct {
	do    func(*writer) error
	alone func(*writer) error // in place of do: in no transaction, and the log is none the worse if it goes wrong
	stale func(*writer) bool  // tells that it is not right any more; nil: it always is

	// For whoever asked, once done has been received from.
	done chan error
	took time.Duration // how long it kept commits waiting
	seq  int64         // the newest record after it
}

// errStale tells that a chore was not done, as it was not right any more.
var errStale = errors.New("the log has changed since")

// patience is how long a chore waits until the writer takes it. The writer does not while the log is failing.
const patience = 10 * time.Second

// perform has the writer do c. Its error wraps proxy.ErrNotRecorded if the log cannot be written.
func (l *Log) perform(ctx context.Context, c *chore) error {
	c.done = make(chan error, 1)
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case l.chores <- c:
	case <-ctx.Done():
		return ctx.Err()
	case <-l.closing:
		return ErrClosed
	case <-timer.C:
		if err := l.Ready(); err != nil {
			return err
		}
		return fmt.Errorf("%w: the log is busy", proxy.ErrNotRecorded)
	}
	select { // it is under way, and is over within the time that a commit may take
	case err := <-c.done:
		return err
	case <-l.stopped:
		return ErrClosed
	}
}

// work does the chore that waits, if there is one.
func (w *writer) work() {
	c := w.chore
	if w.chore = nil; c == nil {
		return
	}
	if w.store == nil || w.watch.full { // the room that is left is for the ends of sessions
		c.done <- fmt.Errorf("%w: %s", proxy.ErrNotRecorded, w.log.Health().Err)
		return
	}
	b := newBatch(nil)
	stall := time.AfterFunc(w.log.opts.stall, func() { w.log.stalled(b) })
	defer stall.Stop()
	if c.alone != nil {
		began := time.Now()
		err := c.alone(w)
		c.took = time.Since(began)
		c.done <- err
		return
	}
	if c.stale != nil && c.stale(w) {
		c.done <- errStale
		return
	}
	seq := w.seq
	err := w.transact(c.do)
	c.took, c.seq = time.Since(w.began), w.seq
	if err != nil {
		w.failed(err, b, nil)
		c.done <- fmt.Errorf("%w: %w", proxy.ErrNotRecorded, err)
		return
	}
	o, healed := w.log.committed(b, w.seq, w.seq-seq, w.sealer.newest, !w.watch.full)
	w.told(o, healed)
	c.done <- nil
}

// transact does what has to be done in one transaction. What commit says of errors holds here.
func (w *writer) transact(do func(*writer) error) error {
	w.began = time.Now()
	seq := w.seq
	err := w.enact(do)
	if w.ended = time.Now(); err == nil {
		return nil
	}
	w.seq = seq
	w.live.reset()
	return errors.Join(err, w.close())
}

func (w *writer) enact(do func(*writer) error) error {
	if err := w.store.exec(w.store.begin); err != nil {
		return err
	}
	if err := do(w); err != nil {
		return err
	}
	if err := w.sealer.sign(w.store, w.began, w.isClosing()); err != nil {
		return err
	}
	return w.store.exec(w.store.commit)
}
