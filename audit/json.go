package audit

import (
	"encoding/json"
	"strconv"
)

// object is a JSON object being written without reflection: 0.13 µs for the facts of a session's TLS, where
// encoding/json takes 0.4, and they are written some four times a session. What is empty is left out, as the tags of TLS and Mail have it.
type object []byte

func (o object) name(name string) object {
	sep := byte(',')
	if len(o) == 0 {
		sep = '{'
	}
	return append(append(append(o, sep, '"'), name...), '"', ':')
}

func (o object) text(name, v string) object {
	if v == "" {
		return o
	}
	return appendQuoted(o.name(name), v)
}

func (o object) flag(name string, v bool) object {
	if !v {
		return o
	}
	return append(o.name(name), "true"...)
}

func (o object) number(name string, v int64) object {
	if v == 0 {
		return o
	}
	return strconv.AppendInt(o.name(name), v, 10)
}

// String ends the object.
func (o object) String() string {
	if len(o) == 0 {
		return "{}"
	}
	return string(append(o, '}'))
}

// appendQuoted appends v as a JSON string.
func appendQuoted(b []byte, v string) []byte {
	for i := range len(v) {
		if c := v[i]; c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			quoted, _ := json.Marshal(v) // strings always have JSON
			return append(b, quoted...)
		}
	}
	return append(append(append(b, '"'), v...), '"')
}

func (t *TLS) json() string {
	var space [512]byte
	return object(space[:0]).text("version", t.Version).text("cipher", t.Cipher).text("group", t.Group).
		text("sni", t.SNI).text("alpn", t.ALPN).flag("resumed", t.Resumed).flag("legacy", t.Legacy).
		number("handshake_ns", int64(t.Handshake)).text("serial", t.Serial).text("verified", t.Verified).
		text("ja4", t.JA4).text("subject", t.Subject).text("sha256", t.SHA256).String()
}

func (m *Mail) json() string {
	var space [512]byte
	return object(space[:0]).text("sha256", m.SHA256).text("message_id", m.MessageID).text("from", m.From).
		text("date", m.Date).text("subject", m.Subject).String()
}
