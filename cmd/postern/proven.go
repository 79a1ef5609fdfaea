package main

import (
	"encoding/hex"
	"io"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"postern/audit"
	"postern/cmd/internal/show"
	"postern/proxy"
)

// printProven prints what a proof shows, which has been checked.
func printProven(w io.Writer, p *audit.Proof, shown *audit.Proven, asJSON bool) error {
	if asJSON {
		return show.JSONLines[*audit.Proven](w)(shown)
	}
	v := &verdictText{w: w}
	v.line("Record %d is in the log %s, of which %s records were signed then.", shown.Seq, shown.Origin, number(shown.Size))
	for _, part := range p.Leaf {
		if part.Commitment != "" {
			v.line("  %s: closed", part.Name)
			continue
		}
		v.line("  %s", part.Name)
		for _, f := range part.Fields {
			v.line("    %-12s %s", f.Name, fieldText(f))
		}
	}
	v.line("Signed with %s", shown.Key)
	v.line("            %s", shown.Fingerprint)
	if len(shown.Cosigned) > 0 {
		v.line("Others signed it, too, which was not checked: %s", strings.Join(shown.Cosigned, ", "))
	}
	if !shown.Trusted {
		v.line("Is that the log's key? Compare it with what you know of it, or give that with --key.")
	}
	return v.err
}

// fieldText is a field's value for people. Who wants to be sure of an octet looks into the file.
func fieldText(f audit.Field) string {
	switch {
	case f.Text != nil:
		return *f.Text
	case f.Octets != nil:
		if b, err := hex.DecodeString(*f.Octets); err == nil && f.Name == "ip" {
			if addr, ok := netip.AddrFromSlice(b); ok {
				return addr.String()
			}
		}
		return "octets " + *f.Octets
	case f.Name == "time":
		return time.Unix(0, *f.Number).UTC().Format("2006-01-02T15:04:05.000000Z")
	case f.Name == "session":
		return proxy.SessionID(*f.Number).String()
	case f.Name == "duration":
		return time.Duration(*f.Number).String()
	}
	return strconv.FormatInt(*f.Number, 10)
}
