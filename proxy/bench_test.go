package proxy

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"
)

// nowhere is a Recorder that keeps nothing, at no cost.
type nowhere struct{}

func (nowhere) Record(Event) Receipt { return kept{} }
func (nowhere) Ready() error         { return nil }

// benchMail is a message of n lines as it stands on the wire.
func benchMail(n int) string {
	return "Received: from a by b; Tue, 24 Nov 2026 01:02:03 +0000\r\nFrom: Alice <a@example.test>\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n" +
		"Date: Tue, 24 Nov 2026 01:02:03 +0000\r\nMessage-ID: <1@example.test>\r\n\r\n" +
		strings.Repeat(strings.Repeat("QUJD", 19)+"\r\n", n)
}

// benchBackend answers RETR 1 with a message of 4 KiB, RETR 2 with one of 16 MiB, LIST with 10,000 messages and all else
// with +OK. It allocates nothing for a reply.
func benchBackend(conn net.Conn) {
	defer conn.Close()
	var list strings.Builder
	for n := range 10_000 {
		fmt.Fprintf(&list, "%d %d\r\n", n+1, 1000+n)
	}
	replies := map[string][]byte{
		"RETR 1": []byte("+OK 4096 octets\r\n" + benchMail(50) + ".\r\n"),
		"RETR 2": []byte("+OK 16777216 octets\r\n" + benchMail(16<<20/78) + ".\r\n"),
		"LIST":   []byte("+OK\r\n" + list.String() + ".\r\n"),
	}
	ok := []byte("+OK\r\n")
	conn.Write(ok)
	for lines := bufio.NewScanner(conn); lines.Scan(); {
		reply := replies[string(lines.Bytes())] // which allocates nothing, as lines.Text() would
		if reply == nil {
			reply = ok
		}
		if _, err := conn.Write(reply); err != nil {
			return
		}
	}
}

// BenchmarkLedger is what the ledger costs: CPU of the relay and of both peers, which do the same in each of its
// parts.
func BenchmarkLedger(b *testing.B) {
	for _, command := range []string{"RETR 1", "RETR 2", "LIST"} {
		for name, rules := range map[string]Rules{
			"off": {}, "digest": {MailDigest: true}, "headers": {MailHeaders: true}, "both": {MailDigest: true, MailHeaders: true},
		} {
			if command == "LIST" && name != "off" {
				continue
			}
			b.Run(command+"/"+name, func(b *testing.B) { benchReplies(b, command, rules) })
		}
	}
}

func benchReplies(b *testing.B, command string, rules Rules) {
	conn, r := benchSession(b, rules, benchBackend)
	line := []byte(command + "\r\n")
	exchange := func() int {
		if _, err := conn.Write(line); err != nil {
			b.Fatal(err)
		}
		return readReply(b, r)
	}
	for range 10 {
		exchange() // what is allocated once a session is no matter here
	}
	b.ReportAllocs()
	began, octets := cpu(b), 0
	for b.Loop() {
		octets += exchange()
	}
	spent := cpu(b) - began
	b.SetBytes(int64(octets / b.N))
	b.ReportMetric(spent.Seconds()/float64(octets)*1e9, "cpu-s/GB")
}

// benchSession returns a session that is logged in, through a relay of its own to backend, until the benchmark ends.
func benchSession(b *testing.B, rules Rules, backend func(net.Conn)) (*tls.Conn, *bufio.Reader) {
	s := &Server{Backend: "b", Recorder: nowhere{}, TLS: testTLS(b), Rules: rules}
	l, dial := benchListener(b, backend)
	s.Dial = dial
	front, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(front, ModeTLS, "pop3s") }()
	conn, err := tls.Dial("tcp", front.Addr().String(), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		b.Fatal(err)
	}
	r := bufio.NewReaderSize(conn, 256<<10)
	io.WriteString(conn, "USER a\r\nPASS b\r\n")
	for range 3 {
		r.ReadSlice('\n')
	}
	b.Cleanup(func() {
		conn.Close()
		s.Shutdown(context.Background())
		<-ended
		l.Close()
	})
	return conn, r
}

func benchListener(b *testing.B, backend func(net.Conn)) (net.Listener, func(context.Context, string) (net.Conn, error)) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	go func() {
		if conn, err := l.Accept(); err == nil {
			backend(conn)
		}
	}()
	return l, func(context.Context, string) (net.Conn, error) { return net.Dial("tcp", l.Addr().String()) }
}

// readReply reads a status line and a body, and returns how many octets they have.
func readReply(b *testing.B, r *bufio.Reader) (octets int) {
	for {
		line, err := r.ReadSlice('\n')
		octets += len(line)
		if err != nil {
			b.Fatal(err)
		}
		if string(line) == ".\r\n" {
			return octets
		}
	}
}

// cpu is how long this process has computed.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
