package audit

import (
	"database/sql/driver"
)

// What retention may do to a record without breaking the proof of what is left: thin it, so that it loses a group
// of its fields, or delete it, so that only its hash stays, and in time not even that.

// thin takes the fields of group g out of row and returns the seed column of what is left. Of an address its network
// stays, of a user the pseudonym. A row that has no such fields stays as it is.
func (e *encoder) thin(row []driver.Value, column []byte, g group) ([]byte, error) {
	o, err := parseOpening(column)
	if err != nil {
		return nil, err
	}
	e.load(row)
	if o.lacks(g) || len(e.fields[g]) == 0 {
		return column, nil
	}
	c := e.commitments(row, &o)
	for h := range groups {
		o.salts[h] = o.salt(h)
	}
	o.seed, o.kept[g] = nil, c.of[g]
	o.thinned |= 1 << g
	e.clear(row, g)
	return o.column(), nil
}

// clear leaves of the fields of g what retention leaves.
func (e *encoder) clear(row []driver.Value, g group) {
	kind, _ := row[placeKind].(string)
	verb, _ := row[placeVerb].(string)
	for place, v := range row[:recordFields] {
		if groupOf(place, kind, verb) == g {
			row[place] = e.left(place, v)
		}
	}
}

func (e *encoder) left(place int, v driver.Value) driver.Value {
	switch v := v.(type) {
	case int64:
		return int64(0)
	case string:
		if place == placeUser && v != "" {
			return e.keyed.of(v)
		}
		if !canBeNull(place) {
			return ""
		}
	case []byte:
		if place == placeIP && v != nil {
			return append([]byte(nil), e.network(v)...)
		}
	}
	return nil
}
