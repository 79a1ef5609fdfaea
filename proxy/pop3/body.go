package pop3

import (
	"bytes"
	"encoding/binary"
	"math/bits"
)

// Body finds the end of a multi-line reply in a stream of chunks: the first LF-terminated line that is
// exactly one dot, CR optional (RFC 1939 section 3). A bare CR ends no line. The zero Body stands before the
// first line.
type Body struct {
	Octets int64 // of the body so far, the terminator left out
	Lines  int64 // LF-terminated lines so far, the terminator left out
	inside bool  // the next octet continues a line
}

// Scan looks at the next octets of the stream. The first n of them belong to the body and may go on. When
// done, the next skip octets are the terminator and what comes after is no part of the reply. When not done,
// b[n:] is at most two octets that may begin the terminator: give them again with more behind them.
func (s *Body) Scan(b []byte) (n, skip int, done bool) {
	n = len(b)
	at, k, state := 0, 0, dotNot
	if !s.inside {
		k, state = dotLine(b)
	}
	if state == dotNot {
		at, k, state = findEnd(b)
	}
	if state != dotNot {
		n, skip, done = at, k, state == dotEnd
	}
	if n > 0 {
		s.Octets += int64(n)
		s.Lines += int64(bytes.Count(b[:n], []byte{'\n'}))
		s.inside = b[n-1] != '\n'
	}
	return n, skip, done
}

type dotState uint8

const (
	dotNot   dotState = iota // not the terminator
	dotMaybe                 // too short to tell
	dotEnd                   // the terminator, k octets long
)

// dotLine says whether b, which stands at the start of a line, is the terminator.
func dotLine(b []byte) (k int, _ dotState) {
	switch {
	case len(b) == 0 || b[0] != '.':
		return 0, dotNot
	case len(b) == 1:
		return 0, dotMaybe
	case b[1] == '\n':
		return 2, dotEnd
	case b[1] != '\r':
		return 0, dotNot
	case len(b) == 2:
		return 0, dotMaybe
	case b[2] == '\n':
		return 3, dotEnd
	}
	return 0, dotNot
}

// findEnd returns where in b the terminator, or what may be its beginning, stands; b[0] itself is not taken for a
// line's start. Dots are rarer than line ends in mail (base64 has none), so it goes from dot to dot, and over stretches
// where they turn out to be dense, which a hostile sender can see to, in another way.
func findEnd(b []byte) (at, k int, state dotState) {
	at = 1
	for near := 0; at < len(b); {
		i := bytes.IndexByte(b[at:], '.')
		if i < 0 {
			return 0, 0, dotNot
		}
		at += i
		if b[at-1] == '\n' {
			if k, state = dotLine(b[at:]); state != dotNot {
				return at, k, state
			}
		}
		switch {
		case i >= sparse:
			near = 0
		case near < crowd:
			near++
		default:
			if at, k, state = findDense(b, at); state != dotNot {
				return at, k, state
			}
		}
		at++
	}
	return 0, 0, dotNot
}

const (
	sparse  = 32   // octets from dot to dot: so far apart, they cost no more than the octets between them
	crowd   = 4    // dots in a row that are nearer
	stretch = 1024 // octets that are then looked at eight at a time: what comes behind prose may be base64
)

// findDense is findEnd for the line starts behind b[from], over a stretch, at nearly the same speed whatever b holds
// (bytes.Index falls to a quarter of it where lines of dots have nine octets): it looks at eight octets at once for a
// line end with a dot behind it. When there is no terminator, none starts before b[at+1].
func findDense(b []byte, from int) (at, k int, state dotState) {
	i, end := from, min(from+stretch, len(b)-9)
	for ; i < end; i += 8 {
		x := (octets(b[i:]) ^ each*'\n') | (octets(b[i+1:]) ^ each*'.')
		for found := (x - each) &^ x & (each << 7); found != 0; found &= found - 1 {
			at = i + bits.TrailingZeros64(found)/8 + 1
			if c := b[at+1]; c != '\n' && c != '\r' || b[at-1] != '\n' {
				continue // b[at] may be no dot: a zero octet of x lets the next one pass, too
			}
			if k, state = dotLine(b[at:]); state != dotNot {
				return at, k, state
			}
		}
	}
	if i+10 <= len(b) {
		return i, 0, dotNot
	}
	for at = i + 1; at < len(b); at++ {
		if b[at-1] != '\n' {
			continue
		}
		if k, state = dotLine(b[at:]); state != dotNot {
			return at, k, state
		}
	}
	return at, 0, dotNot
}

// each is a word of eight ones: times an octet, it is eight of that.
const each = 0x0101010101010101

func octets(b []byte) uint64 { return binary.LittleEndian.Uint64(b) }
