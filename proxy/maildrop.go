package proxy

import (
	"bytes"
	"maps"
	"slices"
	"strconv"

	"postern/proxy/pop3"
)

// maildrop is what one session has learned of its maildrop: unique-ids, and which messages are marked as
// deleted. The zero maildrop knows nothing.
type maildrop struct {
	uids    uidTable
	deleted map[int64]struct{} // marked by DELE, their fate still open
}

// Bounds of what is remembered: beyond them a unique-id goes unrecorded, and a DELE is refused, since a
// delete without its fate on record would break the promise.
const (
	maxUIDs    = 1 << 17 // messages
	maxUIDText = 4 << 20 // octets of unique-ids
	maxUIDLine = 512     // RFC 1939 section 7 has 70 octets for the unique-id
	maxDeleted = 1 << 17 // messages
)

func (m *maildrop) mark(n int64) {
	if m.deleted == nil {
		m.deleted = make(map[int64]struct{})
	}
	m.deleted[n] = struct{}{}
}

// settleDeletes returns an event for the fate of each marked message, in order, and forgets the marks.
func (m *maildrop) settleDeletes(fate string) []Event {
	if len(m.deleted) == 0 {
		return nil
	}
	events := make([]Event, 0, len(m.deleted))
	for _, n := range slices.Sorted(maps.Keys(m.deleted)) {
		events = append(events, Event{Kind: KindDelete, Message: n, UID: m.uids.of(n), Detail: fate})
	}
	m.deleted = nil
	return events
}

// uidTable keeps unique-ids packed: a large maildrop costs their length and five octets each.
type uidTable struct {
	at   []uint32 // by message number: 1 + where in text its length octet stands; 0: unknown
	text []byte
	line []byte // of a UIDL reply, so far
	long bool   // the line is over its bound
}

func (t *uidTable) of(n int64) string {
	if n < 1 || n >= int64(len(t.at)) || t.at[n] == 0 {
		return ""
	}
	i := int(t.at[n])
	return pop3.Text(t.text[i : i+int(t.text[i-1])])
}

// add takes "n unique-id", a line of a UIDL body or the text of a UIDL n reply (RFC 1939 section 7).
func (t *uidTable) add(line []byte) {
	number, uid, _ := bytes.Cut(bytes.TrimSpace(line), []byte{' '})
	uid = bytes.TrimLeft(uid, " ")
	n, err := strconv.ParseUint(string(number), 10, 31)
	if err != nil || n < 1 || n >= maxUIDs || len(uid) == 0 || len(uid) > 255 ||
		len(t.text)+1+len(uid) > maxUIDText {
		return
	}
	if int(n) >= len(t.at) {
		t.at = append(t.at, make([]uint32, int(n)+1-len(t.at))...)
	}
	t.text = append(t.text, byte(len(uid)))
	t.at[n] = uint32(len(t.text))
	t.text = append(t.text, uid...)
}

// reset forgets everything: a whole UIDL listing follows.
func (t *uidTable) reset() { *t = uidTable{} }

// feed takes the next octets of a UIDL body, however they are cut.
func (t *uidTable) feed(p []byte) {
	for len(p) > 0 {
		part, rest, ended := bytes.Cut(p, []byte{'\n'})
		p = rest
		if len(t.line)+len(part) > maxUIDLine {
			t.long = true
		}
		if !t.long {
			t.line = append(t.line, part...)
		}
		if ended {
			if !t.long {
				t.add(t.line)
			}
			t.line, t.long = t.line[:0], false
		}
	}
}
