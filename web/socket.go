package web

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"postern/audit"
)

// Bounds of a viewer. The page takes a link for dead after 10 s without a frame.
const (
	maxViewers = 64               // more are answered 503
	backlog    = 1000             // records before the newest that a fresh page is sent
	maxRecent  = 100              // ended sessions that a fresh page is told of
	beatEvery  = 2 * time.Second  // while nothing happens, too
	pingEvery  = 10 * time.Second // a browser answers by itself
	pongWait   = 30 * time.Second // without an answer it is gone
	writeWait  = 10 * time.Second // for one frame; a browser that reads none in this time must resume
	closeWait  = time.Second      // for the last frame when the server goes away
	maxMessage = 512              // octets; a viewer has nothing to say
)

// hello is the first frame of a stream: how things were when Last was the newest record, and where the
// records begin that follow.
type hello struct {
	Type    string    `json:"type"` // "hello"
	Version string    `json:"version"`
	Log     string    `json:"log"`   // which log this is: a page that followed another begins anew
	Now     time.Time `json:"now"`   // the server's clock
	Last    int64     `json:"last"`  // Live and Totals hold the records up to here
	After   int64     `json:"after"` // the stream begins with the record after this one

	Live      []audit.Session `json:"live"`
	LiveCount int64           `json:"live_count"` // may be more than are in Live
	Recent    []audit.Session `json:"recent"`     // ended, newest first
	Day       string          `json:"day"`        // the UTC day that Totals are of
	Totals    audit.Totals    `json:"totals"`

	Health   audit.Health `json:"health"`
	Problems []string     `json:"problems"` // what clients notice now
	Warnings []string     `json:"warnings"` // what somebody ought to look at
	Hint     []string     `json:"hint"`
}

// batch is the frame of records. Last is the newest record of the log when the frame was made, so that
// the page can tell how far behind it is.
type batch struct {
	Type    string         `json:"type"` // "records"
	Last    int64          `json:"last"`
	Records []audit.Record `json:"records"`
}

// beat is the frame that tells that the link is alive.
type beat struct {
	Type     string       `json:"type"` // "beat"
	Last     int64        `json:"last"`
	Now      time.Time    `json:"now"`
	Sessions int64        `json:"sessions"` // that the relay holds now
	Health   audit.Health `json:"health"`
	Problems []string     `json:"problems"`
	Warnings []string     `json:"warnings"`
}

// newUpgrader leaves CheckOrigin alone: gorilla's own refuses an Origin that is not the Host asked for.
func newUpgrader() websocket.Upgrader {
	return websocket.Upgrader{
		HandshakeTimeout: writeWait,
		ReadBufferSize:   maxMessage,
		WriteBufferSize:  16 << 10,
		WriteBufferPool:  &sync.Pool{},
	}
}

// viewer is one WebSocket. Its handler's goroutine is the only one that writes.
type viewer struct {
	s       *Server
	conn    *websocket.Conn
	batches chan []audit.Record // from tail; unbuffered, so that a slow browser halts its own tail only
}

// watch answers /ws?after=SEQ&log=ID. Without after, or when log is not this one, the stream begins a
// little before the newest record.
func (s *Server) watch(w http.ResponseWriter, r *http.Request) {
	if !s.enter() {
		http.Error(w, fmt.Sprintf("the dashboard has %d viewers already, or is closing", maxViewers), http.StatusServiceUnavailable)
		return
	}
	defer s.leave()
	conn, err := s.upgrader.Upgrade(w, r, nil)
	if err != nil {
		s.o.Logger.Debug("refuse viewer", "err", err)
		return
	}
	s.accesses.note(r, "live")
	v := &viewer{s: s, conn: conn, batches: make(chan []audit.Record)}
	v.serve(r.FormValue("after"), r.FormValue("log"))
}

// enter takes a viewer's place, unless there is none or the server closes.
func (s *Server) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.watched >= maxViewers {
		return false
	}
	s.watched++
	s.viewers.Add(1)
	return true
}

func (s *Server) leave() {
	s.mu.Lock()
	s.watched--
	s.mu.Unlock()
	s.viewers.Done()
}

// watching returns how many viewers there are.
func (s *Server) watching() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.watched
}

// serve runs the viewer until the browser leaves, stalls, or the server closes.
func (v *viewer) serve(after, log string) {
	ctx, cancel := context.WithCancel(v.s.ctx)
	var parts sync.WaitGroup
	parts.Go(func() { v.read(cancel) })
	written := make(chan struct{})
	hurry := context.AfterFunc(ctx, func() { v.hurry(written) })

	code, err := v.write(ctx, &parts, after, log)
	if err != nil && ctx.Err() == nil {
		v.s.o.Logger.Debug("viewer ends", "addr", v.conn.RemoteAddr().String(), "err", err)
	}
	hurry()
	close(written)
	cancel()
	message := websocket.FormatCloseMessage(code, "")
	_ = v.conn.WriteControl(websocket.CloseMessage, message, time.Now().Add(closeWait))
	_ = v.conn.Close()
	parts.Wait()
}

// hurry ends a write that a stalled browser holds up, which must not hold up Close. A deadline would not do: a write that
// begins sets its own.
func (v *viewer) hurry(written <-chan struct{}) {
	limit := time.NewTimer(closeWait)
	defer limit.Stop()
	select {
	case <-limit.C:
		_ = v.conn.NetConn().Close()
	case <-written:
	}
}

// read takes what the browser sends, which is answers to pings, until it leaves.
func (v *viewer) read(cancel context.CancelFunc) {
	defer cancel()
	extend := func(string) error { return v.conn.SetReadDeadline(time.Now().Add(pongWait)) }
	v.conn.SetReadLimit(maxMessage)
	v.conn.SetPongHandler(extend)
	_ = extend("")
	for {
		if _, _, err := v.conn.NextReader(); err != nil {
			return
		}
	}
}

// write sends the hello, then records as they come and beats in between. It returns the close code.
func (v *viewer) write(ctx context.Context, parts *sync.WaitGroup, after, log string) (int, error) {
	h, err := v.s.hello(ctx, after, log)
	if err != nil {
		return websocket.CloseInternalServerErr, fmt.Errorf("take a snapshot of the log: %w", err)
	}
	if err := v.send(h); err != nil {
		return websocket.ClosePolicyViolation, err
	}
	failed := make(chan error, 1)
	parts.Go(func() { failed <- v.tail(ctx, h.After) })
	beats, pings := time.NewTicker(beatEvery), time.NewTicker(pingEvery)
	defer beats.Stop()
	defer pings.Stop()
	for err == nil {
		select {
		case records := <-v.batches:
			err = v.send(batch{Type: "records", Last: v.s.newest(records), Records: records})
		case <-beats.C:
			err = v.send(v.s.beat())
		case <-pings.C:
			err = v.conn.WriteControl(websocket.PingMessage, nil, time.Now().Add(writeWait))
		case err := <-failed:
			if ctx.Err() != nil { // the tail ended with it
				return websocket.CloseGoingAway, nil
			}
			return websocket.CloseInternalServerErr, fmt.Errorf("follow the log: %w", err)
		case <-ctx.Done():
			return websocket.CloseGoingAway, nil
		}
	}
	return websocket.ClosePolicyViolation, err
}

// tail hands on the log's records from the one after the given number until ctx ends.
func (v *viewer) tail(ctx context.Context, after int64) error {
	for records, err := range v.s.o.Log.Tail(ctx, after, audit.Filter{}) {
		if err != nil {
			return err
		}
		select {
		case v.batches <- records:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return ctx.Err()
}

func (v *viewer) send(frame any) error {
	_ = v.conn.SetWriteDeadline(time.Now().Add(writeWait))
	if err := v.conn.WriteJSON(frame); err != nil {
		return fmt.Errorf("write to viewer: %w", err)
	}
	return nil
}

// hello gathers the first frame. Ended sessions are read before the snapshot: one that is among them is
// ended there too, so that no session is told twice.
func (s *Server) hello(ctx context.Context, after, log string) (hello, error) {
	now := time.Now().UTC()
	h := hello{Type: "hello", Version: s.o.Version, Now: now, Day: now.Format(time.DateOnly), Health: s.o.Health(), Hint: list(s.o.Hint)}
	h.Problems, h.Warnings = s.troubles()
	first, err := s.o.Log.Records(ctx, 0, 1, audit.Filter{})
	if err != nil {
		return h, err
	}
	recent, err := s.o.Log.Sessions(ctx, audit.SessionQuery{Limit: maxRecent})
	if err != nil {
		return h, err
	}
	h.Recent = ended(recent)
	snapshot, err := s.o.Log.Snapshot(ctx, now.Truncate(24*time.Hour))
	if err != nil {
		return h, err
	}
	h.Log = identity(first)
	h.Last, h.Live, h.LiveCount, h.Totals = snapshot.LastSeq, list(snapshot.Live), snapshot.LiveCount, snapshot.Totals
	h.After = max(0, h.Last-backlog)
	if seq, err := strconv.ParseInt(after, 10, 64); err == nil && log == h.Log && seq >= 0 && seq <= h.Last {
		h.After = seq
	}
	return h, nil
}

// identity tells one log from another by the moment its first record was made.
func identity(first []audit.Record) string {
	if len(first) == 0 {
		return ""
	}
	return strconv.FormatInt(first[0].Seq, 36) + "." + strconv.FormatInt(first[0].Time.UnixNano(), 36)
}

func ended(sessions []audit.Session) []audit.Session {
	out := []audit.Session{}
	for _, s := range sessions {
		if s.State == audit.StateEnded {
			out = append(out, s)
		}
	}
	return out
}

func (s *Server) beat() beat {
	h := s.o.Health()
	b := beat{Type: "beat", Last: h.LastSeq, Now: time.Now().UTC(), Sessions: s.o.Stats().Sessions, Health: h}
	b.Problems, b.Warnings = s.troubles()
	return b
}

// newest is the number of the log's newest record; records were just read from it.
func (s *Server) newest(records []audit.Record) int64 {
	return max(s.o.Health().LastSeq, records[len(records)-1].Seq)
}
