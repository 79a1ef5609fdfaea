package pop3

import (
	"strings"
	"testing"
)

func TestLines(t *testing.T) {
	long := strings.Repeat("x", 5000)
	stream := "a\r\n\n.b\n" + long + "\nend\n" + long
	want := []string{"a\r", "", ".b", long[:maxLine], "end"}
	for size := 1; size <= len(stream); size++ {
		var l Lines
		var got []string
		for at := 0; at < len(stream); at += size {
			piece := []byte(stream[at:min(at+size, len(stream))])
			for line := range l.Feed(piece) {
				got = append(got, string(line))
			}
			clear(piece)
		}
		if strings.Join(got, "|") != strings.Join(want, "|") || string(l.Rest()) != long[:maxLine] {
			t.Fatalf("in pieces of %d: %.60q, and %.20q", size, got, l.Rest())
		}
	}
}
