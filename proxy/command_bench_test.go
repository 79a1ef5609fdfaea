package proxy

import "testing"

// BenchmarkRelay is one command through the relay, TLS and sockets and all, with a recorder that keeps nothing. What it
// allocates is what a session allocates a command for as long as it lives: both peers allocate nothing.
func BenchmarkRelay(b *testing.B) {
	for _, command := range []string{"NOOP", "STAT", "RETR 1"} {
		b.Run(command, func(b *testing.B) {
			conn, r := benchSession(b, Rules{})
			line := []byte(command + "\r\n")
			exchange := func() {
				if _, err := conn.Write(line); err != nil {
					b.Fatal(err)
				}
				if command == "RETR 1" {
					readReply(b, r)
				} else if _, err := r.ReadSlice('\n'); err != nil {
					b.Fatal(err)
				}
			}
			for range 10 {
				exchange()
			}
			b.ReportAllocs()
			for b.Loop() {
				exchange()
			}
		})
	}
}
