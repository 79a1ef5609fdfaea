package web

import (
	"fmt"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Anchor is what the dashboard's server knows of one place outside that checkpoints of the log are carried to.
type Anchor struct {
	Kind       string    `json:"kind"`         // "file", "stdout", "webhook", "witness"
	Name       string    `json:"name"`         // which one
	Size       int64     `json:"size"`         // records that the newest checkpoint there vouches for; 0 before the first of this run
	At         time.Time `json:"at,omitzero"`  // when it arrived
	LagRecords int64     `json:"lag_records"`  // records that none there vouches for
	LagSeconds float64   `json:"lag_seconds"`  // for how long there has been a checkpoint that did not arrive
	Errors     int64     `json:"errors_total"` // attempts that failed
	Err        string    `json:"error,omitzero"`
	Refused    bool      `json:"refused"` // the witness saw another history than the log shows
}

// anchorPage is the answer of /api/anchors.
type anchorPage struct {
	Anchors []Anchor `json:"anchors"`
}

// anchors answers /api/anchors.
func (s *Server) anchors(*http.Request) (any, error) {
	return anchorPage{list(s.o.Anchors())}, nil
}

// lateAnchor is for how long a checkpoint may be on its way before somebody ought to look.
const lateAnchor = 10 * time.Minute

// drift tells problems, witnesses that saw another history, and warnings, anchors that checkpoints do not reach.
func (s *Server) drift() (problems, warnings []string) {
	for _, a := range s.o.Anchors() {
		switch {
		case a.Refused:
			problems = append(problems, fmt.Sprintf("The witness %s saw another history than this log shows: %s. "+
				"Keep the database as evidence; postern verify tells more.", a.Name, a.Err))
		case a.Err != "" && a.LagSeconds > lateAnchor.Seconds():
			warnings = append(warnings, fmt.Sprintf("Checkpoints have not reached the anchor %s (%s) for %s. Last error: %s",
				a.Name, a.Kind, time.Duration(a.LagSeconds*float64(time.Second)).Round(time.Minute), a.Err))
		}
	}
	return problems, warnings
}

// anchorMetrics are the numbers of each anchor, told apart by kind and name.
type anchorMetrics struct{ lagRecords, lagSeconds, errors, refused *prometheus.Desc }

func newAnchorMetrics() anchorMetrics {
	return anchorMetrics{
		lagRecords: describe("anchor_lag_records", "Records that no checkpoint at the anchor vouches for.", "kind", "name"),
		lagSeconds: describe("anchor_lag_seconds", "For how long there has been a checkpoint that did not reach the anchor.", "kind", "name"),
		errors:     describe("anchor_errors_total", "Attempts to reach the anchor that failed.", "kind", "name"),
		refused:    describe("anchor_refused", "1 while the witness says that history was rewritten.", "kind", "name"),
	}
}

func (m anchorMetrics) describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.lagRecords, m.lagSeconds, m.errors, m.refused} {
		ch <- d
	}
}

func (m anchorMetrics) collect(ch chan<- prometheus.Metric, anchors []Anchor) {
	for _, a := range anchors {
		put := func(d *prometheus.Desc, kind prometheus.ValueType, v float64) {
			ch <- prometheus.MustNewConstMetric(d, kind, v, a.Kind, a.Name)
		}
		put(m.lagRecords, prometheus.GaugeValue, float64(a.LagRecords))
		put(m.lagSeconds, prometheus.GaugeValue, a.LagSeconds)
		put(m.errors, prometheus.CounterValue, float64(a.Errors))
		put(m.refused, prometheus.GaugeValue, float64(flag(a.Refused)))
	}
}
