package config

import (
	"encoding/base64"
	"fmt"
	"net"
	"net/mail"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// listenAddress says what is wrong with an address to listen on: "host:port" or ":port".
func listenAddress(text string) string {
	_, port, err := net.SplitHostPort(text)
	if err != nil {
		return fmt.Sprintf("%.80q is not host:port or :port", text)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Sprintf("port %.80q is not a number from 0 to 65535", port)
	}
	return ""
}

// dialAddress says what is wrong with an address to connect to.
func dialAddress(text string) string {
	host, port, err := net.SplitHostPort(text)
	if err != nil || host == "" {
		return fmt.Sprintf("%.80q is not host:port", text)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Sprintf("port %.80q is not a number from 1 to 65535", port)
	}
	return ""
}

// verb says what is wrong with the name of a POP3 command.
func verb(text string) string {
	for _, c := range text {
		if c <= ' ' || c > '~' {
			return fmt.Sprintf("%.80q is not the name of a command", text)
		}
	}
	return ""
}

// certificateName says what is wrong with a name that a certificate can have: of a host, a wildcard, or an address.
func certificateName(text string) string { return serverName(strings.TrimPrefix(text, "*.")) }

// serverName says what is wrong with the name or the address of one host.
func serverName(text string) string {
	if _, err := netip.ParseAddr(text); err == nil || hostName(text) {
		return ""
	}
	return fmt.Sprintf("%.80q is neither the name of a host (in ASCII, as xn-- where need be) nor an address", text)
}

// onDemandName says what is wrong with a name that clients ask for.
func onDemandName(text string) string {
	if strings.HasPrefix(text, "*.") {
		return fmt.Sprintf("%.80q: no client asks for a wildcard", text)
	}
	if _, err := netip.ParseAddr(text); err == nil {
		return fmt.Sprintf("%.80q: clients that connect to an address name no server", text)
	}
	return serverName(text)
}

// zoneName says what is wrong with a name in the DNS, where labels with underscores are no hosts' but names.
func zoneName(text string) string {
	if hostName(strings.ReplaceAll(text, "_", "x")) {
		return ""
	}
	return fmt.Sprintf("%.80q is not a name in the DNS", text)
}

// hostName reports whether text is made of labels as RFC 1123 section 2.1 has them; a dot may end it.
func hostName(text string) bool {
	const longest, longestLabel = 253, 63
	text = strings.TrimSuffix(strings.ToLower(text), ".")
	if len(text) > longest {
		return false
	}
	for label := range strings.SplitSeq(text, ".") {
		if label == "" || len(label) > longestLabel || label[0] == '-' || label[len(label)-1] == '-' ||
			strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			return false
		}
	}
	return true
}

// mailAddress says what is wrong with a bare address.
func mailAddress(text string) string {
	if a, err := mail.ParseAddress(text); err == nil && a.Address == text {
		return ""
	}
	return fmt.Sprintf("%.80q is not a mail address", text)
}

// httpsURL says what is wrong with the URL of an authority's directory, which RFC 8555 section 6.1 wants in HTTPS.
func httpsURL(text string) string {
	if u, err := url.Parse(text); err == nil && u.Scheme == "https" && u.Host != "" {
		return ""
	}
	return fmt.Sprintf("%.80q is not an https:// URL", text)
}

// webURL says what is wrong with the URL of a server.
func webURL(text string) string {
	if u, err := url.Parse(text); err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Hostname() != "" {
		return ""
	}
	return "not an https:// or http:// URL" // which may hold a secret
}

// safeURL says what is wrong with the URL of a server whose answer is believed: whoever is in between must not give it.
func safeURL(text string) string {
	if what := webURL(text); what != "" {
		return what
	}
	u, _ := url.Parse(text) // it parsed
	addr, err := netip.ParseAddr(u.Hostname())
	if u.Scheme == "https" || u.Hostname() == "localhost" || err == nil && addr.IsLoopback() {
		return ""
	}
	return "not an https:// URL, and http:// is for this machine only"
}

// pin says what is wrong with a pinned public key, which is written as curl --pinnedpubkey wants it.
func pin(text string) string {
	const octets = 32 // of SHA-256
	sum, found := strings.CutPrefix(text, "sha256//")
	if b, err := base64.StdEncoding.DecodeString(sum); found && err == nil && len(b) == octets {
		return ""
	}
	return fmt.Sprintf("%.80q is not sha256// and 32 octets in base64", text)
}
