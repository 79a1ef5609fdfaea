package web

import (
	"fmt"
	"net/http"

	"postern/audit"
)

// condition is the answer of /healthz.
type condition struct {
	Status       string        `json:"status"` // "ok", "degraded" (see Problems) or "failing" (see Reason)
	Reason       string        `json:"reason,omitzero"`
	Problems     []string      `json:"problems"` // what is wrong, though clients are served
	Warnings     []string      `json:"warnings"` // what somebody ought to look at
	Version      string        `json:"version"`
	Sessions     int64         `json:"sessions"`
	Log          audit.Health  `json:"log"`
	Certificates []Certificate `json:"certificates"`
	Anchors      []Anchor      `json:"anchors"`
}

// health answers /healthz: 200 when mail clients are served and every command can be recorded, otherwise
// 503 with the reason. A certificate's trouble is told and does not change the 200: to take this server out of
// service would mend nothing.
func (s *Server) health(w http.ResponseWriter, _ *http.Request) {
	c := condition{Status: "ok", Version: s.o.Version, Sessions: s.o.Stats().Sessions, Log: s.o.Health(),
		Certificates: list(s.o.Certificates()), Anchors: list(s.o.Anchors())}
	status := http.StatusOK
	if c.Problems, c.Warnings = s.troubles(); len(c.Problems) > 0 {
		c.Status = "degraded"
	}
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

// logWarnings tells what will become of the log unless somebody looks at its disk.
func logWarnings(log audit.Health) (warnings []string) {
	if log.Space.Level == audit.SpaceLow || log.Space.Level == audit.SpaceCritical {
		warnings = append(warnings, fmt.Sprintf("The log's space runs out: %.0f %% of it is used, %d MiB are free. "+
			"Free space on its disk, or let retention keep less.", 100*log.Space.Used, log.Space.Free>>20))
	}
	if log.Slow {
		warnings = append(warnings, "The log's disk is slow: clients wait for it.")
	}
	if log.Retention.Err != "" {
		warnings = append(warnings, "Retention could not do what its rules say: "+log.Retention.Err+".")
	}
	if log.Retention.Blocked != "" {
		warnings = append(warnings, "Retention cannot keep its rule by size: "+log.Retention.Blocked+".")
	}
	return warnings
}
