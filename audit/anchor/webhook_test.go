package anchor

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// hook is a server that keeps what is posted to it.
type hook struct {
	*httptest.Server
	mu      sync.Mutex
	bodies  []string
	headers []http.Header
	instead http.HandlerFunc
}

func newHook(t *testing.T) *hook {
	t.Helper()
	h := &hook{}
	h.Server = httptest.NewServer(h)
	t.Cleanup(h.Close)
	return h
}

func (h *hook) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	instead := h.instead
	h.mu.Unlock()
	if instead != nil {
		instead(rw, r)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil || r.Method != http.MethodPost || r.URL.Path != "/secret-token" {
		http.Error(rw, "no", http.StatusBadRequest)
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.bodies, h.headers = append(h.bodies, string(body)), append(h.headers, r.Header)
	rw.WriteHeader(http.StatusNoContent)
}

func (h *hook) answers(instead http.HandlerFunc) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.instead = instead
}

func TestAWebhookGetsTheNotes(t *testing.T) {
	s, h := newScene(t), newHook(t)
	a := s.start(Options{Webhook: h.URL + "/secret-token", Version: "1.0"})
	got := s.arrives(a, s.grow(3))
	end(a)
	c, _ := s.log.Newest()
	h.mu.Lock()
	defer h.mu.Unlock()
	n := len(h.bodies) - 1
	if h.bodies[n] != c.Note || h.headers[n].Get("Content-Type") != "text/plain; charset=utf-8" || h.headers[n].Get("User-Agent") != "postern/1.0" {
		t.Errorf("posted %q with %v", h.bodies[n], h.headers[n])
	}
	if got.Kind != KindWebhook || "http://"+got.Name != h.URL {
		t.Errorf("status: %+v", got)
	}
}

// What goes wrong is told without the URL: its path is often all that keeps strangers out.
func TestAWebhookThatFails(t *testing.T) {
	s, h := newScene(t), newHook(t)
	elsewhere := newHook(t)
	for name, test := range map[string]struct {
		instead http.HandlerFunc
		want    string
	}{
		"broken":   {func(rw http.ResponseWriter, _ *http.Request) { http.Error(rw, "down", http.StatusBadGateway) }, `502 Bad Gateway: "down"`},
		"redirect": {http.RedirectHandler(elsewhere.URL, http.StatusTemporaryRedirect).ServeHTTP, "redirects are not followed"},
		"endless":  {endless, "more than 65536 octets"},
		"cut":      {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "EOF"},
		"a novel":  {func(rw http.ResponseWriter, _ *http.Request) { rw.Header().Set("X", strings.Repeat("x", 20_000)) }, "headers exceeded"},
	} {
		t.Run(name, func(t *testing.T) {
			h.answers(test.instead)
			a := s.start(Options{Webhook: h.URL + "/secret-token"})
			s.fails(a, test.want)
			h.answers(nil)
			s.arrives(a, 1)
			end(a)
		})
	}
	gone := httptest.NewServer(nil)
	gone.Close()
	a := s.start(Options{Webhook: strings.Replace(gone.URL, "//", "//user:hunter2@", 1) + "/secret-token"})
	s.fails(a, "connection refused")
	end(a)
	if said := s.said.String(); strings.Contains(said, "secret-token") || strings.Contains(said, "hunter2") {
		t.Errorf("the log tells the URL:\n%s", said)
	}
	if len(elsewhere.bodies) > 0 {
		t.Error("a redirect was followed")
	}
}
