package anchor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"postern/proxy"
)

// Bounds of what is spoken with a server.
const (
	dialTime     = 5 * time.Second
	headerTime   = 10 * time.Second
	headerOctets = 16 << 10
	answerOctets = 64 << 10
)

// client posts text to servers. It follows no redirect: where a checkpoint goes is the operator's word.
type client struct {
	http    *http.Client
	version string
}

func newClient(version string) *client {
	t := &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: dialTime}).DialContext,
		TLSHandshakeTimeout:    dialTime,
		ResponseHeaderTimeout:  headerTime,
		MaxResponseHeaderBytes: headerOctets,
		MaxIdleConnsPerHost:    1,
		IdleConnTimeout:        2 * time.Minute,
		DisableCompression:     true, // or a small answer could become a large one
		ForceAttemptHTTP2:      true,
	}
	stay := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &client{http: &http.Client{Transport: t, CheckRedirect: stay}, version: version}
}

func (c *client) close() { c.http.CloseIdleConnections() }

// post sends text and returns the answer, whatever its status. An error does not tell the URL, which may hold a secret.
func (c *client) post(ctx context.Context, url, text string) (status int, header http.Header, body string, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(text))
	if err != nil {
		return 0, nil, "", errors.New("its URL cannot be used")
	}
	r.Header.Set("Content-Type", "text/plain; charset=utf-8")
	r.Header.Set("User-Agent", "postern/"+c.version)
	answer, err := c.http.Do(r)
	if err != nil {
		return 0, nil, "", withoutURL(err)
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(io.LimitReader(answer.Body, answerOctets+1))
	switch {
	case err != nil:
		return 0, nil, "", fmt.Errorf("read its answer: %w", withoutURL(err))
	case len(b) > answerOctets:
		return 0, nil, "", fmt.Errorf("its answer has more than %d octets", answerOctets)
	}
	return answer.StatusCode, answer.Header, string(b), nil
}

func withoutURL(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}

// unwelcome makes an error of an answer that means no.
func unwelcome(status int, header http.Header, body string) error {
	err := fmt.Errorf("it answered %d %s: %s", status, http.StatusText(status), quoted(body))
	switch {
	case status/100 == 3:
		return fmt.Errorf("%w: redirects are not followed, name the URL that it points to", err)
	case status == http.StatusTooManyRequests, status == http.StatusServiceUnavailable:
		seconds, _ := strconv.ParseUint(header.Get("Retry-After"), 10, 32) // a date, or nothing, is 0
		return busy{err, time.Duration(seconds) * time.Second}
	}
	return err
}

// quoted is the beginning of what a server said, with nothing in it that acts on a terminal.
func quoted(body string) string { return fmt.Sprintf("%.120q", strings.TrimSpace(body)) }

// hostOf is what of a URL may be told: its path may hold a secret.
func hostOf(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return "webhook"
	}
	return u.Host
}

// bounded cuts text as every string of a record is.
func bounded(text string) string {
	return strings.ToValidUTF8(text[:min(len(text), proxy.MaxText)], "")
}
