package popd

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
)

// session is one client's dialogue; one goroutine owns it.
type session struct {
	server *Server
	stamp  string // what APOP digests
	conn   net.Conn
	in     *bufio.Reader
	out    *bufio.Writer

	user     string // claimed by USER
	failures int

	drop     *Maildrop // set from login on
	messages []message
	deleted  map[string]bool // by unique-id

	ended bool
}

var errLineTooLong = errors.New("line too long")

func (s *session) run() {
	s.reply("+OK POP3 server ready %s", s.stamp)
	for !s.ended && s.flush() == nil {
		line, err := s.readLine()
		if errors.Is(err, errLineTooLong) {
			s.reply("-ERR line too long")
			continue
		}
		if err != nil {
			return // gone or silent: what was deleted stays (RFC 1939 section 6)
		}
		s.command(line)
	}
	s.flush()
}

// command runs one line in the state the session is in.
func (s *session) command(line string) {
	verb, arg, _ := strings.Cut(line, " ")
	verb = strings.ToUpper(verb)
	if verb != "PASS" { // a password may end in spaces
		arg = strings.TrimRight(arg, " ")
	}
	switch {
	case verb == "CAPA" && arg == "":
		s.capa()
	case verb == "QUIT" && arg == "":
		s.quit()
	case s.drop == nil:
		s.authorization(verb, arg)
	default:
		s.transaction(verb, arg)
	}
}

func (s *session) transaction(verb, arg string) {
	switch verb {
	case "STAT":
		count, octets := s.total()
		s.reply("+OK %d %d", count, octets)
	case "LIST":
		s.list(arg, func(m message) string { return strconv.Itoa(len(m.text)) })
	case "UIDL":
		s.list(arg, func(m message) string { return m.uid })
	case "RETR":
		s.retr(arg)
	case "TOP":
		s.top(arg)
	case "DELE":
		if m, ok := s.message(arg); ok {
			s.deleted[m.uid] = true
			s.reply("+OK message %s deleted", arg)
		}
	case "RSET":
		clear(s.deleted)
		count, octets := s.total()
		s.reply("+OK maildrop has %d messages (%d octets)", count, octets)
	case "NOOP":
		s.reply("+OK")
	default:
		s.reply("-ERR unknown command")
	}
}

// capa tells what RFC 2449 asks for.
func (s *session) capa() {
	s.reply("+OK capability list follows")
	s.reply("USER\r\nSASL PLAIN LOGIN\r\nTOP\r\nUIDL\r\nRESP-CODES\r\nAUTH-RESP-CODE\r\nPIPELINING\r\nEXPIRE NEVER")
	s.reply("IMPLEMENTATION postern-demo\r\n.")
}

// quit commits deletes, in the transaction state only.
func (s *session) quit() {
	s.ended = true
	if s.drop == nil {
		s.reply("+OK bye")
		return
	}
	count := len(s.deleted)
	s.drop.release(s.deleted)
	s.drop = nil
	s.reply("+OK bye, %d messages deleted", count)
}

// leave gives the maildrop back unchanged when the session ended without QUIT.
func (s *session) leave() {
	if s.drop != nil {
		s.drop.release(nil)
	}
}

func (s *session) total() (count, octets int) {
	for _, m := range s.messages {
		if !s.deleted[m.uid] {
			count++
			octets += len(m.text)
		}
	}
	return count, octets
}

// list answers LIST and UIDL, of one message or of all.
func (s *session) list(arg string, value func(message) string) {
	if arg != "" {
		if m, ok := s.message(arg); ok {
			s.reply("+OK %s %s", arg, value(m))
		}
		return
	}
	s.reply("+OK")
	for i, m := range s.messages {
		if !s.deleted[m.uid] {
			s.reply("%d %s", i+1, value(m))
		}
	}
	s.reply(".")
}

func (s *session) retr(arg string) {
	if m, ok := s.message(arg); ok {
		s.reply("+OK %d octets", len(m.text))
		s.body(m.text)
	}
}

// top answers the header, the empty line and the first lines of the body (RFC 1939 section 7).
func (s *session) top(arg string) {
	number, count, _ := strings.Cut(arg, " ")
	left, err := strconv.ParseUint(count, 10, 31)
	if err != nil {
		s.reply("-ERR usage: TOP message lines")
		return
	}
	m, ok := s.message(number)
	if !ok {
		return
	}
	end := len(m.text)
	if i := bytes.Index(m.text, []byte("\r\n\r\n")); i >= 0 {
		for end = i + 4; left > 0 && end < len(m.text); left-- {
			end += bytes.IndexByte(m.text[end:], '\n') + 1
		}
	}
	s.reply("+OK top of message follows")
	s.body(m.text[:end])
}

// body writes text dot-stuffed, and the terminator.
func (s *session) body(text []byte) {
	for line := range bytes.Lines(text) {
		if line[0] == '.' {
			s.out.WriteByte('.')
		}
		s.conn.SetWriteDeadline(time.Now().Add(s.server.timeout()))
		s.out.Write(line)
	}
	s.out.WriteString(".\r\n")
}

// message finds a message by its number, or answers why not.
func (s *session) message(arg string) (message, bool) {
	n, err := strconv.Atoi(arg)
	if err != nil || n < 1 || n > len(s.messages) || s.deleted[s.messages[n-1].uid] {
		s.reply("-ERR no such message")
		return message{}, false
	}
	return s.messages[n-1], true
}

// reply writes one line; errors stay in the buffer and end the session at the next flush.
func (s *session) reply(format string, args ...any) {
	fmt.Fprintf(s.out, format+"\r\n", args...)
}

// flush sends what is buffered, unless the client has pipelined another whole command.
func (s *session) flush() error {
	if buffered, _ := s.in.Peek(s.in.Buffered()); !s.ended && bytes.IndexByte(buffered, '\n') >= 0 {
		return nil
	}
	s.conn.SetWriteDeadline(time.Now().Add(s.server.timeout()))
	return s.out.Flush()
}

// readLine returns a line without its end. A line that is too long is read to its end and dropped.
func (s *session) readLine() (string, error) {
	s.conn.SetDeadline(time.Now().Add(s.server.timeout()))
	line, err := s.in.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		for errors.Is(err, bufio.ErrBufferFull) {
			_, err = s.in.ReadSlice('\n')
		}
		if err == nil {
			err = errLineTooLong
		}
	}
	if err != nil {
		return "", err
	}
	return string(bytes.TrimRight(line, "\r\n")), nil
}
