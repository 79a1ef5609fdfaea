package pop3

import (
	"bytes"
	"errors"
	"strconv"
)

// Command is one parsed command line. Its slices point into the line it was parsed from.
type Command struct {
	Verb string // upper case; "" when it is not one of the verbs this package knows
	Name []byte // the verb as the client spelled it
	Arg  []byte // what follows; byte-exact for USER and PASS, else without blanks around it
	rule rule
}

// Errors of ParseCommand: the line must not reach the backend.
var (
	ErrControl = errors.New("control octet in command line")
	ErrEmpty   = errors.New("empty command line")
)

// form says what follows a +OK.
type form uint8

const (
	single    form = iota // the status line alone
	multi                 // a body
	multiBare             // a body when there is no argument
	dialogue              // AUTH with a mechanism: challenges; without one: a body
)

// kept says how much of an argument may be recorded.
type kept uint8

const (
	keepNone kept = iota // nothing: it may be a secret
	keepAll              // all of it
	keepName             // APOP: all up to the last space
	keepWord             // AUTH: the first word
	keepSafe             // all of it, but only once logged in: before, it may be a mistyped password
)

type rule struct {
	verb      string // by which it is found
	form      form
	kept      kept
	exact     bool // the argument is the rest of the line, blanks included
	discloses bool // the reply carries mail
	numbered  bool // the first argument is a message number
	pipelines bool // it may be sent before the command in front of it is answered
}

var rules = named(map[string]rule{
	"USER": {kept: keepAll, exact: true},
	"PASS": {kept: keepNone, exact: true},
	"RPOP": {kept: keepNone},
	"APOP": {kept: keepName},
	"AUTH": {form: dialogue, kept: keepWord},
	"STLS": {kept: keepSafe},
	"CAPA": {form: multi, kept: keepSafe},
	"UTF8": {kept: keepSafe},
	"LANG": {form: multiBare, kept: keepSafe},
	"QUIT": {kept: keepSafe},
	"NOOP": {kept: keepSafe, pipelines: true},
	"STAT": {kept: keepSafe, pipelines: true},
	"RSET": {kept: keepSafe, pipelines: true},
	"LAST": {kept: keepSafe, pipelines: true},
	"DELE": {kept: keepSafe, numbered: true, pipelines: true},
	"LIST": {form: multiBare, kept: keepSafe, numbered: true, pipelines: true},
	"UIDL": {form: multiBare, kept: keepSafe, numbered: true, pipelines: true},
	"RETR": {form: multi, kept: keepSafe, discloses: true, numbered: true, pipelines: true},
	"TOP":  {form: multi, kept: keepSafe, discloses: true, numbered: true, pipelines: true},
	"MSG":  {form: multi, kept: keepSafe, discloses: true, numbered: true},
	"*ENV": {form: multi, kept: keepSafe, discloses: true, numbered: true},
	"XTND": {form: multi, kept: keepSafe},
	// Never forwarded: they would let a client forge the address that is audited.
	"XCLIENT": {kept: keepSafe},
	"XOIP":    {kept: keepSafe},
	"PROXY":   {kept: keepSafe},
})

// named writes each verb into its rule: a lookup then makes no string.
func named(table map[string]rule) map[string]rule {
	for verb, r := range table {
		r.verb = verb
		table[verb] = r
	}
	return table
}

const maxVerb = len("XCLIENT")

// ParseCommand parses a line without its LF and the CR before it. Octets of 0x80 and above are allowed
// (RFC 6856); any control octet makes ErrControl, for servers take NUL and CR for ends of line.
func ParseCommand(line []byte) (Command, error) {
	for _, c := range line {
		if c < ' ' || c == 0x7f {
			return Command{}, ErrControl
		}
	}
	name, arg, _ := bytes.Cut(line, []byte{' '})
	if len(name) == 0 {
		return Command{}, ErrEmpty
	}
	c := Command{Name: name, Arg: arg}
	if len(name) <= maxVerb {
		c.rule = lookUp(name)
		c.Verb = c.rule.verb
	}
	if !c.rule.exact {
		c.Arg = bytes.Trim(arg, " ")
	}
	return c, nil
}

// lookUp returns the zero rule for a verb that is not known.
func lookUp(name []byte) rule {
	var up [maxVerb]byte
	for i, c := range name {
		if 'a' <= c && c <= 'z' {
			c -= 'a' - 'A'
		}
		up[i] = c
	}
	return rules[string(up[:len(name)])]
}

// AppendTo appends the canonical line for the backend: the verb as spelled, one space, the argument, CRLF.
// Both parsers then see the same octets.
func (c Command) AppendTo(b []byte) []byte {
	b = append(b, c.Name...)
	if len(c.Arg) > 0 || c.rule.exact {
		b = append(b, ' ')
		b = append(b, c.Arg...)
	}
	return append(b, '\r', '\n')
}

// Multiline reports whether a +OK to c is followed by a body that ends in a line of one dot. Unknown verbs
// are taken to be single-line.
func (c Command) Multiline() bool {
	switch c.rule.form {
	case multi:
		return true
	case multiBare, dialogue:
		return len(c.Arg) == 0
	}
	return false
}

// Dialogue reports whether c is AUTH with a mechanism: challenges may come before the final status
// (RFC 5034 section 4).
func (c Command) Dialogue() bool { return c.rule.form == dialogue && len(c.Arg) > 0 }

// Discloses reports whether the reply to c carries mail, in whole or in part.
func (c Command) Discloses() bool { return c.rule.discloses }

// Pipelines reports whether c may be sent while others like it are not answered yet: the form of its reply is known, and no
// reply decides whether the next command may be sent at all, as that to a login does. Nor does QUIT: whether it is
// answered decides what became of the deletes.
func (c Command) Pipelines() bool { return c.rule.pipelines }

// Message returns the message number c names, or 0: no server has more than 31 bits of them.
func (c Command) Message() int64 {
	if !c.rule.numbered {
		return 0
	}
	word, _, _ := bytes.Cut(c.Arg, []byte{' '})
	n, err := strconv.ParseInt(string(word), 10, 32)
	if err != nil || n < 1 {
		return 0
	}
	return n
}

// Mechanism returns AUTH's mechanism in upper case and the initial response as sent: nil when there is
// none, "=" when it is empty.
func (c Command) Mechanism() (mech string, initial []byte) {
	word, rest, found := bytes.Cut(c.Arg, []byte{' '})
	if found {
		initial = bytes.TrimLeft(rest, " ")
	}
	return string(bytes.ToUpper(word)), initial
}

// APOPUser returns the name in an APOP command: everything up to the last space.
func (c Command) APOPUser() []byte {
	if i := bytes.LastIndexByte(c.Arg, ' '); i >= 0 {
		return c.Arg[:i]
	}
	return nil
}
