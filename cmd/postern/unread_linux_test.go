package main

import (
	"bufio"
	"io"
	"os"
	"strings"
	"testing"
	"time"
)

// TestTailEndsWithItsReader plays postern tail | head -1 on a log to which nothing is added.
func TestTailEndsWithItsReader(t *testing.T) {
	dir := agedLog(t, map[string]int{"ada": 1})
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	ended := make(chan error, 1)
	go func() {
		ended <- run(t.Context(), []string{"tail", "--lines", "2", "--data-dir", dir}, strings.NewReader(""), writer, io.Discard)
	}()
	lines := bufio.NewScanner(reader)
	for range 4 { // the day, two records, and the record of this access
		if !lines.Scan() {
			t.Fatalf("nothing more to read: %v", lines.Err())
		}
	}
	select {
	case err := <-ended:
		t.Fatalf("tail ended while it was read: %v", err)
	case <-time.After(500 * time.Millisecond):
	}
	if err := reader.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("tail goes on although nobody reads")
	}
}
