package proxy

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A backend whose listing has no end, which only the proxy reads, is given up: the client could not do it.
func TestEndlessListingAskedByProxy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clientEnd, accepted := memoryPipe()
		backendEnd, dialled := memoryPipe()
		log := &memoryLog{}
		s := &Server{Backend: "b", Recorder: log, TLS: testTLS(t), Rules: Rules{AskUIDs: true},
			Dial: func(context.Context, string) (net.Conn, error) { return dialled, nil }}
		s.init()
		s.accept(accepted, ModeTLS, "pop3s")
		client, backend := &peer{raw: clientEnd, conn: clientEnd}, &peer{raw: backendEnd, conn: backendEnd}
		client.startTLS()
		backend.send("+OK\r\n")
		client.send("USER a\r\nPASS b\r\nDELE 1\r\n")
		for _, line := range []string{"USER a\r\n", "PASS b\r\n", "UIDL\r\n"} {
			if got := backend.receive(len(line)); got != line {
				t.Fatalf("the backend got %q, want %q", got, line)
			}
			backend.send("+OK\r\n")
		}
		part := strings.Repeat("1 x\r\n", 100_000)
		for range maxAsked/len(part) + 1 {
			backend.send(part)
			time.Sleep(time.Millisecond)
		}
		want := strings.Repeat("+OK\r\n", 3) + errFraming.farewell + "\r\n"
		if got := client.receive(len(want)); got != want {
			t.Errorf("the client got %q, want %q", got, want)
		}
		clientEnd.Close()
		backendEnd.Close()
		s.running.Wait()
		if rows := strings.Join(log.rows(), "\n"); !strings.Contains(rows, "list_too_long\nasked UIDL +OK partial") {
			t.Errorf("records:\n%s", rows)
		}
	})
}

func TestUIDTable(t *testing.T) {
	var table uidTable
	table.feed([]byte("1 a\r\n2\tb\r\n 3  c d \r\n4 \r\n0 x\r\n-5 x\r\n6 \xff\n7 " + strings.Repeat("y", 255) + "\r\n"))
	table.feed([]byte("8 " + strings.Repeat("y", 256) + "\r\n131072 x\r\n131071 last\r\n9 cut"))
	table.feed([]byte(" off\r\n1 a\r\n"))
	for n, want := range map[int64]string{
		-1: "", 0: "", 1: "a", 2: "", 3: "c d", 4: "", 5: "", 6: "\ufffd", 7: strings.Repeat("y", 255), 8: "", 9: "cut off",
		131_071: "last", 131_072: "", 1 << 40: "",
	} {
		if got := table.of(n); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
}

// However often and with whatever a backend lists a maildrop, what is kept of it is bounded, and nothing of it is stale.
func TestUIDTableIsBounded(t *testing.T) {
	var table uidTable
	uid := func(round int) string { return fmt.Sprint(round, strings.Repeat("u", 200)) }
	for round := range 5 {
		for n := 1; n < 20_000; n++ {
			table.add(fmt.Appendf(nil, "%d %s", n, uid(round)))
		}
	}
	if len(table.text) > maxUIDText || len(table.at) > 20_000 {
		t.Errorf("%d octets of unique-ids, %d messages", len(table.text), len(table.at))
	}
	for n := range int64(20_000) {
		if got := table.of(n); got != "" && got != uid(4) {
			t.Fatalf("message %d has the unique-id %q, which the listing after it changed", n, got)
		}
	}
	table = uidTable{}
	for range 3 {
		table.add([]byte("1 a"))
	}
	if len(table.text) != 2 {
		t.Errorf("a unique-id told three times takes %d octets", len(table.text))
	}
}

func TestSizeTable(t *testing.T) {
	var table sizeTable
	table.feed([]byte("1 120\r\n2 7 octets\r\n3\r\n4 x\r\n5 0\r\n6 4294967295\r\n7 4294967296\r\n131072 9\r\n131071 8\r\n8 1"))
	table.feed([]byte("2\r\n1 121\r\n6 99999999999\r\n"))
	for n, want := range map[int64]int64{
		-1: 0, 0: 0, 1: 121, 2: 7, 3: 0, 4: 0, 5: 0, 6: 0, 7: 0, 8: 12, 131_071: 8, 131_072: 0, 1 << 40: 0,
	} {
		if got := table.of(n); got != want {
			t.Errorf("%d: %d, want %d", n, got, want)
		}
	}
}

func BenchmarkSizeTable(b *testing.B) {
	var list []byte
	for n := range 10_000 {
		list = fmt.Appendf(list, "%d %d\r\n", n+1, 1000+n)
	}
	var table sizeTable
	b.ReportAllocs()
	for b.Loop() {
		table.feed(list)
	}
}
