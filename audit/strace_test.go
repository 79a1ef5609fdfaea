package audit

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const straceActs = 150

// ackScene records command by command, and says which is kept before it goes on.
func ackScene(path string) error {
	l, err := Open(context.Background(), Options{Path: path})
	if err != nil {
		return err
	}
	id := newID()
	l.Record(connect(id))
	for n := range straceActs {
		if err := l.Record(command(id, "NOOP", marker(n), "+OK")).Wait(); err != nil {
			return err
		}
		if _, err := fmt.Fprintf(os.Stdout, "kept %s\n", marker(n)); err != nil {
			return err
		}
	}
	return l.Close()
}

func marker(n int) string { return fmt.Sprintf("marker-%06d.", n) }

// The system itself is asked in which order things happen: a record is written to the WAL, the WAL is synced, and only
// then is the promise given.
func TestSyncComesBeforeThePromise(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.db")
	trace := filepath.Join(t.TempDir(), "trace")
	scene := child(t, "ack", path)
	cmd := exec.CommandContext(t.Context(), "strace", "-f", "-y", "-s", "8192", "-e", "trace=pwrite64,fsync,fdatasync,write", "-o", trace, scene.Path)
	cmd.Env, cmd.Stderr = scene.Env, scene.Stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("strace: %v; is it installed, and may it trace?", err)
	}
	f, err := os.Open(trace)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var o order
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if err := o.take(lines.Text()); err != nil {
			t.Fatal(err)
		}
	}
	if lines.Err() != nil || o.promised != straceActs {
		t.Errorf("%d promises were seen, want %d; %v", o.promised, straceActs, lines.Err())
	}
}

// order reads a trace: which record is the newest that was written, synced and promised.
type order struct{ written, synced, promised int }

var (
	walWrite = regexp.MustCompile(`^\d+ +pwrite64\(\d+<[^>]*/audit\.db-wal>, `)
	walSync  = regexp.MustCompile(`^(\d+) +f(?:data)?sync\(\d+<[^>]*/audit\.db-wal>(\) += 0$| <unfinished)`)
	synced   = regexp.MustCompile(`^\d+ +<\.\.\. f(?:data)?sync resumed>\) += 0$`)
	markers  = regexp.MustCompile(`marker-(\d{6})\.`)
)

func (o *order) take(line string) error {
	switch {
	case walWrite.MatchString(line):
		for _, found := range markers.FindAllStringSubmatch(line, -1) {
			var n int
			fmt.Sscanf(found[1], "%d", &n)
			o.written = max(o.written, n+1)
		}
	case walSync.MatchString(line) && strings.HasSuffix(line, "= 0"), synced.MatchString(line): // one goroutine writes and syncs
		o.synced = o.written
	case strings.Contains(line, `"kept marker-`):
		if o.promised++; o.synced < o.promised {
			return fmt.Errorf("record %d was promised when %d were written and %d synced:\n%.200s", o.promised, o.written, o.synced, line)
		}
	}
	return nil
}

// The test above must be able to fail.
func TestOrderIsSeen(t *testing.T) {
	const write, sync, promise = `7 pwrite64(6</tmp/a/audit.db-wal>, "marker-000000.", 14, 56) = 14`,
		`7 fsync(6</tmp/a/audit.db-wal>) = 0`, `9 write(1</dev/null>, "kept marker-000000.\n", 20) = 20`
	for _, test := range []struct {
		lines []string
		good  bool
	}{
		{[]string{write, sync, promise}, true},
		{[]string{write, "7 fdatasync(6</tmp/a/audit.db-wal> <unfinished ...>", "7 <... fdatasync resumed>) = 0", promise}, true},
		{[]string{write, promise, sync}, false},
		{[]string{sync, write, promise}, false},
		{[]string{write, "7 fdatasync(6</tmp/a/audit.db>) = 0", promise}, false},
		{[]string{write, "7 fdatasync(6</tmp/a/audit.db-wal> <unfinished ...>", promise}, false},
		{[]string{write, "7 fdatasync(6</tmp/a/audit.db-wal>) = -1 EIO (Input/output error)", promise}, false},
	} {
		var o order
		var err error
		for _, line := range test.lines {
			if e := o.take(line); e != nil {
				err = e
			}
		}
		if (err == nil) != test.good {
			t.Errorf("%q: %v", test.lines, err)
		}
	}
}
