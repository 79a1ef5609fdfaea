package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"

	"github.com/spf13/cobra"

	"postern/cmd/internal/config"
	"postern/cmd/internal/popd"
	"postern/cmd/internal/traffic"
	"postern/proxy"
)

// The demo's own user, whom the sample traffic leaves alone.
const (
	demoUser     = "you"
	demoPassword = "sesame"
)

// demoOptions are demo's flags.
type demoOptions struct {
	keep      bool
	noTraffic bool
}

func newDemo() *cobra.Command {
	var o demoOptions
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "See it work: a mail server, mail clients and the dashboard, all on this machine",
		Long: "demo needs no configuration and no network. It starts a small POP3 server with sample mail, Postern in\n" +
			"front of it with a certificate of its own, and mail clients that come and go. Everything is in a temporary\n" +
			"directory that is removed at the end.",
		GroupID: groupRun,
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return demo(cmd.Context(), o, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	addToggle(cmd.Flags(), &o.keep, "keep", "", "keep the data directory at the end")
	addToggle(cmd.Flags(), &o.noTraffic, "no-traffic", "", "play no mail clients: every session is yours")
	return cmd
}

// demo runs until ctx ends.
func demo(ctx context.Context, o demoOptions, stdout, stderr io.Writer) (err error) {
	if err := harden(); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "postern-demo-")
	if err != nil {
		return fmt.Errorf("make data directory: %w", err)
	}
	if !o.keep {
		defer func() { err = errors.Join(err, wrap("remove data directory", os.RemoveAll(dir))) }()
	}
	s := &stage{dir: dir, users: demoUsers()}
	if err := s.raise(ctx, stderr); err != nil {
		return quiet(ctx, errors.Join(err, s.strike(ctx)))
	}
	_, err = io.WriteString(stdout, s.playbill(o))
	if err == nil {
		err = s.play(ctx, o)
	}
	err = errors.Join(err, s.strike(ctx))
	if o.keep {
		fmt.Fprintf(stdout, "\nKept: %s sessions --data-dir %s\n", program(), dir)
	}
	return err
}

// stage is all that the demo runs.
type stage struct {
	dir     string
	users   []traffic.User
	mail    *popd.Server
	daemon  *daemon
	running sync.WaitGroup
}

// demoUsers are the people of the sample traffic. On Linux each comes from an address of its own.
func demoUsers() []traffic.User {
	var users []traffic.User
	for i, name := range []string{"ada", "bob", "carol", "zoe", "watch", "quartermaster@castle.example"} {
		users = append(users, traffic.User{Name: name, Password: "portcullis-" + name, Host: net.IPv4(127, 0, 0, byte(11+i*12))})
	}
	return users
}

// raise starts the mail server and Postern in front of it.
func (s *stage) raise(ctx context.Context, stderr io.Writer) error {
	mail := popd.Samples()
	s.mail = &popd.Server{Name: "castle.example", Drops: map[string]*popd.Maildrop{demoUser: popd.NewMaildrop(demoPassword, mail)}}
	for _, u := range s.users {
		s.mail.Drops[u.Name] = popd.NewMaildrop(u.Password, mail)
	}
	backend, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen for the sample mail server: %w", err)
	}
	s.running.Go(func() { s.mail.Serve(backend) }) // ends with ErrClosed, in strike
	c := config.Default()
	c.ListenPOP3S = []string{free("127.0.0.1:1995")}
	c.ListenPOP3 = []string{free("127.0.0.1:1110")}
	c.Web = free(c.Web)
	c.Backend = backend.Addr().String()
	c.TLSLocal, c.DataDir, c.LogLevel = true, s.dir, "warn"
	c.MaxSessions = 100 // whatever the limit of open files is, nobody needs to be warned of it here
	s.daemon, err = startDaemon(ctx, c, io.Discard, newLogger(c, stderr), s.commands)
	return err
}

// free returns addr, or any free port of its host when addr is taken.
func free(addr string) string {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		host, _, _ := net.SplitHostPort(addr)
		return net.JoinHostPort(host, "0")
	}
	l.Close()
	return addr
}

// play lets the sample traffic go on until ctx ends.
func (s *stage) play(ctx context.Context, o demoOptions) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if !o.noTraffic {
		roots, err := s.roots()
		if err != nil {
			return err
		}
		s.running.Go(func() {
			traffic.Run(ctx, traffic.Options{POP3S: s.daemon.address(proxy.ModeTLS), POP3: s.daemon.address(proxy.ModeSTLS),
				TLS: &tls.Config{RootCAs: roots, ServerName: "localhost", NextProtos: []string{"pop3"}}, Users: s.users, Seed: 1939})
		})
	}
	select {
	case <-ctx.Done():
		return nil
	case err := <-s.daemon.failed:
		return err
	}
}

func (s *stage) roots() (*x509.CertPool, error) {
	text, err := os.ReadFile(s.daemon.certs.RootFile())
	if err != nil {
		return nil, fmt.Errorf("read root certificate: %w", err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(text)
	return pool, nil
}

// strike stops what raise started.
func (s *stage) strike(ctx context.Context) (err error) {
	if s.daemon != nil {
		err = s.daemon.stop(context.WithoutCancel(ctx))
	}
	if s.mail != nil {
		err = errors.Join(err, s.mail.Close())
	}
	s.running.Wait()
	return err
}

// commands are what a person can try; the dashboard shows them too while it is empty.
func (s *stage) commands(d *daemon) []string {
	root := d.certs.RootFile()
	return []string{
		fmt.Sprintf("curl --cacert %s -u %s:%s pop3s://%s/", root, demoUser, demoPassword, d.address(proxy.ModeTLS)),
		fmt.Sprintf("curl --cacert %s -u %s:%s pop3s://%s/1", root, demoUser, demoPassword, d.address(proxy.ModeTLS)),
		fmt.Sprintf("openssl s_client -quiet -crlf -starttls pop3 -CAfile %s -connect %s", root, d.address(proxy.ModeSTLS)),
	}
}

// program is how this program was called, for commands that can be copied.
func program() string {
	if filepath.Base(os.Args[0]) == "postern" {
		return os.Args[0]
	}
	return "postern"
}
