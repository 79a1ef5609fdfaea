// Package proxy relays POP3 sessions between mail clients and one backend, in lock-step, and records
// every command before its reply is complete.
//
// A Server takes connections from any number of listeners (Serve), speaks TLS to the client, dials the
// backend, and moves commands and replies between the two, one goroutine a session, none while it rests. What
// happened is told to a Recorder as Events, redacted by proxy/pop3, the wire grammar. The package knows nothing of
// certificates, SQL or HTTP.
//
// Invariants:
//   - No reply is complete on the client's side before its Event's Receipt is good (the promise).
//   - Message octets are never altered; what the proxy changes is the CAPA reply and the bare AUTH list.
//   - Credentials never pass before TLS, and nothing said before TLS is remembered inside it.
//   - Every read and write has a deadline, every line, buffer and map a bound.
package proxy

import (
	"cmp"
	"time"
)

// Mode says how a listener speaks TLS.
type Mode string

const (
	// ModeTLS is implicit TLS, as on port 995 (RFC 8314 section 3.2).
	ModeTLS Mode = "pop3s"
	// ModeSTLS starts in clear text and requires STLS before any credential, as on port 110 (RFC 2595).
	ModeSTLS Mode = "pop3"
)

// Limits bound what a session may take. A zero field takes its default.
type Limits struct {
	Sessions   int           // sessions at once; default 10,000
	PerAddress int           // sessions at once from one IPv4 address or IPv6 /64; default 100
	PerUser    int           // logged-in sessions at once of one user; default 50
	Handshake  time.Duration // the whole TLS handshake; default 10 s
	Login      time.Duration // from the greeting to a successful login; default 60 s
	Idle       time.Duration // silence of a client after login; default 11 min, RFC 1939 asks for at least 10
	Dial       time.Duration // connecting to the backend; default 5 s
	Reply      time.Duration // silence of the backend while a reply is due; default 2 min
	Write      time.Duration // one write without the peer reading; default 1 min
}

// withDefaults returns l with every zero field filled in.
func (l Limits) withDefaults() Limits {
	return Limits{
		Sessions:   cmp.Or(l.Sessions, 10_000),
		PerAddress: cmp.Or(l.PerAddress, 100),
		PerUser:    cmp.Or(l.PerUser, 50),
		Handshake:  cmp.Or(l.Handshake, 10*time.Second),
		Login:      cmp.Or(l.Login, time.Minute),
		Idle:       cmp.Or(l.Idle, 11*time.Minute),
		Dial:       cmp.Or(l.Dial, 5*time.Second),
		Reply:      cmp.Or(l.Reply, 2*time.Minute),
		Write:      cmp.Or(l.Write, time.Minute),
	}
}

// Rules are where a site departs from the defaults. The zero Rules relay everything as it is.
type Rules struct {
	// Translate makes the proxy offer AUTH PLAIN and LOGIN itself, in front of a backend that has neither.
	Translate Translation
	// RefuseUnknown refuses verbs that no RFC and no known server has, instead of passing them on.
	RefuseUnknown bool
	// Pipelining says when commands that a client has pipelined travel to the backend in one write.
	Pipelining Pipelining
	// Multiline are a site's own verbs whose +OK is followed by a body; they are not unknown.
	Multiline []string
	// HideLoginErrors gives the client the same words for every login that failed, since the backend's may tell
	// which users exist. The record has the backend's.
	HideLoginErrors bool
	// MatchExternal lets AUTH EXTERNAL (RFC 4422 appendix A) pass only when the identity that it claims is one that
	// the client's certificate vouches for: its common name, or a mail address or host name among its alternative
	// names.
	MatchExternal bool
	// AskUIDs makes the proxy ask the backend for the unique-ids, once a session, when a message whose unique-id is
	// not known is about to be opened or deleted. The client sees nothing of it but the time it takes.
	AskUIDs bool
	// MailDigest puts the SHA-256 of each message that RETR relays into its record, and MailHeaders what the header
	// says of it, of RETR and TOP.
	MailDigest, MailHeaders bool
}

// Pipelining says whether the backend gets more than one command at a time.
type Pipelining string

const (
	PipeliningAuto Pipelining = "auto" // where it has announced so (RFC 2449 section 6.6); so is ""
	PipeliningOn   Pipelining = "on"
	PipeliningOff  Pipelining = "off"
)

// Translation says what AUTH PLAIN and LOGIN become on the way to the backend.
type Translation string

const (
	TranslateNone Translation = "off"  // they are relayed; so is ""
	TranslateUser Translation = "user" // USER and PASS
	TranslateAPOP Translation = "apop" // APOP: the password never crosses the wire behind
)

// Stats are gauges and counters since the Server began, for metrics and health.
type Stats struct {
	Sessions  int64 // open now
	Accepted  int64 // connections that were accepted
	Refused   int64 // connections refused by a limit
	Handshake int64 // TLS handshakes that failed
	Commands  int64 // commands answered
	Unbacked  int64 // sessions refused because the backend could not be reached
	Received  int64 // octets from clients
	Sent      int64 // octets to clients
}
