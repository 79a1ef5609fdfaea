package config

import (
	"slices"
	"time"
)

// Groups of settings, in the order of help.
const (
	groupRelay   = "Relay"
	groupBackend = "Towards the backend"
	groupTLS     = "TLS towards clients"
	groupFiles   = "Certificates from files"
	groupACME    = "Certificates by ACME, such as from Let's Encrypt"
	groupDNS     = "ACME by DNS (DNS-01), which wildcards need"
	groupLocal   = "Certificates of a local authority"
	groupAudit   = "Audit log"
	groupAnchors = "Anchors: where the log's checkpoints are kept outside of it"
	groupRetain  = "Retention: what the audit log forgets, and when"
	groupLedger  = "Message ledger: what the records of RETR, TOP and DELE tell of the messages"
	groupWatch   = "Watching"
	groupLimit   = "Limits"
)

// Settings is the table of all settings.
var Settings = slices.Concat(relaySettings, backendSettings, tlsSettings, acmeSettings, dnsSettings, localSettings,
	auditSettings, anchorSettings, retainSettings, ledgerSettings, watchSettings, limitSettings)

var relaySettings = []Setting{
	{Name: "listen-pop3s", Group: groupRelay, Value: "ADDR", Default: ":995", check: listenAddress,
		Usage: "listen with TLS from the first octet (repeatable, \"\" for none)",
		field: func(c *Config) any { return &c.ListenPOP3S }},
	{Name: "listen-pop3", Group: groupRelay, Value: "ADDR", Default: ":110", check: listenAddress,
		Usage: "listen in clear text and require STLS before any credential (repeatable, \"\" for none)",
		field: func(c *Config) any { return &c.ListenPOP3 }},
	{Name: "auth-translate", Group: groupRelay, Value: "HOW", Default: "off", Choices: []string{"off", "user", "apop"},
		Usage: "answer AUTH PLAIN and LOGIN for a backend that has neither, and log in there by USER/PASS or by APOP",
		field: func(c *Config) any { return &c.AuthTranslate }},
	{Name: "auth-external", Group: groupRelay, Value: "HOW", Default: "relay", Choices: []string{"relay", "match"},
		Usage: "AUTH EXTERNAL: relay it, or only if the user is one that the client's certificate names (match)",
		field: func(c *Config) any { return &c.AuthExternal }},
	{Name: "unknown-verbs", Group: groupRelay, Value: "HOW", Default: "relay", Choices: []string{"relay", "refuse"},
		Usage: "commands that no RFC and no known server has: relay them alone, or refuse them",
		field: func(c *Config) any { return &c.UnknownVerbs }},
	{Name: "multiline-verb", Group: groupRelay, Value: "VERB", check: verb,
		Usage: "a command of your server's own whose +OK is followed by lines up to a dot (repeatable)",
		field: func(c *Config) any { return &c.MultilineVerbs }},
	{Name: "login-errors", Group: groupRelay, Value: "HOW", Default: "relay", Choices: []string{"relay", "hide"},
		Usage: "relay the backend's words for a failed login, or hide them, as they may tell which users exist",
		field: func(c *Config) any { return &c.LoginErrors }},
}

var backendSettings = []Setting{
	{Name: "backend", Group: groupBackend, Value: "HOST:PORT", check: dialAddress,
		Usage: "the POP3 server behind (required)",
		field: func(c *Config) any { return &c.Backend }},
	{Name: "backend-tls", Group: groupBackend, Value: "HOW", Default: "plain", Choices: []string{"plain", "stls", "tls"},
		Usage: "plain: in clear text; stls: by STLS, never without; tls: from the first octet, as on port 995",
		field: func(c *Config) any { return &c.BackendTLS }},
	{Name: "backend-verify", Group: groupBackend, Value: "HOW", Default: "roots", Choices: []string{"roots", "none"},
		Usage: "its certificate: verify it, or take any (none: whoever is in between reads the passwords)",
		field: func(c *Config) any { return &c.BackendVerify }},
	{Name: "backend-name", Group: groupBackend, Value: "NAME", check: serverName,
		Usage: "name its certificate must have (default the host of --backend)",
		field: func(c *Config) any { return &c.BackendName }},
	{Name: "backend-ca", Group: groupBackend, Value: "PATH",
		Usage: "roots in PEM that vouch for it (default the system's)",
		field: func(c *Config) any { return &c.BackendCA }},
	{Name: "backend-pin", Group: groupBackend, Value: "PIN", check: pin,
		Usage: "its public key as sha256//BASE64, any one must match (repeatable); without --backend-ca it alone vouches",
		field: func(c *Config) any { return &c.BackendPins }},
	{Name: "backend-cert", Group: groupBackend, Value: "PATH",
		Usage: "our own certificate towards it, in PEM, read again when it changes",
		field: func(c *Config) any { return &c.BackendCert }},
	{Name: "backend-key", Group: groupBackend, Value: "PATH",
		Usage: "private key of --backend-cert in PEM",
		field: func(c *Config) any { return &c.BackendKey }},
	{Name: "backend-tls-min", Group: groupBackend, Value: "VERSION", Default: "1.2", Choices: []string{"1.3", "1.2", "1.1", "1.0"},
		Usage: "least TLS version; 1.0 and 1.1 are broken, for servers that know no better",
		field: func(c *Config) any { return &c.BackendTLSMin }},
	{Name: "pipelining", Group: groupBackend, Value: "HOW", Default: "auto", Choices: []string{"auto", "on", "off"},
		Usage: "several commands at a time: if a client sends them so and the backend has announced PIPELINING (auto), on, off",
		field: func(c *Config) any { return &c.Pipelining }},
}

var tlsSettings = []Setting{
	{Name: "tls-policy", Group: groupTLS, Value: "POLICY", Default: "intermediate", Choices: []string{"modern", "intermediate", "legacy"},
		Usage: "modern: TLS 1.3; intermediate: 1.2 as well; legacy: 1.0 and 1.1 too, each such session is marked",
		field: func(c *Config) any { return &c.TLSPolicy }},
	{Name: "tls-default-name", Group: groupTLS, Value: "NAME", check: certificateName,
		Usage: "whose certificate a client gets that names no server, or an unknown one (default the first file's or domain's)",
		field: func(c *Config) any { return &c.TLSDefaultName }},
	{Name: "tls-client-auth", Group: groupTLS, Value: "HOW", Default: "off", Choices: []string{"off", "request", "require"},
		Usage: "clients' own certificates: off, request (one that is shown must be good), require",
		field: func(c *Config) any { return &c.TLSClientAuth }},
	{Name: "tls-client-ca", Group: groupTLS, Value: "PATH",
		Usage: "authorities in PEM that vouch for clients' certificates",
		field: func(c *Config) any { return &c.TLSClientCA }},

	{Name: "tls-cert", Group: groupFiles, Value: "PATH",
		Usage: "certificate chain in PEM, live within a second when it is replaced (repeatable)",
		field: func(c *Config) any { return &c.TLSCerts }},
	{Name: "tls-key", Group: groupFiles, Value: "PATH", Twice: true,
		Usage: "private key in PEM, one for each --tls-cert in the same order (repeatable)",
		field: func(c *Config) any { return &c.TLSKeys }},
}

var acmeSettings = []Setting{
	{Name: "acme-domain", Group: groupACME, Value: "NAME", check: certificateName,
		Usage: "name, *.wildcard or address to have a certificate for (repeatable)",
		field: func(c *Config) any { return &c.ACMEDomains }},
	{Name: "acme-on-demand", Group: groupACME, Value: "NAME", check: onDemandName,
		Usage: "name to have a certificate for once a client asks for it (repeatable)",
		field: func(c *Config) any { return &c.ACMEOnDemand }},
	{Name: "acme-email", Group: groupACME, Value: "ADDRESS", check: mailAddress,
		Usage: "contact for the authority's notices",
		field: func(c *Config) any { return &c.ACMEEmail }},
	{Name: "acme-ca", Group: groupACME, Value: "URL", check: httpsURL,
		Usage: "another authority's directory (default Let's Encrypt)",
		field: func(c *Config) any { return &c.ACMECA }},
	{Name: "acme-roots", Group: groupACME, Value: "PATH",
		Usage: "roots in PEM to trust when talking to --acme-ca (default the system's)",
		field: func(c *Config) any { return &c.ACMERoots }},
	{Name: "acme-eab-kid", Group: groupACME, Value: "ID",
		Usage: "key identifier of the external account that --acme-ca wants",
		field: func(c *Config) any { return &c.ACMEEABKeyID }},
	{Name: "acme-eab-key-file", Group: groupACME, Value: "PATH",
		Usage: "file with that account's HMAC key in base64url",
		field: func(c *Config) any { return &c.ACMEEABKeyFile }},
	{Name: "acme-profile", Group: groupACME, Value: "NAME",
		Usage: "kind of certificate to ask for, of those that the authority offers",
		field: func(c *Config) any { return &c.ACMEProfile }},
	{Name: "acme-rsa", Group: groupACME, Default: "false",
		Usage: "have an RSA certificate beside each ECDSA one, for old clients",
		field: func(c *Config) any { return &c.ACMERSA }},
	{Name: "acme-http-port", Group: groupACME, Value: "PORT", Default: "80", Max: 65535,
		Usage: "port for HTTP-01 challenges; the authority always asks at 80 (0 for none)",
		field: func(c *Config) any { return &c.ACMEHTTPPort }},
	{Name: "acme-tls-port", Group: groupACME, Value: "PORT", Default: "443", Max: 65535,
		Usage: "port for TLS-ALPN-01 challenges; the authority always asks at 443 (0 for none)",
		field: func(c *Config) any { return &c.ACMETLSPort }},
}

var dnsSettings = []Setting{
	{Name: "acme-dns-server", Group: groupDNS, Value: "HOST:PORT", check: dialAddress,
		Usage: "name server that takes dynamic updates (RFC 2136)",
		field: func(c *Config) any { return &c.ACMEDNSServer }},
	{Name: "acme-dns-zone", Group: groupDNS, Value: "ZONE", check: zoneName,
		Usage: "zone to update there (default found by its SOA)",
		field: func(c *Config) any { return &c.ACMEDNSZone }},
	{Name: "acme-dns-tsig-name", Group: groupDNS, Value: "NAME", check: zoneName,
		Usage: "name of the key that signs updates (TSIG)",
		field: func(c *Config) any { return &c.ACMEDNSTSIGName }},
	{Name: "acme-dns-tsig-algorithm", Group: groupDNS, Value: "NAME", Default: "hmac-sha256",
		Choices: []string{"hmac-sha224", "hmac-sha256", "hmac-sha384", "hmac-sha512", "hmac-sha1"},
		Usage:   "algorithm of that key",
		field:   func(c *Config) any { return &c.ACMEDNSTSIGAlgorithm }},
	{Name: "acme-dns-tsig-key-file", Group: groupDNS, Value: "PATH",
		Usage: "file with that key's secret in base64",
		field: func(c *Config) any { return &c.ACMEDNSTSIGKeyFile }},
	{Name: "acme-dns-hook", Group: groupDNS, Value: "PATH",
		Usage: "program that sets records instead, run as: PATH present|cleanup NAME VALUE",
		field: func(c *Config) any { return &c.ACMEDNSHook }},
	{Name: "acme-dns-propagation", Group: groupDNS, Value: "TIME", Default: "2m", Min: int64(time.Second), Max: int64(30 * time.Minute),
		Usage: "longest wait until the record is seen",
		field: func(c *Config) any { return &c.ACMEDNSPropagation }},
	{Name: "acme-dns-resolver", Group: groupDNS, Value: "HOST:PORT", check: dialAddress,
		Usage: "name server asked whether it is seen (repeatable, default the zone's own)",
		field: func(c *Config) any { return &c.ACMEDNSResolvers }},
}

var localSettings = []Setting{
	{Name: "tls-local", Group: groupLocal, Default: "false",
		Usage: "make certificates for every name that no other source has, for trials and closed networks",
		field: func(c *Config) any { return &c.TLSLocal }},
}

var auditSettings = []Setting{
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
}

var anchorSettings = []Setting{
	{Name: "audit-anchor-file", Group: groupAnchors, Value: "PATH",
		Usage: "append each to this file, best on another disk or append-only (chattr +a)",
		field: func(c *Config) any { return &c.AnchorFile }},
	{Name: "audit-anchor-stdout", Group: groupAnchors, Default: "false",
		Usage: "print each on standard output as a line of JSON, for journald or another collector",
		field: func(c *Config) any { return &c.AnchorStdout }},
	{Name: "audit-anchor-webhook", Group: groupAnchors, Value: "URL", Secret: true, check: safeURL,
		Usage: "post each to this URL as plain text",
		field: func(c *Config) any { return &c.AnchorWebhook }},
	{Name: "audit-anchor-witness", Group: groupAnchors, Value: "URL", check: webURL,
		Usage: "have a witness cosign each (C2SP tlog-witness); the URL without add-checkpoint (repeatable)",
		field: func(c *Config) any { return &c.AnchorWitnesses }},
	{Name: "audit-anchor-witness-key", Group: groupAnchors, Value: "VKEY",
		Usage: "verifier key of cosignatures, one for each --audit-anchor-witness in the same order (repeatable)",
		field: func(c *Config) any { return &c.AnchorWitnessKeys }},
	{Name: "audit-anchor-every", Group: groupAnchors, Value: "TIME", Default: "1m", Min: int64(time.Second), Max: int64(24 * time.Hour),
		Usage: "least time from one to the next",
		field: func(c *Config) any { return &c.AnchorEvery }},
}

// A year by default, as PCI DSS 10.5.1 wants it; the rest is up to a site.
var retainSettings = []Setting{
	{Name: "retain-sessions", Group: groupRetain, Value: "AGE", Default: "365d",
		Usage: "delete sessions, and records of none, of that age (0 for never)",
		field: func(c *Config) any { return &c.RetainSessions }},
	{Name: "retain-messages", Group: groupRetain, Value: "AGE", Default: "0",
		Usage: "take out of older records what names mail: unique-ids, headers, digests (0: when they are deleted)",
		field: func(c *Config) any { return &c.RetainMessages }},
	{Name: "retain-addresses", Group: groupRetain, Value: "AGE", Default: "0",
		Usage: "leave of clients' addresses in older records the /24 or /48, and of ports nothing (0: as above)",
		field: func(c *Config) any { return &c.RetainAddresses }},
	{Name: "retain-users", Group: groupRetain, Value: "AGE", Default: "0",
		Usage: "leave of users in older records a pseudonym, and of what was said no words (0: as above)",
		field: func(c *Config) any { return &c.RetainUsers }},
	{Name: "retain-size", Group: groupRetain, Value: "SIZE", Default: "0",
		Usage: "delete the oldest sessions while the log is larger, as in 10GB (0 for any size)",
		field: func(c *Config) any { return &c.RetainSize }},
}

// Off by default: the first costs the backend a command, the others keep what is in people's mail.
var ledgerSettings = []Setting{
	{Name: "ledger-uidl", Group: groupLedger, Default: "false",
		Usage: "ask the backend once for the unique-ids when a client that did not ask opens or deletes a message",
		field: func(c *Config) any { return &c.LedgerUIDL }},
	{Name: "ledger-digest", Group: groupLedger, Default: "false",
		Usage: "keep the SHA-256 of each message that RETR relays whole",
		field: func(c *Config) any { return &c.LedgerDigest }},
	{Name: "ledger-headers", Group: groupLedger, Default: "false",
		Usage: "keep Message-ID, From, Date and Subject of the messages that RETR and TOP relay",
		field: func(c *Config) any { return &c.LedgerHeaders }},
}

var watchSettings = []Setting{
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
}

var limitSettings = []Setting{
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
	"backend":                  "mail.internal:110",
	"backend-name":             "mail.internal",
	"backend-ca":               "/etc/postern/backend-ca.pem",
	"backend-pin":              "sha256//47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
	"backend-cert":             "/etc/postern/client.pem",
	"backend-key":              "/etc/postern/client-key.pem",
	"multiline-verb":           "ARCHIVE",
	"tls-cert":                 "/etc/postern/cert.pem",
	"tls-key":                  "/etc/postern/key.pem",
	"tls-default-name":         "pop.example.org",
	"tls-client-ca":            "/etc/postern/clients-ca.pem",
	"acme-domain":              "pop.example.org",
	"acme-on-demand":           "pop.customer.example",
	"acme-email":               "postmaster@example.org",
	"acme-ca":                  "https://acme.internal/directory",
	"acme-roots":               "/etc/postern/acme-roots.pem",
	"acme-eab-kid":             "kid-1",
	"acme-eab-key-file":        "/etc/postern/eab.key",
	"acme-profile":             "shortlived",
	"acme-dns-server":          "ns.example.org:53",
	"acme-dns-zone":            "example.org",
	"acme-dns-tsig-name":       "postern",
	"acme-dns-tsig-key-file":   "/etc/postern/tsig.key",
	"acme-dns-hook":            "/etc/postern/dns-hook",
	"acme-dns-resolver":        "192.0.2.53:53",
	"audit-db":                 "/var/lib/postern/audit.db",
	"audit-anchor-file":        "/mnt/worm/postern.anchors",
	"audit-anchor-webhook":     "https://anchors.example.org/postern",
	"audit-anchor-witness":     "https://witness.example.org/",
	"audit-anchor-witness-key": "witness.example.org/w1+bcb4dd6b+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2",
}
