// Package audit keeps the log of everything that passed: an append-only table of records in SQLite, and
// one row a session beside it, derived from the records.
//
// Open makes a Log, the only writer of its database (a lock says so); proxy.Server records Events in it.
// Whoever watches uses a Reader: in the same process Log.Reader, in another OpenReader. There are no
// subscribers: Reader.Tail re-reads the table from a sequence number on, so history and live are one.
//
// Invariants:
//   - Records are numbered from 1 without holes; a record is never changed once it is committed, but by retention, which
//     says so in a record of the same commit.
//   - A batch of events, its leaves of the tree and what it changes in the sessions table are one transaction.
//   - A checkpoint is signed in the transaction of the records it vouches for, or a later one.
//   - In Strict durability Receipt.Wait returns only after the fsync of the commit that holds the event.
//   - A handle on which a commit failed is never used again: it is closed and the database reopened.
//   - Nothing a session waits for runs SQL under a lock: one goroutine owns the writing connection.
//   - No reader keeps a transaction open while it waits, so the WAL can always be checkpointed.
//
// The package knows nothing of POP3's grammar: events come to it redacted.
package audit

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"
)

// Sentinels of this package's errors.
var (
	// ErrNotFound tells that there is no such session.
	ErrNotFound = errors.New("not found")
	// ErrLocked tells that another process, or another Log, writes to the database.
	ErrLocked = errors.New("audit log is being written by another postern")
	// ErrNotALog tells that the file is no audit log of Postern's.
	ErrNotALog = errors.New("not an audit log of postern")
	// ErrNewer tells that the database was made by a later version, whose schema is unknown here.
	ErrNewer = errors.New("made by a newer postern")
	// ErrAltered tells that the database is not what this log wrote.
	ErrAltered = errors.New("the audit log was altered")
	// ErrNoHash tells that a proof needs a hash that retention did not keep.
	ErrNoHash = errors.New("hash is not there")
	// ErrClosed tells that the Log, or the Reader, was closed.
	ErrClosed = errors.New("audit log closed")
)

// Model is the version of the record model (docs/records.md), written in every start record.
const Model = 2

// Options say where the log is and how it behaves.
type Options struct {
	Path       string       // the database file, made with mode 0600; its directory must exist
	Key        string       // the file with the key that signs it, made likewise; default KeyPath(Path)
	Durability Durability   // default Strict
	OnFailure  OnFailure    // default Refuse
	Version    string       // of the program, written in the start record
	Host       string       // the machine's name, written likewise
	User       string       // of the system, who runs the program; written in the start and stop records
	Logger     *slog.Logger // tells of failing, healing and recovery; nil discards
	Retention  Rules        // how long what is kept; the zero Rules keep everything

	// Reserve is how many octets are kept ready beside the database, so that sessions can be ended with their records
	// when the disk is full; 0: 8 MiB, negative: none. Room is how many the log may take, for the warnings that they
	// come to an end; 0: all that its file system has.
	Reserve, Room int64

	// For tests.
	maxPages *atomic.Int64 // the database may not outgrow this many pages; nil is no bound
	pace     time.Duration // default strictPace, or RelaxedWindow
	stall    time.Duration // default stallLimit
	slow     time.Duration // default slowCommit
	look     time.Duration // default lookEvery
	statfs   func(path string) (capacity, error)
}

// complete puts defaults where nothing is set.
func (o Options) complete() Options {
	usual := strictPace
	if o.Durability == Relaxed {
		usual = RelaxedWindow
	}
	o.pace = cmp.Or(o.pace, usual)
	o.stall, o.slow, o.look = cmp.Or(o.stall, stallLimit), cmp.Or(o.slow, slowCommit), cmp.Or(o.look, lookEvery)
	o.Reserve = cmp.Or(o.Reserve, defaultReserve)
	if o.statfs == nil {
		o.statfs = spaceOf
	}
	return o
}

// Durability says what a good Receipt promises.
type Durability uint8

const (
	// Strict releases a Receipt once its event survives a power cut. The default.
	Strict Durability = iota
	// Relaxed releases at once; a crash may take the events of the last RelaxedWindow.
	Relaxed
)

// RelaxedWindow is how long events may gather in memory before they are committed in Relaxed durability.
const RelaxedWindow = 50 * time.Millisecond

// String returns "strict" or "relaxed".
func (d Durability) String() string {
	if d == Relaxed {
		return "relaxed"
	}
	return "strict"
}

// ParseDurability reads what String wrote.
func ParseDurability(s string) (Durability, error) {
	switch s {
	case "strict":
		return Strict, nil
	case "relaxed":
		return Relaxed, nil
	}
	return Strict, fmt.Errorf("durability %q: want strict or relaxed", s)
}

// OnFailure says what happens to sessions while the log cannot be written.
type OnFailure uint8

const (
	// Refuse fails every Receipt, so that no reply is released without its record. The default.
	Refuse OnFailure = iota
	// Continue lets sessions go on, counts what was not recorded, and writes a gap record afterwards.
	Continue
)

// String returns "refuse" or "continue".
func (o OnFailure) String() string {
	if o == Continue {
		return "continue"
	}
	return "refuse"
}

// ParseOnFailure reads what String wrote.
func ParseOnFailure(s string) (OnFailure, error) {
	switch s {
	case "refuse":
		return Refuse, nil
	case "continue":
		return Continue, nil
	}
	return Refuse, fmt.Errorf("on-failure %q: want refuse or continue", s)
}

// Health tells how the log fares, for /healthz, metrics and the dashboard.
type Health struct {
	OK         bool      `json:"ok"`
	Err        string    `json:"err,omitzero"` // why it is not OK, with the remedy
	Since      time.Time `json:"since"`        // when OK last changed
	Lost       int64     `json:"lost"`         // events not recorded since Open
	Queue      int       `json:"queue"`        // events that wait for the next commit
	LastSeq    int64     `json:"last_seq"`     // the newest record
	Commits    int64     `json:"commits"`      // since Open
	Records    int64     `json:"records"`      // written since Open
	Signed     int64     `json:"signed"`       // the newest record that a checkpoint vouches for
	Durability string    `json:"durability"`
	OnFailure  string    `json:"on_failure"`
	Failures   int64     `json:"failures"` // how often it began to fail since Open
	Slow       bool      `json:"slow"`     // commits take long
	Space      Space     `json:"space"`
	Latency    Latency   `json:"-"` // of commits
	Retention  Retention `json:"retention"`
}
