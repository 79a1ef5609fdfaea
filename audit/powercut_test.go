package audit

import (
	"context"
	"encoding/binary"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"postern/proxy"
)

// A power cut is played in two parts. A child runs the log under load behind faults.so, which writes down every write
// and sync as SQLite makes them; the child adds every promise it was given. The parent then cuts the power at many points
// of that history: of what was not synced by then, only some sectors arrived. The log must open, and keep every promise.
const (
	traceEnv     = "POSTERN_FAULTS_TRACE"
	powerCuts    = 30
	powerActs    = 600 // promises that the history holds, at least
	powerOutages = 4   // in the history with syncs that fail
	sectorSize   = 512
)

// historyEntry is one line of the history.
type historyEntry struct {
	op     byte // W: write, T: truncate, U: removal, S: sync, F: sync that failed, A: promise
	file   string
	offset int64 // of a promise the number of its event
	data   []byte
}

// powerScene records under load until enough is promised. With a fault, syncs fail now and then.
func powerScene(path string) error {
	history, err := os.OpenFile(os.Getenv(traceEnv), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	l, err := Open(context.Background(), Options{Path: path, statfs: roomy})
	if err != nil {
		return err
	}
	var acts atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for acts.Load() < powerActs {
				actUntilLost(l, history, &acts)
			}
		})
	}
	if os.Getenv(faultEnv) == crashing {
		return crashAfter(l, &acts, powerActs/2)
	}
	if f, ok := knownFaults[os.Getenv(faultEnv)]; ok {
		for n := range int64(powerOutages) {
			if err := outageAfter(l, f, &acts, powerActs*(n+1)/(powerOutages+2)); err != nil {
				return err
			}
		}
	}
	wg.Wait()
	return nil // and the process ends without Close
}

// actUntilLost plays a session, and writes its promises into the history.
func actUntilLost(l *Log, history *os.File, acts *atomic.Int64) {
	id := newID()
	l.Record(connect(id))
	defer l.Record(end(id))
	for n := int64(1); n <= 40; n++ {
		ev := command(id, "NOOP", strings.Repeat("x", 2000), "+OK")
		ev.Message = n
		if l.Record(ev).Wait() != nil {
			time.Sleep(time.Millisecond)
			return
		}
		name := id.String()
		entry := append([]byte{'A', byte(len(name)), 0, 0, 0, 0}, binary.LittleEndian.AppendUint64(nil, uint64(n))...)
		if _, err := history.Write(append(entry, name...)); err != nil {
			panic(err)
		}
		acts.Add(1)
	}
}

// outageAfter fails the log for a moment when so much was promised.
func outageAfter(l *Log, f fault, acts *atomic.Int64, n int64) error {
	for acts.Load() < n {
		time.Sleep(time.Millisecond)
	}
	if err := inject(f.octets...); err != nil {
		return err
	}
	if err := await(l, func(h Health) bool { return !h.OK }); err != nil {
		return err
	}
	if err := inject(); err != nil {
		return err
	}
	return well(l)
}

// crashing is the fault of a program that ends while syncs fail. What its last commit wrote is there for the next one
// to read, and may not be on the disk.
const crashing = "crashing"

func crashAfter(l *Log, acts *atomic.Int64, n int64) error {
	for acts.Load() < n {
		time.Sleep(time.Millisecond)
	}
	if err := inject(knownFaults["unsynced"].octets...); err != nil {
		return err
	}
	err := await(l, func(h Health) bool { return !h.OK })
	if err == nil {
		os.Exit(0)
	}
	return err
}

func TestPowerCut(t *testing.T) {
	library := compileFaults(t)
	for _, fault := range []string{"none", "unsynced", "torn", crashing} {
		t.Run(fault, func(t *testing.T) {
			f := newFaults(t, library)
			f.run(t, "power", traceEnv+"="+f.trace, faultEnv+"="+fault)
			if fault == crashing {
				f.run(t, "power", traceEnv+"="+f.trace, faultEnv+"=none")
			}
			f.wantSeen(t)
			history := readHistory(t, f.trace)
			key, err := os.ReadFile(filepath.Join(f.dir, "audit.key"))
			if err != nil {
				t.Fatal(err)
			}
			cutPower(t, history, key)
		})
	}
}

func readHistory(t *testing.T, path string) (all []historyEntry) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const head = 14
	for len(b) > 0 {
		name, size := int(b[1]), int(binary.LittleEndian.Uint32(b[2:]))
		e := historyEntry{op: b[0], offset: int64(binary.LittleEndian.Uint64(b[6:])), file: string(b[head : head+name])}
		e.data = b[head+name : head+name+size]
		all = append(all, e)
		b = b[head+name+size:]
	}
	return all
}

// cutPower walks through the history and cuts the power at random points of it.
func cutPower(t *testing.T, history []historyEntry, key []byte) {
	t.Helper()
	first := 0
	counts := map[byte]int{}
	for i, e := range history {
		if counts[e.op]++; e.op == 'A' && first == 0 {
			first = i
		}
	}
	if counts['A'] < powerActs || counts['S'] < powerActs/8 || counts['W'] < counts['S'] {
		t.Fatalf("the history is too short to prove anything: %v", counts)
	}
	dice := rand.New(rand.NewPCG(1, 2))
	cuts := map[int]bool{len(history): true}
	for len(cuts) < powerCuts {
		cuts[first+dice.IntN(len(history)-first)] = true
	}
	disk := platter{dice: dice, files: map[string]*cached{}}
	for i := range len(history) + 1 {
		if cuts[i] {
			disk.wantWhole(t, i, key)
		}
		if i < len(history) && !t.Failed() {
			disk.play(history[i])
		}
	}
}

// platter is a disk with a cache above it.
type platter struct {
	dice  *rand.Rand
	files map[string]*cached
	promises
}

// cached is a file: what is on the disk, and what was written since its last sync.
type cached struct {
	disk    []byte
	pending []historyEntry
}

// play lets one thing happen.
func (p *platter) play(e historyEntry) {
	if e.op == 'A' {
		id, err := proxy.ParseSessionID(e.file)
		if err != nil {
			panic(err)
		}
		if p.to == nil {
			p.to = map[proxy.SessionID]int64{}
		}
		p.to[id] = e.offset
		return
	}
	f := p.files[e.file]
	if f == nil {
		f = new(cached)
		p.files[e.file] = f
	}
	switch e.op {
	case 'U': // of the journal from before there was a WAL, whose first sync is the directory's, too
		delete(p.files, e.file)
	case 'S':
		for _, w := range f.pending {
			f.disk = applied(f.disk, w)
		}
		f.pending = nil
	case 'F': // what was to be written counts as written from now on, whether it was or not
		f.disk = p.some(f.disk, f.pending)
		f.pending = nil
	default:
		f.pending = append(f.pending, e)
	}
}

// applied returns a file after a write or a truncation.
func applied(file []byte, e historyEntry) []byte {
	if e.op == 'T' {
		return resized(file, e.offset)
	}
	end := e.offset + int64(len(e.data))
	file = resized(file, max(end, int64(len(file))))
	copy(file[e.offset:end], e.data)
	return file
}

func resized(file []byte, size int64) []byte {
	if more := size - int64(len(file)); more > 0 {
		return append(file, make([]byte, more)...)
	}
	return file[:size]
}

// some returns a file when of what was written only some has arrived: all or none of a write, or some of its sectors.
func (p *platter) some(file []byte, pending []historyEntry) []byte {
	chance := p.dice.IntN(4) // of four; in one of four cuts nothing has arrived
	for _, e := range pending {
		if e.op == 'T' || p.dice.IntN(2) == 0 {
			if p.dice.IntN(4) < chance {
				file = applied(file, e)
			}
			continue
		}
		for at := int64(0); at < int64(len(e.data)); {
			size := min(sectorSize-(e.offset+at)%sectorSize, int64(len(e.data))-at)
			if p.dice.IntN(4) < chance {
				file = applied(file, historyEntry{op: 'W', offset: e.offset + at, data: e.data[at : at+size]})
			}
			at += size
		}
	}
	return file
}

// wantWhole cuts the power, opens the log and checks that nothing that was promised is missing.
func (p *platter) wantWhole(t *testing.T, cut int, key []byte) {
	t.Helper()
	dir := t.TempDir()
	write := func(name string, b []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range sortedNames(p.files) {
		f := p.files[name]
		write(name, p.some(append([]byte(nil), f.disk...), f.pending))
	}
	write("audit.key", key)
	path := filepath.Join(dir, "audit.db")
	l, err := Open(t.Context(), Options{Path: path, statfs: roomy})
	if err != nil {
		t.Fatalf("cut at %d: %v", cut, err)
	}
	if err := l.Close(); err != nil {
		t.Fatalf("cut at %d: %v", cut, err)
	}
	wantKept(t, path, p.promises)
	wantSealed(t, path)
	if got := ask(t, path, "PRAGMA integrity_check"); got != "ok" {
		t.Errorf("integrity check: %s", got)
	}
	if t.Failed() {
		t.Fatalf("cut at %d of the history", cut)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
}

// sortedNames is for the dice: one seed must cut alike each time.
func sortedNames(files map[string]*cached) []string {
	return slices.Sorted(maps.Keys(files))
}
