package web

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"postern/audit"
	"postern/proxy"
)

// scene is a real log with a dashboard on it, served on a loopback port that stays the same.
type scene struct {
	t    *testing.T
	log  *audit.Log
	web  *Server
	addr string

	http *http.Server
	done sync.WaitGroup

	mu    sync.Mutex
	conns []net.Conn // of the server now
}

// newScene opens a log and serves a dashboard; change may alter its Options.
func newScene(t *testing.T, change func(*Options)) *scene {
	t.Helper()
	log, err := audit.Open(t.Context(), audit.Options{Path: filepath.Join(t.TempDir(), "audit.db"), Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	s := &scene{t: t, log: log, addr: "127.0.0.1:0"}
	t.Cleanup(func() {
		s.cut()
		if err := log.Close(); err != nil {
			t.Errorf("close log: %v", err)
		}
	})
	s.serve(change)
	return s
}

// serve makes a dashboard and serves it where the one before was.
func (s *scene) serve(change func(*Options)) {
	s.t.Helper()
	o := Options{
		Log: s.log.Reader(), Health: s.health, Version: "0.1-test",
		Stats: func() proxy.Stats { return proxy.Stats{Sessions: 3, Commands: 41, Received: 100, Sent: 2000} },
		Hint:  []string{"curl -k pop3s://alice:sesame@127.0.0.1:9950/1"},
	}
	if change != nil {
		change(&o)
	}
	l, err := net.Listen("tcp", s.addr)
	if err != nil {
		s.t.Fatal(err)
	}
	s.addr = l.Addr().String()
	s.web = New(o)
	s.http = &http.Server{Handler: s.web.Handler(), ReadHeaderTimeout: 5 * time.Second, ConnState: s.met}
	s.done.Go(func() { _ = s.http.Serve(l) })
}

// health is the log's, on a disk with room, whatever is true of this machine's.
func (s *scene) health() audit.Health {
	h := s.log.Health()
	h.Space = audit.Space{Level: audit.SpaceOK}
	return h
}

// met remembers connections, for a WebSocket's is no longer the http.Server's.
func (s *scene) met(c net.Conn, state http.ConnState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if state == http.StateNew {
		s.conns = append(s.conns, c)
	}
}

// crash ends the server and resets every connection to it.
func (s *scene) crash() {
	s.mu.Lock()
	for _, c := range s.conns {
		_ = c.(*net.TCPConn).SetLinger(0)
		_ = c.Close()
	}
	s.conns = nil
	s.mu.Unlock()
	s.cut()
}

// cut ends the server and takes leave of every viewer.
func (s *scene) cut() {
	_ = s.http.Close()
	s.web.Close()
	s.done.Wait()
}

func (s *scene) url(path string) string { return "http://" + s.addr + path }

// record commits events and fails the test when the log does not take them.
func (s *scene) record(events ...proxy.Event) {
	s.t.Helper()
	var last proxy.Receipt
	for _, ev := range events {
		last = s.log.Record(ev)
	}
	if err := last.Wait(); err != nil {
		s.t.Fatal(err)
	}
}

// last returns the number of the newest record.
func (s *scene) last() int64 {
	s.t.Helper()
	seq, err := s.log.Reader().LastSeq(context.Background())
	if err != nil {
		s.t.Fatal(err)
	}
	return seq
}

// talk tells the events of one session in the order they happen.
type talk struct {
	id   proxy.SessionID
	at   time.Time
	peer netip.AddrPort
	user string
}

var modern = proxy.TLS{Version: "TLS 1.3", Cipher: "TLS_AES_128_GCM_SHA256", Group: "X25519MLKEM768", SNI: "mail.example.org", ALPN: "pop3"}

func newTalk(at time.Time, user, peer string) *talk {
	return &talk{id: proxy.NewSessionID(at), at: at, user: user, peer: netip.MustParseAddrPort(peer)}
}

func (k *talk) event(kind proxy.Kind, after time.Duration) proxy.Event {
	k.at = k.at.Add(after)
	return proxy.Event{Session: k.id, Time: k.at, Kind: kind}
}

func (k *talk) connect(greeting string) proxy.Event {
	ev := k.event(proxy.KindConnect, 0)
	t := modern
	ev.Peer, ev.Listener, ev.Backend, ev.Text, ev.TLS = k.peer, "pop3s", "192.0.2.25:110", greeting, &t
	return ev
}

func (k *talk) command(verb, arg, status, text string) proxy.Event {
	ev := k.event(proxy.KindCommand, 23*time.Millisecond)
	ev.Verb, ev.Arg, ev.Status, ev.Text, ev.Duration = verb, arg, status, text, 1300*time.Microsecond
	return ev
}

func (k *talk) login() []proxy.Event {
	pass := k.command("PASS", proxy.Redacted, "+OK", "Logged in.")
	pass.User, pass.Mechanism, pass.Login = k.user, "USER", proxy.LoginOK
	pass.Duration = 12 * time.Millisecond
	return []proxy.Event{k.command("USER", k.user, "+OK", ""), pass}
}

func (k *talk) retrieve(n, octets int64) []proxy.Event {
	opened := k.event(proxy.KindOpened, 10*time.Millisecond)
	opened.Verb, opened.Arg, opened.Message, opened.UID = "RETR", fmt.Sprint(n), n, fmt.Sprintf("0000%04x66e1", n)
	done := opened
	done.Kind, done.Status, done.Text = proxy.KindCommand, "+OK", fmt.Sprintf("%d octets", octets)
	done.Octets, done.Lines, done.Duration = octets, octets/60, 31*time.Millisecond
	return []proxy.Event{opened, done}
}

func (k *talk) drop(n int64) proxy.Event {
	ev := k.command("DELE", fmt.Sprint(n), "+OK", "Marked to be deleted.")
	ev.Message, ev.UID = n, fmt.Sprintf("0000%04x66e1", n)
	return ev
}

func (k *talk) intent(n int64) proxy.Event {
	ev := k.event(proxy.KindIntent, time.Millisecond)
	ev.Count = n
	return ev
}

func (k *talk) fate(n int64, fate string) proxy.Event {
	ev := k.event(proxy.KindDelete, 0)
	ev.Message, ev.UID, ev.Detail = n, fmt.Sprintf("0000%04x66e1", n), fate
	return ev
}

func (k *talk) end(side, reason string) proxy.Event {
	ev := k.event(proxy.KindEnd, 5*time.Millisecond)
	ev.Side, ev.Detail, ev.Received, ev.Sent = side, reason, 214, 48210
	return ev
}
