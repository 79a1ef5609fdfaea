package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"postern/cmd/internal/config"
	"postern/cmd/internal/control"
	"postern/cmd/internal/show"
)

func newCerts() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "certs",
		Short: "List the certificates of a running serve",
		Long: "certs lists every certificate in service or awaited, the one that ends first at the top: its names, where it\n" +
			"came from, what is left of it, when it is renewed, and the last error that it met.",
		Example: "  sudo postern certs\n  postern certs --json | jq -r 'select(.state != \"good\") | .names[]'\n  sudo postern certs renew pop.example.org",
		GroupID: groupCerts,
		Args:    noArguments,
	}
	var asJSON bool
	addToggle(cmd.Flags(), &asJSON, "json", "", "print JSON Lines")
	settings := addSettings(cmd, "data-dir")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := settings()
		if err != nil {
			return err
		}
		return listCerts(cmd, c, asJSON)
	}
	cmd.AddCommand(newCertsRenew())
	return cmd
}

func listCerts(cmd *cobra.Command, c *config.Config, asJSON bool) error {
	var answer listing
	err := control.Client(c.DataDir).Call(cmd.Context(), "GET", "/certificates", nil, &answer)
	if err != nil {
		return quiet(cmd.Context(), startServe(err, c))
	}
	if asJSON {
		print := show.JSONLines[show.Certificate](cmd.OutOrStdout())
		for _, cert := range answer.Certificates {
			if err := print(cert); err != nil {
				return err
			}
		}
		return nil
	}
	if len(answer.Certificates) == 0 {
		_, err := fmt.Fprintln(cmd.ErrOrStderr(), "No certificate yet: the first client that asks for a name of --acme-on-demand brings one.")
		return err
	}
	return newPrinter(cmd.OutOrStdout()).Certificates(answer.Certificates, time.Now())
}

// startServe adds to an error that nobody serves how somebody would.
func startServe(err error, c *config.Config) error {
	if !errors.Is(err, control.ErrNotRunning) {
		return err
	}
	return fmt.Errorf("no postern serve runs on %s\n"+
		"  start it: systemctl start postern, or postern serve --data-dir %[1]s ...; --data-dir names another one's directory", c.DataDir)
}

func newCertsRenew() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "renew NAME",
		Short: "Renew the certificate of a name now",
		Long: "renew orders the certificate of NAME anew, whatever is left of the old one, and waits until it is in service. A\n" +
			"certificate from files is read again, one of the local authority is issued again. Until then, and when it fails, the\n" +
			"old one stays. Authorities count orders: Let's Encrypt gives the same names five certificates a week.",
		Example: "  sudo postern certs renew pop.example.org",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError{errors.New("certs renew wants one NAME; postern certs lists them")}
			}
			return nil
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	settings := addSettings(cmd, "data-dir")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := settings()
		if err != nil {
			return err
		}
		return renewCert(cmd, c, args[0])
	}
	return cmd
}

func renewCert(cmd *cobra.Command, c *config.Config, name string) error {
	fmt.Fprintf(cmd.ErrOrStderr(), "Renewing the certificate of %s; an order may take some minutes.\n", show.Escape(name))
	began := time.Now()
	var answer listing
	err := control.Client(c.DataDir).Call(cmd.Context(), "POST", "/certificates/renew", renewal{name}, &answer)
	if cmd.Context().Err() != nil {
		return errors.New("given up before the certificate came; the old one stays in service")
	}
	if err != nil {
		return startServe(err, c)
	}
	for _, cert := range answer.Certificates {
		_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s after %s: %s, %s\n", done[cert.Source], show.Span(time.Since(began)),
			show.Escape(strings.Join(cert.Names, ", ")), show.Escape(identity(cert.Serial, cert.Issuer, cert.NotAfter)))
		if err != nil {
			return err
		}
	}
	return nil
}

// done says what a renewal is, by the source of the certificate.
var done = map[string]string{"acme": "Renewed", "file": "Read again", "local": "Issued again"}
