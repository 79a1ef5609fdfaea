package proxy

import (
	"encoding/base64"
	"slices"

	"postern/proxy/pop3"
)

const notVouched = "-ERR [AUTH] your certificate does not vouch for that name"

// external reports whether AUTH EXTERNAL is to be had at all. A backend that sees a certificate sees the proxy's: a
// client that may claim what it likes would log in with it as whoever it names.
func (s *Server) external() bool {
	return s.Rules.MatchExternal || !s.showsCertificate()
}

func (s *Server) showsCertificate() bool {
	c := s.BackendTLS
	return c != nil && (c.GetClientCertificate != nil || len(c.Certificates) > 0)
}

// mayClaim reports whether a response of AUTH EXTERNAL, in base64 as sent, may pass.
func (s *session) mayClaim(response []byte) bool {
	if !s.server.Rules.MatchExternal {
		return true
	}
	// An empty identity would leave it to the backend to derive one, which knows nothing of this client.
	name, err := base64.StdEncoding.DecodeString(string(response))
	return err == nil && len(name) > 0 && slices.Contains(s.vouched, string(name))
}

// refusesAUTH tells why an AUTH cannot be passed on, "" when it can.
func (s *session) refusesAUTH(c pop3.Command) string {
	mechanism, initial := c.Mechanism()
	switch {
	case !pop3.Relayable(mechanism), mechanism == "EXTERNAL" && !s.server.external():
		return "-ERR this mechanism does not work through a proxy"
	case mechanism == "EXTERNAL" && initial != nil && !s.mayClaim(initial):
		return notVouched
	}
	return ""
}
