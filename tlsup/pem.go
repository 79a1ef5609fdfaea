package tlsup

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"strings"
)

// pemTypes lists the types of the blocks in b.
func pemTypes(b []byte) []string {
	var types []string
	for block, rest := pem.Decode(b); block != nil; block, rest = pem.Decode(rest) {
		types = append(types, block.Type)
		if strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED") {
			types = append(types, "ENCRYPTED")
		}
	}
	return types
}

// parsePair makes a certificate of two files' contents, and tells apart the ways this goes wrong.
func parsePair(certFile, keyFile string, certPEM, keyPEM []byte) (*tls.Certificate, error) {
	certTypes, keyTypes := strings.Join(pemTypes(certPEM), ","), strings.Join(pemTypes(keyPEM), ",")
	switch {
	case !strings.Contains(certTypes, "CERTIFICATE") && strings.Contains(certTypes, "PRIVATE KEY"):
		return nil, fmt.Errorf("%w: certificate file %s holds a private key; are the two files swapped?", ErrConfig, certFile)
	case !strings.Contains(certTypes, "CERTIFICATE"):
		return nil, fmt.Errorf("%w: certificate file %s holds no PEM certificate; "+
			"if it is DER, convert it: openssl x509 -inform der -in %s", ErrConfig, certFile, certFile)
	case strings.Contains(keyTypes, "ENCRYPTED"):
		return nil, fmt.Errorf("%w: key file %s is encrypted; decrypt it: openssl pkey -in %s", ErrConfig, keyFile, keyFile)
	case !strings.Contains(keyTypes, "PRIVATE KEY"):
		return nil, fmt.Errorf("%w: key file %s holds no PEM private key; name the key that the certificate was made for",
			ErrConfig, keyFile)
	}
	cert, err := tls.X509KeyPair(certPEM, keyPEM)
	if err == nil {
		return &cert, nil
	}
	if keyOfLaterCertificate(certPEM, keyPEM) {
		return nil, fmt.Errorf("%w: certificate file %s does not begin with the certificate of key %s; "+
			"put the server's certificate first, the intermediates after it", ErrConfig, certFile, keyFile)
	}
	return nil, fmt.Errorf("%w: certificate file %s and key file %s are no pair; name the key that the certificate was made for: %w",
		ErrConfig, certFile, keyFile, err)
}

// keyOfLaterCertificate reports whether the key belongs to a certificate that is not the first.
func keyOfLaterCertificate(certPEM, keyPEM []byte) bool {
	_, rest := pem.Decode(certPEM)
	for len(bytes.TrimSpace(rest)) > 0 {
		if _, err := tls.X509KeyPair(rest, keyPEM); err == nil {
			return true
		}
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return false
		}
	}
	return false
}

// readPool reads a bundle of roots.
func readPool(path, what string) (*x509.CertPool, error) {
	b, err := readPEM(path, what)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("%w: %s %s holds no PEM certificate", ErrConfig, what, path)
	}
	return pool, nil
}
