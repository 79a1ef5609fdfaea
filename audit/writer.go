package audit

import (
	"context"
	"errors"
	"fmt"
	"time"

	"postern/proxy"
)

const (
	// firstBackoff and lastBackoff bound the time between two attempts to reopen a failing database. The log must be
	// well within 5 s of the cause's end.
	firstBackoff = 100 * time.Millisecond
	lastBackoff  = time.Second
	// spareSize bounds the memory for events that is kept from one batch to the next.
	spareSize = 2048
)

// writer is the one goroutine that writes the database. All of it is its own.
type writer struct {
	log     *Log
	store   *store // nil while the database is failing
	live    *live
	seq     int64 // of the newest record
	sealer  sealer
	index   sessionIndex
	began   time.Time     // the last commit
	ended   time.Time     // the last commit
	backoff time.Duration // before the next attempt to reopen
	healed  time.Time     // when the last one succeeded
	timer   *time.Timer
	spare   []proxy.Event // memory for the next batch
	cosigns []*cosigning  // of the commit being made
	watch   watch
	states  []proxy.Event // changes of the log's state that are not on record yet
	outage  outage        // that the log is in, with a reason if it is in one
	chore   *chore        // to be done after the next commit
	holds   int64         // how often the holds have changed since Open
}

func newWriter(l *Log, s *store) *writer {
	w := &writer{
		log: l, store: s, live: newLive(l.reader), backoff: firstBackoff, timer: time.NewTimer(0), watch: newWatch(l),
	}
	w.timer.Stop()
	return w
}

func (w *writer) run() {
	defer close(w.log.done)
	for !w.isClosing() {
		if w.store == nil {
			w.mend()
			continue
		}
		w.wait()
		if w.isClosing() {
			break // who waits for a chore is told so
		}
		w.next()
	}
	w.log.end = w.finish()
	close(w.log.stopped)
	w.log.left = errors.Join(w.linger(), w.leave())
}

// next commits what there is, and does the chore that waits or tells that it cannot be done.
func (w *writer) next() {
	if w.look() {
		w.turn()
	}
	w.work()
}

func (w *writer) isClosing() bool {
	select {
	case <-w.log.closing:
		return true
	default:
		return false
	}
}

// wait returns when there is something to commit and it is time to.
func (w *writer) wait() {
	if w.log.isSharing() && w.share() {
		select {
		case w.chore = <-w.log.chores:
		default:
		}
		return
	}
	next := w.watch.due
	if at, ok := w.nextDue(); ok && at.Before(next) {
		next = at
	}
	w.timer.Reset(time.Until(next))
	select {
	case <-w.log.wake:
	case <-w.timer.C:
	case w.chore = <-w.log.chores:
	case <-w.log.closing:
	}
}

// nextDue returns when there is something to write next even if nothing is recorded.
func (w *writer) nextDue() (at time.Time, ok bool) {
	for _, due := range []func() (time.Time, bool){w.live.nextDue, w.sealer.nextDue, w.index.nextDue} {
		if next, is := due(); is && (!ok || next.Before(at)) {
			at, ok = next, true
		}
	}
	return at, ok
}

func (w *writer) isDue(now time.Time) bool {
	at, ok := w.nextDue()
	return ok && !now.Before(at)
}

// pause returns after d, or earlier when the writer is nudged, which it reports, or the log closes.
func (w *writer) pause(d time.Duration) (nudged bool) {
	w.timer.Reset(d)
	defer w.timer.Stop()
	select {
	case <-w.timer.C:
	case <-w.log.wake:
		nudged = true
	case <-w.log.closing:
	}
	return nudged
}

// turn commits what was gathered, then more, and tells those who wait.
func (w *writer) turn(more ...proxy.Event) {
	b, lost := w.log.take(w.spare, w.watch.full && len(w.states) == 0 && !w.isClosing())
	w.spare, w.cosigns = nil, w.log.takeCosigning()
	events := append(b.events, more...)
	heals := !w.watch.full
	if len(events)+len(w.cosigns)+len(w.states) == 0 && lost == nil && !w.isDue(time.Now()) && !(w.isFailing() && heals) {
		return
	}
	stall := time.AfterFunc(w.log.opts.stall, func() { w.log.stalled(b) })
	seq := w.seq
	err := w.commit(events, lost)
	stall.Stop()
	answer(w.cosigns, err)
	if err != nil {
		w.failed(err, b, lost)
		return
	}
	took := time.Since(w.began)
	if time.Since(w.healed) > lastBackoff { // a disk that is all but full heals for moments only
		w.backoff = firstBackoff
	}
	o, healed := w.log.committed(b, w.seq, w.seq-seq, w.sealer.newest, heals)
	w.states = w.states[:0] // they are on record
	w.told(o, healed)
	w.timed(took)
	clear(events)
	if cap(events) <= spareSize {
		w.spare = events[:0]
	}
}

// commit writes one transaction. If that fails, the connection is not used again: what a failed
// fsync left behind in the page cache is anyone's guess.
func (w *writer) commit(events []proxy.Event, lost *losses) error {
	w.began = time.Now()
	seq := w.seq
	err := w.write(events, lost)
	w.ended = time.Now()
	if err == nil {
		return nil
	}
	w.seq = seq
	w.live.reset()
	return errors.Join(err, w.close())
}

func (w *writer) write(events []proxy.Event, lost *losses) error {
	if err := w.store.exec(w.store.begin); err != nil {
		return err
	}
	if err := w.writeStates(lost); err != nil {
		return err
	}
	for i := range events {
		if err := w.append(&events[i]); err != nil {
			return err
		}
	}
	if err := w.live.save(w.store, w.began); err != nil {
		return err
	}
	if err := w.index.save(w.store, w.began, w.seq, w.isClosing()); err != nil {
		return err
	}
	if err := w.sealer.sign(w.store, w.began, w.isClosing()); err != nil {
		return err
	}
	if err := w.cosign(); err != nil {
		return err
	}
	return w.store.exec(w.store.commit)
}

// append writes the next record, and what it tells of its session into memory.
func (w *writer) append(ev *proxy.Event) error {
	r := recordOf(ev)
	r.Seq = w.seq + 1
	if r.Session != 0 {
		if err := w.live.apply(&r, w.began); err != nil {
			return err
		}
	}
	if err := w.sealer.insert(w.store, &r); err != nil {
		return err
	}
	w.index.add(&r, w.began)
	w.seq++
	if r.Kind == proxy.KindHold {
		w.holds++
		return w.store.keepHold(&r)
	}
	return nil
}

// writeLosses writes a gap record, one more for each session that lost events, and ends the sessions whose end
// could not be recorded in time.
func (w *writer) writeLosses(lost *losses) error {
	if lost.count > 0 {
		gap := proxy.Event{Time: w.began, Kind: proxy.KindGap, Count: lost.count, Detail: lost.reason}
		if err := w.append(&gap); err != nil {
			return err
		}
	}
	for id, wound := range lost.sessions {
		if wound.begin {
			continue
		}
		known, err := w.live.knows(id)
		if err != nil {
			return err
		}
		if !known {
			continue
		}
		if wound.lost {
			gap := proxy.Event{Session: id, Time: w.began, Kind: proxy.KindGap, Detail: lost.reason}
			if err := w.append(&gap); err != nil {
				return err
			}
		}
		if err := w.writeEnd(wound.end); err != nil {
			return err
		}
	}
	return nil
}

// writeEnd writes the end of a session that lost events, if it has come to one.
func (w *writer) writeEnd(end *proxy.Event) error {
	if end == nil {
		return nil
	}
	events, err := ending(w.log.reader, *end)
	if err != nil {
		return err
	}
	for i := range events {
		if err := w.append(&events[i]); err != nil {
			return err
		}
	}
	return nil
}

// mend waits a while, opens the database anew and writes what was lost. The log is well when that is
// committed.
func (w *writer) mend() {
	w.pause(w.backoff)
	w.backoff = min(2*w.backoff, lastBackoff)
	if err := w.reopen(); err != nil {
		w.failed(err, newBatch(nil), nil)
		return
	}
	w.healed = time.Now()
	w.watch.due = w.healed // the disk may have room again
	if w.look() {
		w.turn()
	}
}

func (w *writer) reopen() error {
	if err := w.watch.files.check(); err != nil { // or a database would be made anew
		return err
	}
	s, err := openStore(w.log.opts.Path, w.log.opts.maxPages)
	if err != nil {
		return err
	}
	if w.watch.suspect {
		err = s.rewriteWAL()
	}
	var seq int64
	if err == nil {
		seq, err = s.lastSeq()
	}
	if err == nil {
		err = errors.Join(w.index.load(s), w.reopenKey(context.Background()), w.sealer.load(context.Background(), w.log.reader, seq))
	}
	if err != nil {
		return errors.Join(err, s.close())
	}
	w.store, w.seq, w.watch.suspect = s, seq, false
	return nil
}

// finish makes the last commit, with the stop record.
func (w *writer) finish() error {
	for range 2 { // the first may find the disk full, and give the reserve away
		if w.store == nil {
			if err := w.reopen(); err != nil {
				w.failed(err, newBatch(nil), nil)
				break
			}
		}
		if w.turn(proxy.Event{Time: time.Now(), Kind: proxy.KindStop, Detail: w.log.opts.detail(), User: w.log.opts.User}); w.store != nil {
			break
		}
	}
	w.states, w.outage = nil, outage{} // the stop record is the last
	if w.store == nil {
		return fmt.Errorf("close audit log: the last events were lost: %s", w.log.Health().Err)
	}
	return nil
}

// linger keeps the cosignatures of the last checkpoint, and writes nothing else any more.
func (w *writer) linger() (err error) {
	for w.store != nil {
		select {
		case <-w.log.wake:
			w.cosigns = w.log.takeCosigning()
			err = w.commit(nil, nil)
			answer(w.cosigns, err)
		case <-w.log.leaving:
			return err
		}
	}
	<-w.log.leaving
	return err
}

// leave empties the WAL and frees what the writer holds.
func (w *writer) leave() error {
	err := w.log.reader.Close() // first, or it would hold the WAL
	if w.store == nil {
		return err
	}
	if _, e := w.store.value("PRAGMA wal_checkpoint(TRUNCATE)"); e != nil {
		err = errors.Join(err, fmt.Errorf("close audit log: checkpoint: %w", e))
	}
	return errors.Join(err, w.close())
}

// close frees the connection.
func (w *writer) close() error {
	if w.store == nil {
		return nil
	}
	err := w.store.close()
	w.store = nil
	return err
}
