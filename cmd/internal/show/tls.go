package show

import (
	"strings"

	"postern/audit"
)

// tlsWords tells the clients' leg in a few words.
func tlsWords(t *audit.TLS) string {
	if t == nil {
		return ""
	}
	name, resumed, shown := "", "", ""
	if t.SNI != "" {
		name = "for " + t.SNI
	}
	if t.Resumed {
		resumed = "resumed"
	}
	if t.Subject != "" {
		shown = "shows " + t.Subject
	}
	return join(", ", versionWords(t), t.Group, name, resumed, shown)
}

// behindWords tells the backend's leg, which is in clear text when t is nil.
func behindWords(t *audit.TLS) string {
	if t == nil {
		return ""
	}
	return "backend in " + join(", ", versionWords(t), verifiedWords(t))
}

func versionWords(t *audit.TLS) string {
	if t.Legacy {
		return t.Version + " (OUTDATED)"
	}
	return t.Version
}

// verifiedWords tells how a backend was verified: "name:HOST", "pin:KEY", or both with a comma between.
func verifiedWords(t *audit.TLS) string {
	if t.Verified == "" {
		return "NOT VERIFIED"
	}
	var how []string
	for one := range strings.SplitSeq(t.Verified, ",") {
		if name, ok := strings.CutPrefix(one, "name:"); ok {
			one = "as " + name
		} else if key, ok := strings.CutPrefix(one, "pin:"); ok {
			one = "by its key " + key
		}
		how = append(how, one)
	}
	return "verified " + strings.Join(how, " and ")
}

// legColor warns of a leg that ought not to be used any more.
func legColor(t *audit.TLS) string {
	if t != nil && t.Legacy {
		return yellow
	}
	return cyan
}

// certificateColor is that of a turn in a certificate's fate.
func certificateColor(turn string) string {
	switch turn {
	case "obtained", "renewed", "reloaded":
		return green
	case "failed", "expired", "revoked":
		return red
	}
	return yellow
}

func backendColor(turn string) string {
	if turn == "up" {
		return green
	}
	return red
}

// tlsFact tells a leg in full.
func tlsFact(t *audit.TLS) string {
	if t == nil {
		return "none"
	}
	name, alpn, resumed := "no server name asked for", "", ""
	if t.SNI != "" {
		name = "asked for " + t.SNI
	}
	if t.ALPN != "" {
		alpn = "ALPN " + t.ALPN
	}
	if t.Resumed {
		resumed = "resumed"
	}
	return join(", ", versionWords(t), t.Cipher, t.Group, name, alpn, resumed)
}

// handshakeFact tells how the clients' leg came up.
func handshakeFact(t *audit.TLS) string {
	if t == nil {
		return ""
	}
	took, serial, ja4 := "", "", ""
	if t.Handshake > 0 {
		took = Span(t.Handshake)
	}
	if t.Serial != "" {
		serial = "served certificate " + t.Serial
	}
	if t.JA4 != "" {
		ja4 = "JA4 " + t.JA4
	}
	return join(", ", took, serial, ja4)
}

// shownFact tells the client's own certificate.
func shownFact(t *audit.TLS) string {
	if t == nil || t.SHA256 == "" {
		return ""
	}
	return join(", ", t.Subject, "SHA-256 "+t.SHA256)
}

// behindFact tells the backend's leg in full. Of a backend that never greeted it is not known.
func behindFact(s audit.Session) string {
	t := s.BackendTLS
	switch {
	case t == nil && s.Greeting == "":
		return ""
	case t == nil:
		return "in clear text"
	}
	serial, took, resumed := "", "", ""
	if t.Serial != "" {
		serial = "certificate " + t.Serial
	}
	if t.Handshake > 0 {
		took = "handshake " + Span(t.Handshake)
	}
	if t.Resumed {
		resumed = "resumed"
	}
	return join(", ", versionWords(t), t.Cipher, t.Group, verifiedWords(t), serial, resumed, took)
}
