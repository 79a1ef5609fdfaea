package acmetest

import (
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/letsencrypt/pebble/v2/core"
	"golang.org/x/crypto/ocsp"
)

// statusLife is how long an OCSP answer is good. It ends before any certificate of a test does.
const statusLife = 10 * time.Second

// Revoke takes a certificate back: OCSP says so from now on, and ARI that it is to be renewed at once.
func (a *Authority) Revoke(t testing.TB, serial *big.Int) {
	t.Helper()
	cert := a.store.GetCertificateBySerial(serial)
	if cert == nil {
		t.Fatalf("certificate %x was not issued here", serial)
	}
	a.store.RevokeCertificate(&core.RevokedCertificate{Certificate: cert, RevokedAt: time.Now()})
	// pebble by itself suggests a second of the past, which clients take for a mistake.
	a.SuggestRenewal(t, serial, time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour))
}

// SuggestRenewal makes ARI say that a certificate is to be renewed between two times.
func (a *Authority) SuggestRenewal(t testing.TB, serial *big.Int, start, end time.Time) {
	t.Helper()
	answer := fmt.Sprintf(`{"suggestedWindow":{"start":%q,"end":%q}}`, start.UTC().Format(time.RFC3339), end.UTC().Format(time.RFC3339))
	if err := a.store.SetARIResponse(serial, answer); err != nil {
		t.Fatal(err)
	}
}

// responder runs the OCSP responder (RFC 6960) if there is to be one, and returns its URL.
func (a *Authority) responder(t testing.TB) string {
	if !a.config.OCSP {
		return ""
	}
	s := httptest.NewServer(http.HandlerFunc(a.status))
	t.Cleanup(s.Close)
	return s.URL
}

// status answers a question about one certificate.
func (a *Authority) status(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<16))
	if err != nil {
		return
	}
	question, err := ocsp.ParseRequest(body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	answer := ocsp.Response{Status: ocsp.Good, SerialNumber: question.SerialNumber,
		ThisUpdate: time.Now().Add(-statusLife), NextUpdate: time.Now().Add(statusLife)}
	if revoked := a.store.GetRevokedCertificateBySerial(question.SerialNumber); revoked != nil {
		answer.Status, answer.RevokedAt, answer.RevocationReason = ocsp.Revoked, revoked.RevokedAt, ocsp.Superseded
	}
	der, err := ocsp.CreateResponse(a.issuer, a.issuer, answer, a.key)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/ocsp-response")
	w.Write(der)
}
