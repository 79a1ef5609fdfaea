package audit

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/base64"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"

	"postern/proxy"
)

var (
	// ErrUnsigned tells that no checkpoint vouches for a record yet.
	ErrUnsigned = errors.New("not signed yet")
	// ErrDeleted tells that retention deleted a record.
	ErrDeleted = errors.New("deleted by retention")
)

// Prove makes the proof of a record, of what is left of it if it was thinned. It fails with ErrUnsigned for a moment
// after a record was made, with ErrDeleted when retention deleted it, and with ErrNotFound if there never was one.
func (r *Reader) Prove(ctx context.Context, seq int64) (*Proof, error) {
	tx, err := r.db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return nil, r.wrap("prove record", err)
	}
	defer tx.Rollback() // nothing was written
	p, err := prove(ctx, tx, seq)
	if err != nil {
		return nil, r.wrap(fmt.Sprintf("prove record %d", seq), err)
	}
	if _, err := p.Check(); err != nil {
		return nil, fmt.Errorf("%w: record %d cannot be proven: %w: %s", ErrAltered, seq, err, alteredRemedy)
	}
	return p, nil
}

func prove(ctx context.Context, tx *sql.Tx, seq int64) (*Proof, error) {
	row, err := selectSealed(ctx, tx, seq)
	if err != nil {
		return nil, err
	}
	last, err := newestCheckpoint(ctx, tx)
	if err != nil {
		return nil, altered(err)
	}
	if last.Size < seq {
		return nil, ErrUnsigned
	}
	p := &Proof{Format: proofFormat}
	if p.Leaf, err = parts(row); err != nil {
		return nil, err
	}
	path, err := tlog.ProveRecord(last.Size, seq-1, hashes{ctx, tx})
	if err != nil {
		return nil, altered(err)
	}
	p.Proof = formatTlogProof(seq-1, path, last.Note)
	p.Keys, err = selectKeys(ctx, tx, last.Size)
	return p, err
}

// selectSealed reads a record's row with its seed.
func selectSealed(ctx context.Context, tx *sql.Tx, seq int64) ([]driver.Value, error) {
	values, to := make([]any, recordFields+1), make([]any, recordFields+1)
	for i := range values {
		to[i] = &values[i]
	}
	err := tx.QueryRowContext(ctx, "SELECT "+recordColumns+", seed FROM records WHERE seq = ?", seq).Scan(to...)
	if !errors.Is(err, sql.ErrNoRows) {
		row := make([]driver.Value, len(values))
		for i, v := range values {
			row[i] = v
		}
		return row, err
	}
	last, err := selectLastSeq(ctx, tx)
	switch {
	case err != nil:
		return nil, err
	case seq < 1 || seq > last:
		return nil, fmt.Errorf("%w: the newest record is %d", ErrNotFound, last)
	}
	return nil, ErrDeleted
}

// parts takes a row apart into its groups, each with what opens it, or its commitment.
func parts(row []driver.Value) ([]Part, error) {
	column, _ := row[recordFields].([]byte)
	o, err := parseOpening(column)
	if err != nil {
		return nil, err
	}
	row = row[:recordFields]
	var e encoder
	e.load(row)
	c := e.commitments(row, &o)
	all := make([]Part, groups)
	for g := range groups {
		salt := o.salt(g)
		all[g] = Part{Group: int(g), Name: groupNames[g], Salt: base64.StdEncoding.EncodeToString(salt[:])}
	}
	kind, _ := row[placeKind].(string)
	verb, _ := row[placeVerb].(string)
	for place, v := range row {
		if f := fieldOf(place, v); f != nil {
			to := &all[shownIn(groupOf(place, kind, verb), &o)]
			to.Fields = append(to.Fields, *f)
		}
	}
	if ip, _ := row[placeIP].([]byte); ip != nil && !o.lacks(groupAddress) {
		all[groupNetwork].Fields = []Field{*fieldOf(placeIP, append([]byte{}, e.network(ip)...))}
	}
	var shown []Part
	for g := range groups {
		switch {
		case g == groupCore || len(all[g].Fields) > 0:
			shown = append(shown, all[g])
		case c.mask&(1<<g) != 0:
			shown = append(shown, closed(g, &c))
		}
	}
	return shown, nil
}

// shownIn returns the group that shows the fields of g: of a thinned one those that are left are the network, or the
// pseudonym.
func shownIn(g group, o *opening) group {
	switch {
	case g == groupAddress && o.lacks(g):
		return groupNetwork
	case g == groupUser && o.lacks(g):
		return groupPseudonym
	}
	return g
}

// closed is a group of which only the commitment is given.
func closed(g group, c *commitments) Part {
	sum := c.of[g][:]
	if g == groupPseudonym {
		sum = sum[:pseudonymSize]
	}
	return Part{Group: int(g), Name: groupNames[g], Commitment: base64.StdEncoding.EncodeToString(sum)}
}

// selectKeys returns the keys of the log up to the one that signs a checkpoint of that size.
func selectKeys(ctx context.Context, q queryer, size int64) (keys []Vouch, err error) {
	rows, err := q.QueryContext(ctx, "SELECT seq, kind, arg, detail, text FROM records WHERE kind IN ('start', 'key') AND seq <= ? ORDER BY seq", size)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var k Vouch
		var kind, detail string
		if err := rows.Scan(&k.Record, &kind, &k.Key, &detail, &k.Signature); err != nil {
			return nil, err
		}
		if k.Key == "" || len(keys) > 0 && kind == string(proxy.KindStart) {
			continue
		}
		if kind == string(proxy.KindStart) || detail == lostKey {
			k.Signature = ""
		}
		keys = append(keys, k)
	}
	return keys, rows.Err()
}
