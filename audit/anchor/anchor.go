// Package anchor carries the audit log's checkpoints out of its database, so that whoever rewrites the database later
// is found out: to a file, to standard output, to a webhook, and to witnesses, who cosign them (C2SP tlog-witness).
//
// Start takes up the places that Options name, one goroutine each; List tells how they fare; Close carries the last
// checkpoint out, within a bound. Only the newest checkpoint is carried: it vouches for all records before it.
//
// A place that fails is tried again, ever more slowly. The log never waits for one, and knows nothing of them
// but the cosignatures it keeps and what is recorded of a witness that refuses.
package anchor

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"time"

	"postern/audit"
)

// Options say which places there are. At most one of each kind but witnesses, of which there may be any number.
type Options struct {
	Log   *audit.Log    // whose checkpoints; required
	Every time.Duration // the least time from one checkpoint carried to a place to the next; default 1m

	File      string    // path of the file they are appended to; "" for none
	Stdout    io.Writer // where they are printed, a line of JSON each; nil for none
	Webhook   string    // URL that they are posted to; "" for none
	Witnesses []Witness

	Version string       // of the program, told to whom HTTP is spoken with
	Logger  *slog.Logger // tells of places that fail and are well again; nil discards

	retry time.Duration // default firstRetry; for tests
}

// Witness is where a witness answers, and the key that it cosigns with.
type Witness struct {
	URL string // the submission prefix: add-checkpoint is added
	Key *audit.Witness
}

// Kinds of places.
const (
	KindFile    = "file"
	KindStdout  = "stdout"
	KindWebhook = "webhook"
	KindWitness = "witness"
)

// Status tells how one place fares.
type Status struct {
	Kind       string
	Name       string        // the path, the host, the witness
	Size       int64         // of the newest checkpoint that arrived since Start, 0 for none
	At         time.Time     // when it did
	LagRecords int64         // records that no checkpoint that arrived vouches for; all of them before the first
	Lag        time.Duration // for how long there has been a checkpoint that has not arrived; 0 for none
	Errors     int64         // attempts that failed
	Err        string        // why the last one did, "" when it went well
	Refused    bool          // the witness saw another history than the log shows
}

// place is where checkpoints are carried to. Each is used by one goroutine.
type place interface {
	// carry returns when c is safe there, or with the reason why it is not. It must end when ctx does, as far as the
	// system lets it.
	carry(ctx context.Context, c audit.Checkpoint) error
}

// Anchors are all places that the checkpoints of one log are carried to.
type Anchors struct {
	runners []*runner
	log     *slog.Logger
	stop    chan struct{}   // closed by Close
	ctx     context.Context // of every attempt; ended by Close after its bound
	cancel  context.CancelFunc
	client  *client
	running sync.WaitGroup
}

// Start takes up all places, with the newest checkpoint at once.
func Start(o Options) *Anchors {
	if o.Every == 0 {
		o.Every = time.Minute
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.retry == 0 {
		o.retry = firstRetry
	}
	a := &Anchors{log: o.Logger, stop: make(chan struct{}), client: newClient(o.Version)}
	a.ctx, a.cancel = context.WithCancel(context.Background())
	a.places(&o)
	for _, r := range a.runners {
		a.running.Go(r.run)
	}
	return a
}

// places makes a runner for each place.
func (a *Anchors) places(o *Options) {
	add := func(kind, name string, p place) {
		a.runners = append(a.runners, newRunner(a, o, kind, name, p))
	}
	if o.File != "" {
		add(KindFile, o.File, file(o.File))
	}
	if o.Stdout != nil {
		add(KindStdout, "stdout", &printer{o.Stdout})
	}
	if o.Webhook != "" {
		add(KindWebhook, hostOf(o.Webhook), &webhook{o.Webhook, a.client})
	}
	for _, w := range o.Witnesses {
		add(KindWitness, w.Key.Name(), newWitness(w, o.Log, a.client))
	}
}

// List tells how each place fares, in the order of Options. It does no I/O.
func (a *Anchors) List() []Status {
	all := make([]Status, 0, len(a.runners))
	for _, r := range a.runners {
		all = append(all, r.status(time.Now()))
	}
	return all
}

// Close carries the newest checkpoint to every place that has not got it, and returns when all have, or failed, or ctx is
// done. Close it between Stop and Close of the log.
func (a *Anchors) Close(ctx context.Context) {
	close(a.stop)
	ended := make(chan struct{})
	go a.wait(ended)
	select {
	case <-ended:
	case <-ctx.Done():
		a.cancel()
		select {
		case <-ended:
		case <-time.After(grace):
			a.log.Warn("an anchor is stuck and was left behind") // a write that nothing can end
		}
	}
	a.cancel()
	a.client.close()
}

// grace is for attempts to end whose context did.
const grace = time.Second

func (a *Anchors) wait(ended chan<- struct{}) {
	a.running.Wait()
	close(ended)
}
