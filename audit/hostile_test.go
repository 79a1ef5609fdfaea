package audit

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"postern/proxy"
)

// rewritten is a log that somebody who can write all that lies in its directory has written anew and signed with a key of
// his own, and what was known of it before. The checkpoint that he leaves says that the log's key vouches for his.
func rewritten(t *testing.T) (path, anchor, key string) {
	t.Helper()
	path, _ = longLog(t)
	was := wantGood(t, full(path))
	anchor = filepath.Join(t.TempDir(), "anchors")
	writeAnchor(t, path, anchor)
	f := newForger(t, path)
	f.do("UPDATE records SET text = 'forged' WHERE seq = 400")
	k := f.resign(was.Origin)
	f.finish()
	if err := os.Remove(KeyPath(path)); err != nil {
		t.Fatal(err)
	}
	if err := k.write(KeyPath(path)); err != nil {
		t.Fatal(err)
	}
	wantGood(t, VerifyOptions{Path: path, Full: true, Keep: true})
	left, err := readVerified(VerifiedPath(path))
	if err != nil {
		t.Fatal(err)
	}
	left.FirstKey, left.Keys = was.Key, []string{was.Key, k.verifier}
	if err := left.write(path); err != nil {
		t.Fatal(err)
	}
	return path, anchor, was.Key
}

func TestAForgedVerifiedCheckpoint(t *testing.T) {
	path, anchor, key := rewritten(t)
	wantGood(t, VerifyOptions{Path: path}) // nothing beside the log can show it
	wantFirst(t, VerifyOptions{Path: path, Keys: []string{key}}, "meta", "name key", wasBroken)
	if v := verdict(t, VerifyOptions{Path: path, Anchors: []string{anchor}}); v.OK || v.Anchors == 0 {
		t.Errorf("%d anchors from before were compared: %v", v.Anchors, v.Findings)
	}
}

// TestALogThatGrowsUnderVerification gives it a checkpoint of records that came after it has looked for the newest: an anchor,
// or what another verification has left meanwhile.
func TestALogThatGrowsUnderVerification(t *testing.T) {
	l := openLog(t, Options{})
	stroll(l, 1, time.Now())
	grow := func() string {
		stroll(l, 2, time.Now())
		waitFor(t, "checkpoint", func() bool { h := l.Health(); return h.Signed == h.LastSeq })
		c, _ := l.Newest()
		return c.Note
	}
	anchor := filepath.Join(t.TempDir(), "anchors")
	for file, text := range map[string]func() string{
		anchor: grow,
		VerifiedPath(l.opts.Path): func() string {
			key, err := l.Reader().Verifier(t.Context())
			text, e := json.Marshal(verified{Checkpoint: grow(), FirstKey: key, Keys: []string{key}})
			if err := errors.Join(err, e); err != nil {
				t.Error(err)
			}
			return string(text)
		},
	} {
		if err := syscall.Mkfifo(file, 0o600); err != nil {
			t.Fatal(err)
		}
		fed := make(chan error, 1)
		go func() {
			f, err := os.OpenFile(file, os.O_WRONLY, 0) // returns when it is opened for reading
			if err == nil {
				_, err = f.WriteString(text())
				err = errors.Join(err, f.Close())
			}
			fed <- err
		}()
		o := VerifyOptions{Path: l.opts.Path}
		if file == anchor {
			o.Anchors = []string{anchor}
		}
		wantGood(t, o)
		if err := errors.Join(<-fed, os.Remove(file)); err != nil {
			t.Error(err)
		}
	}
}

// TestEarlierAnchorsAreCompared goes on behind all anchors: they must fit what is not looked at again, and do.
func TestEarlierAnchorsAreCompared(t *testing.T) {
	path, _ := longLog(t)
	anchor := filepath.Join(t.TempDir(), "anchors")
	writeAnchor(t, path, anchor)
	o := VerifyOptions{Path: path, Keep: true, Anchors: []string{anchor}}
	all := wantGood(t, o).Anchors
	if v := wantGood(t, o); v.Anchors != all || v.First < 512 {
		t.Errorf("from %d on, %d anchors of %d", v.First, v.Anchors, all)
	}
	f := newForger(t, path)
	f.do("UPDATE records SET hash = zeroblob(32) WHERE seq = 300")
	wantFirst(t, o, "blocks", "level 1 n 1", wasAltered)
	f.rehash()
	f.do("UPDATE blocks SET hash = zeroblob(32) WHERE n = 0")
	if v := verdict(t, o); v.OK {
		t.Error("a root that does not fit the others is not seen")
	}
	f.finish()
}

func TestEarlierAnchorsOfAThinnedLog(t *testing.T) {
	s := newStoried(t)
	anchor := filepath.Join(t.TempDir(), "anchors")
	writeAnchor(t, s.path, anchor)
	o := VerifyOptions{Path: s.path, Keep: true, Anchors: []string{anchor}}
	wantGood(t, o)
	if v := wantGood(t, o); v.First == 1 {
		t.Error("it did not go on")
	}
}

func TestSample(t *testing.T) {
	all := make([]*anchor, 3*maxEarlier+7)
	for i := range all {
		all[i] = &anchor{size: int64(i)}
	}
	few := sample(all)
	if len(few) != maxEarlier || few[0] != all[0] || few[maxEarlier-1] != all[len(all)-1] || few[maxEarlier/2] != all[len(all)-maxEarlier/2] {
		t.Errorf("%d of them, from %v to %v", len(few), few[0], few[len(few)-1])
	}
	for i := range few[1:] {
		if few[i].size >= few[i+1].size {
			t.Fatalf("%d stands before %d", few[i].size, few[i+1].size)
		}
	}
}

// Where retention takes one group of fields, and where it leaves out who is held, nobody else can take more and have it look so.
func TestMoreIsTakenThanTheRuleSays(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.db")
	l := openLog(t, Options{Path: path, Retention: Rules{Addresses: 30 * day}})
	if _, err := l.AddHold(t.Context(), Hold{By: "root", Scope: Scope{User: "user2"}, Reason: "a lawsuit"}); err != nil {
		t.Fatal(err)
	}
	for n := range 5 {
		stroll(l, n, time.Now().Add(-100*day))
	}
	retain(t, l)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	wantGood(t, full(path))
	for name, c := range map[string]struct {
		group group
		where string
		key   string
	}{
		"another group": {groupMessage, "length(seed) > 32 AND uid <> ''", "one"},
		"who is held":   {groupAddress, "length(seed) <= 32 AND user = 'user2' AND seq < (SELECT max(seq) FROM records WHERE length(seed) > 32)", ""},
	} {
		copied := filepath.Join(t.TempDir(), "audit.db")
		copyFile(t, path, copied)
		f := newForger(t, copied)
		rows, err := f.rows("SELECT "+recordColumns+", seed FROM records WHERE "+c.where+" ORDER BY seq LIMIT 1", recordFields+1)
		if err != nil || len(rows) == 0 {
			t.Fatal(name, err)
		}
		row := rows[0]
		column, err := newEncoder([32]byte{}).thin(row[:recordFields], row[recordFields].([]byte), c.group)
		if err != nil {
			t.Fatal(err)
		}
		f.do(updateThinned, row[placeArg], row[placeText], row[placeUID], row[placeUser], row[placeIP], row[placePort], row[placeMail],
			row[placeSubject], row[placeFingerprint], column, row[placeSeq])
		f.finish()
		if c.key != "" {
			c.key = seqKey(row[placeSeq].(int64), row[placeSeq].(int64))
		}
		t.Log(name)
		wantFirst(t, full(copied), "records", c.key, wasAltered)
	}
}

// A migration that a crash has cut off is no alteration.
func TestAMigrationThatWasCutOff(t *testing.T) {
	path, _ := longLog(t)
	f := newForger(t, path)
	f.do("UPDATE records SET seed = NULL, hash = NULL WHERE seq > 300")
	f.do("DELETE FROM checkpoints")
	f.do("DELETE FROM blocks WHERE n > 0")
	if v := verdict(t, full(path)); v.OK { // its key says that it was signed
		t.Error("hashes that were taken out are not seen")
	}
	f.do("DELETE FROM meta WHERE name = 'key'")
	f.finish()
	if _, err := Verify(t.Context(), full(path)); !errors.Is(err, errMigrating) {
		t.Errorf("got %v", err)
	}
}

// A trigger may have any name, if it is written past SQLite.
func TestATriggerUnderANameOfSQLites(t *testing.T) {
	c := newCulprit(t, newStoried(t).path)
	defer c.close()
	c.do("PRAGMA writable_schema = ON")
	c.do("INSERT INTO sqlite_schema VALUES('trigger', 'sqlite_stat1', 'records', 0, " +
		"'CREATE TRIGGER sqlite_stat1 AFTER INSERT ON records BEGIN DELETE FROM sessions; END')")
	wantFirst(t, full(c.path), "sqlite_schema", "trigger sqlite_stat1", wasInserted)
}

// An index that leaves rows out hides them from whoever looks for them by it, though they are there.
func TestAnIndexThatHidesRows(t *testing.T) {
	c := newCulprit(t, newStoried(t).path)
	defer c.close()
	was := c.all("SELECT sql FROM sqlite_schema WHERE name = 'sessions_user'")[0]
	c.do("DROP INDEX sessions_user")
	c.do("CREATE INDEX sessions_user ON sessions(user, id) WHERE user <> '' AND user <> 'user1'")
	c.do("PRAGMA writable_schema = ON")
	c.do("UPDATE sqlite_schema SET sql = ? WHERE name = 'sessions_user'", was)
	wantFirst(t, full(c.path), "database", "", wasAltered)
}

func TestNumbersFarAway(t *testing.T) {
	path, last := longLog(t)
	for query, want := range map[string]Finding{
		"INSERT INTO blocks VALUES(1, 1 << 56, zeroblob(32))":                                     {Table: "blocks", Key: "level 1 n 72057594037927936"},
		"UPDATE records SET seq = " + "4611686018427387904" + " WHERE seq = 300":                  {Table: "records", Key: "seq 300"},
		"UPDATE records SET seq = 9223372036854775807 WHERE seq = (SELECT max(seq) FROM records)": {Table: "records", Key: "seq 9223372036854775807"},
	} {
		c := newCulprit(t, path)
		c.do(query)
		v := verdict(t, full(c.path))
		if v.OK || v.Last > last {
			t.Errorf("%s: looked at %d records and found %v", query, v.Last, v.Findings)
		}
		named := false
		for _, f := range v.Findings {
			named = named || f.Table == want.Table && f.Key == want.Key
		}
		if !named {
			t.Errorf("%s: %v", query, v.Findings)
		}
		c.close()
	}
}

// A key in force that cannot be read for whatever reason must not be taken for one that never was.
func TestTheKeyInForceIsNotThrownAway(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.db")
	l := openLog(t, Options{Path: path})
	old, err := readKey(KeyPath(path))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.RotateKey(t.Context(), "root"); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	key, next := KeyPath(path), nextKey(KeyPath(path)) // as a crash leaves them that comes between the record and the renaming
	if err := errors.Join(os.Rename(key, next), old.write(key), os.Chmod(next, 0o640)); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), Options{Path: path}); err == nil || !strings.Contains(err.Error(), next) {
		t.Errorf("opened, or without telling of the key: %v", err)
	}
	if err := os.Chmod(next, 0o600); err != nil {
		t.Fatalf("the key in force is gone: %v", err)
	}
	if err := openLog(t, Options{Path: path}).Close(); err != nil {
		t.Error(err)
	}
}

// A power cut while a key is made leaves a part of one: it is in nobody's way.
func TestHalfAKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.db")
	half := KeyPath(path) + ".half"
	if err := os.WriteFile(half, []byte("PRIVATE+KEY+"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := openLog(t, Options{Path: path}).Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(half); err == nil {
		t.Error("it is still there")
	}
	k, err := readKey(KeyPath(path))
	if err != nil {
		t.Fatal(err)
	}
	if err := k.write(KeyPath(path)); !errors.Is(err, os.ErrExist) {
		t.Errorf("a key that is there is written over: %v", err)
	}
}

// Who asks something of a log that is found to be failing at that moment is told so.
func TestAChoreIsNotForgotten(t *testing.T) {
	path, _ := longLog(t)
	l, w, err := assemble(Options{Path: path, Key: KeyPath(path)})
	if err == nil {
		err = l.resume(t.Context(), w)
	}
	if err != nil {
		t.Fatal(err)
	}
	w.look()
	if err := os.Rename(path, path+".away"); err != nil {
		t.Fatal(err)
	}
	c := &chore{done: make(chan error, 1)}
	w.watch.due, w.chore = time.Time{}, c
	w.next()
	select {
	case err := <-c.done:
		if !errors.Is(err, proxy.ErrNotRecorded) {
			t.Errorf("told %v", err)
		}
	default:
		t.Error("nothing was said")
	}
	if err := errors.Join(w.close(), l.reader.Close()); err != nil {
		t.Error(err)
	}
}

// A look at the disk that takes too long makes the log fail, and when it is over the log is well, though nobody records anything:
// who asks for its health first would never send a session.
func TestALookThatTakesTooLongIsGotOver(t *testing.T) {
	var slow atomic.Bool
	l := openLog(t, Options{look: 20 * time.Millisecond, stall: 50 * time.Millisecond, statfs: func(path string) (capacity, error) {
		if slow.CompareAndSwap(true, false) {
			time.Sleep(300 * time.Millisecond)
		}
		return roomy(path)
	}})
	slow.Store(true)
	waitFor(t, "failure", func() bool { return l.Health().Failures > 0 })
	waitFor(t, "recovery", func() bool { return l.Health().OK })
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	wantStory(t, l.opts.Path, "start state:failing state:recovered stop")
}

func TestWhatRootVerifiedIsTheOwners(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give a file away")
	}
	const owner = 65534
	path, _ := longLog(t)
	if err := os.Chown(path, owner, owner); err != nil {
		t.Fatal(err)
	}
	wantGood(t, VerifyOptions{Path: path, Keep: true})
	info, err := os.Stat(VerifiedPath(path))
	if err != nil {
		t.Fatal(err)
	}
	if uid := info.Sys().(*syscall.Stat_t).Uid; uid != owner {
		t.Errorf("%s is of user %d", VerifiedPath(path), uid)
	}
}

func TestClockThatWasSetBack(t *testing.T) {
	start := time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)
	at := func(kind proxy.Kind, after, took time.Duration) Record {
		return recordOf(&proxy.Event{Kind: kind, Time: start.Add(after), Duration: took})
	}
	for name, c := range map[string]struct {
		records []Record
		back    int64
		by      time.Duration
	}{
		"a long command": {[]Record{at(proxy.KindCommand, 0, time.Second), at(proxy.KindCommand, time.Hour, 0),
			at(proxy.KindCommand, time.Minute, 59*time.Minute)}, 0, 0},
		"a client that said nothing for long": {[]Record{at(proxy.KindEnd, time.Hour, time.Hour), at(proxy.KindConnect, 0, 0)}, 0, 0},
		"a little":                            {[]Record{at(proxy.KindEnd, stallLimit, 0), at(proxy.KindTLS, 0, 0)}, 0, 0},
		"set back": {[]Record{at(proxy.KindCommand, 3*time.Hour, 0), at(proxy.KindCommand, time.Hour, 0), at(proxy.KindEnd, 2*time.Hour, 0),
			at(proxy.KindStop, time.Hour, 0)}, 2, 2 * time.Hour},
	} {
		var k clock
		for i := range c.records {
			k.read(&c.records[i])
		}
		if k.back != c.back || k.furthest != c.by {
			t.Errorf("%s: %d times, by %v", name, k.back, k.furthest)
		}
	}
}

func TestHoldsAreCountedAtOnce(t *testing.T) {
	l := openLog(t, Options{})
	h, err := l.AddHold(t.Context(), Hold{By: "root", Scope: Scope{User: "ada"}, Reason: "a lawsuit"})
	if n := l.Health().Retention.Holds; err != nil || n != 1 {
		t.Errorf("%d holds are in force, %v", n, err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = openLog(t, Options{Path: l.opts.Path})
	if n := l.Health().Retention.Holds; n != 1 {
		t.Errorf("%d holds are in force after a start", n)
	}
	_, err = l.ReleaseHold(t.Context(), h.ID, "root", "")
	if n := l.Health().Retention.Holds; err != nil || n != 0 {
		t.Errorf("%d holds are in force, %v", n, err)
	}
}

func TestOctetsOfAProofHaveOneForm(t *testing.T) {
	for text, good := range map[string]bool{"c000": true, "C000": false, "c0": true, "c": false} {
		f := Field{N: placeIP + 1, Octets: &text}
		if _, err := f.value(); (err == nil) != good {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// meanwhile returns a file of anchors that a verification reads after it has decided what it looks at, and has do done before it
// goes on.
func meanwhile(t *testing.T, do func()) (file string, done <-chan error) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "anchors")
	if err := syscall.Mkfifo(file, 0o600); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		f, err := os.OpenFile(file, os.O_WRONLY, 0) // returns when it is opened for reading
		if err == nil {
			do()
			err = f.Close()
		}
		ended <- err
	}()
	return file, ended
}

// The block that the log ended in when a verification began is full, deleted and forgotten when it comes by.
func TestTheLastBlockGoesDuringVerification(t *testing.T) {
	l := openLog(t, Options{Retention: Rules{Sessions: 365 * day}})
	old := time.Now().Add(-400 * day)
	for n := range 30 { // 390 records: into the second block
		stroll(l, n, old)
	}
	waitFor(t, "checkpoint", func() bool { h := l.Health(); return h.LastSeq == 391 && h.Signed == h.LastSeq })
	anchor, done := meanwhile(t, func() {
		for n := range 30 {
			stroll(l, n, old)
		}
		waitFor(t, "records", func() bool { h := l.Health(); return h.LastSeq == 781 })
		if _, err := l.Retain(context.Background(), "root"); err != nil {
			t.Error(err)
		}
		waitFor(t, "checkpoint", func() bool { h := l.Health(); return h.Signed == h.LastSeq })
		if _, err := l.Retain(context.Background(), "root"); err != nil {
			t.Error(err)
		}
	})
	v := wantGood(t, VerifyOptions{Path: l.opts.Path, Full: true, Anchors: []string{anchor}})
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if v.Last > 2*blockSize || ask(t, l.opts.Path, "SELECT count(*) FROM pruned WHERE seq > 256 AND seq <= 512") != "0" {
		t.Errorf("it looked up to %d, and the block is there", v.Last)
	}
}

// A log has no record yet when a verification begins, and some when it ends.
func TestALogThatBeginsUnderVerification(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.db")
	s, err := openStore(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
	anchor, done := meanwhile(t, func() { openLog(t, Options{Path: path}) })
	wantGood(t, VerifyOptions{Path: path, Full: true, Anchors: []string{anchor}})
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}
