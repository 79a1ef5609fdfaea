// Package pop3 is the wire grammar of POP3: commands, replies, bodies, capabilities and SASL, and what
// of them may be recorded.
//
// It is pure: octets in, values out. It opens no connection, keeps no clock and logs nothing, so that every
// rule can be tested by table and by fuzzing. Package proxy feeds it line by line and decides what to do.
//
// Secrets (PASS, RPOP, APOP digests, SASL lines, and any line that may be one) leave this package only in
// the octets forwarded to the backend; Command.Record and Scrub give what is fit to be kept.
//
// Sources: RFC 1939 (base), RFC 2449 (CAPA, response codes), RFC 2595 (STLS), RFC 5034 (AUTH), RFC 6856
// (UTF8, LANG), and the verbs of older servers (RFC 1082 XTND, LAST; Cyrus *ENV and friends).
package pop3

// Bounds on lines, without their line end, in octets.
const (
	MaxCommand = 512       // RFC 2449 section 4 asks for 255; passwords and names of today want more
	MaxSASL    = 16 * 1024 // RFC 4954 section 4 has 12,288 for the longest tickets; rounded up
	MaxStatus  = 8 * 1024  // RFC 2449 section 4 asks for 512; real servers put long texts there
	MaxText    = 512       // what is kept of any text from the wire
)

// Redacted stands wherever a secret, or what may be one, was left out.
const Redacted = "<redacted>"
