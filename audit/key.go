package audit

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// key is what a log signs its checkpoints with, and makes pseudonyms with. It lies in a file of its own:
//
//	PRIVATE+KEY+<origin>+<id>+<Ed25519 seed>     a signer key (golang.org/x/mod/sumdb/note)
//	PSEUDONYM+KEY+<32 octets in base64>
//
// Rotation changes the first line alone: a user has one pseudonym for ever.
type key struct {
	signer    note.Signer
	text      string // the signer key
	verifier  string // its public half (C2SP signed-note, "verifier keys")
	pseudonym [32]byte
}

const pseudonymLine = "PSEUDONYM+KEY+"

// KeyPath returns where the key of the log at path lies unless Options says otherwise: beside it, with .key in place
// of .db.
func KeyPath(path string) string { return strings.TrimSuffix(path, ".db") + ".key" }

// newKey makes a key for the log called origin.
func newKey(origin string) (*key, error) {
	text, verifier, err := note.GenerateKey(rand.Reader, origin)
	if err != nil {
		return nil, err
	}
	k := &key{text: text, verifier: verifier}
	rand.Read(k.pseudonym[:]) // never fails (crypto/rand)
	k.signer, err = note.NewSigner(text)
	return k, err
}

// successor makes the key that follows k.
func (k *key) successor() (*key, error) {
	next, err := newKey(k.signer.Name())
	if err == nil {
		next.pseudonym = k.pseudonym
	}
	return next, err
}

// readKey reads a key file, which nobody but its owner may be able to.
func readKey(path string) (*key, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if loose := info.Mode().Perm() & 0o077; loose != 0 {
		return nil, fmt.Errorf("the key %s may be used by others (mode %o): chmod 600 %s; if they may have read it, "+
			"run postern key rotate", path, info.Mode().Perm(), path)
	}
	if info.Size() > 4096 {
		return nil, notAKey(path)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	k, err := parseKey(string(text))
	if err != nil {
		return nil, notAKey(path) // the cause might quote the key
	}
	return k, nil
}

func notAKey(path string) error {
	return fmt.Errorf("%s is not a key of postern's: restore it from a backup", path)
}

var errKey = errors.New("not a key")

func parseKey(text string) (k *key, err error) {
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if len(lines) != 2 || !strings.HasPrefix(lines[1], pseudonymLine) {
		return nil, errKey
	}
	k = &key{text: lines[0]}
	if k.signer, err = note.NewSigner(k.text); err != nil {
		return nil, err
	}
	parts := strings.SplitN(k.text, "+", 5) // five there are, as NewSigner has seen, and base64 may hold a +
	secret, err := base64.StdEncoding.DecodeString(parts[len(parts)-1])
	if err != nil || len(secret) != 1+ed25519.SeedSize {
		return nil, errKey
	}
	public := ed25519.NewKeyFromSeed(secret[1:]).Public().(ed25519.PublicKey)
	if k.verifier, err = note.NewEd25519VerifierKey(k.signer.Name(), public); err != nil {
		return nil, err
	}
	b, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(lines[1], pseudonymLine))
	if err != nil || len(b) != len(k.pseudonym) {
		return nil, errKey
	}
	copy(k.pseudonym[:], b)
	return k, nil
}

// write makes a file of k, with mode 0600 from the first. It is on disk, as a whole, when write returns: half a key, which a
// power cut would leave, would keep the log from being opened. A file that is there is not touched.
func (k *key) write(path string) error {
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(err, &fs.PathError{Op: "make key", Path: path, Err: fs.ErrExist})
	}
	half := path + ".half"
	if err := os.Remove(half); err != nil && !errors.Is(err, fs.ErrNotExist) { // a power cut left it
		return err
	}
	f, err := os.OpenFile(half, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, "%s\n%s%s\n", k.text, pseudonymLine, base64.StdEncoding.EncodeToString(k.pseudonym[:]))
	if err = errors.Join(err, f.Chmod(0o600), f.Sync(), f.Close()); err == nil {
		err = os.Rename(half, path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(half))
	}
	return syncDir(path)
}

// syncDir makes what happened to the name of path survive a power cut.
func syncDir(path string) error {
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// nextKey is where the key that follows lies while it is not in force.
func nextKey(path string) string { return path + ".next" }

// openKey returns the key of the log called origin, in which verifier is the key in force, "" if there was none
// yet: then a key is made.
func openKey(path, origin, verifier string) (*key, error) {
	if err := finishRotation(path, verifier); err != nil {
		return nil, err
	}
	k, err := readKey(path)
	if errors.Is(err, fs.ErrNotExist) && verifier == "" {
		if k, err = newKey(origin); err == nil {
			err = k.write(path)
		}
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("the key of this log is not at %s: restore it from a backup, or if it is lost, accept that "+
			"it cannot vouch for its successor: postern key rotate --lost", path)
	case err != nil:
		return nil, err
	case k.signer.Name() != origin:
		return nil, fmt.Errorf("%s is the key of another log, %s: restore the key of %s, or move it away if this log is new",
			path, k.signer.Name(), origin)
	case verifier != "" && k.verifier != verifier:
		return nil, fmt.Errorf("%s is not the key that this log was last signed with, which is %s: restore it from a backup, "+
			"or if it is lost, run postern key rotate --lost", path, verifier)
	}
	return k, nil
}

// finishRotation does what a crash kept a rotation from doing: its record decides whether the next key is in force.
func finishRotation(path, verifier string) error {
	next, err := readKey(nextKey(path))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err == nil && next.verifier == verifier:
		return next.replace(path)
	case err != nil && !isInPlace(path, verifier):
		return fmt.Errorf("the key in force may be the one in %s, which cannot be read: %w", nextKey(path), err)
	}
	return os.Remove(nextKey(path)) // it was never in force
}

// isInPlace tells whether the key in force, if there is one yet, lies where it belongs.
func isInPlace(path, verifier string) bool {
	k, err := readKey(path)
	return verifier == "" || err == nil && k.verifier == verifier
}

// replace puts the next key in place of the one in force, which is gone then.
func (k *key) replace(path string) error {
	if err := os.Rename(nextKey(path), path); err != nil {
		return err
	}
	return syncDir(path)
}

// vouch returns k's signature over the verifier key that follows it: the signature line of a note whose text is
// that key.
func (k *key) vouch(verifier string) (string, error) {
	signed, err := note.Sign(&note.Note{Text: verifier + "\n"}, k.signer)
	if err != nil {
		return "", err
	}
	_, line, _ := strings.Cut(string(signed), "\n\n")
	return strings.TrimSuffix(line, "\n"), nil
}

// vouched tells whether the key old signed the verifier key next.
func vouched(old, next, signature string) bool {
	v, err := note.NewVerifier(old)
	if err != nil || signerOf(signature+"\n") == "" {
		return false
	}
	_, err = note.Open([]byte(next+"\n\n"+signature+"\n"), note.VerifierList(v))
	return err == nil
}

// CopyKey makes a file of the key at from, with mode 0600. A file that is there is not touched.
func CopyKey(from, to string) error {
	k, err := readKey(from)
	if err == nil {
		err = k.write(to)
	}
	return err
}
