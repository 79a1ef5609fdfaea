package proxy

import (
	"context"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A body that leaves no room for its terminator sends it to wait with the next reply. When the record of that cannot
// be kept, both stay away, and the refusal with them: the client would read it as a line of the message.
func TestRefusalIsNoPartOfABody(t *testing.T) {
	for room := range 5 {
		synctest.Test(t, func(t *testing.T) { refuseBehindBody(t, room) })
	}
}

func refuseBehindBody(t *testing.T, room int) {
	clientEnd, accepted := memoryPipe()
	backendEnd, dialled := memoryPipe()
	log := &slowLog{dice: rand.New(rand.NewPCG(0, 0)), keeps: 3} // the connection, opened, RETR
	s := &Server{Backend: "b", Recorder: log, TLS: testTLS(t), Dial: func(context.Context, string) (net.Conn, error) {
		return dialled, nil
	}}
	s.init()
	ss := newSession(s, accepted, ModeSTLS, "pop3")
	ss.inTLS = true
	s.admit(ss)
	go ss.run()
	client := &peer{raw: clientEnd, conn: clientEnd}
	backend := &peer{raw: backendEnd, conn: backendEnd}
	backend.send("+OK\r\n")
	client.receive(len("+OK\r\n"))
	client.send("RETR 1\r\nNOOP\r\n")
	backend.receive(len("RETR 1\r\n"))
	backend.send("+OK\r\n")
	body := strings.Repeat("x", outSize-len("+OK\r\n")-room-2) + "\r\n"
	for part := range chunks([]byte(body), outSize/2) { // each small enough to be gathered
		time.Sleep(time.Millisecond)
		backend.send(string(part))
	}
	time.Sleep(time.Millisecond)
	backend.send(".\r\n")
	backend.receive(len("NOOP\r\n"))
	backend.send("+OK\r\n")
	got := client.receive(1 << 20)
	s.running.Wait()
	backendEnd.Close()
	clientEnd.Close()
	whole := "+OK\r\n" + body + ".\r\n"
	if got != refusal && got != whole+refusal && !strings.HasPrefix(whole, got) {
		t.Errorf("room for %d: the client got %d octets of %d, then %q", room, len(got), len(whole), got[max(0, len(got)-90):])
	}
}
