package web

import (
	"net/http"

	"postern/audit"
)

// condition is the answer of /healthz.
type condition struct {
	Status   string       `json:"status"` // "ok" or "failing"
	Reason   string       `json:"reason,omitzero"`
	Version  string       `json:"version"`
	Sessions int64        `json:"sessions"`
	Log      audit.Health `json:"log"`
}

// health answers /healthz: 200 when mail clients are served and every command can be recorded, otherwise
// 503 with the reason.
func (s *Server) health(w http.ResponseWriter, _ *http.Request) {
	c := condition{Status: "ok", Version: s.o.Version, Sessions: s.o.Stats().Sessions, Log: s.o.Health()}
	status := http.StatusOK
	if c.Reason = s.trouble(c.Log); c.Reason != "" {
		c.Status, status = "failing", http.StatusServiceUnavailable
	}
	writeJSON(w, status, c)
}

// trouble says why the service is not healthy, or "".
func (s *Server) trouble(log audit.Health) string {
	if err := s.o.Ready(); err != nil {
		return err.Error()
	}
	if log.OK {
		return ""
	}
	if log.Err == "" {
		return "the log cannot be written"
	}
	return "the log cannot be written: " + log.Err
}
