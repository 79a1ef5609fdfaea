package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"postern/audit"
	"postern/cmd/internal/peers"
	"postern/proxy"
)

// refusedByLog is what a client hears while the log cannot be written.
const refusedByLog = "-ERR [SYS/TEMP] the audit log is not available, try again later"

// The disk under the log fails while clients work: audit/testdata/faults.c stands between SQLite and the system.
func TestFailingLog(t *testing.T) {
	binary := buildBinary(t)
	library := filepath.Join(t.TempDir(), "faults.so")
	if out, err := exec.Command("gcc", "-shared", "-fPIC", "-O1", "-o", library, "../../audit/testdata/faults.c").CombinedOutput(); err != nil {
		t.Fatalf("gcc: %v\n%s", err, out)
	}
	for _, test := range []struct {
		name, onFailure string
		errno           syscall.Errno // of writes; 0: syncs fail
	}{
		{"full, refuse", "refuse", syscall.ENOSPC},
		{"unsynced, refuse", "refuse", 0},
		{"broken, continue", "continue", syscall.EIO},
	} {
		t.Run(test.name, func(t *testing.T) {
			backend, accounts := embedded(t, loaders, 20)
			f := newFailing(t, binary, library, backend, accounts, test.onFailure)
			f.play(t, accounts, test.errno, test.onFailure == "continue")
		})
	}
}

// failing is a Postern whose disk fails when it is told to.
type failing struct {
	*process
	control string
}

func newFailing(t *testing.T, binary, library, backend string, accounts []peers.Account, onFailure string) failing {
	t.Helper()
	g := newGate(t, accounts)
	f := failing{control: filepath.Join(t.TempDir(), "control")}
	f.inject(t, 0, 0)
	t.Setenv("POSTERN_FAULTS_DIR", g.dir)
	t.Setenv("POSTERN_FAULTS_CONTROL", f.control)
	t.Setenv("LD_PRELOAD", library)
	f.process = start(t, binary, g, backend, "--on-failure", onFailure)
	os.Unsetenv("LD_PRELOAD") // Setenv puts back what was there before the test
	return f
}

// inject makes writes or syncs fail from here on.
func (f failing) inject(t *testing.T, write, sync syscall.Errno) {
	t.Helper()
	file, err := os.OpenFile(f.control, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.Write([]byte{byte(write), byte(sync), 0, 0, 0, 0}); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
}

// play lets clients work while the log fails and is well again, and compares what they saw with the log.
func (f failing) play(t *testing.T, accounts []peers.Account, errno syscall.Errno, goesOn bool) {
	var failed atomic.Bool // from when it is certain to when it is mended
	var done atomic.Bool
	var load sync.WaitGroup
	seen := make([][]seenSession, len(accounts))
	for i, a := range accounts {
		load.Go(func() {
			for !done.Load() {
				seen[i] = append(seen[i], f.visit(a, &failed))
			}
		})
	}
	time.Sleep(500 * time.Millisecond)
	if errno == 0 {
		f.inject(t, 0, syscall.EIO)
	} else {
		f.inject(t, errno, 0)
	}
	eventually(t, "healthz to say 503", func() bool { return f.health(t) == http.StatusServiceUnavailable }, f.showLog)
	failed.Store(true)
	time.Sleep(1500 * time.Millisecond)
	contains(t, "/metrics", string(f.fetch(t, "/metrics")), "postern_log_up 0\n", "postern_log_failures_total 1\n")
	failed.Store(false)
	f.inject(t, 0, 0)
	mended := time.Now()
	eventually(t, "healthz to say 200", func() bool { return f.health(t) == http.StatusOK }, f.showLog)
	if took := time.Since(mended); took > 5*time.Second {
		t.Errorf("the log was well %v after the disk", took)
	}
	time.Sleep(500 * time.Millisecond)
	done.Store(true)
	load.Wait()
	f.terminate(t)
	f.check(t, seen, goesOn)
}

// health returns the status of /healthz.
func (f failing) health(t *testing.T) int {
	t.Helper()
	answer, err := http.Get("http://" + f.web + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	io.Copy(io.Discard, answer.Body)
	return answer.StatusCode
}

// seenSession is what one client saw.
type seenSession struct {
	peer     netip.AddrPort
	replies  int  // whole, and not the log's refusal
	refused  bool // by the log
	during   bool // it connected while the log was failing for certain, and still was when it ended
	loggedIn bool
}

// visit plays a session.
func (f failing) visit(a peers.Account, failed *atomic.Bool) (s seenSession) {
	before := failed.Load()
	c, err := peers.Dial(f.target(peers.TLS, a))
	if err != nil {
		time.Sleep(10 * time.Millisecond)
		return s
	}
	defer c.Conn.Close()
	s.peer = netip.MustParseAddrPort(c.Addr())
	if s.refused = strings.HasPrefix(c.Greeting, refusedByLog); s.refused {
		time.Sleep(10 * time.Millisecond)
	}
	for _, command := range []string{"USER " + a.User, "PASS " + a.Password, "STAT", "RETR 1", "NOOP", "RETR 2", "QUIT"} {
		if s.refused {
			break
		}
		reply, err := c.Do(command)
		if s.refused = strings.Contains(reply, refusedByLog); s.refused || err != nil {
			break
		}
		s.replies++
		s.loggedIn = s.loggedIn || strings.HasPrefix(command, "PASS") && peers.OK(reply)
		if s.replies == 2 && !s.loggedIn {
			break // the maildrop is still locked
		}
	}
	s.during = before && failed.Load()
	return s
}

// check compares what the clients saw with what the log says.
func (f failing) check(t *testing.T, seen [][]seenSession, goesOn bool) {
	t.Helper()
	log := openStories(t, f.gate)
	var served, during, refused int
	for _, sessions := range seen {
		for _, s := range sessions {
			switch {
			case s.during && s.loggedIn:
				during++
			case s.refused:
				refused++
			}
			if served += s.replies; goesOn || s.replies == 0 {
				continue
			}
			if kept := commandsKept(t, log, s.peer); kept < s.replies {
				t.Errorf("%s saw %d replies, and %d commands are on record", s.peer, s.replies, kept)
			}
		}
	}
	t.Logf("%d replies; while the log failed %d sessions logged in and %d were refused", served, during, refused)
	if served < 100 || goesOn != (during > 0) || goesOn != (refused == 0) {
		t.Errorf("%d replies; while the log failed %d sessions logged in and %d were refused", served, during, refused)
	}
	states := ""
	err := eachRecord(t, log.reader, func(r audit.Record) {
		if r.Kind == proxy.KindState {
			states += " " + r.Detail
		}
	})
	if err != nil || !strings.Contains(states, audit.LogFailing+" "+audit.LogRecovered) {
		t.Errorf("the log was%s, %v", states, err)
	}
}

// commandsKept returns how many commands of the newest session of peer are on record.
func commandsKept(t *testing.T, log *storyLog, peer netip.AddrPort) int {
	t.Helper()
	var kept int
	for _, session := range log.byPeer[peer] {
		records, err := log.reader.Transcript(t.Context(), session.ID, 0, 1000)
		if err != nil {
			t.Fatal(err)
		}
		kept = max(kept, len(keptOf(records).commands))
	}
	return kept
}

func eachRecord(t *testing.T, r *audit.Reader, visit func(audit.Record)) error {
	t.Helper()
	for after := int64(0); ; {
		records, err := r.Records(t.Context(), after, 10_000, audit.Filter{})
		if err != nil {
			return err
		}
		for _, rec := range records {
			if rec.Seq != after+1 {
				return errors.New("the numbers have a hole after " + fmt.Sprint(after))
			}
			after = rec.Seq
			visit(rec)
		}
		if len(records) == 0 {
			return nil
		}
	}
}
