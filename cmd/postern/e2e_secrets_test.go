package main

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// secrets are what must be found nowhere after a test.
type secrets struct {
	mu   sync.Mutex
	list []string
}

func (s *secrets) add(list ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, secret := range list {
		if len(secret) >= 8 { // shorter ones, as SCRAM's last empty line, are found by chance
			s.list = append(s.list, secret)
		}
	}
}

// searchAll looks through the data directory (database, WAL and whatever else is kept there) and the log.
func (s *secrets) searchAll(t *testing.T, g *gate) {
	t.Helper()
	err := filepath.WalkDir(g.dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		s.search(t, entry.Name(), b)
		return err
	})
	if err != nil {
		t.Error(err)
	}
	s.search(t, "the log", g.log.bytes())
}

// search fails the test where a secret stands in text, in any of its spellings.
func (s *secrets) search(t *testing.T, where string, text []byte) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	lower := bytes.ToLower(text)
	for _, secret := range s.list {
		for kind, spelling := range spellings(secret) {
			if at := bytes.Index(text, []byte(spelling)); at >= 0 {
				t.Errorf("%s holds the secret %q %s: %q", where, secret, kind, around(text, at, len(spelling)))
			}
		}
		if at := bytes.Index(lower, []byte(hex.EncodeToString([]byte(secret)))); at >= 0 {
			t.Errorf("%s holds the secret %q in hex: %q", where, secret, around(text, at, 2*len(secret)))
		}
	}
}

// spellings are a secret as it is, and what of its base64 is sure at each of the three places where it can
// begin inside a longer text.
func spellings(secret string) map[string]string {
	all := map[string]string{"raw": secret}
	for shift, kind := range []string{"in base64", "in base64, shifted by 1", "in base64, shifted by 2"} {
		text := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("\x00", shift) + secret))
		first := (shift*8 + 5) / 6
		last := (shift + len(secret)) * 8 / 6
		all[kind] = text[first:last]
	}
	return all
}

func around(text []byte, at, n int) []byte {
	return text[max(0, at-40):min(len(text), at+n+40)]
}

// The search itself finds what it should: a search that finds nothing proves nothing.
func TestSecretSpellings(t *testing.T) {
	const secret = "e2e spelled 4Jc7"
	for pad := range 3 {
		text := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("u", pad) + secret + "tail"))
		found := 0
		for _, spelling := range spellings(secret) {
			if strings.Contains(text, spelling) {
				found++
			}
		}
		if found == 0 {
			t.Errorf("%q is not found in %s", secret, text)
		}
	}
}
