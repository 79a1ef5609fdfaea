package audit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"postern/proxy"
)

// queueSize bounds the events that wait for a commit; Record blocks while the queue is full.
const queueSize = 16_384

// Log is the audit log, opened for writing. It implements proxy.Recorder.
type Log struct {
	opts   Options
	log    *slog.Logger
	reader *Reader
	lock   *os.File
	keeper *keeper

	pseudonym [32]byte   // the key of users' pseudonyms
	rotating  sync.Mutex // held while the key is rotated

	wake    chan struct{} // holds a token when there is something to commit
	chores  chan *chore
	closing chan struct{} // closed by Stop
	stopped chan struct{} // closed by the writer after the last record
	leaving chan struct{} // closed by Close
	done    chan struct{} // closed by the writer when it has ended
	end     error         // of the writer's last commit; read after stopped
	left    error         // of what it did then; read after done

	company company // that a commit waits for

	mu        sync.Mutex
	room      sync.Cond     // signalled when the queue has been taken, or will not be
	gathering *batch        // where Record appends; the next commit
	grown     chan struct{} // closed and replaced after each commit
	closed    bool          // Stop was called
	gone      bool          // Close was
	trouble                 // what is wrong, and what was lost by it
	lastSeq   int64
	commits   int64
	records   int64
	newest    Checkpoint
	signed    chan struct{} // closed and replaced after each checkpoint
	cosigning []*cosigning  // what the next commit adds to checkpoints
	pulse     pulse
}

var _ proxy.Recorder = (*Log)(nil)

// Open takes the lock of the database, opens or makes it, closes the sessions that a crash left open,
// writes a start record, and starts the writer. A log that cannot be written fails to open, whatever
// OnFailure says. The caller must Close the Log. ctx bounds only the opening.
func Open(ctx context.Context, o Options) (*Log, error) {
	lock, err := takeLock(o.Path)
	if err != nil {
		return nil, err
	}
	l, err := open(ctx, o)
	if err != nil {
		return nil, errors.Join(withRemedy(err, o.Path), lock.Close())
	}
	l.lock = lock
	return l, nil
}

func open(ctx context.Context, o Options) (*Log, error) {
	l, w, err := assemble(o)
	if err != nil {
		return nil, err
	}
	if err := l.begin(ctx, w); err != nil {
		return nil, errors.Join(err, l.reader.Close(), w.close())
	}
	go w.run()
	l.keeper.start()
	return l, nil
}

// assemble opens the database and puts a Log and its writer together, at rest.
func assemble(o Options) (*Log, *writer, error) {
	if o.Key == "" {
		o.Key = KeyPath(o.Path)
	}
	if err := checkModes(o.Path); err != nil {
		return nil, nil, fmt.Errorf("open audit log: %w", err)
	}
	store, err := openStore(o.Path, o.maxPages)
	if err != nil {
		return nil, nil, fmt.Errorf("open audit log: %w", err)
	}
	reader, err := openReader(o.Path)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("open audit log for reading: %w", err), store.close())
	}
	l := newLog(o, reader)
	return l, newWriter(l, store), nil
}

func newLog(o Options, reader *Reader) *Log {
	l := &Log{
		opts: o.complete(), log: o.Logger, reader: reader,
		wake:    make(chan struct{}, 1),
		chores:  make(chan *chore),
		closing: make(chan struct{}),
		stopped: make(chan struct{}),
		leaving: make(chan struct{}),
		done:    make(chan struct{}),
		grown:   make(chan struct{}),
		signed:  make(chan struct{}),
		trouble: trouble{since: time.Now(), wounded: map[proxy.SessionID]struct{}{}},
	}
	if l.log == nil {
		l.log = slog.New(slog.DiscardHandler)
	}
	l.room.L = &l.mu
	l.gathering = l.gather(nil)
	l.keeper = newKeeper(l)
	reader.grown = l.growth
	return l
}

// begin makes the first commit: what a crash left open is closed, and the start is on record.
func (l *Log) begin(ctx context.Context, w *writer) error {
	if err := l.resume(ctx, w); err != nil {
		return err
	}
	seq := w.seq
	orphans, err := orphans(ctx, l.reader)
	if err != nil {
		return fmt.Errorf("open audit log: close what a crash left open: %w", err)
	}
	start := proxy.Event{Time: time.Now(), Kind: proxy.KindStart, Detail: l.opts.detail(), Arg: w.sealer.key.verifier, User: l.opts.User}
	b := newBatch(append(orphans, start))
	if err := w.commit(b.events, nil); err != nil {
		return fmt.Errorf("open audit log: write the start record: %w", err)
	}
	l.committed(b, w.seq, w.seq-seq, w.sealer.newest, true)
	if len(orphans) > 0 {
		l.log.Warn("closed sessions that the last run left open", "records", len(orphans))
	}
	return nil
}

// resume lets w go on where the database ends.
func (l *Log) resume(ctx context.Context, w *writer) (err error) {
	if err := w.store.rewriteWAL(); err != nil && !errors.Is(err, errRead) { // the run before may have ended in trouble
		return fmt.Errorf("open audit log: %w", err)
	}
	if w.seq, err = w.store.lastSeq(); err != nil {
		return fmt.Errorf("open audit log: %w", err)
	}
	if err := w.index.load(w.store); err != nil {
		return fmt.Errorf("open audit log: %w", err)
	}
	if err := l.openSealer(ctx, w); err != nil {
		return fmt.Errorf("open audit log: %w", err)
	}
	return nil
}

// detail describes the settings in force, for the start record.
func (o *Options) detail() string {
	words := []string{fmt.Sprintf("model=%d", Model), "durability=" + o.Durability.String()}
	if o.Durability == Relaxed {
		words = append(words, "window="+RelaxedWindow.String())
	}
	words = append(words, "on_failure="+o.OnFailure.String())
	if o.Host != "" {
		words = slices.Insert(words, 0, "host="+o.Host)
	}
	if o.Version != "" {
		words = slices.Insert(words, 0, "version="+o.Version)
	}
	return strings.Join(words, " ")
}

// Record appends ev to the batch being gathered. It blocks only while the queue is full, and not at all
// while the log is failing.
func (l *Log) Record(ev proxy.Event) proxy.Receipt {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.verdict == nil && len(l.gathering.events) >= queueSize {
		l.room.Wait()
	}
	if l.verdict != nil {
		l.loseLocked(&ev)
		return l.verdict
	}
	b := l.gathering
	b.events = append(b.events, ev)
	if n := len(b.events); n == 1 && !l.company.awaited || n == queueSize/2 {
		l.nudge()
	}
	if ev.Kind == proxy.KindEnd { // it will not come back
		b.ended++
		b.come()
	}
	switch {
	case l.isWoundedLocked(&ev):
		return l.scar
	case l.opts.Durability == Relaxed:
		return (*released)(l)
	}
	return b
}

// Ready returns nil while events can be kept, or are let go by Continue, and the error of every Receipt
// otherwise. It does not block.
func (l *Log) Ready() error {
	l.mu.Lock()
	verdict := l.verdict
	l.mu.Unlock()
	if verdict == nil {
		return nil
	}
	return verdict.Wait()
}

// nudge leaves a token for the writer; one is enough.
func (l *Log) nudge() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// take hands the gathered batch and what was lost before it to the writer, and begins a new batch in spare.
// While the disk is full only the ends of sessions are taken.
func (l *Log) take(spare []proxy.Event, ends bool) (b *batch, lost *losses) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b, l.gathering = l.gathering, l.gather(spare)
	if ends {
		lost = l.losses.takeEnded()
	} else {
		lost, l.losses = l.losses, nil
	}
	l.room.Broadcast()
	return b, lost
}

// committed tells everyone that waits: first the sessions, then the readers. Unless heals is false the log is well from
// here on; committed returns the outage that this ended, if there was one.
func (l *Log) committed(b *batch, seq, records int64, newest Checkpoint, heals bool) (o outage, healed bool) {
	l.mu.Lock()
	b.settleLocked(nil)
	l.shareLocked(b)
	l.lastSeq, l.commits, l.records = seq, l.commits+1, l.records+records
	l.signLocked(newest)
	close(l.grown)
	l.grown = make(chan struct{})
	if heals {
		o, healed = l.healLocked()
	}
	l.mu.Unlock()
	if healed {
		l.log.Info("audit log is being written again", "path", l.opts.Path, "failed_for", o.until.Sub(o.since))
	}
	return o, healed
}

// growth returns the channel that the next commit closes.
func (l *Log) growth() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.grown
}

// Reader returns the log's own Reader. Its Tail is woken by each commit. Close closes it.
func (l *Log) Reader() *Reader { return l.reader }

// Health tells how the log fares. It does no I/O and may be asked at any time.
func (l *Log) Health() Health {
	l.mu.Lock()
	defer l.mu.Unlock()
	reason := l.reason
	if reason == "" && l.closed {
		reason = ErrClosed.Error()
	}
	return Health{
		OK: l.verdict == nil, Err: reason, Since: l.since.UTC(), Lost: l.lost,
		Queue: len(l.gathering.events), LastSeq: l.lastSeq, Commits: l.commits, Records: l.records, Signed: l.newest.Size,
		Durability: l.opts.Durability.String(), OnFailure: l.opts.OnFailure.String(),
		Failures: l.fails, Slow: l.pulse.slow, Space: l.pulse.space, Latency: l.pulse.latency,
		Retention: l.keeper.tell(),
	}
}

// Stop commits what is queued, writes a stop record and signs it. Events recorded after it are refused, but the log can
// still be read, and its checkpoints cosigned, until Close. It is an error if the last events could not be kept.
func (l *Log) Stop() error {
	l.mu.Lock()
	if !l.closed {
		l.closed = true
		l.verdict = settled(fmt.Errorf("%w: %w", proxy.ErrNotRecorded, ErrClosed))
		l.room.Broadcast()
		close(l.closing)
		l.keeper.cancel()
	}
	l.mu.Unlock()
	<-l.stopped
	<-l.keeper.ended
	return l.end
}

// Close does what Stop does, empties the WAL into the database and frees the lock. A second Close does nothing.
func (l *Log) Close() error {
	err := l.Stop()
	l.mu.Lock()
	if l.gone {
		l.mu.Unlock()
		<-l.done
		return nil
	}
	l.gone = true
	close(l.leaving)
	l.mu.Unlock()
	<-l.done

	l.mu.Lock()
	close(l.grown) // tails look once more, and find the Reader closed
	l.mu.Unlock()
	return errors.Join(err, l.left, l.lock.Close())
}
