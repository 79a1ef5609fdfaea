package audit

import (
	"fmt"
	"time"
)

// Rules say how long the log keeps what. Zero is for ever, and of Size any size.
//
// What a rule takes or leaves as a whole is a session or a record of no session. The age of a session is that of its
// last record, and one that lives has none. Sessions and Size delete records; the others take fields out of them.
type Rules struct {
	Sessions  time.Duration `json:"sessions_ns,omitzero"`  // everything
	Messages  time.Duration `json:"messages_ns,omitzero"`  // what names mail: unique-ids, headers, digests
	Addresses time.Duration `json:"addresses_ns,omitzero"` // the client's address but for its /24 or /48, and its port
	Users     time.Duration `json:"users_ns,omitzero"`     // the user but for a pseudonym, and the words of the dialogue
	Size      int64         `json:"size,omitzero"`         // octets that the records may take
}

// The classes of rules, in Verb of a KindRetention.
const (
	ClassSessions  = "sessions"
	ClassSize      = "size"
	ClassMessages  = "messages"
	ClassAddresses = "addresses"
	ClassUsers     = "users"
)

// What a rule does, in Detail of a KindRetention.
const (
	RecordsDeleted = "deleted"
	RecordsThinned = "thinned"
)

// States of the log that the rule by size brings about, in Detail of a KindState.
const (
	LogTooLarge = "too_large" // it is larger than the rule allows, and nothing is left that may be deleted: Text is why
	LogSizeOK   = "size_ok"
)

// rule is one of Rules.
type rule struct {
	class string
	words string
	age   time.Duration // 0 of the rule by size
	takes group         // groupCore is whole records
}

// list returns the rules in force in the order in which they run: what is deleted need not be thinned.
func (r Rules) list() (all []rule) {
	add := func(class, what string, age time.Duration, takes group) {
		if age > 0 {
			all = append(all, rule{class: class, words: what + " older than " + span(age), age: age, takes: takes})
		}
	}
	add(ClassSessions, "sessions", r.Sessions, groupCore)
	if r.Size > 0 {
		all = append(all, rule{class: ClassSize, words: fmt.Sprintf("the oldest sessions over %d octets", r.Size)})
	}
	add(ClassMessages, "names of messages", r.Messages, groupMessage)
	add(ClassAddresses, "addresses", r.Addresses, groupAddress)
	add(ClassUsers, "users", r.Users, groupUser)
	return all
}

// Words tells the rules in force, one a line.
func (r Rules) Words() (lines []string) {
	for _, rule := range r.list() {
		lines = append(lines, rule.words+" are "+rule.does())
	}
	return lines
}

func (r *rule) deletes() bool { return r.takes == groupCore }

func (r *rule) does() string {
	if r.deletes() {
		return RecordsDeleted
	}
	return RecordsThinned
}

// span prints an age in days where it can.
func span(age time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case age == day:
		return "1 day"
	case age%day == 0:
		return fmt.Sprintf("%d days", age/day)
	}
	return age.String()
}

// Taken tells what one rule takes in one run.
type Taken struct {
	Class    string    `json:"class"`
	Rule     string    `json:"rule"`
	Does     string    `json:"does"` // RecordsDeleted or RecordsThinned
	Records  int64     `json:"records"`
	Sessions int64     `json:"sessions"`        // that they are of
	First    int64     `json:"first,omitzero"`  // the span of their numbers
	Last     int64     `json:"last,omitzero"`   //
	Oldest   time.Time `json:"oldest,omitzero"` // when the oldest began of which it took something, and the newest
	Newest   time.Time `json:"newest,omitzero"`
	Octets   int64     `json:"octets,omitzero"` // about, what records that are deleted took up
	Held     int64     `json:"held,omitzero"`   // sessions and records of none that a legal hold keeps from the rule
}

// add counts what is taken of u. A session may have no record, only its row.
func (t *Taken) add(u *unit, first, last, records, octets int64) {
	if first > 0 && (t.First == 0 || first < t.First) {
		t.First = first
	}
	t.Last = max(t.Last, last)
	t.Records += records
	t.Octets += octets
	if began := moment(u.started); t.Oldest.IsZero() || began.Before(t.Oldest) {
		t.Oldest = began
	}
	if began := moment(u.started); began.After(t.Newest) {
		t.Newest = began
	}
}
