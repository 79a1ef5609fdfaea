package audit

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"
)

// Verdict is what Verify found out.
type Verdict struct {
	OK          bool      `json:"ok"`
	Path        string    `json:"path"`
	Origin      string    `json:"origin"`
	Full        bool      `json:"full"`
	First       int64     `json:"first"`       // the first record that was looked at
	Last        int64     `json:"last"`        // the last one
	Records     int64     `json:"records"`     // of them, those that are there
	Deleted     int64     `json:"deleted"`     // those that retention deleted
	Thinned     int64     `json:"thinned"`     // those that retention took fields from
	Sessions    int64     `json:"sessions"`    // rows that are what their records add up to
	Checkpoints int64     `json:"checkpoints"` // signed heads of the tree
	Anchors     int64     `json:"anchors"`     // checkpoints kept elsewhere that were compared
	Unsigned    int64     `json:"unsigned"`    // the newest records, which no checkpoint vouches for yet
	FirstKey    string    `json:"first_key"`   // the verifier key that the log was begun with
	Key         string    `json:"key"`         // the one in force
	Fingerprint string    `json:"fingerprint"` // of Key
	Count       int64     `json:"count"`       // of all findings
	Findings    []Finding `json:"findings"`    // the first ones, in the order of the log
	Notes       []string  `json:"notes"`       // what is worth knowing and no fault

	Duration time.Duration `json:"duration_ns"`
	Rate     float64       `json:"rate"` // records a second
}

// Finding is one thing that is not as this log wrote it.
type Finding struct {
	Table  string `json:"table"`
	Key    string `json:"key"`  // which row: "seq 4711"; "" is the table as a whole
	What   string `json:"what"` // altered, removed, inserted, reordered, or what else is wrong
	Detail string `json:"detail,omitzero"`

	at int64 // where in the log: findings are told in this order
}

// What may have become of a row.
const (
	wasAltered   = "altered"
	wasRemoved   = "removed"
	wasInserted  = "inserted"
	wasReordered = "reordered"
	wasBroken    = "chain broken"
	wasRolled    = "rolled back"
)

// String is the finding in one line.
func (f Finding) String() string {
	s := f.Table
	if f.Key != "" {
		s += " " + f.Key
	}
	s += ": " + f.What
	if f.Detail != "" {
		s += ": " + f.Detail
	}
	return s
}

// behindAll is where findings about sessions are told: what is wrong with their records comes first.
const behindAll = math.MaxInt64

// maxFindings bounds those that are kept; all are counted.
const maxFindings = 100

// findings gathers them, the first ones in the order of the log.
type findings struct {
	all   []Finding
	count int64
}

func (f *findings) add(found Finding) {
	f.count++
	f.all = append(f.all, found)
	if len(f.all) >= 2*maxFindings {
		f.trim()
	}
}

// trim keeps the first ones. The order of those at one place is the order in which they were found.
func (f *findings) trim() {
	slices.SortStableFunc(f.all, func(a, b Finding) int { return cmp.Compare(a.at, b.at) })
	f.all = f.all[:min(len(f.all), maxFindings)]
}

// within tells whether there is a finding about the records after a and up to b.
func (f *findings) within(after, last int64) bool {
	return slices.ContainsFunc(f.all, func(found Finding) bool { return found.at > after && found.at <= last })
}

// has tells whether the row of f has a finding.
func (f *findings) has(row Finding) bool {
	return slices.ContainsFunc(f.all, func(found Finding) bool { return found.Table == row.Table && found.Key == row.Key })
}

// seqKey names one record, or those from first to last.
func seqKey(first, last int64) string {
	if first == last {
		return fmt.Sprintf("seq %d", first)
	}
	return fmt.Sprintf("seq %d to %d", first, last)
}

func blockKey(level int, first, last int64) string {
	if first == last {
		return fmt.Sprintf("level %d n %d", level, first)
	}
	return fmt.Sprintf("level %d n %d to %d", level, first, last)
}
