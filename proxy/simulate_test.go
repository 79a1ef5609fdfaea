package proxy

import (
	"context"
	"crypto/tls"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

var seeds = flag.Int("seeds", 300, "sessions that TestSimulate plays")

// Random clients speak through the relay with random backends, in random segments with random pauses, while the
// log takes its time. A script says what both sides do; what the client must get, what the backend must get and
// what the records must say is worked out with it (script_test.go) and not by the relay. One seed is one session:
// -run 'TestSimulate/^17$' plays it again.
func TestSimulate(t *testing.T) {
	for seed := range *seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { newSimulation(t, uint64(seed)).play() })
		})
	}
}

// simulation is one session.
type simulation struct {
	t       *testing.T
	script  script
	log     *slowLog
	server  *Server
	client  *memoryConn
	backend *memoryConn

	clientDice, segmentDice, backendDice *rand.Rand // a goroutine each, or a seed would not play the same twice

	mu      sync.Mutex // guards what follows
	got     []byte     // by the client
	closed  bool       // the client has seen its end
	resetAt time.Time
	goneAt  time.Time // the relay closed its backend connection
}

func newSimulation(t *testing.T, seed uint64) *simulation {
	dice := func(n uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, n)) }
	m := &simulation{
		t: t, script: newScript(dice(0)), log: &slowLog{dice: dice(1)},
		clientDice: dice(2), segmentDice: dice(3), backendDice: dice(4),
	}
	client, accepted := memoryPipe()
	backend, dialled := memoryPipe()
	m.client, m.backend = client, backend
	m.server = &Server{
		Backend: "backend:110", Recorder: m.log, TLS: testTLS(t),
		Dial: func(context.Context, string) (net.Conn, error) { return hungUp{dialled, m}, nil },
	}
	m.server.init()
	m.server.accept(accepted, m.script.mode, string(m.script.mode))
	return m
}

func (m *simulation) play() {
	var peers sync.WaitGroup
	peers.Go(m.playBackend)
	peers.Go(m.playClient)
	m.server.running.Wait()
	peers.Wait()
	m.client.Close()
	m.backend.Close()
	m.judge()
}

// playClient starts TLS, then writes while another goroutine reads.
func (m *simulation) playClient() {
	p := &peer{raw: m.client, conn: m.client}
	if m.script.mode == ModeSTLS {
		m.take([]byte(p.receive(len(m.script.greeting))))
		p.send("STLS\r\n")
		p.receive(len("+OK begin TLS negotiation\r\n"))
	}
	conn := tls.Client(segments{m.client, m.segmentDice}, &tls.Config{InsecureSkipVerify: true})
	if err := conn.Handshake(); err != nil { // before anybody reads, who would wait for it under a lock
		m.t.Error("handshake:", err)
	}
	p.conn = conn

	var reading sync.WaitGroup
	reading.Go(func() { m.read(p.conn) })
	for i, x := range m.script.exchanges {
		if x.lockstep && !m.awaitReplies(i) {
			break
		}
		inPieces(p.conn, []byte(x.send), m.clientDice)
		if m.script.resetBehind == i {
			time.Sleep(time.Duration(m.clientDice.IntN(400)) * time.Millisecond)
			m.reset()
			break
		}
	}
	if m.script.resetBehind < 0 {
		m.client.CloseWrite()
	}
	reading.Wait()
}

func (m *simulation) reset() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.resetAt = time.Now()
	m.client.reset()
}

// awaitReplies waits until the replies to all commands before i are with the client.
func (m *simulation) awaitReplies(i int) bool {
	for {
		m.mu.Lock()
		got, closed := len(m.got), m.closed
		m.mu.Unlock()
		if got >= m.script.ends(i) || closed {
			return !closed
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (m *simulation) read(conn net.Conn) {
	buf := make([]byte, 32*1024)
	conn.SetReadDeadline(time.Now().Add(patience))
	for {
		n, err := conn.Read(buf)
		m.take(buf[:n])
		if err != nil {
			m.mu.Lock()
			m.closed = true
			m.mu.Unlock()
			return
		}
	}
}

// take holds what came against the script, and the promise against the log: nothing of it may have come before
// its record was kept.
func (m *simulation) take(p []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.got = append(m.got, p...)
	if !strings.HasPrefix(m.script.received(), string(m.got)) {
		at := commonPrefix(m.script.received(), string(m.got))
		m.t.Errorf("the client got, from octet %d on, %s\nwant %s", at, brief(string(m.got[at:])),
			brief(m.script.received()[at:]))
	}
	if need, kept := m.script.recordsBehind(len(m.got)), m.log.kept(); kept < need {
		m.t.Errorf("the client has %d octets, which stand on %d records, and %d are kept", len(m.got), need, kept)
	}
}

func commonPrefix(a, b string) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

// playBackend takes the commands one by one and answers each as the script says.
func (m *simulation) playBackend() {
	defer m.backend.Close()
	p := &peer{raw: m.backend, conn: m.backend}
	inPieces(m.backend, []byte(m.script.greeting), m.backendDice)
	for i, x := range m.script.exchanges {
		if x.forward == "" {
			continue
		}
		got := p.receive(len(x.forward))
		if got != x.forward && (got != "" || m.script.resetBehind < 0) {
			m.t.Errorf("the backend got %s, want %s", brief(got), brief(x.forward))
		}
		if got != x.forward {
			return
		}
		if need, kept := m.script.recordsBeforeForward(i), m.log.kept(); kept < need {
			m.t.Errorf("%s was forwarded behind %d records, and %d are kept", brief(x.forward), need, kept)
		}
		pause(m.backendDice)
		if m.waiting() {
			m.t.Errorf("more than %s is in flight", brief(x.forward))
		}
		inPieces(m.backend, []byte(x.reply), m.backendDice)
		if m.script.cutIn == i {
			return
		}
	}
	if rest := p.receive(1); rest != "" {
		m.t.Errorf("the backend also got %q", rest)
	}
}

// waiting reports whether the proxy has sent more than the backend has taken.
func (m *simulation) waiting() bool {
	s := m.backend.r
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.Len() > 0
}

// judge holds the whole session against the script.
func (m *simulation) judge() {
	rows := m.log.rows()
	switch {
	case m.script.resetBehind >= 0 && len(rows) == 0:
		return // it never said anything
	case m.script.resetBehind >= 0:
		m.judgeReset(rows)
		return
	}
	if want := m.script.received(); string(m.got) != want {
		m.t.Errorf("the client got %d octets, want %d; not %s", len(m.got), len(want), brief(want[len(m.got):]))
	}
	if got, want := strings.Join(rows, "\n"), strings.Join(m.script.rows(), "\n"); got != want {
		m.t.Errorf("records:\n%s\nwant:\n%s", got, want)
	}
	if text := fmt.Sprint(m.log.events); strings.Contains(text, password) || strings.Contains(text, passwordIn64) {
		m.t.Error("a secret is on record:", text)
	}
}

// judgeReset holds a session that the client reset against the script: what is on record is its beginning, then
// at most one command without a whole reply, the fate of each delete, and the end.
func (m *simulation) judgeReset(rows []string) {
	want := m.script.rows()
	same := 0
	for same < len(rows) && same < len(want) && rows[same] == want[same] {
		same++
	}
	rest := rows[same:]
	if len(rest) > 0 && strings.HasPrefix(rest[0], "command ") {
		rest = rest[1:]
	}
	for len(rest) > 0 && strings.HasPrefix(rest[0], "delete ") {
		rest = rest[1:]
	}
	quit := strings.HasSuffix(rows[len(rows)-1], "client quit")
	if len(rest) > 1 || len(rest) == 0 && !quit || len(rest) == 1 && rest[0] != "end by=client reset" {
		m.t.Errorf("records:\n%s\nof:\n%s", strings.Join(rows, "\n"), strings.Join(want, "\n"))
	}
	if marked, settled := deletes(rows); marked != settled {
		m.t.Errorf("%d deletes and %d fates:\n%s", marked, settled, strings.Join(rows, "\n"))
	}
	last := m.script.exchanges[m.script.resetBehind].forward
	if late := m.goneAt.Sub(m.resetAt); late > time.Second && last != "QUIT\r\n" {
		m.t.Errorf("the backend was kept for %v after the client's reset", late)
	}
}

// deletes counts the messages that were marked as deleted, once each until their fate, and the fates.
func deletes(rows []string) (marked, settled int) {
	open := map[string]bool{}
	for _, row := range rows {
		words := strings.Fields(row)
		switch {
		case strings.HasPrefix(row, "command DELE") && strings.Contains(row, "+OK"):
			if n := strings.Trim(words[2], `"`); !open[n] {
				open[n] = true
				marked++
			}
		case words[0] == "delete":
			delete(open, strings.TrimPrefix(words[1], "msg="))
			settled++
		}
	}
	return marked, settled
}
