package main

import (
	"fmt"
	"math"
	"net"
	"net/http"
	"sync/atomic"
	"syscall"

	"postern/cmd/internal/config"
)

// A process has a bounded number of descriptors, and a log that cannot open a file refuses every session. So sessions
// get what the rest leaves: a new one is refused in words before anything else comes to want.
const (
	eachSession = 2   // the client's connection and the backend's
	maxPages    = 128 // connections to the dashboard, beside its viewers, who are at most 64
	// kept for all else: sessions over the limit that are told so (64), the dashboard (192), validations by ACME (128), and
	// 64 for the database (at most 27), listeners, the control socket, anchors, the DNS.
	keptDescriptors = 448
)

// affordable is how many sessions the descriptors suffice for. The runtime has raised the limit as far as it may by now:
// only the hard limit counts, of which it leaves one.
func affordable() int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return math.MaxInt // nobody knows of a limit
	}
	return within(int(min(uint64(limit.Cur), math.MaxInt32)))
}

// within is how many sessions so many descriptors suffice for. Of few, half are kept.
func within(descriptors int) int {
	return max(1, (descriptors-min(keptDescriptors, descriptors/2))/eachSession)
}

// descriptorWarnings tells of a limit that leaves fewer sessions than were asked for.
func descriptorWarnings(c *config.Config, affordable int) []string {
	if c.MaxSessions <= affordable {
		return nil
	}
	return []string{fmt.Sprintf("Only %d sessions at once, not the %d of --max-sessions: the limit of open files is too low, a session takes %d. "+
		"Raise it to %d: LimitNOFILE= in a systemd unit, ulimit -n before the start elsewhere; or lower --max-sessions.",
		affordable, c.MaxSessions, eachSession, c.MaxSessions*eachSession+keptDescriptors+1)}
}

// atMost closes connections to an HTTP server that are too many. Those that became something else are not counted.
func atMost(n int64) func(net.Conn, http.ConnState) {
	var open atomic.Int64
	return func(conn net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			if open.Add(1) > n {
				conn.Close()
			}
		case http.StateClosed, http.StateHijacked:
			open.Add(-1)
		}
	}
}
