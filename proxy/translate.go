package proxy

import (
	"bytes"
	"errors"
	"slices"

	"postern/proxy/pop3"
)

// translated are the mechanisms that the proxy answers itself when Rules.Translate is on.
var translated = []string{"PLAIN", "LOGIN"}

func (r Rules) translates() bool { return r.Translate == TranslateUser || r.Translate == TranslateAPOP }

func (s *session) translates(c pop3.Command) bool {
	mechanism, _ := c.Mechanism()
	return !s.loggedIn && s.server.Rules.translates() && slices.Contains(translated, mechanism)
}

// translate answers AUTH PLAIN or LOGIN in place of the backend, and logs in there by USER and PASS or by APOP.
// It is one login and one record.
func (s *session) translate(c pop3.Command) error {
	d := s.newAuthDialogue(c)
	creds, err := s.credentials(d, c)
	if err != nil {
		return s.notTranslated(d, err)
	}
	line, err := s.logIn(d, creds)
	clear(creds.Password)
	if err != nil {
		s.login(&d.ev, d.sasl.User, d.sasl.Mechanism, false)
		return s.unanswered(d.ev, err)
	}
	return s.authDone(d, line)
}

var errCancelled = errors.New("cancelled")

// credentials plays the server's part of PLAIN and LOGIN.
func (s *session) credentials(d *authDialogue, c pop3.Command) (creds pop3.Credentials, err error) {
	_, initial := c.Mechanism()
	line := bytes.Clone(initial)
	ask := func(challenge string) error {
		if len(line) == 0 {
			line, err = s.challenge(d, challenge)
		}
		return err
	}
	if d.sasl.Mechanism == "PLAIN" {
		if err := ask("+ "); err != nil {
			return creds, err
		}
		if creds, err = pop3.ParsePlain(line); err != nil {
			return creds, err
		}
		return creds, creds.Check()
	}
	if err := ask("+ VXNlcm5hbWU6"); err != nil { // "Username:"
		return creds, err
	}
	if creds.User, err = pop3.ParseLogin(line); err != nil {
		return creds, err
	}
	if line, err = s.challenge(d, "+ UGFzc3dvcmQ6"); err != nil { // "Password:"
		return creds, err
	}
	if creds.Password, err = pop3.ParseLogin(line); err != nil {
		return creds, err
	}
	return creds, creds.Check()
}

// challenge sends one of the proxy's own and returns the client's response.
func (s *session) challenge(d *authDialogue, challenge string) ([]byte, error) {
	if err := s.say([]byte(challenge)); err != nil {
		return nil, err
	}
	response, err := s.response()
	if err != nil {
		return nil, err
	}
	if string(response) == "*" {
		return nil, errCancelled
	}
	d.take(response)
	return bytes.Clone(response), nil
}

// notTranslated refuses an AUTH whose credentials cannot be had, or ends the session.
func (s *session) notTranslated(d *authDialogue, err error) error {
	var e *ending
	s.login(&d.ev, d.sasl.User, d.sasl.Mechanism, false)
	switch {
	case errors.As(err, &e):
		return s.unanswered(d.ev, err)
	case errors.Is(err, errCancelled):
		d.ev.Detail = "cancelled"
		return s.replyLocally(d.ev, "-ERR authentication cancelled")
	case errors.Is(err, pop3.ErrSmuggled):
		s.anomaly("control_octet", SideClient)
		return s.replyLocally(d.ev, "-ERR [AUTH] control octets are not allowed in credentials")
	}
	return s.replyLocally(d.ev, "-ERR [AUTH] the credentials cannot be read")
}

// logIn gives the credentials to the backend and returns the status line that decides.
func (s *session) logIn(d *authDialogue, creds pop3.Credentials) ([]byte, error) {
	d.secrets = append(d.secrets, bytes.Clone(creds.Password))
	d.ev.Detail = "as_" + string(s.server.Rules.Translate)
	if s.server.Rules.Translate == TranslateAPOP {
		if s.timestamp == nil {
			d.ev.Local = true
			return []byte("-ERR [SYS/PERM] the mail server has no APOP"), nil
		}
		return s.askLine(creds.AppendAPOP(s.scratch[:0], s.timestamp), pop3.MaxStatus)
	}
	line, err := s.askLine(creds.AppendUser(s.scratch[:0]), pop3.MaxStatus)
	if err != nil || pop3.ParseReply(line).Status != pop3.StatusOK {
		return line, err
	}
	if len(s.backend.unread()) > 0 {
		return nil, s.unasked()
	}
	return s.askLine(creds.AppendPass(s.scratch[:0]), pop3.MaxStatus)
}
