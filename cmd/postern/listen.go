package main

import (
	"errors"
	"fmt"
	"net"
	"syscall"

	"postern/cmd/internal/config"
	"postern/proxy"
)

// listener is a bound address and what is spoken there.
type listener struct {
	net.Listener
	mode proxy.Mode
	name string // in records and log lines: the mode, and the address where there are several
}

// bindAll binds every address of the relay or none, and tells all that went wrong.
func bindAll(c *config.Config) (bound []listener, err error) {
	var mistakes []error
	bind := func(mode proxy.Mode, setting string, addrs []string) {
		for _, addr := range addrs {
			l, err := bindOne(setting, addr)
			if err != nil {
				mistakes = append(mistakes, err)
				continue
			}
			name := string(mode)
			if len(addrs) > 1 {
				name += "@" + l.Addr().String()
			}
			bound = append(bound, listener{l, mode, name})
		}
	}
	bind(proxy.ModeTLS, "listen-pop3s", c.ListenPOP3S)
	bind(proxy.ModeSTLS, "listen-pop3", c.ListenPOP3)
	if len(mistakes) > 0 {
		closeAll(bound)
		return nil, errors.Join(mistakes...)
	}
	return bound, nil
}

func closeAll(bound []listener) {
	for _, l := range bound {
		l.Close()
	}
}

// bindOne binds addr, of the setting called so; its error says what to do about it.
func bindOne(setting, addr string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	if err == nil {
		return l, nil
	}
	_, port, _ := net.SplitHostPort(addr)
	remedy := ""
	switch {
	case errors.Is(err, syscall.EACCES):
		err, remedy = syscall.EACCES, "ports below 1024 need CAP_NET_BIND_SERVICE: AmbientCapabilities=CAP_NET_BIND_SERVICE in a "+
			"systemd unit, sudo setcap cap_net_bind_service=+ep on the program, or a higher port"
	case errors.Is(err, syscall.EADDRINUSE):
		err, remedy = syscall.EADDRINUSE, "ss -ltnp 'sport = :"+port+"' names the program that listens there; "+
			"stop it or choose another port"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		err, remedy = syscall.EADDRNOTAVAIL, "this machine does not have that address; ip addr lists those it has"
	default:
		return nil, fmt.Errorf("--%s %s: %w", setting, addr, err)
	}
	return nil, fmt.Errorf("--%s %s: %w\n      %s", setting, addr, err, remedy)
}
