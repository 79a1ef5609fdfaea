package control

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type question struct{ Name string }

type reply struct{ Hello string }

// greeter answers one path well and one with an error.
func greeter() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("POST /hello", JSON(func(_ context.Context, q question) (reply, error) {
		if q.Name == "nobody" {
			return reply{}, fmt.Errorf("no %q here; the known names are ada and bob", q.Name)
		}
		return reply{"hello " + q.Name}, nil
	}))
	mux.Handle("GET /ping", JSON(func(context.Context, struct{}) (reply, error) { return reply{"pong"}, nil }))
	return mux
}

// served is a socket in a directory that was claimed for it.
type served struct {
	*Server
	claim *Claim
}

func serve(t *testing.T, dir string, h http.Handler) served {
	t.Helper()
	c, err := Take(dir)
	if err != nil {
		t.Fatal(err)
	}
	s, err := c.Serve(h)
	if err != nil {
		t.Fatal(err)
	}
	return served{s, c}
}

func closeIt(t *testing.T, s served) {
	t.Helper()
	if err := errors.Join(s.Close(), s.claim.Close()); err != nil {
		t.Error(err)
	}
}

func TestACallIsAnswered(t *testing.T) {
	dir := t.TempDir()
	s := serve(t, dir, greeter())
	defer closeIt(t, s)
	var got reply
	if err := Client(dir).Call(t.Context(), "POST", "/hello", question{"ada"}, &got); err != nil || got.Hello != "hello ada" {
		t.Errorf("got %+v, %v", got, err)
	}
	if err := Client(dir).Call(t.Context(), "GET", "/ping", nil, &got); err != nil || got.Hello != "pong" {
		t.Errorf("got %+v, %v", got, err)
	}
	for path, want := range map[string]string{
		"/hello":   `no "nobody" here; the known names are ada and bob`,
		"/nothing": "postern serve answered 404 Not Found",
		"/ping":    "postern serve answered 405 Method Not Allowed",
	} {
		err := Client(dir).Call(t.Context(), "POST", path, question{"nobody"}, &got)
		if err == nil || err.Error() != want {
			t.Errorf("%s: got %v, want %s", path, err, want)
		}
	}
	if err := Client(dir).Call(t.Context(), "POST", "/hello", "text", &got); err == nil || !strings.Contains(err.Error(), "read request: json") {
		t.Errorf("got %v", err)
	}
}

func TestOnlyItsUserMayCall(t *testing.T) {
	dir := t.TempDir()
	s := serve(t, dir, greeter())
	info, err := os.Stat(filepath.Join(dir, socketName))
	if err != nil || info.Mode() != fs.ModeSocket|0o600 {
		t.Errorf("the socket is %v, %v", info.Mode(), err)
	}
	closeIt(t, s)
	left, err := os.ReadDir(dir)
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestNobodyServes(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{t.TempDir(), file, "/nowhere", "/" + strings.Repeat("n", 120)} {
		err := Client(dir).Call(t.Context(), "GET", "/ping", nil, &reply{})
		if !errors.Is(err, ErrNotRunning) || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: %v", dir, err)
		}
	}
}

// leave puts a socket into dir that nobody listens at any more, as a crash does.
func leave(t *testing.T, dir string) {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, socketName), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	if err := os.Mkdir(filepath.Join(dir, ".control"), 0o700); err != nil { // of a crash in the middle of a start
		t.Fatal(err)
	}
}

func TestWhatACrashLeftIsReplaced(t *testing.T) {
	dir := t.TempDir()
	leave(t, dir)
	if err := Client(dir).Call(t.Context(), "GET", "/ping", nil, &reply{}); !errors.Is(err, ErrNotRunning) {
		t.Errorf("got %v", err)
	}
	s := serve(t, dir, greeter())
	defer closeIt(t, s)
	if err := Client(dir).Call(t.Context(), "GET", "/ping", nil, &reply{}); err != nil {
		t.Error(err)
	}
}

func TestOneServesADirectory(t *testing.T) {
	dir := t.TempDir()
	s := serve(t, dir, greeter())
	if _, err := Take(dir); !errors.Is(err, ErrInUse) {
		t.Errorf("got %v", err)
	}
	if err := Client(dir).Call(t.Context(), "GET", "/ping", nil, &reply{}); err != nil {
		t.Errorf("the first one is gone: %v", err)
	}
	closeIt(t, s)
	closeIt(t, serve(t, dir, greeter()))
	if _, err := Take("/nowhere"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

// A Unix socket's address has 108 octets; a data directory may be deeper.
func TestADeepDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("deep/", 40))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	s := serve(t, dir, greeter())
	if err := Client(dir).Call(t.Context(), "GET", "/ping", nil, &reply{}); err != nil {
		t.Error(err)
	}
	closeIt(t, s)
	if err := Client(dir).Call(t.Context(), "GET", "/ping", nil, &reply{}); !errors.Is(err, ErrNotRunning) {
		t.Errorf("got %v", err)
	}
}

func TestCloseCancelsWhatIsUnderWay(t *testing.T) {
	dir, begun := t.TempDir(), make(chan struct{})
	mux := http.NewServeMux()
	mux.Handle("GET /wait", JSON(func(ctx context.Context, _ struct{}) (reply, error) {
		close(begun)
		<-ctx.Done()
		return reply{}, errors.New("stopped in the middle")
	}))
	s, got := serve(t, dir, mux), make(chan error, 1)
	go func() { got <- Client(dir).Call(context.Background(), "GET", "/wait", nil, &reply{}) }()
	<-begun
	closeIt(t, s)
	if err := <-got; err == nil || err.Error() != "stopped in the middle" {
		t.Errorf("got %v", err)
	}
}

// A caller who leaves, by Ctrl-C, ends what was done for it.
func TestACallerMayLeave(t *testing.T) {
	dir, begun, ended := t.TempDir(), make(chan struct{}), make(chan struct{})
	mux := http.NewServeMux()
	mux.Handle("POST /wait", JSON(func(ctx context.Context, _ question) (reply, error) {
		defer close(ended)
		close(begun)
		<-ctx.Done()
		return reply{}, ctx.Err()
	}))
	s := serve(t, dir, mux)
	defer closeIt(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	got := make(chan error, 1)
	go func() { got <- Client(dir).Call(ctx, "POST", "/wait", question{"ada"}, &reply{}) }()
	<-begun
	cancel()
	if err := <-got; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	<-ended
}

func TestBodiesAreBounded(t *testing.T) {
	dir := t.TempDir()
	mux := http.NewServeMux()
	mux.Handle("POST /hello", greeter())
	mux.HandleFunc("GET /endless", func(w http.ResponseWriter, _ *http.Request) {
		for range maxAnswer/1024 + 1 {
			if _, err := w.Write(make([]byte, 1024)); err != nil {
				return
			}
		}
	})
	mux.HandleFunc("GET /hangup", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	s := serve(t, dir, mux)
	defer closeIt(t, s)
	for _, test := range []struct {
		method, path string
		in           any
		want         string
	}{
		{"POST", "/hello", question{strings.Repeat("a", maxBody)}, "request body too large"},
		{"GET", "/endless", nil, "read answer of postern serve"},
		{"GET", "/hangup", nil, "went away before it answered"},
	} {
		err := Client(dir).Call(t.Context(), test.method, test.path, test.in, &reply{})
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %s", test.path, err, test.want)
		}
	}
}

func TestErrorsSayWhatToDo(t *testing.T) {
	for err, want := range map[error]string{
		&net.OpError{Op: "dial", Err: syscall.EACCES}: "run as the user of postern serve, or as root",
		context.DeadlineExceeded:                      "gave no answer within 10m0s",
	} {
		if got := Client("/d").explain(err).Error(); !strings.Contains(got, want) {
			t.Errorf("%v is explained as %s", err, got)
		}
	}
}
