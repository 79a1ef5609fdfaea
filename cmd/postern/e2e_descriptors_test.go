package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postern/cmd/internal/peers"
)

// scarce is a Postern that may have few descriptors: enough for 100 sessions.
type scarce struct {
	*process
	held []*peers.Raw // logged in
	next peers.Account
}

const (
	fewDescriptors = 400
	fewSessions    = 100
)

func newScarce(t *testing.T) scarce {
	t.Helper()
	backend, accounts := embedded(t, fewSessions+1, 1)
	binary, limited := buildBinary(t), filepath.Join(t.TempDir(), "limited")
	script := fmt.Sprintf("#!/bin/sh\nulimit -S -n 200 && ulimit -H -n %d && exec %s \"$@\"\n", fewDescriptors, binary)
	if err := os.WriteFile(limited, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	p := start(t, limited, newGate(t, accounts), backend, "--max-sessions-per-address", "1000")
	return scarce{p, hold(t, p.gate, accounts[:fewSessions]), accounts[fewSessions]}
}

// A Postern whose descriptors do not suffice for its sessions says so, refuses those that are too many in words, and keeps
// enough for its log and its pages, whatever comes.
func TestFewDescriptors(t *testing.T) {
	p := newScarce(t)
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", p.cmd.Process.Pid))
	raised := fmt.Sprintf("Max open files %d %d files", fewDescriptors-1, fewDescriptors) // Go's runtime leaves one
	if err != nil || !strings.Contains(strings.Join(strings.Fields(string(status)), " "), raised) {
		t.Errorf("the limit was not raised: %s, %v", status, err)
	}
	warning := fmt.Sprintf("Only %d sessions at once", fewSessions)
	contains(t, "the log", string(p.log.bytes()), warning)
	contains(t, "/healthz", string(p.fetch(t, "/healthz")), warning)
	flood := make([]net.Conn, 500) // of whom 64 wait to be told no, and the rest is closed
	for i := range flood {
		if flood[i], err = net.Dial("tcp", p.pop3s); err != nil {
			t.Fatal(err)
		}
		defer flood[i].Close()
	}
	p.work(t)
	contains(t, "/api/sessions", string(p.fetch(t, "/api/sessions?limit=10")), `"sessions":[{`)
	p.command(t, "sessions")
	for _, conn := range flood {
		conn.Close()
	}
	eventually(t, "a refusal in words", func() bool {
		c, err := peers.Dial(p.target(peers.TLS, p.next))
		if err != nil {
			return false
		}
		defer c.Conn.Close()
		return strings.HasPrefix(c.Greeting, "-ERR [SYS/TEMP] too many connections, ")
	}, p.showLog)
	if answer := p.held[0].Must(t, "QUIT"); !peers.OK(answer) {
		t.Errorf("QUIT: %q", answer)
	}
	p.admits(t)
	if n := p.shortages(); n > 0 {
		t.Errorf("%d times nothing could be accepted", n)
	}
	p.end(t)
}

// Even when there is no descriptor left at all, the sessions that there are go on with their records, clients wait, and
// the operator is told once.
func TestNoDescriptors(t *testing.T) {
	p := newScarce(t)
	p.held[0].Must(t, "QUIT")
	p.held = p.held[1:]
	p.limit(t, 8)
	waiting := make(chan *peers.Raw, 1)
	go func() {
		c, err := peers.Dial(p.target(peers.STLS, p.next))
		if err != nil {
			t.Error(err)
		}
		waiting <- c
	}()
	p.work(t)
	time.Sleep(time.Second) // twenty more tries to accept
	if n := p.shortages(); n != 1 {
		t.Errorf("told of %d times, want once", n)
		p.showLog(t)
	}
	if len(waiting) > 0 {
		t.Error("somebody was let in")
	}
	p.limit(t, fewDescriptors)
	if c := <-waiting; c != nil {
		c.Conn.Close()
	}
	p.admits(t)
	p.end(t)
}

// limit changes the soft limit of a process that runs.
func (p scarce) limit(t *testing.T, n int) {
	t.Helper()
	cmd := exec.Command("prlimit", fmt.Sprintf("--pid=%d", p.cmd.Process.Pid), fmt.Sprintf("--nofile=%d:%d", n, fewDescriptors))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("prlimit: %v\n%s", err, out)
	}
}

// work lets the sessions that are held say enough to make the log's WAL start over.
func (p scarce) work(t *testing.T) {
	t.Helper()
	for range 20 {
		for i, c := range p.held {
			if err := c.Send("STAT\r\n"); err != nil {
				t.Fatalf("session %d: %v", i, err)
			}
		}
		for i, c := range p.held {
			if line, err := c.Line(); err != nil || !peers.OK(line) {
				t.Fatalf("session %d: %q, %v", i, line, err)
			}
		}
	}
}

// admits waits until somebody new can log in.
func (p scarce) admits(t *testing.T) {
	t.Helper()
	eventually(t, "a login", func() bool {
		c, err := peers.Dial(p.target(peers.TLS, p.next))
		if err != nil {
			return false
		}
		defer c.Conn.Close()
		reply, _ := c.Do("USER " + p.next.User)
		if peers.OK(reply) {
			reply, _ = c.Do("PASS " + p.next.Password)
		}
		c.Do("QUIT")
		return peers.OK(reply)
	}, p.showLog)
}

// shortages is how often the log tells that nothing can be accepted.
func (p scarce) shortages() int {
	return strings.Count(string(p.log.bytes()), "none can be accepted for now")
}

// end finds the audit log well, and whole.
func (p scarce) end(t *testing.T) {
	t.Helper()
	contains(t, "/metrics", string(p.fetch(t, "/metrics")), "postern_log_up 1\n", "postern_log_failures_total 0\n")
	http.DefaultClient.CloseIdleConnections()
	p.terminate(t)
	p.command(t, "verify")
}
