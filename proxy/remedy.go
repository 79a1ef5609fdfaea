package proxy

import (
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"syscall"
)

// alerts are crypto/tls's words for what a backend may say against us, and what an operator can do about it.
var alerts = []struct{ words, remedy string }{
	{"protocol version", "it knows no TLS version that is allowed here; backend-tls-min allows an older one"},
	{"handshake failure", "it knows no TLS version or cipher that is allowed here, or wants a certificate of ours; see backend-tls-min and backend-cert"},
	{"certificate required", "it wants a certificate of ours; give it as backend-cert"},
	{"bad certificate", "it does not take our certificate, or wants one; give it as backend-cert"},
	{"unknown certificate authority", "it does not know who signed our certificate; give one that it takes as backend-cert"},
	{"expired certificate", "our certificate has expired; renew it in the file named by backend-cert"},
}

// remedied adds to an error of the backend's TLS what to do about it, where that is known.
func remedied(err error) error {
	for _, a := range alerts {
		if strings.Contains(err.Error(), "tls: ") && strings.Contains(err.Error(), a.words) {
			return fmt.Errorf("%s: %w", a.remedy, err)
		}
	}
	return err
}

// inHandshake is remedied for what can be wrong in a handshake alone.
func inHandshake(err error) error {
	var header tls.RecordHeaderError
	switch {
	case errors.As(err, &header):
		return fmt.Errorf("it does not speak TLS there; backend-tls stls is for a port such as 110, tls for one such as 995: %w", err)
	case isTimeout(err):
		return fmt.Errorf("it did not complete the TLS handshake in time: %w", err)
	case isEOF(err), errors.Is(err, syscall.ECONNRESET):
		return fmt.Errorf("it closed the connection in the TLS handshake; if it knows only old versions, backend-tls-min allows one: %w", err)
	}
	return remedied(err)
}
