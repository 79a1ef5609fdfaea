package main

import (
	"strings"
	"testing"

	"postern/audit"
	"postern/cmd/internal/peers"
	"postern/proxy"
)

// What DELE begins only QUIT ends: the maildrop and the log agree on the fate of each delete.
func TestDeletes(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		after   []string // what follows DELE 2; without QUIT the client vanishes
		fate    string
		remain  int
		deleted int64
		undone  int64
	}{
		{"quit", []string{"QUIT"}, proxy.DeleteCommitted, 2, 1, 0},
		{"drop", nil, proxy.DeleteRolledBack, 3, 0, 1},
		{"rset", []string{"RSET", "QUIT"}, proxy.DeleteRolledBack, 3, 0, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			alice := peers.Account{User: "alice", Password: "e2e deletes 2Fw8 " + test.name, Mail: peers.Small(3)}
			backend := peers.Dovecot(t, alice)
			g := serve(t, backend.Addr, []peers.Account{alice})
			c := peers.MustDial(t, g.target(peers.TLS, alice))
			c.Login(t, alice.User, alice.Password)
			uid := strings.Fields(c.Must(t, "UIDL 2"))[2]
			for _, command := range append([]string{"DELE 2"}, test.after...) {
				if reply := c.Must(t, command); !peers.OK(reply) {
					t.Errorf("%s: %q", command, reply)
				}
			}
			c.Conn.Close()
			s := g.sessionOf(t, c)
			if s.Deleted != test.deleted || s.RolledBack != test.undone || s.Unknown != 0 {
				t.Errorf("recorded %d deleted, %d rolled back, %d unknown", s.Deleted, s.RolledBack, s.Unknown)
			}
			checkFate(t, g.transcript(t, s), test.fate, uid)
			again := peers.MustDial(t, backend.Target(peers.Plain, alice))
			again.Login(t, alice.User, alice.Password)
			if list := again.Must(t, "UIDL"); strings.Contains(list, uid) != (test.remain == 3) || len(lines(list)) != test.remain+2 {
				t.Errorf("maildrop afterwards: %q, want %d messages", list, test.remain)
			}
		})
	}
}

// checkFate looks for the delete of message 2, and for its intention before a QUIT that commits.
func checkFate(t *testing.T, records []audit.Record, fate, uid string) {
	t.Helper()
	intents, fates := 0, 0
	for _, r := range records {
		switch r.Kind {
		case proxy.KindIntent:
			intents += int(r.Count)
		case proxy.KindDelete:
			fates++
			if r.Message != 2 || r.UID != uid || r.Detail != fate {
				t.Errorf("fate of message %d, uid %q: %s; want 2, %q: %s", r.Message, r.UID, r.Detail, uid, fate)
			}
			if fate == proxy.DeleteCommitted && intents != 1 {
				t.Errorf("%d intentions before the delete was committed, want 1", intents)
			}
		}
	}
	if fates != 1 || (fate == proxy.DeleteRolledBack && intents != 0) {
		t.Errorf("%d fates and %d intentions", fates, intents)
	}
}
