package proxy

import (
	"encoding/base64"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
)

const password = "wonder land"

var passwordIn64 = base64.StdEncoding.EncodeToString([]byte("\x00alice\x00" + password))

// script is a whole session.
type script struct {
	mode        Mode
	greeting    string
	exchanges   []exchange
	brokenIn    int        // the exchange behind whose reply, whole or not, the backend goes away, or -1
	byReset     bool       // that is how it goes
	resetBehind int        // the exchange behind which the client resets, or -1
	keeps       int        // how many records the log keeps before it fails, or -1
	unheard     []exchange // what the client sends behind brokenIn: nobody answers it
	abandoned   int        // how many of them the backend has got, in one write with others
	settled     []string
	end         string

	rules Rules

	dice      *rand.Rand
	in        bool // logged in
	failed    bool // a login was refused
	announced bool // the backend has PIPELINING
	listed    bool // all unique-ids were asked for
	uids      map[int]string
	unlisted  map[int]string // uids before the proxy asked for them
	sizes     map[int]int
	deleted   map[int]bool
}

func newScript(dice *rand.Rand) script {
	s := script{
		mode: ModeTLS, greeting: "+OK <1.2@b> ready\r\n", brokenIn: -1, resetBehind: -1, keeps: -1,
		dice: dice, uids: map[int]string{}, sizes: map[int]int{}, deleted: map[int]bool{},
	}
	s.rules = Rules{AskUIDs: dice.IntN(2) == 0, MailDigest: dice.IntN(2) == 0, MailHeaders: dice.IntN(2) == 0}
	s.rules.Pipelining = []Pipelining{"", PipeliningOff, PipeliningOn}[dice.IntN(3)]
	if dice.IntN(4) == 0 {
		s.mode = ModeSTLS
	}
	s.early()
	s.some(2, s.early)
	if dice.IntN(8) > 0 {
		s.login()
		s.some(14, s.transaction)
	}
	s.finish()
	s.logFails()
	return s
}

func (s *script) some(most int, what func()) {
	for range s.dice.IntN(most + 1) {
		what()
	}
}

func (s *script) add(x exchange) {
	x.lockstep = s.dice.IntN(2) == 0
	x.together = !x.lockstep && s.dice.IntN(3) > 0
	x.joins = x.send != "" && s.joins(x.forward)
	s.exchanges = append(s.exchanges, x)
}

// joins reports whether the proxy may forward line, which is the client's, in one write with others.
func (s *script) joins(line string) bool {
	pipelines := s.rules.Pipelining == PipeliningOn || s.rules.Pipelining == "" && s.announced
	verb, _, _ := strings.Cut(strings.ToUpper(strings.TrimSpace(line)), " ")
	switch verb {
	case "NOOP", "STAT", "RSET", "LIST", "UIDL":
		return s.in && pipelines
	case "RETR", "TOP", "DELE":
		return s.in && pipelines && (s.listed || !s.rules.AskUIDs)
	}
	return false
}

// one adds a command with a one-line reply.
func (s *script) one(line, head, number, login string, ok bool, text string) {
	status := map[bool]string{true: "+OK", false: "-ERR"}[ok]
	x := exchange{
		send: line + s.lineEnd(), forward: line + "\r\n", reply: status + text + s.lineEnd(),
		receive: status + text + "\r\n", row: row{head: head, outcome: " " + status, number: number, login: login},
	}
	switch code, rest, found := strings.Cut(strings.TrimPrefix(text, " ["), "] "); {
	case found:
		x.row.outcome += fmt.Sprintf(" [%s] text=%q", code, rest)
	case strings.Contains(text, password):
		x.row.outcome += ` text="` + Redacted + `"`
	case text != "":
		x.row.outcome += fmt.Sprintf(" text=%q", text[1:])
	}
	s.add(x)
}

func (s *script) lineEnd() string { return []string{"\r\n", "\n"}[s.dice.IntN(2)] }

func (s *script) text() string {
	return []string{"", " fine", " [IN-USE] busy", " two words <&>"}[s.dice.IntN(4)]
}

func (s *script) ok() bool { return s.dice.IntN(4) > 0 }

// early adds what may come before login as well as later.
func (s *script) early() {
	switch s.dice.IntN(6) {
	case 0:
		s.one("NOOP", "command NOOP", "", "", s.ok(), s.text())
	case 1:
		s.capa()
	case 2:
		head := "command " + Redacted
		if s.in {
			head = `command FROB "` + Redacted + `"`
		}
		s.one("Frob 12 34", head, "", "", s.ok(), s.text())
	case 3:
		s.one("lang", "command LANG", "", "", false, s.text())
	default:
		s.refused()
	}
}

// refused adds a line that the proxy refuses by itself.
func (s *script) refused() {
	all := []exchange{
		{send: "STAT\x00\r\n", receive: "-ERR control octets are not allowed in commands\r\n",
			row: row{front: []string{"anomaly by=client control_octet"}, head: "command " + Redacted, outcome: " -ERR local"}},
		{send: "\r\n", receive: "-ERR empty command\r\n", row: row{head: "command " + Redacted, outcome: " -ERR local"}},
		{send: strings.Repeat("x", 513+s.dice.IntN(3000)) + "\r\n", receive: "-ERR line too long\r\n",
			row: row{front: []string{"anomaly by=client line_too_long"}, head: "command " + Redacted, outcome: " -ERR local"}},
		{send: "XCLIENT\n", receive: "-ERR [SYS/PERM] not accepted from a client\r\n",
			row: row{front: []string{"anomaly by=client forged_client"}, head: "command XCLIENT", outcome: " -ERR [SYS/PERM] local"}},
		{send: "stls\r\n", receive: "-ERR TLS is already active\r\n", row: row{head: "command STLS", outcome: " -ERR local"}},
		{send: "AUTH GSSAPI\r\n", receive: "-ERR this mechanism does not work through a proxy\r\n",
			row: row{head: `command AUTH "GSSAPI"`, outcome: " -ERR local"}},
	}
	s.add(all[s.dice.IntN(len(all))])
}

// capa adds CAPA, whose list is rewritten: STLS makes no sense inside TLS.
func (s *script) capa() {
	s.announced = false
	if !s.ok() {
		list := "USER\r\n"
		s.add(exchange{send: "CAPA\r\n", forward: "CAPA\r\n", reply: "-ERR\r\n",
			receive: "+OK capability list follows\r\n" + list + ".\r\n",
			row:     row{head: "command CAPA", outcome: " +OK local", size: size(list)}})
		return
	}
	list := "TOP\r\nSASL PLAIN\r\nX-LONG " + strings.Repeat("y", s.dice.IntN(12_000)) + "\n"
	if s.announced = s.ok(); s.announced {
		list += "pipelining\r\n"
	}
	s.add(exchange{send: "CAPA\r\n", forward: "CAPA\r\n", reply: "+OK\r\nSTLS\r\n" + list + ".\r\n",
		receive: "+OK\r\n" + list + ".\r\n", row: row{head: "command CAPA", outcome: " +OK", size: size(list)}})
}

// login adds attempts until one succeeds.
func (s *script) login() {
	for !s.in {
		s.in = s.ok()
		s.failed = s.failed || !s.in
		outcome := map[bool]string{true: LoginOK, false: LoginFailed}[s.in]
		text := s.text()
		if s.dice.IntN(3) == 0 {
			text = " not " + password
		}
		if s.dice.IntN(2) == 0 {
			s.one("user alice", `command USER "alice"`, "", "", true, s.text())
			s.one("PASS "+password, `command PASS "`+Redacted+`"`, "", ` user="alice" mech=USER login=`+outcome, s.in, text)
			continue
		}
		s.sasl(outcome, text)
	}
}

func (s *script) sasl(outcome, text string) {
	login := ` user="alice" mech=PLAIN login=` + outcome
	if s.dice.IntN(2) == 0 {
		s.one("AUTH plain "+passwordIn64, `command AUTH "PLAIN `+Redacted+`"`, "", login, s.in, text)
		return
	}
	s.add(exchange{send: "AUTH plain\r\n", forward: "AUTH plain\r\n", reply: "+ \r\n", receive: "+ \r\n"})
	s.one(passwordIn64, `command AUTH "PLAIN"`, "", login, s.in, text)
}

// transaction adds a command of the transaction state.
func (s *script) transaction() {
	n := 1 + s.dice.IntN(5)
	switch s.dice.IntN(11) {
	case 0:
		s.early()
	case 1:
		s.one("STAT", "command STAT", "", "", s.ok(), " 5 1234")
	case 2:
		ok := s.ok()
		s.asks(n)
		s.one(fmt.Sprint("Dele ", n), fmt.Sprintf(`command DELE "%d"`, n), s.known(n), "", ok, s.text())
		s.deleted[n] = s.deleted[n] || ok
	case 3:
		ok := s.ok()
		s.one("RSET", "command RSET", "", "", ok, s.text())
		if ok {
			s.last().behind = s.fates(DeleteRolledBack)
		}
	case 4:
		s.uidl()
	case 5:
		s.list()
	case 6:
		s.listOne("UIDL", n, s.newUID, s.learnUIDs)
	case 7:
		s.listOne("LIST", n, s.newSize, s.learnSizes)
	case 8:
		s.opens("TOP", n)
	default:
		s.opens("RETR", n)
	}
}

func (s *script) last() *exchange { return &s.exchanges[len(s.exchanges)-1] }

// body adds a command whose reply has a body; kind is that of the record before it.
func (s *script) body(line, head, number, kind, body string) {
	x := exchange{send: line + s.lineEnd(), forward: line + "\r\n", reply: "+OK\r\n" + body + "." + s.lineEnd(),
		receive: "+OK\r\n" + body + ".\r\n", row: row{head: head, outcome: " +OK", number: number, size: size(body)}}
	if kind != "" {
		x.before = kind + strings.TrimPrefix(head, "command") + number
	}
	s.add(x)
}

// lines makes a body as it stands on the wire: dots stuffed, else anything.
func (s *script) lines() string {
	var b strings.Builder
	kinds := []string{"", "..", ".x", "\r.\r", ".\r.", "..\r", "a\x00\xff", "Subject: x"}
	for range s.dice.IntN(8) {
		b.WriteString(kinds[s.dice.IntN(len(kinds))] + s.lineEnd())
		if s.dice.IntN(3) == 0 {
			b.WriteString(strings.Repeat("z", 1<<s.dice.IntN(18)-s.dice.IntN(2)) + s.lineEnd())
		}
	}
	return b.String()
}

// fates settles the deletes.
func (s *script) fates(fate string) (rows []string) {
	for _, n := range slices.Sorted(maps.Keys(s.deleted)) {
		if s.deleted[n] {
			rows = append(rows, fmt.Sprintf("delete%s %s", s.number(n), fate))
		}
	}
	clear(s.deleted)
	return rows
}

// pending is the record of the intention to commit the deletes, "" when there are none.
func (s *script) pending() string {
	n := 0
	for _, marked := range s.deleted {
		if marked {
			n++
		}
	}
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("intent QUIT count=%d", n)
}
