package proxy

import (
	"errors"
	"net"
	"sync"
	"time"

	"postern/proxy/pop3"
)

// glance is how long both sides are read through TLS before a session parks: TLS must hold nothing that has come, for
// the sockets would not tell of it.
const glance = 10 * time.Millisecond

// errRests is no end: the session has nothing to do until one side speaks.
var errRests = errors.New("session rests")

// parking is where a session is while it rests: without a goroutine, whose stack would be most of what it holds. What
// wakes it may come at any time, from the poller, the clock or the server, and more than once.
type parking struct {
	mu     sync.Mutex
	parked bool
	alarm  *time.Timer // at the session's deadline
}

// notifier is a connection that is no socket and tells by itself, by calling f, that there is something to read.
type notifier interface{ Notify(f func()) }

// proceed goes on, if err is nil, from command to command until the session rests or ends.
func (s *session) proceed(err error) {
	for err == nil {
		if err = s.rest(); err == nil {
			err = s.step()
			s.awaiting()
		}
	}
	if err == errRests {
		s.park()
		return
	}
	defer s.server.leave(s)
	s.finish(err)
}

// rest waits for the first octets of the next command.
func (s *session) rest() error {
	if s.told {
		s.connect = nil
	}
	const limit = pop3.MaxCommand + 2
	if len(s.client.pending()) > 0 {
		return nil
	}
	if news, err := s.awaitBriefly(limit); news || err != nil {
		return err
	}
	if !s.parks() {
		return s.awaitWatching(limit, s.deadline())
	}
	err := s.awaitWatching(limit, earlier(s.deadline(), time.Now().Add(glance)))
	if err != nil || len(s.client.pending()) > 0 || s.client.err != nil {
		return err
	}
	return errRests
}

// parks reports whether both sides can tell of news while nobody reads.
func (s *session) parks() bool {
	return !s.restless && tells(s.client.socket.Conn) && tells(s.backend.socket.conn)
}

func tells(conn net.Conn) bool {
	_, ok := conn.(notifier)
	return ok || polls(conn)
}

// park leaves the session without a goroutine. It is the last that this one does.
func (s *session) park() {
	s.client.release()
	s.opened, s.line, s.scratch = nil, nil, nil
	s.parking.mu.Lock()
	defer s.parking.mu.Unlock()
	s.parking.parked = true
	s.parking.alarm = time.AfterFunc(time.Until(s.deadline()), s.unpark)
	if !s.listen(s.client.socket.Conn) || !s.listen(s.backend.socket.conn) || s.server.closing.Load() {
		s.restless = true // or it would try a hundred times a second
		s.unparkLocked()  // to find out what is wrong
	}
}

// listen sees to it that the session wakes when there is something to read on conn.
func (s *session) listen(conn net.Conn) bool {
	if n, ok := conn.(notifier); ok {
		n.Notify(s.unpark)
		return true
	}
	return s.server.poller.add(conn, s)
}

// unpark gives the session a goroutine again, if it has none. Safe from any.
func (s *session) unpark() {
	s.parking.mu.Lock()
	defer s.parking.mu.Unlock()
	if s.parking.parked {
		s.unparkLocked()
	}
}

func (s *session) unparkLocked() {
	s.parking.parked = false
	s.parking.alarm.Stop()
	s.parking.alarm = nil
	go s.resume()
}

// resume is the session's goroutine after a rest.
func (s *session) resume() {
	s.server.poller.remove(s.client.socket.Conn)
	s.server.poller.remove(s.backend.socket.conn)
	s.proceed(nil)
}
