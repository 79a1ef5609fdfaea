package peers

import (
	"slices"
	"strings"
	"testing"
)

// A scan that finds nothing proves something only when the scanner finds what is there.
func TestScannersFindFaults(t *testing.T) {
	t.Parallel()
	s := SecureDovecot(t, Security{Old: true})
	for _, mode := range []Mode{TLS, STLS} {
		scan := Sslscan(t, s.Target(mode, Account{}))
		if !slices.Equal(scan.Versions, []string{"tls 1.0"}) ||
			!slices.ContainsFunc(scan.Weak, func(w string) bool { return strings.HasPrefix(w, "anonymous cipher") }) {
			t.Errorf("%s: sslscan found %+v", mode, scan)
		}
	}
	var found []string
	for _, f := range AboveLow(testssl(t, s.Target(TLS, Account{}), "-p", "-s")) {
		found = append(found, f.ID)
	}
	for _, want := range []string{"cipherlist_aNULL", "TLS1_2"} {
		if !slices.Contains(found, want) {
			t.Errorf("testssl found %q, want %s among them", found, want)
		}
	}
}
