package main

import (
	"fmt"
	"strings"
)

// playbill is what the demo prints when it is up.
func (s *stage) playbill(o demoOptions) string {
	commands := s.commands(s.daemon)
	var b strings.Builder
	fmt.Fprintf(&b, "Postern demo: a mail server, Postern in front of it, and mail clients. All of it is on this machine.\n\n")
	fmt.Fprintf(&b, "  Watch it live    http://%s/\n\n", s.daemon.dashboard.Addr())
	fmt.Fprintf(&b, "  List the mail of %q, and read message 1, over POP3S:\n    %s\n    %s\n\n", demoUser, commands[0], commands[1])
	fmt.Fprintf(&b, "  Talk POP3 yourself, over STLS (USER %s, PASS %s, LIST, RETR 1, DELE 1, QUIT):\n    %s\n\n",
		demoUser, demoPassword, commands[2])
	fmt.Fprintf(&b, "  See what was recorded:\n    %[1]s tail --data-dir %[2]s\n    %[1]s sessions --data-dir %[2]s\n\n",
		program(), s.dir)
	fmt.Fprintf(&b, "  Prove that nobody changed it:\n    %s verify --data-dir %s\n\n", program(), s.dir)
	end := "and removes " + s.dir + "."
	if o.keep {
		end = "and keeps " + s.dir + "."
	}
	fmt.Fprintf(&b, "Ctrl-C ends it %s\n", end)
	return b.String()
}
