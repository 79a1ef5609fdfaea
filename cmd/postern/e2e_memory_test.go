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
	warmSessions = 50 // held while the base is measured: what the program needs once is not theirs
	perSession   = 64 << 10
)

// A session that waits is cheap: 500 of them, logged in through TLS, take less than 64 kB each.
func TestMemory(t *testing.T) {
	backend, accounts := embedded(t, heldSessions+warmSessions, 1)
	g := newGate(t, accounts[:1])
	p := start(t, buildBinary(t), g, backend, "--max-sessions-per-address", fmt.Sprint(2*heldSessions))
	hold(t, g, accounts[:warmSessions])
	before := resident(t, p.cmd.Process.Pid)
	held := hold(t, g, accounts[warmSessions:])
	after := resident(t, p.cmd.Process.Pid)
	each := (after - before) / heldSessions
	t.Logf("%d kB with %d sessions, %d kB with %d more: %d octets each",
		before>>10, warmSessions, after>>10, heldSessions, each)
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

// resident returns the octets of memory of a process that are its own, once they have settled.
func resident(t *testing.T, pid int) int {
	t.Helper()
	last := -1
	for range 20 {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			t.Fatal(err)
		}
		_, text, _ := strings.Cut(string(status), "RssAnon:")
		var kB int
		if _, err := fmt.Sscan(text, &kB); err != nil {
			t.Fatalf("RssAnon of process %d: %v", pid, err)
		}
		if kB == last {
			break
		}
		last = kB
		time.Sleep(100 * time.Millisecond)
	}
	return last << 10
}
