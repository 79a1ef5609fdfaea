package audit

import (
	"path/filepath"
	"slices"
	"testing"
	"time"

	"postern/proxy"
)

// Whatever a record holds and whichever statement inserts it, the table has just that: also when there are more shapes of
// records than statements.
func TestEveryShapeOfRecord(t *testing.T) {
	s, err := openStore(filepath.Join(t.TempDir(), "audit.db"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	e := newEncoder([32]byte{})
	full := fullRow(proxy.KindCommand, "RETR")
	for n := range int64(4 * maxShapes) {
		r := Record{Seq: n + 1, Time: time.Unix(0, n+1), Kind: proxy.KindCommand, Verb: "RETR"}
		for bit, set := range []func(){
			func() { r.Arg = "1" }, func() { r.Text = "text" }, func() { r.Octets = 3 }, func() { r.User = "ada" },
			func() { r.TLS = &TLS{SNI: "mail"} }, func() { r.Local = true }, func() { r.Mail = &Mail{Subject: "hello"} },
			func() { r.Session, r.UID = 8, "uid" },
		} {
			if n&(1<<bit) != 0 {
				set()
			}
		}
		want := r.appendValues(nil, nil)
		if _, err := s.insert(&r, e, &seed{1}); err != nil {
			t.Fatal(err)
		}
		rows, err := s.rows("SELECT "+recordColumns+" FROM records WHERE seq = ?", len(full), n+1)
		if err != nil || len(rows) != 1 || !slices.Equal(rows[0], want) {
			t.Fatalf("got %v, %v\nwant %v", rows, err, want)
		}
	}
	if got := len(s.records); got != maxShapes+1 {
		t.Errorf("%d statements, want %d and the one for all others", got, maxShapes)
	}
}
