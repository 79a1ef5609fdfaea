package pop3

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"
)

var stuffed = []string{
	"", "a\r\n", ".", "..\r\n", "..\n", "a\r\n..\r\n...\r\n.x\r\n", "a.b\n.c\n", "\r\n\r\n", "\n.\n.\n", ".\r..\r.\n", "a", "a\n.",
	strings.Repeat("..\r\n", 3000), strings.Repeat("x", 9000) + "\n." + strings.Repeat("y", 9000) + "\n..z\n",
	strings.Repeat("0123456789abcdef\r\n", 600) + "..\r\n",
}

func TestDigest(t *testing.T) {
	for _, body := range stuffed {
		for _, size := range []int{1, 2, 3, 5, 4095, 4096, 4097, len(body) + 1} {
			if got, want := digestOf([]byte(body), size), slowDigest([]byte(body)); got != want {
				t.Errorf("%.40q in pieces of %d: %s, want %s", body, size, got, want)
			}
		}
	}
}

// digestOf feeds body in pieces, each in memory that is overwritten behind it.
func digestOf(body []byte, size int) string {
	d := NewDigest()
	piece := make([]byte, 0, size)
	for len(body) > 0 {
		piece = append(piece[:0], body[:min(size, len(body))]...)
		body = body[len(piece):]
		d.Feed(piece)
		clear(piece)
	}
	return d.Sum()
}

// slowDigest undoes the stuffing line by line.
func slowDigest(body []byte) string {
	var plain []byte
	for line := range bytes.Lines(body) {
		plain = append(plain, bytes.TrimPrefix(line, []byte{'.'})...)
	}
	sum := sha256.Sum256(plain)
	return hex.EncodeToString(sum[:])
}

func FuzzDigest(f *testing.F) {
	for _, body := range stuffed {
		f.Add([]byte(body), 3)
	}
	f.Fuzz(func(t *testing.T, body []byte, size int) {
		if got, want := digestOf(body, max(1, size&0xffff)), slowDigest(body); got != want {
			t.Fatalf("%q in pieces of %d: %s, want %s", body, size, got, want)
		}
	})
}

func BenchmarkDigest(b *testing.B) {
	for name, line := range map[string]string{
		"base64": strings.Repeat("QUJD", 19) + "\r\n", "blank": "\n", "stuffed": "..\n", "dots": "........\n", "bare": strings.Repeat("x", 1000),
	} {
		chunk := []byte(strings.Repeat(line, 128*1024/len(line)))
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(chunk)))
			d := NewDigest()
			for b.Loop() {
				d.Feed(chunk)
			}
		})
	}
	b.Run("sha256 alone", func(b *testing.B) {
		chunk := make([]byte, 128*1024)
		b.SetBytes(int64(len(chunk)))
		h := sha256.New()
		for b.Loop() {
			h.Write(chunk)
		}
	})
}
