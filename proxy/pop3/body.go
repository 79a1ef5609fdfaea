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
	n, skip = len(b), 0
	if !s.inside {
		if k, state := dotLine(b); state != dotNot {
			return 0, k, state == dotEnd
		}
	}
	for at := 0; ; {
		i := nextDotLine(b[at:])
		if i < 0 {
			break
		}
		at += i
		if k, state := dotLine(b[at:]); state != dotNot {
			n, skip, done = at, k, state == dotEnd
			break
		}
		at++
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

// nextDotLine returns where in b the next line that starts with a dot begins, or -1; b[0] itself is not taken
// for a line's start. Dots are rarer than line ends in mail (base64 has none), so it looks for dots until they
// turn out to be dense, which a hostile sender can see to.
func nextDotLine(b []byte) int {
	at, misses := 1, 0
	for at < len(b) {
		i := bytes.IndexByte(b[at:], '.')
		if i < 0 {
			return -1
		}
		at += i
		if b[at-1] == '\n' {
			return at
		}
		at++
		if misses++; misses > 4+at/32 {
			if i = bytes.Index(b[at-1:], []byte("\n.")); i < 0 {
				return -1
			}
			return at + i
		}
	}
	return -1
}
