package audit

import (
	"bytes"
	"database/sql/driver"
	"slices"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"postern/proxy"
)

// thinOrders are all ways in which a record may lose its groups one after another.
var thinOrders = [][]group{
	{groupAddress}, {groupUser}, {groupMessage},
	{groupAddress, groupUser, groupMessage}, {groupMessage, groupUser, groupAddress}, {groupUser, groupAddress, groupUser},
}

func TestThinnedRowsKeepTheirLeaf(t *testing.T) {
	empty := (&Record{Seq: 1, Kind: proxy.KindStart}).appendValues(nil, nil)
	nameless := fullRow(proxy.KindCommand, "USER")
	nameless[placeUser] = ""
	for _, row := range [][]driver.Value{
		fullRow(proxy.KindCommand, "RETR"), fullRow(proxy.KindCommand, "UIDL"), fullRow(proxy.KindAccess, "tail"), nameless, empty,
	} {
		for _, order := range thinOrders {
			column, leaf := sealed(row)
			thinned := slices.Clone(row)
			e := newEncoder([32]byte{1}) // the key of sealed
			for _, g := range order {
				var err error
				if column, err = e.thin(thinned, column, g); err != nil {
					t.Fatal(err)
				}
			}
			if got, err := new(encoder).leafOf(thinned, column); err != nil || got != leaf {
				t.Errorf("%v of %v: leaf %v, %v, want %v", order, row, got, err, leaf)
			}
			wantThin(t, thinned, order)
			wantTold(t, thinned, column, leaf)
		}
	}
}

// wantThin checks that nothing of the groups is left but what may be.
func wantThin(t *testing.T, row []driver.Value, taken []group) {
	t.Helper()
	for place, v := range row {
		if g := groupOf(place, row[placeKind].(string), row[placeVerb].(string)); !slices.Contains(taken, g) {
			continue
		}
		switch place {
		case placeIP:
			if v != nil && !bytes.Equal(v.([]byte), []byte{192, 0, 2, 0}) {
				t.Errorf("the address is %v", v)
			}
		case placeUser:
			if v != "" && v.(string)[:1] != pseudonymMark {
				t.Errorf("the user is %v", v)
			}
		default:
			if v != nothing(v) {
				t.Errorf("field %d is %v", place+1, v)
			}
		}
	}
}

// wantTold checks that no value of a thinned row can be changed either.
func wantTold(t *testing.T, row []driver.Value, column []byte, leaf hash) {
	t.Helper()
	var e encoder
	for place, v := range row {
		changed := slices.Clone(row)
		if changed[place] = another(v); place == placeIP {
			changed[place] = []byte{198, 51, 100, 0}
		}
		if got, err := e.leafOf(changed, column); err == nil && got == leaf {
			t.Errorf("field %d of a thinned row may be %v", place+1, changed[place])
		}
	}
}

func TestThinnedIPv6KeepsItsPrefix(t *testing.T) {
	row := fullRow(proxy.KindCommand, "STAT")
	row[placeIP] = []byte{0x20, 1, 0xd, 0xb8, 0, 7, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10}
	column, leaf := sealed(row)
	e := newEncoder([32]byte{1})
	column, err := e.thin(row, column, groupAddress)
	if err != nil || !bytes.Equal(row[placeIP].([]byte), []byte{0x20, 1, 0xd, 0xb8, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}) {
		t.Errorf("the address is %x, %v", row[placeIP], err)
	}
	if got, err := e.leafOf(row, column); err != nil || got != leaf {
		t.Errorf("leaf %v, %v", got, err)
	}
}

func TestSeedsThatAreNone(t *testing.T) {
	row := fullRow(proxy.KindCommand, "RETR")
	for n := range 200 {
		if n == saltSize+pseudonymSize {
			continue
		}
		if _, err := new(encoder).leafOf(row, make([]byte, n)); err == nil {
			t.Errorf("%d octets are a seed", n)
		}
	}
}

func TestDeletedRecordsLeaveTheTree(t *testing.T) {
	l := openLog(t, Options{})
	disown(t, l.opts.Path) // no record tells of what is deleted below
	for range 700 {
		l.Record(connect(newID()))
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	s, err := openStore(l.opts.Path, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	for _, err := range []error{pruneSome(s, 100, 400), pruneSome(s, 401, 600), s.forget([]int64{1})} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if n, err := s.number("SELECT count(*) FROM pruned"); err != nil || n != 501-256 {
		t.Errorf("%d hashes of deleted records are kept, %v", n, err)
	}
	r, err := OpenReader(l.opts.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	last, err := newestCheckpoint(t.Context(), r.db)
	if err != nil {
		t.Fatal(err)
	}
	root, err := tlog.TreeHash(last.Size, hashes{t.Context(), r.db})
	if err != nil || root != last.Root {
		t.Errorf("root %v, %v, want %v", root, err, last.Root)
	}
}

// pruneSome deletes records of no session as a rule does.
func pruneSome(s *store, first, last int64) error {
	for seq := first; seq <= last; seq++ {
		u := &unit{first: seq, final: seq, records: 1}
		if err := s.erase(&piece{unit: u, upTo: seq}, new(Taken), new(Taken)); err != nil {
			return err
		}
	}
	return nil
}
