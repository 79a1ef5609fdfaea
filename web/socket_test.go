package web

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"postern/audit"
	"postern/proxy"
)

// frame is any frame of the stream.
type frame struct {
	Type      string
	Log       string
	Last      int64
	After     int64
	Version   string
	LiveCount int64 `json:"live_count"`
	Live      []audit.Session
	Recent    []audit.Session
	Totals    audit.Totals
	Records   []audit.Record
	Health    audit.Health
}

// dial opens a stream; header may alter the request.
func (s *scene) dial(query string, header http.Header) (*websocket.Conn, *http.Response, error) {
	conn, answer, err := websocket.DefaultDialer.Dial("ws://"+s.addr+"/ws"+query, header)
	if err == nil {
		s.t.Cleanup(func() { conn.Close() })
	}
	return conn, answer, err
}

func (s *scene) watch(query string) *websocket.Conn {
	s.t.Helper()
	conn, _, err := s.dial(query, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	return conn
}

func next(t *testing.T, conn *websocket.Conn) (f frame) {
	t.Helper()
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	if err := conn.ReadJSON(&f); err != nil {
		t.Fatal(err)
	}
	return f
}

// seqs reads frames until the record numbered last and returns all numbers in order.
func seqs(t *testing.T, conn *websocket.Conn, last int64) (got []int64) {
	t.Helper()
	for len(got) == 0 || got[len(got)-1] < last {
		for _, r := range next(t, conn).Records {
			got = append(got, r.Seq)
		}
	}
	return got
}

// inOrder fails unless got is first, first+1, ... last.
func inOrder(t *testing.T, got []int64, first, last int64) {
	t.Helper()
	if len(got) != int(last-first+1) {
		t.Fatalf("%d records, want %d to %d", len(got), first, last)
	}
	for i, seq := range got {
		if seq != first+int64(i) {
			t.Fatalf("record %d in place of %d", seq, first+int64(i))
		}
	}
}

func TestHelloTellsHowThingsAre(t *testing.T) {
	s := newScene(t, nil)
	alice := newTalk(time.Now(), "alice", "192.0.2.7:5000")
	s.record(append([]proxy.Event{alice.connect("ready")}, alice.login()...)...)
	bob := newTalk(time.Now(), "bob", "192.0.2.8:5000")
	s.record(bob.connect("ready"), bob.end("client", "eof"))
	h := next(t, s.watch(""))
	if h.Type != "hello" || h.Version != "0.1-test" || h.After != 0 || h.Last != s.last() || h.Log == "" || !h.Health.OK {
		t.Errorf("hello: %+v", h)
	}
	if h.LiveCount != 1 || len(h.Live) != 1 || h.Live[0].User != "alice" || len(h.Recent) != 1 || h.Recent[0].ID != bob.id {
		t.Errorf("sessions: %+v and %+v", h.Live, h.Recent)
	}
	if h.Totals.Sessions != 2 || h.Totals.LoginsOK != 1 || h.Totals.Commands != 2 {
		t.Errorf("totals: %+v", h.Totals)
	}
}

func TestFreshStreamBeginsALittleBack(t *testing.T) {
	s := newScene(t, nil)
	s.chat(backlog + 300)
	conn := s.watch("")
	h := next(t, conn)
	if h.After != h.Last-backlog {
		t.Errorf("begins after %d of %d", h.After, h.Last)
	}
	inOrder(t, seqs(t, conn, h.Last), h.After+1, h.Last)
}

// chat records n commands of one session and returns its ID.
func (s *scene) chat(n int) string {
	s.t.Helper()
	k := newTalk(time.Now(), "alice", "192.0.2.7:5000")
	events := []proxy.Event{k.connect("ready")}
	for range n {
		events = append(events, k.command("NOOP", "", "+OK", ""))
	}
	s.record(events...)
	return k.id.String()
}

func TestResumeLosesNothing(t *testing.T) {
	s := newScene(t, nil)
	s.chat(10)
	conn := s.watch("")
	h := next(t, conn)
	got := seqs(t, conn, s.last())
	conn.Close()
	s.chat(backlog + 700) // more than a fresh stream would go back, and several batches
	resumed := s.watch(fmt.Sprintf("?after=%d&log=%s", got[len(got)-1], h.Log))
	if again := next(t, resumed); again.After != got[len(got)-1] {
		t.Fatalf("resumes after %d, want %d", again.After, got[len(got)-1])
	}
	got = append(got, seqs(t, resumed, s.last())...)
	inOrder(t, got, 1, s.last())
}

func TestResumeOfAnotherLogBeginsAnew(t *testing.T) {
	s := newScene(t, nil)
	s.chat(backlog + 100)
	for _, query := range []string{"?after=3&log=other", "?after=3", "?after=99999&log=LOG", "?after=-1&log=LOG", "?after=x&log=LOG"} {
		log := next(t, s.watch("")).Log
		h := next(t, s.watch(strings.ReplaceAll(query, "LOG", log)))
		if h.After != h.Last-backlog {
			t.Errorf("%s: begins after %d of %d", query, h.After, h.Last)
		}
	}
}

func TestBeatsWhileNothingHappens(t *testing.T) {
	s := newScene(t, nil)
	conn := s.watch("")
	for {
		if f := next(t, conn); f.Type == "beat" {
			if f.Last != 1 || !f.Health.OK {
				t.Errorf("beat: %+v", f)
			}
			return
		}
	}
}

func TestOtherSitesMayNotWatch(t *testing.T) {
	s := newScene(t, nil)
	for origin, want := range map[string]int{"https://evil.example": 403, "http://localhost:1": 403, "null": 403, "http://" + s.addr: 101} {
		_, answer, err := s.dial("", http.Header{"Origin": {origin}})
		if answer == nil {
			t.Fatal(err)
		}
		if answer.StatusCode != want {
			t.Errorf("Origin %s: %s, want %d", origin, answer.Status, want)
		}
	}
	_, answer, _ := s.dial("", http.Header{"Host": {"evil.example"}, "Origin": {"http://evil.example"}})
	if answer == nil || answer.StatusCode != http.StatusMisdirectedRequest {
		t.Errorf("a name that was rebound: %v, want 421", answer)
	}
}

func TestViewersAreBounded(t *testing.T) {
	s := newScene(t, nil)
	var first *websocket.Conn
	for i := range maxViewers {
		conn := s.watch("")
		next(t, conn)
		if i == 0 {
			first = conn
		}
	}
	if _, answer, err := s.dial("", nil); err == nil || answer.StatusCode != http.StatusServiceUnavailable {
		t.Fatalf("viewer %d: %v", maxViewers+1, err)
	}
	first.Close()
	for end := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		if conn, _, err := s.dial("", nil); err == nil {
			next(t, conn)
			return
		}
		if time.Now().After(end) {
			t.Fatal("no place after a viewer left")
		}
	}
}

func TestSlowViewerHoldsNobodyUp(t *testing.T) {
	s := newScene(t, nil)
	slow := s.watch("")
	_ = slow.NetConn().(*net.TCPConn).SetReadBuffer(4 << 10)
	next(t, slow) // and never reads again
	quick := s.watch("")
	k := newTalk(time.Now(), "alice", "192.0.2.7:5000")
	s.record(k.connect("ready"))
	const rounds, each = 20, 500
	began := time.Now()
	for range rounds {
		events := make([]proxy.Event, each)
		for i := range events {
			events[i] = k.command("NOOP", "", "+OK", strings.Repeat("x", proxy.MaxText))
		}
		s.record(events...)
	}
	t.Logf("%d records in %v", rounds*each, time.Since(began).Round(time.Millisecond))
	got := seqs(t, quick, s.last())
	inOrder(t, got, 1, s.last())

	began = time.Now()
	s.cut()
	took := time.Since(began)
	if took > 3*closeWait {
		t.Errorf("Close waited %v for a viewer that does not read", took)
	}
	if took < closeWait/2 {
		t.Errorf("Close took %v: nobody was slow", took)
	}
}

// pipes is a listener whose connections have no buffers, so that a viewer's pace is the server's.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	if conn, ok := <-p; ok {
		return conn, nil
	}
	return nil, net.ErrClosed
}

func (p pipes) Close() error   { close(p); return nil }
func (p pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipes", Net: "unix"} }

// A browser that stalls when Close has begun holds it up no longer than one that had before.
func TestViewerThatStallsAtTheEndHoldsNobodyUp(t *testing.T) {
	var ending atomic.Bool
	var s *scene
	s = newScene(t, func(o *Options) {
		health := o.Health
		o.Health = func() audit.Health { // is asked for when records are about to be sent
			if ending.Load() {
				s.web.stop()
				time.Sleep(50 * time.Millisecond)
			}
			return health()
		}
	})
	l := make(pipes)
	s.done.Go(func() { _ = s.http.Serve(l) })
	dialer := websocket.Dialer{NetDialContext: func(context.Context, string, string) (net.Conn, error) {
		near, far := net.Pipe()
		l <- far
		return near, nil
	}}
	stalled, _, err := dialer.Dial("ws://localhost/ws", nil)
	if err != nil {
		t.Fatal(err)
	}
	for next(t, stalled).Type != "records" {
	}
	ending.Store(true) // and it never reads again
	s.chat(1)
	<-s.web.ctx.Done()
	began := time.Now()
	s.cut()
	if took := time.Since(began); took > 3*closeWait {
		t.Errorf("Close waited %v for a viewer that does not read", took)
	}
	stalled.Close()
}

func TestCloseTakesLeave(t *testing.T) {
	s := newScene(t, nil)
	conn := s.watch("")
	next(t, conn)
	s.web.Close()
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	for {
		_, _, err := conn.ReadMessage()
		if err == nil {
			continue
		}
		if !websocket.IsCloseError(err, websocket.CloseGoingAway) {
			t.Errorf("the stream ends with %v, want 1001", err)
		}
		break
	}
	if _, answer, err := s.dial("", nil); err == nil || answer.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("a viewer after Close: %v, want 503", err)
	}
}

func TestViewerMayNotFlood(t *testing.T) {
	s := newScene(t, nil)
	conn := s.watch("")
	next(t, conn)
	if err := conn.WriteMessage(websocket.TextMessage, make([]byte, maxMessage+1)); err != nil {
		t.Fatal(err)
	}
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	for {
		var f json.RawMessage
		if err := conn.ReadJSON(&f); err != nil {
			if !websocket.IsCloseError(err, websocket.CloseMessageTooBig) {
				t.Errorf("ends with %v, want 1009", err)
			}
			return
		}
	}
}
