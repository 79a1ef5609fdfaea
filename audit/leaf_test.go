package audit

import (
	"database/sql/driver"
	"encoding/hex"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"postern/proxy"
)

// fullRow is a row in which every field has a value.
func fullRow(kind proxy.Kind, verb string) []driver.Value {
	r := Record{
		Seq: 7, Session: 8, Time: time.Unix(0, 9), Kind: kind, Verb: verb, Arg: "arg", Status: "+OK", Code: "IN-USE",
		Text: "text", Local: true, Partial: true, Message: 1, UID: "uid", Announced: 2, Octets: 3, Lines: 4, Duration: 5,
		User: "ada", Mechanism: "USER", Login: proxy.LoginOK, Side: proxy.SideClient, Detail: "detail", Count: 6,
		Peer: netip.MustParseAddrPort("192.0.2.7:4711"), Listener: "pop3s", Backend: "mail:110",
		TLS: &TLS{Version: "TLS 1.3", Subject: "CN=ada", SHA256: "abcd"}, BackendTLS: &TLS{Version: "TLS 1.2"},
		Mail: &Mail{Subject: "hello"}, Received: 10, Sent: 11,
	}
	return r.appendValues(nil, nil)
}

// sealed returns the two columns that belong to row.
func sealed(row []driver.Value) (column []byte, leaf hash) {
	e := newEncoder([32]byte{1})
	e.seal(row, &seed{2})
	values := e.appendSeal(nil)
	return slices.Clone(values[0].([]byte)), e.sum
}

// TestLeafStays holds the format: leaves that were made must verify for ever. docs/audit.md describes it, and
// docs/checkproof makes them in its own way.
func TestLeafStays(t *testing.T) {
	for _, c := range []struct {
		name string
		row  []driver.Value
		want string
	}{
		{"command", fullRow(proxy.KindCommand, "RETR"), "35e674515f39c4aa2990fe4294d86db9896b1abdbd0b4c09feb8e1a06dcaadd6"},
		{"uidl", fullRow(proxy.KindCommand, "UIDL"), "4dd6f5a8545931d823dbdefcdfc26e22234c332026f5085039f9108038ac301c"},
		{"access", fullRow(proxy.KindAccess, "tail"), "f086bdec8aba1d7da8be3faff33db6d81e9bdfc4d1882c6e75be66998290c61e"},
		{"start", (&Record{Seq: 1, Time: time.Unix(0, 2), Kind: proxy.KindStart}).appendValues(nil, nil), "13f87d97dc0c352a85fcf12e3e5682466d6c37d158cbc25871334ede38c51cea"},
	} {
		if _, leaf := sealed(c.row); hex.EncodeToString(leaf[:]) != c.want {
			t.Errorf("%s: leaf %x, want %s", c.name, leaf[:], c.want)
		}
	}
}

// another returns a value of the same kind that is not v.
func another(v driver.Value) driver.Value {
	switch v := v.(type) {
	case int64:
		return v ^ 1
	case string:
		return v + "x"
	case []byte:
		return append([]byte{v[0] ^ 1}, v[1:]...)
	}
	return "x"
}

func TestLeafCoversEveryField(t *testing.T) {
	names := strings.Split(recordColumns, ", ")
	if len(names) != recordFields {
		t.Fatalf("%d columns, %d fields", len(names), recordFields)
	}
	for _, kind := range []proxy.Kind{proxy.KindCommand, proxy.KindAccess, proxy.KindConnect} {
		row := fullRow(kind, "UIDL")
		column, leaf := sealed(row)
		var e encoder
		if got, err := e.leafOf(row, column); err != nil || got != leaf {
			t.Fatalf("%s: sealed as %x, read as %x, %v", kind, leaf, got, err)
		}
		for place, name := range names {
			changed := slices.Clone(row)
			changed[place] = another(row[place])
			if got, err := e.leafOf(changed, column); err == nil && got == leaf {
				t.Errorf("%s: %s may change", kind, name)
			}
			changed[place] = nothing(row[place])
			if got, err := e.leafOf(changed, column); err == nil && got == leaf {
				t.Errorf("%s: %s may vanish", kind, name)
			}
		}
		for i := range column {
			changed := slices.Clone(column)
			changed[i] ^= 1
			if got, err := e.leafOf(row, changed); err == nil && got == leaf {
				t.Errorf("%s: octet %d of the seed may change", kind, i)
			}
		}
	}
}

func nothing(v driver.Value) driver.Value {
	switch v.(type) {
	case int64:
		return int64(0)
	case string:
		return ""
	}
	return nil
}

// Columns that may be NULL tell an empty value from none: both may not stand for the same leaf.
func TestLeafTellsNullFromEmpty(t *testing.T) {
	row := (&Record{Seq: 1, Kind: proxy.KindCommand}).appendValues(nil, nil)
	column, leaf := sealed(row)
	var e encoder
	for place, v := range row {
		if v != nil {
			continue
		}
		if !canBeNull(place) {
			t.Errorf("field %d is NULL", place+1)
		}
		for _, empty := range []driver.Value{"", []byte{}} {
			changed := slices.Clone(row)
			changed[place] = empty
			if got, err := e.leafOf(changed, column); err == nil && got == leaf {
				t.Errorf("field %d may be empty", place+1)
			}
		}
	}
}

func TestSealCostsNoMemory(t *testing.T) {
	row := fullRow(proxy.KindCommand, "RETR")
	e := newEncoder([32]byte{})
	values := make([]driver.Value, 0, 2)
	var s seed
	if n := testing.AllocsPerRun(100, func() { e.seal(row, &s); values = e.appendSeal(values[:0]) }); n > 0 {
		t.Errorf("%v allocations for each record", n)
	}
}

func TestPseudonyms(t *testing.T) {
	a, b := pseudonyms{key: [32]byte{1}}, pseudonyms{key: [32]byte{2}}
	first := a.of("ada")
	a.known = nil
	if a.of("ada") != first || a.of("bob") == first || b.of("ada") == first {
		t.Error("a pseudonym must follow from user and key alone")
	}
	for n := range 2 * maxKnown {
		a.of(strings.Repeat("x", n))
		if len(a.known) > maxKnown {
			t.Fatalf("%d names are remembered", len(a.known))
		}
	}
	if name := a.of("ada"); len(name) != 27 || name[:1] != pseudonymMark {
		t.Errorf("pseudonym %q", name)
	}
}
