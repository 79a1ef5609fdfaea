package tlsup

import "time"

// EventKind says what happened to a certificate.
type EventKind string

// The kinds of Event.
const (
	EventObtained EventKind = "obtained" // the first of its name came
	EventRenewed  EventKind = "renewed"  // a new one took the place of the old
	EventFailed   EventKind = "failed"   // an order or a renewal went wrong; it is tried again
	EventRevoked  EventKind = "revoked"  // the authority took it back; a new one is ordered
)

// Event is one turn in a certificate's fate.
type Event struct {
	Time           time.Time
	Kind           EventKind
	Names          []string
	Source         string    // SourceACME, SourceFile or SourceLocal
	Serial, Issuer string    // of the certificate in service; "" if there is none
	NotAfter       time.Time // zero if there is none
	Err            string    // what went wrong, and how to mend it; "" if nothing did
}
