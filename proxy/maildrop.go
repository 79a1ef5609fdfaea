package proxy

import (
	"bytes"
	"maps"
	"math"
	"slices"

	"postern/proxy/pop3"
)

// maildrop is what one session has learned of its maildrop: unique-ids, sizes, and which messages are marked as
// deleted. The zero maildrop knows nothing.
type maildrop struct {
	uids    uidTable
	sizes   sizeTable
	listed  bool               // all unique-ids have been asked for, by the client or by the proxy
	deleted map[int64]struct{} // marked by DELE, their fate still open
}

// Bounds of what is remembered: beyond them a unique-id or a size goes unrecorded, and a DELE is refused, since a
// delete without its fate on record would break the promise.
const (
	maxMessages = 1 << 17
	maxUIDText  = 4 << 20 // octets of unique-ids
	maxUID      = 255     // RFC 1939 section 7 has 70 octets
	maxDeleted  = 1 << 17 // messages
)

// forget drops what was learned before a login: it was not of this maildrop.
func (m *maildrop) forget() { m.uids, m.sizes, m.listed = uidTable{}, sizeTable{}, false }

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

// uidTable keeps unique-ids packed: a large maildrop costs their length and five octets each. They hold for the whole
// session (RFC 1939 section 7), so one that a later listing leaves out, its message being marked as deleted, is kept.
type uidTable struct {
	at    []uint32 // by message number: 1 + where in text its length octet stands; 0: unknown
	text  []byte
	lines pop3.Lines // of a UIDL reply on its way
}

func (t *uidTable) of(n int64) string { return pop3.Text(t.octets(n)) }

func (t *uidTable) octets(n int64) []byte {
	if n < 1 || n >= int64(len(t.at)) || t.at[n] == 0 {
		return nil
	}
	i := int(t.at[n])
	return t.text[i : i+int(t.text[i-1])]
}

// feed takes the next octets of a UIDL body, however they are cut.
func (t *uidTable) feed(p []byte) {
	for line := range t.lines.Feed(p) {
		t.add(line)
	}
}

// add takes "n unique-id", a line of a UIDL body or the text of a UIDL n reply (RFC 1939 section 7).
func (t *uidTable) add(line []byte) {
	n, uid := numbered(line)
	if n == 0 || len(uid) == 0 || len(uid) > maxUID || bytes.Equal(uid, t.octets(n)) {
		return
	}
	t.at = grown(t.at, n)
	if t.at[n] = 0; len(t.text)+1+len(uid) > maxUIDText {
		return
	}
	t.text = append(t.text, byte(len(uid)))
	t.at[n] = uint32(len(t.text))
	t.text = append(t.text, uid...)
}

// sizeTable keeps what the backend said of the messages' sizes, four octets each.
type sizeTable struct {
	octets []uint32   // by message number; 0: not told
	lines  pop3.Lines // of a LIST reply on its way
}

func (t *sizeTable) of(n int64) int64 {
	if n < 1 || n >= int64(len(t.octets)) {
		return 0
	}
	return int64(t.octets[n])
}

// feed takes the next octets of a LIST body, however they are cut.
func (t *sizeTable) feed(p []byte) {
	for line := range t.lines.Feed(p) {
		t.add(line)
	}
}

// add takes "n size", a line of a LIST body or the text of a LIST n reply (RFC 1939 section 5).
func (t *sizeTable) add(line []byte) {
	n, rest := numbered(line)
	size, _ := pop3.Number(rest)
	t.set(n, size)
}

// set notes the size of message n. One of 4 GiB and more is not remembered.
func (t *sizeTable) set(n, size int64) {
	if n < 1 || n >= maxMessages || size < 1 {
		return
	}
	t.octets = grown(t.octets, n)
	t.octets[n] = 0
	if size <= math.MaxUint32 {
		t.octets[n] = uint32(size)
	}
}

// numbered cuts a line of a listing behind its message number, which is 0 when it has none that is remembered.
func numbered(line []byte) (n int64, rest []byte) {
	if n, rest = pop3.Number(bytes.TrimSpace(line)); n >= maxMessages {
		return 0, nil
	}
	return n, rest
}

// grown returns table with room for message n.
func grown(table []uint32, n int64) []uint32 {
	if missing := int(n) + 1 - len(table); missing > 0 {
		table = append(table, make([]uint32, missing)...)
	}
	return table
}
