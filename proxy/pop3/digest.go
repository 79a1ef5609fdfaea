package pop3

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"hash"
)

// Digest is the SHA-256 of a message that streams by: of its octets as they are on the wire, lines with their CRLF,
// but with dot-stuffing undone (RFC 1939 section 3) and without the terminator. So it is the digest of what a
// client keeps.
type Digest struct {
	sum    hash.Hash
	inside bool   // the next octet continues a line
	small  []byte // short pieces on their way to sum
}

// NewDigest returns the Digest of nothing yet.
func NewDigest() *Digest { return &Digest{sum: sha256.New()} }

// gathered is how many octets of short pieces make one write: where each line is stuffed the hash would else be called
// for every few octets.
const gathered = 4096

// Feed takes the next octets of the body. Whatever has no dot at the start of a line is hashed where it lies.
func (d *Digest) Feed(p []byte) {
	for len(p) > 0 {
		if !d.inside && p[0] == '.' {
			p = p[1:]
			d.inside = true
			continue
		}
		n := plainOctets(p)
		d.add(p[:n])
		d.inside = p[n-1] != '\n'
		if p = p[n:]; n < dense {
			p = d.feedDense(p)
		}
	}
}

// plainOctets returns how many octets come before a dot that begins a line; p[0] is none. Like Body it goes from dot to
// dot, which are rarer than line ends, until they turn out to be dense.
func plainOctets(p []byte) int {
	for at, misses := 1, 0; ; at++ {
		i := bytes.IndexByte(p[at:], '.')
		if i < 0 {
			return len(p)
		}
		if at += i; p[at-1] == '\n' {
			return at
		}
		if misses++; misses > 4+at/32 {
			if i := bytes.Index(p[at:], []byte("\n.")); i >= 0 {
				return at + i + 1
			}
			return len(p)
		}
	}
}

// dense is how short a piece must be for its neighbours to be taken octet by octet.
const dense = 16

// feedDense takes some octets one by one, which costs the same whatever they are (0.7 GB/s, against 0.17 where each line
// is stuffed and short), and returns the rest.
func (d *Digest) feedDense(p []byte) []byte {
	n := min(len(p), 512)
	if len(d.small)+n > gathered {
		d.flush()
	}
	for _, c := range p[:n] {
		if c != '.' || d.inside {
			d.small = append(d.small, c)
		}
		d.inside = c != '\n'
	}
	return p[n:]
}

func (d *Digest) add(p []byte) {
	if len(d.small)+len(p) > gathered {
		d.flush()
	}
	if len(p) > gathered {
		d.sum.Write(p)
		return
	}
	d.small = append(d.small, p...)
}

func (d *Digest) flush() {
	d.sum.Write(d.small)
	d.small = d.small[:0]
}

// Sum returns the digest of what was fed, in lower-case hex.
func (d *Digest) Sum() string {
	d.flush()
	return hex.EncodeToString(d.sum.Sum(nil))
}
