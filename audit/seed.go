package audit

import (
	"crypto/hmac"
	"crypto/sha256"
	"database/sql/driver"
	"encoding/base32"
	"errors"
)

const saltSize = 16

// salt hides what it is hashed with: without it nobody can guess the fields of a deleted or thinned row from
// the hash that is kept.
type salt [saltSize]byte

// seed is the one random value of a row; its salts follow from it.
type seed [saltSize]byte

func (s *seed) salt(g group) salt {
	var b [2 + saltSize]byte
	b[0], b[1] = saltDomain, byte(g)
	copy(b[2:], s[:])
	sum := sha256.Sum256(b[:])
	return salt(sum[:saltSize])
}

// opening is what a row's seed column tells: how to come from the row's fields to its leaf. In a row that is
// whole the column is the seed, and the commitment to the pseudonym if there is a user. Of a row that retention
// thinned it is a mask of the groups that lost their fields, then for each group its salt, or if it was thinned
// its commitment:
//
//	mask, 1 octet
//	core salt, 16
//	address salt, 16, or its commitment, 32; network salt, 16
//	user salt, 16, pseudonym salt, 16, and commitment, 16; or user commitment, 32, and pseudonym salt, 16
//	message salt, 16, or its commitment, 32
type opening struct {
	seed    *seed // of a row that is whole, in place of salts
	thinned byte  // bit g is set when group g has lost its fields
	salts   [groups]salt
	kept    [groups]hash // commitments of thinned groups, and the pseudonym's of others
}

var errSeed = errors.New("the seed has no such form")

// whole is the opening of a row that has lost nothing.
func whole(s *seed) opening { return opening{seed: s} }

// salt returns the salt of group g.
func (o *opening) salt(g group) salt {
	if o.seed != nil {
		return o.seed.salt(g)
	}
	return o.salts[g]
}

// parseOpening reads a seed column.
func parseOpening(column []byte) (o opening, err error) {
	switch {
	case len(column) == saltSize || len(column) == saltSize+pseudonymSize:
		o = whole((*seed)(column))
		copy(o.kept[groupPseudonym][:], column[saltSize:])
		return o, nil
	case len(column) == 0:
		return o, errSeed
	}
	o.thinned = column[0]
	rest := column[1:]
	for _, part := range o.layout() {
		if len(rest) < len(part) {
			return o, errSeed
		}
		copy(part, rest)
		rest = rest[len(part):]
	}
	if len(rest) > 0 || o.thinned == 0 || o.thinned&^thinnable != 0 {
		return o, errSeed
	}
	return o, nil
}

// column returns the seed column of a thinned row.
func (o *opening) column() []byte {
	b := []byte{o.thinned}
	for _, part := range o.layout() {
		b = append(b, part...)
	}
	return b
}

// layout returns the parts of a thinned row's seed column, in their order.
func (o *opening) layout() [][]byte {
	parts := [][]byte{o.salts[groupCore][:]}
	secret := func(g group) {
		if o.lacks(g) {
			parts = append(parts, o.kept[g][:])
			return
		}
		parts = append(parts, o.salts[g][:])
	}
	secret(groupAddress)
	parts = append(parts, o.salts[groupNetwork][:])
	secret(groupUser)
	parts = append(parts, o.salts[groupPseudonym][:])
	if !o.lacks(groupUser) {
		parts = append(parts, o.kept[groupPseudonym][:pseudonymSize])
	}
	secret(groupMessage)
	return parts
}

// lacks tells whether group g has lost its fields.
func (o *opening) lacks(g group) bool { return o.thinned&(1<<g) != 0 }

// thinnable are the groups that retention can take the fields of.
const thinnable = 1<<groupAddress | 1<<groupUser | 1<<groupMessage

// seal makes the leaf hash of a new row, and what belongs in its seed column.
func (e *encoder) seal(row []driver.Value, s *seed) {
	e.load(row)
	o := whole(s)
	copy(e.column[:], s[:])
	user, _ := row[placeUser].(string)
	if e.named = user != ""; e.named {
		var c commitments
		e.work = appendText(e.work[:0], placeUser, e.keyed.of(user))
		c.commit(e, groupPseudonym, o.salt(groupPseudonym), e.work)
		o.kept[groupPseudonym] = c.of[groupPseudonym]
		copy(e.column[saltSize:], o.kept[groupPseudonym][:])
	}
	c := e.commitments(row, &o)
	e.sum = e.leaf(o.salt(groupCore), &c)
}

// appendSeal appends the values of the seed and hash columns, which are good until the next seal.
func (e *encoder) appendSeal(row []driver.Value) []driver.Value {
	if e.named {
		return append(row, e.values.named, e.values.sum)
	}
	return append(row, e.values.anonymous, e.values.sum)
}

// leafOf returns the leaf hash of a row as it lies in the table.
func (e *encoder) leafOf(row []driver.Value, column []byte) (hash, error) {
	o, err := parseOpening(column)
	if err != nil {
		return hash{}, err
	}
	e.load(row)
	if o.lacks(groupMessage) && len(e.fields[groupMessage]) > 0 {
		return hash{}, errRegrown
	}
	if len(column) == saltSize && row[placeUser] != "" {
		return hash{}, errSeed
	}
	c := e.commitments(row, &o)
	return e.leaf(o.salt(groupCore), &c), nil
}

var errRegrown = errors.New("it has fields that retention took")

// commitments returns those of the row that was loaded.
func (e *encoder) commitments(row []driver.Value, o *opening) (c commitments) {
	if ip, _ := row[placeIP].([]byte); ip != nil {
		e.work = appendOctets(e.work[:0], placeIP, e.network(ip))
		network := e.work
		if o.lacks(groupAddress) {
			network = e.fields[groupAddress] // all of it, as below
		}
		c.commit(e, groupNetwork, o.salt(groupNetwork), network)
	}
	switch user, _ := row[placeUser].(string); {
	case o.lacks(groupUser) && len(e.fields[groupUser]) > 0: // all of it: there must be no more than the pseudonym
		c.commit(e, groupPseudonym, o.salt(groupPseudonym), e.fields[groupUser])
	case user != "":
		c.set(groupPseudonym, o.kept[groupPseudonym])
	}
	for _, g := range [...]group{groupAddress, groupUser, groupMessage} {
		switch {
		case o.lacks(g):
			c.set(g, o.kept[g])
		case len(e.fields[g]) > 0:
			c.commit(e, g, o.salt(g), e.fields[g])
		}
	}
	return c
}

// network returns what retention leaves of an address: the /24 of an IPv4, the /48 of an IPv6 address.
func (e *encoder) network(ip []byte) []byte {
	kept := 6
	if len(ip) == 4 {
		kept = 3
	}
	n := copy(e.net[:], ip)
	if kept < n {
		clear(e.net[kept:n])
	}
	return e.net[:n]
}

// pseudonyms makes the names that retention leaves of users: the same for the same user, and without the key
// nobody can try names against them.
type pseudonyms struct {
	key   [sha256.Size]byte
	known map[string]string // the last ones
}

// maxKnown bounds pseudonyms.known.
const maxKnown = 4096

func (p *pseudonyms) of(user string) string {
	if name, ok := p.known[user]; ok {
		return name
	}
	mac := hmac.New(sha256.New, p.key[:])
	mac.Write([]byte(user))
	name := pseudonymMark + pseudonymText.EncodeToString(mac.Sum(nil)[:saltSize])
	if p.known == nil || len(p.known) >= maxKnown {
		p.known = make(map[string]string)
	}
	p.known[user] = name
	return name
}

// pseudonymMark is the first octet of every pseudonym.
const pseudonymMark = "~"

var pseudonymText = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)
