package audit

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"postern/proxy"
)

// rotate changes the key of an open log.
func rotate(t *testing.T, l *Log) Rotated {
	t.Helper()
	told, err := l.RotateKey(t.Context(), "root")
	if err != nil || told.Left != "" || told.Lost || told.Old == told.New {
		t.Fatalf("%+v, %v", told, err)
	}
	return told
}

// wantKey checks which key is in force and in its place, and that nothing else is left.
func wantKey(t *testing.T, path, verifier string) {
	t.Helper()
	k, err := readKey(KeyPath(path))
	if err != nil || k.verifier != verifier {
		t.Errorf("the key is %v, %v, want %s", k, err, verifier)
	}
	if _, err := os.Stat(nextKey(KeyPath(path))); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the next key is left: %v", err)
	}
	if v := wantGood(t, VerifyOptions{Path: path, Full: true}); v.Key != verifier {
		t.Errorf("verification ends with %s, want %s", v.Key, verifier)
	}
}

func TestRotatedKeysAreFollowed(t *testing.T) {
	l := openLog(t, Options{})
	first := records(t, l.opts.Path)[0].Arg
	keep(t, l, connect(newID()))
	pseudonym := l.pseudonym
	one := rotate(t, l)
	keep(t, l, connect(newID()))
	two := rotate(t, l)
	wantKey(t, l.opts.Path, two.New) // while it is being written
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	again := openLog(t, Options{Path: l.opts.Path})
	if again.pseudonym != pseudonym {
		t.Error("users have another pseudonym")
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
	three, err := RotateKey(t.Context(), Options{Path: l.opts.Path}, "root")
	if err != nil || three.Old != two.New {
		t.Fatalf("at rest: %+v, %v", three, err)
	}
	wantKey(t, l.opts.Path, three.New)
	if one.Old != first || two.Old != one.New {
		t.Errorf("%s, then %+v and %+v", first, one, two)
	}
	for _, key := range []string{first, one.New, two.New, three.New} {
		wantGood(t, VerifyOptions{Path: l.opts.Path, Full: true, Keys: []string{key}})
	}
	wantBothSignatures(t, l.opts.Path, one)
	wantProofs(t, l.opts.Path, first, three.New)
}

// wantBothSignatures checks that the first checkpoint with the record of a rotation is signed by both keys.
func wantBothSignatures(t *testing.T, path string, told Rotated) {
	t.Helper()
	r, err := OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var text string
	if err := r.db.QueryRow("SELECT note FROM checkpoints WHERE size >= ? ORDER BY size", told.Seq).Scan(&text); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{told.Old, told.New} {
		v, err := note.NewVerifier(key)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := note.Open([]byte(text), note.VerifierList(v)); err != nil {
			t.Errorf("%s has not signed record %d: %v", key, told.Seq, err)
		}
	}
}

// wantProofs checks that proofs can be followed from the first key to the last.
func wantProofs(t *testing.T, path, first, last string) {
	t.Helper()
	r, err := OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for _, seq := range []int64{1, 3} {
		p, err := r.Prove(t.Context(), seq)
		if err != nil {
			t.Fatal(err)
		}
		if shown, err := p.Check(first); err != nil || shown.Key != last || len(p.Keys) != 4 {
			t.Errorf("%+v, %v", shown, err)
		}
		if p.Keys = slices.Delete(p.Keys, 1, 2); len(p.Keys) == 3 {
			if _, err := p.Check(first); err == nil {
				t.Error("a key is left out of the chain, and it holds")
			}
		}
	}
}

// TestARotationThatFails fails each step of a rotation in turn.
func TestARotationThatFails(t *testing.T) {
	t.Run("the next key cannot be written", func(t *testing.T) {
		l := openLog(t, Options{})
		was := records(t, l.opts.Path)[0].Arg
		if err := os.Mkdir(nextKey(l.opts.Key), 0o700); err != nil { // in its place
			t.Fatal(err)
		}
		if err := os.WriteFile(nextKey(l.opts.Key)+"/file", nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if told, err := l.RotateKey(t.Context(), "root"); err == nil {
			t.Errorf("rotated: %+v", told)
		}
		keep(t, l, connect(newID())) // the log is none the worse
		if err := errors.Join(os.RemoveAll(nextKey(l.opts.Key)), l.Close()); err != nil {
			t.Fatal(err)
		}
		wantKey(t, l.opts.Path, was)
	})
	t.Run("the record cannot be written", func(t *testing.T) {
		was, r, l := failRotation(t, func(w *writer, r *rotation) error { return errors.Join(r.enact(w), errors.New("disk")) })
		keep(t, l, connect(newID()))
		told := rotate(t, l) // what the failed one left is no hindrance
		if told.Old != was || told.New == r.next.verifier {
			t.Errorf("%+v, want %s to be followed", told, was)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		wantKey(t, l.opts.Path, told.New)
	})
	t.Run("the record is on disk, and nobody knows", func(t *testing.T) {
		_, r, l := failRotation(t, func(w *writer, r *rotation) error {
			return errors.Join(r.enact(w), w.store.exec(w.store.commit), errors.New("disk"))
		})
		keep(t, l, connect(newID()))
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		wantKey(t, l.opts.Path, r.next.verifier)
	})
}

// failRotation begins a rotation whose transaction fails, and waits until the log is well again.
func failRotation(t *testing.T, do func(*writer, *rotation) error) (was string, r *rotation, l *Log) {
	t.Helper()
	l = openLog(t, Options{})
	old, err := l.keyInForce(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if r, err = newRotation(l.opts.Key, old, "root"); err != nil {
		t.Fatal(err)
	}
	if err := l.perform(t.Context(), &chore{do: func(w *writer) error { return do(w, r) }}); err == nil {
		t.Error("it did not fail")
	}
	if err := well(l); err != nil {
		t.Fatal(err)
	}
	return old.verifier, r, l
}

// TestACrashInARotation ends a rotation behind each of its steps, as a crash does.
func TestACrashInARotation(t *testing.T) {
	steps := map[string]func(*Log, *writer, *rotation) error{
		"the key was made":       func(*Log, *writer, *rotation) error { return nil },
		"the record was written": func(_ *Log, w *writer, r *rotation) error { return enactAndCrash(w, r) },
		"the record is on disk":  func(_ *Log, w *writer, r *rotation) error { return w.transact(r.enact) },
		"all was done":           func(_ *Log, w *writer, r *rotation) error { err := w.transact(r.enact); r.done(); return err },
	}
	for name, step := range steps {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "audit.db")
			l := openLog(t, Options{Path: path})
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			was := records(t, path)[0].Arg
			l, w, err := assemble(Options{Path: path})
			if err == nil {
				err = l.resume(context.Background(), w)
			}
			if err != nil {
				t.Fatal(err)
			}
			r, err := newRotation(l.opts.Key, w.sealer.key, "root")
			if err == nil {
				err = step(l, w, r)
			}
			if err := errors.Join(err, w.close(), l.reader.Close()); err != nil {
				t.Fatal(err)
			}
			l = openLog(t, Options{Path: path})
			keep(t, l, connect(newID()))
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			want := r.next.verifier
			if strings.HasSuffix(name, "made") || strings.HasSuffix(name, "written") {
				want = was
			}
			wantKey(t, path, want)
		})
	}
}

// enactAndCrash writes a rotation and does not commit it.
func enactAndCrash(w *writer, r *rotation) error {
	if err := w.store.exec(w.store.begin); err != nil {
		return err
	}
	return errors.Join(r.enact(w), w.store.rollback())
}

func TestALostKey(t *testing.T) {
	l := openLog(t, Options{})
	disown(t, l.opts.Path) // it verifies with the new key alone
	was := records(t, l.opts.Path)[0].Arg
	keep(t, l, connect(newID()))
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	path, o := l.opts.Path, Options{Path: l.opts.Path}
	if _, err := ReplaceLostKey(t.Context(), o, "root"); err == nil || !strings.Contains(err.Error(), "the key is not lost") {
		t.Errorf("with its key there: %v", err)
	}
	if err := os.WriteFile(l.opts.Key, []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReplaceLostKey(t.Context(), o, "root"); err == nil || !strings.Contains(err.Error(), "move it away first") {
		t.Errorf("with garbage in its place: %v", err)
	}
	if err := os.Remove(l.opts.Key); err != nil {
		t.Fatal(err)
	}
	told, err := ReplaceLostKey(t.Context(), o, "root")
	if err != nil || !told.Lost || told.Old != "" || told.Left != "" {
		t.Fatalf("%+v, %v", told, err)
	}
	v := verdict(t, VerifyOptions{Path: path, Full: true})
	if v.OK || v.Count != 1 || v.Findings[0].What != wasBroken || !strings.Contains(v.Findings[0].Detail, "--key "+told.New) {
		t.Errorf("the broken chain is told as %v", v.Findings)
	}
	if v := verdict(t, VerifyOptions{Path: path, Full: true, Keys: []string{was}}); v.OK {
		t.Error("the lost key vouches for what came after it")
	}
	wantGood(t, VerifyOptions{Path: path, Full: true, Keys: []string{told.New}, Keep: true})
	l = openLog(t, o)
	keep(t, l, connect(newID()))
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	wantGood(t, VerifyOptions{Path: path}) // behind a break that was accepted
	wantProofAfterLoss(t, path, was, told.New)
}

func wantProofAfterLoss(t *testing.T, path, was, now string) {
	t.Helper()
	r, err := OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	p, err := r.Prove(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Check(was); err == nil {
		t.Error("the lost key vouches for a proof")
	}
	if shown, err := p.Check(now); err != nil || !shown.Trusted {
		t.Errorf("the new key: %+v, %v", shown, err)
	}
}

func TestARunningLogKeepsItsLostKey(t *testing.T) {
	l := openLog(t, Options{})
	if _, err := ReplaceLostKey(t.Context(), Options{Path: l.opts.Path}, "root"); !errors.Is(err, ErrLocked) {
		t.Errorf("while it is written: %v", err)
	}
	if _, err := RotateKey(t.Context(), Options{Path: l.opts.Path}, "root"); !errors.Is(err, ErrLocked) {
		t.Errorf("while it is written: %v", err)
	}
	if got := records(t, l.opts.Path); got[len(got)-1].Kind == proxy.KindKey {
		t.Error("it was rotated")
	}
}

// The checkpoint that both keys have signed is one of those that retention thins.
func TestTheCheckpointOfARotationIsThinned(t *testing.T) {
	l := openLog(t, Options{})
	rotate(t, l)
	sign := func(n int) {
		t.Helper()
		err := l.perform(t.Context(), &chore{do: func(w *writer) error {
			for range n {
				ev := proxy.Event{Time: time.Now(), Kind: proxy.KindConfig, Arg: "a", Text: "b"}
				if err := errors.Join(w.append(&ev), w.sealer.sign(w.store, w.began, true)); err != nil {
					return err
				}
			}
			return nil
		}})
		if err != nil {
			t.Fatal(err)
		}
	}
	sign(1)
	c, _ := l.Newest()
	if err := l.Cosign(t.Context(), c.Size, "— witness.example.org/w1 AAAAAAAAAAAAAAAA\n"); err != nil {
		t.Fatal(err)
	}
	sign(newestCheckpoints + 1)
	if _, err := l.Retain(t.Context(), "root"); err != nil {
		t.Fatal(err)
	}
	wantGood(t, full(l.opts.Path))
}

// rotateTwiceScene has a rotation fail whose commit may be on disk all the same, as its sync went wrong, asks for another, and
// is killed before the log could be opened anew.
func rotateTwiceScene(path string) error {
	l, err := Open(context.Background(), Options{Path: path, statfs: roomy})
	if err != nil {
		return err
	}
	for _, fault := range []string{"unsynced", "read-only"} {
		if err := inject(knownFaults[fault].octets...); err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		told, err := l.RotateKey(ctx, "root")
		if cancel(); err == nil {
			return fmt.Errorf("the disk is broken and %+v", told)
		}
	}
	os.Exit(0)
	return nil
}

func TestARotationOfWhichNobodyKnows(t *testing.T) {
	f := newFaults(t, compileFaults(t))
	f.run(t, "rotate-twice")
	f.wantSeen(t)
	path := filepath.Join(f.dir, "audit.db")
	if got := ask(t, path, "SELECT group_concat(kind, ' ') FROM records"); got != "start key" {
		t.Errorf("the log has %s", got)
	}
	openLog(t, Options{Path: path}).Close()
}
