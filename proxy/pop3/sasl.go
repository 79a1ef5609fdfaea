package pop3

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"strings"
	"unicode/utf16"
)

// SASL follows one AUTH dialogue to learn who logs in. It keeps no line: only the name.
type SASL struct {
	Mechanism string // upper case
	User      string // "" while unknown, or when the mechanism does not show it
	turns     int    // client lines seen
}

// Client takes a line of the client's (or AUTH's initial response), base64 as sent. A line that cannot be
// parsed leaves the name unknown: raw octets are never a name, nor is what holds control octets, for it may be
// another mechanism's response with the password in it.
func (s *SASL) Client(line []byte) {
	s.turns++
	data, ok := decode64(line)
	if !ok {
		return
	}
	control := func(r rune) bool { return r < ' ' || r == 0x7f }
	if name := s.name(data); len(name) > 0 && !bytes.ContainsFunc(name, control) {
		s.User = Text(name)
	}
}

func (s *SASL) name(data []byte) []byte {
	switch m := s.Mechanism; {
	case m == "PLAIN":
		return plainUser(data)
	case m == "LOGIN" && s.turns == 1, m == "EXTERNAL":
		return data
	case m == "CRAM-MD5":
		return beforeLastSpace(data)
	case m == "DIGEST-MD5":
		return digestUser(data)
	case strings.HasPrefix(m, "SCRAM-") && s.turns == 1:
		return scramUser(data)
	case m == "NTLM":
		return ntlmUser(data)
	case m == "XOAUTH2":
		return field(data, "user=", '\x01')
	case m == "OAUTHBEARER":
		return gs2User(data)
	}
	return nil
}

// Secrets returns what of a client line must not be quoted: the line itself, what it encodes, and its parts
// but the user name. Words too short to be a secret worth guessing count only as whole fields.
func (s *SASL) Secrets(line []byte) [][]byte {
	const shortest = 6
	secrets := [][]byte{line}
	data, ok := decode64(line)
	if !ok {
		return secrets
	}
	for part := range bytes.SplitSeq(data, []byte{0}) {
		if Text(part) != s.User {
			secrets = append(secrets, part)
		}
	}
	words := bytes.FieldsFunc(data, func(r rune) bool { return r <= ' ' || r == ',' })
	for _, w := range words {
		if len(w) >= shortest && Text(w) != s.User {
			secrets = append(secrets, w)
		}
	}
	return secrets
}

func decode64(line []byte) ([]byte, bool) {
	if bytes.Equal(line, []byte{'='}) {
		return nil, true // an empty initial response (RFC 5034 section 4)
	}
	data := make([]byte, base64.StdEncoding.DecodedLen(len(line)))
	n, err := base64.StdEncoding.Decode(data, line)
	return data[:n], err == nil
}

// plainUser is the authentication identity of [authzid] NUL authcid NUL passwd (RFC 4616 section 2).
func plainUser(data []byte) []byte {
	parts := bytes.SplitN(data, []byte{0}, 4)
	if len(parts) != 3 {
		return nil
	}
	return parts[1]
}

// beforeLastSpace is the user name of a CRAM-MD5 response (RFC 2195 section 2).
func beforeLastSpace(data []byte) []byte {
	return data[:max(bytes.LastIndexByte(data, ' '), 0)]
}

// digestUser is the value of username="..." (RFC 2831 section 2.1.2).
func digestUser(data []byte) []byte {
	_, rest, found := bytes.Cut(data, []byte(`username="`))
	if !found {
		return nil
	}
	var name []byte
	for i := 0; i < len(rest); i++ {
		switch rest[i] {
		case '"':
			return name
		case '\\':
			i++
		}
		if i < len(rest) {
			name = append(name, rest[i])
		}
	}
	return nil
}

// SecurityLayer reports whether a DIGEST-MD5 response asks for integrity or confidentiality (RFC 2831 section 2.1.2):
// what follows would then be wrapped, and a proxy could not read it.
func SecurityLayer(line []byte) bool {
	data, ok := decode64(line)
	if !ok {
		return false
	}
	data = bytes.ReplaceAll(bytes.ToLower(data), []byte(`"`), nil)
	return bytes.Contains(data, []byte("qop=auth-int")) || bytes.Contains(data, []byte("qop=auth-conf"))
}

// scramUser is n= of the client-first message (RFC 5802 section 5.1).
func scramUser(data []byte) []byte {
	_, rest, found := cutTwo(data, ',')
	if !found || !bytes.HasPrefix(rest, []byte("n=")) {
		return nil
	}
	name, _, _ := bytes.Cut(rest[2:], []byte{','})
	return unescapeName(name)
}

// gs2User is a= of the GS2 header (RFC 5801 section 4, RFC 7628 section 3.1); it may be absent.
func gs2User(data []byte) []byte {
	header, _, found := cutTwo(data, ',')
	if !found {
		return nil
	}
	_, authz, _ := bytes.Cut(header, []byte{','})
	if !bytes.HasPrefix(authz, []byte("a=")) {
		return nil
	}
	return unescapeName(authz[2:])
}

// cutTwo cuts data behind its second sep.
func cutTwo(data []byte, sep byte) (before, after []byte, found bool) {
	i := bytes.IndexByte(data, sep)
	j := bytes.IndexByte(data[i+1:], sep)
	if i < 0 || j < 0 {
		return nil, nil, false
	}
	return data[:i+1+j], data[i+j+2:], true
}

func unescapeName(name []byte) []byte {
	name = bytes.ReplaceAll(name, []byte("=2C"), []byte{','})
	return bytes.ReplaceAll(name, []byte("=3D"), []byte{'='})
}

// field is the value behind key up to end; key stands at the start or behind another end.
func field(data []byte, key string, end byte) []byte {
	for part := range bytes.SplitSeq(data, []byte{end}) {
		if v, found := bytes.CutPrefix(part, []byte(key)); found {
			return v
		}
	}
	return nil
}

// ntlmUser is the user name of an NTLM AUTHENTICATE message (MS-NLMP section 2.2.1.3).
func ntlmUser(data []byte) []byte {
	const userFields, flags, unicodeFlag = 36, 60, 1
	if len(data) < flags+4 || !bytes.HasPrefix(data, []byte("NTLMSSP\x00\x03\x00\x00\x00")) {
		return nil
	}
	size := int(binary.LittleEndian.Uint16(data[userFields:]))
	at := int(binary.LittleEndian.Uint32(data[userFields+4:]))
	if at < 0 || at > len(data) || size > len(data)-at {
		return nil
	}
	name := data[at : at+size]
	if binary.LittleEndian.Uint32(data[flags:])&unicodeFlag == 0 {
		return name
	}
	units := make([]uint16, size/2)
	for i := range units {
		units[i] = binary.LittleEndian.Uint16(name[2*i:])
	}
	return []byte(string(utf16.Decode(units)))
}
