package proxy

import (
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"
)

// What crypto/tls says when a backend refuses comes with what to do about it.
func TestRemedies(t *testing.T) {
	good, own, expired := testTLS(t).Certificates[0], ownCertificate(t, time.Hour), ownCertificate(t, -time.Hour)
	roots := x509.NewCertPool()
	roots.AddCert(expired.Leaf)
	for _, test := range []struct {
		name    string
		backend *tls.Config
		own     *tls.Certificate
		want    string
	}{
		{"old versions", &tls.Config{MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}, nil, "backend-tls-min"},
		{"none shown", &tls.Config{ClientAuth: tls.RequireAnyClientCert}, nil, "give it as backend-cert"},
		{"none shown, TLS 1.2", &tls.Config{ClientAuth: tls.RequireAnyClientCert, MaxVersion: tls.VersionTLS12}, nil, "see backend-tls-min and backend-cert"},
		{"of nobody", &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: x509.NewCertPool()}, &own, "does not know who signed"},
		{"expired", &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: roots}, &expired, "our certificate has expired"},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.backend.Certificates = []tls.Certificate{good}
			err := refusedBy(test.backend, test.own)
			if got := inHandshake(err); !strings.Contains(got.Error(), test.want) || !strings.HasSuffix(got.Error(), err.Error()) {
				t.Errorf("%v, want %q and what it was", got, test.want)
			}
		})
	}
}

// refusedBy returns what the client of a handshake, or its first read, fails with.
func refusedBy(backend *tls.Config, own *tls.Certificate) error {
	near, far := net.Pipe()
	deadline := time.Now().Add(10 * time.Second)
	near.SetDeadline(deadline)
	far.SetDeadline(deadline)
	ended := make(chan struct{})
	go func() {
		tls.Server(far, backend).Handshake()
		far.Close()
		close(ended)
	}()
	client := tls.Client(near, &tls.Config{InsecureSkipVerify: true,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			if own == nil {
				return new(tls.Certificate), nil
			}
			return own, nil
		}})
	_, err := client.Read(make([]byte, 1))
	near.Close()
	<-ended
	return err
}

// ownCertificate signs itself.
func ownCertificate(t *testing.T, left time.Duration) tls.Certificate {
	t.Helper()
	cert, err := testCertificate()
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(2), NotAfter: time.Now().Add(left), IsCA: true,
		BasicConstraintsValid: true, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	key := cert.PrivateKey.(crypto.Signer)
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: cert.PrivateKey, Leaf: leaf}
}
