package audit

import (
	"database/sql/driver"
	"net/netip"
	"reflect"
	"runtime"
	"testing"
	"time"

	"postern/proxy"
)

// Values in boxes are those that Go would make, for as long as they are not used again, and cost nothing.
func TestBoxes(t *testing.T) {
	var b boxes
	var row []driver.Value
	for _, peer := range []string{"192.0.2.7:4711", "[::ffff:192.0.2.7]:1", "[2001:db8::1%eth0]:65535", "[fe80::1]:110"} {
		r := Record{
			Seq: 1 << 40, Session: 1 << 62, Time: time.Unix(0, -5), Kind: proxy.KindCommand, Verb: "RETR", Arg: "1", Status: "+OK",
			Text: "text", Message: 255, UID: "uid", Octets: 256, Lines: -1, Duration: 5, User: "ada", Count: 1 << 62,
			Peer: netip.MustParseAddrPort(peer), Listener: "pop3s", Backend: "mail:110", Received: 10, Sent: 11000,
		}
		s := Session{ID: 1 << 62, Start: time.Unix(7, 0), State: StateEnded, Peer: r.Peer, Greeting: "ready", Commands: 1000, Received: 5000}
		row = r.appendValues(row[:0], &b)
		runtime.GC()
		if want := r.appendValues(nil, nil); !reflect.DeepEqual(row, want) {
			t.Errorf("got %v, want %v", row, want)
		}
		row = s.appendValues(row[:0], &b)
		runtime.GC()
		if want := s.appendValues(nil, nil); !reflect.DeepEqual(row, want) {
			t.Errorf("got %v, want %v", row, want)
		}
		if n := testing.AllocsPerRun(100, func() { row = r.appendValues(row[:0], &b) }); n != 0 {
			t.Errorf("a record of %s allocates %v times", peer, n)
		}
	}
}
