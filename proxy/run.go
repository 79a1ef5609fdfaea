package proxy

import "postern/proxy/pop3"

// A run is a command and those behind it that a client has pipelined, in one write to the backend. It changes when
// commands are sent and nothing else: their lines stay in the client's read buffer, and each is parsed, answered and
// recorded in its turn, as if it was sent only then. session.ahead counts those whose turn has yet to come.

// Bounds of a run. It is sent when nothing is in flight, so it fits the buffers of any socket: the write ends even when the
// backend, which may wait for its replies to be read, reads nothing.
const (
	maxRun       = 32        // commands
	maxRunOctets = firstLine // what the client's read buffer holds of them
)

// follow appends to line, which is c as it is sent, what may go out with it, and returns how many commands that is.
func (s *session) follow(c pop3.Command, line []byte) (lines []byte, ahead int) {
	waiting := s.client.pending()
	if len(waiting) == 0 || !s.server.pipelines() || !s.joins(c) {
		return line, 0
	}
	for ahead < maxRun-1 {
		next, n := cutLine(waiting)
		if n == 0 || len(next) > pop3.MaxCommand || len(line)+len(next)+2 > maxRunOctets {
			break
		}
		c, err := pop3.ParseCommand(next)
		if err != nil || !s.joins(c) {
			break
		}
		line, waiting = c.AppendTo(line), waiting[n:]
		ahead++
	}
	return line, ahead
}

// pipelines reports whether the backend takes runs.
func (s *Server) pipelines() bool {
	switch s.Rules.Pipelining {
	case PipeliningOn:
		return true
	case PipeliningOff:
		return false
	}
	return s.reach.pipelines.Load()
}

// joins reports whether c may be part of a run. It must be sure now that answer will pass c on when its turn comes, and
// that nothing else has to be sent before it.
func (s *session) joins(c pop3.Command) bool {
	switch {
	case !s.loggedIn || !c.Pipelines():
		return false
	case c.Verb == "DELE" && (!deletable(c) || len(s.maildrop.deleted) >= maxDeleted-maxRun):
		return false
	}
	return !opens(c) || !s.mayAsk()
}

// abandon records what the backend has of a run and did not answer. It may have done it all: only a QUIT would commit a
// delete, and that is never part of a run.
func (s *session) abandon() {
	for ; s.ahead > 0; s.ahead-- {
		line, _ := s.client.next()
		c, _ := pop3.ParseCommand(line)
		s.record(s.event(c))
	}
}
