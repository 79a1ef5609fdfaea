package pop3

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

func TestParseCommand(t *testing.T) {
	for _, tt := range []struct {
		line, verb, canonical string
		multiline             bool
		message               int64
	}{
		{"USER alice", "USER", "USER alice", false, 0},
		{"user alice smith ", "USER", "user alice smith ", false, 0},
		{"PASS  two  spaces ", "PASS", "PASS  two  spaces ", false, 0},
		{"PASS", "PASS", "PASS ", false, 0},
		{"STAT ", "STAT", "STAT", false, 0},
		{"LIST", "LIST", "LIST", true, 0},
		{"LIST  ", "LIST", "LIST", true, 0},
		{"list  7", "LIST", "list 7", false, 7},
		{"UIDL", "UIDL", "UIDL", true, 0},
		{"UIDL 9 ", "UIDL", "UIDL 9", false, 9},
		{"RETR 12", "RETR", "RETR 12", true, 12},
		{"RETR", "RETR", "RETR", true, 0},
		{"RETR -1", "RETR", "RETR -1", true, 0},
		{"RETR 99999999999999999999", "RETR", "RETR 99999999999999999999", true, 0},
		{"TOP 3 0", "TOP", "TOP 3 0", true, 3},
		{"MSG 3", "MSG", "MSG 3", true, 3},
		{"*ENV 3", "*ENV", "*ENV 3", true, 3},
		{"AUTH", "AUTH", "AUTH", true, 0},
		{"AUTH ", "AUTH", "AUTH", true, 0},
		{"AUTH PLAIN", "AUTH", "AUTH PLAIN", false, 0},
		{"CAPA", "CAPA", "CAPA", true, 0},
		{"LANG", "LANG", "LANG", true, 0},
		{"LANG de", "LANG", "LANG de", false, 0},
		{"XTND ARCHIVE", "XTND", "XTND ARCHIVE", true, 0},
		{"QUIT x", "QUIT", "QUIT x", false, 0},
		{"HELP me", "", "HELP me", false, 0},
		{"XYZZYXYZZY", "", "XYZZYXYZZY", false, 0},
	} {
		c, err := ParseCommand([]byte(tt.line))
		if err != nil {
			t.Errorf("%q: %v", tt.line, err)
			continue
		}
		if c.Verb != tt.verb || c.Multiline() != tt.multiline || c.Message() != tt.message {
			t.Errorf("%q: verb %q, multiline %v, message %d", tt.line, c.Verb, c.Multiline(), c.Message())
		}
		if got := string(c.AppendTo(nil)); got != tt.canonical+"\r\n" {
			t.Errorf("%q goes out as %q", tt.line, got)
		}
	}
}

func TestParseCommandRefuses(t *testing.T) {
	for line, want := range map[string]error{
		"LIST\x00x": ErrControl, "C\rAPA": ErrControl, "USER a\tb": ErrControl, "STAT\x7f": ErrControl,
		"": ErrEmpty, " STAT": ErrEmpty,
	} {
		if _, err := ParseCommand([]byte(line)); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", line, err, want)
		}
	}
}

func TestRecord(t *testing.T) {
	for _, tt := range []struct {
		line     string
		loggedIn bool
		want     string
	}{
		{"USER alice", false, "USER alice"},
		{"pass hunter2", false, "PASS <redacted>"},
		{"PASS", false, "PASS "},
		{"PASS hunter2", true, "PASS <redacted>"},
		{"RPOP hunter2", false, "RPOP <redacted>"},
		{"APOP a b c4c9334bac560ecc979e58001b3e22fb", false, "APOP a b <redacted>"},
		{"APOP hunter2", false, "APOP <redacted>"},
		{"AUTH PLAIN aHVudGVyMg==", false, "AUTH PLAIN <redacted>"},
		{"auth plain", false, "AUTH PLAIN"},
		{"AUTH aHVudGVyMg==", false, "AUTH <redacted>"},
		{"AUTH", false, "AUTH "},
		{"hunter2", false, "<redacted> "},
		{"aHVudGVyMg== x", false, "<redacted> "},
		{"STAT hunter2", false, "STAT <redacted>"},
		{"STAT", false, "STAT "},
		{"RETR 1", true, "RETR 1"},
		{"xyz abc", true, "XYZ <redacted>"},
		{"TOP 1 0", true, "TOP 1 0"},
	} {
		c, err := ParseCommand([]byte(tt.line))
		if err != nil {
			t.Fatal(err)
		}
		verb, arg := c.Record(tt.loggedIn)
		if got := verb + " " + arg; got != tt.want {
			t.Errorf("%q (logged in: %v) is kept as %q, want %q", tt.line, tt.loggedIn, got, tt.want)
		}
	}
}

func TestQuotes(t *testing.T) {
	const secret = "wonder land"
	for text, hidden := range map[string]bool{
		"no such mailbox":                   false,
		"bad password wonder land":          true,
		"bad password WONDER LAND":          true,
		"d29uZGVyIGxhbmQ=":                  true,
		"got AHdvbmRlciBsYW5k":              true, // one octet before it
		"got AABAd29uZGVyIGxhbmQ":           true,
		"got AAB3b25kZXIgbGFuZA==":          true, // two octets before it
		"776f6e646572206c616e64":            true,
		"776F6E646572206C616E64 in capital": true,
	} {
		if got := Quotes([]byte(text), []byte(secret)); got != hidden {
			t.Errorf("%q quotes it: %v", text, got)
		}
	}
}

func TestText(t *testing.T) {
	for in, want := range map[string]string{
		"plain": "plain", "grüße": "grüße", "a\x1b[31mb": "a\ufffd[31mb", "\xff\xfe": "\ufffd\ufffd", "a\x00b": "a\ufffdb",
	} {
		if got := Text([]byte(in)); got != want {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
	}
	if got := Text(bytes.Repeat([]byte{0xff}, 5000)); len(got) > MaxText {
		t.Errorf("%d octets kept", len(got))
	}
}

func FuzzCommand(f *testing.F) {
	for _, s := range []string{"USER alice", "PASS  x ", "AUTH PLAIN AGFiYwBkZWY=", "APOP a b c", "XTND XMIT", "*ENV 1 2"} {
		f.Add([]byte(s), false)
	}
	f.Fuzz(func(t *testing.T, line []byte, loggedIn bool) {
		line = line[:min(len(line), MaxSASL)]
		c, err := ParseCommand(line)
		if err != nil {
			return
		}
		out := c.AppendTo(nil)
		if bytes.ContainsAny(out[:len(out)-2], "\r\n\x00") {
			t.Fatalf("%q smuggles a line: %q", line, out)
		}
		again, err := ParseCommand(out[:len(out)-2])
		if err != nil || again.Verb != c.Verb || !bytes.Equal(again.AppendTo(nil), out) || again.Multiline() != c.Multiline() {
			t.Fatalf("%q goes out as %q, which is read otherwise", line, out)
		}
		verb, arg := c.Record(loggedIn)
		if len(verb) > MaxText || len(arg) > MaxText+len(Redacted)+1 {
			t.Fatalf("too much is kept of %q", line)
		}
		if c.Verb == "PASS" && strings.Trim(arg, " ") != "" && arg != Redacted {
			t.Fatalf("a password is kept: %q", arg)
		}
		Quotes(line, c.Secrets(loggedIn)...)
	})
}
