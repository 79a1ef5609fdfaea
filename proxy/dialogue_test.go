package proxy

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// The dialogues under testdata read like a manual, one rule a file. Each line is one step:
//
//	C: text     the client sends text and CRLF
//	S: text     the client receives text and CRLF
//	P: text     the backend receives text and CRLF from the proxy
//	B: text     the backend sends text and CRLF
//	C. B. S. P. the same without the CRLF: the octets as they stand
//	C! what     the client acts: tls, close, half (closes its sending side), reset
//	B! what     the backend acts: close, reset
//	S! close    the client sees the connection end;  P! close: the backend does
//	wait 10m    time passes
//	R: text     a record, in order; see summary. A dialogue without R lines leaves the records aside
//	greet       the backend's greeting is passed on;  login: alice logs in with USER and PASS; with their records
//
// Text may hold Go escapes (\r, \n, \x00) and {n*text} for text n times. A line "mode pop3" starts the session
// on the STLS listener; else it is POP3S. "backend down" makes the dial fail. "rules ..." sets Server.Rules.
func TestDialogues(t *testing.T) {
	files, err := filepath.Glob("testdata/dialogues/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no dialogues:", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { playDialogue(t, string(text)) })
		})
	}
}

func playDialogue(t *testing.T, text string) {
	d := newDialogue(t, text)
	defer func() {
		d.client.raw.Close()
		d.backend.raw.Close()
		d.server.running.Wait()
	}()
	for i, line := range strings.Split(text, "\n") {
		d.at = i + 1
		if !d.step(line) {
			t.Fatalf("line %d: not a step: %q", d.at, line)
		}
	}
	d.end()
}

// dialogue plays both peers of one session.
type dialogue struct {
	t        *testing.T
	at       int
	server   *Server
	log      *memoryLog
	client   *peer
	backend  *peer
	rows     bool // the dialogue speaks of records
	wantRows []string
}

func newDialogue(t *testing.T, text string) *dialogue {
	d := &dialogue{t: t, log: &memoryLog{}, rows: strings.Contains(text, "\nR: ")}
	clientEnd, proxyEnd := memoryPipe()
	backendEnd, dialled := memoryPipe()
	down := strings.Contains(text, "\nbackend down")
	d.server = &Server{
		Backend: "backend:110", Recorder: d.log, TLS: testTLS(t),
		Dial: func(context.Context, string) (net.Conn, error) {
			if down {
				return nil, fmt.Errorf("connection refused")
			}
			return dialled, nil
		},
	}
	d.server.Rules = rulesOf(t, text)
	mode := ModeTLS
	if strings.Contains(text, "\nmode pop3\n") {
		mode = ModeSTLS
	}
	d.server.init()
	d.server.accept(proxyEnd, mode, string(mode))
	d.client = &peer{raw: clientEnd, conn: clientEnd}
	d.backend = &peer{raw: backendEnd, conn: backendEnd}
	if mode == ModeTLS {
		d.client.startTLS()
	}
	return d
}

func rulesOf(t *testing.T, text string) (r Rules) {
	_, line, _ := strings.Cut(text, "\nrules ")
	line, _, _ = strings.Cut(line, "\n")
	for word := range strings.FieldsSeq(line) {
		name, value, _ := strings.Cut(word, "=")
		switch name {
		case "translate":
			r.Translate = Translation(value)
		case "refuse-unknown":
			r.RefuseUnknown = true
		case "multiline":
			r.Multiline = append(r.Multiline, value)
		case "hide-login-errors":
			r.HideLoginErrors = true
		case "pipelining":
			r.Pipelining = Pipelining(value)
		case "ask-uids":
			r.AskUIDs = true
		case "mail-digest":
			r.MailDigest = true
		case "mail-headers":
			r.MailHeaders = true
		default:
			t.Fatalf("no such rule: %s", word)
		}
	}
	return r
}

func (d *dialogue) step(line string) bool {
	switch {
	case line == "" || strings.HasPrefix(line, "#") || line == "backend down",
		strings.HasPrefix(line, "mode "), strings.HasPrefix(line, "rules "):
		return true
	case line == "greet" || line == "login":
		return d.routine(line)
	case strings.HasPrefix(line, "wait "):
		pause, err := time.ParseDuration(line[5:])
		if err != nil {
			return false
		}
		time.Sleep(pause)
		synctest.Wait()
		return true
	case strings.HasPrefix(line, "R: "):
		d.wantRows = append(d.wantRows, line[3:])
		return true
	case len(line) < 2:
		return false
	}
	return d.wire(line[:2], strings.TrimPrefix(line[2:], " "))
}

// routine plays what nearly every session begins with.
func (d *dialogue) routine(name string) bool {
	steps := map[string]string{
		"greet": "B: +OK hello\nS: +OK hello",
		"login": "C: USER alice\nP: USER alice\nB: +OK\nS: +OK\n" +
			"C: PASS wonderland\nP: PASS wonderland\nB: +OK\nS: +OK\n" +
			"R: command USER \"alice\" +OK\n" +
			"R: command PASS \"<redacted>\" +OK user=\"alice\" mech=USER login=ok",
	}
	if name == "greet" {
		row := "connect +OK"
		if d.client.raw != d.client.conn {
			row += " tls"
		}
		d.wantRows = append(d.wantRows, row)
	}
	for line := range strings.SplitSeq(steps[name], "\n") {
		d.step(line)
	}
	return true
}

func (d *dialogue) wire(who, text string) bool {
	octets := unescape(d.t, text)
	switch who {
	case "C:":
		d.client.send(octets + "\r\n")
	case "C.":
		d.client.send(octets)
	case "B:":
		d.backend.send(octets + "\r\n")
	case "B.":
		d.backend.send(octets)
	case "S:":
		d.expect(d.client, octets+"\r\n")
	case "S.":
		d.expect(d.client, octets)
	case "P:":
		d.expect(d.backend, octets+"\r\n")
	case "P.":
		d.expect(d.backend, octets)
	default:
		return d.act(who, text)
	}
	return true
}

func (d *dialogue) act(who, text string) bool {
	switch who + " " + text {
	case "C! tls":
		d.client.startTLS()
	case "C! half":
		d.client.raw.CloseWrite()
	case "C! close":
		d.client.raw.Close()
	case "C! reset":
		d.client.raw.reset()
	case "B! close":
		d.backend.raw.Close()
	case "B! reset":
		d.backend.raw.reset()
	case "S! close":
		d.expectEnd(d.client)
	case "P! close":
		d.expectEnd(d.backend)
	default:
		return false
	}
	synctest.Wait()
	return true
}

func (d *dialogue) expect(p *peer, want string) {
	d.t.Helper()
	got := p.receive(len(want))
	if got != want {
		d.t.Fatalf("line %d: got %s\nwant %s\nrecords:\n%s", d.at, brief(got), brief(want),
			strings.Join(d.log.rows(), "\n"))
	}
}

func (d *dialogue) expectEnd(p *peer) {
	d.t.Helper()
	if got := p.receive(1 << 30); got != "" || p.err == nil {
		d.t.Fatalf("line %d: connection goes on, or got %s", d.at, brief(got))
	}
}

func brief(s string) string {
	if len(s) > 300 {
		s = s[:150] + "..." + s[len(s)-150:]
	}
	return strconv.Quote(s)
}

// end lets both peers go, and holds what was recorded against the R lines.
func (d *dialogue) end() {
	d.client.raw.CloseWrite()
	time.Sleep(time.Second)
	if err := d.server.Shutdown(d.t.Context()); err != nil {
		d.t.Error(err)
	}
	if rest := d.client.rest(); rest != "" {
		d.t.Errorf("the client also got %s", brief(rest))
	}
	if rest := d.backend.rest(); rest != "" {
		d.t.Errorf("the backend also got %s", brief(rest))
	}
	got := strings.Join(d.log.rows(), "\n")
	if want := strings.Join(d.wantRows, "\n"); d.rows && got != want {
		d.t.Errorf("records:\n%s\nwant:\n%s", got, want)
	}
}

// unescape reads Go escapes and repetitions.
func unescape(t *testing.T, s string) string {
	for {
		open := strings.IndexByte(s, '{')
		star := strings.IndexByte(s, '*')
		stop := strings.IndexByte(s, '}')
		if open < 0 || star < open || stop < star {
			break
		}
		n, err := strconv.Atoi(s[open+1 : star])
		if err != nil {
			break
		}
		s = s[:open] + strings.Repeat(s[star+1:stop], n) + s[stop+1:]
	}
	out, err := strconv.Unquote(`"` + strings.ReplaceAll(s, `"`, `\"`) + `"`)
	if err != nil {
		t.Fatalf("%q: %v", s, err)
	}
	return out
}

// peer is one end of a connection, as the test plays it.
type peer struct {
	raw  *memoryConn
	conn net.Conn // raw, or TLS over it
	err  error    // what ended reading
}

// patience is how long a peer waits for what must come; time is faked.
const patience = 30 * time.Minute

func (p *peer) send(s string) { p.conn.Write([]byte(s)) }

// receive waits until n octets have come, or nothing more will.
func (p *peer) receive(n int) string {
	p.conn.SetReadDeadline(time.Now().Add(patience))
	var got []byte
	buf := make([]byte, 64*1024)
	for len(got) < n && p.err == nil {
		k, err := p.conn.Read(buf[:min(len(buf), n-len(got))])
		got = append(got, buf[:k]...)
		if isTimeout(err) {
			break
		}
		p.err = err
	}
	return string(got)
}

// rest returns what came and was not asked for.
func (p *peer) rest() string {
	if p.err != nil {
		return ""
	}
	var got []byte
	buf := make([]byte, 64*1024)
	p.conn.SetReadDeadline(time.Now().Add(time.Second))
	for {
		n, err := p.conn.Read(buf)
		got = append(got, buf[:n]...)
		if err != nil {
			return string(got)
		}
	}
}

func (p *peer) startTLS() {
	p.conn = tls.Client(p.raw, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"pop3"}})
}
