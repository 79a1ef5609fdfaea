package audit

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"postern/proxy"
)

func TestVerificationGoesOn(t *testing.T) {
	l := openLog(t, Options{})
	path := l.opts.Path
	disown(t, path)
	for n := range 50 {
		stroll(l, n, time.Now())
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if v := wantGood(t, VerifyOptions{Path: path, Keep: true}); v.First != 1 {
		t.Errorf("the first time it began with %d", v.First)
	}
	l = openLog(t, Options{Path: path})
	for n := range 50 {
		stroll(l, n, time.Now())
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if v := wantGood(t, VerifyOptions{Path: path}); v.First != 513 || v.Last <= 1000 {
		t.Errorf("it went on with %d to %d", v.First, v.Last)
	}
	last := wantGood(t, VerifyOptions{Path: path, Keep: true}).Last
	for seq, seen := range map[int64]bool{last: true, 100: false} {
		c := newCulprit(t, path)
		copyFile(t, VerifiedPath(path), VerifiedPath(c.path))
		c.do("UPDATE records SET text = 'forged' WHERE seq = ?", seq)
		if v := verdict(t, VerifyOptions{Path: c.path}); v.OK == seen {
			t.Errorf("record %d: %v", seq, v.Findings)
		}
		wantFirst(t, full(c.path), "records", fmt.Sprint("seq ", seq), wasAltered)
		c.close()
	}
}

// A verification goes on where the last one ended, which is here the end of a block, and there is no newer checkpoint.
func TestGoingOnAtTheEndOfABlock(t *testing.T) {
	l := openLog(t, Options{})
	id := newID()
	events := []proxy.Event{connect(id)}
	for len(events) < 4*blockSize-2 { // beside these there are the start of the log and the next key
		events = append(events, command(id, "NOOP", "", "+OK"))
	}
	keep(t, l, events...)
	rotate(t, l) // which signs
	if v := wantGood(t, VerifyOptions{Path: l.opts.Path, Keep: true}); v.Last != 4*blockSize || v.Unsigned != 0 {
		t.Fatalf("%+v", v)
	}
	keep(t, l, command(id, "NOOP", "", "+OK"))
	if v := wantGood(t, VerifyOptions{Path: l.opts.Path}); v.First != 4*blockSize+1 || v.Unsigned > 1 {
		t.Errorf("%+v", v)
	}
	forged := crash(t, l)
	copyFile(t, VerifiedPath(l.opts.Path), VerifiedPath(forged))
	f := newForger(t, forged)
	if _, err := f.change("DELETE FROM checkpoints WHERE size >= ?", int64(4*blockSize)); err != nil {
		t.Fatal(err)
	}
	if err := f.close(); err != nil {
		t.Fatal(err)
	}
	wantFirst(t, VerifyOptions{Path: forged}, "checkpoints", sizeKey(4*blockSize+1), wasRemoved)
}

func TestAChangedVerifiedCheckpoint(t *testing.T) {
	path, _ := longLog(t)
	wantGood(t, VerifyOptions{Path: path, Full: true, Keep: true})
	text, err := os.ReadFile(VerifiedPath(path))
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"", "{}", "garbage", strings.Replace(string(text), "\\n", "\\n1", 1), string(text[:len(text)/2])} {
		if err := os.WriteFile(VerifiedPath(path), []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		wantFirst(t, VerifyOptions{Path: path}, VerifiedPath(path), "", wasAltered)
		if v := wantGood(t, full(path)); len(v.Notes) == 0 {
			t.Error("--full says nothing of it")
		}
	}
}

// What a verification leaves can be read again, however often the key was changed and whoever has cosigned.
func TestVerifiedOfManyKeys(t *testing.T) {
	path, _ := longLog(t)
	wantGood(t, VerifyOptions{Path: path, Keep: true})
	v, err := readVerified(VerifiedPath(path))
	if err != nil {
		t.Fatal(err)
	}
	last := v.key()
	for len(v.Keys) < 5000 {
		v.Keys = append(v.Keys, last)
	}
	const witnesses = 90 // a note has at most 100 signatures
	v.Checkpoint += strings.Repeat("— "+strings.Repeat("w", (maxNote-len(v.Checkpoint))/witnesses-20)+" AAAAAAAA\n", witnesses)
	if err := v.write(path); err != nil {
		t.Fatal(err)
	}
	if again, err := readVerified(VerifiedPath(path)); err != nil || len(again.Keys) != maxKeys || again.key() != last {
		t.Errorf("got %v", err)
	}
}
