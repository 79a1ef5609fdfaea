package proxy

import (
	"errors"
	"net"
	"net/netip"
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
	prefix   netip.Prefix // peer, as it is counted
	began    time.Time
	refusal  *ending // why it was let in only to be told no

	// Owned by the session's goroutine.
	client    *client
	backend   *backend // nil until dialled
	connect   Event    // recorded with the first other event: a silent probe is only counted
	told      bool     // connect is recorded
	inTLS     bool
	loggedIn  bool
	loginBy   time.Time // when a login must have succeeded
	idleBy    time.Time // when, after login, the next command must have come
	user      string    // of the last USER command
	owner     string    // of the maildrop, as counted against the limit per user; "" before login
	overfull  bool      // logged in, as one too many of its user
	maildrop  maildrop
	timestamp []byte // of the greeting, kept to compute APOP
	line      []byte // the command being answered: the read buffer may move under it
	scratch   []byte // its canonical form on its way to the backend
}

func newSession(s *Server, conn net.Conn, mode Mode, listener string) *session {
	now := time.Now()
	ss := &session{
		server: s, id: NewSessionID(now), mode: mode, listener: listener, peer: addrPort(conn.RemoteAddr()),
		began: now, client: newClient(conn, s.limits.Write, &s.counts),
	}
	ss.link = link{dialled: ss.peer, accepted: addrPort(conn.LocalAddr())}
	ss.prefix = prefixOf(ss.peer.Addr())
	ss.connect = Event{
		Session: ss.id, Time: now, Kind: KindConnect, Peer: ss.peer, Listener: listener, Backend: s.Backend,
	}
	return ss
}

// run is the session's goroutine.
func (s *session) run() {
	defer s.server.leave(s)
	s.finish(s.serve())
}

// serve speaks with both sides until something ends the session, and returns that.
func (s *session) serve() error {
	if s.server.isOurs(s.link) {
		return s.loop()
	}
	if s.mode == ModeTLS {
		if err := s.handshake(); err != nil {
			return err
		}
		if s.connect.TLS = s.tlsFacts(); s.connect.TLS.ALPN == acmeProtocol {
			return errEOF
		}
	}
	if err := s.open(); err != nil {
		return err
	}
	for {
		if err := s.step(); err != nil {
			return err
		}
	}
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
	greeting, err := s.status(pop3.MaxStatus)
	if err != nil {
		return s.unbacked(err)
	}
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
		conn: conn, link: link{addrPort(conn.LocalAddr()), addrPort(conn.RemoteAddr())}, writeLimit: l.Write, replyLimit: l.Reply,
		replyBy: time.Now().Add(l.Reply),
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
	s.server.counts.unbacked.Add(1)
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
	s.line = append(s.line[:0], line...)
	defer clear(s.line)
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
	s.idleBy = time.Now().Add(s.server.limits.Idle)
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
		if err := s.awaitCommand(); err != nil {
			return nil, err
		}
	}
}

// maxSkipped is how many octets of one over-long line are read past before the session ends.
const maxSkipped = 1 << 20

// refuse answers a command locally: the backend never sees it.
func (s *session) refuse(c pop3.Command, reply string) error {
	ev := s.event(c)
	return s.replyLocally(ev, reply)
}

// replyLocally records ev as answered by the proxy with reply, a whole status line, and queues it.
func (s *session) replyLocally(ev Event, reply string) error {
	ev.Local = true
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
	ev.Verb, ev.Arg = c.Record(s.loggedIn)
	if s.loggedIn {
		ev.Message = c.Message()
		ev.UID = s.maildrop.uids.of(ev.Message)
	}
	return ev
}

// note puts a reply's status line into the record.
func note(ev *Event, r pop3.Reply, secrets ...[]byte) {
	ev.Status = r.Status.String()
	ev.Code = pop3.Scrub(pop3.Text(r.Code), secrets...)
	ev.Text = pop3.Scrub(pop3.Text(r.Text), secrets...)
}

// record gives ev to the recorder, behind the session's own beginning.
func (s *session) record(ev Event) Receipt {
	if !s.told {
		s.told = true
		s.server.Recorder.Record(s.connect)
	}
	ev.Session = s.id
	if ev.Time.IsZero() {
		ev.Time = time.Now()
	}
	return s.server.Recorder.Record(ev)
}

// anomaly records a breach of the protocol under its stable name.
func (s *session) anomaly(name, side string) {
	s.client.due = s.record(Event{Kind: KindAnomaly, Detail: name, Side: side})
}

// wake makes the session look at whether the server is closing. Safe from any goroutine.
func (s *session) wake() { s.client.socket.Conn.SetReadDeadline(past) }

// cut ends the client's connection from outside; the session does the rest. Safe from any goroutine.
func (s *session) cut() { s.client.socket.Conn.Close() }
