package tlsup

import (
	"crypto/tls"
	"strconv"
	"strings"
	"testing"
)

func hexes[T ~uint16](text string) (out []T) {
	for word := range strings.SplitSeq(text, ",") {
		n, _ := strconv.ParseUint(word, 16, 16)
		out = append(out, T(n))
	}
	return out
}

// chrome is the hello of the published example.
func chrome() *tls.ClientHelloInfo {
	return &tls.ClientHelloInfo{
		SupportedVersions: []uint16{0x2a2a, 0x0304, 0x0303}, SupportedProtos: []string{"h2", "http/1.1"},
		CipherSuites:     hexes[uint16]("2a2a,1301,1302,1303,c02b,c02f,c02c,c030,cca9,cca8,c013,c014,009c,009d,002f,0035"),
		Extensions:       hexes[uint16]("1a1a,001b,0000,0033,0010,4469,0017,002d,000d,0005,0023,0012,002b,ff01,000b,000a,0015"),
		SignatureSchemes: hexes[tls.SignatureScheme]("0403,0804,0401,0503,0805,0501,0806,0601"),
	}
}

func TestJA4(t *testing.T) {
	tests := map[string]struct {
		change func(*tls.ClientHelloInfo)
		want   string
	}{
		"published":        {func(*tls.ClientHelloInfo) {}, "t13d1516h2_8daaf6152771_e5627efa2ab1"},
		"no name":          {func(h *tls.ClientHelloInfo) { h.Extensions[2] = 0x1a1a }, "t13i1515h2_8daaf6152771_e5627efa2ab1"},
		"no ALPN":          {func(h *tls.ClientHelloInfo) { h.SupportedProtos = nil }, "t13d151600_8daaf6152771_e5627efa2ab1"},
		"pop3":             {func(h *tls.ClientHelloInfo) { h.SupportedProtos = []string{"pop3"} }, "t13d1516p3_8daaf6152771_e5627efa2ab1"},
		"binary ALPN":      {func(h *tls.ClientHelloInfo) { h.SupportedProtos = []string{"\xab\xcd"} }, "t13d1516ad_8daaf6152771_e5627efa2ab1"},
		"one octet":        {func(h *tls.ClientHelloInfo) { h.SupportedProtos = []string{"x"} }, "t13d1516xx_8daaf6152771_e5627efa2ab1"},
		"old":              {func(h *tls.ClientHelloInfo) { h.SupportedVersions = []uint16{0x0301} }, "t10d1516h2_8daaf6152771_e5627efa2ab1"},
		"no suites":        {func(h *tls.ClientHelloInfo) { h.CipherSuites = nil }, "t13d0016h2_000000000000_e5627efa2ab1"},
		"nothing":          {func(h *tls.ClientHelloInfo) { *h = tls.ClientHelloInfo{} }, "t00i000000_000000000000_000000000000"},
		"too many to tell": {func(h *tls.ClientHelloInfo) { h.CipherSuites = make([]uint16, 500) }, "t13d9916h2_"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			h := chrome()
			test.change(h)
			if got := JA4(h); !strings.HasPrefix(got, test.want) || len(got) != 36 {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

// The order of extensions is shuffled by browsers and says nothing.
func TestJA4Order(t *testing.T) {
	h := chrome()
	h.Extensions[0], h.Extensions[5] = h.Extensions[5], h.Extensions[0]
	h.CipherSuites[1], h.CipherSuites[7] = h.CipherSuites[7], h.CipherSuites[1]
	if got := JA4(h); got != JA4(chrome()) {
		t.Error(got)
	}
}

func BenchmarkJA4(b *testing.B) {
	h := chrome()
	b.ReportAllocs()
	for b.Loop() {
		JA4(h)
	}
}
