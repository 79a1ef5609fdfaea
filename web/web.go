// Package web is the dashboard: a page, a small JSON API, one WebSocket that tails the log, health and
// metrics.
//
// New makes a Server from the log's Reader and a few functions that tell how things are; its Handler is
// served by an http.Server of the caller's, and Close ends the WebSockets. There are no accounts yet: the
// caller listens on loopback only (CheckLoopback), and requests that name any other host are refused.
//
// Invariants:
//   - Nothing is shown that is not committed: every frame comes from the log's Tail or Snapshot.
//   - Who reads is on record before the answer goes out (Options.Record), once a minute for each address and thing.
//   - Nobody waits for a viewer. A slow browser lags, then loses its connection, and resumes from the last
//     record it saw; the log does not know of it.
//   - What came over the wire is data in JSON, and text in the page; the policy sent with every answer lets
//     no markup or script of anybody else's run.
//
// The page's sources are in web/ui; web/dist is what .ci/ui builds from them.
package web

import (
	"context"
	"log/slog"
	"net/http"
	"sync"

	"github.com/gorilla/websocket"

	"postern/audit"
	"postern/proxy"
)

// Options say what the dashboard shows. Log, Health and Stats are required.
type Options struct {
	Log    *audit.Reader
	Health func() audit.Health // of the log
	Stats  func() proxy.Stats  // of the relay

	Ready        func() error         // nil when mail clients are served; nil func: always ready
	Certificates func() []Certificate // in service or awaited; nil func: none
	Turns        func() []Turn        // how often certificates were obtained, failed and so on; nil func: never
	Anchors      func() []Anchor      // where checkpoints are carried to; nil func: nowhere
	Warnings     []string             // settings that somebody ought to look at, in words
	Version      string               // of the program
	Hint         []string             // commands that make the first session, for an empty page
	Record       func(proxy.Event)    // keeps who read the log; nil func: nobody does
	Logger       *slog.Logger         // tells what the browser is not told; nil discards
}

// Server serves the dashboard. Make it with New.
type Server struct {
	o        Options
	handler  http.Handler
	upgrader websocket.Upgrader
	accesses accesses

	ctx  context.Context // ends with Close, and with it every viewer
	stop context.CancelFunc

	mu      sync.Mutex
	closed  bool // guarded by mu, as is viewers.Add
	watched int  // viewers now
	viewers sync.WaitGroup
}

// New makes a Server. It starts nothing that must be stopped until a browser comes.
func New(o Options) *Server {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Ready == nil {
		o.Ready = func() error { return nil }
	}
	if o.Certificates == nil {
		o.Certificates = func() []Certificate { return nil }
	}
	if o.Turns == nil {
		o.Turns = func() []Turn { return nil }
	}
	if o.Anchors == nil {
		o.Anchors = func() []Anchor { return nil }
	}
	s := &Server{o: o, upgrader: newUpgrader(), accesses: accesses{record: o.Record}}
	s.ctx, s.stop = context.WithCancel(context.Background())
	s.handler = s.routes()
	return s
}

// Handler returns what answers the dashboard's requests.
func (s *Server) Handler() http.Handler { return s.handler }

// Close tells every viewer that the server goes away and waits until they are gone. The http.Server in
// front does not know of WebSockets: call Close beside its Shutdown.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.stop()
	s.viewers.Wait()
}

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /", newAssets())
	mux.Handle("GET /api/sessions", s.answer(s.sessions))
	mux.Handle("GET /api/sessions/{id}", s.answer(s.session))
	mux.Handle("GET /api/sessions/{id}/records", s.answer(s.records))
	mux.Handle("GET /api/anchors", s.answer(s.anchors))
	mux.HandleFunc("GET /ws", s.watch)
	mux.HandleFunc("GET /healthz", s.health)
	mux.Handle("GET /metrics", s.metrics())
	return guard(mux)
}
