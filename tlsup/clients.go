package tlsup

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"
)

// ClientMode says whether clients are to show a certificate.
type ClientMode string

const (
	ClientsOff     ClientMode = "off"     // they are not asked; so is ""
	ClientsRequest ClientMode = "request" // they are asked, and one that they show must be good
	ClientsRequire ClientMode = "require" // no handshake without a good one
)

// ClientAuth is about certificates of clients.
type ClientAuth struct {
	Mode   ClientMode
	CAFile string // PEM file of the authorities that vouch for clients, read again when it changes; needed unless off
}

func (a ClientAuth) check() error {
	switch a.Mode {
	case "", ClientsOff:
		return nil
	case ClientsRequest, ClientsRequire:
	default:
		return fmt.Errorf("%w: client certificates %.40q; choose off, request or require", ErrConfig, string(a.Mode))
	}
	if a.CAFile == "" {
		return fmt.Errorf("%w: nobody vouches for client certificates; name a file of their authorities", ErrConfig)
	}
	return nil
}

// clientRoots are the authorities that vouch for clients.
type clientRoots struct {
	auth ClientAuth
	log  *slog.Logger
	pool atomic.Pointer[x509.CertPool]

	failure failure // owned by the watch
}

// openClientRoots returns nil when clients are not asked.
func openClientRoots(auth ClientAuth, log *slog.Logger) (*clientRoots, error) {
	if auth.Mode == "" || auth.Mode == ClientsOff {
		return nil, nil
	}
	r := &clientRoots{auth: auth, log: log}
	pool, err := readPool(auth.CAFile, "file of client authorities")
	if err != nil {
		return nil, err
	}
	r.pool.Store(pool)
	return r, nil
}

func (r *clientRoots) paths() []string { return []string{r.auth.CAFile} }

func (r *clientRoots) refresh() (settled bool) {
	pool, err := readPool(r.auth.CAFile, "file of client authorities")
	if err != nil {
		stands, told := r.failure.again(err, [sha256.Size]byte{}, time.Now())
		if stands && !told {
			r.log.Error("client authorities not reloaded, the old ones stay in service", "err", err)
		}
		return stands
	}
	r.failure = failure{}
	if !pool.Equal(r.pool.Load()) {
		r.pool.Store(pool)
		r.log.Info("client authorities reloaded", "file", r.auth.CAFile)
	}
	return true
}

// demand makes c ask clients for their certificate.
func (r *clientRoots) demand(c *tls.Config) {
	c.ClientAuth = tls.VerifyClientCertIfGiven
	if r.auth.Mode == ClientsRequire {
		c.ClientAuth = tls.RequireAndVerifyClientCert
	}
	c.ClientCAs = r.pool.Load()
	base := c.Clone()
	var fresh atomic.Pointer[tls.Config]
	fresh.Store(base)
	c.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if len(hello.SupportedProtos) == 1 && hello.SupportedProtos[0] == ProtocolACME {
			validation := base.Clone() // an authority that validates a name has no certificate to show
			validation.ClientAuth = tls.NoClientCert
			return validation, nil
		}
		now := fresh.Load()
		if pool := r.pool.Load(); now.ClientCAs != pool {
			now = base.Clone()
			now.ClientCAs = pool
			fresh.Store(now)
		}
		return now, nil
	}
}
