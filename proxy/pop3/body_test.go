package pop3

import (
	"bytes"
	"strings"
	"testing"
)

var bodies = []struct {
	stream string
	body   int // octets before the terminator
	lines  int64
	end    int // octets with it; 0: not ended
}{
	{".\r\n", 0, 0, 3},
	{".\n", 0, 0, 2},
	{"a\r\n.\r\n", 3, 1, 6},
	{"a\n.\n", 2, 1, 4},
	{"..\r\n.\r\n", 4, 1, 7},
	{".\r.\r\n.\r\n", 5, 1, 8},
	{"\r.\r\r\n.\r\n", 5, 1, 8},
	{"\r.\r.\r\n", 0, 0, 0},
	{"a\r\n.b\r\n.\r\n+OK next", 7, 2, 10},
	{"text.\r\n", 0, 0, 0},
	{"a\n.\r", 0, 0, 0},
	{"\n\n\n.\n", 3, 3, 5},
	{"....\n....\n.\n", 10, 2, 12},
	{".\r\r\n.\r\n", 4, 1, 7},
}

func TestBody(t *testing.T) {
	for _, tt := range bodies {
		for size := 1; size <= len(tt.stream); size++ {
			body, got, end := scanIn([]byte(tt.stream), size)
			if end != tt.end || tt.end > 0 && (len(got) != tt.body || body.Lines != tt.lines || body.Octets != int64(tt.body)) {
				t.Errorf("%q in pieces of %d: ends at %d with %q, %d lines", tt.stream, size, end, got, body.Lines)
			}
		}
	}
}

// scanIn feeds stream in pieces and returns what the Body passed on, and where the reply ended, or 0.
func scanIn(stream []byte, size int) (s Body, body []byte, end int) {
	var held []byte
	for at := 0; at < len(stream); {
		next := min(at+size, len(stream))
		held = append(held, stream[at:next]...)
		n, skip, done := s.Scan(held)
		body = append(body, held[:n]...)
		if done {
			return s, body, next - len(held) + n + skip
		}
		held = append([]byte(nil), held[n:]...)
		at = next
	}
	return s, body, 0
}

// endOf finds the terminator line by line.
func endOf(stream []byte) (body, end int) {
	for line := range bytes.Lines(stream) {
		if s := string(line); s == ".\n" || s == ".\r\n" {
			return body, body + len(line)
		}
		body += len(line)
	}
	return 0, 0
}

// The end is found wherever it stands in what is dense with dots, and what looks like it is not.
func TestBodyDense(t *testing.T) {
	for _, fill := range []string{".", "\n", "\n.", "\n..", ".\n", "........\n", "\n.\r", ".\r\n.", "\n.x", "\n/", "\x0b.", "\n.\r\r\n"} {
		dense := strings.Repeat("."+fill, 40)
		for at := range len(dense) {
			for _, end := range []string{"\n.\n", "\n.\r\n", "\n.", "\n.\r", "\n.\r.", "x"} {
				stream := []byte("x" + dense[:at] + end + dense[at:])
				wantBody, wantEnd := endOf(stream)
				_, body, got := scanIn(stream, len(stream))
				if got != wantEnd || wantEnd > 0 && len(body) != wantBody {
					t.Fatalf("%q ends at %d, want %d", stream, got, wantEnd)
				}
			}
		}
	}
}

// So it is behind a stretch, and where the next begins.
func TestBodyStretches(t *testing.T) {
	for _, fill := range []string{".", "\n", "\n..", ".\n", "\n.\r", "\n.x", "\n/", "\x0b."} {
		dense := strings.Repeat("."+fill, 2*stretch)
		for _, begin := range []int{stretch, 2 * stretch} {
			for at := begin - 16; at < begin+40; at++ {
				stream := []byte("x" + dense[:at] + "\n.\r\n" + strings.Repeat("b", at) + dense)
				wantBody, wantEnd := endOf(stream)
				if _, body, got := scanIn(stream, len(stream)); got != wantEnd || len(body) != wantBody {
					t.Fatalf("%q: ends at %d, want %d", fill, got, wantEnd)
				}
			}
		}
	}
}

func FuzzBody(f *testing.F) {
	for _, tt := range bodies {
		f.Add([]byte(tt.stream), 1)
	}
	f.Add([]byte(strings.Repeat("\n..", 300)+"\n.\n"), 7)
	f.Add([]byte(strings.Repeat(".", 900)+"\n.\r\n"), 100)
	f.Add([]byte(strings.Repeat(".", stretch)+strings.Repeat("a", 99)+"\n.\r\n"), 5000)
	f.Fuzz(func(t *testing.T, stream []byte, size int) {
		wantBody, wantEnd := endOf(stream)
		s, body, end := scanIn(stream, max(1, size&0xffff))
		if end != wantEnd {
			t.Fatalf("%q ends at %d, want %d", stream, end, wantEnd)
		}
		if !bytes.HasPrefix(stream, body) || end > 0 && len(body) != wantBody || s.Octets != int64(len(body)) {
			t.Fatalf("%q: body %q", stream, body)
		}
		if s.Lines != int64(bytes.Count(body, []byte{'\n'})) {
			t.Fatalf("%q: %d lines", stream, s.Lines)
		}
	})
}
