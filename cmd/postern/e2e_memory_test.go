package main

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"postern/cmd/internal/peers"
)

const (
	heldSessions = 500
	warmSessions = 2 // before the base is measured: what the program needs once is not theirs
	perSession   = 22 << 10
	settleTime   = 40 * time.Second // for the sessions to rest, and for the program to tidy up, which it thinks of every ten seconds
)

// A session that waits is cheap: 500 of them, logged in through TLS, take less than 22 KiB each once all rest. With goroutines it was
// 30 KiB, and 26 before the program has tidied up.
func TestMemory(t *testing.T) {
	backend, accounts := embedded(t, heldSessions+warmSessions, 1)
	g := newGate(t, accounts[:1])
	p := start(t, buildBinary(t), g, backend, "--max-sessions-per-address", fmt.Sprint(2*heldSessions))
	hold(t, g, accounts[:warmSessions])
	before := resident(t, p.cmd.Process.Pid)
	held := hold(t, g, accounts[warmSessions:])
	each := perSession
	for began := time.Now(); each >= perSession && time.Since(began) < settleTime; time.Sleep(time.Second) {
		each = (resident(t, p.cmd.Process.Pid) - before) / heldSessions
	}
	t.Logf("%d kB before, %d octets for each of %d sessions", before>>10, each, heldSessions)
	if each >= perSession {
		t.Errorf("%d octets a session, want less than %d", each, perSession)
	}
	for _, c := range held {
		if reply := c.Must(t, "STAT"); !peers.OK(reply) {
			t.Fatalf("a held session answers %q", reply)
		}
	}
	p.terminate(t)
}

// hold logs each account in, a few at once, and leaves it so.
func hold(t *testing.T, g *gate, accounts []peers.Account) []*peers.Raw {
	t.Helper()
	held := make([]*peers.Raw, len(accounts))
	next := make(chan int)
	var dialers sync.WaitGroup
	for range 8 {
		dialers.Go(func() {
			for i := range next {
				c, err := peers.Dial(g.target(peers.TLS, accounts[i]))
				if err != nil {
					t.Errorf("session %d: %v", i, err)
					continue
				}
				held[i] = c
				for _, command := range []string{"USER " + accounts[i].User, "PASS " + accounts[i].Password} {
					if reply, err := c.Do(command); err != nil || !peers.OK(reply) {
						t.Errorf("session %d: %q, %v", i, reply, err)
					}
				}
			}
		})
	}
	for i := range accounts {
		next <- i
	}
	close(next)
	dialers.Wait()
	t.Cleanup(func() {
		for _, c := range held {
			if c != nil {
				c.Conn.Close()
			}
		}
	})
	if t.Failed() {
		g.showLog(t)
		t.FailNow()
	}
	return held
}

// resident returns the octets of memory of a process that are its own.
func resident(t *testing.T, pid int) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(status), "RssAnon:")
	var kB int
	if _, err := fmt.Sscan(text, &kB); err != nil {
		t.Fatalf("RssAnon of process %d: %v", pid, err)
	}
	return kB << 10
}
