package acmetest

import (
	"net/http"
	"testing"
)

// What the product's tests build on stands: the name server answers, the authority goes and returns.
func TestServers(t *testing.T) {
	n := StartNamed(t, "zone.test", "hmac-sha256", "zone.test")
	if got := n.Values(t, "nothing.zone.test"); len(got) != 0 {
		t.Errorf("values %q out of nowhere", got)
	}
	a := Start(t, Config{})
	client := a.server.Client()
	a.Stop()
	if _, err := client.Get(a.Directory); err == nil {
		t.Error("a stopped authority answers")
	}
	a.Return(t)
	answer, err := a.server.Client().Get(a.Directory)
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("answer %v, error %v", answer, err)
	}
	answer.Body.Close()
}
