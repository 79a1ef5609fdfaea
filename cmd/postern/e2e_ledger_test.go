package main

import (
	"bufio"
	"crypto/sha256"
	"crypto/tls"
	"database/sql"
	"fmt"
	"net"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"postern/audit"
	"postern/cmd/internal/peers"
	"postern/proxy"
)

// ledgerQueries are the queries as docs/records.md has them.
func ledgerQueries(t *testing.T) (whatWasRead, whoRead string) {
	t.Helper()
	text, err := os.ReadFile("../../docs/records.md")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile("(?s)\n### (.*?)\n.*?```sql\n(.*?)```").FindAllStringSubmatch(string(text), -1)
	for _, f := range found {
		switch f[1] {
		case "Which messages did this address read?":
			whatWasRead = f[2]
		case "Who has read this message?":
			whoRead = f[2]
		}
	}
	if !strings.Contains(whatWasRead, "'192.0.2.7'") || !strings.Contains(whoRead, "'<1@example.org>'") {
		t.Fatalf("docs/records.md has not the queries: %q", found)
	}
	return whatWasRead, whoRead
}

// ask runs a query on the log as anybody's SQLite would, and returns its rows, columns set apart by blanks.
func (g *gate) ask(t *testing.T, query string) (rows []string) {
	t.Helper()
	db, err := sql.Open("sqlite3", "file:"+g.database()+"?mode=ro")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	found, err := db.QueryContext(t.Context(), query)
	if err != nil {
		t.Fatal(err)
	}
	defer found.Close()
	names, err := found.Columns()
	if err != nil {
		t.Fatal(err)
	}
	for found.Next() {
		values, cells := make([]any, len(names)), make([]string, len(names))
		for i := range values {
			values[i] = &cells[i]
		}
		if err := found.Scan(values...); err != nil {
			t.Fatal(err)
		}
		if !regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?Z$`).MatchString(cells[slices.Index(names, "time")]) {
			t.Errorf("time is %q", cells)
		}
		rows = append(rows, strings.Join(slices.Delete(cells, slices.Index(names, "time"), slices.Index(names, "time")+1), " "))
	}
	if err := found.Err(); err != nil {
		t.Fatal(err)
	}
	return rows
}

// TestLedger has real sessions fill a log and asks it, by the queries that the documentation gives, which messages an
// address read and deleted, and who read one.
func TestLedger(t *testing.T) {
	t.Parallel()
	whatWasRead, whoRead := ledgerQueries(t)
	large := []byte("Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\nMessage-ID: <large@example.test>\n\n" + strings.Repeat(strings.Repeat("x", 70)+"\n", 500_000))
	alice := peers.Account{User: "alice", Password: "e2e ledger 6Tn3", Mail: append(peers.Small(2), large)}
	bob := peers.Account{User: "bob", Password: "e2e ledger 1Qw9", Mail: peers.Small(1)}
	backend := peers.Dovecot(t, alice, bob)
	uid, size := listings(t, backend.Target(peers.Plain, alice))
	bobs, bobsSize := listings(t, backend.Target(peers.Plain, bob))
	g := serve(t, backend.Addr, []peers.Account{alice, bob}, "--ledger-uidl", "--ledger-digest", "--ledger-headers")

	retr, top := g.readsAndDeletes(t, alice)
	elsewhere := g.readsFrom(t, "127.0.0.2", bob)
	stalled := g.stalls(t, alice)
	at := func(address string) []string { return g.ask(t, strings.ReplaceAll(whatWasRead, "192.0.2.7", address)) }
	want := []string{
		fmt.Sprintf("127.0.0.1 alice RETR %s %d %d complete", uid[1], size[1], bodyOctets(retr)),
		fmt.Sprintf("127.0.0.1 alice TOP %s %d %d complete", uid[2], size[2], bodyOctets(top)),
		fmt.Sprintf("127.0.0.1 alice DELE %s %d 0 rolled_back", uid[2], size[2]),
		fmt.Sprintf("127.0.0.1 alice DELE %s %d 0 committed", uid[1], size[1]),
		fmt.Sprintf("127.0.0.1 alice DELE %s 0 0 pending", uid[2]),
		fmt.Sprintf("127.0.0.1 alice RETR %s 0 0 unfinished", uid[3]),
	}
	if got := at("127.0.0.1"); !slices.Equal(got, want) {
		t.Errorf("127.0.0.1 read\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if got := at("127.0.0.2"); !slices.Equal(got, []string{fmt.Sprintf("127.0.0.2 bob RETR %s %d %d complete", bobs[1], bobsSize[1], bodyOctets(elsewhere))}) {
		t.Errorf("127.0.0.2 read %q", got)
	}
	for _, nobody := range []string{"127.0.0.3", "0000:0000:0000:0000:0000:0000:0000:0001"} {
		if got := at(nobody); got != nil {
			t.Errorf("%s read %q", nobody, got)
		}
	}
	if got := g.ask(t, strings.ReplaceAll(whoRead, "1@example.org", "m1@example.test")); len(got) != 2 ||
		!strings.HasPrefix(got[0], "alice 7F000001 RETR "+uid[1]) || !strings.HasPrefix(got[1], "bob 7F000002 RETR "+bobs[1]) {
		t.Errorf("message 1 was read by %q", got)
	}

	stalled.Conn.Close()
	s := g.sessionOf(t, stalled)
	got := at("127.0.0.1")
	if cut := fmt.Sprintf("127.0.0.1 alice RETR %s %d ", uid[3], size[3]); len(got) != len(want) || !strings.HasPrefix(got[5], cut) ||
		!strings.HasSuffix(got[5], " cut") || got[4] != strings.Replace(want[4], "pending", proxy.DeleteRolledBack, 1) {
		t.Errorf("afterwards 127.0.0.1 read\n%s", strings.Join(got, "\n"))
	}
	g.checkMail(t, s, retr)
}

// listings tells the unique-ids and sizes of a maildrop, by message number.
func listings(t *testing.T, target peers.Target) (uid map[int]string, size map[int]int) {
	t.Helper()
	c := peers.MustDial(t, target)
	c.Login(t, target.User, target.Password)
	uid, size = map[int]string{}, map[int]int{}
	for line := range strings.Lines(c.Must(t, "UIDL")) {
		var n int
		var id string
		fmt.Sscan(line, &n, &id)
		uid[n] = id
	}
	for line := range strings.Lines(c.Must(t, "LIST")) {
		var n, octets int
		fmt.Sscan(line, &n, &octets)
		size[n] = octets
	}
	c.Must(t, "QUIT")
	c.Conn.Close()
	return uid, size
}

// readsAndDeletes is a session as mail clients have them.
func (g *gate) readsAndDeletes(t *testing.T, a peers.Account) (retr, top string) {
	t.Helper()
	c := peers.MustDial(t, g.target(peers.TLS, a))
	c.Login(t, a.User, a.Password)
	for _, command := range []string{"STAT", "UIDL", "LIST", "RETR 1", "TOP 2 1", "DELE 2", "RETR 9", "RSET", "DELE 1", "QUIT"} {
		reply := c.Must(t, command)
		if peers.OK(reply) != (command != "RETR 9") {
			t.Errorf("%s: %.200q", command, reply)
		}
		switch command {
		case "RETR 1":
			retr = reply
		case "TOP 2 1":
			top = reply
		}
	}
	c.Conn.Close()
	g.sessionOf(t, c)
	return retr, top
}

// readsFrom has a reach the gate from another address and read message 1 without any listing.
func (g *gate) readsFrom(t *testing.T, address string, a peers.Account) string {
	t.Helper()
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	conn, err := tls.DialWithDialer(dialer, "tcp", g.pop3s, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "USER %s\r\nPASS %s\r\nRETR 1\r\nQUIT\r\n", a.User, a.Password)
	var all strings.Builder
	if _, err := bufio.NewReader(conn).WriteTo(&all); err != nil {
		t.Fatal(err)
	}
	replies := strings.SplitN(all.String(), "\r\n", 4) // the greeting, USER, PASS
	if len(replies) < 4 || !peers.OK(replies[3]) {
		t.Fatalf("from %s: %q", address, replies)
	}
	retr, _, _ := strings.Cut(replies[3], "\r\n.\r\n")
	return retr + "\r\n.\r\n"
}

// stalls begins to read the large message, the last of those that are left, and stops.
func (g *gate) stalls(t *testing.T, a peers.Account) *peers.Raw {
	t.Helper()
	c := peers.MustDial(t, g.target(peers.TLS, a))
	c.Login(t, a.User, a.Password)
	if reply := c.Must(t, "DELE 1"); !peers.OK(reply) {
		t.Errorf("DELE 1: %q", reply)
	}
	c.Send("RETR 2\r\n")
	for range 100 {
		if _, err := c.Line(); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// checkMail holds what the ledger keeps of the messages themselves: of one that was read whole, and of one that was cut.
func (g *gate) checkMail(t *testing.T, stalled audit.Session, retr string) {
	t.Helper()
	records, err := g.reader(t).Records(t.Context(), 0, 1000, audit.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	asked := 0
	for _, r := range records {
		whole := r.Kind == proxy.KindCommand && r.Verb == "RETR" && r.User == "alice" && r.Status == "+OK"
		switch {
		case r.Kind == proxy.KindAsked:
			asked++
		case !whole:
		case r.Session == stalled.ID:
			if want := (audit.Mail{MessageID: "<large@example.test>", Subject: "Grüße"}); r.Mail == nil || *r.Mail != want || !r.Partial {
				t.Errorf("of the message that was cut is kept %+v", r.Mail)
			}
		default:
			want := audit.Mail{SHA256: fmt.Sprintf("%x", sha256.Sum256(peers.Content(retr))), MessageID: "<m1@example.test>",
				From: "Peer <peer@example.test>", Date: "Mon, 23 Nov 2026 10:01:00 +0000", Subject: "message 1"}
			if r.Mail == nil || *r.Mail != want {
				t.Errorf("of message 1 is kept\n%+v\nwant\n%+v", r.Mail, want)
			}
		}
	}
	if asked != 2 {
		t.Errorf("Postern asked %d times for unique-ids, want once in each of the two sessions without a UIDL", asked)
	}
}
