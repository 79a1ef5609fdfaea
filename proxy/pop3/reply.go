package pop3

import (
	"bytes"
	"strings"
)

// Status is what a reply's first line says.
type Status uint8

const (
	StatusUnknown  Status = iota // neither: the framing is lost
	StatusOK                     // "+OK"
	StatusErr                    // "-ERR"
	StatusContinue               // "+" or "+ base64": a SASL challenge (RFC 5034 section 4)
)

// String returns the status as it stands on the wire, or "".
func (s Status) String() string { return [...]string{"", "+OK", "-ERR", "+"}[s] }

// Reply is a parsed status line. Its slices point into the line it was parsed from.
type Reply struct {
	Line   []byte // all of it
	Status Status
	Code   []byte // extended response code without its brackets (RFC 2449 section 8)
	Text   []byte // what follows the status and the code
}

// ParseReply parses a status line without its line end. The case of the status is not minded.
func ParseReply(line []byte) (r Reply) {
	defer func() { r.Line = line }()
	switch {
	case statusIs(line, "+OK"):
		return textOf(Reply{Status: StatusOK}, line[len("+OK"):])
	case statusIs(line, "-ERR"):
		return textOf(Reply{Status: StatusErr}, line[len("-ERR"):])
	case bytes.Equal(line, []byte{'+'}), bytes.HasPrefix(line, []byte("+ ")):
		return Reply{Status: StatusContinue}
	}
	return Reply{}
}

// statusIs reports whether line starts with the word status: "+OKAY" is not "+OK".
func statusIs(line []byte, status string) bool {
	if len(line) < len(status) || !bytes.EqualFold(line[:len(status)], []byte(status)) {
		return false
	}
	if len(line) == len(status) {
		return true
	}
	c := line[len(status)] | 0x20
	return c < 'a' || c > 'z'
}

func textOf(r Reply, rest []byte) Reply {
	rest = bytes.Trim(rest, " ")
	if len(rest) > 0 && rest[0] == '[' {
		if i := bytes.IndexByte(rest, ']'); i > 0 {
			r.Code, rest = rest[1:i], bytes.TrimLeft(rest[i+1:], " ")
		}
	}
	r.Text = rest
	return r
}

// Announced returns how many octets the +OK to a RETR says that the message has ("+OK 120 octets", RFC 1939 section 5):
// the number before that word, or 0. Other numbers in such a line may mean anything.
func (r Reply) Announced() int64 {
	var n int64
	for word := range bytes.FieldsSeq(r.Text) {
		word = bytes.Trim(word, "().,;:")
		if n > 0 && (bytes.EqualFold(word, []byte("octets")) || bytes.EqualFold(word, []byte("bytes"))) {
			return n
		}
		n, _ = Number(word)
	}
	return 0
}

// Number returns the decimal number that b begins with and what stands behind the blanks behind it. It is 0 when b
// begins with anything else, or with more than 18 digits.
func Number(b []byte) (n int64, rest []byte) {
	i := 0
	for ; i < len(b) && i < 18 && '0' <= b[i] && b[i] <= '9'; i++ {
		n = 10*n + int64(b[i]-'0')
	}
	if i < len(b) && b[i] != ' ' {
		return 0, nil
	}
	for i < len(b) && b[i] == ' ' {
		i++
	}
	return n, b[i:]
}

// KnownCode reports whether code is one of the registered response codes, or of their family: it can be no secret.
func KnownCode(code []byte) bool {
	switch strings.ToUpper(string(code)) {
	case "IN-USE", "LOGIN-DELAY", "AUTH", "SYS/TEMP", "SYS/PERM", "UTF8":
		return true
	}
	return false
}
