package audit

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"postern/proxy"
)

// states tells the changes of the log's state that are on record, in order.
func states(t *testing.T, path string) string {
	t.Helper()
	var names []string
	for _, r := range records(t, path) {
		if r.Kind == proxy.KindState {
			names = append(names, r.Detail)
		}
	}
	return strings.Join(names, " ")
}

// awaitStates waits until the log's changes of state are these.
func awaitStates(t *testing.T, path, want string) {
	t.Helper()
	for range 2000 {
		if states(t, path) == want {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("the log was %q, want %q", states(t, path), want)
}

// disk is a file system of 1,000 MiB for Options.statfs.
type disk struct{ used atomic.Int64 }

func (d *disk) statfs(string) (capacity, error) {
	used := d.used.Load()
	return capacity{used: used << 20, free: (1000 - used) << 20}, nil
}

// journal gathers lines of the program's log.
type journal struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buf.Write(p)
}

func (j *journal) count(text string) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Count(j.buf.String(), text)
}

func (j *journal) logger() *slog.Logger { return slog.New(slog.NewTextHandler(j, nil)) }

func TestSpaceIsWatched(t *testing.T) {
	var d disk
	var j journal
	l := openLog(t, Options{statfs: d.statfs, look: 50 * time.Millisecond, Logger: j.logger()})
	told := ""
	for _, step := range []struct {
		used  int64
		level string // "" when nothing is to change
	}{
		{500, ""}, {760, SpaceLow}, {740, ""}, {910, SpaceCritical}, {890, ""}, {870, SpaceLow}, {720, SpaceOK}, {950, SpaceCritical}, {100, SpaceOK},
	} {
		d.used.Store(step.used)
		if err := await(l, func(h Health) bool { return h.Space.Free == (1000-step.used)<<20 }); err != nil {
			t.Fatal(err)
		}
		if step.level != "" {
			told = strings.TrimSpace(told + " " + step.level)
			if level := l.Health().Space.Level; level != step.level {
				t.Errorf("%d %%: the level is %q, want %q", step.used/10, level, step.level)
			}
		}
		awaitStates(t, l.opts.Path, told)
	}
	if h := l.Health(); !h.OK || h.Space.Used != 0.1 || h.Space.Reserve != defaultReserve {
		t.Errorf("health: %+v", h)
	}
	if warned, well := j.count("space runs out"), j.count("has space again"); warned != 4 || well != 2 {
		t.Errorf("warned %d times, well %d times:\n%s", warned, well, j.buf.String())
	}
	for _, r := range records(t, l.opts.Path) {
		if r.Detail == SpaceLow && !strings.Contains(r.Text, "% of the space of "+strings.TrimSuffix(l.opts.Path, "/audit.db")) {
			t.Errorf("the record says %q", r.Text)
		}
	}
}

// A run that finds the disk so says it at once, and records nothing: nothing has changed.
func TestSpaceAtStart(t *testing.T) {
	var d disk
	var j journal
	d.used.Store(910)
	l := openLog(t, Options{statfs: d.statfs, look: 20 * time.Millisecond, Logger: j.logger()})
	if err := await(l, func(h Health) bool { return h.Space.Level == SpaceCritical && j.count("space runs out") == 1 }); err != nil {
		t.Fatal(err)
	}
	if got := states(t, l.opts.Path); got != "" {
		t.Errorf("the log was %q", got)
	}
	d.used.Store(100)
	awaitStates(t, l.opts.Path, SpaceOK)
}

func TestSpaceWithin(t *testing.T) {
	c := capacity{used: 100, free: 300}
	for _, test := range []struct {
		room, size int64
		want       Space
	}{
		{0, 999, Space{Used: 0.25, Free: 300}},
		{200, 160, Space{Used: 0.8, Free: 40}},
		{1000, 10, Space{Used: 0.25, Free: 300}},
		{100, 120, Space{Used: 1.2, Free: 0}},
	} {
		if got := c.within(test.room, test.size); got != test.want {
			t.Errorf("%d of %d octets: %+v, want %+v", test.size, test.room, got, test.want)
		}
	}
	if got := (capacity{}).within(0, 0); got != (Space{}) {
		t.Errorf("a file system that tells nothing: %+v", got)
	}
}

func TestSpeed(t *testing.T) {
	s := speed{limit: time.Second}
	now := time.Now()
	for i, step := range []struct {
		after, took time.Duration
		slow        bool
	}{
		{0, 900 * time.Millisecond, false},
		{time.Second, 1100 * time.Millisecond, false},
		{time.Second, 1100 * time.Millisecond, false},
		{time.Second, 500 * time.Millisecond, false}, // the row is broken
		{time.Second, 1100 * time.Millisecond, false},
		{time.Second, 1100 * time.Millisecond, false},
		{time.Second, 1100 * time.Millisecond, true},
		{19 * time.Second, time.Millisecond, true},
		{500 * time.Millisecond, time.Second, true}, // again
		{19 * time.Second, time.Millisecond, true},
		{time.Second, time.Millisecond, false},
		{time.Second, 4 * time.Second, true}, // one is enough
	} {
		now = now.Add(step.after)
		was := s.slow
		if changed := s.add(now, step.took); s.slow != step.slow || changed != (was != step.slow) {
			t.Errorf("step %d: slow is %v and changed %v, want %v", i, s.slow, changed, step.slow)
		}
	}
}

func TestSlowIsTold(t *testing.T) {
	var j journal
	l := openLog(t, Options{slow: 30 * time.Millisecond, Logger: j.logger()})
	release := lockDatabase(t, l.opts.Path)
	receipt := l.Record(connect(newID()))
	time.Sleep(verySlow * 40 * time.Millisecond)
	release()
	if err := receipt.Wait(); err != nil {
		t.Fatal(err)
	}
	if err := await(l, func(h Health) bool { return h.Slow }); err != nil {
		t.Fatal(err)
	}
	awaitStates(t, l.opts.Path, LogSlow)
	for i := 0; l.Health().Slow; i++ {
		keep(t, l, command(newID(), "NOOP", "", "+OK"))
		if time.Sleep(10 * time.Millisecond); i > 3000 {
			t.Fatal("the log stays slow")
		}
	}
	if got := states(t, l.opts.Path); !strings.Contains(got, LogSlow) {
		t.Errorf("the log was %q", got)
	}
	h := l.Health()
	if n := h.Latency.Count; n < 2 || h.Latency.Under[len(latencyBounds)-1] != n || h.Latency.Under[5] == n || h.Latency.Sum <= 0 {
		t.Errorf("latency: %+v", h.Latency)
	}
	if j.count("audit log is slow") == 0 || j.count("fast again") == 0 {
		t.Errorf("the program's log:\n%s", j.buf.String())
	}
}

// What takes the database away, or puts another in its place, must not go unseen: SQLite would write on into a file
// without a name.
func TestRemovedDatabase(t *testing.T) {
	l := openLog(t, Options{})
	id := newID()
	keep(t, l, connect(id))
	if err := await(l, func(h Health) bool { return h.Space.Level != "" }); err != nil { // the first look
		t.Fatal(err)
	}
	path := l.opts.Path
	for _, suffix := range []string{"", "-wal"} {
		if err := os.Rename(path+suffix, path+suffix+".away"); err != nil {
			t.Fatal(err)
		}
	}
	if err := await(l, func(h Health) bool { return !h.OK }); err != nil {
		t.Fatal(err)
	}
	if err := l.Record(command(id, "NOOP", "", "+OK")).Wait(); !errors.Is(err, proxy.ErrNotRecorded) || !strings.Contains(err.Error(), "put back") {
		t.Errorf("a command without a database: %v", err)
	}
	time.Sleep(3 * firstBackoff)
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a database was made anew: %v", err)
	}
	for _, suffix := range []string{"", "-wal"} {
		if err := os.Rename(path+suffix+".away", path+suffix); err != nil {
			t.Fatal(err)
		}
	}
	if err := well(l); err != nil {
		t.Fatal(err)
	}
	keep(t, l, connect(newID()))
	wantStory(t, path, "start connect state:failing gap gap state:recovered connect")
}

// What is to be recorded of the log's state is not lost to a chore that follows at once.
func TestAChoreLosesNoState(t *testing.T) {
	l := openLog(t, Options{})
	err := l.perform(t.Context(), &chore{alone: func(w *writer) error {
		w.turn(proxy.Event{Time: time.Now(), Kind: proxy.KindConfig})
		w.timed(verySlow * slowCommit) // as turn does when it took so long
		c := &chore{do: func(w *writer) error { return nil }, done: make(chan error, 1)}
		w.chore = c
		w.work()
		return <-c.done
	}})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if got := states(t, l.opts.Path); got != "slow" {
		t.Errorf("the states are %q", got)
	}
}
