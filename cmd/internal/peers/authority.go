package peers

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Authority issues certificates for one test, good ones and others.
type Authority struct {
	File string // its root, PEM

	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// Pair is a certificate with its key, each in a PEM file of its own.
type Pair struct {
	Cert, Key string
	Leaf      *x509.Certificate
}

// Leaf is what a certificate is to say. The zero Leaf is good for localhost and 127.0.0.1.
type Leaf struct {
	Name    string   // the host's, or a client's common name; "" is localhost
	Emails  []string // of a client
	Expired bool     // it ended an hour ago
	RSA     bool     // for what cannot do ECDSA
}

// lifetime is that of a good certificate: scanners hold one that ends within two months for a fault.
const lifetime = 90 * 24 * time.Hour

// NewAuthority makes an authority that nobody trusts yet.
func NewAuthority(t testing.TB) *Authority {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: serialNumber(), Subject: pkix.Name{CommonName: "peers test root"},
		NotBefore: time.Now().Add(-2 * lifetime), NotAfter: time.Now().Add(2 * lifetime),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, IsCA: true, BasicConstraintsValid: true,
	}
	a := &Authority{key: newKey(t)}
	a.cert = sign(t, template, template, a.key, a.key)
	dir := serverDir(t, "authority")
	a.File = filepath.Join(dir, "root.pem")
	writeFiles(t, dir, map[string]string{"root.pem": certificatePEM(a.cert)})
	return a
}

// Issue writes a certificate and its key to files of their own.
func (a *Authority) Issue(t testing.TB, leaf Leaf) Pair {
	t.Helper()
	key := leaf.newKey(t)
	return writePair(t, sign(t, leaf.template(), a.cert, key, a.key), key)
}

// SelfSigned is Issue without an authority: the certificate vouches for itself, and is its own root.
func SelfSigned(t testing.TB, leaf Leaf) Pair {
	t.Helper()
	key, template := leaf.newKey(t), leaf.template()
	template.IsCA, template.BasicConstraintsValid = true, true // some clients take nothing else for a root
	template.KeyUsage |= x509.KeyUsageCertSign
	return writePair(t, sign(t, template, template, key, key), key)
}

func writePair(t testing.TB, cert *x509.Certificate, key crypto.Signer) Pair {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := serverDir(t, "pair")
	p := Pair{filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), cert}
	writeFiles(t, dir, map[string]string{"cert.pem": certificatePEM(cert)})
	if err := os.WriteFile(p.Key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

// Replace puts other's certificate and key in the place of p's, as renewal programs do: whole files, by renaming, the
// key first.
func (p Pair) Replace(t testing.TB, other Pair) {
	t.Helper()
	if err := errors.Join(os.Rename(other.Key, p.Key), os.Rename(other.Cert, p.Cert)); err != nil {
		t.Fatal(err)
	}
}

// Before is p with other's certificate behind its own, as if that had signed it.
func (p Pair) Before(t testing.TB, other Pair) Pair {
	t.Helper()
	dir := serverDir(t, "chain")
	chain := certificatePEM(p.Leaf) + certificatePEM(other.Leaf)
	writeFiles(t, dir, map[string]string{"cert.pem": chain})
	return Pair{filepath.Join(dir, "cert.pem"), p.Key, p.Leaf}
}

// Pin is the certificate's public key as curl --pinnedpubkey names it.
func (p Pair) Pin() string {
	sum := sha256.Sum256(p.Leaf.RawSubjectPublicKeyInfo)
	return "sha256//" + base64.StdEncoding.EncodeToString(sum[:])
}

// Serial is the certificate's serial number in lower-case hex.
func (p Pair) Serial() string { return p.Leaf.SerialNumber.Text(16) }

func (l Leaf) template() *x509.Certificate {
	template := &x509.Certificate{
		SerialNumber: serialNumber(), Subject: pkix.Name{CommonName: l.Name}, DNSNames: []string{l.Name},
		EmailAddresses: l.Emails, NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: time.Now().Add(lifetime),
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		// Scanners ask for one. Nobody looks there.
		CRLDistributionPoints: []string{"http://crl.example.test/root.crl"},
	}
	if l.Name == "" {
		template.Subject.CommonName, template.DNSNames = "localhost", []string{"localhost"}
		template.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	}
	if l.Expired {
		template.NotAfter = time.Now().Add(-time.Hour)
	}
	return template
}

func (l Leaf) newKey(t testing.TB) crypto.Signer {
	t.Helper()
	if !l.RSA {
		return newKey(t)
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// sign returns template as a certificate of key, vouched for by parent.
func sign(t testing.TB, template, parent *x509.Certificate, key, signer crypto.Signer) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// serialNumber is random, and long as real ones are.
func serialNumber() *big.Int {
	var b [16]byte
	rand.Read(b[:])
	b[0] = b[0]&0x7f | 0x40 // positive, and all its octets count
	return new(big.Int).SetBytes(b[:])
}

func certificatePEM(cert *x509.Certificate) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}))
}
