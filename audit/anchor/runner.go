package anchor

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"postern/audit"
	"postern/proxy"
)

const (
	// attemptTime bounds one attempt.
	attemptTime = 20 * time.Second
	// firstRetry and lastRetry bound the time from an attempt that failed to the next.
	firstRetry = time.Second
	lastRetry  = 5 * time.Minute
	// longestWish bounds the time for which a server may ask to be left alone.
	longestWish = time.Hour
)

// Details of the records that tell of a witness.
const (
	witnessRefused  = "witness_refused"
	witnessAccepted = "witness_accepted"
)

// refusal is the error of a witness that saw another history.
type refusal struct{ error }

func (r refusal) Unwrap() error { return r.error }

// busy is the error of a server that asks to be left alone for a while.
type busy struct {
	error
	wish time.Duration
}

func (b busy) Unwrap() error { return b.error }

// runner carries checkpoints to one place.
type runner struct {
	place
	kind, name string
	every      time.Duration
	log        *audit.Log
	logger     *slog.Logger
	ctx        context.Context // of the Anchors, which own this
	stop       <-chan struct{}

	due   time.Time // of the next attempt; run's own, as is retry
	retry time.Duration
	first time.Duration // retry after a success

	mu      sync.Mutex
	size    int64     // of the newest checkpoint that arrived
	at      time.Time // when it did
	behind  time.Time // since when there is one that did not; zero for none
	errors  int64
	err     string
	failing time.Time // since when attempts fail; zero when they do not
	refused bool
}

func newRunner(a *Anchors, o *Options, kind, name string, p place) *runner {
	return &runner{place: p, kind: kind, name: name, every: o.Every, log: o.Log, ctx: a.ctx, stop: a.stop,
		logger: o.Logger.With("anchor", kind, "name", name), retry: o.retry, first: o.retry}
}

func (r *runner) run() {
	for r.wait() {
		r.attempt()
	}
	r.attempt() // the last one, due or not
}

// wait returns true when there is a checkpoint that did not arrive yet and it is time for it, and false when the
// place is to be left.
func (r *runner) wait() bool {
	for c, newer := r.log.Newest(); c.Size == r.size; c, newer = r.log.Newest() {
		select {
		case <-newer:
		case <-r.stop:
			return false
		}
	}
	r.fallBehind(time.Now())
	t := time.NewTimer(time.Until(r.due))
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-r.stop:
		return false
	}
}

func (r *runner) fallBehind(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.behind.IsZero() {
		r.behind = now
	}
}

// attempt carries the newest checkpoint, unless it has arrived.
func (r *runner) attempt() {
	c, _ := r.log.Newest()
	if c.Size == r.size {
		return
	}
	ctx, cancel := context.WithTimeout(r.ctx, attemptTime)
	defer cancel()
	if err := r.carry(ctx, c); err != nil {
		r.failed(err, time.Now())
		return
	}
	r.arrived(c.Size, time.Now())
}

func (r *runner) arrived(size int64, now time.Time) {
	r.due, r.retry = now.Add(r.every), r.first
	r.mu.Lock()
	failing, refused := r.failing, r.refused
	r.size, r.at, r.behind = size, now, time.Time{}
	r.err, r.failing, r.refused = "", time.Time{}, false
	r.mu.Unlock()
	if !failing.IsZero() {
		r.logger.Info("checkpoints arrive at their anchor again", "failed_for", now.Sub(failing), "size", size)
	}
	if refused {
		r.record(witnessAccepted, "")
	}
}

func (r *runner) failed(err error, now time.Time) {
	r.due = now.Add(r.pause(err))
	_, refused := errors.AsType[refusal](err)
	r.mu.Lock()
	news, alarm := r.failing.IsZero(), refused && !r.refused
	r.errors++
	r.err = err.Error()
	r.refused = r.refused || refused // what is not an acceptance takes nothing back
	if news {
		r.failing = now
	}
	r.mu.Unlock()
	switch {
	case alarm:
		r.logger.Error("the witness saw another history than this log shows: keep the database as evidence, and compare it with anchors and backups",
			"err", err)
		r.record(witnessRefused, err.Error())
	case news:
		r.logger.Warn("checkpoints do not arrive at their anchor; postern tries again", "err", err)
	}
}

// pause returns how long to wait after err: a little longer each time, and not at the same time as everybody else.
func (r *runner) pause(err error) time.Duration {
	d := r.retry
	r.retry = min(2*r.retry, lastRetry)
	if b, ok := errors.AsType[busy](err); ok {
		d = max(d, min(b.wish, longestWish))
	}
	return d + rand.N(d/4+1)
}

// record puts what a witness thinks of the log into it. It does not wait: the log says itself when it cannot be written.
func (r *runner) record(detail, cause string) {
	r.log.Record(proxy.Event{Kind: proxy.KindState, Time: time.Now(), Detail: detail, Arg: bounded(r.name), Text: bounded(cause)})
}

func (r *runner) status(now time.Time) Status {
	newest, _ := r.log.Newest()
	r.mu.Lock()
	defer r.mu.Unlock()
	s := Status{Kind: r.kind, Name: r.name, Size: r.size, At: r.at, LagRecords: newest.Size - r.size, Errors: r.errors, Err: r.err,
		Refused: r.refused}
	if !r.behind.IsZero() {
		s.Lag = now.Sub(r.behind)
	}
	return s
}
