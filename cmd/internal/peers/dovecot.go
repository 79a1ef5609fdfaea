package peers

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"text/template"
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
ssl = {{if .None}}no{{else}}yes{{end}}
ssl_cert = <{{.Dir}}/cert.pem
ssl_key = <{{.Dir}}/key.pem
{{- if .Old}}
ssl_min_protocol = TLSv1
ssl_cipher_list = ALL:!kDHE:@SECLEVEL=0
import_environment = TZ OPENSSL_CONF={{.Dir}}/openssl.cnf
{{- else}}
ssl_min_protocol = TLSv1.2
{{- end}}
{{- if .ClientCA}}
ssl_ca = <{{.Dir}}/clients.pem
ssl_require_crl = no
ssl_verify_client_cert = yes
auth_ssl_require_client_cert = {{if .Asks}}no{{else}}yes{{end}}
{{- end}}
{{- if .External}}
auth_ssl_username_from_cert = yes
passdb {
  driver = static
  args = nopassword=y
  master = yes
  mechanisms = external
}
{{- end}}
disable_plaintext_auth = no
auth_mechanisms = plain login apop cram-md5 scram-sha-256{{if .External}} external{{end}}
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
{{- if not .None}}
  inet_listener pop3s {
    port = {{.PortTLS}}
    ssl = yes
  }
{{- end}}
}
service pop3 {
  process_limit = 512
}
`))

// Security is how a Dovecot speaks TLS. The zero Security is STLS and POP3S, from TLS 1.2 on, with a certificate that
// signs itself.
type Security struct {
	Pair     Pair
	CAFile   string // what clients are to trust; "" is the certificate itself
	ClientCA string // PEM file; only clients with a certificate of it may log in
	Asks     bool   // or those without one, though they are asked
	External bool   // and they do so by EXTERNAL alone, as whoever they like
	Old      bool   // TLS 1.0 is all it has, with any cipher, none too
	None     bool   // it has none
}

// onlyOld gives OpenSSL an upper bound, for which Dovecot has no setting.
const onlyOld = `openssl_conf = init
[init]
ssl_conf = ssl
[ssl]
system_default = old
[old]
MaxProtocol = TLSv1
CipherString = ALL:!kDHE:@SECLEVEL=0
`

// Dovecot runs Dovecot 2.3 with the accounts' maildrops as Maildirs: plain, STLS, POP3S; USER, APOP, PLAIN,
// LOGIN, CRAM-MD5 and SCRAM-SHA-256.
func Dovecot(t testing.TB, accounts ...Account) *Server {
	t.Helper()
	return SecureDovecot(t, Security{}, accounts...)
}

// SecureDovecot is Dovecot that speaks TLS as security says.
func SecureDovecot(t testing.TB, security Security, accounts ...Account) *Server {
	t.Helper()
	bin := Need(t, "dovecot", "dovecot-pop3d")
	dir, u := serverDir(t, "dovecot"), account(t)
	port, portTLS := freePort(t), freePort(t)
	group := "nogroup"
	if os.Getuid() != 0 {
		group = groupName(t, u.Gid)
	}
	var conf strings.Builder
	err := dovecotConf.Execute(&conf, map[string]any{
		"Dir": dir, "User": u.Username, "Group": group, "UID": u.Uid, "GID": u.Gid, "Port": port, "PortTLS": portTLS,
		"Old": security.Old, "None": security.None, "ClientCA": security.ClientCA,
		"Asks": security.Asks, "External": security.External,
	})
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{Addr: loopback(port), Log: filepath.Join(dir, "dovecot.log")}
	if !security.None {
		s.AddrTLS, s.CAFile = loopback(portTLS), cmp.Or(security.CAFile, filepath.Join(dir, "cert.pem"))
	}
	writeFiles(t, dir, map[string]string{"dovecot.conf": conf.String(), "openssl.cnf": onlyOld, "dovecot.log": ""})
	writeAccounts(t, dir, accounts)
	security.write(t, dir)
	for _, sub := range []string{"run", "state"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	run(t, command(t, u, dir, bin, "-F", "-c", filepath.Join(dir, "dovecot.conf")), s.Addr, s.Log)
	return s
}

// write copies certificates to where the server may read them.
func (s Security) write(t testing.TB, dir string) {
	t.Helper()
	pair := s.Pair
	if pair.Cert == "" {
		pair = SelfSigned(t, Leaf{})
	}
	files := map[string]string{"cert.pem": pair.Cert, "key.pem": pair.Key}
	if s.ClientCA != "" {
		files["clients.pem"] = s.ClientCA
	}
	for name, path := range files {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		writeFiles(t, dir, map[string]string{name: string(b)})
	}
}

func writeAccounts(t testing.TB, dir string, accounts []Account) {
	t.Helper()
	var users strings.Builder
	for _, a := range accounts {
		fmt.Fprintf(&users, "%s:{PLAIN}%s::::::\n", a.User, a.Password)
		writeMaildir(t, filepath.Join(dir, "mail", a.User), a.Mail)
	}
	writeFiles(t, dir, map[string]string{"users": users.String()})
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
