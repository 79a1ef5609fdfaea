package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"

	"postern/proxy"
	"postern/tlsup"
)

// postern starts the program that people install, with its defaults, an audit log of its own, the given durability, and
// more flags. Its command is whole: the binary is not looked for.
func postern(durability string, more ...string) func(place) ([]string, error) {
	return func(p place) ([]string, error) {
		args := []string{p.binary, "serve", "--backend", loopback(p.backend), "--data-dir", p.dir + "/data", "--tls-cert", p.cert,
			"--tls-key", p.key, "--listen-pop3s", loopback(p.port), "--listen-pop3", loopback(p.spare1), "--web", loopback(p.spare2)}
		if durability != "strict" {
			args = append(args, "--durability", durability)
		}
		return append(args, more...), nil
	}
}

// unloggedCommand is the first argument by which this program is, instead of a benchmark, Postern's relay without a log.
const unloggedCommand = "unlogged"

// unlogged starts this program as Postern's relay without a log, which the product does not offer: what the log costs
// shows beside it.
func unlogged(p place) ([]string, error) {
	self, err := os.Executable()
	return []string{self, unloggedCommand, "-backend", loopback(p.backend), "-listen", loopback(p.port), "-cert", p.cert, "-key", p.key}, err
}

// serveUnlogged wires the relay as the program does, but for the log, until ctx ends.
func serveUnlogged(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet(unloggedCommand, flag.ContinueOnError)
	backend, listen := flags.String("backend", "", "address of the backend"), flags.String("listen", "", "address to listen on")
	cert, key := flags.String("cert", "", "certificate file"), flags.String("key", "", "its key")
	if err := flags.Parse(args); err != nil {
		return err
	}
	certs, err := tlsup.New(ctx, tlsup.Config{Files: []tlsup.Pair{{Cert: *cert, Key: *key}}})
	if err != nil {
		return fmt.Errorf("open certificate: %w", err)
	}
	defer certs.Close()
	l, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	relay := &proxy.Server{Backend: *backend, Recorder: nowhere{}, TLS: certs.TLSConfig(), Fingerprint: tlsup.JA4}
	stop := context.AfterFunc(ctx, func() { relay.Shutdown(context.WithoutCancel(ctx)) })
	defer stop()
	if err := relay.Serve(l, proxy.ModeTLS, "pop3s"); !errors.Is(err, proxy.ErrServerClosed) {
		return err
	}
	return nil
}

// nowhere is a Recorder that keeps nothing, at no cost.
type nowhere struct{}

func (nowhere) Record(proxy.Event) proxy.Receipt { return kept{} }
func (nowhere) Ready() error                     { return nil }

type kept struct{}

func (kept) Wait() error { return nil }
