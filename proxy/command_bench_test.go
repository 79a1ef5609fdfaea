package proxy

import (
	"net"
	"strings"
	"testing"
)

// BenchmarkRelay is one command through the relay, TLS and sockets and all, with a recorder that keeps nothing. What it
// allocates is what a session allocates a command for as long as it lives: both peers allocate nothing.
func BenchmarkRelay(b *testing.B) {
	for _, command := range []string{"NOOP", "STAT", "RETR 1"} {
		b.Run(command, func(b *testing.B) { benchCommands(b, command, 1, Rules{}, benchBackend) })
	}
}

// benchCommands sends n commands in one write, reads their replies, and again. It tells the CPU of the relay and both peers
// for one command.
func benchCommands(b *testing.B, command string, n int, rules Rules, backend func(net.Conn)) {
	conn, r := benchSession(b, rules, backend)
	lines := []byte(strings.Repeat(command+"\r\n", n))
	exchange := func() {
		if _, err := conn.Write(lines); err != nil {
			b.Fatal(err)
		}
		for range n {
			if command == "RETR 1" {
				readReply(b, r)
			} else if _, err := r.ReadSlice('\n'); err != nil {
				b.Fatal(err)
			}
		}
	}
	for range 10 {
		exchange()
	}
	b.ReportAllocs()
	began, commands := cpu(b), 0
	for b.Loop() {
		exchange()
		commands += n
	}
	b.ReportMetric(float64((cpu(b)-began).Nanoseconds())/float64(commands), "cpu-ns/command")
}
