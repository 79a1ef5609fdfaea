package peers

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// mailutilsConf: virtual users of one domain, plain text only.
const mailutilsConf = `mode daemon;
foreground yes;
pidfile "%[1]s/pop3d.pid";
max-children 50;
transcript no;
virtdomain { passwd-dir "%[1]s/domains"; };
auth { authentication "generic:virtdomain"; authorization "virtdomain"; };
logging { syslog no; };
expire 30;
tcp-wrappers { enable no; };
server %[2]s { single-process no; tls-mode false; };
`

// Mailutils runs GNU mailutils pop3d, a legacy server without TLS: USER and PASS only, EXPIRE30 in its CAPA,
// and messages that grow an X-UIDL line. Users are user@domain, all of one domain; maildrops are mbox files.
func Mailutils(t testing.TB, accounts ...Account) *Server {
	t.Helper()
	bin := Need(t, "pop3d", "mailutils-pop3d")
	dir, u := serverDir(t, "pop3d"), account(t)
	s := &Server{Addr: loopback(freePort(t))}
	var domain string
	var passwd strings.Builder
	for _, a := range accounts {
		name, host, _ := strings.Cut(a.User, "@")
		home := filepath.Join(dir, name)
		if err := os.MkdirAll(home, 0o755); err != nil {
			t.Fatal(err)
		}
		domain = host
		inbox := filepath.Join(home, "INBOX")
		fmt.Fprintf(&passwd, "%s:%s:%s:%s:%s:%s:%s\n", name, crypt(t, a.Password), u.Uid, u.Gid, name, home, inbox)
		writeFiles(t, home, map[string]string{"INBOX": string(mbox(a.Mail))})
	}
	if err := os.Mkdir(filepath.Join(dir, "domains"), 0o755); err != nil {
		t.Fatal(err)
	}
	writeFiles(t, filepath.Join(dir, "domains"), map[string]string{domain: passwd.String()})
	writeFiles(t, dir, map[string]string{"pop3d.conf": fmt.Sprintf(mailutilsConf, dir, s.Addr)})
	cmd := command(t, u, dir, bin, "--config-file="+filepath.Join(dir, "pop3d.conf"))
	if cmd.SysProcAttr != nil {
		cmd.SysProcAttr.Credential.Gid = mailGroup(t) // it insists on that group, as if it had to lock /var/mail
	}
	run(t, cmd, s.Addr, "")
	return s
}

// mbox joins mail as a spool file does; a line that looks like a separator is quoted.
func mbox(mail [][]byte) []byte {
	var b bytes.Buffer
	for _, m := range mail {
		b.WriteString("From peer@example.test Mon Nov 23 00:00:00 2026\n")
		b.Write(bytes.ReplaceAll(m, []byte("\nFrom "), []byte("\n>From ")))
		b.WriteString("\n\n")
	}
	return b.Bytes()
}

// crypt hashes a password as /etc/shadow does.
func crypt(t testing.TB, password string) string {
	t.Helper()
	cmd := exec.Command(Need(t, "openssl", "openssl"), "passwd", "-6", "-stdin")
	cmd.Stdin = strings.NewReader(password)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("openssl passwd: %v", err)
	}
	return strings.TrimSpace(string(out))
}

func mailGroup(t testing.TB) uint32 {
	t.Helper()
	g, err := user.LookupGroup("mail")
	if err != nil {
		t.Fatal(err)
	}
	gid, err := strconv.ParseUint(g.Gid, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	return uint32(gid)
}

func groupName(t testing.TB, gid string) string {
	t.Helper()
	g, err := user.LookupGroupId(gid)
	if err != nil {
		t.Fatal(err)
	}
	return g.Name
}

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// writeFiles writes small files by name into dir.
func writeFiles(t testing.TB, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
