package audit

import (
	"net/netip"
	"strings"
	"time"

	"postern/proxy"
)

// Record is one row of the log: an event with its place in it. Fields have the meaning they have in
// proxy.Event; zero fields do not apply and are left out of the JSON. User and Peer stand on every record of
// a session: Peer is the client's address, User the one claimed by a login attempt, and after the login
// the one logged in.
type Record struct {
	Seq     int64           `json:"seq"` // from 1, without holes
	Session proxy.SessionID `json:"session,omitzero"`
	Time    time.Time       `json:"time"` // UTC
	Kind    proxy.Kind      `json:"kind"`

	Verb      string        `json:"verb,omitzero"`
	Arg       string        `json:"arg,omitzero"`
	Status    string        `json:"status,omitzero"`
	Code      string        `json:"code,omitzero"`
	Text      string        `json:"text,omitzero"`
	Local     bool          `json:"local,omitzero"`
	Partial   bool          `json:"partial,omitzero"`
	Message   int64         `json:"message,omitzero"`
	UID       string        `json:"uid,omitzero"`
	Announced int64         `json:"announced,omitzero"`
	Octets    int64         `json:"octets,omitzero"`
	Lines     int64         `json:"lines,omitzero"`
	Duration  time.Duration `json:"duration_ns,omitzero"`

	User      string `json:"user,omitzero"`
	Mechanism string `json:"mechanism,omitzero"`
	Login     string `json:"login,omitzero"`

	Side   string `json:"side,omitzero"`
	Detail string `json:"detail,omitzero"`
	Count  int64  `json:"count,omitzero"`

	Peer       netip.AddrPort `json:"peer,omitzero"`
	Listener   string         `json:"listener,omitzero"`
	Backend    string         `json:"backend,omitzero"`
	TLS        *TLS           `json:"tls,omitzero"`
	BackendTLS *TLS           `json:"backend_tls,omitzero"`
	Mail       *Mail          `json:"mail,omitzero"`

	Received int64 `json:"received,omitzero"`
	Sent     int64 `json:"sent,omitzero"`
}

// TLS tells what was negotiated on one leg. Its fields are those of proxy.TLS.
type TLS struct {
	Version   string        `json:"version,omitzero"`
	Cipher    string        `json:"cipher,omitzero"`
	Group     string        `json:"group,omitzero"`
	SNI       string        `json:"sni,omitzero"`
	ALPN      string        `json:"alpn,omitzero"`
	Resumed   bool          `json:"resumed,omitzero"`
	Legacy    bool          `json:"legacy,omitzero"`
	Handshake time.Duration `json:"handshake_ns,omitzero"`
	Serial    string        `json:"serial,omitzero"`
	Verified  string        `json:"verified,omitzero"`
	JA4       string        `json:"ja4,omitzero"`
	Subject   string        `json:"subject,omitzero"`
	SHA256    string        `json:"sha256,omitzero"`
}

// Mail is what a message says of itself. Its fields are those of proxy.Mail.
type Mail struct {
	SHA256    string `json:"sha256,omitzero"`
	MessageID string `json:"message_id,omitzero"`
	From      string `json:"from,omitzero"`
	Date      string `json:"date,omitzero"`
	Subject   string `json:"subject,omitzero"`
}

// Filter chooses records. Zero fields choose all; fields that are set must all match.
type Filter struct {
	User    string          // records of this user's sessions after login, and login attempts with this name
	Addr    netip.Prefix    // the client's address lies in it
	Session proxy.SessionID // records of one session
}

// recordOf turns an event into the record it will be, all but its number.
func recordOf(ev *proxy.Event) Record {
	r := Record{
		Session: ev.Session, Time: ev.Time.UTC(), Kind: ev.Kind,
		Verb: ev.Verb, Arg: ev.Arg, Status: ev.Status, Code: ev.Code, Text: ev.Text,
		Local: ev.Local, Partial: ev.Partial, Message: ev.Message, UID: ev.UID, Announced: ev.Announced,
		Octets: ev.Octets, Lines: ev.Lines, Duration: ev.Duration,
		User: ev.User, Mechanism: ev.Mechanism, Login: ev.Login,
		Side: ev.Side, Detail: ev.Detail, Count: ev.Count,
		Peer: ev.Peer, Listener: ev.Listener, Backend: ev.Backend,
		Received: ev.Received, Sent: ev.Sent,
	}
	r.TLS, r.BackendTLS = tlsOf(ev.TLS), tlsOf(ev.BackendTLS)
	if ev.Mail != nil {
		m := Mail(*ev.Mail)
		r.Mail = &m
	}
	return r
}

func tlsOf(facts *proxy.TLS) *TLS {
	if facts == nil {
		return nil
	}
	t := TLS(*facts)
	for _, text := range []*string{&t.SNI, &t.ALPN, &t.Subject} { // a peer may send any octets; JSON is text
		*text = strings.ToValidUTF8(*text, "\uFFFD")
	}
	return &t
}
