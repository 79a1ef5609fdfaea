package proxy

import (
	"fmt"
	"slices"
	"strings"
)

// exchange is one line of the client's and what must come of it.
type exchange struct {
	unasked  bool   // the client sends nothing, and the backend replies when nothing else is on its way
	send     string // by the client; "" when the proxy asks by itself
	lockstep bool   // not before the replies to all that was sent before
	together bool   // in one write with the line before
	joins    bool   // the proxy may forward it in one write with others like it, before and behind
	forward  string // what the backend gets; "" when the proxy answers by itself
	reply    string // the backend's
	receive  string // by the client
	before   string // a record that must be kept before anything of the body is out, or before forward; "" for none
	row      row    // of the command; none for a line inside AUTH
	behind   []string
	cut      bool // the client never gets a whole reply
}

// row is a record of a command, in the parts that summary has it of.
type row struct {
	front                                    []string // records before it
	head, outcome, number, size, login, mail string
	unanswered                               string // number, when no reply tells the message's size; "" for the same
}

func (r row) lines() []string {
	if r.head == "" {
		return nil
	}
	return append(slices.Clone(r.front), r.head+r.outcome+r.number+r.size+r.login+r.mail)
}

func (x exchange) rows() []string {
	var all []string
	if x.before != "" {
		all = append(all, x.before)
	}
	return append(append(all, x.row.lines()...), x.behind...)
}

// received is all that the client must get, but for the reply to STLS.
func (s *script) received() string {
	var all strings.Builder
	all.WriteString(s.greeting)
	for _, x := range s.exchanges {
		all.WriteString(x.receive)
	}
	return all.String()
}

// begin is the proxy's reply to STLS.
const begin = "+OK begin TLS negotiation\r\n"

// sent is how many octets the client sends, when nothing stops it.
func (s *script) sent() int64 {
	n := 0
	if s.mode == ModeSTLS {
		n += len("STLS\r\n")
	}
	for _, x := range s.exchanges {
		n += len(x.send)
	}
	return int64(n)
}

// ends is where the replies end that come before exchange i's.
func (s *script) ends(i int) int {
	n := len(s.greeting)
	for _, x := range s.exchanges[:i] {
		n += len(x.receive)
	}
	return n
}

// together is what the client sends in one write, from exchange i on, and the exchange that comes next.
func (s *script) together(i int) (text string, next int) {
	for next = i; next < len(s.exchanges); next++ {
		if x := s.exchanges[next]; next > i && (!x.together || s.resetBehind == next-1) {
			break
		}
		text += s.exchanges[next].send
	}
	return text, next
}

// inFlight is how many commands behind exchange i make up text, which the backend has not read yet; ok when they may.
func (s *script) inFlight(i int, text string) (n int, ok bool) {
	for _, x := range slices.Concat(s.exchanges[i+1:], s.unheard) {
		if text == "" || !x.joins || !strings.HasPrefix(text, x.forward) {
			break
		}
		text = strings.TrimPrefix(text, x.forward)
		n++
	}
	return n, text == "" && (n == 0 || s.exchanges[i].joins && n < maxRun)
}

// opening is what is on record before the first exchange.
func (s *script) opening() []string {
	if s.mode == ModeTLS {
		return []string{"connect +OK tls"}
	}
	return []string{"connect +OK", "command STLS +OK local", "tls tls"}
}

func (s *script) rows() []string {
	all := s.opening()
	for _, x := range s.exchanges {
		all = append(all, x.rows()...)
	}
	for _, x := range s.unheard[:s.abandoned] {
		all = append(all, x.row.head+x.row.number)
	}
	return append(append(all, s.settled...), s.end)
}

// refusal is what the client is told when the log has failed.
const refusal = unrecorded + "\r\n"

// relayed is how many octets of got are the script's. When the log has failed between two replies, they may be
// followed by the refusal, or by a part of it.
func (s *script) relayed(got string) (n int, ok bool) {
	all := s.received()
	if strings.HasPrefix(all, got) {
		return len(got), true
	}
	for _, n := range s.betweens() {
		if s.keeps >= 0 && n <= len(got) && all[:n] == got[:n] && strings.HasPrefix(refusal, got[n:]) {
			return n, true
		}
	}
	return 0, false
}

// betweens are where one reply has ended and another is to begin.
func (s *script) betweens() []int {
	all := []int{0}
	for i := range s.exchanges {
		all = append(all, s.ends(i))
	}
	return all
}

// recordsBehind is how many records must be kept for the client to have n octets.
func (s *script) recordsBehind(n int) int {
	records, need, at := len(s.opening()), 0, len(s.greeting)
	for _, x := range s.exchanges {
		status := at + strings.IndexByte(x.receive, '\n') + 1
		switch rows := len(x.rows()); {
		case n >= at+len(x.receive) && !x.cut && rows > 0 && x.receive != "":
			need = records + rows
		case n > status && x.before != "":
			need = records + 1
		}
		at += len(x.receive)
		records += len(x.rows())
	}
	return need
}

// recordsBeforeForward is how many records must be kept before exchange i goes to the backend: a QUIT's intent.
func (s *script) recordsBeforeForward(i int) int {
	if !strings.HasPrefix(s.exchanges[i].before, "intent") {
		return 0
	}
	records := len(s.opening()) + 1
	for _, x := range s.exchanges[:i] {
		records += len(x.rows())
	}
	return records
}

// withoutHalfEnd takes what may begin a terminator from the end of a body.
func withoutHalfEnd(body string) string {
	for _, half := range []string{".\r", "."} {
		if body == half || strings.HasSuffix(body, "\n"+half) {
			return strings.TrimSuffix(body, half)
		}
	}
	return body
}

func size(body string) string {
	if body == "" {
		return ""
	}
	out := fmt.Sprintf(" octets=%d", len(body))
	if n := strings.Count(body, "\n"); n > 0 {
		out += fmt.Sprintf(" lines=%d", n)
	}
	return out
}
