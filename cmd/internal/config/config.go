// Package config gathers Postern's settings: defaults, then a TOML file, then the environment, then flags,
// each layer overriding the one before.
//
// One table (Settings) says everything about a setting once: its name, kind, default, bounds and meaning.
// Flags, POSTERN_* variables, the keys of the file, their checks and the sample file all come from it.
//
// Nothing stops at the first mistake: Load returns every one it finds as Problems, each with its place
// (file:line:column, the variable or the flag), what is wrong and how to mend it.
package config

import (
	"maps"
	"os"
	"path/filepath"
	"time"
)

// Config holds every setting, typed and checked one by one. What settings must be together is checked by
// the command that uses them, which finds their places by Origin.
type Config struct {
	ListenPOP3S []string // addresses with implicit TLS
	ListenPOP3  []string // addresses with STLS

	AuthTranslate  string
	AuthExternal   string
	UnknownVerbs   string
	MultilineVerbs []string
	LoginErrors    string

	Backend       string // host:port
	BackendTLS    string
	BackendVerify string
	BackendName   string // "" for the host of Backend
	BackendCA     string
	BackendPins   []string
	BackendCert   string
	BackendKey    string
	BackendTLSMin string
	Pipelining    string

	TLSCerts       []string
	TLSKeys        []string // one for each of TLSCerts
	TLSLocal       bool
	TLSDefaultName string
	TLSPolicy      string
	TLSClientAuth  string
	TLSClientCA    string

	ACMEDomains    []string
	ACMEOnDemand   []string
	ACMEEmail      string
	ACMECA         string
	ACMERoots      string
	ACMEEABKeyID   string
	ACMEEABKeyFile string
	ACMEProfile    string
	ACMERSA        bool
	ACMEHTTPPort   int
	ACMETLSPort    int

	ACMEDNSServer        string
	ACMEDNSZone          string
	ACMEDNSTSIGName      string
	ACMEDNSTSIGAlgorithm string
	ACMEDNSTSIGKeyFile   string
	ACMEDNSHook          string
	ACMEDNSPropagation   time.Duration
	ACMEDNSResolvers     []string

	DataDir    string
	AuditDB    string // "" for audit.db in DataDir
	Durability string
	OnFailure  string

	AnchorFile        string
	AnchorStdout      bool
	AnchorWebhook     string
	AnchorWitnesses   []string
	AnchorWitnessKeys []string // one for each of AnchorWitnesses
	AnchorEvery       time.Duration

	RetainSessions  Age
	RetainMessages  Age
	RetainAddresses Age
	RetainUsers     Age
	RetainSize      Size

	LedgerUIDL    bool
	LedgerDigest  bool
	LedgerHeaders bool

	Web       string // "" for none
	LogLevel  string
	LogFormat string

	MaxSessions           int
	MaxSessionsPerAddress int
	MaxSessionsPerUser    int
	TimeoutHandshake      time.Duration
	TimeoutLogin          time.Duration
	TimeoutIdle           time.Duration
	TimeoutDial           time.Duration
	TimeoutReply          time.Duration
	TimeoutWrite          time.Duration

	origins map[string]Origin
}

// Origin says where a setting was made, as its user wrote it: "postern.toml:3:11",
// "POSTERN_BACKEND" or "--backend". It is empty for a default.
type Origin string

// Origin returns the place that set the setting called name, or "--name" for a default: that is where a
// person would set it.
func (c *Config) Origin(name string) string {
	if o := c.origins[name]; o != "" {
		return string(o)
	}
	return "--" + name
}

// IsSet reports whether anything but the default made the setting called name, and made something of it: an empty text
// is how compose files and wrappers leave a setting out.
func (c *Config) IsSet(name string) bool {
	s, ok := Lookup(name)
	return ok && c.origins[name] != "" && !s.empty(c)
}

// AuditPath returns the path of the audit database.
func (c *Config) AuditPath() string {
	if c.AuditDB != "" {
		return c.AuditDB
	}
	return filepath.Join(c.DataDir, "audit.db")
}

// Sources says where Load looks.
type Sources struct {
	File    string              // path of the TOML file, "" for none
	Environ []string            // as os.Environ gives it
	Flags   map[string][]string // settings given as flags, by name; one element for each time it was given
}

// Default returns the Config of the defaults alone.
func Default() *Config {
	c := &Config{origins: make(map[string]Origin)}
	for _, s := range Settings {
		if p := s.assign(c, s.defaults()); p != "" {
			panic("config: default of " + s.Name + ": " + p) // the table is wrong; a test says so
		}
	}
	return c
}

// Load reads all layers. The error is Problems when settings are wrong; the Config then holds what could
// be made of them, so that what else is wrong can be told in the same breath.
func Load(src Sources) (*Config, error) {
	c := Default()
	var problems Problems
	if src.File != "" {
		text, err := os.ReadFile(src.File)
		if err != nil {
			problems.Add(src.File, reason(err), "give --config the path of a file that can be read")
		}
		c.apply(fromTOML(src.File, text, &problems), &problems)
	}
	c.apply(fromEnviron(src.Environ, &problems), &problems)
	c.apply(fromFlags(src.Flags), &problems)
	if len(problems) > 0 {
		return c, problems
	}
	return c, nil
}

// given is one setting as one layer made it.
type given struct {
	setting Setting
	values  []string
	origin  Origin
}

// apply assigns what a layer gave; a mistake is a problem even where a later layer overrides it.
func (c *Config) apply(layer []given, problems *Problems) {
	made := make(map[string]Origin, len(layer))
	for _, g := range layer {
		if what := g.setting.assign(c, g.values); what != "" {
			problems.Add(string(g.origin), what, g.setting.remedy(g.values, g.origin))
		}
		made[g.setting.Name] = g.origin
	}
	maps.Copy(c.origins, made)
}
