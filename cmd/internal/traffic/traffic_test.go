package traffic

import (
	"context"
	"crypto/tls"
	"errors"
	"math/rand/v2"
	"net"
	"net/http/httptest"
	"net/textproto"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"postern/cmd/internal/popd"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var ada = User{Name: "ada", Password: "portcullis"}

// listen serves ada's maildrop on a listener made of a plain one, until the test ends.
func listen(t *testing.T, wrap func(net.Listener) net.Listener) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &popd.Server{Drops: map[string]*popd.Maildrop{ada.Name: popd.NewMaildrop(ada.Password, popd.Samples())}}
	done := make(chan error, 1)
	go func() { done <- s.Serve(wrap(l)) }()
	t.Cleanup(func() {
		s.Close()
		if err := <-done; !errors.Is(err, popd.ErrClosed) {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

// recorder remembers what a client says.
type recorder struct {
	net.Conn
	said strings.Builder
}

func (r *recorder) Write(b []byte) (int, error) {
	r.said.Write(b)
	return r.Conn.Write(b)
}

// verbs are the first words of what was said, and the numbers of messages left out.
func (r *recorder) verbs() string {
	var all []string
	for line := range strings.Lines(r.said.String()) {
		verb, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		all = append(all, verb)
	}
	return strings.Join(all, " ")
}

func TestHabits(t *testing.T) {
	addr := listen(t, func(l net.Listener) net.Listener { return l })
	for name, test := range map[string]struct {
		habit habit
		want  string
	}{
		"look":   {justLook, "USER PASS STAT QUIT"},
		"read":   {readSome, "CAPA AUTH UIDL RETR"},
		"delete": {readAndDelete, "USER PASS UIDL LIST RETR DELE"},
		"change": {changeMind, "USER PASS DELE DELE RSET NOOP QUIT"},
		"old":    {askLikeOldTimes, "APOP LAST TOP QUIT"},
		"mis":    {mistype, "USER PASS USER PASS STAT QUIT"},
		"give":   {giveUp, "USER PASS USER PASS QUIT"},
		"hang":   {hangUp, "USER PASS LIST RETR"},
		"vanish": {vanish, "USER PASS DELE"},
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(10 * time.Second))
			r := &recorder{Conn: conn}
			c := &client{conn: r, text: textproto.NewConn(r), think: func() bool { return true }}
			greeting, err := c.text.ReadLine()
			if err != nil {
				t.Fatal(err)
			}
			c.stamp = greeting[strings.IndexByte(greeting, '<'):]
			test.habit(c, ada, rand.New(rand.NewPCG(1, 2)))
			if got := r.verbs(); !strings.HasPrefix(got, test.want) {
				t.Errorf("said %s, want %s", got, test.want)
			}
		})
		waitFree(t, addr)
	}
}

// waitFree waits until the server noticed that the last session has gone.
func waitFree(t *testing.T, addr string) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		c, err := textproto.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		c.ReadLine()
		c.PrintfLine("USER %s\r\nPASS %s\r\nQUIT", ada.Name, ada.Password)
		c.ReadLine()
		status, _ := c.ReadLine()
		c.ReadLine()
		c.Close()
		if strings.HasPrefix(status, "+OK") {
			return
		}
	}
	t.Fatal("the maildrop is still held")
}

// counter counts the sessions a listener accepts.
type counter struct {
	net.Listener
	n *atomic.Int64
}

func (c counter) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	if err == nil {
		c.n.Add(1)
	}
	return conn, err
}

func TestRunEndsWithItsContext(t *testing.T) {
	web := httptest.NewTLSServer(nil) // for its certificate
	web.Close()
	var secured, clear atomic.Int64
	pop3s := listen(t, func(l net.Listener) net.Listener {
		return tls.NewListener(counter{l, &secured}, &tls.Config{Certificates: web.TLS.Certificates})
	})
	pop3 := listen(t, func(l net.Listener) net.Listener { return counter{l, &clear} })
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		Run(ctx, Options{POP3S: pop3s, POP3: pop3, TLS: &tls.Config{InsecureSkipVerify: true},
			Users: []User{ada, {Name: "bob", Password: "xx", Host: net.IPv4(127, 0, 0, 9)}}, Seed: 1,
			Pace: func(*rand.Rand) time.Duration { return time.Millisecond }})
	}()
	for deadline := time.Now().Add(10 * time.Second); secured.Load() < 3 || clear.Load() < 3; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d sessions with TLS, %d without", secured.Load(), clear.Load())
		}
	}
	cancel()
	select {
	case <-done:
	case <-time.After(5 * time.Second):
		t.Fatal("Run goes on without its context")
	}
}
