package pop3

import (
	"encoding/base64"
	"encoding/binary"
	"strings"
	"testing"
	"unicode/utf16"
)

func TestSASLUser(t *testing.T) {
	for _, tt := range []struct {
		mechanism string
		lines     []string // decoded
		want      string
	}{
		{"PLAIN", []string{"\x00alice\x00pw"}, "alice"},
		{"PLAIN", []string{"boss\x00alice\x00pw"}, "alice"},
		{"PLAIN", []string{"alice\x00pw"}, ""},
		{"PLAIN", []string{"\x00a\x00b\x00c"}, ""},
		{"LOGIN", []string{"alice", "pw"}, "alice"},
		{"LOGIN", []string{"\x00alice\x00pw", "pw"}, ""},
		{"CRAM-MD5", []string{"\x00alice\x00pw with a space"}, ""},
		{"EXTERNAL", []string{"\x00alice\x00pw"}, ""},
		{"CRAM-MD5", []string{"alice smith b913a602c7eda7a495b4e6e7334d3890"}, "alice smith"},
		{"DIGEST-MD5", []string{`charset=utf-8,username="ch\"ris",realm="x"`, ""}, `ch"ris`},
		{"SCRAM-SHA-256", []string{"n,,n=us=2Cer=3D,r=abc", "c=biws,r=abc,p=xyz"}, "us,er="},
		{"SCRAM-SHA-1", []string{"n,a=admin,n=user,r=abc"}, "user"},
		{"XOAUTH2", []string{"user=me@x\x01auth=Bearer tok\x01\x01"}, "me@x"},
		{"OAUTHBEARER", []string{"n,a=me@x,\x01host=h\x01auth=Bearer tok\x01\x01"}, "me@x"},
		{"OAUTHBEARER", []string{"n,,\x01auth=Bearer tok\x01\x01"}, ""},
		{"EXTERNAL", []string{"alice"}, "alice"},
		{"NTLM", []string{"NTLMSSP\x00\x01\x00\x00\x00", ntlm3("älice")}, "älice"},
		{"GSSAPI", []string{"\x60\x82alice"}, ""},
		{"UNHEARD-OF", []string{"alice"}, ""},
	} {
		s := SASL{Mechanism: tt.mechanism}
		for _, line := range tt.lines {
			s.Client([]byte(base64.StdEncoding.EncodeToString([]byte(line))))
		}
		if s.User != tt.want {
			t.Errorf("%s %q: user %q, want %q", tt.mechanism, tt.lines, s.User, tt.want)
		}
	}
}

func TestSASLUserNotBase64(t *testing.T) {
	s := SASL{Mechanism: "LOGIN"}
	s.Client([]byte("alice!"))
	if s.User != "" {
		t.Errorf("user %q of a line that is no base64", s.User)
	}
}

// ntlm3 builds an AUTHENTICATE message that names user in UTF-16.
func ntlm3(user string) string {
	units := utf16.Encode([]rune(user))
	msg := make([]byte, 64, 64+2*len(units))
	copy(msg, "NTLMSSP\x00\x03")
	binary.LittleEndian.PutUint16(msg[36:], uint16(2*len(units)))
	binary.LittleEndian.PutUint32(msg[40:], 64)
	binary.LittleEndian.PutUint32(msg[60:], 1)
	for _, u := range units {
		msg = binary.LittleEndian.AppendUint16(msg, u)
	}
	return string(msg)
}

func TestSASLSecrets(t *testing.T) {
	s := SASL{Mechanism: "XOAUTH2"}
	line := []byte(base64.StdEncoding.EncodeToString([]byte("user=me@x\x01auth=Bearer verysecrettoken\x01\x01")))
	s.Client(line)
	for _, text := range []string{"token verysecrettoken has expired", "bad line " + string(line)} {
		if !Quotes([]byte(text), s.Secrets(line)...) {
			t.Errorf("%q is kept", text)
		}
	}
	if text := "no such user me@x"; Quotes([]byte(text), s.Secrets(line)...) {
		t.Errorf("%q is not kept", text)
	}
}

func FuzzSASL(f *testing.F) {
	for _, m := range []string{"PLAIN", "LOGIN", "CRAM-MD5", "DIGEST-MD5", "SCRAM-SHA-256", "NTLM", "XOAUTH2", "OAUTHBEARER", "EXTERNAL"} {
		f.Add(m, "AGFsaWNlAHB3", "cHc=")
		f.Add(m, base64.StdEncoding.EncodeToString([]byte(ntlm3("a"))), "=")
	}
	f.Fuzz(func(t *testing.T, mechanism, first, second string) {
		s := SASL{Mechanism: mechanism}
		s.Client([]byte(first))
		user := s.User
		s.Client([]byte(second))
		if len(s.User) > MaxText || strings.ContainsAny(s.User, "\r\n\x00\x1b") {
			t.Fatalf("user %q", s.User)
		}
		if mechanism == "LOGIN" && s.User != user {
			t.Fatalf("LOGIN's password became the name %q", s.User)
		}
		s.Secrets([]byte(second))
	})
}
