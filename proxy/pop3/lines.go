package pop3

import (
	"bytes"
	"iter"
)

// maxLine is how much is kept of a line in a body whose lines are read: unique-ids have 70 octets (RFC 1939
// section 7), header lines 998 (RFC 5322 section 2.1.1).
const maxLine = 2048

// Lines cuts a stream that comes in chunks into its LF-terminated lines. The zero Lines stands before the first.
type Lines struct {
	begun []byte // what is kept of a line whose end has not come
}

// Feed takes the next octets of the stream and gives the lines that end in them, without their LF and cut to 2048
// octets. A line is good until the next one. Whoever stops early gives up the rest of p.
func (l *Lines) Feed(p []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for {
			i := bytes.IndexByte(p, '\n')
			if i < 0 {
				l.keep(p)
				return
			}
			line := p[:min(i, maxLine)]
			if len(l.begun) > 0 { // else it lies whole in p and is not copied
				l.keep(line)
				line = l.begun
			}
			p, l.begun = p[i+1:], l.begun[:0]
			if !yield(line) {
				return
			}
		}
	}
}

func (l *Lines) keep(p []byte) {
	l.begun = append(l.begun, p[:min(len(p), maxLine-len(l.begun))]...)
}

// Rest returns what has come of a line that has not ended.
func (l *Lines) Rest() []byte { return l.begun }
