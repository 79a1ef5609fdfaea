package traffic

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net"
	"net/textproto"
	"strings"
	"time"
)

// maxLine bounds a line of mail.
const maxLine = 1 << 20

// client is one mail client's connection.
type client struct {
	conn  net.Conn
	text  *textproto.Conn
	stamp string      // what APOP digests, "" if the server has none
	think func() bool // pauses as a person or a program would; false when the session should end
}

// dial connects and has TLS when it returns.
func (p *play) dial(ctx context.Context) (*client, error) {
	address := p.options.POP3S
	if p.stls {
		address = p.options.POP3
	}
	conn, err := dialFrom(ctx, p.user.Host, address)
	if err != nil {
		return nil, err
	}
	conn.SetDeadline(time.Now().Add(sessionTime))
	c := &client{conn: conn}
	if !p.stls {
		c.upgrade(p.options.TLS)
	}
	c.text = textproto.NewConn(c.conn)
	greeting, err := c.text.ReadLine()
	if err == nil && p.stls {
		err = c.stls(p.options.TLS)
	}
	if err != nil {
		c.conn.Close()
		return nil, fmt.Errorf("begin session: %w", err)
	}
	if i := strings.IndexByte(greeting, '<'); i >= 0 {
		c.stamp = greeting[i:]
	}
	return c, nil
}

// dialFrom connects from host where the system allows that: on Linux, all of 127.0.0.0/8 is local.
func dialFrom(ctx context.Context, host net.IP, address string) (net.Conn, error) {
	var d net.Dialer
	if host != nil {
		d.LocalAddr = &net.TCPAddr{IP: host}
		if conn, err := d.DialContext(ctx, "tcp", address); err == nil {
			return conn, nil
		}
		d.LocalAddr = nil
	}
	return d.DialContext(ctx, "tcp", address)
}

func (c *client) upgrade(config *tls.Config) { c.conn = tls.Client(c.conn, config) }

func (c *client) stls(config *tls.Config) error {
	if err := c.text.PrintfLine("STLS"); err != nil {
		return err
	}
	status, err := c.text.ReadLine()
	if err != nil {
		return err
	}
	if !strings.HasPrefix(status, "+OK") {
		return fmt.Errorf("STLS was answered %q", status)
	}
	c.upgrade(config)
	c.text = textproto.NewConn(c.conn)
	return nil
}

// say sends a command after some thought and reports whether it was answered +OK.
func (c *client) say(format string, args ...any) bool {
	if !c.think() || c.text.PrintfLine(format, args...) != nil {
		return false
	}
	status, err := c.text.ReadLine()
	return err == nil && strings.HasPrefix(status, "+OK")
}

// list sends a command whose answer has many lines, and returns how many.
func (c *client) list(format string, args ...any) (lines int, ok bool) {
	if !c.say(format, args...) {
		return 0, false
	}
	body := bufio.NewScanner(c.text.DotReader())
	body.Buffer(nil, maxLine)
	for body.Scan() {
		lines++
	}
	return lines, body.Err() == nil
}

// largest asks for the sizes of all messages and returns the largest one's number and size, 0 for none.
func (c *client) largest() (number int, octets int64) {
	if !c.say("LIST") {
		return 0, 0
	}
	for list := bufio.NewScanner(c.text.DotReader()); list.Scan(); {
		var n int
		var size int64
		if _, err := fmt.Sscan(list.Text(), &n, &size); err == nil && size > octets {
			number, octets = n, size
		}
	}
	return number, octets
}

func plain(u User) string {
	return base64.StdEncoding.EncodeToString([]byte("\x00" + u.Name + "\x00" + u.Password))
}
