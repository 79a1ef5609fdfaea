package pop3

import (
	"bytes"
	"mime"
	"strings"
)

// Bounds on what is read of a message's header.
const (
	maxHeader = 64 * 1024   // octets; mail that went through many hands has some 20 KiB
	maxField  = 4 * MaxText // octets of a field as it stands: encoded words take up to three for one and their frame
)

// Header picks out of a message, as it streams by, the fields that tell one message from another (RFC 5322 section 3.6).
// It stops at the blank line or after 64 KiB, keeps the first field of each name, and holds little whatever comes.
// The zero Header stands before the first octet.
type Header struct {
	lines  Lines
	octets int // that were looked at
	done   bool
	at     int // 1 + the field that a folded line continues, 0 for one that is not wanted
	fields [len(wanted)][]byte
}

// wanted are the fields that are kept, in lower case.
var wanted = [...]string{"message-id", "from", "date", "subject"}

// Feed takes the next octets of the body of RETR or TOP, its dot-stuffing not undone.
func (h *Header) Feed(p []byte) {
	if h.done {
		return
	}
	p = p[:min(len(p), maxHeader-h.octets)]
	h.octets += len(p)
	for line := range h.lines.Feed(p) {
		if h.take(line); h.done {
			return
		}
	}
	h.done = h.octets == maxHeader
}

func (h *Header) take(line []byte) {
	line = bytes.TrimSuffix(bytes.TrimPrefix(line, []byte{'.'}), []byte{'\r'})
	switch {
	case len(line) == 0:
		h.done = true
	case line[0] != ' ' && line[0] != '\t':
		h.at = h.begin(line)
	case h.at > 0:
		h.add(h.at-1, line)
	}
}

// begin takes the line that a field begins with, and returns Header.at for it.
func (h *Header) begin(line []byte) (at int) {
	name, value, found := bytes.Cut(line, []byte{':'})
	name = bytes.TrimRight(name, " \t") // old mail has blanks there (RFC 5322 section 4.5)
	for i, w := range wanted {
		if found && len(name) == len(w) && h.fields[i] == nil && bytes.EqualFold(name, []byte(w)) {
			h.fields[i] = make([]byte, 0, min(len(value), maxField))
			h.add(i, value)
			return i + 1
		}
	}
	return 0
}

// add unfolds a line into field i.
func (h *Header) add(i int, line []byte) {
	f := h.fields[i]
	line = bytes.Trim(line, " \t")
	if len(f) > 0 && len(line) > 0 && len(f) < maxField {
		f = append(f, ' ')
	}
	h.fields[i] = append(f, line[:min(len(line), maxField-len(f))]...)
}

// Mail is what a message says of itself in its header. It is the sender's word, made fit to be kept by Text.
type Mail struct{ MessageID, From, Date, Subject string }

// Mail returns what was found. Nothing may be fed any more.
func (h *Header) Mail() Mail {
	if rest := h.lines.Rest(); len(rest) > 0 {
		h.take(rest) // the line that the message, its relaying or the reading of it breaks off in
	}
	return Mail{MessageID: plainField(h.fields[0]), From: decoded(h.fields[1]), Date: plainField(h.fields[2]),
		Subject: decoded(h.fields[3])}
}

func plainField(f []byte) string { return Text(bytes.ReplaceAll(f, []byte{'\t'}, []byte{' '})) }

// decoded undoes encoded words (RFC 2047) in UTF-8, ISO-8859-1 and US-ASCII. A field with others stays as it is.
func decoded(f []byte) string {
	if !bytes.Contains(f, []byte("=?")) {
		return plainField(f)
	}
	var d mime.WordDecoder
	text, err := d.DecodeHeader(string(f))
	if err != nil {
		return plainField(f)
	}
	return plainField([]byte(strings.TrimSpace(text)))
}
