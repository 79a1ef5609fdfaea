package audit

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"

	"golang.org/x/mod/sumdb/note"
)

// Witness is somebody outside who vouches that this log only ever grew, by cosigning its checkpoints
// (C2SP tlog-cosignature, the one with Ed25519).
type Witness struct {
	name string
	id   uint32
	key  ed25519.PublicKey
}

// The types of keys in verifier keys (C2SP signed-note, "signature types").
const (
	typeEd25519     = 0x01
	typeCosignature = 0x04
	typeMLDSA       = 0x06
)

// ParseWitness reads a witness's verifier key: NAME+ID+KEY.
func ParseWitness(text string) (*Witness, error) {
	parts := strings.SplitN(text, "+", 3) // a name holds no +, and base64 may
	if len(parts) != 3 || parts[0] == "" || strings.IndexFunc(parts[0], unicode.IsSpace) >= 0 || len(parts[1]) != 8 {
		return nil, errors.New("not a verifier key, which is NAME+ID+KEY")
	}
	id, err := strconv.ParseUint(parts[1], 16, 32)
	if err != nil {
		return nil, errors.New("its ID is not a number of eight hexadecimal digits")
	}
	key, err := base64.StdEncoding.DecodeString(parts[2])
	if err != nil || len(key) == 0 {
		return nil, errors.New("its KEY is not in base64")
	}
	switch {
	case key[0] == typeMLDSA:
		return nil, errors.New("it is an ML-DSA-44 key, which this postern cannot verify: ask for the witness's Ed25519 cosignature key")
	case key[0] == typeEd25519:
		return nil, errors.New("it is the key of a log (type 1): ask for the witness's cosignature key (type 4)")
	case key[0] != typeCosignature || len(key) != 1+ed25519.PublicKeySize:
		return nil, errors.New("it is not an Ed25519 cosignature key (type 4)")
	}
	w := &Witness{name: parts[0], id: keyID(parts[0], key), key: key[1:]}
	if w.id != uint32(id) {
		return nil, fmt.Errorf("its ID is not that of this name and key, %08x: a letter is wrong", w.id)
	}
	return w, nil
}

func keyID(name string, key []byte) uint32 {
	sum := sha256.Sum256(append([]byte(name+"\n"), key...))
	return binary.BigEndian.Uint32(sum[:])
}

// String returns the verifier key.
func (w *Witness) String() string {
	id := hex.EncodeToString(binary.BigEndian.AppendUint32(nil, w.id))
	return w.name + "+" + id + "+" + base64.StdEncoding.EncodeToString(append([]byte{typeCosignature}, w.key...))
}

// Name implements note.Verifier.
func (w *Witness) Name() string { return w.name }

// KeyHash implements note.Verifier.
func (w *Witness) KeyHash() uint32 { return w.id }

// Verify implements note.Verifier: the signature is a time in seconds, of eight octets, and what the key makes of
// time and text.
func (w *Witness) Verify(text, signature []byte) bool {
	if len(signature) != 8+ed25519.SignatureSize {
		return false
	}
	at := binary.BigEndian.Uint64(signature)
	message := fmt.Appendf(nil, "cosignature/v1\ntime %d\n%s", at, text)
	return at <= math.MaxInt64 && ed25519.Verify(w.key, message, signature[8:])
}

// Cosignature finds w's good cosignature of c among lines, which may hold those of others, and returns its line and when
// it was made.
func (w *Witness) Cosignature(c Checkpoint, lines string) (line string, at time.Time, err error) {
	text, _, _ := strings.Cut(c.Note, "\n\n")
	n, err := note.Open([]byte(text+"\n\n"+lines), note.VerifierList(w))
	if err != nil {
		return "", at, fmt.Errorf("no cosignature of %s: %w", w.name, err)
	}
	signature := n.Sigs[0] // one there is, or Open would not say it is good
	b, err := base64.StdEncoding.DecodeString(signature.Base64)
	if err != nil {
		return "", at, fmt.Errorf("cosignature of %s: %w", w.name, err)
	}
	at = time.Unix(int64(binary.BigEndian.Uint64(b[4:])), 0).UTC()
	return "— " + signature.Name + " " + signature.Base64 + "\n", at, nil
}
