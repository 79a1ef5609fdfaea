package audit

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Proof shows, to whoever has it and a key, that a record is in the log: nothing else of the log is needed. It lies in a file
// as JSON. docs/audit.md describes it, and docs/checkproof checks it in a few lines of its own.
type Proof struct {
	Format string  `json:"format"` // proofFormat
	Leaf   []Part  `json:"leaf"`   // the record, from which its leaf follows
	Proof  string  `json:"proof"`  // C2SP tlog-proof: the leaf is in the tree whose head is signed
	Keys   []Vouch `json:"keys"`   // from the first key of the log to the one that signed
}

const proofFormat = "postern-proof/1"

// Part is a group of a record's fields.
type Part struct {
	Group      int     `json:"group"`
	Name       string  `json:"name"`
	Salt       string  `json:"salt,omitzero"`       // base64
	Fields     []Field `json:"fields,omitzero"`     // in the order of their numbers
	Commitment string  `json:"commitment,omitzero"` // base64: what is left of a group whose fields retention took, or that stays closed
}

// Field is one field of a record. One of Number, Text and Octets is set.
type Field struct {
	N      int     `json:"n"`
	Name   string  `json:"name"`
	Number *int64  `json:"number,omitempty"`
	Text   *string `json:"text,omitempty"`
	Octets *string `json:"octets,omitempty"` // hex
}

// Vouch is a key of the log and what the one before it says of it.
type Vouch struct {
	Key       string `json:"key"`                // a verifier key
	Record    int64  `json:"record"`             // that put it in force
	Signature string `json:"signature,omitzero"` // of the key before it; "" of the first, and after a loss
}

var groupNames = [groups]string{"core", "address", "network", "user", "pseudonym", "message"}

// value returns what the leaf holds of f: a number's eight octets, or the octets of a text.
func (f *Field) value() ([]byte, error) {
	switch {
	case f.Number != nil && f.Text == nil && f.Octets == nil:
		var b []byte
		for shift := 56; shift >= 0; shift -= 8 {
			b = append(b, byte(*f.Number>>shift))
		}
		return b, nil
	case f.Text != nil && f.Number == nil && f.Octets == nil:
		return []byte(*f.Text), nil
	case f.Octets != nil && f.Number == nil && f.Text == nil:
		if b, err := hex.DecodeString(*f.Octets); err == nil && hex.EncodeToString(b) == *f.Octets { // in one form only
			return b, nil
		}
	}
	return nil, fmt.Errorf("field %d has not one value, or none in its one form", f.N)
}

// encode returns the fields as they stand in the leaf or are committed to.
func (p *Part) encode() (b []byte, err error) {
	last := 0
	for i := range p.Fields {
		f := &p.Fields[i]
		v, err := f.value()
		if err != nil {
			return nil, err
		}
		if f.N <= last || f.N > recordFields || f.Name != columnName(f.N-1) {
			return nil, fmt.Errorf("%q is not field %d", f.Name, f.N)
		}
		last = f.N
		b = appendOctets(b, f.N-1, v)
	}
	return b, nil
}

// commitment returns what the leaf says of a group other than core.
func (p *Part) commitment() ([]byte, error) {
	size := sha256.Size
	if group(p.Group) == groupPseudonym {
		size = pseudonymSize
	}
	if p.Commitment != "" {
		b, err := base64.StdEncoding.Strict().DecodeString(p.Commitment)
		if err != nil || len(b) != size || len(p.Fields) > 0 {
			return nil, fmt.Errorf("group %s has no commitment", p.Name)
		}
		return b, nil
	}
	salt, fields, err := p.open()
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(slices.Concat([]byte{commitDomain, byte(p.Group)}, salt, fields))
	return sum[:size], nil
}

func (p *Part) open() (salt, fields []byte, err error) {
	salt, err = base64.StdEncoding.Strict().DecodeString(p.Salt)
	if err != nil || len(salt) != saltSize {
		return nil, nil, fmt.Errorf("group %s has no salt", p.Name)
	}
	fields, err = p.encode()
	return salt, fields, err
}

// leaf returns the leaf's hash, and the record's number.
func (p *Proof) leaf() (leaf hash, seq int64, err error) {
	var core, commitments []byte
	var mask byte
	last := -1
	for i := range p.Leaf {
		part := &p.Leaf[i]
		if part.Group <= last || part.Group >= int(groups) || part.Name != groupNames[part.Group] {
			return leaf, 0, fmt.Errorf("%q is not group %d", part.Name, part.Group)
		}
		if last = part.Group; part.Group == int(groupCore) {
			salt, fields, err := part.open()
			if err != nil {
				return leaf, 0, err
			}
			core = slices.Concat(salt, fields)
			continue
		}
		c, err := part.commitment()
		if err != nil {
			return leaf, 0, err
		}
		mask |= 1 << part.Group
		commitments = append(commitments, c...)
	}
	if len(core) < saltSize || len(p.Leaf[0].Fields) == 0 || p.Leaf[0].Fields[0].N != placeSeq+1 || p.Leaf[0].Fields[0].Number == nil {
		return leaf, 0, errors.New("the record has no number")
	}
	leaf = sha256.Sum256(slices.Concat([]byte{0, leafVersion, mask}, core[:saltSize], commitments, core[saltSize:]))
	return leaf, *p.Leaf[0].Fields[0].Number, nil
}

// tlogProof is a C2SP tlog-proof without extra data.
const tlogProof = "c2sp.org/tlog-proof@v1"

// formatTlogProof writes one.
func formatTlogProof(index int64, path tlog.RecordProof, checkpoint string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\nindex %d\n", tlogProof, index)
	for _, h := range path {
		b.WriteString(h.String() + "\n")
	}
	b.WriteString("\n" + checkpoint)
	return b.String()
}

var errTlogProof = errors.New("not a proof of a transparency log (" + tlogProof + ")")

// parseTlogProof reads one. Extra data is passed over: nothing vouches for it.
func parseTlogProof(text string) (index int64, path tlog.RecordProof, checkpoint string, err error) {
	head, checkpoint, ok := strings.Cut(text, "\n\n")
	lines := strings.Split(head, "\n")
	if ok && len(lines) > 1 && strings.HasPrefix(lines[1], "extra ") {
		if _, err := base64.StdEncoding.DecodeString(lines[1][len("extra "):]); err != nil {
			return 0, nil, "", errTlogProof
		}
		lines = slices.Delete(lines, 1, 2)
	}
	if !ok || len(lines) < 2 || lines[0] != tlogProof {
		return 0, nil, "", errTlogProof
	}
	number, ok := strings.CutPrefix(lines[1], "index ")
	index, err = strconv.ParseInt(number, 10, 64)
	if !ok || err != nil || strconv.FormatInt(index, 10) != number || index < 0 {
		return 0, nil, "", errTlogProof
	}
	for _, line := range lines[2:] {
		h, err := tlog.ParseHash(line)
		if err != nil || h.String() != line {
			return 0, nil, "", errTlogProof
		}
		path = append(path, h)
	}
	return index, path, checkpoint, nil
}

// Proven is what a proof shows.
type Proven struct {
	Seq         int64    `json:"seq"`    // the record's number
	Origin      string   `json:"origin"` // the log's name
	Size        int64    `json:"size"`   // records that the checkpoint vouches for
	Key         string   `json:"key"`    // the verifier key that signed it
	Fingerprint string   `json:"fingerprint"`
	FirstKey    string   `json:"first_key"` // that the log was begun with
	Trusted     bool     `json:"trusted"`   // a key that was given vouches for Key
	Cosigned    []string `json:"cosigned"`  // names of others who signed it; their signatures are not checked
}

// Check tells what p shows. If keys are given, one of them must be of the log, and have signed, or vouch for the key that has.
func (p *Proof) Check(keys ...string) (*Proven, error) {
	if p.Format != proofFormat {
		return nil, fmt.Errorf("its format is %.40q: want %s", p.Format, proofFormat)
	}
	leaf, seq, err := p.leaf()
	if err != nil {
		return nil, err
	}
	index, path, text, err := parseTlogProof(p.Proof)
	if err != nil {
		return nil, err
	}
	origin, _, _ := strings.Cut(text, "\n")
	c, err := parseCheckpoint(text, origin)
	if err != nil {
		return nil, err
	}
	if index != seq-1 || c.Size < seq || tlog.CheckRecord(path, c.Size, c.Root, index, leaf) != nil {
		return nil, fmt.Errorf("record %d as it stands here is not in the tree", seq)
	}
	return p.checkKeys(keys, &Proven{Seq: seq, Origin: origin, Size: c.Size}, text)
}

// checkKeys follows the keys to the one that signed the checkpoint.
func (p *Proof) checkKeys(trusted []string, shown *Proven, text string) (*Proven, error) {
	known := false
	for i, k := range p.Keys {
		if nameOf(k.Key) != shown.Origin {
			return nil, fmt.Errorf("%.120q is no key of the log %.80q", k.Key, shown.Origin)
		}
		switch {
		case i > 0 && k.Signature != "" && !vouched(p.Keys[i-1].Key, k.Key, k.Signature):
			return nil, fmt.Errorf("the key %s does not vouch for %s", p.Keys[i-1].Key, k.Key)
		case i > 0 && k.Signature == "":
			known = false // the key before it was lost
		}
		known = known || slices.Contains(trusted, k.Key)
	}
	if len(p.Keys) == 0 {
		return nil, errors.New("it names no key")
	}
	shown.FirstKey, shown.Key, shown.Trusted = p.Keys[0].Key, p.Keys[len(p.Keys)-1].Key, known
	if err := signedBy(text, []string{shown.Key}); err != nil {
		return nil, fmt.Errorf("the checkpoint: %w", err)
	}
	if len(trusted) > 0 && !known {
		return nil, fmt.Errorf("the key %s signed it, for which no key that was given vouches", shown.Key)
	}
	var err error
	if shown.Fingerprint, err = Fingerprint(shown.Key); err != nil {
		return nil, err
	}
	shown.Cosigned = cosigners(text, shown.Key)
	return shown, nil
}

// cosigners returns the names of those who signed a note beside the key.
func cosigners(text, key string) []string {
	names := []string{}
	v, err := note.NewVerifier(key)
	if err != nil {
		return names
	}
	n, err := note.Open([]byte(text), note.VerifierList(v))
	if err != nil {
		return names
	}
	for _, s := range n.UnverifiedSigs {
		names = append(names, s.Name)
	}
	return names
}

// fieldOf returns a field of a row, nil if it does not apply.
func fieldOf(place int, v any) *Field {
	f := &Field{N: place + 1, Name: columnName(place)}
	switch v := v.(type) {
	case int64:
		if f.Number = &v; v == 0 {
			return nil
		}
	case string:
		if v == "" && !canBeNull(place) {
			return nil
		}
		if f.Text = &v; !utf8.ValidString(v) { // JSON holds no such text
			octets := hex.EncodeToString([]byte(v))
			f.Text, f.Octets = nil, &octets
		}
	case []byte:
		octets := hex.EncodeToString(v)
		f.Octets = &octets
	default:
		return nil
	}
	return f
}
