package popd

import (
	"crypto/md5"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"strings"
)

// authorization runs the commands that are legal before login.
func (s *session) authorization(verb, arg string) {
	switch verb {
	case "USER":
		s.user = arg
		s.reply("+OK")
	case "PASS":
		s.login(s.user, func(password string) bool { return same(arg, password) })
		s.user = ""
	case "APOP":
		user, digest := cutLast(arg)
		s.login(user, func(password string) bool {
			sum := md5.Sum([]byte(s.stamp + password))
			return same(strings.ToLower(digest), hex.EncodeToString(sum[:]))
		})
	case "AUTH":
		s.auth(arg)
	default:
		s.reply("-ERR log in first")
	}
}

// auth runs a SASL exchange, or lists the mechanisms as Outlook asks for them.
func (s *session) auth(arg string) {
	mechanism, initial, _ := strings.Cut(arg, " ")
	switch strings.ToUpper(mechanism) {
	case "":
		s.reply("+OK\r\nPLAIN\r\nLOGIN\r\n.")
	case "PLAIN":
		response, ok := s.response("", initial)
		if !ok {
			return
		}
		fields := strings.Split(response, "\x00")
		if len(fields) != 3 {
			s.refuse("malformed response")
			return
		}
		s.login(fields[1], func(password string) bool { return same(fields[2], password) })
	case "LOGIN":
		user, ok := s.response("Username:", initial)
		if !ok {
			return
		}
		given, ok := s.response("Password:", "")
		if !ok {
			return
		}
		s.login(user, func(password string) bool { return same(given, password) })
	default:
		s.reply("-ERR unknown mechanism")
	}
}

// response returns the decoded initial response, or asks for one. It answers itself when there is none.
func (s *session) response(challenge, initial string) (string, bool) {
	if initial == "" {
		s.reply("+ %s", base64.StdEncoding.EncodeToString([]byte(challenge)))
		if s.flush() != nil {
			return "", false
		}
		line, err := s.readLine()
		if err != nil || line == "*" {
			s.refuse("cancelled")
			return "", false
		}
		initial = line
	}
	if initial == "=" { // an empty initial response (RFC 5034 section 4)
		return "", true
	}
	decoded, err := base64.StdEncoding.DecodeString(initial)
	if err != nil {
		s.refuse("not base64")
		return "", false
	}
	return string(decoded), true
}

// login opens the user's maildrop when the password is right. Unknown users and wrong passwords get the
// same answer.
func (s *session) login(user string, right func(password string) bool) {
	drop := s.server.Drops[user]
	if drop == nil || !right(drop.password) {
		s.refuse("invalid user name or password")
		return
	}
	messages, ok := drop.open()
	if !ok {
		s.reply("-ERR [IN-USE] another session holds this maildrop")
		return
	}
	s.drop, s.messages, s.deleted = drop, messages, make(map[string]bool)
	s.reply("+OK logged in, %d messages", len(messages))
}

func (s *session) refuse(reason string) {
	s.failures++
	s.ended = s.failures >= maxFailures
	s.reply("-ERR [AUTH] %s", reason)
}

func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// cutLast splits at the last space: user names may hold some.
func cutLast(arg string) (before, after string) {
	i := strings.LastIndexByte(arg, ' ')
	if i < 0 {
		return arg, ""
	}
	return arg[:i], arg[i+1:]
}
