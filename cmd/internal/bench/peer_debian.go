package main

import (
	"os"
	"os/user"
)

// The others' programs, as Debian has them. Session tickets are off where that can be said.

func haproxy(p place) ([]string, error) {
	path, err := p.file("haproxy.cfg", `
global
    maxconn 8192
    nbthread {{workers}}
    ssl-default-bind-options ssl-min-ver TLSv1.3 no-tls-tickets
    ssl-default-bind-ciphersuites TLS_AES_128_GCM_SHA256
    ssl-default-bind-curves X25519
    tune.ssl.cachesize 0
defaults
    mode tcp
    timeout connect 5s
    timeout client 11m
    timeout server 11m
frontend pop3s
    bind 127.0.0.1:{{port}} ssl crt {{pem}}
    default_backend pop3
backend pop3
    server synthetic 127.0.0.1:{{backend}}
`)
	return []string{"-db", "-f", path}, err
}

const nginxTLS = `
    ssl_certificate {{cert}};
    ssl_certificate_key {{key}};
    ssl_protocols TLSv1.3;
    ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256;
    ssl_ecdh_curve X25519;
    ssl_session_tickets off;
    ssl_session_cache off;
`

const nginxMain = `
daemon off;
pid {{dir}}/nginx.pid;
error_log stderr;
worker_processes {{workers}};
worker_rlimit_nofile 16384;
events { worker_connections 8192; }
`

func nginxStream(p place) ([]string, error) {
	return p.nginx("stream", `
load_module /usr/lib/nginx/modules/ngx_stream_module.so;`+nginxMain+`
stream {`+nginxTLS+`
    server {
        listen 127.0.0.1:{{port}} ssl;
        proxy_pass 127.0.0.1:{{backend}};
    }
}
`)
}

func nginxMail(p place) ([]string, error) {
	return p.nginx("mail", `
load_module /usr/lib/nginx/modules/ngx_mail_module.so;`+nginxMain+`
mail {`+nginxTLS+`
    auth_http 127.0.0.1:{{judge}}/;
    pop3_auth plain;
    pop3_capabilities USER UIDL TOP PIPELINING;
    timeout 11m;
    proxy_timeout 11m;
    server {
        listen 127.0.0.1:{{port}} ssl;
        protocol pop3;
    }
}
`)
}

func (p place) nginx(name, text string) ([]string, error) {
	path, err := p.file(name+".conf", text)
	return []string{"-p", p.dir, "-e", "stderr", "-c", path}, err
}

func hitch(p place) ([]string, error) {
	unprivileged := "" // it refuses to work as root
	if os.Getuid() == 0 {
		unprivileged = "user = \"nobody\"\ngroup = \"nogroup\""
	}
	path, err := p.file("hitch.conf", `
frontend = "[127.0.0.1]:{{port}}"
backend = "[127.0.0.1]:{{backend}}"
pem-file = "{{pem}}"
workers = {{workers}}
daemon = off
quiet = on
log-level = 0
tls-protos = TLSv1.3
ciphersuites = "TLS_AES_128_GCM_SHA256"
ecdh-curve = "X25519"
{{unprivileged}}
`, "{{unprivileged}}", unprivileged)
	return []string{"--config=" + path}, err
}

func stunnel(p place) ([]string, error) {
	path, err := p.file("stunnel.conf", `
foreground = yes
pid =
debug = 3
[pop3s]
accept = 127.0.0.1:{{port}}
connect = 127.0.0.1:{{backend}}
cert = {{cert}}
key = {{key}}
sslVersionMin = TLSv1.3
ciphersuites = TLS_AES_128_GCM_SHA256
curves = X25519
options = NO_TICKET
`)
	return []string{path}, err
}

func dovecot(p place) ([]string, error) {
	login, internal, group := "dovenull", "dovecot", "dovecot"
	if os.Getuid() != 0 {
		u, err := user.Current()
		if err != nil {
			return nil, err
		}
		g, err := user.LookupGroupId(u.Gid)
		if err != nil {
			return nil, err
		}
		login, internal, group = u.Username, u.Username, g.Name
	}
	path, err := p.file("dovecot.conf", `
base_dir = {{dir}}/run
state_dir = {{dir}}
log_path = /dev/stderr
protocols = pop3
listen = 127.0.0.1
default_login_user = {{login}}
default_internal_user = {{internal}}
default_internal_group = {{group}}
ssl = required
ssl_cert = <{{cert}}
ssl_key = <{{key}}
ssl_min_protocol = TLSv1.2
ssl_cipher_suites = TLS_AES_128_GCM_SHA256
ssl_curve_list = X25519
ssl_options = no_ticket
auth_mechanisms = plain
login_log_format_elements =
passdb {
  driver = static
  args = proxy=y host=127.0.0.1 port={{backend}} nopassword=y
}
service anvil {
  chroot =
  client_limit = 8192
}
service auth {
  client_limit = 8192
}
service stats {
  chroot =
  client_limit = 8192
}
service pop3-login {
  chroot =
  service_count = 0
  process_min_avail = {{workers}}
  process_limit = {{workers}}
  client_limit = 4096
  inet_listener pop3 {
    port = 0
  }
  inet_listener pop3s {
    port = {{port}}
    ssl = yes
  }
}
`, "{{login}}", login, "{{internal}}", internal, "{{group}}", group)
	return []string{"-F", "-c", path}, err
}
