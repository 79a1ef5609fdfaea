package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"

	"github.com/spf13/cobra"

	"postern/audit"
	"postern/cmd/internal/config"
	"postern/cmd/internal/show"
)

// noSessions is what the empty log says: how to make the first session.
const noSessions = "Nothing is recorded yet. A session is recorded as soon as a mail client connects to postern serve:\n" +
	"  curl --ssl-reqd -u USER pop3s://HOST/\n" +
	"and postern demo shows it all without a mail server.\n"

// readSettings are the settings of the commands that read the log.
func readSettings(cmd *cobra.Command) func() (*config.Config, error) {
	return addSettings(cmd, "data-dir", "audit-db")
}

// openReader opens the log for reading; its errors say what to do. Whoever reads calls noteAccess before anything is
// printed.
func openReader(c *config.Config) (*audit.Reader, error) {
	if err := checkReadable(c.AuditPath()); err != nil {
		return nil, err
	}
	return audit.OpenReader(c.AuditPath())
}

// checkReadable says what to do when the log is not there, or not for this user.
func checkReadable(path string) error {
	f, err := os.Open(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("no audit log at %s\n"+
			"  name its place with --data-dir or --audit-db; postern serve and postern demo make one", path)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("the audit log %s may not be read by this user\n"+
			"  run as the user of postern serve, such as sudo -u postern", path)
	case err != nil:
		return fmt.Errorf("open audit log: %w", err)
	}
	return f.Close()
}

// addrFlag is an address, or a network of addresses, as a flag.
type addrFlag struct{ prefix netip.Prefix }

func (a *addrFlag) String() string {
	if !a.prefix.IsValid() {
		return ""
	}
	return a.prefix.String()
}

// Set takes 192.0.2.7, 2001:db8::7 or a prefix such as 192.0.2.0/24.
func (a *addrFlag) Set(text string) error {
	if prefix, err := netip.ParsePrefix(text); err == nil {
		a.prefix = prefix.Masked()
		return nil
	}
	addr, err := netip.ParseAddr(text)
	if err != nil || addr.Zone() != "" {
		return errors.New("want an address such as 192.0.2.7, or a network such as 192.0.2.0/24")
	}
	addr = addr.Unmap()
	a.prefix = netip.PrefixFrom(addr, addr.BitLen())
	return nil
}

func (a *addrFlag) Type() string { return "ADDR" }

// newPrinter prints to the command's output, in colours only where a person looks (https://no-color.org).
func newPrinter(w io.Writer) *show.Printer {
	color := false
	if f, ok := w.(*os.File); ok && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" {
		info, err := f.Stat()
		color = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	return &show.Printer{W: w, Color: color}
}
