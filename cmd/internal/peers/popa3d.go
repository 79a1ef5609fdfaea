package peers

import (
	"fmt"
	"strings"
	"testing"
)

const (
	// popa3dPAM asks the jail's /etc/shadow, and answers a wrong password at once.
	popa3dPAM = "auth required pam_unix.so nodelay\naccount required pam_unix.so\n"
	// popa3dUser is the one that talks to the client before the login.
	popa3dUser = "popa3d:x:101:101::/:/bin/false\n"
	mailGID    = 8
	firstUID   = 1000
)

// Popa3d runs popa3d 1.0, as bare a server as there is: USER and PASS, replies of one word, no CAPA, no AUTH, no
// stamp in its greeting, no TLS. It refuses QUIT with an argument and ends after a failed login. Users are those of
// /etc/passwd; maildrops are mbox files, whose lines end in LF.
func Popa3d(t testing.TB, accounts ...Account) *Server {
	t.Helper()
	j := newJail(t, "popa3d")
	var passwd, shadow strings.Builder
	passwd.WriteString("root:x:0:0::/:/bin/false\n" + popa3dUser)
	for i, a := range accounts {
		fmt.Fprintf(&passwd, "%s:x:%d:%d::/:/bin/false\n", a.User, firstUID+i, mailGID)
		fmt.Fprintf(&shadow, "%s:%s:19000:0:99999:7:::\n", a.User, crypt(t, a.Password))
		j.write(t, "var/mail/"+a.User, string(mbox(a.Mail)))
	}
	j.write(t, "etc/passwd", passwd.String())
	j.write(t, "etc/shadow", shadow.String())
	j.write(t, "etc/group", fmt.Sprintf("root:x:0:\nmail:x:%d:\npopa3d:x:101:\n", mailGID))
	j.write(t, "etc/pam.d/popa3d", popa3dPAM)
	j.write(t, "var/lib/popa3d/empty", "") // it locks itself into this folder
	j.open(t)
	for i, a := range accounts {
		j.own(t, fmt.Sprintf("%d:%d", firstUID+i, mailGID), "var/mail/"+a.User)
	}
	j.must(t, j.outside("chown", fmt.Sprintf("0:%d", mailGID), j.path("var/mail")))
	j.must(t, j.outside("chmod", "775", j.path("var/mail")))
	return &Server{Addr: j.inetd(t, nil, "/usr/sbin/popa3d")}
}
