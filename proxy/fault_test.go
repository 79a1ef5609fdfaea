package proxy

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// faulty fails its nth read or write, as a reset connection does, and every one after it.
type faulty struct {
	*memoryConn
	left *atomic.Int64
}

func (f faulty) tick() bool { return f.left.Add(-1) < 0 }

func (f faulty) Read(p []byte) (int, error) {
	if f.tick() {
		time.Sleep(time.Millisecond) // for the peer to hear what was sent before
		f.reset()
		return 0, syscall.ECONNRESET
	}
	return f.memoryConn.Read(p)
}

func (f faulty) Write(p []byte) (int, error) {
	if f.tick() {
		f.reset()
		return 0, syscall.ECONNRESET
	}
	return f.memoryConn.Write(p)
}

// Every operation of a full session fails once, on either leg: no goroutine is left (the bubble would not end),
// the session ends once on record, all that the backend has heard is, and no delete is left without its fate.
func TestEveryOperationFails(t *testing.T) {
	for _, rules := range []Rules{
		{}, {AskUIDs: true, MailDigest: true, MailHeaders: true}, {Pipelining: PipeliningOn}, {Pipelining: PipeliningOn, AskUIDs: true},
	} {
		for _, leg := range []string{SideClient, SideBackend} {
			whole := false
			for n := int64(0); !whole; n++ {
				if n > 500 {
					t.Fatalf("%s: the session never came through", leg)
				}
				synctest.Test(t, func(t *testing.T) { whole = failOperation(t, rules, leg, n) })
			}
		}
	}
}

// failOperation plays a session whose nth operation on leg fails and reports whether it came through whole.
func failOperation(t *testing.T, rules Rules, leg string, n int64) bool {
	clientEnd, proxyEnd := memoryPipe()
	backendEnd, dialled := memoryPipe()
	var never, left atomic.Int64
	never.Store(1 << 40)
	left.Store(n)
	counters := map[string]*atomic.Int64{SideClient: &never, SideBackend: &never}
	counters[leg] = &left
	log := &memoryLog{}
	s := &Server{Backend: "b", Recorder: log, TLS: testTLS(t), Rules: rules, Dial: func(context.Context, string) (net.Conn, error) {
		return faulty{dialled, counters[SideBackend]}, nil
	}}
	s.init()
	s.accept(faulty{proxyEnd, counters[SideClient]}, ModeTLS, "pop3s")
	var heard bytes.Buffer
	served := make(chan struct{})
	go func() {
		(&tinyBackend{}).serve(teeing{backendEnd, io.TeeReader(backendEnd, &heard)})
		backendEnd.Close()
		close(served)
	}()
	client := &peer{raw: clientEnd, conn: tls.Client(clientEnd, &tls.Config{InsecureSkipVerify: true})}
	for _, lines := range []string{"CAPA", "USER a", "PASS b", "LIST 1", "RETR 3000", "DELE 1\r\nTOP 1 0\r\nRETR 200\r\nDELE 2", "QUIT"} {
		client.send(lines + "\r\n")
		time.Sleep(time.Second)
	}
	time.Sleep(time.Minute)
	clientEnd.Close()
	s.running.Wait()
	dialled.Close() // if it never was
	<-served
	s.probes.flush()
	rows := slices.DeleteFunc(log.rows(), func(r string) bool { return strings.HasPrefix(r, "backend ") })
	checkEnded(t, leg, n, rows)
	checkHeard(t, leg, n, rows, heard.String())
	return strings.Contains(strings.Join(log.rows(), "\n"), "end by=client quit")
}

// teeing is a connection that is read through a reader of it.
type teeing struct {
	net.Conn
	r io.Reader
}

func (t teeing) Read(p []byte) (int, error) { return t.r.Read(p) }

// checkHeard holds that each command that the backend has heard has a record.
func checkHeard(t *testing.T, leg string, n int64, rows []string, heard string) {
	t.Helper()
	for line := range strings.Lines(heard) {
		verb, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		i := slices.IndexFunc(rows, func(r string) bool {
			return strings.HasPrefix(r, "command "+verb) || strings.HasPrefix(r, "asked "+verb)
		})
		if i < 0 {
			t.Errorf("%s %d: the backend has heard %q, behind it there is on record only\n%s", leg, n, line, strings.Join(rows, "\n"))
			return
		}
		rows = rows[i+1:]
	}
}

func checkEnded(t *testing.T, leg string, n int64, rows []string) {
	t.Helper()
	ends, marked, settled := 0, 0, 0
	for i, row := range rows {
		switch {
		case strings.HasPrefix(row, "end "):
			ends++
			if i != len(rows)-1 {
				t.Errorf("%s %d: records behind the end: %q", leg, n, rows[i:])
			}
			if !strings.Contains(row, "by="+leg) && !strings.Contains(row, "quit") {
				t.Errorf("%s %d: %s", leg, n, row)
			}
		case strings.HasPrefix(row, "command DELE") && strings.Contains(row, "+OK"):
			marked++
		case strings.HasPrefix(row, "delete "):
			settled++
		}
	}
	if begun := strings.HasPrefix(rows[0], "connect"); begun != (ends == 1) || marked != settled {
		t.Errorf("%s %d: %d ends, %d deletes, %d fates:\n%s", leg, n, ends, marked, settled, strings.Join(rows, "\n"))
	}
}
