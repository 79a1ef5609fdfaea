// Package popd is a small, plain POP3 server (RFC 1939, 2449, 5034) with its maildrops in memory: what
// postern demo puts behind the proxy, and a backend for tests.
//
// It speaks USER/PASS, APOP, AUTH PLAIN and LOGIN, CAPA, STAT, LIST, UIDL, RETR, TOP, DELE, RSET, NOOP and
// QUIT, keeps one session per maildrop at a time, and commits deletes at QUIT. Lines, sessions and waits are
// bounded.
//
// It knows no TLS and no files, hashes no passwords, and is not meant for anybody's real mail.
package popd

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"
)

const (
	maxLine        = 512 // octets of a command, CRLF included (RFC 2449 section 4 asks for 255)
	maxSessions    = 1000
	maxFailures    = 3 // logins refused before the session ends
	defaultTimeout = 10 * time.Minute
)

// ErrClosed is returned by Serve after Close.
var ErrClosed = errors.New("popd: server closed")

// Server serves Maildrops over POP3. Set its fields before Serve.
type Server struct {
	Name    string               // host name in the greeting; default "localhost"
	Drops   map[string]*Maildrop // by user name
	Timeout time.Duration        // silence that ends a session; default 10 minutes

	mu        sync.Mutex
	closed    bool
	listeners map[net.Listener]bool
	sessions  map[net.Conn]bool
	running   sync.WaitGroup
}

// Serve accepts sessions from l until Close, and closes l.
func (s *Server) Serve(l net.Listener) error {
	defer l.Close()
	if !s.addListener(l) {
		return ErrClosed
	}
	for number := 1; ; number++ {
		conn, err := l.Accept()
		if err != nil {
			return s.acceptError(err)
		}
		if !s.addSession(conn) {
			conn.Close()
			continue
		}
		go s.serveSession(conn, number)
	}
}

// Close ends all sessions and waits for them.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	for l := range s.listeners {
		l.Close()
	}
	for conn := range s.sessions {
		conn.Close()
	}
	s.mu.Unlock()
	s.running.Wait()
	return nil
}

func (s *Server) addListener(l net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	if s.listeners == nil {
		s.listeners = make(map[net.Listener]bool)
		s.sessions = make(map[net.Conn]bool)
	}
	s.listeners[l] = true
	return true
}

// addSession registers before the goroutine starts, so that Close waits for every one.
func (s *Server) addSession(conn net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || len(s.sessions) >= maxSessions {
		return false
	}
	s.sessions[conn] = true
	s.running.Add(1)
	return true
}

func (s *Server) acceptError(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	return fmt.Errorf("accept POP3 session: %w", err)
}

func (s *Server) serveSession(conn net.Conn, number int) {
	defer s.running.Done()
	defer func() {
		conn.Close()
		s.mu.Lock()
		delete(s.sessions, conn)
		s.mu.Unlock()
	}()
	ss := &session{
		server: s,
		stamp:  fmt.Sprintf("<%d.%d.%d@%s>", os.Getpid(), number, time.Now().UnixNano(), s.name()),
		conn:   conn,
		in:     bufio.NewReaderSize(conn, maxLine),
		out:    bufio.NewWriterSize(conn, 16<<10),
	}
	defer ss.leave()
	ss.run()
}

func (s *Server) name() string {
	if s.Name != "" {
		return s.Name
	}
	return "localhost"
}

func (s *Server) timeout() time.Duration {
	if s.Timeout > 0 {
		return s.Timeout
	}
	return defaultTimeout
}
