package pop3

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Record returns what of c may be kept: its verb and argument with secrets left out. Before login any line
// that is not plainly a command may be a password typed or queued in the wrong place, so unknown verbs and
// needless arguments are redacted then.
func (c Command) Record(loggedIn bool) (verb, arg string) {
	if c.Verb == "" {
		if !loggedIn {
			return Redacted, ""
		}
		return Text(bytes.ToUpper(c.Name)), redactedArg(c.Arg)
	}
	switch {
	case c.rule.kept == keepAll, c.rule.kept == keepSafe && loggedIn:
		return c.Verb, Text(c.Arg)
	case c.rule.kept == keepName:
		return c.Verb, strings.TrimLeft(Text(c.APOPUser())+" ", " ") + redactedArg(c.Arg)
	case c.rule.kept == keepWord:
		return c.Verb, keptMechanism(c)
	}
	return c.Verb, redactedArg(c.Arg)
}

// Secrets returns what of c a reply to it must not be quoted with; of AUTH, SASL.Secrets tells.
func (c Command) Secrets(loggedIn bool) [][]byte {
	switch {
	case c.Verb == "" && !loggedIn:
		return append(words(c.Arg), c.Name, c.Arg)
	case c.rule.kept == keepName:
		return [][]byte{c.Arg[len(c.APOPUser()):]}
	case c.rule.kept == keepNone, c.rule.kept == keepSafe && !loggedIn:
		return [][]byte{bytes.TrimSpace(c.Arg)}
	}
	return nil
}

// words returns the words of b that are long enough to be a secret worth guessing.
func words(b []byte) [][]byte {
	const shortest = 4
	return slices.DeleteFunc(bytes.Fields(b), func(w []byte) bool { return len(w) < shortest })
}

func redactedArg(arg []byte) string {
	if len(arg) == 0 {
		return ""
	}
	return Redacted
}

// keptMechanism shows AUTH's mechanism, if it looks like one (RFC 4422 section 3.1), and hides the rest.
func keptMechanism(c Command) string {
	if len(c.Arg) == 0 {
		return ""
	}
	mech, initial := c.Mechanism()
	if !validMechanism(mech) {
		return Redacted
	}
	if initial == nil {
		return mech
	}
	return mech + " " + Redacted
}

// validMechanism reports whether s is a SASL mechanism name: 1 to 20 of A-Z, 0-9, hyphen and underscore.
func validMechanism(s string) bool {
	for _, c := range []byte(s) {
		if (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return len(s) >= 1 && len(s) <= 20
}

// Text makes wire octets fit to be kept: at most MaxText octets of valid UTF-8, with U+FFFD in place of
// control characters and of whatever is not UTF-8. The result has its own memory.
func Text(b []byte) string {
	b = b[:min(len(b), MaxText)]
	plain := true
	for _, c := range b {
		plain = plain && ' ' <= c && c < 0x7f
	}
	if plain {
		return string(b)
	}
	s := strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return utf8.RuneError
		}
		return r
	}, string(b))
	for len(s) > MaxText {
		_, n := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-n]
	}
	return s
}

// Quotes reports whether text repeats one of the secrets, plain, in base64 or in hex: servers do quote what they did
// not like.
func Quotes(text []byte, secrets ...[]byte) bool {
	if len(secrets) == 0 {
		return false
	}
	whole := string(text)
	folded := strings.ToLower(whole)
	for _, s := range secrets {
		if s = bytes.TrimSpace(s); len(s) > 0 && quotes(whole, folded, s) {
			return true
		}
	}
	return false
}

func quotes(text, folded string, secret []byte) bool {
	if strings.Contains(folded, strings.ToLower(string(secret))) || strings.Contains(text, Text(secret)) {
		return true
	}
	if strings.Contains(folded, hex.EncodeToString(secret)) {
		return true
	}
	// The middle of a base64 text depends on how the secret is aligned in it; the characters that it shares
	// with its neighbours are left out.
	for shift, shared := range []int{0, 2, 3} {
		padded := append(make([]byte, shift), secret...)
		code := base64.RawStdEncoding.EncodeToString(padded)[shared:]
		if len(padded)%3 != 0 {
			code = code[:len(code)-1]
		}
		if len(code) >= 4 && strings.Contains(text, code) {
			return true
		}
	}
	return false
}
