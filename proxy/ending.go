package proxy

import (
	"errors"
	"io"
	"net"
	"os"
)

// ending is why a session is over: whose doing it was and the stable name of the reason, as recorded in its
// KindEnd event, and what the client is told when it can be told anything.
type ending struct {
	side, reason string
	farewell     string // a whole reply without CRLF, or ""
	err          error  // the cause, for the operator's log
}

func (e *ending) Error() string {
	if e.err != nil {
		return e.side + " " + e.reason + ": " + e.err.Error()
	}
	return e.side + " " + e.reason
}

func (e *ending) Unwrap() error { return e.err }

// The endings that need no cause.
var (
	errQuit     = &ending{side: SideClient, reason: "quit"}
	errEOF      = &ending{side: SideClient, reason: "eof"}
	errShutdown = &ending{side: SideProxy, reason: "shutdown", farewell: "-ERR [SYS/TEMP] shutting down, try again later"}
	errLogin    = &ending{side: SideClient, reason: "timeout_login", farewell: "-ERR [SYS/TEMP] no login in time"}
	errIdle     = &ending{side: SideClient, reason: "timeout_idle", farewell: "-ERR [SYS/TEMP] idle for too long"}
	errLineLong = &ending{side: SideClient, reason: "line_too_long", farewell: "-ERR line too long"}
	errSTLS     = &ending{side: SideClient, reason: "stls_injection", farewell: "-ERR nothing may follow STLS before TLS is up"}
	errCrowded  = &ending{side: SideProxy, reason: "too_many_connections", farewell: "-ERR [SYS/TEMP] too many connections from your address, try again later"}
	errFull     = &ending{side: SideProxy, reason: "too_many_sessions", farewell: "-ERR [SYS/TEMP] too many connections, try again later"}
	errUserFull = &ending{side: SideProxy, reason: "too_many_of_user", farewell: "-ERR [SYS/TEMP] too many sessions of this user, try again later"}
	errLoop     = &ending{side: SideProxy, reason: "loop", farewell: "-ERR [SYS/PERM] the mail server of this proxy is the proxy itself"}
	errFraming  = &ending{side: SideBackend, reason: "framing_uncertain", farewell: "-ERR [SYS/TEMP] the mail server broke the protocol"}
	errLogout   = &ending{side: SideBackend, reason: "autologout"}
	errGreeting = &ending{side: SideBackend, reason: "refused"}
	errTooMany  = &ending{side: SideClient, reason: "too_many_errors", farewell: "-ERR too many commands without a login, or refused"}
	errTurns    = &ending{side: SideClient, reason: "sasl_endless", farewell: "-ERR too many authentication steps"}
)

const (
	gone        = "-ERR [SYS/TEMP] the connection to the mail server was lost, try again later"
	unavailable = "-ERR [SYS/TEMP] the mail server is not available, try again later"
	unrecorded  = "-ERR [SYS/TEMP] the audit log is not available, try again later"
)

// clientEnd tells what an error on the client's connection means.
func clientEnd(err error) error {
	var e *ending
	switch {
	case errors.As(err, &e):
		return err
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errEOF
	case errors.Is(err, os.ErrDeadlineExceeded):
		return &ending{side: SideClient, reason: "stalled", err: err}
	case errors.Is(err, ErrNotRecorded):
		return &ending{side: SideProxy, reason: "not_recorded", farewell: unrecorded, err: err}
	}
	return &ending{side: SideClient, reason: "reset", err: err}
}

// backendEnd tells what an error on the backend's connection means.
func backendEnd(err error) error {
	var e *ending
	switch {
	case errors.As(err, &e):
		return err
	case isEOF(err), errors.Is(err, io.ErrClosedPipe):
		return &ending{side: SideBackend, reason: "closed", farewell: gone}
	case errors.Is(err, os.ErrDeadlineExceeded):
		return &ending{side: SideBackend, reason: "timeout", farewell: gone, err: err}
	}
	return &ending{side: SideBackend, reason: "reset", farewell: gone, err: err}
}

// isTimeout reports whether err says only that a deadline has passed.
func isTimeout(err error) bool {
	ne, ok := errors.AsType[net.Error](err)
	return ok && ne.Timeout()
}
