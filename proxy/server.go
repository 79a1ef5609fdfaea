package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// ErrServerClosed is returned by Serve after Shutdown.
var ErrServerClosed = errors.New("proxy: server closed")

// Server relays the sessions of its listeners to one backend. Set the fields before the first Serve.
type Server struct {
	Backend  string       // host:port of a POP3 server
	Recorder Recorder     // where Events go; never nil
	TLS      *tls.Config  // for the clients' leg; never nil
	Limits   Limits       // zero fields take their defaults
	Logger   *slog.Logger // nil discards

	Rules Rules // where a site departs from the defaults

	// BackendSecurity says how the backend is spoken to. Unless it is plain, BackendTLS is for its leg, verifies
	// its certificate and names it.
	BackendSecurity Security
	BackendTLS      *tls.Config
	// BackendVerified tells how a backend was verified, for TLS.Verified; nil tells of the name alone.
	BackendVerified func(tls.ConnectionState) string
	// Fingerprint computes TLS.JA4 of a client; nil leaves it out.
	Fingerprint func(*tls.ClientHelloInfo) string

	// Dial connects to the backend; nil dials TCP. The Server closes what it returns.
	Dial func(ctx context.Context, address string) (net.Conn, error)

	once    sync.Once
	limits  Limits
	log     *slog.Logger
	front   *tls.Config // of the clients' leg, observed
	reach   reach       // of the backend
	closing atomic.Bool
	cutting context.Context // done when what does not end by itself is cut
	cut     context.CancelFunc
	counts  counters
	probes  probes
	seed    maphash.Seed   // of links
	running sync.WaitGroup // sessions
	poller  poller         // of those that rest

	mu        sync.Mutex // guards what follows
	listeners map[net.Listener]struct{}
	sessions  map[*session]struct{}
	addresses map[netip.Prefix]int // sessions by client address, IPv6 by /64
	users     map[string]int       // sessions by logged-in user
	peers     map[link]struct{}    // of the sessions
	ours      map[link]struct{}    // our backend connections
}

type counters struct {
	sessions, accepted, refused, handshake, commands, unbacked, received, sent atomic.Int64
}

func (s *Server) init() {
	s.once.Do(func() {
		s.limits = s.Limits.withDefaults()
		s.log = s.Logger
		if s.log == nil {
			s.log = slog.New(slog.DiscardHandler)
		}
		s.front = s.observed(s.TLS)
		s.probes.recorder = s.Recorder
		s.cutting, s.cut = context.WithCancel(context.Background())
		s.listeners = make(map[net.Listener]struct{})
		s.sessions = make(map[*session]struct{})
		s.addresses = make(map[netip.Prefix]int)
		s.users = make(map[string]int)
		s.seed = maphash.MakeSeed()
		s.peers = make(map[link]struct{})
		s.ours = make(map[link]struct{})
	})
}

// Serve accepts connections from l, speaking as mode says, until Shutdown, and then returns
// ErrServerClosed. It closes l. name is the listener's in Events.
func (s *Server) Serve(l net.Listener, mode Mode, name string) error {
	s.init()
	defer l.Close()
	if !s.addListener(l) {
		return ErrServerClosed
	}
	defer s.removeListener(l)
	var warned time.Time
	for {
		conn, err := l.Accept()
		switch {
		case s.closing.Load():
			if err == nil {
				conn.Close()
			}
			return ErrServerClosed
		case err == nil:
			s.accept(conn, mode, name)
		case passing(err):
			if time.Since(warned) >= warnEvery {
				warned = time.Now()
				s.log.Warn("new sessions wait: none can be accepted for now", "listener", name, "error", err)
			}
			time.Sleep(50 * time.Millisecond) // for descriptors or memory to come free
		default:
			return fmt.Errorf("accept on %s: %w", name, err)
		}
	}
}

// warnEvery is how often a shortage that lasts is told of: accepting is tried many times a second.
const warnEvery = time.Minute

// passing reports whether an error of Accept says nothing of the listener itself. ENOSPC is of epoll, which has a bound
// on what one user may watch.
func passing(err error) bool {
	for _, e := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM,
		syscall.ENOSPC, syscall.ECONNABORTED, syscall.EPROTO} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func (s *Server) addListener(l net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing.Load() {
		return false
	}
	s.listeners[l] = struct{}{}
	return true
}

func (s *Server) removeListener(l net.Listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.listeners, l)
}

// How many sessions over a limit are let in to be told so, in TLS where the listener speaks it. What comes when these
// are taken too is closed without a word, so that one address cannot take all places.
const (
	spare          = 64
	spareAtAddress = 4
)

// accept starts a session on conn, or closes it when there are far too many.
func (s *Server) accept(conn net.Conn, mode Mode, name string) {
	s.counts.accepted.Add(1)
	ss := newSession(s, conn, mode, name)
	if s.admit(ss) {
		go ss.run()
		return
	}
	if !s.closing.Load() {
		s.counts.refused.Add(1)
		s.probes.add(ss.peer, name, ss.refusal.reason)
	}
	conn.Close()
}

// admit counts ss in. A session that is one too many is let in to be told so, far too many are not.
func (s *Server) admit(ss *session) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closing.Load():
		return false
	case len(s.sessions) >= s.limits.Sessions+spare:
		ss.refusal = errFull
		return false
	case s.addresses[ss.prefix()] >= s.limits.PerAddress+spareAtAddress:
		ss.refusal = errCrowded
		return false
	}
	if len(s.sessions) >= s.limits.Sessions {
		ss.refusal = errFull
	}
	s.running.Add(1)
	s.sessions[ss] = struct{}{}
	s.counts.sessions.Add(1)
	if ss.peer.IsValid() {
		s.peers[ss.link] = struct{}{}
		if s.addresses[ss.prefix()]++; s.addresses[ss.prefix()] > s.limits.PerAddress {
			ss.refusal = errCrowded
		}
	}
	return true
}

// enter counts ss in as a session of user, whose login the backend accepted, unless there are too many. Only
// logins that succeeded count, so that nobody can lock the real user out.
func (s *Server) enter(ss *session, user string) bool {
	if user == "" {
		return true
	}
	user = strings.ToLower(user)
	s.mu.Lock()
	defer s.mu.Unlock()
	if user == ss.owner {
		return true
	}
	if s.users[user] >= s.limits.PerUser {
		return false
	}
	s.disownLocked(ss) // a backend may take a second login
	s.users[user]++
	ss.owner = user
	return true
}

// disownLocked counts ss out as a session of its user.
func (s *Server) disownLocked(ss *session) {
	if ss.owner == "" {
		return
	}
	if s.users[ss.owner]--; s.users[ss.owner] == 0 {
		delete(s.users, ss.owner)
	}
}

// leave counts ss out; its connections are closed.
func (s *Server) leave(ss *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sessions, ss)
	s.counts.sessions.Add(-1)
	s.disownLocked(ss)
	if ss.peer.IsValid() {
		delete(s.peers, ss.link)
		if s.addresses[ss.prefix()]--; s.addresses[ss.prefix()] == 0 {
			delete(s.addresses, ss.prefix())
		}
	}
	s.running.Done()
}

// prefix is the client's address, as it is counted.
func (s *session) prefix() netip.Prefix { return prefixOf(s.peer.Addr()) }

// prefixOf is what sessions of one client are counted by: an IPv6 host has its /64 to itself.
func prefixOf(a netip.Addr) netip.Prefix {
	bits := 32
	if a.Is6() {
		bits = 64
	}
	p, _ := a.Prefix(bits)
	return p
}

// Shutdown stops accepting, lets the commands that are running finish, and ends the sessions. When ctx is
// done first, it cuts their connections and returns ctx's error. Either way no session is left.
func (s *Server) Shutdown(ctx context.Context) error {
	s.init()
	s.stop((*session).wake)
	done := make(chan struct{})
	go s.awaitSessions(done)
	select {
	case <-done:
	case <-ctx.Done():
		s.cut()
		s.stop((*session).cut)
		<-done
		return ctx.Err()
	}
	return nil
}

// awaitSessions closes done when no session is left, the poller has ended and the last probes are recorded.
func (s *Server) awaitSessions(done chan<- struct{}) {
	s.running.Wait()
	s.poller.close()
	s.probes.flush()
	close(done)
}

func (s *Server) stop(each func(*session)) {
	s.closing.Store(true)
	s.mu.Lock()
	defer s.mu.Unlock()
	for l := range s.listeners {
		l.Close()
	}
	for ss := range s.sessions {
		each(ss)
	}
}

// Stats returns the figures of this moment.
func (s *Server) Stats() Stats {
	c := &s.counts
	return Stats{
		Sessions:  c.sessions.Load(),
		Accepted:  c.accepted.Load(),
		Refused:   c.refused.Load(),
		Handshake: c.handshake.Load(),
		Commands:  c.commands.Load(),
		Unbacked:  c.unbacked.Load(),
		Received:  c.received.Load(),
		Sent:      c.sent.Load(),
	}
}

// dial connects to the backend within the limit.
func (s *Server) dial() (net.Conn, error) {
	ctx, cancel := context.WithTimeout(s.cutting, s.limits.Dial)
	defer cancel()
	if s.Dial != nil {
		return s.Dial(ctx, s.Backend)
	}
	var d net.Dialer
	return d.DialContext(ctx, "tcp", s.Backend)
}

// addrPort returns a as netip has it, an IPv4 address in its plain form; the zero AddrPort when a is no
// internet address.
func addrPort(a net.Addr) netip.AddrPort {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := tcp.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}
