package proxy

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"
)

// Kind names what an Event tells. The names are stable: they are stored and exported.
type Kind string

const (
	// KindStart and KindStop frame one run of the log. They belong to no session; Detail tells the version and the
	// durability in force, Arg of a start the verifier key of its checkpoints. Written by the log itself.
	KindStart Kind = "start"
	KindStop  Kind = "stop"
	// KindConnect is a session's first event: Peer, Listener, Backend, Text (the backend's greeting)
	// and, on an implicit TLS listener, TLS.
	KindConnect Kind = "connect"
	// KindTLS tells that the handshake after STLS is done: TLS.
	KindTLS Kind = "tls"
	// KindCommand is one command with its outcome; the reply is complete on the client's side only
	// after this event is on stable storage.
	KindCommand Kind = "command"
	// KindOpened comes before the first octet of mail that RETR, TOP and their kin disclose.
	KindOpened Kind = "opened"
	// KindAsked is a command that the proxy gave the backend by itself, and its outcome: Side is SideProxy, Detail why.
	// The client sees nothing of it.
	KindAsked Kind = "asked"
	// KindIntent comes before a QUIT that would commit Count deletes is forwarded.
	KindIntent Kind = "intent"
	// KindDelete is the fate of one DELE: Message, UID, and Detail one of the Delete constants.
	KindDelete Kind = "delete"
	// KindAnomaly is a breach of the protocol: Detail is its stable name, Side who did it.
	KindAnomaly Kind = "anomaly"
	// KindEnd is a session's last event: Side, Detail (the reason), Received, Sent, Duration.
	KindEnd Kind = "end"
	// KindRefused counts connections that never became a session (refused by a limit, a failed
	// handshake, a silent probe): Peer (port 0), Listener, Detail (the reason), Count, Duration (the
	// span counted). It belongs to no session.
	KindRefused Kind = "refused"
	// KindGap tells that Count events could not be recorded, and inside a session, without a count, that some of them
	// were its own. Written by the log itself.
	KindGap Kind = "gap"
	// KindCertificate is a certificate's turn of fate: Detail is one of obtained, renewed, failed, reloaded,
	// refused, expiring, expired, revoked, fallback; Arg its names, Text its facts or the cause.
	KindCertificate Kind = "certificate"
	// KindBackend tells that the backend went away (Detail "down", Text the cause) or is back ("up").
	KindBackend Kind = "backend"
	// KindConfig is one setting in force that is not the default: Arg its name, Text its value. Written at every
	// start.
	KindConfig Kind = "config"
	// KindAccess tells that somebody read, exported or proved parts of the log, or changed a setting of it: User who,
	// Verb by which command, Arg what was asked for, Count the records given out.
	KindAccess Kind = "access"
	// KindState is a change of the log's own state: Detail is its stable name (failing, recovered, slow, speed_ok,
	// space_low, space_critical, space_ok), Text the cause, Duration of recovered how long it was failing. Written by the
	// log itself. What a witness makes of it is one, too (witness_refused, witness_accepted): Arg is the witness. And
	// that the log was put back from a backup (restored): Count is how many records that had, Text which it was.
	KindState Kind = "state"
	// KindRetention is a part of a run of a retention rule, in the commit that did it: Verb the class of the rule, Arg
	// the rule in words, Detail "deleted" or "thinned", Count the records that were, Text the span of their
	// numbers, FIRST-LAST, User who asked for the run, if it was not its time. Written by the log itself.
	KindRetention Kind = "retention"
	// KindHold is a change of the legal holds: Verb "add" or "release", Arg the scope, Text the reason, User who, Count
	// of a release the number of the record that added the hold.
	KindHold Kind = "hold"
	// KindKey tells that checkpoints are signed with another key from here on: Arg the new verifier key, Text the
	// old key's signature over it. Written by the log itself.
	KindKey Kind = "key"
)

// The fates of a delete, in Event.Detail of a KindDelete.
const (
	DeleteCommitted  = "committed"   // QUIT was answered +OK
	DeleteRolledBack = "rolled_back" // RSET, or the session ended without an accepted QUIT
	DeleteUnknown    = "unknown"     // QUIT was sent and no reply was seen
)

// The sides of a session, in Event.Side: whose doing the end or the anomaly was.
const (
	SideClient  = "client"
	SideBackend = "backend"
	SideProxy   = "proxy"
)

// Outcomes of a login attempt, in Event.Login.
const (
	LoginOK     = "ok"
	LoginFailed = "failed"
)

// Redacted stands in an Event wherever a secret, or what may be one, was left out.
const Redacted = "<redacted>"

// Event is one thing that happened in a session, already redacted: no field ever holds a secret
// (passwords, SASL lines, APOP digests) in any encoding. Zero fields mean "does not apply". All
// strings own their memory, are bounded, and may hold text chosen by an attacker: escape them.
type Event struct {
	Session SessionID // zero for events outside any session
	Time    time.Time
	Kind    Kind

	Verb      string        // canonical upper-case command verb; Redacted for an unknown one before login
	Arg       string        // the argument, redacted
	Status    string        // "+OK", "-ERR", or "" when no reply was seen
	Code      string        // extended response code without brackets, e.g. "IN-USE" (RFC 2449 section 8)
	Text      string        // the rest of the status line, at most MaxText octets, scrubbed of secrets
	Local     bool          // the reply is the proxy's own: the backend did not see the command, or did not answer it
	Partial   bool          // the reply was cut: Octets tells what was handed to the client's connection, at most that arrived
	Message   int64         // message number of RETR, TOP, DELE, LIST n, UIDL n
	UID       string        // the message's unique-id, when a UIDL in this session told it
	Announced int64         // of RETR, TOP, DELE: the message's octets as the backend announced them, in RETR's +OK or in LIST; 0: it did not
	Octets    int64         // octets of a multi-line body as relayed, terminator left out, stuffing included
	Lines     int64         // its LF-terminated lines
	Duration  time.Duration // of the command: from its last octet in to its reply's last octet from the backend

	User      string // on a login attempt: the name claimed, "" if unknown
	Mechanism string // on a login attempt: "USER", "APOP", or the SASL mechanism
	Login     string // LoginOK or LoginFailed on the command that ends a login attempt

	Side   string // SideClient, SideBackend, SideProxy
	Detail string // see the Kind
	Count  int64  // see the Kind

	Peer       netip.AddrPort // the client's address
	Listener   string         // the listener's name, e.g. "pop3s"
	Backend    string         // host:port dialled
	TLS        *TLS           // facts of the client's leg
	BackendTLS *TLS           // facts of the backend's leg, on connect
	Mail       *Mail          // on RETR and TOP, by setting: what the message says of itself

	Received int64 // octets of POP3 from the client, TLS and its overhead not counted
	Sent     int64 // octets of POP3 to the client
}

// MaxText bounds Event.Text and every other string taken from the wire, in octets.
const MaxText = 512

// TLS tells what was negotiated on one leg. Strings that a peer chose are bounded by MaxText.
type TLS struct {
	Version   string        // "TLS 1.3"
	Cipher    string        // IANA name, e.g. "TLS_AES_128_GCM_SHA256"
	Group     string        // key exchange group, e.g. "X25519MLKEM768"; "" for RSA key exchange
	SNI       string        // server name asked for, "" if none
	ALPN      string        // "pop3" or ""
	Resumed   bool          // an earlier session was resumed: no certificate was shown
	Legacy    bool          // older than TLS 1.2 (RFC 8996)
	Handshake time.Duration // from its first octet to its end
	Serial    string        // the server's certificate, in lower-case hex; clients' leg: "" when Resumed
	Verified  string        // backend's leg: how the server was verified, "name:HOST" or "pin:HASH"; "" when it was not
	JA4       string        // clients' leg: the client's fingerprint (github.com/FoxIO-LLC/ja4)
	Subject   string        // clients' leg: the client certificate's distinguished name, "" when it showed none
	SHA256    string        // clients' leg: the client certificate's fingerprint, in lower-case hex
}

// Mail is what a message says of itself, when a setting asks for it to be kept. It is the sender's word.
type Mail struct {
	SHA256    string // of its octets with dot-stuffing undone, in lower-case hex; of RETR only, "" when it was cut
	MessageID string
	From      string
	Date      string
	Subject   string
}

// Recorder keeps Events. Implemented by the audit log.
type Recorder interface {
	// Record appends ev and returns its Receipt without waiting for the disk. It may block while the
	// recorder's queue is full. Events of one caller keep their order, and a Receipt that is good
	// vouches for all events recorded before it.
	Record(ev Event) Receipt
	// Ready returns nil while events can be kept, and an error wrapping ErrNotRecorded when new sessions
	// must be refused. It does not block.
	Ready() error
}

// Receipt is the promise that an Event will be on stable storage.
type Receipt interface {
	// Wait returns nil once the Event, and every Event recorded before it, is kept as durably as the
	// recorder is configured to. It returns an error wrapping ErrNotRecorded when the Event could not
	// be kept and the caller must not release the reply. It never blocks for ever.
	Wait() error
}

// ErrNotRecorded is wrapped by errors of Receipt.Wait: no reply may be released without its record.
var ErrNotRecorded = errors.New("not recorded")

// SessionID names a session for ever. IDs made later by one process are larger, and IDs of different
// processes differ: 41 bits of milliseconds since 2020 and 22 random bits. It prints as 13 characters
// of lower-case base32 that sort as the numbers do.
type SessionID int64

const sessionEpoch = 1_577_836_800_000 // 2020-01-01T00:00:00Z in Unix milliseconds

var (
	sessionAlphabet = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)
	lastSession     atomic.Int64
)

// NewSessionID makes an ID for a session that begins at t.
func NewSessionID(t time.Time) SessionID {
	var r [4]byte
	rand.Read(r[:]) // never fails (crypto/rand)
	id := (t.UnixMilli()-sessionEpoch)<<22 | int64(binary.BigEndian.Uint32(r[:])>>10)
	for {
		last := lastSession.Load()
		id = max(id, last+1)
		if lastSession.CompareAndSwap(last, id) {
			return SessionID(id)
		}
	}
}

// String returns the 13-character form, or "" for zero.
func (id SessionID) String() string {
	if id == 0 {
		return ""
	}
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(id))
	return sessionAlphabet.EncodeToString(b[:])
}

// ParseSessionID reads what String wrote; letters may be of either case.
func ParseSessionID(s string) (SessionID, error) {
	b, err := sessionAlphabet.DecodeString(strings.ToLower(s))
	if err != nil || len(b) != 8 {
		return 0, fmt.Errorf("session ID %.40q: want 13 characters of 0-9 and a-z", s)
	}
	id := SessionID(binary.BigEndian.Uint64(b))
	if id <= 0 || id.String() != strings.ToLower(s) {
		return 0, fmt.Errorf("session ID %.40q is out of range", s)
	}
	return id, nil
}

// MarshalText writes the ID as String does: JSON numbers cannot hold it.
func (id SessionID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (id *SessionID) UnmarshalText(b []byte) (err error) {
	if len(b) == 0 {
		*id = 0
		return nil
	}
	*id, err = ParseSessionID(string(b))
	return err
}
