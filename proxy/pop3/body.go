package pop3

import "bytes"

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
// line's start. Dots are rarer than line ends in mail (base64 has none), so it goes from dot to dot until they
// turn out to be dense, which a hostile sender can see to.
func findEnd(b []byte) (at, k int, state dotState) {
	for at, misses := 1, 0; at < len(b); at++ {
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
		if misses++; misses > 4+at/32 {
			i, k, state = findDense(b[at:])
			return at + i, k, state
		}
	}
	return 0, 0, dotNot
}

// findDense is findEnd at the same speed whatever b holds.
func findDense(b []byte) (at, k int, state dotState) {
	if i := bytes.Index(b, []byte("\n.\n")); i >= 0 {
		at, k, state = i+1, 2, dotEnd
		b = b[:i+1]
	}
	if i := bytes.Index(b, []byte("\n.\r\n")); i >= 0 {
		return i + 1, 3, dotEnd
	}
	if state == dotEnd {
		return at, k, state
	}
	for _, tail := range []string{"\n.", "\n.\r"} {
		if bytes.HasSuffix(b, []byte(tail)) {
			return len(b) - len(tail) + 1, 0, dotMaybe
		}
	}
	return 0, 0, dotNot
}
