package proxy

import (
	"context"
	"crypto/tls"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

var seeds = flag.Int("seeds", 300, "sessions that TestSimulate plays")

// SimulatedLog keeps the records of one simulated session.
type SimulatedLog interface {
	Recorder
	Kept() int // how many records
	Close()
	Events() []Event // what was kept, once it is closed
}

// tabled is how many of the first seeds are played with a real log, too; of the others one in four is.
const tabled = 300

// Simulate lets random clients speak through the relay with random backends, in random segments with random pauses,
// while the log takes its time; peers break off anywhere and the log fails anywhere. A script says what all of them
// do; what the client must get, what the backend must get and what the records must say is worked out with it
// (script_test.go) and not by the relay. One seed is one session: -run 'TestSimulate/^17$' plays it again. It is played
// with a slow log in memory, and with the log that open makes, whose tables are read. That keeps no record after the
// first keeps, unless that is -1.
func Simulate(t *testing.T, open func(t *testing.T, keeps int) SimulatedLog) {
	played, runs := 0, 0
	for seed := range *seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Run("memory", func(t *testing.T) { played, runs = played+1, runs+simulate(t, seed, nil) })
			if seed < tabled || seed%4 == 3 {
				t.Run("tables", func(t *testing.T) { simulate(t, seed, open) })
			}
		})
	}
	if played >= 100 && runs < played/10 {
		t.Errorf("%d runs in %d sessions: too few to tell", runs, played)
	}
}

// simulate plays one session and returns how often the backend had several commands at once.
func simulate(t *testing.T, seed int, open func(t *testing.T, keeps int) SimulatedLog) (runs int) {
	synctest.Test(t, func(t *testing.T) {
		m := newSimulation(t, uint64(seed))
		if open != nil {
			m.log = open(t, m.script.keeps)
		}
		m.play()
		runs = m.runs
	})
	return runs
}

// simulation is one session.
type simulation struct {
	t       *testing.T
	script  script
	log     SimulatedLog
	server  *Server
	client  *memoryConn
	backend *memoryConn

	clientDice, segmentDice, backendDice *rand.Rand // a goroutine each, or a seed would not play the same twice

	mu      sync.Mutex // guards what follows
	got     []byte     // by the client
	closed  bool       // the client has seen its end
	resetAt time.Time
	goneAt  time.Time // the relay closed its backend connection

	// Owned by the backend's goroutine.
	heard int // how many exchanges it has come to
	runs  int // how often it had several commands at once
}

func newSimulation(t *testing.T, seed uint64) *simulation {
	dice := func(n uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, n)) }
	m := &simulation{
		t: t, script: newScript(dice(0)),
		clientDice: dice(2), segmentDice: dice(3), backendDice: dice(4),
	}
	m.log = &slowLog{dice: dice(1), keeps: m.script.keeps}
	return m
}

// play starts the relay and both peers, waits for all of them, and judges.
func (m *simulation) play() {
	m.start()
	var peers sync.WaitGroup
	peers.Go(m.playBackend)
	peers.Go(m.playClient)
	m.server.running.Wait()
	peers.Wait()
	m.client.Close()
	m.backend.Close()
	m.log.Close()
	m.judge()
}

func (m *simulation) start() {
	client, accepted := memoryPipe()
	backend, dialled := memoryPipe()
	m.client, m.backend = client, backend
	m.server = &Server{
		Backend: "backend:110", Recorder: m.log, TLS: testTLS(m.t), Rules: m.script.rules,
		Dial: func(context.Context, string) (net.Conn, error) { return hungUp{dialled, m}, nil },
	}
	m.server.init()
	m.server.accept(accepted, m.script.mode, string(m.script.mode))
}

// playClient starts TLS, then writes while another goroutine reads.
func (m *simulation) playClient() {
	p := &peer{raw: m.client, conn: m.client}
	if m.script.mode == ModeSTLS {
		m.take([]byte(p.receive(len(m.script.greeting))))
		p.send("STLS\r\n")
		p.receive(len(begin))
	}
	conn := tls.Client(segments{m.client, m.segmentDice}, &tls.Config{InsecureSkipVerify: true})
	if err := conn.Handshake(); err != nil { // before anybody reads, who would wait for it under a lock
		m.t.Error("handshake:", err)
	}
	p.conn = conn

	var reading sync.WaitGroup
	reading.Go(func() { m.read(p.conn) })
	for i := 0; i < len(m.script.exchanges); {
		x := m.script.exchanges[i]
		if x.unasked {
			break
		}
		if x.lockstep && !m.awaitReplies(i) {
			break
		}
		var text string
		text, i = m.script.together(i)
		inPieces(p.conn, []byte(text), m.clientDice)
		if m.script.resetBehind == i-1 {
			time.Sleep(time.Duration(m.clientDice.IntN(400)) * time.Millisecond)
			m.reset()
			break
		}
	}
	if m.script.resetBehind < 0 && !m.script.last().unasked {
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
	n, ok := m.script.relayed(string(m.got))
	if !ok {
		at := commonPrefix(m.script.received(), string(m.got))
		m.t.Errorf("the client got, from octet %d on, %s\nwant %s", at, brief(string(m.got[at:])),
			brief(m.script.received()[at:]))
	}
	if need, kept := m.script.recordsBehind(n), m.log.Kept(); kept < need {
		m.t.Errorf("the client has %d octets, which stand on %d records, and %d are kept", n, need, kept)
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
		switch {
		case x.unasked:
			m.logOut(i)
			return
		case x.forward == "":
			continue
		case !m.hears(p, i):
			return
		}
		inPieces(m.backend, []byte(x.reply), m.backendDice)
		if m.script.brokenIn == i {
			m.breakOff()
			return
		}
	}
	if rest := p.receive(1); rest != "" {
		m.t.Errorf("the backend also got %q", rest)
	}
}

// hears takes the command of exchange i and reports whether it came.
func (m *simulation) hears(p *peer, i int) bool {
	want := m.script.exchanges[i].forward
	got := p.receive(len(want))
	if got != want {
		if got != "" || m.script.resetBehind < 0 && m.script.keeps < 0 {
			m.t.Errorf("the backend got %s, want %s", brief(got), brief(want))
		}
		return false
	}
	if need, kept := m.script.recordsBeforeForward(i), m.log.Kept(); kept < need {
		m.t.Errorf("%s was forwarded behind %d records, and %d are kept", brief(want), need, kept)
	}
	m.heard = i + 1
	pause(m.backendDice)
	waiting := m.waiting()
	n, ok := m.script.inFlight(i, waiting)
	if !ok {
		m.t.Errorf("%s is in flight behind %s", brief(waiting), brief(want))
	}
	if n > 0 {
		m.runs++
	}
	if i == m.script.brokenIn {
		m.script.abandoned = n
	}
	return true
}

// logOut says good-bye, at once (what takes more than a second is none), to a client that has been silent for a while.
func (m *simulation) logOut(i int) {
	most := 10 * time.Second
	if m.script.in {
		most = 10 * time.Minute
	}
	m.awaitReplies(i)
	time.Sleep(time.Duration(m.backendDice.Int64N(int64(most))))
	m.backend.Write([]byte(m.script.exchanges[i].reply))
}

// breakOff ends the backend's connection. A reset overtakes what is unread, so that waits for it to be read.
func (m *simulation) breakOff() {
	if m.script.byReset {
		time.Sleep(time.Second)
		m.backend.reset()
	}
}

// waiting is what the proxy has sent and the backend has not taken.
func (m *simulation) waiting() string {
	s := m.backend.r
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.String()
}
