package proxy

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"postern/proxy/pop3"
)

// session is one client's connection and the backend's behind it, from accept to end.
type session struct {
	server   *Server
	id       SessionID
	mode     Mode
	listener string
	peer     netip.AddrPort
	link     link
	began    time.Time
	refusal  *ending // why it was let in only to be told no

	dialled atomic.Pointer[net.Conn] // the backend's connection, for cut

	// Owned by the session's goroutine.
	client    *client
	backend   *backend // nil until dialled
	connect   *Event   // recorded with the first other event: a silent probe is only counted; nil when long recorded
	told      bool     // connect is recorded
	inTLS     bool
	loggedIn  bool
	failed    bool      // a login was refused: the backend may yet quote what was tried
	secretive bool      // credentials were sent after login: what follows may be more of them
	overfull  bool      // logged in, as one too many of its user
	restless  bool      // it could not park, and keeps its goroutine from then on
	early     int       // commands so far
	refusals  int       // of them, refused by the proxy
	ahead     int       // how many of the commands in the client's read buffer the backend has already: see follow
	loginBy   time.Time // when a login must have succeeded
	idleBy    time.Time // when, after login, the next command must have come
	quietBy   time.Time // when the backend is watched, the client having sent nothing whole; zero: the wait has not begun
	claimed   string    // of the last USER command
	user      string    // of the last USER command that the backend took
	vouched   []string  // the names in the client's certificate, when they matter
	owner     string    // of the maildrop, as counted against the limit per user; "" before login
	maildrop  maildrop
	opened    *Event // where client.opening lies, from one to the next; nil while the session rests
	timestamp []byte // of the greeting, kept to compute APOP
	line      []byte // the command being answered: the read buffer may move under it
	scratch   []byte // its canonical form on its way to the backend

	parking parking
}

func newSession(s *Server, conn net.Conn, mode Mode, listener string) *session {
	now := time.Now()
	ss := &session{
		server: s, id: NewSessionID(now), mode: mode, listener: listener, peer: addrPort(conn.RemoteAddr()),
		began: now, client: newClient(conn, s.limits.Write, &s.counts),
	}
	ss.client.record = ss.record
	ss.link = s.linkOf(ss.peer, addrPort(conn.LocalAddr()))
	ss.connect = &Event{
		Session: ss.id, Time: now, Kind: KindConnect, Peer: ss.peer, Listener: listener, Backend: s.Backend,
	}
	return ss
}

// run is the session's goroutine until its first rest.
func (s *session) run() {
	deepen(false)
	s.proceed(s.begin())
}

// begin brings both sides together.
func (s *session) begin() error {
	if s.server.isOurs(s.link) {
		return s.loop()
	}
	if s.mode == ModeTLS {
		facts, err := s.handshake()
		if err != nil {
			return err
		}
		if s.connect.TLS = facts; facts.ALPN == acmeProtocol {
			return errEOF
		}
	}
	err := s.open()
	s.awaiting()
	return err
}

// open dials the backend and passes its greeting on.
func (s *session) open() error {
	s.loginBy = time.Now().Add(s.server.limits.Login)
	if s.refusal != nil {
		return s.refusal
	}
	if err := s.server.Recorder.Ready(); err != nil {
		return clientEnd(err)
	}
	if err := s.dial(); err != nil {
		return err
	}
	if s.server.BackendSecurity == SecurityTLS {
		if err := s.secure(); err != nil {
			return err
		}
	}
	greeting, err := s.status(pop3.MaxStatus)
	if err != nil {
		return s.unbacked(err)
	}
	if s.server.BackendSecurity == SecuritySTLS && pop3.ParseReply(greeting).Status == pop3.StatusOK {
		greeting = bytes.Clone(greeting)
		if err := s.upgrade(); err != nil {
			return err
		}
	}
	s.server.found()
	return s.greet(greeting)
}

func (s *session) loop() error {
	s.anomaly("loop", SideProxy)
	return errLoop
}

func (s *session) dial() error {
	conn, err := s.server.dial()
	if err != nil {
		return s.unbacked(err)
	}
	l := s.server.limits
	s.backend = &backend{
		conn: conn, socket: newPeeker(conn), link: s.server.linkOf(addrPort(conn.LocalAddr()), addrPort(conn.RemoteAddr())),
		writeLimit: l.Write, replyLimit: l.Reply,
	}
	s.dialled.Store(&conn)
	if s.server.cutting.Err() != nil {
		s.cut()
	}
	if s.server.addOurs(s.backend.link) {
		return s.loop()
	}
	return nil
}

func (s *session) unbacked(err error) error {
	var e *ending
	if errors.As(err, &e) && e.side == SideClient {
		return err
	}
	err = remedied(err)
	s.server.lost(err)
	return &ending{side: SideBackend, reason: "unavailable", farewell: unavailable, err: err}
}

// greet passes the greeting on byte for byte, for it may hold the APOP timestamp (RFC 1939 section 7).
func (s *session) greet(line []byte) error {
	reply := pop3.ParseReply(line)
	s.connect.Status = reply.Status.String()
	s.connect.Text = pop3.Text(reply.Text)
	if s.server.Rules.Translate == TranslateAPOP {
		s.timestamp = pop3.APOPTimestamp(line)
	}
	if reply.Status != pop3.StatusOK && reply.Status != pop3.StatusErr {
		s.anomaly("framing_uncertain", SideBackend)
		return errFraming
	}
	if err := s.client.queueLine(line); err != nil {
		return clientEnd(err)
	}
	if reply.Status == pop3.StatusErr {
		return errGreeting
	}
	return s.replied()
}

// step reads one command and sees it answered.
func (s *session) step() error {
	line, err := s.command()
	if err != nil {
		return err
	}
	s.server.counts.commands.Add(1)
	if s.early++; s.early > maxEarly && !s.loggedIn {
		return errTooMany
	}
	s.line = append(s.line[:0], line...)
	defer s.forgetLine()
	c, err := pop3.ParseCommand(s.line)
	switch {
	case errors.Is(err, pop3.ErrControl):
		s.anomaly("control_octet", SideClient)
		return s.refuse(pop3.Command{}, "-ERR control octets are not allowed in commands")
	case err != nil:
		return s.refuse(pop3.Command{}, "-ERR empty command")
	}
	return s.answer(c)
}

// command returns the next command line. Replies go out when no further command waits, so that pipelined
// ones share a write and a commit.
func (s *session) command() ([]byte, error) {
	skipped := 0
	for {
		if line, whole := s.client.next(); whole {
			if skipped == 0 && len(line) <= bound(line) {
				return line, nil
			}
			s.anomaly("line_too_long", SideClient)
			skipped = 0
			if err := s.refuse(pop3.Command{}, "-ERR line too long"); err != nil {
				return nil, err
			}
			continue
		}
		if waiting := len(s.client.pending()); skipped > 0 || waiting > bound(s.client.pending())+1 {
			if skipped += waiting; skipped > maxSkipped {
				s.anomaly("line_too_long", SideClient)
				return nil, errLineLong
			}
			s.client.r = s.client.w // the rest of the line goes the same way
		}
		if err := s.awaitClient(bound(s.client.pending()) + 2); err != nil {
			return nil, err
		}
	}
}

// awaiting says that the client's next line is due. The clocks of the wait start when there is one: a pipelined command
// is there already, and to read the time once more is 3 % of what it takes.
func (s *session) awaiting() { s.quietBy = time.Time{} }

// startClocks begins a wait for the client's next line, unless it has begun.
func (s *session) startClocks() {
	if !s.quietBy.IsZero() {
		return
	}
	now := time.Now()
	s.idleBy = now.Add(s.server.limits.Idle)
	s.quietBy = now.Add(quiet)
}

// maxSkipped is how many octets of one over-long line are read past before the session ends.
const maxSkipped = 1 << 20

// Bounds on what one connection can do to the log for nothing.
const (
	maxRefusals = 20  // commands that the proxy refuses, in one session
	maxEarly    = 100 // commands before login
)

// forgetLine wipes the command, and gives back what an uncommonly long one took.
func (s *session) forgetLine() {
	clear(s.line)
	if cap(s.line) > firstLine {
		s.line, s.scratch = nil, nil
	}
}

// refuse answers a command with a -ERR of the proxy's own: the backend never sees it. A client that earns too many
// is let go.
//
//go:noinline
func (s *session) refuse(c pop3.Command, reply string) error {
	if err := s.replyLocally(s.event(c), reply); err != nil {
		return err
	}
	if s.refusals++; s.refusals >= maxRefusals {
		return errTooMany.silent()
	}
	return nil
}

// replyLocally records ev as answered by the proxy with reply, a whole status line, and queues it.
//
//go:noinline
func (s *session) replyLocally(ev Event, reply string) error {
	ev.Local = true
	ev.Duration = time.Since(ev.Time)
	note(&ev, pop3.ParseReply([]byte(reply)))
	return s.reply(ev, []byte(reply))
}

// reply records ev and queues line, its status line: the whole reply, or what stands for it.
func (s *session) reply(ev Event, line []byte) error {
	s.client.due = s.record(ev)
	if err := s.client.queueLine(line); err != nil {
		return clientEnd(err)
	}
	return nil
}

// event begins the record of c.
func (s *session) event(c pop3.Command) Event {
	ev := Event{Kind: KindCommand, Time: time.Now()}
	if len(c.Name) == 0 {
		ev.Verb = Redacted
		return ev
	}
	ev.Verb, ev.Arg = c.Record(s.loggedIn && !s.secretive)
	if s.loggedIn {
		ev.Message = c.Message()
		ev.UID = s.maildrop.uids.of(ev.Message)
	}
	return ev
}

// note puts a reply's status line into the record. A line that quotes a secret anywhere is left out whole.
func note(ev *Event, r pop3.Reply, secrets ...[]byte) {
	ev.Status = r.Status.String()
	ev.Code, ev.Text = pop3.Text(r.Code), pop3.Text(r.Text)
	if pop3.Quotes(r.Line, secrets...) {
		ev.Text = Redacted
		if !pop3.KnownCode(r.Code) {
			ev.Code = ""
		}
	}
}

// record gives ev to the recorder, behind the session's own beginning.
func (s *session) record(ev Event) Receipt {
	if !s.told {
		s.told = true
		s.server.Recorder.Record(*s.connect)
	}
	if opened := s.client.opening; opened != nil {
		s.client.opening = nil
		s.record(*opened)
	}
	ev.Session = s.id
	if ev.Time.IsZero() {
		ev.Time = time.Now()
	}
	return s.server.Recorder.Record(ev)
}

// anomaly records a breach of the protocol under its stable name.
//
//go:noinline
func (s *session) anomaly(name, side string) {
	s.client.due = s.record(Event{Kind: KindAnomaly, Detail: name, Side: side})
}

// wake makes the session look at whether the server is closing. Safe from any goroutine.
func (s *session) wake() {
	s.client.socket.Conn.SetReadDeadline(past)
	s.unpark()
}

// cut ends both connections from outside; the session does the rest. Safe from any goroutine.
func (s *session) cut() {
	s.client.socket.Conn.Close()
	if conn := s.dialled.Load(); conn != nil {
		(*conn).Close()
	}
	s.unpark()
}
