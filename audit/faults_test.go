package audit

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"postern/proxy"
)

// faults is testdata/faults.c between SQLite and the system, in a child. It is told what to do by octets in a file.
type faults struct{ library, dir, control, trace string }

const (
	faultsEnv  = "POSTERN_FAULTS_CONTROL"
	failureEnv = "POSTERN_AUDIT_ON_FAILURE"
	faultEnv   = "POSTERN_AUDIT_FAULT"
)

// The places of faults.c's control file.
const (
	writeErrno = iota
	syncErrno
	openErrno
	shortWrites
	syncDelay
	seen
	controls
)

// compileFaults makes the library.
func compileFaults(t *testing.T) (library string) {
	t.Helper()
	library = filepath.Join(t.TempDir(), "faults.so")
	out, err := exec.Command("gcc", "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", library, "testdata/faults.c").CombinedOutput()
	if err != nil {
		t.Fatalf("gcc: %v\n%s", err, out)
	}
	return library
}

// newFaults puts the library before a log in a directory of its own.
func newFaults(t *testing.T, library string) faults {
	t.Helper()
	tmp := t.TempDir()
	f := faults{library: library, dir: t.TempDir(), control: filepath.Join(tmp, "control"), trace: filepath.Join(tmp, "trace")}
	if err := os.WriteFile(f.control, make([]byte, controls), 0o600); err != nil {
		t.Fatal(err)
	}
	return f
}

// child prepares a scene behind the library.
func (f faults) child(t *testing.T, scene string, env ...string) *exec.Cmd {
	t.Helper()
	cmd := child(t, scene, filepath.Join(f.dir, "audit.db"))
	cmd.Env = append(append(cmd.Env, "LD_PRELOAD="+f.library, "POSTERN_FAULTS_DIR="+f.dir, faultsEnv+"="+f.control), env...)
	return cmd
}

// run plays a scene on a disk that is well when it begins.
func (f faults) run(t *testing.T, scene string, env ...string) {
	t.Helper()
	if err := os.WriteFile(f.control, make([]byte, controls), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := f.child(t, scene, env...).Run(); err != nil {
		t.Fatal(err)
	}
}

// wantSeen fails the test if SQLite does not go through the library.
func (f faults) wantSeen(t *testing.T) {
	t.Helper()
	b, err := os.ReadFile(f.control)
	if err != nil || b[seen] != 1 {
		t.Fatalf("the library has seen no write of SQLite's: %v, %v", b, err)
	}
}

// inject sets what the library does from here on; it is called in the child.
func inject(octets ...byte) error {
	f, err := os.OpenFile(os.Getenv(faultsEnv), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.Write(append(octets, make([]byte, seen-len(octets))...))
	return errors.Join(err, f.Close())
}

// fault is one way in which a disk fails.
type fault struct {
	octets []byte
	remedy string
}

var knownFaults = map[string]fault{
	"full":      {[]byte{writeErrno: byte(syscall.ENOSPC)}, "free space on"},
	"cut":       {[]byte{writeErrno: byte(syscall.ENOSPC), shortWrites: 1}, "free space on"},
	"quota":     {[]byte{writeErrno: byte(syscall.EDQUOT)}, "free space on"},
	"broken":    {[]byte{writeErrno: byte(syscall.EIO)}, "look after the disk"},
	"torn":      {[]byte{writeErrno: byte(syscall.EIO), shortWrites: 1}, "look after the disk"},
	"unsynced":  {[]byte{syncErrno: byte(syscall.EIO)}, "look after the disk"},
	"read-only": {[]byte{writeErrno: byte(syscall.EROFS), openErrno: byte(syscall.EROFS)}, "writable"},
}

// faultScene runs into a fault, and out of it again. It says on stdout what was promised.
func faultScene(path string) error {
	on, err := ParseOnFailure(os.Getenv(failureEnv))
	if err != nil {
		return err
	}
	l, err := Open(context.Background(), Options{Path: path, OnFailure: on, statfs: roomy})
	if err != nil {
		return err
	}
	f := knownFaults[os.Getenv(faultEnv)]
	id, late := newID(), newID()
	promise(l, id, 1, 20)
	if err := inject(f.octets...); err != nil {
		return err
	}
	if err := failed(l, id, on, f); err != nil {
		return err
	}
	l.Record(end(id))
	time.Sleep(400 * time.Millisecond) // a few attempts to heal fail
	if h := l.Health(); h.OK {
		return fmt.Errorf("the log is well although the disk is not: %+v", h)
	}
	if err := inject(); err != nil {
		return err
	}
	since := time.Now()
	if err := well(l); err != nil {
		return err
	}
	fmt.Printf("well %d\n", time.Since(since).Milliseconds())
	promise(l, late, 1, 20)
	l.Record(end(late))
	return l.Close()
}

// promise records commands of a session and says which are promised to be kept.
func promise(l *Log, id proxy.SessionID, from, to int64) {
	if from == 1 {
		l.Record(connect(id))
	}
	for n := from; n <= to; n++ {
		ev := command(id, "NOOP", strings.Repeat("x", 100), "+OK")
		ev.Message = n
		if l.Record(ev).Wait() == nil && l.Health().Lost == 0 {
			fmt.Printf("%s %d\n", id, n)
		}
	}
}

// failed records until the log is failing, and checks what it tells sessions then.
func failed(l *Log, id proxy.SessionID, on OnFailure, f fault) error {
	for n := int64(21); l.Health().OK && n < 1000; n++ {
		promise(l, id, n, n)
	}
	h := l.Health()
	if h.OK || h.Failures != 1 || !strings.Contains(h.Err, f.remedy) {
		return fmt.Errorf("health of a failing log: %+v, want %q", h, f.remedy)
	}
	ready, receipt := l.Ready(), l.Record(connect(newID())).Wait()
	if on == Refuse && (!errors.Is(ready, proxy.ErrNotRecorded) || !errors.Is(receipt, proxy.ErrNotRecorded)) {
		return fmt.Errorf("a failing log lets a session in: ready %v, receipt %v", ready, receipt)
	}
	if on == Continue && (ready != nil || receipt != nil) {
		return fmt.Errorf("a log that is to go on does not: ready %v, receipt %v", ready, receipt)
	}
	return nil
}

func TestFaults(t *testing.T) {
	library := compileFaults(t)
	for name := range knownFaults {
		for _, on := range []OnFailure{Refuse, Continue} {
			t.Run(name+"/"+on.String(), func(t *testing.T) { testFault(t, newFaults(t, library), name, on) })
		}
	}
}

func testFault(t *testing.T, f faults, name string, on OnFailure) {
	path := filepath.Join(f.dir, "audit.db")
	out, err := f.child(t, "fault", failureEnv+"="+on.String(), faultEnv+"="+name).Output()
	if err != nil {
		t.Fatal(err)
	}
	f.wantSeen(t)
	promised := readPromises(t, string(out))
	if promised.well < 0 || promised.well > 5*time.Second {
		t.Errorf("the log was well %v after the disk", promised.well)
	}
	if len(promised.to) < 1 || promised.events < 20 {
		t.Errorf("%d events of %d sessions were promised: too few", promised.events, len(promised.to))
	}
	wantKept(t, path, promised)
	wantSealed(t, path)
	if got := states(t, path); got != "failing recovered" {
		t.Errorf("the log was %q", got)
	}
	if got := story(records(t, path)); !strings.Contains(got, " state:failing gap gap end:quit state:recovered ") {
		t.Errorf("the log tells %s", got)
	}
}

// promises are what a child has said.
type promises struct {
	to     map[proxy.SessionID]int64 // the last event of a session
	events int
	well   time.Duration // how long the log took to be well again; negative when it was not
}

func readPromises(t *testing.T, text string) promises {
	t.Helper()
	p := promises{to: map[proxy.SessionID]int64{}, well: -1}
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		name, number, _ := strings.Cut(lines.Text(), " ")
		var n int64
		if _, err := fmt.Sscan(number, &n); err != nil {
			t.Fatalf("a child says %q", lines.Text())
		}
		if name == "well" {
			p.well = time.Duration(n) * time.Millisecond
			continue
		}
		id, err := proxy.ParseSessionID(name)
		if err != nil {
			t.Fatalf("a child says %q", lines.Text())
		}
		p.to[id] = max(p.to[id], n)
		p.events++
	}
	return p
}

// wantKept checks that every session has all events up to the last that was promised, each once.
func wantKept(t *testing.T, path string, p promises) {
	t.Helper()
	found := map[proxy.SessionID]int64{}
	for _, r := range records(t, path) {
		if r.Kind != proxy.KindCommand {
			continue
		}
		if r.Message == found[r.Session]+1 {
			found[r.Session]++
		} else if r.Message <= p.to[r.Session] {
			t.Errorf("session %s: event %d follows %d", r.Session, r.Message, found[r.Session])
		}
	}
	for id, n := range p.to {
		if found[id] < n {
			t.Errorf("session %s: %d events were promised, %d are kept", id, n, found[id])
		}
	}
}
