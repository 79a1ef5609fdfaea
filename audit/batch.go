package audit

import (
	"sync/atomic"

	"postern/proxy"
)

// batch gathers the events that one commit will keep. It is the Receipt of each of them, so that a
// receipt costs nothing of its own.
type batch struct {
	events  []proxy.Event // under Log.mu while it gathers, then the writer's
	settled bool          // under Log.mu
	err     error         // written before done is closed
	done    chan struct{} // closed when it is known what became of the events
	came    atomic.Int64  // sessions that wait for it, and those that have ended in it
	ended   int64         // those that have ended; under Log.mu
	log     *Log          // nil if it does not gather
}

// newBatch returns a batch of events.
func newBatch(events []proxy.Event) *batch {
	return &batch{events: events, done: make(chan struct{})}
}

// gather returns a batch that gathers in the memory of spare.
func (l *Log) gather(spare []proxy.Event) *batch {
	b := newBatch(spare)
	b.log = l
	return b
}

// settled returns a batch whose Wait returns err at once.
func settled(err error) *batch {
	b := newBatch(nil)
	b.settleLocked(err)
	return b
}

// settleLocked says once what became of the events; later words are not heard.
func (b *batch) settleLocked(err error) {
	if b.settled {
		return
	}
	b.settled, b.err = true, err
	close(b.done)
}

// Wait implements proxy.Receipt. It never blocks for ever: a commit that takes too long counts as failed.
func (b *batch) Wait() error {
	b.come()
	<-b.done
	return b.err
}

// released is the Receipt in Relaxed durability. It asks only whether the log can be written.
type released Log

func (r *released) Wait() error {
	l := (*Log)(r)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.verdict == nil || l.closed {
		return nil
	}
	return l.verdict.err
}
