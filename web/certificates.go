package web

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Certificate is what the dashboard's server knows of one certificate, in service or awaited.
type Certificate struct {
	Names    []string  `json:"names"`
	Source   string    `json:"source"`
	State    string    `json:"state"`              // "good", "expiring", "expired", "awaited"
	NotAfter time.Time `json:"not_after,omitzero"` // zero while it is awaited
	Err      string    `json:"error,omitzero"`     // of the last order, renewal or reload; "" when it went well
	ErrAt    time.Time `json:"error_at,omitzero"`
}

// Turn counts one kind of event in the fate of certificates, such as "renewed".
type Turn struct {
	Kind  string
	Count int64
}

// troubles tells problems, certificates that clients refuse and witnesses that refuse the log, and warnings, what will become
// a problem unless somebody looks at it: certificates that were not renewed in time or did not come yet, anchors out of reach,
// settings, and the log's disk.
func (s *Server) troubles() (problems, warnings []string) {
	problems, warnings = s.drift()
	problems, warnings = list(problems), append(slices.Clone(list(s.o.Warnings)), warnings...) // none is [] in JSON
	warnings = append(warnings, logWarnings(s.o.Health())...)
	for _, c := range s.o.Certificates() {
		names := strings.Join(c.Names, ", ")
		switch c.State {
		case "expired":
			problems = append(problems, fmt.Sprintf("The certificate of %s expired on %s: clients refuse it. %s", names, day(c.NotAfter), remedy(c)))
		case "expiring":
			warnings = append(warnings, fmt.Sprintf("The certificate of %s ends on %s and is not renewed yet. %s", names, day(c.NotAfter), remedy(c)))
		case "awaited":
			warnings = append(warnings, fmt.Sprintf("The certificate of %s is not there yet: one of the local authority, which clients do not trust, stands in. %s",
				names, remedy(c)))
		}
	}
	return problems, warnings
}

// remedy is what was last seen to be wrong, or where it can be seen.
func remedy(c Certificate) string {
	if c.Err != "" {
		return "Last error: " + c.Err
	}
	return "postern certs tells more."
}

func day(t time.Time) string { return t.UTC().Format("2 January 2006, 15:04 UTC") }
