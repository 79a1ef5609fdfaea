package audit

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"postern/proxy"
)

func TestMain(m *testing.M) {
	if scene := os.Getenv(sceneEnv); scene != "" {
		os.Exit(play(scene)) // this is a child that a test started
	}
	goleak.VerifyTestMain(m)
}

// openLog opens a log in a directory of its own, and closes it when the test ends. Whatever the test has done to it, the log
// must verify then, unless the test has disowned it.
func openLog(t testing.TB, o Options) *Log {
	t.Helper()
	if o.Path == "" {
		o.Path = filepath.Join(t.TempDir(), "audit.db")
	}
	if o.statfs == nil {
		o.statfs = roomy
	}
	l, err := Open(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		l.Close()
		if _, err := os.Stat(disowned(o.Path)); err != nil && !t.Failed() {
			wantGood(t, VerifyOptions{Path: o.Path, Full: true})
		}
	})
	return l
}

// disown tells openLog that the test has made the log one that does not verify.
func disown(t testing.TB, path string) {
	t.Helper()
	if err := os.WriteFile(disowned(path), nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

func disowned(path string) string { return path + ".disowned" }

// roomy is a disk of a terabyte that nobody has used.
func roomy(string) (capacity, error) { return capacity{free: 1 << 40}, nil }

// keep records events and waits for the last.
func keep(t testing.TB, l *Log, events ...proxy.Event) {
	t.Helper()
	var last proxy.Receipt
	for _, ev := range events {
		last = l.Record(ev)
	}
	if err := last.Wait(); err != nil {
		t.Fatal(err)
	}
}

func newID() proxy.SessionID { return proxy.NewSessionID(time.Now()) }

func connect(id proxy.SessionID) proxy.Event {
	return proxy.Event{
		Session: id, Time: time.Now(), Kind: proxy.KindConnect,
		Peer: netip.MustParseAddrPort("192.0.2.7:4711"), Listener: "pop3s", Backend: "127.0.0.1:110",
		Text: "ready", TLS: &proxy.TLS{Version: "TLS 1.3", Cipher: "TLS_AES_128_GCM_SHA256", ALPN: "pop3"},
	}
}

func command(id proxy.SessionID, verb, arg, status string) proxy.Event {
	return proxy.Event{
		Session: id, Time: time.Now(), Kind: proxy.KindCommand, Verb: verb, Arg: arg, Status: status,
	}
}

func login(id proxy.SessionID, user, outcome string) proxy.Event {
	ev := command(id, "PASS", proxy.Redacted, "+OK")
	ev.User, ev.Mechanism, ev.Login = user, "USER", outcome
	return ev
}

func end(id proxy.SessionID) proxy.Event {
	return proxy.Event{
		Session: id, Time: time.Now(), Kind: proxy.KindEnd, Side: proxy.SideClient, Detail: "quit",
		Received: 64, Sent: 4096, Duration: time.Second,
	}
}

func dele(id proxy.SessionID, n int64) proxy.Event {
	ev := command(id, "DELE", fmt.Sprint(n), "+OK")
	ev.Message, ev.UID = n, fmt.Sprintf("uid-%d", n)
	return ev
}

// records returns everything in the database, read by a connection of its own.
func records(t testing.TB, path string) []Record {
	t.Helper()
	r, err := OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	recs, err := r.Records(context.Background(), 0, maxRecords, Filter{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range recs {
		if recs[i].Seq != int64(i+1) {
			t.Fatalf("record %d has number %d", i+1, recs[i].Seq)
		}
	}
	return recs
}

// story is the kinds, and the details where they matter, of what is in the database.
func story(recs []Record) string {
	var b strings.Builder
	for _, r := range recs {
		fmt.Fprintf(&b, " %s", r.Kind)
		switch r.Kind {
		case proxy.KindCommand:
			fmt.Fprintf(&b, ":%s", r.Verb)
		case proxy.KindDelete:
			fmt.Fprintf(&b, ":%d:%s", r.Message, r.Detail)
		case proxy.KindEnd, proxy.KindState:
			fmt.Fprintf(&b, ":%s", r.Detail)
		}
	}
	return strings.TrimSpace(b.String())
}

func wantStory(t *testing.T, path, want string) {
	t.Helper()
	if got := story(records(t, path)); got != want {
		t.Errorf("the log tells\n  %s\nwant\n  %s", got, want)
	}
}

func TestPragmasAreInForce(t *testing.T) {
	s, err := openStore(filepath.Join(t.TempDir(), "audit.db"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	for query, want := range map[string]any{
		"PRAGMA journal_mode":   "wal",
		"PRAGMA synchronous":    int64(2),
		"PRAGMA busy_timeout":   int64(5000),
		"PRAGMA application_id": int64(applicationID),
		"PRAGMA user_version":   int64(schemaVersion),
	} {
		if got, err := s.value(query); err != nil || got != want {
			t.Errorf("%s = %v, %v, want %v", query, got, err, want)
		}
	}
}

func TestReceiptMeansVisible(t *testing.T) {
	l := openLog(t, Options{Version: "v1"})
	r, err := OpenReader(l.opts.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	id := newID()
	keep(t, l, connect(id))
	for range 50 {
		keep(t, l, command(id, "NOOP", "", "+OK"))
		seq, err := r.LastSeq(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if want := l.Health().LastSeq; seq != want {
			t.Fatalf("a second connection sees %d records, want %d", seq, want)
		}
	}
	if seq := l.Health().LastSeq; seq != 52 {
		t.Errorf("last record is %d, want 52", seq)
	}
}

func TestRecordKeepsEveryField(t *testing.T) {
	l := openLog(t, Options{})
	ev := proxy.Event{
		Session: newID(), Time: time.Now(), Kind: proxy.KindCommand,
		Verb: "RETR", Arg: "1", Status: "+OK", Code: "X/Y", Text: "a\x00b\xff'", Local: true, Partial: true,
		Message: 1, UID: "u", Octets: 2, Lines: 3, Duration: 4,
		User: "bob", Mechanism: "USER", Login: proxy.LoginOK, Side: proxy.SideBackend, Detail: "d", Count: 5,
		Peer: netip.MustParseAddrPort("[2001:db8::1]:99"), Listener: "l", Backend: "b",
		TLS:      &proxy.TLS{Version: "TLS 1.3", Cipher: "c", Group: "g", SNI: "s", ALPN: "a", Resumed: true},
		Received: 6, Sent: 7,
	}
	keep(t, l, ev)
	got := records(t, l.opts.Path)[1]
	want := recordOf(&ev)
	want.Seq = 2
	if *got.TLS != *want.TLS {
		t.Errorf("TLS is %+v, want %+v", *got.TLS, *want.TLS)
	}
	if !got.Time.Equal(want.Time) {
		t.Errorf("time is %v, want %v", got.Time, want.Time)
	}
	got.TLS, want.TLS = nil, nil
	got.Time, want.Time = time.Time{}, time.Time{}
	if got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// A commit waits for sessions that the last one released, not for what they said, and not for those that have ended: here
// it would wait for an hour.
func TestCommitsWaitOnlyForWhoMayCome(t *testing.T) {
	l := openLog(t, Options{pace: time.Hour})
	a, b := newID(), newID()
	keep(t, l, connect(a))
	keep(t, l, connect(b))
	keep(t, l, command(a, "RETR", "1", ""), command(a, "RETR", "1", "+OK"))
	if l.isSharing() {
		t.Fatal("one session is alone, however many records it has")
	}
	for tries := 0; !l.isSharing(); tries++ {
		if tries == 1000 {
			t.Fatal("two sessions at work never share")
		}
		together(l, command(a, "NOOP", "", "+OK"), command(b, "NOOP", "", "+OK"))
	}
	l.Record(end(a))
	done := make(chan error)
	go func() { done <- l.Record(command(b, "NOOP", "", "+OK")).Wait() }()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(30 * time.Second):
		t.Error("a session waits for one that has ended")
	}
}

// Chores are done between commits, also when each commit is shared and the next has company.
func TestChoresGetTheirTurn(t *testing.T) {
	l := openLog(t, Options{})
	var load sync.WaitGroup
	stop := make(chan struct{})
	for range 16 {
		load.Go(func() {
			id := newID()
			keep(t, l, connect(id))
			for !isClosed(stop) {
				keep(t, l, command(id, "NOOP", "", "+OK"))
			}
		})
	}
	defer load.Wait()
	defer close(stop)
	waitFor(t, "company", l.isSharing)
	const chores = 20
	before := l.Health().Commits
	for range chores {
		if err := l.perform(t.Context(), &chore{do: func(*writer) error { return nil }}); err != nil {
			t.Fatal(err)
		}
	}
	if n := l.Health().Commits - before; n > 10*chores {
		t.Errorf("%d commits went before %d chores", n, chores)
	}
}

// Who records while a chore is done, between two commits that have company, is not forgotten.
func TestNobodyIsForgottenBehindAChore(t *testing.T) {
	l := openLog(t, Options{pace: 50 * time.Millisecond, look: time.Hour})
	a, b := newID(), newID()
	keep(t, l, connect(a), connect(b))
	for range 5 {
		work := []proxy.Event{command(a, "NOOP", "", "+OK"), command(b, "NOOP", "", "+OK")}
		waitFor(t, "company", func() bool { together(l, work...); return l.isSharing() })
		var all sync.WaitGroup
		all.Go(func() {
			l.perform(t.Context(), &chore{do: func(*writer) error {
				receipt, began := l.Record(work[0]), time.Now()
				all.Go(func() {
					receipt.Wait()
					if took := time.Since(began); took > 500*time.Millisecond {
						t.Errorf("a session waited for %v", took)
					}
				})
				return nil
			}})
		})
		time.Sleep(5 * time.Millisecond) // the writer waits for company, the chore for the writer
		together(l, work...)
		all.Wait()
	}
}

// A cosignature does not wait for a record that may come.
func TestCosignatureNeedsNoCompany(t *testing.T) {
	l := openLog(t, Options{Durability: Relaxed, look: time.Hour})
	keep(t, l, connect(newID()))
	waitFor(t, "a commit", func() bool { return l.Health().Commits == 2 })
	c, _ := l.Newest()
	w := newCosigner(t, "w")
	began := time.Now()
	if err := l.Cosign(t.Context(), c.Size, w.sign(textOf(c), 5)); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > 10*RelaxedWindow {
		t.Errorf("it took %v", took)
	}
}

// together records events of sessions that wait for them side by side.
func together(l *Log, events ...proxy.Event) {
	var all sync.WaitGroup
	for _, ev := range events {
		r := l.Record(ev)
		all.Go(func() { r.Wait() })
	}
	all.Wait()
}

func TestCommitsAreShared(t *testing.T) {
	l := openLog(t, Options{})
	const recorders, each = 64, 20
	var wg sync.WaitGroup
	for range recorders {
		wg.Go(func() {
			id := newID()
			keep(t, l, connect(id))
			for n := range int64(each) {
				ev := command(id, "NOOP", "", "+OK")
				ev.Message = n
				keep(t, l, ev)
			}
		})
	}
	wg.Wait()
	h := l.Health()
	if h.Records != 1+recorders*(each+1) {
		t.Errorf("%d records, want %d", h.Records, 1+recorders*(each+1))
	}
	if h.Commits > h.Records/4 {
		t.Errorf("%d commits for %d records: they are not shared", h.Commits, h.Records)
	}
	next := map[proxy.SessionID]int64{}
	for _, r := range records(t, l.opts.Path) {
		if r.Kind == proxy.KindCommand {
			if r.Message != next[r.Session] {
				t.Fatalf("session %v: event %d where %d was due", r.Session, r.Message, next[r.Session])
			}
			next[r.Session]++
		}
	}
}

func TestWALStaysSmall(t *testing.T) {
	l := openLog(t, Options{Durability: Relaxed})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		for range l.Reader().Tail(ctx, 0, Filter{Session: 1}) { // waits all the time
		}
	})
	ev := command(newID(), "LIST", strings.Repeat("x", 500), "+OK")
	for range 40_000 {
		l.Record(ev)
	}
	cancel()
	wg.Wait()
	info, err := os.Stat(l.opts.Path + "-wal")
	if err != nil || info.Size() > 20<<20 {
		t.Errorf("the WAL has %d octets, %v", info.Size(), err)
	}
}

func TestQueueIsBounded(t *testing.T) {
	l := openLog(t, Options{Durability: Relaxed})
	id := newID()
	keep(t, l, connect(id))
	for range 2 * queueSize {
		if n := l.Health().Queue; n > queueSize {
			t.Fatalf("%d events wait", n)
		}
		l.Record(command(id, "NOOP", "", "+OK"))
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := OpenReader(l.opts.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if seq, err := r.LastSeq(t.Context()); err != nil || seq != 2*queueSize+3 {
		t.Errorf("last record is %d, %v, want %d", seq, err, 2*queueSize+3)
	}
}

func TestRelaxedDoesNotWait(t *testing.T) {
	l := openLog(t, Options{Durability: Relaxed, Version: "v2"})
	keep(t, l, connect(newID())) // the first commit after a pause begins at once: not this one
	start := time.Now()
	keep(t, l, connect(newID()))
	if d := time.Since(start); d > RelaxedWindow/2 {
		t.Errorf("waited %v", d)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	wantStory(t, l.opts.Path, "start connect connect stop")
	const want = "version=v2 model=2 durability=relaxed window=50ms on_failure=refuse"
	if got := records(t, l.opts.Path)[0].Detail; got != want {
		t.Errorf("start says %q, want %q", got, want)
	}
}

func TestCloseEmptiesTheWAL(t *testing.T) {
	l := openLog(t, Options{})
	id := newID()
	l.Record(connect(id))
	receipt := l.Record(end(id))
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := receipt.Wait(); err != nil {
		t.Errorf("an event before Close: %v", err)
	}
	if err := l.Record(connect(newID())).Wait(); !errors.Is(err, proxy.ErrNotRecorded) || !errors.Is(err, ErrClosed) {
		t.Errorf("an event after Close: %v", err)
	}
	if _, err := os.Stat(l.opts.Path + "-wal"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the WAL is still there: %v", err)
	}
	wantStory(t, l.opts.Path, "start connect end:quit stop")
	if err := l.Close(); err != nil {
		t.Errorf("closing twice: %v", err)
	}
}

func TestFilesArePrivate(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0o022))
	l := openLog(t, Options{})
	keep(t, l, connect(newID()))
	for _, suffix := range []string{"", "-wal", "-shm", ".lock"} {
		info, err := os.Stat(l.opts.Path + suffix)
		if err != nil {
			t.Fatal(err)
		}
		if mode := info.Mode().Perm(); mode != 0o600 {
			t.Errorf("%s has mode %o", info.Name(), mode)
		}
	}
}

func TestSecondWriterIsRefused(t *testing.T) {
	l := openLog(t, Options{})
	_, err := Open(t.Context(), Options{Path: l.opts.Path})
	if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), fmt.Sprintf("(process %d)", os.Getpid())) {
		t.Errorf("a second writer got: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	openLog(t, Options{Path: l.opts.Path})
}

func TestForeignFilesAreRefused(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, []byte(strings.Repeat("dear diary\n", 500)), 0o600); err != nil {
		t.Fatal(err)
	}
	other, newer := filepath.Join(dir, "other.db"), filepath.Join(dir, "newer.db")
	execute(t, other, "CREATE TABLE songs(title)")
	openLog(t, Options{Path: newer}).Close()
	execute(t, newer, "PRAGMA user_version = 99")
	for path, want := range map[string]error{text: ErrNotALog, other: ErrNotALog, newer: ErrNewer} {
		if _, err := Open(t.Context(), Options{Path: path}); !errors.Is(err, want) {
			t.Errorf("Open %s: %v, want %v", path, err, want)
		}
		if _, err := OpenReader(path); !errors.Is(err, want) {
			t.Errorf("OpenReader %s: %v, want %v", path, err, want)
		}
	}
	if mode := ask(t, other, "PRAGMA journal_mode"); mode != "delete" {
		t.Errorf("the journal mode of another program's database is now %q", mode)
	}
	if _, err := OpenReader(filepath.Join(dir, "none.db")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("OpenReader without a file: %v", err)
	}
}

func TestPathMayHoldAnything(t *testing.T) {
	path := filepath.Join(t.TempDir(), "100% ?mode=ro#ü.db")
	l := openLog(t, Options{Path: path})
	keep(t, l, connect(newID()))
	wantStory(t, path, "start connect")
}

// execute runs SQL on the database at path, as a meddler would.
func execute(t testing.TB, path, query string) {
	t.Helper()
	disown(t, path)
	if err := create(path); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite3", dsn(path, ""))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(query); err != nil {
		t.Fatal(err)
	}
}

func ask(t testing.TB, path, query string) (answer string) {
	t.Helper()
	db, err := sql.Open("sqlite3", dsn(path, ""))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.QueryRow(query).Scan(&answer); err != nil {
		t.Fatal(err)
	}
	return answer
}
