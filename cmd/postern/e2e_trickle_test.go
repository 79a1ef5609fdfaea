package main

import (
	"slices"
	"testing"

	"postern/cmd/internal/peers"
)

// A network that delivers one octet at a time, before the gate or behind it, changes nothing: real clients get their
// mail octet for octet, and the log tells the same.
func TestTrickle(t *testing.T) {
	t.Parallel()
	alice := peers.Account{User: "alice", Password: "e2e trickle 3Pb7", Mail: upTo(8<<10, peers.Corpus())}
	backend := peers.Dovecot(t, alice)
	bodies := retrieveAll(t, backend.Target(peers.Plain, alice), len(alice.Mail))
	for _, leg := range []string{"client", "backend", "both"} {
		t.Run(leg, func(t *testing.T) {
			t.Parallel()
			addr := backend.Addr
			if leg != "client" {
				addr = peers.Trickle(t, addr)
			}
			g := serve(t, addr, []peers.Account{alice})
			if leg != "backend" {
				g.pop3s, g.pop3 = peers.Trickle(t, g.pop3s), peers.Trickle(t, g.pop3)
			}
			for _, name := range []string{"curl", "fetchmail", "poplib", "openssl"} {
				client := peers.Named(name)
				for _, mode := range []peers.Mode{peers.TLS, peers.STLS} {
					if name == "openssl" && mode == peers.STLS && leg != "backend" {
						continue // it takes what one read brings for the reply to STLS
					}
					want := client.Fetch(t, backend.Target(mode, alice), len(alice.Mail))
					peers.Same(t, want, client.Fetch(t, g.target(mode, alice), len(alice.Mail)))
					checkFetch(t, g, client, mode, bodies)
				}
			}
		})
	}
}

// upTo leaves out messages of more than size octets.
func upTo(size int, mail [][]byte) [][]byte {
	return slices.DeleteFunc(mail, func(m []byte) bool { return len(m) > size })
}
