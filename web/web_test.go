package web

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"postern/audit"
	"postern/proxy"
)

// get asks for path as a browser at host would, and returns the answer and its body.
func (s *scene) get(path, host string, header ...string) (*http.Response, string) {
	s.t.Helper()
	r, err := http.NewRequest("GET", s.url(path), nil)
	if err != nil {
		s.t.Fatal(err)
	}
	if host != "" {
		r.Host = host
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return answer, string(body)
}

func TestHostMustBeThisMachine(t *testing.T) {
	s := newScene(t, nil)
	for host, want := range map[string]int{
		"localhost": 200, "LOCALHOST:8995": 200, "127.0.0.1:1": 200, "127.9.9.9": 200, "[::1]": 200, "[::1]:8995": 200,
		"[::ffff:127.0.0.1]:1": 200,
		"evil.example":         421, "evil.example:8995": 421, "127.0.0.1.evil.example": 421, "localhost.evil.example": 421,
		"192.0.2.1": 421, "0.0.0.0": 421, "[2001:db8::1]:8995": 421, "10.127.0.1": 421,
	} {
		for _, path := range []string{"/", "/api/sessions", "/healthz", "/metrics"} {
			if answer, _ := s.get(path, host); answer.StatusCode != want {
				t.Errorf("GET %s with Host %s: %d, want %d", path, host, answer.StatusCode, want)
			}
		}
	}
}

func TestCheckLoopback(t *testing.T) {
	for addr, want := range map[string]string{
		"127.0.0.1:8995": "", "localhost:8995": "", "[::1]:0": "", "127.1.2.3:80": "",
		":8995": "ssh -L 8995:127.0.0.1:8995", "0.0.0.0:8995": "ssh -L", "[::]:8995": "ssh -L",
		"192.0.2.7:443": "ssh -L 443:", "mail.example.org:8995": "ssh -L", "8995": "want host:port",
	} {
		err := CheckLoopback(addr)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("CheckLoopback(%q) = %v, want %q", addr, err, want)
		}
	}
}

func TestPolicyOnEveryAnswer(t *testing.T) {
	s := newScene(t, nil)
	for _, path := range []string{"/", "/app.js", "/api/sessions", "/nothing", "/healthz"} {
		answer, _ := s.get(path, "")
		csp := answer.Header.Get("Content-Security-Policy")
		if !strings.Contains(csp, "default-src 'none'") || !strings.Contains(csp, "frame-ancestors 'none'") || strings.Contains(csp, "unsafe") {
			t.Errorf("GET %s: policy %q", path, csp)
		}
		if answer.Header.Get("X-Content-Type-Options") != "nosniff" || answer.Header.Get("Referrer-Policy") != "no-referrer" {
			t.Errorf("GET %s: headers %v", path, answer.Header)
		}
	}
}

func TestOtherSitesMayNotPost(t *testing.T) {
	s := newScene(t, nil)
	r, _ := http.NewRequest("POST", s.url("/api/sessions"), nil)
	r.Header.Set("Origin", "https://evil.example")
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusForbidden {
		t.Errorf("a post from elsewhere: %s, want 403", answer.Status)
	}
}

func TestAssetsAreSentOnce(t *testing.T) {
	s := newScene(t, nil)
	for path, kind := range map[string]string{
		"/": "text/html", "/app.js": "text/javascript", "/style.css": "text/css",
		"/geist-latin-wght-normal.woff2": "font/woff2", "/favicon.svg": "image/svg+xml",
	} {
		first, body := s.get(path, "")
		etag := first.Header.Get("ETag")
		if first.StatusCode != 200 || body == "" || !strings.HasPrefix(etag, `"`) || !strings.HasPrefix(first.Header.Get("Content-Type"), kind) {
			t.Errorf("GET %s: %s %v", path, first.Status, first.Header)
		}
		if again, _ := s.get(path, "", "If-None-Match", etag); again.StatusCode != http.StatusNotModified {
			t.Errorf("GET %s again: %s, want 304", path, again.Status)
		}
	}
	if answer, _ := s.get("/../web.go", ""); answer.StatusCode != http.StatusNotFound {
		t.Errorf("a path outside: %s, want 404", answer.Status)
	}
}

func TestHealth(t *testing.T) {
	var ready error
	health := audit.Health{OK: true}
	s := newScene(t, func(o *Options) {
		o.Ready = func() error { return ready }
		o.Health = func() audit.Health { return health }
	})
	ask := func(want int, text string) {
		t.Helper()
		answer, body := s.get("/healthz", "")
		if answer.StatusCode != want || !strings.Contains(body, text) {
			t.Errorf("%s %s, want %d and %q", answer.Status, body, want, text)
		}
	}
	ask(200, `"status":"ok"`)
	ready = errors.New("draining")
	ask(503, `"reason":"draining"`)
	ready, health = nil, audit.Health{Err: "no space left on device"}
	ask(503, "the log cannot be written: no space left on device")
}

// A disk that fills or is slow is told to who asks and to who watches, and does not take the server out of service.
func TestLogWarnings(t *testing.T) {
	health := audit.Health{OK: true, Slow: true, Space: audit.Space{Used: 0.912, Free: 5 << 20, Level: audit.SpaceCritical}}
	s := newScene(t, func(o *Options) { o.Health = func() audit.Health { return health } })
	answer, body := s.get("/healthz", "")
	for _, want := range []string{`"status":"ok"`, "91 % of it is used, 5 MiB are free", "disk is slow", `"used_ratio":0.912`, `"level":"space_critical"`} {
		if answer.StatusCode != 200 || !strings.Contains(body, want) {
			t.Errorf("%s %s, want %q", answer.Status, body, want)
		}
	}
	if b := s.web.beat(); len(b.Warnings) != 2 {
		t.Errorf("a beat warns of %q", b.Warnings)
	}
	health = audit.Health{OK: true, Space: audit.Space{Level: audit.SpaceOK}}
	if b := s.web.beat(); len(b.Warnings) != 0 {
		t.Errorf("a beat of a well log warns of %q", b.Warnings)
	}
}

// A certificate's trouble is told to who asks and to who watches, and does not take the server out of service.
func TestCertificatesInHealth(t *testing.T) {
	certificate := Certificate{Names: []string{"a.example", "b.example"}, Source: "acme", State: "good", NotAfter: time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)}
	s := newScene(t, func(o *Options) {
		o.Certificates = func() []Certificate { return []Certificate{certificate} }
		o.Warnings = []string{"The backend's certificate is not verified."}
	})
	for _, test := range []struct{ state, err, status, problem, warning string }{
		{"good", "", "ok", "", ""},
		{"expiring", "port 80 is closed", "ok", "", "The certificate of a.example, b.example ends on 24 November 2026, 12:00 UTC and is not renewed yet. Last error: port 80 is closed"},
		{"awaited", "", "ok", "", "The certificate of a.example, b.example is not there yet: one of the local authority, which clients do not trust, stands in. postern certs tells more."},
		{"expired", "", "degraded", "The certificate of a.example, b.example expired on 24 November 2026, 12:00 UTC: clients refuse it. postern certs tells more.", ""},
	} {
		certificate.State, certificate.Err = test.state, test.err
		warnings := []string{"The backend's certificate is not verified."}
		if test.warning != "" {
			warnings = append(warnings, test.warning)
		}
		var problems []string
		if test.problem != "" {
			problems = []string{test.problem}
		}
		answer, body := s.get("/healthz", "")
		var got condition
		if err := json.Unmarshal([]byte(body), &got); err != nil || answer.StatusCode != 200 || got.Status != test.status ||
			!slices.Equal(got.Problems, problems) || !slices.Equal(got.Warnings, warnings) || got.Certificates[0].State != test.state {
			t.Errorf("%s: %s %s, %v", test.state, answer.Status, body, err)
		}
		if b := s.web.beat(); !slices.Equal(b.Problems, problems) || !slices.Equal(b.Warnings, warnings) {
			t.Errorf("%s: a beat tells %+v", test.state, b)
		}
	}
}

func TestMetrics(t *testing.T) {
	var certificates []Certificate
	s := newScene(t, func(o *Options) {
		o.Certificates = func() []Certificate {
			return certificates
		}
		o.Turns = func() []Turn { return []Turn{{"obtained", 2}, {"revoked", 0}} }
	})
	soon := time.Now().Add(10*24*time.Hour + time.Minute)
	certificates = []Certificate{
		{Names: []string{"mail.example.org"}, Source: "acme", NotAfter: soon.Add(time.Hour), Err: "x", ErrAt: time.Unix(1000, 0)},
		{Names: []string{"mail.example.org", "192.0.2.7"}, Source: "acme", NotAfter: soon, Err: "x", ErrAt: time.Unix(999, 0)},
		{Names: []string{"mail.example.org"}, Source: "file", NotAfter: time.Unix(500, 0)},
		{Names: []string{"new.example.org"}, Source: "acme"},
	}
	answer, body := s.get("/metrics", "")
	if answer.StatusCode != 200 {
		t.Fatalf("%s: %s", answer.Status, body)
	}
	for _, want := range []string{
		"postern_sessions 3\n", "postern_commands_total 41\n", "postern_octets_total{direction=\"sent\"} 2000\n",
		"postern_log_up 1\n", "postern_log_failures_total 0\n", "postern_log_slow 0\n", "postern_log_space_used_ratio 0",
		"postern_log_space_free_octets ", "postern_log_commit_seconds_count ", "postern_log_commit_seconds_bucket{le=\"0.005\"} ",
		"postern_log_lost_total 0\n", "postern_retention_last_run_seconds 0\n", "postern_retention_holds 0\n", "postern_log_last_seq 1\n", "postern_web_viewers 0\n",
		"postern_certificate_days_left{name=\"mail.example.org\",source=\"acme\"} 10.",
		"postern_certificate_not_after_seconds{name=\"mail.example.org\",source=\"file\"} 500\n",
		"postern_certificate_not_after_seconds{name=\"192.0.2.7\",source=\"acme\"} 1.",
		"postern_certificate_last_error_seconds{name=\"mail.example.org\",source=\"acme\"} 1000\n",
		"postern_certificate_last_error_seconds{name=\"new.example.org\",source=\"acme\"} 0\n",
		"postern_certificate_events_total{kind=\"obtained\"} 2\n", "postern_certificate_events_total{kind=\"revoked\"} 0\n",
		"postern_build_info{go=", "go_goroutines ",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("no %q in\n%s", want, body)
		}
	}
	if strings.Contains(body, `not_after_seconds{name="new.example.org"`) {
		t.Error("a certificate that is awaited has an end")
	}
	certificates = nil
	if _, body := s.get("/metrics", ""); strings.Contains(body, "postern_certificate_not_after") || strings.Contains(body, "postern_certificate_last_error_seconds{") {
		t.Errorf("gauges outlive their certificates:\n%s", body)
	}
}

func TestSessionsAPI(t *testing.T) {
	s := newScene(t, nil)
	k := newTalk(time.Now(), "alice", "192.0.2.7:5000")
	s.record(append([]proxy.Event{k.connect("ready")}, k.login()...)...)
	for range 3 {
		other := newTalk(time.Now(), "bob", "198.51.100.9:5000")
		s.record(other.connect("ready"), other.end("client", "quit"))
	}
	var page sessionPage
	s.json("/api/sessions?limit=3", &page)
	if len(page.Sessions) != 3 || page.Next == 0 {
		t.Fatalf("first page: %+v", page)
	}
	next := page.Next
	page = sessionPage{}
	s.json("/api/sessions?limit=3&before="+next.String(), &page)
	if len(page.Sessions) != 1 || page.Next != 0 || page.Sessions[0].User != "alice" {
		t.Fatalf("second page: %+v", page)
	}
	for query, want := range map[string]int{"user=alice": 1, "ip=198.51.100.0/24": 3, "ip=192.0.2.7": 1, "live=true": 1, "user=nobody": 0} {
		page = sessionPage{}
		s.json("/api/sessions?"+query, &page)
		if len(page.Sessions) != want {
			t.Errorf("%s: %d sessions, want %d", query, len(page.Sessions), want)
		}
	}
}

func TestTranscriptAPI(t *testing.T) {
	s := newScene(t, nil)
	k := newTalk(time.Now(), "alice", "192.0.2.7:5000")
	s.record(append([]proxy.Event{k.connect("ready")}, k.login()...)...)
	var one audit.Session
	s.json("/api/sessions/"+k.id.String(), &one)
	if one.User != "alice" || one.Login != proxy.LoginOK {
		t.Errorf("session: %+v", one)
	}
	var page recordPage
	s.json("/api/sessions/"+k.id.String()+"/records?limit=2", &page)
	if len(page.Records) != 2 || page.Records[0].Kind != proxy.KindConnect {
		t.Fatalf("records: %+v", page.Records)
	}
	after := page.Records[1].Seq
	s.json("/api/sessions/"+k.id.String()+"/records?after="+jsonOf(t, after), &page)
	if len(page.Records) != 1 || page.Records[0].Arg != proxy.Redacted {
		t.Errorf("records after %d: %+v", after, page.Records)
	}
}

func TestAPIErrors(t *testing.T) {
	s := newScene(t, nil)
	unknown := "/api/sessions/" + proxy.SessionID(1<<40).String()
	for path, want := range map[string]int{
		unknown:                            404,
		unknown + "/records":               200,
		"/api/sessions/nonsense":           400,
		"/api/sessions?limit=x":            400,
		"/api/sessions?ip=999.1.1.1":       400,
		"/api/sessions?since=yesterday":    400,
		"/api/sessions?before=1":           400,
		"/api/sessions/1/records?after=-1": 400,
		"/api/nothing":                     404,
	} {
		answer, body := s.get(path, "")
		if answer.StatusCode != want {
			t.Errorf("GET %s: %s %s, want %d", path, answer.Status, body, want)
		}
		var f failure
		if want == 400 && (json.Unmarshal([]byte(body), &f) != nil || f.Error == "") {
			t.Errorf("GET %s: no reason in %q", path, body)
		}
	}
}

// json asks for path and decodes the answer.
func (s *scene) json(path string, into any) {
	s.t.Helper()
	answer, body := s.get(path, "")
	if answer.StatusCode != 200 || answer.Header.Get("Cache-Control") != "no-store" {
		s.t.Fatalf("GET %s: %s %s", path, answer.Status, body)
	}
	if err := json.Unmarshal([]byte(body), into); err != nil {
		s.t.Fatalf("GET %s: %v in %s", path, err, body)
	}
}

func jsonOf(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
