package audit

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"postern/proxy"
)

// TestAppend adds records to a log that is at rest, each of them signed, and makes nothing where there is none.
func TestAppend(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.db")
	o := Options{Path: path}
	access := proxy.Event{Kind: proxy.KindAccess, Verb: "tail", User: "ada"}
	if err := Append(t.Context(), o, access); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("without a log: %v", err)
	}
	if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) > 0 {
		t.Fatalf("made %v, %v", entries, err)
	}
	reopen := func() {
		t.Helper()
		l, err := Open(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	reopen()
	for range 3 {
		if err := Append(t.Context(), o, access); err != nil {
			t.Fatal(err)
		}
	}
	r, err := OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	records, err := r.Records(t.Context(), 2, 10, Filter{})
	if err != nil || len(records) != 3 || records[0].Seq != 3 || records[2].Verb != "tail" || records[2].Time.IsZero() {
		t.Errorf("%+v, %v", records, err)
	}
	if signed, err := newestCheckpoint(t.Context(), r.db); err != nil || signed.Size != 5 {
		t.Errorf("signed up to %d, %v", signed.Size, err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	reopen() // takes up the tree that Append left, or fails
}

// TestAppendWaitsForTheLock that another Append holds for a moment, and gives up on one that a Log holds.
func TestAppendWaitsForTheLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.db")
	l, err := Open(t.Context(), Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	access := proxy.Event{Kind: proxy.KindAccess}
	if err := Append(t.Context(), Options{Path: path}, access); !errors.Is(err, ErrLocked) {
		t.Errorf("beside a Log: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	failed := make(chan error, 8)
	for range cap(failed) {
		go func() { failed <- Append(t.Context(), Options{Path: path}, access) }()
	}
	for range cap(failed) {
		if err := <-failed; err != nil && !errors.Is(err, ErrLocked) { // on a disk that is slow
			t.Error(err)
		}
	}
}
