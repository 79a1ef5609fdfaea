package proxy

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"postern/proxy/pop3"
)

// fuzzedPassword is what no record may hold.
const fuzzedPassword = "fuzzed-Pa55word"

// FuzzSession plays a whole session: the client sends lines and, behind line n of them, a PASS; the backend sends
// what it likes, in pieces. The session is inside TLS but for the cryptography. When n has its highest bit, the rules
// of the ledger are on; when piece is even, commands travel in runs.
func FuzzSession(f *testing.F) {
	f.Add([]byte("USER a\nSTAT\nUIDL\nRETR 1\nDELE 1\nQUIT"), []byte("+OK hi\r\n+OK\r\n+OK\r\n+OK\r\n1 a\r\n.\r\n"), uint8(1), uint8(9))
	f.Add([]byte("AUTH PLAIN\nAGEAYg==\nCAPA\nLIST"), []byte("+OK\r\n+ \r\n-ERR\r\n+OK\r\nSASL GSSAPI\r\n.\r\n+OK\n.\n"), uint8(3), uint8(1))
	f.Add([]byte("USER a\nRETR 1\nTOP 2 0\nDELE 2\nQUIT"), []byte("+OK\r\n+OK\r\n+OK\r\n+OK\r\n1 a\r\n2 b\r\n.\r\n"+
		"+OK 9 octets\r\nSubject: x\r\n\r\n..\r\n.\r\n+OK\r\n.\r\n+OK\r\n+OK\r\n"), uint8(0x81), uint8(30))
	f.Add([]byte("HELP\n\nXCLIENT\nAUTH LOGIN\nYQ=="), []byte("+OK <1@x>\r\n+OK\r\nmore\r\n"), uint8(0), uint8(200))
	f.Add([]byte("AUTH\nauth plain AGEAYg==\nlist 1\nRSET"), []byte("-ERR\r\n"), uint8(2), uint8(3))
	f.Add([]byte("USER a\nSTAT\nUIDL\nRETR 1\nDELE 1\nLIST\nRETR 2\nRSET"), []byte("+OK\r\n+OK\r\n+OK\r\n"+
		"+OK 1 5\r\n+OK\r\n1 a\r\n.\r\n+OK\r\nx\r\n.\r\n+OK\r\n-ERR\r\n+OK\r\ny\r\n.\r\n+OK\r\n"), uint8(1), uint8(4))
	f.Add([]byte("USER a\nUIDL\nRETR 1\nDELE 1\nTOP 2 0\nDELE 2\nNOOP"), []byte("+OK\r\n+OK\r\n+OK\r\n"+
		"+OK\r\n1 a\r\n.\r\n+OK\r\nx\r\n.\r\n+OK\r\nhuh\r\n+OK\r\n"), uint8(0x81), uint8(4))
	f.Fuzz(func(t *testing.T, client, backend []byte, n, piece uint8) {
		if len(client) > 4096 || len(backend) > 16*1024 {
			return
		}
		lines := bytes.Split(client, []byte("\n"))
		at := min(int(n&0x7f), len(lines))
		ledger := n > 0x7f
		lines = append(lines[:at:at], append([][]byte{[]byte("PASS " + fuzzedPassword)}, lines[at:]...)...)
		rules := Rules{AskUIDs: ledger, MailDigest: ledger, MailHeaders: ledger}
		if piece&1 == 0 {
			rules.Pipelining = PipeliningOn
		}
		synctest.Test(t, func(t *testing.T) { playFuzzed(t, lines, backend, 1+int(piece), rules) })
	})
}

func playFuzzed(t *testing.T, lines [][]byte, backend []byte, piece int, rules Rules) {
	clientEnd, accepted := memoryPipe()
	backendEnd, dialled := memoryPipe()
	log := &memoryLog{}
	s := &Server{Backend: "b", Recorder: log, TLS: testTLS(t), Rules: rules}
	s.Dial = func(context.Context, string) (net.Conn, error) { return dialled, nil }
	s.init()
	ss := newSession(s, accepted, ModeSTLS, "pop3")
	ss.inTLS = true
	s.admit(ss)
	go ss.run()
	clientEnd.Write(append(bytes.Join(lines, []byte("\r\n")), "\r\n"...))
	for part := range chunks(backend, piece) {
		backendEnd.Write(part)
		time.Sleep(5 * time.Millisecond)
	}
	time.Sleep(time.Second)
	backendEnd.CloseWrite()
	clientEnd.CloseWrite()
	s.running.Wait()
	heard := (&peer{raw: backendEnd, conn: backendEnd}).rest()
	got := (&peer{raw: clientEnd, conn: clientEnd}).rest()
	backendEnd.Close()
	clientEnd.Close()
	sent := len(lines)
	if rules.AskUIDs {
		sent++ // UIDL
	}
	judgeForwarded(t, heard, sent)
	judgeHeard(t, log, heard)
	judgeRecords(t, log, got)
}

func chunks(b []byte, size int) func(yield func([]byte) bool) {
	return func(yield func([]byte) bool) {
		for len(b) > 0 {
			n := min(size, len(b))
			if !yield(b[:n]) {
				return
			}
			b = b[n:]
		}
	}
}

// judgeForwarded holds what the backend heard: whole lines without control octets, no more than were sent.
func judgeForwarded(t *testing.T, heard string, sent int) {
	t.Helper()
	if heard != "" && !strings.HasSuffix(heard, "\r\n") {
		t.Fatalf("half a line went to the backend: %q", heard)
	}
	lines := strings.Split(strings.TrimSuffix(heard, "\r\n"), "\r\n")
	for _, line := range lines {
		if strings.ContainsAny(line, "\r\n\x00") {
			t.Fatalf("a line was smuggled to the backend: %q", line)
		}
	}
	if len(lines) > sent {
		t.Fatalf("%d lines sent, %d forwarded: %q", sent, len(lines), heard)
	}
}

// judgeHeard holds that each command that the backend has heard has a record. Within AUTH lines are no commands.
func judgeHeard(t *testing.T, log *memoryLog, heard string) {
	t.Helper()
	count := map[string]int{}
	for _, ev := range log.events {
		if ev.Kind == KindCommand || ev.Kind == KindAsked {
			count[ev.Verb]++
		}
	}
	for line := range strings.Lines(heard) {
		c, _ := pop3.ParseCommand([]byte(strings.TrimSuffix(line, "\r\n")))
		if count[c.Verb]--; c.Pipelines() && count[c.Verb] < 0 && count["AUTH"] == 0 {
			t.Fatalf("%q was heard and is not on record: %q", line, log.rows())
		}
	}
}

// judgeRecords holds the records: begun and ended once, no secret, every delete with its fate, and no more replies
// with the client than are on record.
func judgeRecords(t *testing.T, log *memoryLog, got string) {
	t.Helper()
	all := fmt.Sprintf("%+v", log.events)
	if strings.Contains(all, fuzzedPassword) {
		t.Fatalf("the password is on record: %s", all)
	}
	rows := slices.DeleteFunc(log.rows(), func(row string) bool { return strings.HasPrefix(row, "backend ") }) // of no session
	if len(rows) == 0 {
		return
	}
	if !strings.HasPrefix(rows[0], "connect") && !strings.HasPrefix(rows[0], "refused") {
		t.Fatalf("records begin with %q", rows[0])
	}
	if strings.HasPrefix(rows[0], "connect") {
		checkEnds(t, rows)
	}
	if strings.HasSuffix(got, "\n.\r\n") && !strings.Contains(all, "Verb:") {
		t.Fatalf("a body without a record: %q", got)
	}
}

func checkEnds(t *testing.T, rows []string) {
	t.Helper()
	ends := 0
	for _, row := range rows {
		if strings.HasPrefix(row, "end ") {
			ends++
		}
	}
	if ends != 1 || !strings.HasPrefix(rows[len(rows)-1], "end ") {
		t.Fatalf("%d ends in\n%s", ends, strings.Join(rows, "\n"))
	}
}
