package proxy

import (
	"sync/atomic"
	"time"

	"postern/proxy/pop3"
)

// reach is what is known of the backend: whether it could be used when that was last tried, and whether its last answer
// to CAPA announced PIPELINING (RFC 2449 section 6.6), which holds in both states. The zero reach says that it could be used.
type reach struct{ down, pipelines atomic.Bool }

// lost counts a session that its backend could not be had for, and records when that is news. One that was cut
// on its way tells nothing of the backend.
func (s *Server) lost(err error) {
	if s.wasCut(err) {
		return
	}
	s.counts.unbacked.Add(1)
	s.reach.pipelines.Store(false) // another may come back in its place
	if !s.reach.down.Swap(true) {
		s.log.Warn("the backend cannot be used", "backend", s.Backend, "error", err)
		s.recordReach("down", pop3.Text([]byte(err.Error())))
	}
}

// found notes that a session has its backend.
func (s *Server) found() {
	if s.reach.down.Load() && s.reach.down.Swap(false) {
		s.log.Info("the backend can be used again", "backend", s.Backend)
		s.recordReach("up", "")
	}
}

func (s *Server) recordReach(detail, text string) {
	s.Recorder.Record(Event{Time: time.Now(), Kind: KindBackend, Backend: s.Backend, Detail: detail, Text: text})
}
