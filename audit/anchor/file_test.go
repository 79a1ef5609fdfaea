package anchor

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// notes cuts a file of anchors into its notes, as a reader does: each begins with the line of its origin.
func notes(t *testing.T, path, origin string) (all []string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if line == origin+"\n" {
			all = append(all, "")
		}
		if len(all) > 0 {
			all[len(all)-1] += line
		}
	}
	return all
}

func (s *scene) origin() string {
	c, _ := s.log.Newest()
	return c.Origin()
}

func TestTheFileGrows(t *testing.T) {
	s, path := newScene(t), filepath.Join(t.TempDir(), "anchors")
	a := s.start(Options{File: path})
	for range 3 {
		s.arrives(a, s.grow(2))
	}
	end(a)
	last, _ := s.log.Newest()
	all := notes(t, path, s.origin())
	if len(all) < 3 || all[len(all)-1] != last.Note {
		t.Errorf("%d notes, the last %q, want %q", len(all), all[len(all)-1], last.Note)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if got := a.List()[0]; got.Kind != KindFile || got.Name != path {
		t.Errorf("status: %+v", got)
	}
}

// A file that was rotated away is left alone, and a new one made.
func TestTheFileMayBeRotated(t *testing.T) {
	s, path := newScene(t), filepath.Join(t.TempDir(), "anchors")
	a := s.start(Options{File: path})
	s.arrives(a, 1)
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	size := s.grow(1)
	s.arrives(a, size)
	old, fresh := notes(t, path+".1", s.origin()), notes(t, path, s.origin())
	if len(old) == 0 || len(fresh) == 0 || strings.Contains(old[0], fresh[0]) {
		t.Errorf("%q, then %q", old, fresh)
	}
}

// What a full disk cut off does not swallow the note behind it.
func TestANoteThatWasCut(t *testing.T) {
	s, path := newScene(t), filepath.Join(t.TempDir(), "anchors")
	c, _ := s.log.Newest()
	if err := os.WriteFile(path, []byte(c.Note+c.Note[:40]), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := file(path).carry(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if err := file(path).carry(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	all := notes(t, path, s.origin())
	if n := len(all); all[n-1] != c.Note || all[n-2] != c.Note || !strings.HasPrefix(all[0], c.Note) {
		t.Errorf("%q", all)
	}
	if info, _ := os.Stat(path); info.Mode() != 0o644 {
		t.Errorf("the mode is %v now", info.Mode())
	}
}

func TestFilesThatCannotBe(t *testing.T) {
	s, dir := newScene(t), t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	c, _ := s.log.Newest()
	for path, want := range map[string]string{
		filepath.Join(dir, "none", "anchors"): "mount its disk",
		dir:                                   "is a directory",
		fifo:                                  "no regular file",
		"/dev/full":                           "no regular file",
	} {
		if err := file(path).carry(t.Context(), c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestADiskThatIsMountedLate(t *testing.T) {
	s, dir := newScene(t), filepath.Join(t.TempDir(), "worm")
	a := s.start(Options{File: filepath.Join(dir, "anchors")})
	s.fails(a, "mount its disk")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	s.arrives(a, 1)
}

func TestLinesOnStdout(t *testing.T) {
	s, out := newScene(t), &said{}
	a := s.start(Options{Stdout: out})
	s.arrives(a, s.grow(1))
	end(a)
	c, _ := s.log.Newest()
	lines := bytes.Split(bytes.TrimSuffix([]byte(out.String()), []byte("\n")), []byte("\n"))
	var got printed
	if err := json.Unmarshal(lines[len(lines)-1], &got); err != nil {
		t.Fatalf("%v in %q", err, out.String())
	}
	if got.Kind != "checkpoint" || got.Origin != s.origin() || got.Size != c.Size || got.Note != c.Note || got.Time.IsZero() ||
		got.Root != strings.Split(c.Note, "\n")[2] {
		t.Errorf("printed %+v", got)
	}
}

// What could be written of a note before the disk was full is taken back, unless another writer came in between.
func TestHalfANoteIsTakenBack(t *testing.T) {
	for name, test := range map[string]struct{ more, want string }{"alone": {"", "whole\n"}, "not alone": {"another\n", "whole\nhalfanother\n"}} {
		path := filepath.Join(t.TempDir(), "anchors")
		if err := os.WriteFile(path, []byte("whole\nhalf"+test.more), 0o600); err != nil {
			t.Fatal(err)
		}
		w, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND, 0)
		if err != nil {
			t.Fatal(err)
		}
		err = takeBack(w, 6, 4)
		w.Close()
		if got, e := os.ReadFile(path); err != nil || e != nil || string(got) != test.want {
			t.Errorf("%s: %q, %v, %v", name, got, err, e)
		}
	}
}
