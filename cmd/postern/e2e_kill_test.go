package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"postern/audit"
	"postern/cmd/internal/peers"
	"postern/cmd/internal/popd"
	"postern/proxy"
)

const (
	kills      = 50
	loaders    = 6   // concurrent clients
	stockSize  = 200 // messages in each maildrop
	killMinAge = 200 * time.Millisecond
	killMaxAge = 700 * time.Millisecond
)

// The promise: no reply without its record. The program is killed 50 times while clients issue commands as fast as
// they can; every reply that a client saw whole must be in the log, and every octet of mail must have been
// announced there before it came.
func TestKill(t *testing.T) {
	backend, accounts := embedded(t, loaders, stockSize)
	g := newGate(t, accounts)
	binary := buildBinary(t)
	total, sessions := 0, 0
	for round := range kills {
		p := start(t, binary, g, backend)
		var loads sync.WaitGroup
		stories := make([][]story, loaders)
		for i, a := range accounts {
			loads.Go(func() { stories[i] = load(g, a) })
		}
		time.Sleep(killMinAge + rand.N(killMaxAge-killMinAge))
		p.kill()
		loads.Wait()
		log := openStories(t, g)
		for _, client := range stories {
			for _, s := range client {
				total += len(s.replies)
				sessions++
				log.check(t, round, s)
			}
		}
	}
	start(t, binary, g, backend).terminate(t)
	checkAborted(t, g, sessions)
	if total < 50*kills {
		t.Errorf("%d replies in %d rounds are too few to prove anything", total, kills)
	}
	t.Logf("%d kills, %d sessions, %d acknowledged commands", kills, sessions, total)
	g.secrets.searchAll(t, g)
}

// embedded runs the light server of the demo with n accounts.
func embedded(t *testing.T, n, stock int) (addr string, accounts []peers.Account) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &popd.Server{Drops: map[string]*popd.Maildrop{}}
	mail := peers.Small(stock)
	for i := range n {
		a := peers.Account{User: fmt.Sprintf("user%d", i), Password: fmt.Sprintf("e2e embedded 8Zk3 %d", i), Mail: mail}
		server.Drops[a.User] = popd.NewMaildrop(a.Password, mail)
		accounts = append(accounts, a)
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Close()
		<-ended
	})
	return l.Addr().String(), accounts
}

// story is what one client saw of one session.
type story struct {
	peer    netip.AddrPort
	began   time.Time
	replies []answered
	partial int64 // the message of which a RETR or TOP brought octets, but not the end
}

type answered struct {
	verb, status string
	message      int64
	octets       int64
	pending      int64 // deletes that a QUIT commits
}

// load runs sessions until the server is gone.
func load(g *gate, a peers.Account) (stories []story) {
	for end := time.Now().Add(patience); time.Now().Before(end); {
		began := time.Now()
		c, err := peers.Dial(g.target(peers.TLS, a))
		if errors.Is(err, syscall.ECONNREFUSED) {
			break
		}
		if err != nil {
			continue // killed in the handshake
		}
		s := story{peer: netip.MustParseAddrPort(c.Addr()), began: began}
		s.run(c, a)
		c.Conn.Close()
		stories = append(stories, s)
	}
	return stories
}

// run plays one session: reads, deletes, changes its mind, reads and deletes again.
func (s *story) run(c *peers.Raw, a peers.Account) {
	commands := []string{"CAPA", "USER " + a.User, "PASS " + a.Password, "STAT", "LIST", "UIDL", "RETR 1", "DELE 1", "RSET"}
	for n := 2; n < 40; n++ {
		commands = append(commands, fmt.Sprintf("RETR %d", n), fmt.Sprintf("TOP %d 1", n), "NOOP")
	}
	commands = append(commands, "DELE 1", "DELE 2", "QUIT")
	pending := int64(0)
	for _, command := range commands {
		reply, err := c.Do(command)
		fields := strings.Fields(command)
		r := answered{verb: fields[0], status: statusOf(reply)}
		switch r.verb {
		case "RETR", "TOP", "DELE":
			fmt.Sscan(fields[1], &r.message)
		case "QUIT":
			r.pending = pending
		}
		if r.verb == "RETR" || r.verb == "TOP" {
			r.octets = max(0, bodyOctets(reply))
		}
		if err != nil {
			if strings.Count(reply, "\n") > 0 && r.octets > 0 {
				s.partial = r.message
			}
			return
		}
		s.replies = append(s.replies, r)
		switch {
		case r.verb == "DELE" && r.status == "+OK": // a maildrop has few messages in the end
			pending++
		case r.verb == "RSET":
			pending = 0
		}
		if r.verb == "PASS" && r.status != "+OK" {
			return // the session of the round before still holds the maildrop
		}
	}
}

func statusOf(reply string) string {
	status, _, _ := strings.Cut(strings.TrimSpace(reply), " ")
	status, _, _ = strings.Cut(status, "\r")
	return status
}

// storyLog finds sessions of the log by the client's address.
type storyLog struct {
	reader *audit.Reader
	byPeer map[netip.AddrPort][]audit.Session
}

// openStories reads the log as the kill left it.
func openStories(t *testing.T, g *gate) *storyLog {
	t.Helper()
	l := &storyLog{g.reader(t), map[netip.AddrPort][]audit.Session{}}
	for _, s := range allSessions(t, l.reader) {
		l.byPeer[s.Peer] = append(l.byPeer[s.Peer], s)
	}
	return l
}

func allSessions(t *testing.T, r *audit.Reader) (all []audit.Session) {
	t.Helper()
	q := audit.SessionQuery{Limit: audit.MaxSessions}
	for {
		page, err := r.Sessions(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			return all
		}
		all = append(all, page...)
		q.Before = page[len(page)-1].ID
	}
}

// check compares what a client saw with what the log says.
func (l *storyLog) check(t *testing.T, round int, s story) {
	t.Helper()
	records := l.records(t, s)
	if records == nil {
		if len(s.replies) > 0 {
			t.Errorf("round %d: the session of %s, with %d replies seen, is missing", round, s.peer, len(s.replies))
		}
		return
	}
	k := keptOf(records)
	if len(k.commands) < len(s.replies) {
		t.Errorf("round %d: %d commands recorded for %s, which saw %d replies", round, len(k.commands), s.peer, len(s.replies))
		return
	}
	for i, seen := range s.replies {
		r := k.commands[i]
		if r.Verb != seen.verb || r.Status != seen.status || r.Message != seen.message ||
			(seen.octets > 0 && r.Octets != seen.octets) {
			t.Errorf("round %d, %s, command %d: recorded %s %d %s, %d octets; seen %+v",
				round, s.peer, i, r.Verb, r.Message, r.Status, r.Octets, seen)
		}
		if seen.octets > 0 && !k.opened[seen.message] {
			t.Errorf("round %d, %s: message %d was read and is not recorded as opened", round, s.peer, seen.message)
		}
		if seen.pending > 0 && seen.status == "+OK" && (k.intended != seen.pending || k.committed != seen.pending) {
			t.Errorf("round %d, %s: %d deletes committed; recorded %d intended, %d committed",
				round, s.peer, seen.pending, k.intended, k.committed)
		}
	}
	if s.partial != 0 && !k.opened[s.partial] {
		t.Errorf("round %d, %s: a part of message %d was read and is not recorded as opened", round, s.peer, s.partial)
	}
}

// kept is what the log has of a session.
type kept struct {
	commands            []audit.Record
	opened              map[int64]bool
	intended, committed int64 // deletes
}

func keptOf(records []audit.Record) kept {
	k := kept{opened: map[int64]bool{}}
	for _, r := range records {
		switch {
		case r.Kind == proxy.KindCommand:
			k.commands = append(k.commands, r)
		case r.Kind == proxy.KindOpened:
			k.opened[r.Message] = true
		case r.Kind == proxy.KindIntent:
			k.intended += r.Count
		case r.Kind == proxy.KindDelete && r.Detail == proxy.DeleteCommitted:
			k.committed++
		}
	}
	return k
}

// records returns the records of the log's session for s, nil if there is none.
func (l *storyLog) records(t *testing.T, s story) []audit.Record {
	t.Helper()
	for _, session := range slices.Backward(l.byPeer[s.peer]) { // newest first
		if session.Start.Before(s.began) {
			continue // an earlier session from the same port
		}
		records, err := l.reader.Transcript(t.Context(), session.ID, 0, 10_000)
		if err != nil {
			t.Fatal(err)
		}
		return records
	}
	return nil
}

// checkAborted expects that no session is left open, and that each kill cut some.
func checkAborted(t *testing.T, g *gate, sessions int) {
	t.Helper()
	aborted := 0
	for _, s := range allSessions(t, g.reader(t)) {
		if s.State != audit.StateEnded {
			t.Errorf("session %s of %s is still %s", s.ID, s.Peer, s.State)
		}
		if s.EndReason == audit.Aborted {
			aborted++
		}
	}
	if aborted < kills || aborted > sessions+kills*loaders {
		t.Errorf("%d sessions aborted by %d kills, of %d sessions in all", aborted, kills, sessions)
	}
}
