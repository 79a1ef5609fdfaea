package peers

import (
	"errors"
	"fmt"
	"net"
	"net/textproto"
	"strings"
	"testing"
	"time"
)

// cyrusIMAPD makes a mailbox for whom mail comes, and lets nobody wait.
const cyrusIMAPD = `configdirectory: /var/lib/cyrus
partition-default: /var/spool/cyrus/mail
defaultpartition: default
servername: peer.example.test
unixhierarchysep: yes
allowplaintext: yes
allowapop: yes
sasl_pwcheck_method: auxprop
sasl_auxprop_plugin: sasldb
sasl_sasldb_path: /etc/sasldb2
sasl_mech_list: PLAIN LOGIN CRAM-MD5 SCRAM-SHA-256
popminpoll: 0
failedloginpause: 0
autocreate_quota: 0
autocreate_post: yes
proc_path: /run/cyrus/proc
mboxname_lockpath: /run/cyrus/lock
`

// cyrusConf runs POP3, and LMTP for the mail the maildrops begin with.
const cyrusConf = `START { recover cmd="/usr/lib/cyrus/bin/ctl_cyrusdb -r" }
SERVICES {
  pop3 cmd="/usr/lib/cyrus/bin/pop3d" listen="%s" proto="tcp4" prefork=1
  lmtp cmd="/usr/lib/cyrus/bin/lmtpd -a" listen="/%s" prefork=0
}
EVENTS { }
`

const (
	cyrusLMTP  = "run/cyrus/socket/lmtp"
	cyrusOwner = "101:8"
)

// Cyrus runs Cyrus IMAP 3.6's pop3d: USER, APOP, PLAIN, LOGIN, CRAM-MD5 and SCRAM-SHA-256, a bare AUTH, capabilities
// that change with the login, no TLS. It refuses QUIT with an argument, and a maildrop that is open in another
// session. It takes no mail with NUL.
func Cyrus(t testing.TB, accounts ...Account) *Server {
	t.Helper()
	j := newJail(t, "cyrus")
	s := &Server{Addr: loopback(freePort(t))}
	j.write(t, "etc/passwd", "root:x:0:0::/:/bin/false\ncyrus:x:101:8::/:/bin/false\n")
	j.write(t, "etc/group", "root:x:0:\nmail:x:8:\n")
	j.write(t, "etc/imapd.conf", cyrusIMAPD)
	j.write(t, "etc/cyrus.conf", fmt.Sprintf(cyrusConf, s.Addr, cyrusLMTP))
	for _, a := range accounts {
		cmd := j.command("/usr/sbin/saslpasswd2", "-p", "-c", "-f", "/etc/sasldb2", "-u", "peer.example.test", a.User)
		cmd.Stdin = strings.NewReader(a.Password)
		j.must(t, cmd)
	}
	for _, dir := range []string{"var/lib/cyrus/socket", "var/lib/cyrus/db", "var/spool/cyrus/mail", "run/cyrus/lock",
		"run/cyrus/proc", "run/cyrus/socket"} {
		j.write(t, dir+"/.keep", "")
	}
	j.open(t)
	j.own(t, cyrusOwner, "etc/sasldb2", "var/lib/cyrus", "var/spool/cyrus", "run/cyrus")
	j.must(t, j.outside("chmod", "755", j.path("run/cyrus"), j.path("run/cyrus/socket")))
	j.daemon(t, s.Addr, "/usr/lib/cyrus/bin/master", "-p", "/run/cyrus/master.pid")
	for _, a := range accounts {
		if err := deliver(j.path(cyrusLMTP), a); err != nil {
			t.Fatalf("deliver to %s: %v", a.User, err)
		}
	}
	return s
}

// deliver hands a's mail to a server by LMTP (RFC 2033).
func deliver(socket string, a Account) error {
	raw, err := net.DialTimeout("unix", socket, startTimeout)
	if err != nil {
		return err
	}
	defer raw.Close()
	raw.SetDeadline(time.Now().Add(fetchTimeout))
	conn := &lmtp{textproto.NewConn(raw)}
	if _, _, err := conn.ReadResponse(220); err != nil {
		return err
	}
	if err := conn.say(250, "LHLO localhost"); err != nil {
		return err
	}
	for i, m := range a.Mail {
		if err := conn.deliver(a.User, m); err != nil {
			return fmt.Errorf("message %d: %w", i+1, err)
		}
	}
	return conn.say(221, "QUIT")
}

type lmtp struct{ *textproto.Conn }

func (c *lmtp) say(code int, command string) error {
	err := c.PrintfLine("%s", command)
	if err == nil {
		_, _, err = c.ReadResponse(code)
	}
	return err
}

func (c *lmtp) deliver(user string, mail []byte) error {
	if err := c.say(250, "MAIL FROM:<peer@example.test>"); err != nil {
		return err
	}
	if err := c.say(250, "RCPT TO:<"+user+">"); err != nil {
		return err
	}
	if err := c.say(354, "DATA"); err != nil {
		return err
	}
	w := c.DotWriter()
	_, err1 := w.Write(mail)
	err := errors.Join(err1, w.Close())
	if err == nil {
		_, _, err = c.ReadResponse(250)
	}
	return err
}
