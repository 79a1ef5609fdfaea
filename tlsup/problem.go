package tlsup

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"
	"unicode"

	"github.com/mholt/acmez/v3/acme"
)

// maxDetail bounds what is repeated of another machine's words, in characters.
const maxDetail = 300

// toldError is an error whose text is meant for the operator: what is wrong, and how to mend it.
type toldError struct{ error }

// Unwrap returns the error inside.
func (e toldError) Unwrap() error { return errors.Unwrap(e.error) }

func told(format string, args ...any) error { return toldError{fmt.Errorf(format, args...)} }

// orderFacts is what an explanation needs to know beside the error.
type orderFacts struct {
	name      string // what the certificate is for
	directory string // the authority's URL
}

// explain says in one line why an order failed, and how to mend it. The libraries' own errors are chains of wrappings with
// the cause somewhere inside, and no remedy.
func explain(err error, o orderFacts) string {
	if mine, ok := errors.AsType[toldError](err); ok {
		return oneLine(mine.Error())
	}
	if problem, ok := errors.AsType[acme.Problem](err); ok {
		return oneLine(explainProblem(problem, o))
	}
	return oneLine(explainLocal(err, o))
}

// explainProblem is explain for what the authority said (RFC 8555 section 6.7).
func explainProblem(p acme.Problem, o orderFacts) string {
	if len(p.Subproblems) > 0 && (p.Type == acme.ProblemTypeCompound || p.Detail == "") {
		p.Type, p.Detail = p.Subproblems[0].Type, p.Subproblems[0].Detail
	}
	challenge := failedChallenge(p)
	what, remedy := "", ""
	switch strings.TrimPrefix(p.Type, acme.ProblemTypeNamespace) {
	case "connection":
		what, remedy = "the authority cannot reach "+o.name, "open port "+challengePort(challenge)+
			" of the address in DNS to the world, or forward it to this machine"
	case "tls":
		what, remedy = "another server answers for "+o.name, "forward port 443 to this machine, or leave TLS-ALPN-01 out: acme-tls-port = 0"
	case "dns":
		what, remedy = explainDNS(challenge, o)
	case "unauthorized", "incorrectResponse":
		what, remedy = explainUnauthorized(challenge, o)
	case "rateLimited":
		what, remedy = "the authority limits orders", "nothing is to be mended: it is ordered again "+again(p.Detail)
	case "externalAccountRequired":
		what, remedy = "the authority wants an external account", "set acme-eab-kid and acme-eab-key-file as it gave them to you"
	case "caa":
		what, remedy = "CAA records of "+o.name+" forbid this authority", "add it to them, or remove them"
	case "rejectedIdentifier", "unsupportedIdentifier":
		what, remedy = "the authority does not vouch for "+o.name, "leave the name out, or name another authority in acme-ca"
	case "invalidProfile":
		what, remedy = "the authority does not know the profile", "set acme-profile to one of its own, or leave it out"
	case "invalidContact", "unsupportedContact":
		what, remedy = "the authority does not take the mail address", "mend acme-email, or leave it out"
	case "userActionRequired":
		what, remedy = "the authority waits for you", "do what it says: "+p.Instance
	case "badNonce":
		what, remedy = "the authority refuses every nonce", "see that no cache stands between; it is tried again"
	case "serverInternal":
		what, remedy = "the authority has trouble", "it is tried again by itself"
	case "accountDoesNotExist":
		what, remedy = "the authority does not know the account", "it is made anew by itself"
	case "badCSR", "badPublicKey", "badSignatureAlgorithm":
		what, remedy = "the authority does not take the key", "see whether it certifies ECDSA P-256 (and RSA, where asked for) at all"
	default:
		what, remedy = "the authority refuses "+o.name, "its words say why"
	}
	return what + ": " + cut(p.Detail) + "; " + remedy
}

func explainDNS(challenge string, o orderFacts) (what, remedy string) {
	if challenge == acme.ChallengeTypeDNS01 {
		return "the authority does not find the TXT record for " + o.name,
			"see that the zone is delegated to the server that takes the updates"
	}
	return "the authority does not find " + o.name + " in the DNS", "make an A or AAAA record that points to this machine"
}

func explainUnauthorized(challenge string, o orderFacts) (what, remedy string) {
	switch challenge {
	case "":
		return "the authority refuses the account", "check acme-eab-kid and acme-eab-key-file, or remove the acme folder " +
			"of the data directory to register a new one"
	case acme.ChallengeTypeDNS01:
		return "the authority sees another TXT record for " + o.name,
			"see that all servers of the zone have the updates, and allow more time in acme-dns-propagation"
	}
	return "another machine answers for " + o.name, "point its A and AAAA records here, and forward port " +
		challengePort(challenge) + " here"
}

// failedChallenge is the kind of challenge that a problem is about, "" if it is about none.
func failedChallenge(p acme.Problem) string {
	authorization, ok := p.Resource.(acme.Authorization)
	if !ok {
		return ""
	}
	i := slices.IndexFunc(authorization.Challenges, func(c acme.Challenge) bool { return c.Error != nil })
	if i < 0 {
		return "unknown"
	}
	return authorization.Challenges[i].Type
}

func challengePort(challenge string) string {
	switch challenge {
	case acme.ChallengeTypeHTTP01:
		return "80"
	case acme.ChallengeTypeTLSALPN01:
		return "443"
	}
	return "80 or 443"
}

// explainLocal is explain for what happened before the authority could say anything.
func explainLocal(err error, o orderFacts) string {
	text := err.Error()
	switch {
	case isCertificate(err):
		return explainCertificate(err, o)
	case isNetwork(err):
		return "the authority " + o.directory + " cannot be reached: " + cut(cause(err)) +
			"; check acme-ca, this machine's DNS, and that it may connect outwards"
	case strings.Contains(text, "provisioning client:"):
		return o.directory + " is no ACME directory: " + cut(innermost(text)) + "; set acme-ca to the URL of the authority's directory"
	case strings.Contains(text, "unknown profile name"):
		return "the authority does not know the profile: " + cut(innermost(text)) + "; set acme-profile to one of its own, or leave it out"
	case strings.Contains(text, "bind: permission denied"):
		return "the port for validation cannot be opened: " + cut(innermost(text)) + "; run with CAP_NET_BIND_SERVICE, " +
			"or set acme-http-port or acme-tls-port and forward 80 or 443 there"
	case strings.Contains(text, "no solvers available"):
		return "the authority offers no challenge that can be met for " + o.name + ": " + cut(innermost(text)) + "; set up DNS-01"
	case strings.Contains(text, "failed storage check"):
		return "the data directory cannot be written: " + cut(innermost(text)) + "; free space, or mend its permissions"
	case errors.Is(err, context.DeadlineExceeded):
		return "the authority does not come to an end with " + o.name + ": " + cut(text) + "; it is tried again"
	}
	return cut(text)
}

// isCertificate reports whether the authority's own TLS was not trusted.
func isCertificate(err error) bool {
	_, ok := errors.AsType[*tls.CertificateVerificationError](err)
	return ok
}

func explainCertificate(err error, o orderFacts) string {
	remedy := "if it is a private authority, name its root in acme-roots"
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		remedy = "set acme-ca to the name in the certificate"
	}
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok && invalid.Reason == x509.Expired {
		remedy = "set this machine's clock, or have the authority renew it"
	}
	return "the TLS certificate of the authority " + o.directory + " is not trusted: " + cut(cause(err)) + "; " + remedy
}

// isNetwork reports whether the authority could not be spoken to.
func isNetwork(err error) bool {
	_, op := errors.AsType[*net.OpError](err)
	_, resolve := errors.AsType[*net.DNSError](err)
	return op || resolve || errors.Is(err, syscall.ECONNREFUSED) || strings.Contains(err.Error(), "performing request:")
}

// cause is the innermost error, without the words of those around it.
func cause(err error) string {
	for next := errors.Unwrap(err); next != nil; next = errors.Unwrap(err) {
		if _, ok := err.(*net.DNSError); ok {
			break
		}
		err = next
	}
	return err.Error()
}

// innermost is the last part of a chain of wrappings that was made of words.
func innermost(text string) string {
	parts := strings.Split(text, ": ")
	return strings.Join(parts[max(0, len(parts)-2):], ": ")
}

// retryMoment finds the time in the words of a rate limit, as Let's Encrypt writes them.
var retryMoment = regexp.MustCompile(`retry after (\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?: ?UTC|Z))`)

// retryAfter is when an authority will take the order again, zero if it did not say.
func retryAfter(err error) time.Time {
	problem, ok := errors.AsType[acme.Problem](err)
	if !ok || problem.Type != acme.ProblemTypeRateLimited {
		return time.Time{}
	}
	return momentIn(problem.Detail)
}

func momentIn(detail string) time.Time {
	match := retryMoment.FindStringSubmatch(detail)
	if match == nil {
		return time.Time{}
	}
	at, err := time.Parse("2006-01-02T15:04:05Z", strings.NewReplacer(" UTC", "Z", "UTC", "Z", " ", "T").Replace(match[1]))
	if err != nil {
		return time.Time{}
	}
	return at
}

func again(detail string) string {
	if at := momentIn(detail); !at.IsZero() {
		return "at " + at.UTC().Format(time.RFC3339)
	}
	return "later by itself"
}

// oneLine makes one line of what may be several, without characters that steer a terminal.
func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return ' '
		}
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, s)
	return strings.Join(strings.Fields(s), " ")
}

// cut shortens another machine's words, and drops a full stop that ours go on behind.
func cut(s string) string {
	if s = strings.TrimRight(oneLine(s), ". "); s == "" {
		return "it does not say why"
	}
	if r := []rune(s); len(r) > maxDetail {
		return string(r[:maxDetail]) + "..."
	}
	return s
}
