package config

import "time"

// Groups of settings, in the order of help.
const (
	groupRelay = "Relay"
	groupTLS   = "Certificates (exactly one of: files, ACME, local)"
	groupAudit = "Audit log"
	groupWatch = "Watching"
	groupLimit = "Limits"
)

// Settings is the table of all settings.
var Settings = []Setting{
	{Name: "listen-pop3s", Group: groupRelay, Value: "ADDR", Default: ":995", check: listenAddress,
		Usage: "listen with TLS from the first octet (repeatable, \"\" for none)",
		field: func(c *Config) any { return &c.ListenPOP3S }},
	{Name: "listen-pop3", Group: groupRelay, Value: "ADDR", Default: ":110", check: listenAddress,
		Usage: "listen in clear text and require STLS before any credential (repeatable, \"\" for none)",
		field: func(c *Config) any { return &c.ListenPOP3 }},
	{Name: "backend", Group: groupRelay, Value: "HOST:PORT", check: dialAddress,
		Usage: "the POP3 server behind, spoken to in clear text (required)",
		field: func(c *Config) any { return &c.Backend }},

	{Name: "auth-translate", Group: groupRelay, Value: "HOW", Default: "off", Choices: []string{"off", "user", "apop"},
		Usage: "answer AUTH PLAIN and LOGIN for a backend that has neither, and log in there by USER/PASS or by APOP",
		field: func(c *Config) any { return &c.AuthTranslate }},
	{Name: "unknown-verbs", Group: groupRelay, Value: "HOW", Default: "relay", Choices: []string{"relay", "refuse"},
		Usage: "commands that no RFC and no known server has: relay them alone, or refuse them",
		field: func(c *Config) any { return &c.UnknownVerbs }},
	{Name: "multiline-verb", Group: groupRelay, Value: "VERB", check: verb,
		Usage: "a command of your server's own whose +OK is followed by lines up to a dot (repeatable)",
		field: func(c *Config) any { return &c.MultilineVerbs }},
	{Name: "login-errors", Group: groupRelay, Value: "HOW", Default: "relay", Choices: []string{"relay", "hide"},
		Usage: "relay the backend's words for a failed login, or hide them, as they may tell which users exist",
		field: func(c *Config) any { return &c.LoginErrors }},

	{Name: "tls-cert", Group: groupTLS, Value: "PATH",
		Usage: "certificate chain in PEM, read again when it changes",
		field: func(c *Config) any { return &c.TLSCert }},
	{Name: "tls-key", Group: groupTLS, Value: "PATH",
		Usage: "private key of --tls-cert in PEM",
		field: func(c *Config) any { return &c.TLSKey }},
	{Name: "acme-domain", Group: groupTLS, Value: "NAME",
		Usage: "name to get a certificate for, by ACME (repeatable)",
		field: func(c *Config) any { return &c.ACMEDomains }},
	{Name: "acme-email", Group: groupTLS, Value: "ADDRESS",
		Usage: "contact for the authority's notices",
		field: func(c *Config) any { return &c.ACMEEmail }},
	{Name: "acme-directory", Group: groupTLS, Value: "URL",
		Usage: "another authority's directory (default Let's Encrypt)",
		field: func(c *Config) any { return &c.ACMEDirectory }},
	{Name: "acme-roots", Group: groupTLS, Value: "PATH",
		Usage: "roots in PEM to trust when talking to --acme-directory",
		field: func(c *Config) any { return &c.ACMERoots }},
	{Name: "acme-http-port", Group: groupTLS, Value: "PORT", Default: "80", Max: 65535,
		Usage: "port for HTTP-01 challenges; the authority always asks at 80 (0 for none)",
		field: func(c *Config) any { return &c.ACMEHTTPPort }},
	{Name: "acme-tls-port", Group: groupTLS, Value: "PORT", Default: "443", Max: 65535,
		Usage: "port for TLS-ALPN-01 challenges; the authority always asks at 443 (0 for none)",
		field: func(c *Config) any { return &c.ACMETLSPort }},
	{Name: "tls-local", Group: groupTLS, Default: "false",
		Usage: "be a local authority, kept in the data directory, for trials",
		field: func(c *Config) any { return &c.TLSLocal }},

	{Name: "data-dir", Group: groupAudit, Value: "PATH", Default: "/var/lib/postern",
		Usage: "directory of everything kept, made with mode 0700",
		field: func(c *Config) any { return &c.DataDir }},
	{Name: "audit-db", Group: groupAudit, Value: "PATH",
		Usage: "the audit log (default audit.db in --data-dir)",
		field: func(c *Config) any { return &c.AuditDB }},
	{Name: "durability", Group: groupAudit, Value: "HOW", Default: "strict", Choices: []string{"strict", "relaxed"},
		Usage: "strict: no reply before its record is on disk; relaxed: replies do not wait",
		field: func(c *Config) any { return &c.Durability }},
	{Name: "on-failure", Group: groupAudit, Value: "HOW", Default: "refuse", Choices: []string{"refuse", "continue"},
		Usage: "when the log cannot be written: refuse sessions, or continue and record the gap",
		field: func(c *Config) any { return &c.OnFailure }},

	{Name: "web", Group: groupWatch, Value: "ADDR", Default: "127.0.0.1:8995", check: listenAddress,
		Usage: "dashboard, /healthz and /metrics, on loopback only (\"\" for none)",
		field: func(c *Config) any { return &c.Web }},
	{Name: "log-level", Group: groupWatch, Value: "LEVEL", Default: "info",
		Choices: []string{"debug", "info", "warn", "error"},
		Usage:   "least level of the log lines on standard error: debug, info, warn, error",
		field:   func(c *Config) any { return &c.LogLevel }},
	{Name: "log-format", Group: groupWatch, Value: "FORMAT", Default: "text", Choices: []string{"text", "json"},
		Usage: "text or json",
		field: func(c *Config) any { return &c.LogFormat }},

	{Name: "max-sessions", Group: groupLimit, Value: "N", Default: "10000", Min: 1,
		Usage: "sessions at once",
		field: func(c *Config) any { return &c.MaxSessions }},
	{Name: "max-sessions-per-address", Group: groupLimit, Value: "N", Default: "100", Min: 1,
		Usage: "sessions at once from one IPv4 address or IPv6 /64",
		field: func(c *Config) any { return &c.MaxSessionsPerAddress }},
	{Name: "max-sessions-per-user", Group: groupLimit, Value: "N", Default: "50", Min: 1,
		Usage: "logged-in sessions at once of one user",
		field: func(c *Config) any { return &c.MaxSessionsPerUser }},
	{Name: "timeout-handshake", Group: groupLimit, Value: "TIME", Default: "10s", Min: leastWait,
		Usage: "for the whole TLS handshake",
		field: func(c *Config) any { return &c.TimeoutHandshake }},
	{Name: "timeout-login", Group: groupLimit, Value: "TIME", Default: "1m", Min: leastWait,
		Usage: "from the greeting to a successful login",
		field: func(c *Config) any { return &c.TimeoutLogin }},
	{Name: "timeout-idle", Group: groupLimit, Value: "TIME", Default: "11m", Min: int64(10 * time.Minute),
		Usage: "silence of a client after login; at least 10m (RFC 1939)",
		field: func(c *Config) any { return &c.TimeoutIdle }},
	{Name: "timeout-dial", Group: groupLimit, Value: "TIME", Default: "5s", Min: leastWait,
		Usage: "for connecting to the backend",
		field: func(c *Config) any { return &c.TimeoutDial }},
	{Name: "timeout-reply", Group: groupLimit, Value: "TIME", Default: "2m", Min: leastWait,
		Usage: "silence of the backend while a reply is due",
		field: func(c *Config) any { return &c.TimeoutReply }},
	{Name: "timeout-write", Group: groupLimit, Value: "TIME", Default: "1m", Min: leastWait,
		Usage: "for one write that the other side does not read",
		field: func(c *Config) any { return &c.TimeoutWrite }},
}

// leastWait keeps a slip like "10ns" from ending every session.
const leastWait = int64(100 * time.Millisecond)

// examples stand in remedies and the sample file where there is no default.
var examples = map[string]string{
	"backend":        "mail.internal:110",
	"multiline-verb": "ARCHIVE",
	"tls-cert":       "/etc/postern/cert.pem",
	"tls-key":        "/etc/postern/key.pem",
	"acme-domain":    "pop.example.org",
	"acme-email":     "postmaster@example.org",
	"acme-directory": "https://acme.internal/directory",
	"acme-roots":     "/etc/postern/acme-roots.pem",
	"audit-db":       "/var/lib/postern/audit.db",
}
