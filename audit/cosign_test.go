package audit

import (
	"errors"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"postern/proxy"
)

func noteOf(t *testing.T, l *Log, size int64) (text string) {
	t.Helper()
	if err := l.reader.db.QueryRow("SELECT note FROM checkpoints WHERE size = ?", size).Scan(&text); err != nil {
		t.Fatal(err)
	}
	return text
}

func textOf(c Checkpoint) string { return c.text(c.Origin()) }

func TestCosignaturesAreKept(t *testing.T) {
	l := openLog(t, Options{})
	c, _ := l.Newest()
	if c.Size != 1 || c.Origin() == "" || c.Note != noteOf(t, l, 1) {
		t.Fatalf("the newest checkpoint is %+v", c)
	}
	one, two := newCosigner(t, "one"), newCosigner(t, "two")
	first, second := one.sign(textOf(c), 5), two.sign(textOf(c), 6)
	for _, lines := range []string{first, first, one.sign(textOf(c), 7), second + first} {
		if err := l.Cosign(t.Context(), 1, lines); err != nil {
			t.Fatal(err)
		}
	}
	kept := noteOf(t, l, 1)
	if kept != c.Note+first+second {
		t.Errorf("kept\n%s", kept)
	}
	verifier, _ := note.NewVerifier(l.verifierKey(t))
	n, err := note.Open([]byte(kept), note.VerifierList(verifier, one, two))
	if err != nil || len(n.Sigs) != 3 || n.Text != textOf(c) {
		t.Errorf("%+v, %v", n, err)
	}
	if again, err := parseCheckpoint(kept, c.Origin()); err != nil || again.Root != c.Root || again.Size != c.Size {
		t.Errorf("%+v, %v", again, err)
	}
	if l.Health().LastSeq != 1 {
		t.Error("a cosignature is a record")
	}
	path := l.opts.Path
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := openLog(t, Options{Path: path}).Close(); err != nil { // a cosigned log opens
		t.Fatal(err)
	}
}

func (l *Log) verifierKey(t *testing.T) string {
	t.Helper()
	key, err := meta(t.Context(), l.reader.db, metaKey)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestWhatIsNoCosignatureIsRefused(t *testing.T) {
	l := openLog(t, Options{})
	c, _ := l.Newest()
	w := newCosigner(t, "w")
	good := w.sign(textOf(c), 5)
	for _, lines := range []string{"x", "\n" + good, good[:len(good)-1], strings.Replace(good, "— ", "- ", 1), strings.Replace(good, " w ", " w+ ", 1),
		strings.Replace(good, "=", "", 1), good + "more\n", "— w AAAA\n", "— w \n", "—  AAAAAAAA\n"} {
		if err := l.Cosign(t.Context(), 1, lines); err == nil {
			t.Errorf("%q was kept", lines)
		}
	}
	if err := l.Cosign(t.Context(), 7, good); !errors.Is(err, ErrNotFound) {
		t.Errorf("of no checkpoint: %v", err)
	}
	var many strings.Builder
	for range maxSignatures {
		many.WriteString(newCosigner(t, "w").sign("", 0))
	}
	if err := l.Cosign(t.Context(), 1, many.String()); err == nil {
		t.Error("a checkpoint takes any number of signatures")
	}
	if noteOf(t, l, 1) != c.Note {
		t.Errorf("the checkpoint was changed:\n%s", noteOf(t, l, 1))
	}
	keep(t, l, connect(newID())) // it is well
	if !l.Health().OK {
		t.Errorf("health: %+v", l.Health())
	}
}

// The last checkpoint covers the stop record, and can be cosigned.
func TestAStoppedLogIsCosigned(t *testing.T) {
	l := openLog(t, Options{})
	keep(t, l, connect(newID()))
	if err := l.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := l.Record(connect(newID())).Wait(); !errors.Is(err, ErrClosed) {
		t.Errorf("a stopped log records: %v", err)
	}
	c, _ := l.Newest()
	w := newCosigner(t, "w")
	if err := l.Cosign(t.Context(), c.Size, w.sign(textOf(c), 5)); err != nil {
		t.Fatal(err)
	}
	if got := noteOf(t, l, c.Size); !strings.HasPrefix(got, c.Note+"— w ") {
		t.Errorf("kept\n%s", got)
	}
	recs, err := l.Reader().Records(t.Context(), 0, 10, Filter{})
	if err != nil || int64(len(recs)) != c.Size || recs[len(recs)-1].Kind != proxy.KindStop {
		t.Errorf("%d records, %v, the checkpoint is of %d", len(recs), err, c.Size)
	}
	if path, err := l.Reader().Consistency(t.Context(), 1, c); err != nil || len(path) == 0 {
		t.Errorf("%v, %v", path, err)
	}
	for range 2 {
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Cosign(t.Context(), c.Size, w.sign(textOf(c), 5)); !errors.Is(err, ErrClosed) {
		t.Errorf("after the end: %v", err)
	}
	if last, _ := l.Newest(); last.Size != c.Size {
		t.Errorf("the newest is %+v", last)
	}
	wantSealed(t, l.opts.Path)
}

func TestABrokenLogKeepsNoCosignature(t *testing.T) {
	l, room := brokenLog(t, Options{}, newID())
	c, _ := l.Newest()
	w := newCosigner(t, "w")
	if err := l.Cosign(t.Context(), c.Size, w.sign(textOf(c), 5)); err == nil || !strings.Contains(err.Error(), "free space on") {
		t.Errorf("got %v", err)
	}
	room()
	if err := l.Cosign(t.Context(), c.Size, w.sign(textOf(c), 5)); err != nil {
		t.Error(err)
	}
}

func TestWhoWaitsIsToldOfANewerCheckpoint(t *testing.T) {
	l := openLog(t, Options{})
	old, newer := l.Newest()
	select {
	case <-newer:
		t.Error("there is none newer yet")
	default:
	}
	l.Record(connect(newID()))
	select {
	case <-newer:
	case <-time.After(10 * time.Second):
		t.Fatal("nobody was told")
	}
	c, _ := l.Newest()
	if c.Size <= old.Size {
		t.Errorf("from %d to %d", old.Size, c.Size)
	}
	if c.Note != noteOf(t, l, c.Size) {
		t.Error("it is not on disk")
	}
}

func TestGrowthIsProved(t *testing.T) {
	l := openLog(t, Options{})
	for range 700 {
		l.Record(connect(newID()))
	}
	if err := l.Stop(); err != nil {
		t.Fatal(err)
	}
	c, _ := l.Newest()
	r := l.Reader()
	for _, old := range []int64{1, 2, 255, 256, 257, 600, c.Size - 1} {
		path, err := r.Consistency(t.Context(), old, c)
		if err != nil {
			t.Fatal(err)
		}
		then, err := loadTree(t.Context(), r.db, old)
		if err != nil {
			t.Fatal(err)
		}
		var proof tlog.TreeProof
		for _, h := range path {
			proof = append(proof, h)
		}
		if err := tlog.CheckTree(proof, c.Size, c.Root, old, then.root()); err != nil {
			t.Errorf("from %d: %v", old, err)
		}
	}
	for _, old := range []int64{0, c.Size} {
		if path, err := r.Consistency(t.Context(), old, c); err != nil || len(path) != 0 {
			t.Errorf("from %d: %v, %v", old, path, err)
		}
	}
	for _, old := range []int64{-1, c.Size + 1} {
		if _, err := r.Consistency(t.Context(), old, c); err == nil {
			t.Errorf("from %d there is a proof", old)
		}
	}
	altered := c
	altered.Root[0]++
	if _, err := r.Consistency(t.Context(), 300, altered); !errors.Is(err, ErrAltered) {
		t.Errorf("of another root: %v", err)
	}
}
