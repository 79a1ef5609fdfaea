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

// prune deletes the records with the numbers first to last, and keeps their hashes.
func (s *store) prune(first, last int64) error {
	if err := s.forgetPlaces(first, last); err != nil {
		return err
	}
	args := []driver.Value{first, last}
	if _, err := s.conn.Exec("INSERT INTO pruned(seq, hash) SELECT seq, hash FROM records WHERE seq BETWEEN ? AND ?", args); err != nil {
		return err
	}
	_, err := s.conn.Exec("DELETE FROM records WHERE seq BETWEEN ? AND ?", args)
	return err
}

// compact forgets the hashes of the blocks of records from number first to last in which no record is left: their
// roots are kept.
func (s *store) compact(first, last int64) error {
	const query = `DELETE FROM pruned WHERE (seq - 1) / 256 IN (
		SELECT (seq - 1) / 256 FROM pruned WHERE seq BETWEEN ? AND ? GROUP BY 1 HAVING count(*) = 256)`
	begin, end := (first-1)/blockSize*blockSize+1, (last-1)/blockSize*blockSize+blockSize
	_, err := s.conn.Exec(query, []driver.Value{begin, end})
	return err
}
