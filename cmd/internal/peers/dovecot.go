package peers

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"text/template"
	"time"
)

// dovecotConf lets Dovecot 2.3 run without root from one file: no chroot, one user for all its processes.
var dovecotConf = template.Must(template.New("dovecot.conf").Parse(`
base_dir = {{.Dir}}/run
state_dir = {{.Dir}}/state
log_path = {{.Dir}}/dovecot.log
protocols = pop3
listen = 127.0.0.1
default_internal_user = {{.User}}
default_internal_group = {{.Group}}
default_login_user = {{.User}}
default_vsz_limit = 1G
first_valid_uid = 0
first_valid_gid = 0
ssl = yes
ssl_cert = <{{.Dir}}/cert.pem
ssl_key = <{{.Dir}}/key.pem
ssl_min_protocol = TLSv1.2
disable_plaintext_auth = no
auth_mechanisms = plain login apop cram-md5 scram-sha-256
auth_verbose = yes
auth_failure_delay = 0
mail_location = maildir:{{.Dir}}/mail/%u
mail_max_userip_connections = 1000
pop3_uidl_format = %g
pop3_logout_format = top=%t/%p retr=%r/%b del=%d/%m size=%s
passdb {
  driver = passwd-file
  args = scheme=PLAIN username_format=%u {{.Dir}}/users
}
userdb {
  driver = static
  args = uid={{.UID}} gid={{.GID}} home={{.Dir}}/mail/%u
}
service anvil {
  chroot =
  unix_listener anvil-auth-penalty {
    mode = 0
  }
}
service stats {
  chroot =
}
service pop3-login {
  chroot =
  service_count = 0
  process_min_avail = 1
  client_limit = 2000
  inet_listener pop3 {
    port = {{.Port}}
  }
  inet_listener pop3s {
    port = {{.PortTLS}}
    ssl = yes
  }
}
service pop3 {
  process_limit = 512
}
`))

// Dovecot runs Dovecot 2.3 with the accounts' maildrops as Maildirs: plain, STLS, POP3S; USER, APOP, PLAIN,
// LOGIN, CRAM-MD5 and SCRAM-SHA-256.
func Dovecot(t testing.TB, accounts ...Account) *Server {
	t.Helper()
	bin := Need(t, "dovecot", "dovecot-pop3d")
	dir, u := serverDir(t, "dovecot"), account(t)
	port, portTLS := freePort(t), freePort(t)
	group := "nogroup"
	if os.Getuid() != 0 {
		group = groupName(t, u.Gid)
	}
	var conf, users strings.Builder
	err := dovecotConf.Execute(&conf, map[string]any{
		"Dir": dir, "User": u.Username, "Group": group, "UID": u.Uid, "GID": u.Gid, "Port": port, "PortTLS": portTLS,
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range accounts {
		fmt.Fprintf(&users, "%s:{PLAIN}%s::::::\n", a.User, a.Password)
		writeMaildir(t, filepath.Join(dir, "mail", a.User), a.Mail)
	}
	writeFiles(t, dir, map[string]string{"dovecot.conf": conf.String(), "users": users.String(), "dovecot.log": ""})
	writeCertificate(t, dir)
	for _, sub := range []string{"run", "state"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	s := &Server{Addr: loopback(port), AddrTLS: loopback(portTLS), CAFile: filepath.Join(dir, "cert.pem")}
	cmd := command(t, u, dir, bin, "-F", "-c", filepath.Join(dir, "dovecot.conf"))
	run(t, cmd, s.Addr, filepath.Join(dir, "dovecot.log"))
	return s
}

// writeMaildir delivers mail as number order: Dovecot numbers a new Maildir by file name and time.
func writeMaildir(t testing.TB, dir string, mail [][]byte) {
	t.Helper()
	for _, sub := range []string{"cur", "new", "tmp"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for i, m := range mail {
		path := filepath.Join(dir, "cur", fmt.Sprintf("%d.M%04d.peers:2,", 1_700_000_000+i, i+1))
		if err := os.WriteFile(path, m, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// writeCertificate makes cert.pem and key.pem for localhost and 127.0.0.1.
func writeCertificate(t testing.TB, dir string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, IsCA: true, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	writeFiles(t, dir, map[string]string{
		"cert.pem": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})),
		"key.pem":  string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
	})
}
