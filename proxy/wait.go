package proxy

import (
	"cmp"
	"errors"
	"io"
	"syscall"
	"time"
)

// awaitClient reads more of a line of at most limit octets. When the client has been quiet for a moment, or drips, the
// backend is watched meanwhile, which may say good-bye or go away.
func (s *session) awaitClient(limit int) error {
	if news, err := s.awaitBriefly(limit); news || err != nil {
		return err
	}
	return s.awaitWatching(limit, s.deadline())
}

// awaitBriefly reads from the client for a moment, and reports whether there is news. Replies go first.
func (s *session) awaitBriefly(limit int) (news bool, err error) {
	s.startClocks()
	if err := s.client.flush(); err != nil {
		return false, clientEnd(err)
	}
	if s.client.err != nil {
		return false, clientEnd(s.client.err)
	}
	until := s.deadline()
	soon := earlier(until, s.quietBy)
	if !time.Now().Before(soon) {
		return false, nil
	}
	s.setClientDeadline(soon)
	if s.fillClient(limit) || !soon.Before(until) {
		return true, s.late()
	}
	return false, nil
}

// awaitWatching reads from the client while the backend is watched.
func (s *session) awaitWatching(limit int, until time.Time) error {
	s.setClientDeadline(until)
	b := s.backend
	w := startWatch(b.conn, b.peek[:], until.Add(time.Second), func(_ int, err error) bool {
		if err != errNoRoom {
			s.wake()
		}
		return false
	})
	s.fillClient(limit)
	n, err := w.stop()
	switch {
	case n > 0:
		b.w += copy(b.room(false), b.peek[:n])
		return s.unasked()
	case err != nil:
		return s.lostIdle(err)
	}
	return s.late()
}

// lostIdle ends a session whose backend went away unasked.
func (s *session) lostIdle(err error) error {
	e := endOf(backendEnd(err))
	return &ending{side: e.side, reason: e.reason, err: e.err} // nobody asked: nothing to answer
}

// late tells when the session has run out of time, or the server.
func (s *session) late() error {
	switch {
	case s.client.err != nil:
		return nil // told when what came before it is done
	case s.server.closing.Load():
		return errShutdown
	case time.Now().Before(s.deadline()):
		return nil
	case s.loggedIn:
		return errIdle
	}
	return errLogin
}

// deadline is until when the client may be silent. It is fixed when waiting for a command begins, so that a
// line that drips does not push it away.
func (s *session) deadline() time.Time {
	if !s.loggedIn {
		return s.loginBy
	}
	return s.idleBy
}

// fillClient reads once and reports whether there is news.
func (s *session) fillClient(limit int) bool {
	c := s.client
	n, err := c.conn.Read(c.room(limit))
	c.took(n, err)
	return n > 0 || c.err != nil
}

// setClientDeadline bounds the next reads from the client; a closing server reads no more.
func (s *session) setClientDeadline(t time.Time) {
	s.client.socket.SetReadDeadline(t)
	if s.server.closing.Load() {
		s.wake()
	}
}

// awaitBackend reads more of a reply. After a moment the replies before it go out, and while the backend
// stays quiet the client is watched, which may reset the connection.
func (s *session) awaitBackend(body bool) error {
	b := s.backend
	now := time.Now()
	if b.replyBy.IsZero() {
		b.replyBy = now.Add(b.replyLimit)
	}
	until := b.replyBy
	if body {
		until = now.Add(b.replyLimit)
	}
	soon := earlier(until, now.Add(quiet))
	if s.client.waits() {
		soon = earlier(soon, s.client.late)
	}
	b.conn.SetReadDeadline(soon)
	n, err := b.conn.Read(b.room(body))
	b.w += n
	switch {
	case n > 0:
		return nil
	case err == nil || !isTimeout(err) || !soon.Before(until):
		return backendEnd(err)
	}
	if err := s.client.flush(); err != nil && !b.quitting {
		return clientEnd(err)
	}
	return s.awaitBackendWatching(body, until)
}

// heldBack is how long replies to pipelined commands wait for the next one.
const heldBack = 10 * time.Millisecond

// brokenCheck is how often the client's connection is looked at when its read buffer is full.
const brokenCheck = 500 * time.Millisecond

func (s *session) awaitBackendWatching(body bool, until time.Time) error {
	b, c := s.backend, s.client
	for {
		if err := s.clientGone(); err != nil {
			return err
		}
		b.conn.SetReadDeadline(until)
		w := s.watchClient(until)
		if w == nil && c.err == nil {
			b.conn.SetReadDeadline(earlier(until, time.Now().Add(brokenCheck)))
		}
		n, err := b.conn.Read(b.room(body))
		b.w += n
		if w != nil {
			c.took(w.stop())
		}
		switch {
		case n > 0:
			return nil
		case !isTimeout(err):
			return backendEnd(err)
		case c.err == nil && broken(c.socket.Conn):
			c.err = syscall.ECONNRESET
		case !time.Now().Before(until):
			return cmp.Or(s.clientGone(), backendEnd(err))
		}
	}
}

// clientGone is not nil when the client's connection is broken and no reply can reach it. A half-close is no
// reason to stop: every reply that is outstanding is still delivered. Once QUIT is sent, nothing the client does
// may keep it from being finished.
func (s *session) clientGone() error {
	if err := s.client.err; err != nil && !isEOF(err) && !s.backend.quitting {
		return clientEnd(err)
	}
	return nil
}

// watchClient watches the client while a reply is due; see clientGone.
func (s *session) watchClient(until time.Time) *watch {
	c, b := s.client, s.backend
	room := c.room(firstLine)
	if c.err != nil || len(room) == 0 {
		return nil
	}
	quit := b.quitting
	return startWatch(c.conn, room, until.Add(time.Second), func(_ int, err error) bool {
		if err != nil && !isEOF(err) && !quit {
			b.conn.SetReadDeadline(past)
		}
		return err == nil
	})
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// isEOF reports whether err is the end of what the peer sends, with or without TLS's good-bye.
func isEOF(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) }
