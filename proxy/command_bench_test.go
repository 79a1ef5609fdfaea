package proxy

import (
	"bufio"
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

// BenchmarkPipelined is the same for a client that sends 32 commands in one write and then reads their replies: the backend
// gets them one by one (off) or together (on). An operation is all 32.
func BenchmarkPipelined(b *testing.B) {
	for _, pipelining := range []Pipelining{PipeliningOff, PipeliningOn} {
		for _, command := range []string{"NOOP", "STAT", "LIST 1", "UIDL 1", "RETR 1"} {
			b.Run(command+"/"+string(pipelining), func(b *testing.B) {
				benchCommands(b, command, 32, Rules{Pipelining: pipelining}, pipeBackend)
			})
		}
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

// pipeBackend holds its replies while it has more commands to read, as servers that announce PIPELINING do. It allocates
// nothing for a reply.
func pipeBackend(conn net.Conn) {
	defer conn.Close()
	replies := map[string]string{
		"STAT": "+OK 5 1234\r\n", "LIST": "+OK 1 500\r\n", "UIDL": "+OK 1 id00001\r\n",
		"RETR": "+OK 500 octets\r\n" + benchMail(3) + ".\r\n",
	}
	r, w := bufio.NewReader(conn), bufio.NewWriterSize(conn, 64<<10)
	w.WriteString("+OK\r\n")
	for {
		if r.Buffered() == 0 && w.Flush() != nil {
			return
		}
		line, err := r.ReadSlice('\n')
		if err != nil {
			return
		}
		reply, ok := replies[string(line[:4])]
		if !ok {
			reply = "+OK\r\n"
		}
		w.WriteString(reply)
	}
}
