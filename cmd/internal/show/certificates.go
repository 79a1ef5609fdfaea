package show

import (
	"fmt"
	"strings"
	"time"
)

// Certificate is what there is to tell of one certificate, in service or awaited.
type Certificate struct {
	Names       []string         `json:"names"`
	State       CertificateState `json:"state"`
	Source      string           `json:"source"` // acme, file, local
	Issuer      string           `json:"issuer,omitzero"`
	Serial      string           `json:"serial,omitzero"` // lower-case hex
	KeyType     string           `json:"key_type,omitzero"`
	NotBefore   time.Time        `json:"not_before,omitzero"` // zero while it is awaited, as is NotAfter
	NotAfter    time.Time        `json:"not_after,omitzero"`
	NextRenewal time.Time        `json:"next_renewal,omitzero"` // zero: not Postern's to renew, or not known
	File        string           `json:"file,omitzero"`
	Err         string           `json:"error,omitzero"` // of the last order, renewal or reload; "" when it went well
	ErrAt       time.Time        `json:"error_at,omitzero"`
}

// CertificateState says how a certificate is.
type CertificateState string

// The states of a certificate.
const (
	CertificateGood     CertificateState = "good"
	CertificateExpiring CertificateState = "expiring" // it should have been renewed or replaced by now
	CertificateExpired  CertificateState = "expired"
	CertificateAwaited  CertificateState = "awaited" // ordered; the local authority stands in
)

var certificateHeads = []string{"NAMES", "SOURCE", "ISSUER", "KEY", ">LEFT", "ENDS (UTC)", "NEXT RENEWAL", "STATE"}

// Certificates prints a table of certificates, in the order given, and below each the last error it met.
func (p *Printer) Certificates(certs []Certificate, now time.Time) error {
	rows := make([][]string, len(certs))
	for i, c := range certs {
		rows[i] = certificateCells(c, now)
	}
	return p.table(certificateHeads, rows, func(i int) string { return stateColor(certs[i].State) },
		func(i int) []string { return certificateNotes(certs[i], now) })
}

func certificateCells(c Certificate, now time.Time) []string {
	cells := []string{strings.Join(c.Names, ", "), c.Source, c.Issuer, c.KeyType, "", "", nextRenewal(c, now), stateWords(c.State)}
	if !c.NotAfter.IsZero() {
		cells[4], cells[5] = left(c.NotAfter.Sub(now)), c.NotAfter.UTC().Format("2006-01-02 15:04")
	}
	for i, cell := range cells {
		if cell == "" {
			cells[i] = "-"
		}
	}
	return bounded(cells)
}

// left prints what is left of a life: in days, and of less than two days in hours or minutes.
func left(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d <= 0:
		return "none"
	case d >= 2*day:
		return plural(int64(d/day), "day")
	case d >= 2*time.Hour:
		return plural(int64(d/time.Hour), "hour")
	}
	return plural(int64(d/time.Minute), "minute")
}

func nextRenewal(c Certificate, now time.Time) string {
	switch {
	case c.Source == "file":
		return "when the file changes"
	case c.NextRenewal.IsZero():
		return ""
	case c.NextRenewal.Before(now):
		return "due now"
	}
	return c.NextRenewal.UTC().Format("2006-01-02 15:04")
}

func stateWords(s CertificateState) string {
	switch s {
	case CertificateExpiring:
		return "ENDS SOON"
	case CertificateExpired:
		return "EXPIRED"
	case CertificateAwaited:
		return "awaited, a local one stands in"
	}
	return string(s)
}

func stateColor(s CertificateState) string {
	switch s {
	case CertificateGood:
		return green
	case CertificateExpired:
		return red
	}
	return yellow
}

func certificateNotes(c Certificate, now time.Time) (notes []string) {
	if c.State == CertificateExpired {
		notes = append(notes, fmt.Sprintf("expired %s ago: clients refuse it", left(now.Sub(c.NotAfter))))
	}
	switch {
	case c.File != "" && c.State == CertificateGood:
		notes = append(notes, "file "+c.File)
	case c.File != "":
		notes = append(notes, "file "+c.File+": replace it and its key, they are read again by themselves")
	}
	if c.Err != "" {
		notes = append(notes, fmt.Sprintf("last error, %s UTC: %s", c.ErrAt.UTC().Format("2006-01-02 15:04"), c.Err))
	}
	return notes
}
