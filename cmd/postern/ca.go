package main

import (
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"postern/cmd/internal/config"
	"postern/tlsup"
)

func newCA() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "ca",
		Short:   "The local authority, of --tls-local",
		GroupID: groupCerts,
		Args:    noArguments,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newCAExport())
	return cmd
}

func newCAExport() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Print the root certificate that clients must trust",
		Long: "export prints the local authority's root certificate in PEM, for mail clients to trust. It is public: its key\n" +
			"stays in the data directory.",
		Example: "  sudo postern ca export > postern-ca.pem\n  sudo postern ca export --out /usr/local/share/ca-certificates/postern.crt",
		Args:    noArguments,
	}
	out := cmd.Flags().String("out", "", "write to `FILE` instead")
	settings := addSettings(cmd, "data-dir")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := settings()
		if err != nil {
			return err
		}
		root, err := readRoot(c)
		if err != nil {
			return err
		}
		if *out == "" {
			_, err = cmd.OutOrStdout().Write(root)
			return err
		}
		if err := os.WriteFile(*out, root, 0o644); err != nil {
			return fmt.Errorf("write root: %w", err)
		}
		_, err = fmt.Fprintf(cmd.ErrOrStderr(), "The root certificate is in %s.\n", *out)
		return err
	}
	return cmd
}

// readRoot reads the root from where the local authority keeps it, whether serve runs or not.
func readRoot(c *config.Config) ([]byte, error) {
	path := tlsup.RootFile(c.DataDir)
	root, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("no local authority in %s\n"+
			"  postern serve makes one with --tls-local, and while it awaits a first certificate; --data-dir names another directory", c.DataDir)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("%s may not be read by this user\n  run as the user of postern serve, or as root", path)
	case err != nil:
		return nil, fmt.Errorf("read root: %w", err)
	}
	if block, _ := pem.Decode(root); block == nil || block.Type != "CERTIFICATE" {
		return nil, fmt.Errorf("%s holds no certificate; restore it, or remove it and restart postern serve", path)
	}
	return root, nil
}
