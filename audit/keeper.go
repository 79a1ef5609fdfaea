package audit

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"postern/proxy"
)

const (
	// firstRun is how long after Open the rules run first; then daily, and whenever an hourly look finds the rule by size
	// broken.
	firstRun = 5 * time.Minute
	runEvery = 24 * time.Hour
	lookSize = time.Hour
	// lookFile is how often the size of the file and its oldest record are looked up, for Health.
	lookFile = time.Minute
)

// Retention tells how the rules fare, for Health.
type Retention struct {
	Rules   Rules     `json:"rules"`
	LastRun time.Time `json:"last_run,omitzero"` // when the last run ended well, since Open
	NextRun time.Time `json:"next_run,omitzero"`
	Running bool      `json:"running,omitzero"`
	Err     string    `json:"err,omitzero"`     // why the last run went wrong
	Blocked string    `json:"blocked,omitzero"` // why the rule by size cannot be kept
	Taken   []Taken   `json:"taken"`            // by the last run
	Deleted int64     `json:"deleted"`          // records, since Open
	Thinned int64     `json:"thinned"`          // records, once for each rule that thinned them
	Holds   int       `json:"holds"`            // in force
	Oldest  time.Time `json:"oldest,omitzero"`  // the oldest session or record of none that rules may delete
	Octets  int64     `json:"octets"`           // of the database's file
}

// keeper runs the rules when it is time to, or somebody asks. It is one goroutine, which Open starts and Stop ends.
type keeper struct {
	log    *Log
	asked  chan *request
	cancel context.CancelFunc
	ended  chan struct{}

	// Owned by the goroutine.
	reaper reaper
	from   map[string]int64 // see sweep
	holds  int64            // under which number the writer knew the holds when from was true

	counting sync.Mutex // held while the holds are counted, so that an older count never follows a newer one

	mu     sync.Mutex
	status Retention
}

// request is somebody's wish that the rules run now.
type request struct {
	by   string
	took []Taken
	err  error
	done chan struct{} // closed when the two above are there
}

func newKeeper(l *Log) *keeper {
	return &keeper{
		log: l, asked: make(chan *request), ended: make(chan struct{}),
		reaper: reaper{log: l, dose: dose{size: 256, least: leastRecords, most: mostRecords}},
		status: Retention{Rules: l.opts.Retention, Taken: []Taken{}},
	}
}

// start begins to keep.
func (k *keeper) start() {
	ctx, cancel := context.WithCancel(context.Background())
	k.cancel = cancel
	k.set(func(s *Retention) { s.NextRun = time.Now().Add(firstRun).UTC() })
	k.countHolds(ctx)
	go k.keep(ctx)
}

// keep runs until ctx ends.
func (k *keeper) keep(ctx context.Context) {
	defer close(k.ended)
	file, size, run := time.NewTicker(lookFile), time.NewTicker(lookSize), time.NewTimer(firstRun)
	defer file.Stop()
	defer size.Stop()
	defer run.Stop()
	k.look(ctx)
	for {
		select {
		case <-ctx.Done():
			return
		case r := <-k.asked:
			r.took, r.err = k.run(ctx, r.by)
			close(r.done)
		case <-run.C:
			k.runAlone(ctx)
			run.Reset(runEvery)
			k.set(func(s *Retention) { s.NextRun = time.Now().Add(runEvery).UTC() })
		case <-size.C:
			if k.isOver(ctx) {
				k.runAlone(ctx)
			}
		case <-file.C:
			k.look(ctx)
		}
	}
}

// runAlone runs the rules although nobody asked: there is only the log to tell what went wrong.
func (k *keeper) runAlone(ctx context.Context) {
	if _, err := k.run(ctx, ""); err != nil && ctx.Err() == nil {
		k.log.log.Error("retention could not do what its rules say; it tries again within a day", "err", err)
	}
}

// run runs the rules.
func (k *keeper) run(ctx context.Context, by string) (took []Taken, err error) {
	k.set(func(s *Retention) { s.Running = true })
	s, err := k.sweep(ctx, by)
	if s != nil {
		took = s.done
	}
	blocked := ""
	if err == nil {
		blocked, err = k.blocked(ctx, s)
	}
	k.set(func(s *Retention) {
		if s.Running, s.Err = false, ""; err != nil {
			s.Err = err.Error()
			return
		}
		s.LastRun, s.Taken, s.Blocked = time.Now().UTC(), took, blocked
	})
	k.look(ctx)
	return took, err
}

func (k *keeper) sweep(ctx context.Context, by string) (*sweep, error) {
	r := &k.reaper
	r.by, r.waiting, r.records = by, nil, 0
	s, err := newSweep(ctx, k.log.reader, k.log.opts.Retention, k.log.pseudonym, time.Now())
	if err != nil {
		return nil, err
	}
	s.taker = r
	if err := r.learn(ctx, s); err != nil {
		return nil, err
	}
	if k.from == nil || k.holds != r.holds { // what a hold that was released had kept is to be found anew
		k.from, k.holds = make(map[string]int64), r.holds
	}
	s.from = k.from
	for _, do := range []func(context.Context) error{s.run, r.compact, r.thinCheckpoints, r.giveBack} {
		if err := do(ctx); err != nil {
			return s, err
		}
	}
	return s, nil
}

// isOver tells whether the rule by size is broken.
func (k *keeper) isOver(ctx context.Context) bool {
	limit := k.log.opts.Retention.Size
	used, err := selectUsed(ctx, k.log.reader.db)
	return limit > 0 && err == nil && used > limit
}

// blocked says why the rule by size cannot be kept after a run that took what it could, "" if it is. A change is
// recorded.
func (k *keeper) blocked(ctx context.Context, s *sweep) (why string, err error) {
	limit := k.log.opts.Retention.Size
	if limit <= 0 {
		return "", nil
	}
	used, err := selectUsed(ctx, k.log.reader.db)
	if err != nil {
		return "", err
	}
	size := s.done[slices.IndexFunc(s.done, func(t Taken) bool { return t.Class == ClassSize })]
	if used > limit && s.excess > 0 { // else the run ended too early, and the next look goes on
		why = fmt.Sprintf("the log has %d octets, the rule by size allows %d, and nothing is left that may be deleted; legal holds keep %d "+
			"sessions and records: give it more room, or release holds that are over (postern hold list)", used, limit, size.Held)
	}
	k.mu.Lock()
	was := k.status.Blocked
	k.mu.Unlock()
	if (was == "") == (why == "") {
		return why, nil
	}
	state := proxy.Event{Time: time.Now(), Kind: proxy.KindState, Detail: LogSizeOK}
	if why != "" {
		state.Detail, state.Text = LogTooLarge, why
		k.log.log.Warn("audit log is larger than its rule by size allows", "why", why)
	}
	return why, k.log.Record(state).Wait()
}

// look looks up what Health tells and takes a look at the disk.
func (k *keeper) look(ctx context.Context) {
	info, err := os.Stat(k.log.opts.Path)
	if err != nil {
		return // what is wrong is told elsewhere
	}
	oldest, err := k.log.reader.Oldest(ctx)
	if err != nil {
		return
	}
	k.set(func(s *Retention) { s.Octets, s.Oldest = info.Size(), oldest })
	k.countHolds(ctx)
}

// countHolds looks up how many holds are in force.
func (k *keeper) countHolds(ctx context.Context) {
	k.counting.Lock()
	defer k.counting.Unlock()
	holds := 0
	if err := k.log.reader.db.QueryRowContext(ctx, "SELECT count(*) FROM holds").Scan(&holds); err != nil {
		return // what is wrong is told elsewhere
	}
	k.set(func(s *Retention) { s.Holds = holds })
}

func (k *keeper) set(change func(*Retention)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	change(&k.status)
}

// tell returns how the rules fare.
func (k *keeper) tell() Retention {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.status
}

// reaped counts what a rule has taken.
func (l *Log) reaped(r *rule, records int64) {
	l.keeper.set(func(s *Retention) {
		if r.deletes() {
			s.Deleted += records
		} else {
			s.Thinned += records
		}
	})
}

// Retain runs the rules now, for whoever asks, and tells what they took. A run that ctx is too short for goes on.
func (l *Log) Retain(ctx context.Context, by string) ([]Taken, error) {
	r := &request{by: by, done: make(chan struct{})}
	select {
	case l.keeper.asked <- r:
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-l.closing:
		return nil, ErrClosed
	}
	select {
	case <-r.done:
		return r.took, r.err
	case <-ctx.Done():
		return nil, fmt.Errorf("the run goes on: %w", ctx.Err())
	}
}

// Oldest returns when the oldest session began that is in the log, or the oldest record of none that retention may delete was
// made. It is zero if there is neither.
func (r *Reader) Oldest(ctx context.Context) (time.Time, error) {
	const query = "SELECT min(ifnull(a, b), ifnull(b, a)) FROM (SELECT (SELECT min(started) FROM sessions) AS a, " +
		"(SELECT min(time) FROM records WHERE " + aloneKinds + ") AS b)"
	var at sql.NullInt64
	err := r.db.QueryRowContext(ctx, query).Scan(&at)
	return moment(at.Int64), r.wrap("find the oldest record", err)
}

// Retention tells how the rules fare. What Health tells may be a minute old.
func (l *Log) Retention(ctx context.Context) Retention {
	l.keeper.look(ctx)
	return l.keeper.tell()
}

// Plan tells what a run would take now. Nothing is changed.
func (l *Log) Plan(ctx context.Context) ([]Taken, error) {
	return l.reader.plan(ctx, l.opts.Retention, l.pseudonym, time.Now())
}

// AddHold puts a hold in force for h.By and returns it with its number. The rules touch nothing that it covers once AddHold
// has returned.
func (l *Log) AddHold(ctx context.Context, h Hold) (Hold, error) {
	holds, err := l.reader.Holds(ctx)
	if err != nil {
		return h, err
	}
	ev, err := h.AddEvent(len(holds))
	if err != nil {
		return h, err
	}
	seq, err := l.recordHold(ctx, ev)
	h.ID, h.Added = seq, ev.Time.UTC()
	return h, err
}

// ReleaseHold ends the hold with that number, and returns it.
func (l *Log) ReleaseHold(ctx context.Context, id int64, by, reason string) (Hold, error) {
	h, err := l.reader.Hold(ctx, id)
	if err != nil {
		return h, err
	}
	ev, err := h.ReleaseEvent(by, reason)
	if err == nil {
		_, err = l.recordHold(ctx, ev)
	}
	return h, err
}

// recordHold records a change of the holds, and returns its number. It waits for the disk whatever the durability is.
func (l *Log) recordHold(ctx context.Context, ev proxy.Event) (seq int64, err error) {
	c := &chore{do: func(w *writer) error { return w.append(&ev) }}
	if err = l.perform(ctx, c); err == nil {
		l.keeper.countHolds(context.WithoutCancel(ctx))
	}
	return c.seq, err
}
