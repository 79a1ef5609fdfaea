package audit

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"postern/proxy"
)

// wantVerified has the log verified, beside what wantSound looks at.
func wantVerified(t testing.TB, path string) {
	t.Helper()
	wantSound(t, path)
	v, err := Verify(t.Context(), VerifyOptions{Path: path, Full: true})
	if err != nil || len(v.Findings) > 0 {
		t.Errorf("verification found %+v, %v", v, err)
	}
}

// TestRandomRetention runs random rules on random sessions under random holds, some while they run, and looks after each run:
// the log verifies, what is held is as it was, and what is not held and old enough has lost what the rules take.
func TestRandomRetention(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { playRandom(t, rand.New(rand.NewPCG(seed, 7))) })
	}
}

var randomUsers = []string{"ada", "bob", "Eve", "joe@example.org"}

// randomAge is an age in whole days and a half: never just at a rule's border.
func randomAge(r *rand.Rand) time.Duration { return time.Duration(r.IntN(400))*day + day/2 }

func randomRules(r *rand.Rand) (rules Rules) {
	for _, age := range []*time.Duration{&rules.Sessions, &rules.Messages, &rules.Addresses, &rules.Users} {
		if r.IntN(3) > 0 {
			*age = time.Duration(1+r.IntN(400)) * day
		}
	}
	return rules
}

func randomScope(r *rand.Rand, now time.Time) (s Scope) {
	if r.IntN(2) == 0 {
		s.User = randomUsers[r.IntN(len(randomUsers))]
	}
	if s.User == "" || r.IntN(2) == 0 {
		s.Since = now.Add(-randomAge(r)).UTC()
		s.Until = s.Since.Add(time.Duration(1+r.IntN(90)) * day)
	}
	return s
}

// covers tells, in its own way, whether s covers v.
func (v visit) coveredBy(s Scope) bool {
	return (s.User == "" || s.User == v.user) && (s.Since.IsZero() || !v.at.Add(6*time.Second).Before(s.Since)) &&
		(s.Until.IsZero() || v.at.Before(s.Until))
}

func playRandom(t *testing.T, r *rand.Rand) {
	now := time.Now()
	path := filepath.Join(t.TempDir(), "audit.db")
	l := openLog(t, Options{Path: path})
	var visits []visit
	for range 60 {
		v := visit{at: now.Add(-randomAge(r)), user: randomUsers[r.IntN(len(randomUsers))], open: r.IntN(8) == 0}
		if r.IntN(2) == 0 {
			v.peer = "[2001:db8:1:2::3]:4711"
		}
		v.id = v.play(t, l)
		visits = append(visits, v)
		if r.IntN(4) == 0 {
			probe(t, l, now.Add(-randomAge(r)))
		}
	}
	holds := make(map[int64]Scope)
	for range 3 {
		rules := randomRules(r)
		if err := l.Close(); err != nil { // sessions that were open end now
			t.Fatal(err)
		}
		l = openLog(t, Options{Path: path, Retention: rules})
		for range r.IntN(3) {
			h := holdIt(t, l, randomScope(r, now))
			holds[h.ID] = h.Scope
		}
		for id := range holds {
			if r.IntN(4) == 0 {
				if _, err := l.ReleaseHold(t.Context(), id, "root", ""); err != nil {
					t.Fatal(err)
				}
				delete(holds, id)
			}
		}
		before := make(map[proxy.SessionID]string)
		for _, v := range visits {
			before[v.id] = visitOf(t, l.Reader(), v.id)
		}
		retain(t, l)
		for i := range visits {
			checkVisit(t, l, &visits[i], before[visits[i].id], holds, rules, now)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		wantVerified(t, path)
		l = openLog(t, Options{Path: path})
	}
}

func checkVisit(t *testing.T, l *Log, v *visit, before string, holds map[int64]Scope, rules Rules, now time.Time) {
	t.Helper()
	after := visitOf(t, l.Reader(), v.id)
	held := v.open // it was ended by the first Close, just now
	for _, s := range holds {
		held = held || v.coveredBy(s)
	}
	if held {
		if after != before {
			t.Errorf("session %s at %s of %s, which is held or young, is\n%s\nand was\n%s", v.id, v.at, v.user, after, before)
		}
		return
	}
	old := func(age time.Duration) bool { return age > 0 && v.at.Add(6*time.Second).Before(now.Add(-age)) }
	if before == "[]" || old(rules.Sessions) {
		if after != "[]" {
			t.Errorf("of session %s, which is old, is left %s", v.id, after)
		}
		return
	}
	retr, begin := left(t, l.Reader(), v.id, "RETR"), left(t, l.Reader(), v.id, "connect")
	if old(rules.Messages) && (retr.UID != "" || retr.Mail != nil) || old(rules.Addresses) && begin.Peer.Port() != 0 ||
		old(rules.Users) && (retr.User == v.user || left(t, l.Reader(), v.id, "USER").Arg != "") {
		t.Errorf("of session %s is left %+v", v.id, retr)
	}
}

// retainScene runs the rules on a log until it is killed, or they have run.
func retainScene(path string) error {
	l, err := Open(context.Background(), Options{Path: path, Retention: Rules{Sessions: 365 * day, Addresses: 90 * day}})
	if err != nil {
		return err
	}
	fmt.Println("running")
	if _, err := l.Retain(context.Background(), "root"); err != nil {
		return err
	}
	return l.Close()
}

// TestKilledRetention kills a run at any moment: what is left verifies, and the next run goes on.
func TestKilledRetention(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.db")
	fillOld(t, path, 1500, 400*day)
	l := openLog(t, Options{Path: path})
	kept := visit{at: time.Now().Add(-100 * day), user: "ada"}.play(t, l)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for round := range 6 {
		if killRetention(t, path, time.Duration(round*round)*8*time.Millisecond) {
			break
		}
		wantVerified(t, path)
	}
	l = openLog(t, Options{Path: path, Retention: Rules{Sessions: 365 * day, Addresses: 90 * day}})
	if _, err := l.Retain(t.Context(), "root"); err != nil {
		t.Fatal(err)
	}
	if got := left(t, l.Reader(), kept, "RETR").Peer.String(); got != "192.0.2.0:0" {
		t.Errorf("the address is %s", got)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	wantVerified(t, path)
	if got := ask(t, path, "SELECT count(*) FROM sessions"); got != "1" {
		t.Errorf("%s sessions are left", got)
	}
}

// killRetention kills a run after that time, and reports whether it was too late.
func killRetention(t *testing.T, path string, after time.Duration) (ended bool) {
	t.Helper()
	cmd := child(t, "retain", path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	time.Sleep(after)
	cmd.Process.Signal(os.Kill)
	err = cmd.Wait()
	_, killed := err.(*exec.ExitError)
	return !killed
}

// A session of more records than one transaction may take is taken piece by piece, and its row follows.
func TestLargeSessionsGoPieceByPiece(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.db")
	l := openLog(t, Options{Path: path, Durability: Relaxed, Retention: Rules{Addresses: 90 * day}})
	at := time.Now().Add(-100 * day)
	id := proxy.NewSessionID(at)
	begin := connect(id)
	begin.Time = at
	l.Record(begin)
	in := login(id, "ada", proxy.LoginOK)
	in.Time = at
	l.Record(in)
	for range 2*pieceRecords + 100 {
		ev := command(id, "NOOP", "", "+OK")
		ev.Time = at
		l.Record(ev)
	}
	last := end(id)
	last.Time = at
	l.Record(last)
	if got := shorts(retain(t, l)); got != fmt.Sprintf("addresses %d/1 held 0", 2*pieceRecords+103) {
		t.Errorf("a run took %s", got)
	}
	if n := ask(t, path, "SELECT count(*) FROM records WHERE kind = 'retention'"); n != "3" {
		t.Errorf("%s transactions", n)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	wantVerified(t, path)
	l = openLog(t, Options{Path: path, Retention: Rules{Sessions: 90 * day}})
	eraseSome(t, l)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	wantVerified(t, path)
	l = openLog(t, Options{Path: path, Retention: Rules{Sessions: 90 * day}})
	if got := shorts(retain(t, l)); got != fmt.Sprintf("sessions %d/1 held 0", pieceRecords+103) {
		t.Errorf("after a crash in the midst of it a run took %s", got)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	wantVerified(t, path)
}

// eraseSome deletes the first piece of a large session, as a run that is killed then has.
func eraseSome(t *testing.T, l *Log) {
	t.Helper()
	s, err := newSweep(t.Context(), l.reader, l.opts.Retention, l.pseudonym, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	p := &reaper{log: l, dose: dose{size: pieceRecords, least: 1, most: pieceRecords}}
	if err := p.learn(ctx, s); err != nil {
		t.Fatal(err)
	}
	err = units(ctx, l.reader.db, 0, nanos(time.Now().Add(-90*day)), func(u *unit) (bool, error) {
		upTo, err := p.nth(ctx, u, u.first)
		if err != nil {
			return false, err
		}
		var left Session
		if err := replayAfter(ctx, l.reader, proxy.SessionID(u.session), upTo, func(r *Record) { left.apply(r) }); err != nil {
			return false, err
		}
		return false, p.add(ctx, &s.rules[0], &piece{unit: u, upTo: upTo, row: &left}, mostRecords, new(Taken))
	})
	if err != nil {
		t.Fatal(err)
	}
}
