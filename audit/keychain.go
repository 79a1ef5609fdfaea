package audit

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"

	"golang.org/x/mod/sumdb/note"

	"postern/proxy"
)

// lostKey is the Detail of a key record whose key no other vouches for.
const lostKey = "lost"

// keychain follows which key signs: the one that the first start record names, then those of the key records. It
// checks the signatures of the checkpoints, beside everything else: they cost more than all other checks of an idle log.
type keychain struct {
	found   *findings
	trusted []string // one of them must be the log's; nil: any may
	all     []string // the keys in force so far, those before a break left out
	first   string
	current string
	since   int64 // the record that put current in force
	before  string

	jobs    chan signedNote
	workers sync.WaitGroup
	mu      sync.Mutex
	late    []Finding // of the workers
}

// signedNote is a checkpoint whose signatures are to be checked with the verifier keys: that of each, or from elsewhere
// that of any.
type signedNote struct {
	text  string
	keys  []string
	any   bool
	wrong Finding // if they are not good
}

func (s *signedNote) check() error {
	if !s.any {
		return signedBy(s.text, s.keys)
	}
	err := signedBy(s.text, nil)
	for _, key := range s.keys {
		if err = signedBy(s.text, []string{key}); err == nil {
			break
		}
	}
	return err
}

// start begins to check signatures in other goroutines; wait ends them.
func (k *keychain) start(workers int) {
	k.jobs = make(chan signedNote, 1024)
	for range workers {
		k.workers.Go(func() {
			for job := range k.jobs {
				k.check(job)
			}
		})
	}
}

func (k *keychain) check(job signedNote) {
	if err := job.check(); err != nil {
		job.wrong.Detail = err.Error()
		k.mu.Lock()
		k.late = append(k.late, job.wrong)
		k.late = k.late[:min(len(k.late), maxFindings)]
		k.mu.Unlock()
	}
}

func badCheckpoint(size int64) Finding {
	return Finding{Table: "checkpoints", Key: sizeKey(size), What: wasAltered, at: size}
}

func sizeKey(size int64) string { return fmt.Sprintf("size %d", size) }

// wait returns when all signatures are checked.
func (k *keychain) wait() {
	close(k.jobs)
	k.workers.Wait()
	for _, f := range k.late {
		k.found.add(f)
	}
}

// signedBy tells whether a note has the signature of each key.
func signedBy(text string, keys []string) error {
	if len(keys) == 0 {
		return errors.New("no key is known that it could be signed with")
	}
	if !isStrict(text) {
		return errors.New("a signature is not written as it is to be")
	}
	for _, key := range keys {
		v, err := note.NewVerifier(key)
		if err != nil {
			return fmt.Errorf("%.120q is no verifier key", key)
		}
		if _, err := note.Open([]byte(text), note.VerifierList(v)); err != nil {
			return fmt.Errorf("it is not signed with %s", key)
		}
	}
	return nil
}

// isStrict tells whether the signature lines of a note can be written in no other way: base64 has bits that say nothing.
func isStrict(text string) bool {
	_, signatures, _ := strings.Cut(text, "\n\n")
	for line := range strings.Lines(signatures) {
		if signerOf(line) == "" {
			return false
		}
	}
	return true
}

// signers returns the keys that a checkpoint of that size is to be signed with. The one that ends with a key record is signed
// with the old key as well; retention may have left it out.
func (k *keychain) signers(size int64) []string {
	before := k.before
	if k.before = ""; before != "" && size == k.since {
		return []string{before, k.current}
	}
	if k.current == "" {
		return nil
	}
	return []string{k.current}
}

// follow takes up a start or key record.
func (k *keychain) follow(r *Record) {
	switch {
	case r.Kind == proxy.KindStart && (r.Arg == "" || r.Arg == k.current):
		return // of a version that signed nothing, or the same key
	case k.current == "":
		k.first = r.Arg
	case r.Kind == proxy.KindStart:
		k.broke(r, "the key is another one, and no record tells of the change")
	case r.Detail == lostKey:
		if k.all = nil; !slices.Contains(k.trusted, r.Arg) {
			k.broke(r, "the key was lost, says the log, and none vouches for the new one: if that was you, give it with --key "+r.Arg)
		}
	case !vouched(k.current, r.Arg, r.Text):
		k.broke(r, "the key before it did not sign it")
	}
	if k.before = ""; r.Kind == proxy.KindKey && r.Detail != lostKey {
		k.before = k.current
	}
	k.all = append(k.all, r.Arg)
	k.current, k.since = r.Arg, r.Seq
}

// isTrusted tells whether a key that was given is one of the log's, and so vouches for the one in force.
func (k *keychain) isTrusted() bool {
	return len(k.trusted) == 0 || slices.ContainsFunc(k.all, func(key string) bool { return slices.Contains(k.trusted, key) })
}

func (k *keychain) broke(r *Record, why string) {
	k.found.add(Finding{Table: "records", Key: seqKey(r.Seq, r.Seq), What: wasBroken, Detail: why, at: r.Seq})
}

// ReadVerifier returns the verifier key that text is, or that is in the file so called: a file of verifier keys, or a
// log's own key.
func ReadVerifier(text string) (string, error) {
	if nameOf(text) != "" {
		return text, nil
	}
	f, err := os.Open(text)
	if err != nil {
		return "", fmt.Errorf("%.120q is neither a verifier key, as postern key export prints it, nor a file with one: %w", text, err)
	}
	defer f.Close()
	b, err := io.ReadAll(limited(f))
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(b)) {
		if line = strings.TrimSpace(line); nameOf(line) != "" {
			return line, nil
		}
	}
	k, err := parseKey(string(b))
	if err != nil {
		return "", fmt.Errorf("%s holds no verifier key, as postern key export prints it", text)
	}
	return k.verifier, nil
}

// Fingerprint returns the SHA-256 of the public key in a verifier key, in the form that ssh-keygen prints.
func Fingerprint(verifier string) (string, error) {
	if _, err := note.NewVerifier(verifier); err != nil {
		return "", fmt.Errorf("%.120q is no verifier key: want NAME+HASH+KEY, as postern key export prints it", verifier)
	}
	parts := strings.SplitN(verifier, "+", 3) // three there are, as NewVerifier has seen
	public, err := base64.StdEncoding.DecodeString(parts[2])
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(public[1:])
	return "SHA256:" + base64.RawStdEncoding.EncodeToString(sum[:]), nil
}

// nameOf returns the name in a verifier key, "" if it is none.
func nameOf(verifier string) string {
	v, err := note.NewVerifier(verifier)
	if err != nil {
		return ""
	}
	return v.Name()
}
