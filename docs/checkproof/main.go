// Checkproof checks a proof that "postern prove" wrote. It shares nothing with Postern but the description of
// the format in docs/audit.md, and uses the standard library alone, so that whoever doubts Postern can read it
// in a few minutes:
//
//	go run ./docs/checkproof FILE [VERIFIER-KEY]
//
// It prints the record and exits with 0 if the proof holds, and with 1 if it does not.
package main

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

type proof struct {
	Format string
	Leaf   []part
	Proof  string
	Keys   []struct{ Key, Signature string }
}

type part struct {
	Group            int
	Salt, Commitment string
	Fields           []struct {
		N      int
		Number *int64
		Text   *string
		Octets *string
	}
}

// What the numbers stand for: names in the file vouch for nothing.
var (
	groups = []string{"core", "address", "network", "user", "pseudonym", "message"}
	fields = strings.Fields("- seq session time kind verb arg status code text local partial message uid octets lines duration user mechanism " +
		"login side detail count ip port listener backend tls received sent backend_tls announced mail subject fingerprint")
)

func main() {
	if len(os.Args) < 2 || len(os.Args) > 3 {
		fmt.Fprintln(os.Stderr, "usage: checkproof FILE [VERIFIER-KEY]")
		os.Exit(2)
	}
	trusted := ""
	if len(os.Args) == 3 {
		trusted = os.Args[2]
	}
	if err := check(os.Args[1], trusted); err != nil {
		fmt.Fprintln(os.Stderr, "this proves nothing:", err)
		os.Exit(1)
	}
}

func check(path, trusted string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var p proof
	if err := json.Unmarshal(text, &p); err != nil {
		return err
	}
	if p.Format != "postern-proof/1" {
		return errors.New("another format")
	}
	leaf, seq, err := hashLeaf(p.Leaf)
	if err != nil {
		return err
	}
	index, path2, note, err := parseProof(p.Proof)
	if err != nil {
		return err
	}
	origin, size, root, err := parseCheckpoint(note)
	if err != nil {
		return err
	}
	if index != seq-1 {
		return errors.New("the proof is of another record")
	}
	if computed, err := rootOf(leaf, index, size, path2); err != nil || computed != root {
		return errors.New("the record is not in the tree")
	}
	if err := checkKeys(p, origin, note, trusted); err != nil {
		return err
	}
	show(p)
	fmt.Printf("record %d of the %d records of log %s, signed with\n%s\n", seq, size, origin, p.Keys[len(p.Keys)-1].Key)
	if trusted == "" {
		fmt.Println("(no key was given to compare that with)")
	}
	return nil
}

func decode(text string, size int) ([]byte, error) {
	b, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil || len(b) != size {
		return nil, fmt.Errorf("%q is not %d octets in base64", text, size)
	}
	return b, nil
}

// hashLeaf makes the leaf's hash: SHA-256 of 0x00, the version 0x01, a mask of the groups with a commitment, the
// salt of group 0, the commitments, and the fields of group 0.
func hashLeaf(parts []part) (leaf [32]byte, seq int64, err error) {
	var salt, core, commitments []byte
	var mask byte
	last := -1
	for _, p := range parts {
		if p.Group <= last || p.Group >= len(groups) {
			return leaf, 0, errors.New("the groups are out of order")
		}
		last = p.Group
		encoded, err := encode(p)
		if err != nil {
			return leaf, 0, err
		}
		if p.Group == 0 {
			if salt, err = decode(p.Salt, 16); err != nil {
				return leaf, 0, err
			}
			if len(p.Fields) == 0 || p.Fields[0].N != 1 || p.Fields[0].Number == nil {
				return leaf, 0, errors.New("the record has no number")
			}
			core, seq = encoded, *p.Fields[0].Number
			continue
		}
		c, err := commitment(p, encoded)
		if err != nil {
			return leaf, 0, err
		}
		mask |= 1 << p.Group
		commitments = append(commitments, c...)
	}
	data := append([]byte{0, 1, mask}, salt...)
	data = append(append(data, commitments...), core...)
	return sha256.Sum256(data), seq, nil
}

// commitment is SHA-256 of 0x02, the group, its salt and its fields; of group 4 the first 16 octets.
func commitment(p part, encoded []byte) ([]byte, error) {
	size := 32
	if p.Group == 4 {
		size = 16
	}
	if p.Commitment != "" {
		if len(p.Fields) > 0 {
			return nil, errors.New("a closed group shows fields")
		}
		return decode(p.Commitment, size)
	}
	salt, err := decode(p.Salt, 16)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(append(append([]byte{2, byte(p.Group)}, salt...), encoded...))
	return sum[:size], nil
}

// encode writes each field as its number, the length of its value in four octets, and the value.
func encode(p part) (b []byte, err error) {
	last := 0
	for _, f := range p.Fields {
		var v []byte
		switch {
		case f.Number != nil && f.Text == nil && f.Octets == nil:
			v = binary.BigEndian.AppendUint64(nil, uint64(*f.Number))
		case f.Text != nil && f.Number == nil && f.Octets == nil:
			v = []byte(*f.Text)
		case f.Octets != nil && f.Number == nil && f.Text == nil:
			if v, err = hex.DecodeString(*f.Octets); err != nil || hex.EncodeToString(v) != *f.Octets {
				return nil, fmt.Errorf("field %d is not in hex", f.N)
			}
		default:
			return nil, fmt.Errorf("field %d has not one value", f.N)
		}
		if f.N <= last || f.N >= len(fields) {
			return nil, errors.New("the fields are out of order")
		}
		last = f.N
		b = append(binary.BigEndian.AppendUint32(append(b, byte(f.N)), uint32(len(v))), v...)
	}
	return b, nil
}

// parseProof reads a C2SP tlog-proof.
func parseProof(text string) (index int64, path [][]byte, note string, err error) {
	head, note, ok := strings.Cut(text, "\n\n")
	lines := strings.Split(head, "\n")
	if !ok || len(lines) < 2 || lines[0] != "c2sp.org/tlog-proof@v1" || !strings.HasPrefix(lines[1], "index ") {
		return 0, nil, "", errors.New("no tlog-proof")
	}
	if index, err = strconv.ParseInt(lines[1][len("index "):], 10, 64); err != nil {
		return 0, nil, "", err
	}
	for _, line := range lines[2:] {
		h, err := decode(line, 32)
		if err != nil {
			return 0, nil, "", err
		}
		path = append(path, h)
	}
	return index, path, note, nil
}

// parseCheckpoint reads a C2SP tlog-checkpoint: origin, size and root, a line each.
func parseCheckpoint(note string) (origin string, size int64, root [32]byte, err error) {
	lines := strings.SplitN(note, "\n", 5)
	if len(lines) < 5 || lines[3] != "" {
		return "", 0, root, errors.New("no checkpoint")
	}
	if size, err = strconv.ParseInt(lines[1], 10, 64); err != nil {
		return "", 0, root, err
	}
	b, err := decode(lines[2], 32)
	if err == nil {
		root = [32]byte(b)
	}
	return lines[0], size, root, err
}

// rootOf is RFC 9162 section 2.1.3.2: the root of a tree of that size, by a leaf and the path from it.
func rootOf(leaf [32]byte, index, size int64, path [][]byte) (r [32]byte, err error) {
	if index < 0 || index >= size {
		return r, errors.New("no such leaf")
	}
	r = leaf
	fn, sn := index, size-1
	for _, p := range path {
		if sn == 0 {
			return r, errors.New("the path is too long")
		}
		if fn%2 == 1 || fn == sn {
			r = node(p, r[:])
			for fn%2 == 0 && fn != 0 {
				fn, sn = fn>>1, sn>>1
			}
		} else {
			r = node(r[:], p)
		}
		fn, sn = fn>>1, sn>>1
	}
	if sn != 0 {
		return r, errors.New("the path is too short")
	}
	return r, nil
}

func node(left, right []byte) [32]byte {
	return sha256.Sum256(append(append([]byte{1}, left...), right...))
}

// checkKeys follows the keys of the log, each signed by the one before it, to the one that signed the checkpoint.
func checkKeys(p proof, origin, note, trusted string) error {
	if len(p.Keys) == 0 {
		return errors.New("no key")
	}
	known := trusted == ""
	for i, k := range p.Keys {
		if i > 0 && k.Signature == "" {
			known = trusted == "" // the key before it was lost
		}
		if i > 0 && k.Signature != "" {
			if err := verify(p.Keys[i-1].Key, origin, k.Key+"\n", k.Signature+"\n"); err != nil {
				return err
			}
		}
		known = known || k.Key == trusted
	}
	if !known {
		return errors.New("the key that was given does not vouch for the one that signed")
	}
	text, signatures, _ := strings.Cut(note, "\n\n")
	return verify(p.Keys[len(p.Keys)-1].Key, origin, text+"\n", signatures)
}

// verify looks for a good signature of key, NAME+ID+KEY, among the lines of a signed note (C2SP signed-note).
func verify(key, origin, text, signatures string) error {
	parts := strings.SplitN(key, "+", 3)
	if len(parts) != 3 || parts[0] != origin {
		return errors.New("the key is that of another log")
	}
	public, err := decode(parts[2], 33)
	if err != nil || public[0] != 1 {
		return errors.New("no Ed25519 key")
	}
	id := sha256.Sum256(append([]byte(parts[0]+"\n"), public...))
	if hex.EncodeToString(id[:4]) != parts[1] {
		return errors.New("the key's ID is not its own")
	}
	for line := range strings.Lines(signatures) {
		signature, ours := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "— "+parts[0]+" ")
		b, err := decode(signature, 4+ed25519.SignatureSize)
		if ours && err == nil && string(b[:4]) == string(id[:4]) {
			if !ed25519.Verify(public[1:], []byte(text), b[4:]) {
				break
			}
			return nil
		}
	}
	return fmt.Errorf("not signed with %s", key)
}

func show(p proof) {
	for _, part := range p.Leaf {
		if part.Commitment != "" {
			fmt.Printf("%-10s closed\n", groups[part.Group])
		}
		for _, f := range part.Fields {
			value := ""
			switch {
			case f.Number != nil:
				value = strconv.FormatInt(*f.Number, 10)
			case f.Text != nil:
				value = strconv.Quote(*f.Text)
			default:
				value = "octets " + *f.Octets
			}
			fmt.Printf("%-10s %-12s %s\n", groups[part.Group], fields[f.N], value)
		}
	}
}
