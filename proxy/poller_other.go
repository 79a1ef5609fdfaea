//go:build !linux

package proxy

import "net"

// poller would wake sessions that rest. Here they keep their goroutines.
type poller struct{}

func polls(net.Conn) bool                   { return false }
func (*poller) add(net.Conn, *session) bool { return false }
func (*poller) remove(net.Conn)             {}
func (*poller) close()                      {}
