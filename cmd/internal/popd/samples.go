package popd

import (
	"bytes"
	"embed"
	"encoding/base64"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"strings"
)

//go:embed mail/*.eml
var mail embed.FS

// attachmentOctets is the size of the large sample's attachment before base64.
const attachmentOctets = 150_000

// Samples returns a dozen varied messages: dot-stuffed lines, 8-bit text, an empty body, folded headers,
// one line of 20,000 octets and an attachment of about 200 kB as it travels.
func Samples() [][]byte {
	names, err := fs.Glob(mail, "mail/*.eml")
	if err != nil {
		panic(err) // the pattern above is malformed
	}
	var samples [][]byte
	for _, name := range names {
		text, err := mail.ReadFile(name)
		if err != nil {
			panic(err) // embedded above
		}
		samples = append(samples, text)
	}
	return append(samples, longLine(), attachment())
}

// longLine is a message of one line far over the 998 octets of RFC 5322, as some programs send them.
func longLine() []byte {
	return []byte("From: Exporter <exporter@castle.example>\nTo: you@castle.example\n" +
		"Subject: Export, on one line\nDate: Tue, 11 Nov 2025 12:00:00 +0000\n" +
		"Message-ID: <long.11@castle.example>\n\n" + strings.Repeat("id,name,value;", 20_000/14) + "\n")
}

// attachment is a message with a file in base64, the same octets every time.
func attachment() []byte {
	var b bytes.Buffer
	b.WriteString("From: Ada <ada@castle.example>\nTo: you@castle.example\nSubject: The map you asked for\n" +
		"Date: Wed, 12 Nov 2025 15:30:00 +0000\nMessage-ID: <map.12@castle.example>\nMIME-Version: 1.0\n" +
		"Content-Type: multipart/mixed; boundary=\"=_map\"\n\n--=_map\nContent-Type: text/plain\n\nAttached.\n\n" +
		"--=_map\nContent-Type: application/octet-stream; name=\"map.bin\"\n" +
		"Content-Disposition: attachment; filename=\"map.bin\"\nContent-Transfer-Encoding: base64\n\n")
	file := make([]byte, attachmentOctets)
	random := rand.NewChaCha8([32]byte{})
	random.Read(file) // never fails
	text := base64.StdEncoding.EncodeToString(file)
	for len(text) > 0 {
		n := min(76, len(text))
		fmt.Fprintln(&b, text[:n])
		text = text[n:]
	}
	b.WriteString("\n--=_map--\n")
	return b.Bytes()
}
