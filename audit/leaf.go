package audit

import (
	"crypto/sha256"
	"database/sql/driver"
	"encoding/binary"

	"golang.org/x/mod/sumdb/tlog"

	"postern/proxy"
)

// leafVersion is the first octet of every leaf: how the rest is written. docs/audit.md describes it octet by
// octet; a change needs another number.
const leafVersion = 1

// group is a part of a record that a salt of its own hides. What is in the leaf of a group other than core
// is only a commitment, so that retention can forget the group's fields and the leaf stays the same.
type group uint8

const (
	groupCore      group = iota // in the leaf in clear
	groupAddress                // where the client was
	groupNetwork                // what retention leaves of it: the /24 or /48
	groupUser                   // who, and the words of the dialogue
	groupPseudonym              // what retention leaves of it: a keyed hash of the name
	groupMessage                // which mail
	groups
)

// hash is a SHA-256 sum.
type hash = tlog.Hash

// Domains of what is hashed besides leaves (0x00) and nodes (0x01) of the tree.
const (
	commitDomain = 0x02
	saltDomain   = 0x03
)

// pseudonymSize is how much is kept of the commitment to a pseudonym: it lies in every row with a user.
const pseudonymSize = 16

// Places in recordColumns of what the encoding has to know. The number of a field is its place, from 1.
const (
	placeSeq         = 0
	placeKind        = 3
	placeVerb        = 4
	placeArg         = 5
	placeText        = 8
	placeUID         = 12
	placeUser        = 16
	placeIP          = 22
	placePort        = 23
	placeTLS         = 26
	placeBackendTLS  = 29
	placeMail        = 31
	placeSubject     = 32
	placeFingerprint = 33
	recordFields     = 34
)

// groupOf returns the group that a field of a record is in.
func groupOf(place int, kind, verb string) group {
	switch place {
	case placeIP, placePort:
		return groupAddress
	case placeUser, placeSubject, placeFingerprint:
		return groupUser
	case placeUID, placeMail:
		return groupMessage
	case placeText:
		if kind == string(proxy.KindCommand) && verb == "UIDL" {
			return groupMessage // the reply quotes the unique-id
		}
		fallthrough
	case placeArg:
		if kind == string(proxy.KindCommand) || kind == string(proxy.KindAccess) {
			return groupUser // clients and servers quote the name in their words
		}
	}
	return groupCore
}

// canBeNull tells whether no value at all differs from an empty one in a field's column.
func canBeNull(place int) bool {
	return place == placeIP || place == placeTLS || place == placeBackendTLS || place == placeMail
}

// encoder turns rows into leaves. It is used by one goroutine, and keeps its memory.
type encoder struct {
	fields [groups][]byte // encoded, by group; network and pseudonym are made from address and user
	work   []byte         // one more field
	data   []byte         // what is hashed
	net    [16]byte
	keyed  pseudonyms

	// What seal made, and it as values of the two columns, so that a record costs no memory of its own.
	sum    hash
	column [saltSize + pseudonymSize]byte
	named  bool // column ends with a commitment to a pseudonym
	values struct{ sum, anonymous, named driver.Value }
}

func newEncoder(pseudonymKey [32]byte) *encoder {
	e := &encoder{keyed: pseudonyms{key: pseudonymKey}}
	e.values.sum, e.values.anonymous, e.values.named = e.sum[:], e.column[:saltSize], e.column[:]
	return e
}

// load encodes the fields of a row, in the order of recordColumns.
func (e *encoder) load(row []driver.Value) {
	for g := range e.fields {
		e.fields[g] = e.fields[g][:0]
	}
	kind, _ := row[placeKind].(string)
	verb, _ := row[placeVerb].(string)
	for place, v := range row[:recordFields] {
		to := &e.fields[groupOf(place, kind, verb)]
		*to = appendField(*to, place, v)
	}
}

// appendField appends a field's number, its length in four octets and its value. A field that does not apply
// is left out, so that columns added later leave old leaves as they were.
func appendField(b []byte, place int, v driver.Value) []byte {
	switch v := v.(type) {
	case int64:
		if v != 0 {
			return binary.BigEndian.AppendUint64(append(b, byte(place+1), 0, 0, 0, 8), uint64(v))
		}
	case string:
		if v != "" || canBeNull(place) {
			return appendText(b, place, v)
		}
	case []byte:
		if v != nil {
			return appendOctets(b, place, v)
		}
	}
	return b
}

func appendText(b []byte, place int, v string) []byte {
	return append(binary.BigEndian.AppendUint32(append(b, byte(place+1)), uint32(len(v))), v...)
}

func appendOctets(b []byte, place int, v []byte) []byte {
	return append(binary.BigEndian.AppendUint32(append(b, byte(place+1)), uint32(len(v))), v...)
}

// commitments are what a leaf says of the groups other than core. An empty group has none.
type commitments struct {
	of   [groups]hash
	mask byte // bit g is set when group g has one
}

func (c *commitments) set(g group, h hash) {
	c.of[g] = h
	c.mask |= 1 << g
}

// commit sets the commitment of g to fields under salt.
func (c *commitments) commit(e *encoder, g group, salt salt, fields []byte) {
	e.data = append(e.data[:0], commitDomain, byte(g))
	e.data = append(e.data, salt[:]...)
	e.data = append(e.data, fields...)
	c.set(g, sha256.Sum256(e.data))
}

// leaf returns the leaf hash of the row that was loaded (RFC 6962 section 2.1).
func (e *encoder) leaf(core salt, c *commitments) hash {
	e.data = append(e.data[:0], 0, leafVersion, c.mask) // 0: this is a leaf, no node
	e.data = append(e.data, core[:]...)
	for g := groupAddress; g < groups; g++ {
		switch {
		case c.mask&(1<<g) == 0:
		case g == groupPseudonym:
			e.data = append(e.data, c.of[g][:pseudonymSize]...)
		default:
			e.data = append(e.data, c.of[g][:]...)
		}
	}
	e.data = append(e.data, e.fields[groupCore]...)
	return sha256.Sum256(e.data)
}
