package audit

import (
	"encoding/json"
	"testing"
	"testing/quick"
)

// What object writes is what encoding/json makes of the same fields, whatever is in them.
func TestJSONIsThatOfTheTags(t *testing.T) {
	same := func(written string, v any) bool {
		want, err := json.Marshal(v)
		if err != nil || written != string(want) {
			t.Errorf("got  %s\nwant %s, %v", written, want, err)
			return false
		}
		return true
	}
	facts := func(v TLS) bool { return same(v.json(), v) }
	mail := func(v Mail) bool { return same(v.json(), v) }
	for _, f := range []any{facts, mail} {
		if err := quick.Check(f, &quick.Config{MaxCount: 2000}); err != nil {
			t.Error(err)
		}
	}
	facts(TLS{})
	facts(TLS{Version: "TLS 1.3", Cipher: "TLS_AES_128_GCM_SHA256", Handshake: 1, Resumed: true})
	mail(Mail{From: `"A & <b>" \`, Subject: "\x00\x7f\u2028\xff", Date: " ~"})
}
