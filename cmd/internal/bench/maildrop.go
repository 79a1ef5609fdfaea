package main

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
)

// maildrop is what the backend has for one kind of user, and so what a client must get: whole replies, as they cross
// the wire, shared by both.
type maildrop struct {
	stat, list, uidl []byte
	messages         []message
}

// message holds the replies that speak of one message.
type message struct {
	list, uidl []byte
	retr       []byte // status line, body, terminator
	octets     int64  // of the body
}

// The kinds of maildrops. A user's name begins with its kind.
const (
	small  = "small"  // three messages of 2 KiB: what short sessions read
	medium = "medium" // 32 messages of 40 KiB
	bulk   = "bulk"   // one message of 64 MiB
)

const bulkOctets = 64 << 20

// newMaildrops makes one maildrop of each kind, whose bulk message has the given size.
func newMaildrops(bulkSize int) map[string]*maildrop {
	return map[string]*maildrop{
		small:  newMaildrop(small, 3, 2<<10),
		medium: newMaildrop(medium, 32, 40<<10),
		bulk:   newMaildrop(bulk, 1, bulkSize),
	}
}

func newMaildrop(kind string, count, size int) *maildrop {
	d := &maildrop{list: []byte("+OK\r\n"), uidl: []byte("+OK\r\n")}
	random := rand.NewChaCha8([32]byte(fmt.Appendf(nil, "%-32s", kind))) // the same octets in every run
	var total int64
	for n := 1; n <= count; n++ {
		m := newMessage(random, fmt.Sprintf("%s.%d", kind, n), n, size)
		d.list = fmt.Appendf(d.list, "%d %d\r\n", n, m.octets)
		d.uidl = fmt.Appendf(d.uidl, "%d %s.%d\r\n", n, kind, n)
		d.messages = append(d.messages, m)
		total += m.octets
	}
	d.stat = fmt.Appendf(nil, "+OK %d %d\r\n", count, total)
	d.list = append(d.list, ".\r\n"...)
	d.uidl = append(d.uidl, ".\r\n"...)
	return d
}

func newMessage(random *rand.ChaCha8, uid string, n, size int) message {
	body := newBody(random, uid, size)
	octets := len(body)
	retr := fmt.Appendf(make([]byte, 0, octets+64), "+OK %d octets\r\n", octets)
	retr = append(append(retr, body...), ".\r\n"...)
	return message{
		list:   fmt.Appendf(nil, "+OK %d %d\r\n", n, octets),
		uidl:   fmt.Appendf(nil, "+OK %d %s\r\n", n, uid),
		retr:   retr,
		octets: int64(octets),
	}
}

// newBody makes a message of about size octets, dot-stuffed: a header, some prose, and an attachment in base64, of
// which no two lines are alike, so that octets that are lost, doubled or swapped show.
func newBody(random *rand.ChaCha8, uid string, size int) []byte {
	b := bytes.NewBuffer(make([]byte, 0, size+128))
	fmt.Fprintf(b, "Received: from a.example.test by b.example.test; Tue, 24 Nov 2026 01:02:03 +0000\r\n"+
		"From: Ada <ada@example.test>\r\nTo: Ben <ben@example.test>\r\nSubject: the engine\r\n"+
		"Date: Tue, 24 Nov 2026 01:02:03 +0000\r\nMessage-ID: <%s@example.test>\r\n\r\n", uid)
	for b.Len() < min(size/4, 4<<10) {
		b.WriteString("It weaves. The loom does so with flowers, the engine with numbers. And again.\r\n..\r\n..hidden\r\n\r\n")
	}
	var raw [57]byte
	var line [78]byte
	copy(line[76:], "\r\n")
	for b.Len()+len(line) <= size {
		random.Read(raw[:])
		base64.StdEncoding.Encode(line[:76], raw[:])
		b.Write(line[:])
	}
	return b.Bytes()
}
