package pop3

import (
	"bytes"
	"testing"
)

func TestParseReply(t *testing.T) {
	for line, want := range map[string]struct {
		status     Status
		code, text string
	}{
		"+OK":                             {StatusOK, "", ""},
		"+ok hi":                          {StatusOK, "", "hi"},
		"+OK  2 320":                      {StatusOK, "", "2 320"},
		"-ERR [IN-USE] busy":              {StatusErr, "IN-USE", "busy"},
		"-ERR [SYS/TEMP]":                 {StatusErr, "SYS/TEMP", ""},
		"-ERR [half":                      {StatusErr, "", "[half"},
		"+ ":                              {StatusContinue, "", ""},
		"+":                               {StatusContinue, "", ""},
		"+ PDE4OTYuNjk3MTcwOTUyQHg+":      {StatusContinue, "", ""},
		"+OKAY":                           {StatusUnknown, "", ""},
		"220 smtp.example ESMTP":          {StatusUnknown, "", ""},
		"":                                {StatusUnknown, "", ""},
		"-ER":                             {StatusUnknown, "", ""},
		"+OK<1896.697170952@dbc.mtview>":  {StatusOK, "", "<1896.697170952@dbc.mtview>"},
		"* OK [CAPABILITY IMAP4rev1] hey": {StatusUnknown, "", ""},
	} {
		r := ParseReply([]byte(line))
		if r.Status != want.status || string(r.Code) != want.code || string(r.Text) != want.text {
			t.Errorf("%q: %v [%s] %q", line, r.Status, r.Code, r.Text)
		}
	}
}

func FuzzReply(f *testing.F) {
	f.Add([]byte("+OK [X] y"))
	f.Add([]byte("-ERR"))
	f.Fuzz(func(t *testing.T, line []byte) {
		r := ParseReply(line)
		if !bytes.Contains(line, r.Text) || !bytes.Contains(line, r.Code) {
			t.Fatalf("%q: made up %q or %q", line, r.Code, r.Text)
		}
	})
}

func TestCapabilities(t *testing.T) {
	const backend = "TOP\r\nUSER\r\nSASL PLAIN  LOGIN SCRAM-SHA-256 SCRAM-SHA-256-PLUS GSSAPI\r\nstls\r\nPIPELINING\r\n" +
		"EXPIRE30\r\nXCLIENT ADDR\r\n..odd  line\r\nUTF8\r\nIMPLEMENTATION a b\n"
	for name, tt := range map[string]struct {
		offer Offer
		want  string
	}{
		"inside TLS": {Offer{TLS: true}, "TOP\r\nUSER\r\nSASL PLAIN LOGIN SCRAM-SHA-256\r\nPIPELINING\r\nEXPIRE30\r\n" +
			"..odd  line\r\nUTF8\r\nIMPLEMENTATION a b\n"},
		"before STLS": {Offer{STLS: true}, "TOP\r\nPIPELINING\r\nEXPIRE30\r\n..odd  line\r\nIMPLEMENTATION a b\nSTLS\r\n"},
		"after STLS": {Offer{TLS: true, STLS: true}, "TOP\r\nUSER\r\nSASL PLAIN LOGIN SCRAM-SHA-256\r\nPIPELINING\r\n" +
			"EXPIRE30\r\n..odd  line\r\nUTF8\r\nIMPLEMENTATION a b\n"},
	} {
		if got := string(tt.offer.RewriteCapabilities(nil, []byte(backend))); got != tt.want {
			t.Errorf("%s: got\n%s\nwant\n%s", name, got, tt.want)
		}
	}
	if got := string(Offer{TLS: true}.RewriteCapabilities(nil, []byte("SASL  PLAIN\r\nSASL GSSAPI\r\n"))); got != "SASL  PLAIN\r\n" {
		t.Errorf("SASL lines: %q", got)
	}
	if got := string((Offer{}).RewriteMechanisms(nil, []byte("PLAIN\r\nGSSAPI\r\nNTLM\r\n"))); got != "PLAIN\r\nNTLM\r\n" {
		t.Errorf("mechanisms: %q", got)
	}
}

func FuzzCapabilities(f *testing.F) {
	f.Add([]byte("TOP\r\nSASL PLAIN GSSAPI\r\nSTLS\r\n"), true, true)
	f.Fuzz(func(t *testing.T, body []byte, inTLS, stls bool) {
		o := Offer{TLS: inTLS, STLS: stls}
		out := o.RewriteCapabilities(nil, body)
		offered := false
		for line := range bytes.Lines(out) {
			word := bytes.ToUpper(bytes.Join(bytes.Fields(line), []byte{' '}))
			offered = offered || bytes.Equal(word, []byte("STLS"))
			if !inTLS && (bytes.HasPrefix(word, []byte("SASL ")) || bytes.Equal(word, []byte("USER"))) {
				t.Fatalf("credentials offered in clear: %q", line)
			}
		}
		if offered != (stls && !inTLS) && !bytes.Contains(body, []byte("\x00")) && len(body) > 0 && body[len(body)-1] == '\n' {
			t.Fatalf("STLS offered: %v, of %q", offered, body)
		}
	})
}

func TestAnnounced(t *testing.T) {
	for line, want := range map[string]int64{
		"+OK 120 octets":                   120,
		"+OK 120 octets follow.":           120,
		"+OK 120 Bytes":                    120,
		"+OK message 3 (5120 octets)":      5120,
		"+OK [X] 7 octets, 8 bytes":        7,
		"+OK":                              0,
		"+OK 120":                          0,
		"+OK message 3 follows":            0,
		"+OK 3 messages (120 total) octet": 0,
		"+OK -1 octets":                    0,
		"+OK 0 octets":                     0,
		"+OK octets":                       0,
		"+OK 99999999999999999999 octets":  0,
		"+OK 999999999999999999 octets":    999999999999999999,
	} {
		if got := ParseReply([]byte(line)).Announced(); got != want {
			t.Errorf("%q: %d, want %d", line, got, want)
		}
	}
}
