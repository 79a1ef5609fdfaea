package web

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"
)

// An anchor's lag and a witness's refusal are told to who asks and to who watches, and stand in the metrics.
func TestAnchors(t *testing.T) {
	at := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	file := Anchor{Kind: "file", Name: "/mnt/worm/anchors", Size: 90, At: at, LagRecords: 10, LagSeconds: 59, Errors: 3, Err: "no space left"}
	witness := Anchor{Kind: "witness", Name: "w1"}
	s := newScene(t, func(o *Options) { o.Anchors = func() []Anchor { return []Anchor{file, witness} } })
	var page anchorPage
	s.json("/api/anchors", &page)
	if !slices.Equal(page.Anchors, []Anchor{file, witness}) {
		t.Errorf("the API tells %+v", page)
	}
	_, body := s.get("/metrics", "")
	for _, want := range []string{
		`postern_anchor_lag_records{kind="file",name="/mnt/worm/anchors"} 10`, `postern_anchor_lag_seconds{kind="file",name="/mnt/worm/anchors"} 59`,
		`postern_anchor_errors_total{kind="file",name="/mnt/worm/anchors"} 3`, `postern_anchor_refused{kind="witness",name="w1"} 0`,
	} {
		if !strings.Contains(body, want+"\n") {
			t.Errorf("no %q in\n%s", want, body)
		}
	}
	for _, test := range []struct{ lag, refused, status, problem, warning string }{
		{"", "", "ok", "", ""}, // for a minute nobody is woken
		{"late", "", "ok", "", "Checkpoints have not reached the anchor /mnt/worm/anchors (file) for 1h0m0s. Last error: no space left"},
		{"", "it cosigned others", "degraded", "The witness w1 saw another history than this log shows: it cosigned others. " +
			"Keep the database as evidence; postern verify tells more.", ""},
	} {
		file.LagSeconds, witness.Refused, witness.Err = 59, test.refused != "", test.refused
		if test.lag != "" {
			file.LagSeconds = 3600
		}
		answer, body := s.get("/healthz", "")
		var got condition
		if err := json.Unmarshal([]byte(body), &got); err != nil || answer.StatusCode != 200 || got.Status != test.status ||
			strings.Join(got.Problems, "") != test.problem || strings.Join(got.Warnings, "") != test.warning || len(got.Anchors) != 2 {
			t.Errorf("%s %s, %v", answer.Status, body, err)
		}
		if b := s.web.beat(); !slices.Equal(b.Problems, got.Problems) || !slices.Equal(b.Warnings, got.Warnings) {
			t.Errorf("a beat tells %+v", b)
		}
	}
}

func TestNoAnchors(t *testing.T) {
	s := newScene(t, nil)
	for path, want := range map[string]string{"/api/anchors": `{"anchors":[]}`, "/healthz": `"anchors":[]`} {
		if _, body := s.get(path, ""); !strings.Contains(body, want) {
			t.Errorf("%s: %s", path, body)
		}
	}
}
