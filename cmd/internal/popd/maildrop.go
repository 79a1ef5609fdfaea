package popd

import (
	"bytes"
	"fmt"
	"sync"
)

// Maildrop is one user's mail. It is safe for many sessions, of which one at a time holds it.
type Maildrop struct {
	password string
	stock    [][]byte // messages that arrive again after they were deleted

	mu       sync.Mutex
	held     bool
	messages []message
	arrived  int // messages that ever arrived: numbers unique-ids
}

// message is immutable once it arrived.
type message struct {
	uid  string
	text []byte // lines end in CRLF, as on the wire, without dot-stuffing
}

// NewMaildrop makes a maildrop with the messages of stock in it. Lines may end in LF or CRLF. Each later
// login finds one more message of stock, in turn, while fewer are left than stock has: so a demo never
// runs dry and yet sees its deletes.
func NewMaildrop(password string, stock [][]byte) *Maildrop {
	d := &Maildrop{password: password}
	for _, text := range stock {
		d.stock = append(d.stock, canonical(text))
	}
	for range d.stock {
		d.arriveLocked()
	}
	return d
}

// Len returns the number of messages.
func (d *Maildrop) Len() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.messages)
}

// open gives the maildrop to a session; it returns false while another holds it (RFC 1939 section 4).
func (d *Maildrop) open() ([]message, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.held {
		return nil, false
	}
	d.held = true
	if len(d.messages) < len(d.stock) {
		d.arriveLocked()
	}
	return append([]message(nil), d.messages...), true
}

// release ends a session's hold and removes the messages it deleted.
func (d *Maildrop) release(deleted map[string]bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.held = false
	kept := d.messages[:0]
	for _, m := range d.messages {
		if !deleted[m.uid] {
			kept = append(kept, m)
		}
	}
	clear(d.messages[len(kept):])
	d.messages = kept
}

func (d *Maildrop) arriveLocked() {
	text := d.stock[d.arrived%len(d.stock)]
	d.arrived++
	d.messages = append(d.messages, message{fmt.Sprintf("%08x%08x", len(text), d.arrived), text})
}

// canonical ends every line in CRLF, the last one too: a bare LF or CR cannot travel as itself.
func canonical(text []byte) []byte {
	var b bytes.Buffer
	b.Grow(len(text) + len(text)/40)
	for line := range bytes.Lines(text) {
		b.Write(bytes.TrimRight(line, "\r\n"))
		b.WriteString("\r\n")
	}
	return b.Bytes()
}
