package pop3

import (
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"errors"
)

// Credentials are a user name and password out of AUTH PLAIN or LOGIN, fit to be sent in USER, PASS or APOP.
type Credentials struct{ User, Password []byte }

// Errors about credentials.
var (
	ErrCredentials = errors.New("credentials cannot be read")
	// ErrSmuggled tells of CR, LF, NUL or another control octet: a decoded line end would become a command.
	ErrSmuggled = errors.New("control octet in credentials")
)

// ParsePlain reads a PLAIN response (RFC 4616 section 2). An authorization identity other than the user is refused:
// USER and APOP have no word for it.
func ParsePlain(line []byte) (Credentials, error) {
	data, ok := decode64(line)
	parts := bytes.Split(data, []byte{0})
	if !ok || len(parts) != 3 || len(parts[0]) > 0 && !bytes.Equal(parts[0], parts[1]) {
		return Credentials{}, ErrCredentials
	}
	return Credentials{User: parts[1], Password: parts[2]}, nil
}

// ParseLogin reads one of the two responses of LOGIN.
func ParseLogin(line []byte) ([]byte, error) {
	data, ok := decode64(line)
	if !ok {
		return nil, ErrCredentials
	}
	return data, nil
}

// Check returns nil when c can go into commands of at most MaxCommand octets.
func (c Credentials) Check() error {
	for _, b := range [][]byte{c.User, c.Password} {
		if bytes.ContainsFunc(b, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return ErrSmuggled
		}
		if len(b) > MaxCommand-len("USER ") {
			return ErrCredentials
		}
	}
	if len(c.User) == 0 {
		return ErrCredentials
	}
	return nil
}

// AppendUser and AppendPass append the command lines of USER/PASS.
func (c Credentials) AppendUser(b []byte) []byte { return appendLine(b, "USER ", c.User) }
func (c Credentials) AppendPass(b []byte) []byte { return appendLine(b, "PASS ", c.Password) }

// AppendAPOP appends an APOP command line: the digest is that of the timestamp and the password (RFC 1939 section 7).
func (c Credentials) AppendAPOP(b, timestamp []byte) []byte {
	sum := md5.Sum(append(bytes.Clone(timestamp), c.Password...))
	b = append(append(b, "APOP "...), c.User...)
	b = append(b, ' ')
	return append(hex.AppendEncode(b, sum[:]), '\r', '\n')
}

func appendLine(b []byte, verb string, arg []byte) []byte {
	return append(append(append(b, verb...), arg...), '\r', '\n')
}

// APOPTimestamp returns the <...> of a greeting, brackets included, or nil: then the backend has no APOP.
func APOPTimestamp(greeting []byte) []byte {
	i := bytes.IndexByte(greeting, '<')
	if i < 0 {
		return nil
	}
	n := bytes.IndexByte(greeting[i:], '>')
	if n < 0 || !bytes.Contains(greeting[i:i+n], []byte{'@'}) {
		return nil
	}
	return bytes.Clone(greeting[i : i+n+1])
}
