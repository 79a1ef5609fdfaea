package audit

import (
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"net/netip"
	"time"
)

// The columns in the order in which appendValues writes them and scan reads them. The place of a column of
// records is the number of its field in the leaf (see leaf.go): new ones stand at the end, for ever.
const (
	recordColumns = "seq, session, time, kind, verb, arg, status, code, text, local, partial, " +
		"message, uid, octets, lines, duration, user, mechanism, login, side, detail, count, " +
		"ip, port, listener, backend, tls, received, sent, backend_tls, announced, mail, subject, fingerprint"
	sessionColumns = "id, started, ended, state, ip, port, listener, backend, greeting, tls, " +
		"user, mechanism, login, logins_failed, commands, opened, retrieved, deleted, rolled_back, " +
		"unknown, anomalies, octets, received, sent, end_side, end_reason, partial, backend_tls, subject, fingerprint"
)

// scanner is a *sql.Row or *sql.Rows.
type scanner interface{ Scan(dest ...any) error }

func (r *Record) appendValues(v []driver.Value, b *boxes) []driver.Value {
	b.reset()
	return append(v,
		b.number(r.Seq), b.number(int64(r.Session)), b.number(nanos(r.Time)), b.text(string(r.Kind)), b.text(r.Verb), b.text(r.Arg),
		b.text(r.Status), b.text(r.Code), b.text(r.Text), flag(r.Local), flag(r.Partial), b.number(r.Message), b.text(r.UID),
		b.number(r.Octets), b.number(r.Lines), b.number(int64(r.Duration)), b.text(r.User), b.text(r.Mechanism), b.text(r.Login),
		b.text(r.Side), b.text(r.Detail), b.number(r.Count), b.ip(r.Peer), b.number(int64(r.Peer.Port())), b.text(r.Listener),
		b.text(r.Backend), r.TLS.value(), b.number(r.Received), b.number(r.Sent), r.BackendTLS.value(), b.number(r.Announced),
		r.Mail.value(), b.text(r.TLS.subject()), b.text(r.TLS.fingerprint()))
}

func (r *Record) scan(row scanner) error {
	var c client
	var at int64
	err := row.Scan(
		&r.Seq, &r.Session, &at, &r.Kind, &r.Verb, &r.Arg, &r.Status, &r.Code,
		&r.Text, &r.Local, &r.Partial, &r.Message, &r.UID, &r.Octets, &r.Lines, &r.Duration,
		&r.User, &r.Mechanism, &r.Login, &r.Side, &r.Detail, &r.Count,
		&c.ip, &c.port, &r.Listener, &r.Backend, column[TLS]{&r.TLS}, &r.Received, &r.Sent,
		column[TLS]{&r.BackendTLS}, &r.Announced, column[Mail]{&r.Mail}, &c.subject, &c.fingerprint)
	r.Time, r.Peer = moment(at), c.addrPort()
	c.complete(&r.TLS)
	return err
}

func (s *Session) appendValues(v []driver.Value, b *boxes) []driver.Value {
	b.reset()
	return append(v,
		b.number(int64(s.ID)), b.number(nanos(s.Start)), b.number(nanos(s.End)), b.text(string(s.State)),
		b.ip(s.Peer), b.number(int64(s.Peer.Port())), b.text(s.Listener), b.text(s.Backend), b.text(s.Greeting), s.TLS.value(),
		b.text(s.User), b.text(s.Mechanism), b.text(s.Login), b.number(s.LoginsFailed), b.number(s.Commands), b.number(s.Opened),
		b.number(s.Retrieved), b.number(s.Deleted), b.number(s.RolledBack), b.number(s.Unknown), b.number(s.Anomalies),
		b.number(s.Octets), b.number(s.Received), b.number(s.Sent), b.text(s.EndSide), b.text(s.EndReason), flag(s.Partial),
		s.BackendTLS.value(), b.text(s.TLS.subject()), b.text(s.TLS.fingerprint()))
}

func (s *Session) scan(row scanner) error {
	var c client
	var start, end int64
	err := row.Scan(
		&s.ID, &start, &end, &s.State,
		&c.ip, &c.port, &s.Listener, &s.Backend, &s.Greeting, column[TLS]{&s.TLS},
		&s.User, &s.Mechanism, &s.Login, &s.LoginsFailed, &s.Commands, &s.Opened, &s.Retrieved,
		&s.Deleted, &s.RolledBack, &s.Unknown, &s.Anomalies, &s.Octets, &s.Received, &s.Sent,
		&s.EndSide, &s.EndReason, &s.Partial, column[TLS]{&s.BackendTLS}, &c.subject, &c.fingerprint)
	s.Start, s.End, s.Peer = moment(start), moment(end), c.addrPort()
	c.complete(&s.TLS)
	return err
}

// client is how a client's address and certificate lie in a row: apart from the rest, so that retention can
// take them.
type client struct {
	ip                   []byte
	port                 uint16
	subject, fingerprint string
}

// complete puts what the client's certificate tells back into t.
func (c *client) complete(t **TLS) {
	if c.subject == "" && c.fingerprint == "" {
		return
	}
	if *t == nil {
		*t = new(TLS)
	}
	(*t).Subject, (*t).SHA256 = c.subject, c.fingerprint
}

// value returns t as JSON, without what names the client.
func (t *TLS) value() driver.Value {
	if t == nil {
		return nil
	}
	facts := *t
	facts.Subject, facts.SHA256 = "", ""
	return facts.json()
}

func (m *Mail) value() driver.Value {
	if m == nil {
		return nil
	}
	return m.json()
}

func (t *TLS) subject() string {
	if t == nil {
		return ""
	}
	return t.Subject
}

func (t *TLS) fingerprint() string {
	if t == nil {
		return ""
	}
	return t.SHA256
}

func (c *client) addrPort() netip.AddrPort {
	addr, ok := netip.AddrFromSlice(c.ip)
	if !ok {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(addr, c.port)
}

// column reads a T that lies in a row as JSON, or as NULL.
type column[T any] struct{ to **T }

// Scan implements sql.Scanner.
func (c column[T]) Scan(v any) error {
	*c.to = nil
	if v == nil {
		return nil
	}
	text, ok := v.(string)
	if !ok {
		return fmt.Errorf("want JSON, got %T", v)
	}
	*c.to = new(T)
	return json.Unmarshal([]byte(text), *c.to)
}

// nanos returns Unix nanoseconds, 0 for the zero time.
func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

// moment is the inverse of nanos, in UTC.
func moment(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}

func flag(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// firstAndLast return the ends of the range of ip values that lie in p.
func firstAndLast(p netip.Prefix) (first, last []byte) {
	p = p.Masked()
	first = p.Addr().AsSlice()
	last = p.Addr().AsSlice()
	for bit := p.Bits(); bit < len(last)*8; bit++ {
		last[bit/8] |= 1 << (7 - bit%8)
	}
	return first, last
}
