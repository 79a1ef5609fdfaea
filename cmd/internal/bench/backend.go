package main

import (
	"bufio"
	"bytes"
	"net"
	"strconv"
	"strings"
	"sync"
)

// backend is a plain POP3 server that answers from memory and takes any password. It stands behind every peer alike,
// and costs as little as it can, for it shares the machine with them.
type backend struct {
	drops map[string]*maildrop
	l     net.Listener

	running sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]struct{} // nil once closed
}

func newBackend(drops map[string]*maildrop) (*backend, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	b := &backend{drops: drops, l: l, conns: make(map[net.Conn]struct{})}
	b.running.Go(b.accept)
	return b, nil
}

func (b *backend) port() int { return b.l.Addr().(*net.TCPAddr).Port }

func (b *backend) accept() {
	for {
		conn, err := b.l.Accept()
		if err != nil {
			return
		}
		if b.enter(conn) {
			b.running.Go(func() { b.serve(conn) })
		}
	}
}

func (b *backend) enter(conn net.Conn) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.conns == nil {
		conn.Close()
		return false
	}
	b.conns[conn] = struct{}{}
	return true
}

func (b *backend) leave(conn net.Conn) {
	conn.Close()
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.conns, conn)
}

// close ends every connection.
func (b *backend) close() {
	b.l.Close()
	b.mu.Lock()
	for conn := range b.conns {
		conn.Close()
	}
	b.conns = nil
	b.mu.Unlock()
	b.running.Wait()
}

var (
	ok   = []byte("+OK\r\n")
	no   = []byte("-ERR\r\n")
	capa = []byte("+OK\r\nUSER\r\nUIDL\r\nTOP\r\nPIPELINING\r\n.\r\n")
)

// serve speaks with one client. Replies to commands that came together go together.
func (b *backend) serve(conn net.Conn) {
	defer b.leave(conn)
	if _, err := conn.Write([]byte("+OK ready\r\n")); err != nil {
		return
	}
	const lineBound = 1024
	lines := bufio.NewReaderSize(conn, lineBound)
	var drop *maildrop
	var out []byte
	for {
		line, err := lines.ReadSlice('\n')
		if err != nil {
			return
		}
		verb, arg, _ := bytes.Cut(bytes.TrimRight(line, "\r\n"), []byte{' '})
		if string(verb) == "USER" {
			kind, _, _ := strings.Cut(string(arg), "-")
			drop = b.drops[kind]
		}
		reply, last := drop.answer(verb, arg)
		if len(out) == 0 && lines.Buffered() == 0 { // the usual case: nothing to gather, nothing to copy
			_, err = conn.Write(reply)
		} else if out = append(out, reply...); lines.Buffered() == 0 || last {
			_, err = conn.Write(out)
			out = out[:0]
		}
		if err != nil || last {
			return
		}
	}
}

// answer returns the reply to a command, and whether it is the last.
func (d *maildrop) answer(verb, arg []byte) (reply []byte, last bool) {
	switch string(verb) {
	case "QUIT":
		return ok, true
	case "CAPA":
		return capa, false
	}
	if d == nil {
		return no, false
	}
	switch string(verb) {
	case "USER", "PASS", "NOOP":
		return ok, false
	case "STAT":
		return d.stat, false
	case "LIST":
		return d.listing(arg, d.list, func(m message) []byte { return m.list }), false
	case "UIDL":
		return d.listing(arg, d.uidl, func(m message) []byte { return m.uidl }), false
	case "RETR":
		return d.listing(arg, no, func(m message) []byte { return m.retr }), false
	}
	return no, false
}

// listing is what of says of the message that arg numbers, or all when there is no number.
func (d *maildrop) listing(arg, all []byte, of func(message) []byte) []byte {
	if len(arg) == 0 {
		return all
	}
	n, err := strconv.Atoi(string(arg))
	if err != nil || n < 1 || n > len(d.messages) {
		return no
	}
	return of(d.messages[n-1])
}
