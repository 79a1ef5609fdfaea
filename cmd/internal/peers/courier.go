package peers

import (
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// courierAuth names the module that knows the users.
const courierAuth = `authmodulelist="authuserdb"
authmodulelistorig="authuserdb"
daemons=2
authdaemonvar=/run/courier/authdaemon
DEBUG_LOGIN=0
`

const (
	courierLib    = "/usr/lib/courier/courier"
	courierSocket = "run/courier/authdaemon/socket"
)

// Courier runs courier-pop 1.0 on Maildirs: USER, AUTH PLAIN and LOGIN, no TLS. Its CAPA is the same before and after
// the login, it refuses a bare AUTH, and it takes QUIT with an argument for QUIT.
func Courier(t testing.TB, accounts ...Account) *Server {
	t.Helper()
	j := newJail(t, "courier")
	var users, passwords strings.Builder
	for i, a := range accounts {
		home := "home/" + a.User
		fmt.Fprintf(&users, "%s\tuid=%d|gid=%d|home=/%s\n", a.User, firstUID+i, mailGID, home)
		fmt.Fprintf(&passwords, "%s\tpop3pw=%s\n", a.User, crypt(t, a.Password))
		writeMaildir(t, filepath.Join(j.path(home), "Maildir"), a.Mail)
	}
	j.write(t, "etc/courier/authdaemonrc", courierAuth)
	j.write(t, "run/courier/authdaemon/pid", "") // beside its socket
	for name, text := range map[string]string{"userdb": users.String(), "userdbshadow": passwords.String()} {
		j.must(t, j.makedat("/etc/courier/"+name, text))
	}
	j.open(t)
	for i, a := range accounts {
		j.own(t, fmt.Sprintf("%d:%d", firstUID+i, mailGID), "home/"+a.User)
	}
	addr := j.inetd(t, []string{"POP3AUTH=PLAIN LOGIN", "TCPREMOTEIP=127.0.0.1", "TCPREMOTEPORT=1",
		"TCPLOCALIP=127.0.0.1", "TCPLOCALPORT=110"},
		courierLib+"/courierpop3login", courierLib+"/courierpop3d", "Maildir")
	j.daemon(t, addr, "/usr/lib/courier/courier-authlib/authdaemond")
	waitSocket(t, j.path(courierSocket))
	return &Server{Addr: addr}
}

// makedat prepares the program that makes a database of lines.
func (j *jail) makedat(name, lines string) *exec.Cmd {
	cmd := j.command("/usr/lib/courier/courier-authlib/makedatprog", "-", name+".tmp", name+".dat")
	cmd.Stdin = strings.NewReader(lines + ".\n")
	return cmd
}

// waitSocket returns once path accepts connections.
func waitSocket(t testing.TB, path string) {
	t.Helper()
	for deadline := time.Now().Add(startTimeout); ; time.Sleep(10 * time.Millisecond) {
		conn, err := net.Dial("unix", path)
		if err == nil {
			conn.Close()
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not ready in %v: %v", startTimeout, err)
		}
	}
}
