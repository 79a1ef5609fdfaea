package proxy

import (
	"bytes"
	"slices"
	"strings"
	"time"

	"postern/proxy/pop3"
)

// answer sees one command answered: by the proxy where it must, by the backend otherwise.
func (s *session) answer(c pop3.Command) error {
	switch c.Verb {
	case "STLS":
		return s.stls(c)
	case "XCLIENT", "XOIP", "PROXY":
		s.anomaly("forged_client", SideClient)
		return s.refuse(c, "-ERR [SYS/PERM] not accepted from a client")
	}
	if !s.inTLS && !inClear(c.Verb) {
		return s.refuseInClear(c)
	}
	switch {
	case c.Verb == "CAPA":
		return s.capa(c)
	case c.Verb == "" && s.server.Rules.RefuseUnknown && !s.siteVerb(c):
		return s.refuse(c, "-ERR unknown command")
	case c.Dialogue() && s.translates(c):
		return s.translate(c)
	case c.Dialogue():
		return s.auth(c)
	case c.Verb == "AUTH":
		return s.mechanisms(c)
	case c.Verb == "QUIT":
		return s.quit(c)
	case c.Verb == "USER":
		s.claimed = pop3.Text(c.Arg)
	case c.Verb == "DELE" && !deletable(c):
		return s.refuse(c, "-ERR DELE wants one message number")
	case c.Verb == "XTND" && bytes.EqualFold(firstWord(c.Arg), []byte("XMIT")):
		return s.refuse(c, "-ERR [SYS/PERM] sending mail is not supported")
	case c.Verb == "DELE" && len(s.maildrop.deleted) >= maxDeleted:
		return s.refuse(c, "-ERR [SYS/TEMP] too many messages are marked as deleted, QUIT first")
	}
	return s.relay(c)
}

// deletable reports whether every server reads the argument of a DELE as the same number: some take "1x" for 1 and
// 4294967297 too, and a delete without its message on record would break the promise.
func deletable(c pop3.Command) bool {
	for _, d := range c.Arg {
		if d < '0' || d > '9' {
			return false
		}
	}
	return c.Message() > 0
}

func firstWord(arg []byte) []byte {
	word, _, _ := bytes.Cut(arg, []byte{' '})
	return word
}

// inClear reports whether a verb may pass before TLS. Nothing else may, so that nothing said in clear, by the
// client or by somebody in between, has to be forgotten inside TLS (RFC 2595 section 4).
func inClear(verb string) bool {
	return verb == "CAPA" || verb == "NOOP" || verb == "QUIT"
}

func (s *session) refuseInClear(c pop3.Command) error {
	_, initial := c.Mechanism()
	if c.Verb == "PASS" || c.Verb == "AUTH" && initial != nil {
		s.anomaly("cleartext_password", SideClient)
	}
	switch c.Verb {
	case "USER", "PASS", "APOP", "RPOP", "AUTH":
		return s.refuse(c, "-ERR [AUTH] TLS is required: send STLS first")
	}
	return s.refuse(c, "-ERR TLS is required: send STLS first")
}

// stls puts TLS on the client's leg (RFC 2595 section 4). Octets that came behind the command were not sent
// by a client that waits for the reply: they would be an attacker's, read as if they came through TLS.
func (s *session) stls(c pop3.Command) error {
	switch {
	case s.mode == ModeTLS || s.inTLS:
		return s.refuse(c, "-ERR TLS is already active")
	case len(c.Arg) > 0:
		return s.refuse(c, "-ERR STLS takes no argument")
	case len(s.client.pending()) > 0:
		s.anomaly("stls_injection", SideClient)
		if err := s.refuse(c, errSTLS.farewell); err != nil {
			return err
		}
		return errSTLS.silent()
	}
	if err := s.replyLocally(s.event(c), "+OK begin TLS negotiation"); err != nil {
		return err
	}
	if err := s.client.flush(); err != nil {
		return clientEnd(err)
	}
	facts, err := s.handshake()
	if err != nil {
		return err
	}
	s.client.due = s.record(Event{Kind: KindTLS, TLS: facts})
	return nil
}

// maxList bounds a capability or mechanism list, in octets.
const maxList = 64 * 1024

// capa answers CAPA truthfully for this side of the proxy. When the backend has none the proxy answers.
func (s *session) capa(c pop3.Command) error {
	offer := s.offer()
	own := func(dst []byte) []byte {
		s.server.reach.pipelines.Store(false)
		return offer.Capabilities(dst)
	}
	rewrite := func(dst, body []byte) []byte {
		s.server.reach.pipelines.Store(pop3.Announces(body, "PIPELINING"))
		return offer.RewriteCapabilities(dst, body)
	}
	return s.list(c, "+OK capability list follows", own, rewrite)
}

// mechanisms answers the bare AUTH of Outlook and others. A backend without it says -ERR, which such clients
// expect; where the proxy has mechanisms of its own it answers with them.
func (s *session) mechanisms(c pop3.Command) error {
	offer := s.offer()
	if len(offer.Own) == 0 {
		return s.list(c, "", nil, offer.RewriteMechanisms)
	}
	return s.list(c, "+OK", offer.Mechanisms, offer.RewriteMechanisms)
}

func (s *session) offer() pop3.Offer {
	o := pop3.Offer{TLS: s.inTLS, STLS: s.mode == ModeSTLS}
	o.NoExternal = !s.server.external()
	if !s.loggedIn && s.server.Rules.translates() {
		o.Own = translated
	}
	return o
}

// siteVerb reports whether c is one of the site's own verbs.
func (s *session) siteVerb(c pop3.Command) bool {
	return c.Verb == "" && slices.ContainsFunc(s.server.Rules.Multiline, func(v string) bool {
		return strings.EqualFold(v, string(c.Name))
	})
}

// list relays a command whose body is a list that termination changes. When the backend refuses the command
// and own is not nil, the proxy answers with ownStatus and own.
func (s *session) list(c pop3.Command, ownStatus string, own func([]byte) []byte,
	rewrite func(dst, body []byte) []byte) error {
	ev := s.event(c)
	line, err := s.ask(c)
	if err != nil {
		return s.unanswered(ev, err)
	}
	reply := pop3.ParseReply(line)
	var lines []byte
	switch {
	case reply.Status == pop3.StatusOK:
		status := bytes.Clone(line)
		raw, err := s.collect()
		if err != nil {
			return s.unanswered(ev, err)
		}
		line, lines, reply = status, rewrite(nil, raw), pop3.ParseReply(status)
	case reply.Status != pop3.StatusErr:
		return s.unframed(ev)
	case own == nil:
		if err := s.relayStatus(c, ev, reply, line); err != nil {
			return err
		}
		return s.replied()
	default:
		line, lines, ev.Local = []byte(ownStatus), own(nil), true
		reply = pop3.ParseReply(line)
	}
	note(&ev, reply)
	return s.sayList(ev, line, lines)
}

// sayList is a whole reply with a body of the proxy's making. Once a part of it may be out, nothing but its end
// may follow.
func (s *session) sayList(ev Event, status, lines []byte) error {
	var body pop3.Body
	if err := s.say(status); err != nil {
		return s.partial(ev, body, err)
	}
	s.client.inReply = true
	begin := s.client.queued()
	body.Scan(lines)
	if err := s.client.queue(lines); err != nil {
		return s.cutShort(ev, body, begin, clientEnd(err))
	}
	if err := s.terminate(ev, body); err != nil {
		return err
	}
	return s.replied()
}

// collect reads a body whole, nothing of it being sent yet.
func (s *session) collect() ([]byte, error) {
	var all []byte
	_, err := s.body(func(p []byte) error {
		if all = append(all, p...); len(all) > maxList {
			s.anomaly("list_too_long", SideBackend)
			return errFraming
		}
		return nil
	})
	return all, err
}

// quit passes QUIT on. When deletes are pending the intention is on disk before the backend hears of it, and
// whatever becomes of the client, it is finished with the backend (RFC 1939 section 6).
func (s *session) quit(c pop3.Command) error {
	ev := s.event(c)
	if n := len(s.maildrop.deleted); n > 0 {
		s.client.due = s.record(Event{Kind: KindIntent, Verb: "QUIT", Count: int64(n)})
		if err := s.client.settle(); err != nil {
			return clientEnd(err)
		}
	}
	s.backend.quitting = true
	line, err := s.ask(c)
	if err != nil {
		return s.quitUnanswered(ev, err)
	}
	reply := pop3.ParseReply(line)
	switch reply.Status {
	case pop3.StatusErr:
		if err := s.relayStatus(c, ev, reply, line); err != nil {
			return err
		}
		return s.replied()
	case pop3.StatusOK:
		if err := s.relayStatus(c, ev, reply, line); err != nil {
			return err
		}
		return errQuit
	}
	s.anomaly("framing_uncertain", SideBackend)
	return s.quitUnanswered(ev, errFraming)
}

// quitUnanswered ends a session whose QUIT was sent and not answered: nobody can tell whether the deletes
// were committed.
func (s *session) quitUnanswered(ev Event, err error) error {
	err = s.unanswered(ev, err)
	for _, e := range s.maildrop.settleDeletes(DeleteUnknown) {
		s.client.due = s.record(e)
	}
	return err
}

// learn takes from a status line what the session must know, completes ev, and returns what is to be
// recorded behind it.
func (s *session) learn(c pop3.Command, reply pop3.Reply, ev *Event) []Event {
	ok := reply.Status == pop3.StatusOK
	s.attempt(c, ev, ok)
	if !ok {
		return nil
	}
	switch c.Verb {
	case "USER":
		s.user = s.claimed
	case "UIDL":
		s.maildrop.uids.add(reply.Text)
		if uid := s.maildrop.uids.octets(ev.Message); string(uid) != ev.UID {
			ev.UID = pop3.Text(uid)
		}
	case "LIST":
		s.maildrop.sizes.add(reply.Text)
	case "DELE":
		if n := c.Message(); n > 0 {
			s.maildrop.mark(n)
		}
	case "RSET":
		return s.maildrop.settleDeletes(DeleteRolledBack)
	case "QUIT":
		return s.maildrop.settleDeletes(DeleteCommitted)
	}
	return nil
}

// attempt notes the outcome of a login by PASS, RPOP or APOP.
func (s *session) attempt(c pop3.Command, ev *Event, ok bool) {
	switch {
	case c.Verb == "APOP":
		s.login(ev, pop3.Text(c.APOPUser()), "APOP", ok)
	case c.Verb != "PASS" && c.Verb != "RPOP":
	case ok:
		s.login(ev, s.user, "USER", ok)
	default:
		s.login(ev, s.claimed, "USER", ok)
	}
}

// login notes the outcome of a login attempt.
func (s *session) login(ev *Event, user, mechanism string, ok bool) {
	ev.User, ev.Mechanism, ev.Login = user, mechanism, LoginFailed
	s.secretive = s.loggedIn
	if !ok {
		s.failed = true
		return
	}
	ev.Login = LoginOK
	if !s.loggedIn {
		s.maildrop.forget()
	}
	s.loggedIn = true
	s.idleBy = time.Now().Add(s.server.limits.Idle)
	if !s.server.enter(s, user) {
		s.overfull = true
		ev.Login, ev.Detail, ev.Local = LoginFailed, errUserFull.reason, true
		note(ev, pop3.ParseReply([]byte(errUserFull.farewell)))
	}
}

// admitted ends a session whose user has too many; the backend has let it in, the proxy does not.
func (s *session) admitted() error {
	if s.overfull {
		return errUserFull
	}
	return nil
}

// loginFailed stands for every refusal of a login when the backend's own words are hidden.
const loginFailed = "-ERR [AUTH] login failed"

// spoken returns what the client hears of a status line: the line, but for the words of a login that failed, when
// they are hidden; the record keeps them. Codes that speak of the server and not of the user pass.
func (s *session) spoken(ev *Event, reply pop3.Reply, line []byte) []byte {
	if !s.server.Rules.HideLoginErrors || reply.Status != pop3.StatusErr ||
		len(reply.Code) > 0 && !bytes.EqualFold(reply.Code, []byte("AUTH")) {
		return line
	}
	switch ev.Verb {
	case "USER":
		line = []byte("+OK")
	case "PASS", "RPOP", "APOP", "AUTH":
		line = []byte(loginFailed)
	default:
		return line
	}
	ev.Detail = "hidden"
	return line
}
