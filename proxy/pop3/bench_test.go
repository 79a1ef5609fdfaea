package pop3

import (
	"bytes"
	"strings"
	"testing"
)

// BenchmarkBody is the scan for the terminator: of mail, and of what a sender may make up to slow it down.
func BenchmarkBody(b *testing.B) {
	const prose = "The quick brown fox. It jumps over the lazy dog. And again. So it goes...\r\n"
	base64 := strings.Repeat("QUJD", 19) + "\r\n"
	for name, line := range map[string]string{
		"base64": base64, "prose": prose, "attached": strings.Repeat(prose, 50) + strings.Repeat(base64, 1600),
		"blank": "\n", "blank-crlf": "\r\n", "cr": "\r",
		"dots": ".", "dot-lines": "........\n", "dot-cr": ".\r", "stuffed": "..\n", "stuffed-crlf": "..\r\n", "almost": "\n.\r.", "almost-lf": "\n. ",
	} {
		chunk := []byte(strings.Repeat(line, 128*1024/len(line)))
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(chunk)))
			b.ReportAllocs()
			for b.Loop() {
				s := Body{inside: true}
				s.Scan(chunk)
			}
		})
	}
}

// BenchmarkCommand is the grammar's part in one command: parsed, told to the record, brought to its canonical form.
func BenchmarkCommand(b *testing.B) {
	for _, line := range []string{"NOOP", "STAT", "retr 12", "TOP 12 0", "UIDL", "USER ada", "PASS open sesame", "XYZZY 1"} {
		name, _, _ := strings.Cut(line, " ")
		text, scratch := []byte(line), make([]byte, 0, 512)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				c, err := ParseCommand(text)
				if err != nil {
					b.Fatal(err)
				}
				c.Record(true)
				c.Message()
				scratch = c.AppendTo(scratch[:0])
			}
		})
	}
}

// BenchmarkReply is the grammar's part in one status line: parsed, told to the record, and when a secret may be quoted
// in it (login) searched for that.
func BenchmarkReply(b *testing.B) {
	for name, line := range map[string]string{
		"bare": "+OK", "stat": "+OK 3 6144", "octets": "+OK 2048 octets", "uidl": "+OK 12 0000000a5e5e5e5e",
		"err": "-ERR [IN-USE] try again later", "login": "+OK logged in",
	} {
		var secrets [][]byte
		if name == "login" {
			secrets = [][]byte{[]byte("open sesame")}
		}
		text := []byte(line)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r := ParseReply(text)
				if r.Announced(); Quotes(r.Line, secrets...) {
					b.Fatal("a secret")
				}
				Text(r.Code)
				Text(r.Text)
			}
		})
	}
}

// BenchmarkCapabilities is one CAPA reply, rewritten.
func BenchmarkCapabilities(b *testing.B) {
	body := bytes.ReplaceAll([]byte("TOP\nUSER\nUIDL\nRESP-CODES\nPIPELINING\nSASL PLAIN LOGIN CRAM-MD5\nIMPLEMENTATION x\n"), []byte{'\n'}, []byte("\r\n"))
	dst := make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		dst = Offer{}.RewriteCapabilities(dst[:0], body)
	}
}
