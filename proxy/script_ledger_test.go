package proxy

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"strings"
)

// The ledger's part of the script: unique-ids, sizes and what a message says of itself.

// number is how a record names message n.
func (s *script) number(n int) string {
	if uid := s.uids[n]; uid != "" {
		return fmt.Sprintf(" msg=%d uid=%s", n, uid)
	}
	return fmt.Sprintf(" msg=%d", n)
}

// known is how the record of a command that opens or deletes message n names it.
func (s *script) known(n int) string {
	if size := s.sizes[n]; size > 0 {
		return fmt.Sprintf("%s announced=%d", s.number(n), size)
	}
	return s.number(n)
}

// listing makes what UIDL or LIST tells of some messages.
func (s *script) listing(of func(n int) string) (list string) {
	for n := 1; n <= 5; n++ {
		if s.dice.IntN(4) > 0 {
			list += fmt.Sprintf("%d %s\r\n", n, of(n))
		}
	}
	return list
}

func (s *script) newUID(n int) string { return fmt.Sprintf("id%d-%d", n, s.dice.IntN(1000)) }

func (s *script) newSize(int) string { return fmt.Sprint(1 + s.dice.IntN(5000)) }

// learnUIDs takes the whole lines of a UIDL listing; those it leaves out stay as they were.
func (s *script) learnUIDs(list string) {
	for line := range strings.Lines(list) {
		var n int
		var uid string
		if strings.HasSuffix(line, "\n") {
			fmt.Sscan(line, &n, &uid)
			s.uids[n] = uid
		}
	}
}

func (s *script) learnSizes(list string) {
	for line := range strings.Lines(list) {
		var n, size int
		fmt.Sscan(line, &n, &size)
		s.sizes[n] = size
	}
}

func (s *script) uidl() {
	list := s.listing(s.newUID)
	s.learnUIDs(list)
	s.listed = true
	s.body("UIDL", "command UIDL", "", "", list)
}

func (s *script) list() {
	list := s.listing(s.newSize)
	s.learnSizes(list)
	s.body("LIST", "command LIST", "", "", list)
}

// listOne adds UIDL or LIST of one message.
func (s *script) listOne(verb string, n int, of func(int) string, learn func(string)) {
	head, text := fmt.Sprintf(`command %s "%d"`, verb, n), fmt.Sprint(n, " ", of(n))
	if !s.ok() {
		s.one(fmt.Sprint(verb, " ", n), head, s.number(n), "", false, s.text())
		return
	}
	learn(text + "\n")
	s.one(fmt.Sprint(verb, " ", n), head, s.number(n), "", true, " "+text)
}

// opens adds RETR or TOP of message n.
func (s *script) opens(verb string, n int) {
	s.asks(n)
	line := fmt.Sprint(verb, " ", n)
	if verb == "TOP" {
		line += " 0"
	}
	head, _, _ := strings.Cut(line, " ")
	s.body(line, fmt.Sprintf("command %s %q", head, line[len(head)+1:]), s.known(n), "opened", s.mail())
	if verb == "RETR" && s.dice.IntN(2) == 0 {
		s.announces(n)
	}
	s.tellsOfMail(s.last(), true)
}

// announces makes the last +OK tell the size of message n.
func (s *script) announces(n int) {
	x := s.last()
	s.sizes[n] = 1 + s.dice.IntN(5000)
	text := fmt.Sprintf("%d octets", s.sizes[n])
	for _, reply := range []*string{&x.reply, &x.receive} {
		*reply = strings.Replace(*reply, "+OK", "+OK "+text, 1)
	}
	x.row.outcome += fmt.Sprintf(" text=%q", text)
	x.row.number, x.row.unanswered = s.known(n), x.row.number
}

// asks adds the listing that the proxy asks for before message n is opened or deleted.
func (s *script) asks(n int) {
	if !s.rules.AskUIDs || s.listed || s.uids[n] != "" {
		return
	}
	s.listed, s.unlisted = true, maps.Clone(s.uids)
	x := exchange{forward: "UIDL\r\n", reply: "-ERR no" + s.lineEnd(),
		row: row{head: "asked UIDL", outcome: ` -ERR text="no"`, login: " by=proxy unique_ids"}}
	if s.ok() {
		list := s.listing(s.newUID)
		s.learnUIDs(list)
		x.reply, x.row.outcome, x.row.size = "+OK\r\n"+list+"."+s.lineEnd(), " +OK", size(list)
	}
	s.add(x)
}

const encodedSubject, plainSubject = "=?utf-8?q?Gr=C3=BC=C3=9Fe?=", "Grüße"

// mail makes a message as it stands on the wire, with a header or without.
func (s *script) mail() string {
	if s.dice.IntN(3) == 0 {
		return s.lines()
	}
	var b strings.Builder
	for _, line := range []string{"Message-ID: <1@x>", "..odd: line", "from:  a@x ", "Date: now", "X: y", "Subject: " + encodedSubject,
		"Subject: one\r\n\ttwo", "MESSAGE-ID:", " continued"} {
		if s.dice.IntN(3) > 0 {
			b.WriteString(line + s.lineEnd())
		}
	}
	return b.String() + s.lineEnd() + s.lines()
}

// tellsOfMail puts into the record of x what the rules ask for of the message in its reply.
func (s *script) tellsOfMail(x *exchange, whole bool) {
	retr := strings.HasPrefix(x.send, "RETR")
	if !retr && !strings.HasPrefix(x.send, "TOP") {
		return
	}
	_, body, _ := strings.Cut(x.receive, "\n")
	if whole {
		body = strings.TrimSuffix(body, ".\r\n")
	}
	x.row.mail = ""
	if s.rules.MailDigest && retr && whole {
		x.row.mail = fmt.Sprintf(" sha256=%x", sha256.Sum256([]byte(unstuffed(body))))
	}
	if s.rules.MailHeaders {
		x.row.mail += headerWords(unstuffed(body[:min(len(body), 64*1024)]))
	}
}

func unstuffed(body string) string {
	return strings.ReplaceAll(strings.TrimPrefix(body, "."), "\n.", "\n")
}

// headerWords is what summary tells of a message's header.
func headerWords(text string) (words string) {
	found := map[string]string{}
	last := ""
	for line := range strings.SplitSeq(text, "\n") {
		line = strings.TrimSuffix(line, "\r")
		if line == "" {
			break
		}
		if rest := strings.TrimLeft(line, " \t"); rest != line && last != "" {
			found[last] = strings.TrimSpace(found[last] + " " + strings.TrimRight(rest, " "))
			continue
		}
		name, value, colon := strings.Cut(line, ":")
		last = strings.ToLower(name)
		if _, twice := found[last]; twice || !colon {
			last = ""
			continue
		}
		found[last] = strings.ReplaceAll(strings.TrimSpace(value), encodedSubject, plainSubject)
	}
	for _, name := range []string{"message-id", "from", "date", "subject"} {
		if value := found[name]; value != "" {
			words += fmt.Sprintf(" %s=%q", strings.TrimPrefix(name, "message-"), value)
		}
	}
	return words
}
