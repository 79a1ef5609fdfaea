package peers

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"strings"
)

// The large ones of Corpus.
const (
	longLine   = 1_000_000 // octets in one line; getmail refuses 2^20
	attachment = 20_000_000
)

// Corpus is a maildrop of 30 messages that have broken POP3 software: dots, 8-bit, NUL, long lines, missing
// parts, foreign line ends, and an attachment of 20 MB. It is the same at every call.
func Corpus() [][]byte {
	bodies := append(dotBodies(), octetBodies()...)
	bodies = append(bodies, shapeBodies()...)
	var mail [][]byte
	for i, body := range bodies {
		mail = append(mail, append(header(i+1), body...))
	}
	mail = append(mail, wholes()...)
	return append(mail, attachmentMail())
}

// Small is a maildrop of n little messages.
func Small(n int) [][]byte {
	var mail [][]byte
	for i := range n {
		mail = append(mail, fmt.Appendf(header(i+1), "message %d\n.\n..dots\n%s\n", i+1, strings.Repeat("text ", 20*i)))
	}
	return mail
}

func header(n int) []byte {
	return fmt.Appendf(nil, "From: Peer <peer@example.test>\nTo: you@example.test\nSubject: message %d\n"+
		"Message-ID: <m%d@example.test>\nDate: Mon, 23 Nov 2026 10:%02d:00 +0000\n\n", n, n, n)
}

// dotBodies look like the end of a reply.
func dotBodies() []string {
	return []string{
		"plain text\n",
		".\n",
		"..\n",
		"before\n.\nafter\n",
		"a dot and a bare CR\n.\r\r\n.\r.\n",
		strings.Repeat(".\n", 1000),
		strings.Repeat(".", 5000) + "\n",
		".leading\n..leading\n...leading\n. leading\n",
		"-ERR not an error\n+OK not a reply\n.\n+OK 3 messages\n",
		"ends in a dot\n.",
	}
}

// octetBodies hold octets that text does not.
func octetBodies() []string {
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	random := make([]byte, 64<<10)
	rand.NewChaCha8([32]byte{1}).Read(random)
	return []string{
		"caf\xe9, na\xefve, \xfc\xdf\n",
		"Grüße, 你好, שלום, \U0001F4EE\n",
		"a NUL \x00 inside, and \x00\x00\x00\n\x00\n",
		"\xff\xfe\xff\xff\n\xff\xff\xff\n",
		string(every) + "\n",
		string(random) + "\n",
		"\x1b[31mred\x1b[0m <script>alert(1)</script>\n",
	}
}

// shapeBodies have odd lines and ends.
func shapeBodies() []string {
	return []string{
		"",
		"\n",
		"\n\n\n\n",
		"no newline at the end",
		"ends in CR\r",
		"bare\rCR\rin\rlines\n\r\n\r\r\n",
		"CRLF line\r\nbare LF line\nCRLF line\r\n",
		strings.Repeat("x", longLine) + "\n",
		strings.Repeat("y", longLine/2) + "\n." + strings.Repeat(".", longLine/2),
	}
}

// wholes are messages without the usual header.
func wholes() [][]byte {
	return [][]byte{
		[]byte("From: header@example.test\nSubject: a header only\nMessage-ID: <header@example.test>\n"),
		[]byte("Subject: CRLF all through\r\nMessage-ID: <crlf@example.test>\r\n\r\nbody\r\n.\r\n..\r\nend\r\n"),
		append(bytes.Repeat([]byte("X-Long: "+strings.Repeat("h", 900)+"\n"), 200), "\nafter many headers\n"...),
	}
}

// attachmentMail carries a file of 20 MB when encoded.
func attachmentMail() []byte {
	raw := make([]byte, attachment/4*3)
	rand.NewChaCha8([32]byte{2}).Read(raw)
	text := base64.StdEncoding.EncodeToString(raw)
	b := bytes.NewBuffer(make([]byte, 0, attachment+attachment/50))
	b.WriteString("Subject: attachment\nMessage-ID: <attachment@example.test>\nMIME-Version: 1.0\n" +
		"Content-Type: application/octet-stream\nContent-Transfer-Encoding: base64\n\n")
	for len(text) > 0 {
		n := min(76, len(text))
		b.WriteString(text[:n])
		b.WriteByte('\n')
		text = text[n:]
	}
	return b.Bytes()
}
