package main

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"postern/cmd/internal/peers"
)

// A password, however it is sent, and wherever it is not expected, is found in nothing the program keeps or shows,
// whatever the settings.
func TestRedaction(t *testing.T) {
	t.Parallel()
	alice := peers.Account{User: "alice", Password: "e2e redaction 1Qy6", Mail: peers.Small(2)}
	backend := peers.Dovecot(t, alice)
	for name, flags := range map[string][]string{
		"default":        nil,
		"translate user": {"--auth-translate", "user", "--login-errors", "hide"},
		"translate apop": {"--auth-translate", "apop", "--unknown-verbs", "refuse"},
	} {
		t.Run(name, func(t *testing.T) {
			g := serve(t, backend.Addr, []peers.Account{alice}, flags...)
			live, frames := g.tail(t), g.frames(t)
			for i, lines := range mishaps(g.secrets) {
				for _, mode := range []peers.Mode{peers.TLS, peers.Plain} {
					c := peers.MustDial(t, g.target(mode, alice))
					if err := c.Send(lines); err != nil {
						t.Fatal(err)
					}
					c.Conn.Close()
					if s := g.sessionOf(t, c); s.Commands+s.Anomalies == 0 && strings.HasSuffix(lines, "\n") {
						t.Errorf("mishap %d by %s left no record", i, mode)
					}
				}
			}
			inTransaction(t, g, alice)
			searchShown(t, g, live, frames)
		})
	}
}

// searchShown looks for secrets in everything a person can be shown.
func searchShown(t *testing.T, g *gate, live, frames *logBuffer) {
	t.Helper()
	last := g.newest(t).ID.String()
	eventually(t, "the last session in tail and frames", func() bool {
		return strings.Contains(string(live.bytes()), last) && strings.Contains(string(frames.bytes()), last)
	})
	g.secrets.search(t, "postern tail --json", live.bytes())
	g.secrets.search(t, "a WebSocket frame", frames.bytes())
	for _, path := range []string{"/api/sessions", "/metrics", "/healthz"} {
		g.secrets.search(t, path, g.fetch(t, path))
	}
	for _, s := range allSessions(t, g.reader(t)) {
		path := "/api/sessions/" + s.ID.String()
		g.secrets.search(t, path, g.fetch(t, path))
		g.secrets.search(t, path+"/records", g.fetch(t, path+"/records"))
		g.secrets.search(t, "postern session", []byte(g.command(t, "session", s.ID.String())))
	}
	g.secrets.search(t, "postern sessions", []byte(g.command(t, "sessions", "--json")))
}

// mishaps are ways in which passwords reach a server that does not take them. Each has secrets of its own.
func mishaps(s *secrets) (all []string) {
	for i, form := range []string{
		"USER alice\r\nPASS PASSWORD\r\nQUIT\r\n",
		"user alice\r\npass PASSWORD\r\n",
		"PASS PASSWORD\r\nQUIT\r\n",
		"PASSWORD\r\nQUIT\r\n",
		"PASSWORD with more\r\n",
		"XPASS PASSWORD\r\n",
		" PASS PASSWORD\r\n",
		"PASS\tPASSWORD\r\n",
		"PASS  PASSWORD \r\n",
		"PASS PASSWORD\x00\r\nQUIT\r\n",
		"PA\x00SS PASSWORD\r\n",
		"PA\rSS PASSWORD\r\nQUIT\r\n",
		"PASS PASSWORD" + strings.Repeat("x", 700) + "\r\nQUIT\r\n",
		"PASSWORD" + strings.Repeat("x", 20_000) + "\r\nQUIT\r\n",
		"USER alice\r\nPASS PASSWORD",
		"APOP alice DIGEST\r\nQUIT\r\n",
		"RPOP alice PASSWORD\r\n",
		"AUTH PLAIN TOKEN\r\nQUIT\r\n",
		"auth  plain  TOKEN\r\n",
		"AUTH UNHEARD TOKEN\r\nQUIT\r\n",
		"AUTH UNHEARD\r\nTOKEN\r\nPASSWORD\r\nQUIT\r\n",
		"AUTH PLAIN\r\nTOKEN\r\nQUIT\r\n",
		"AUTH PLAIN\r\nPASSWORD\r\nQUIT\r\n",
		"AUTH PLAIN\r\n*\r\nTOKEN\r\nPASSWORD\r\n",
		"AUTH LOGIN\r\nYWxpY2U=\r\nTOKEN\r\nPASSWORD\r\n",
		"AUTH LOGIN TOKEN\r\nPASSWORD\r\n",
		"AUTH CRAM-MD5\r\nTOKEN\r\nQUIT\r\n",
		"AUTH SCRAM-SHA-256 TOKEN\r\nPASSWORD\r\n",
		"AUTH PASSWORD\r\n",
		"STLS\r\nUSER alice\r\nPASS PASSWORD\r\n",
		"CAPA PASSWORD\r\nNOOP PASSWORD\r\nQUIT PASSWORD\r\n",
		"XCLIENT LOGIN=PASSWORD\r\nXOIP PASSWORD\r\nUTF8 PASSWORD\r\nLANG PASSWORD\r\n",
	} {
		password := fmt.Sprintf("e2e mishap %02d 7Jx5", i)
		token := base64.StdEncoding.EncodeToString([]byte("\x00alice\x00" + password))
		digest := fmt.Sprintf("%030x%02x", 0xfeed, i)
		s.add(password, token, digest)
		all = append(all, strings.NewReplacer("PASSWORD", password, "TOKEN", token, "DIGEST", digest).Replace(form))
	}
	return all
}

// inTransaction sends credentials after the login, where no server wants them.
func inTransaction(t *testing.T, g *gate, a peers.Account) {
	t.Helper()
	secret := "e2e transaction 3Ew9"
	token := base64.StdEncoding.EncodeToString([]byte("\x00alice\x00" + secret))
	g.secrets.add(secret, token)
	c := peers.MustDial(t, g.target(peers.TLS, a))
	c.Login(t, a.User, a.Password)
	for _, command := range []string{"PASS " + secret, "AUTH PLAIN " + token, "APOP alice " + secret,
		"RPOP alice " + secret, "QUIT"} {
		c.Must(t, command)
	}
	g.sessionOf(t, c)
}
