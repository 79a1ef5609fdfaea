package web

import (
	"net/http"
	"runtime"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"postern/audit"
	"postern/proxy"
)

// metrics answers /metrics from a registry of its own.
func (s *Server) metrics() http.Handler {
	r := prometheus.NewRegistry()
	r.MustRegister(newCollector(s), collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: writeWait})
}

// metric is one number of the relay or the log.
type metric struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(proxy.Stats, audit.Health) float64
}

// collector reads every number when it is asked, so that nothing has to be kept in step.
type collector struct {
	s        *Server
	metrics  []metric
	octets   *prometheus.Desc
	viewers  *prometheus.Desc
	build    *prometheus.Desc
	notAfter *prometheus.Desc
	daysLeft *prometheus.Desc
	errorAt  *prometheus.Desc
	turns    *prometheus.Desc
	commits  *prometheus.Desc
	anchors  anchorMetrics
}

func newCollector(s *Server) *collector {
	return &collector{
		s:        s,
		metrics:  slices.Concat(relayMetrics(), logMetrics(), retentionMetrics()),
		octets:   describe("octets_total", "Octets of POP3 relayed, without TLS's own.", "direction"),
		viewers:  describe("web_viewers", "Browsers that watch the dashboard."),
		build:    describe("build_info", "The version, always 1.", "version", "go"),
		notAfter: describe("certificate_not_after_seconds", "When the certificate of a name expires, in Unix seconds.", "name", "source"),
		daysLeft: describe("certificate_days_left", "Days until the certificate of a name expires.", "name", "source"),
		errorAt: describe("certificate_last_error_seconds",
			"When the last order, renewal or reload of a name's certificate failed, in Unix seconds; 0 when it went well.", "name", "source"),
		turns:   describe("certificate_events_total", "Certificates obtained, renewed, failed and so on.", "kind"),
		commits: describe("log_commit_seconds", "How long commits took."),
		anchors: newAnchorMetrics(),
	}
}

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("postern_"+name, help, labels, nil)
}

func relayMetrics() []metric {
	const count = prometheus.CounterValue
	of := func(name, help string, kind prometheus.ValueType, f func(proxy.Stats) int64) metric {
		return metric{describe(name, help), kind, func(s proxy.Stats, _ audit.Health) float64 { return float64(f(s)) }}
	}
	return []metric{
		of("sessions", "Sessions open now.", prometheus.GaugeValue, func(s proxy.Stats) int64 { return s.Sessions }),
		of("connections_accepted_total", "Connections accepted.", count, func(s proxy.Stats) int64 { return s.Accepted }),
		of("connections_refused_total", "Connections refused by a limit.", count, func(s proxy.Stats) int64 { return s.Refused }),
		of("tls_handshakes_failed_total", "TLS handshakes that failed.", count, func(s proxy.Stats) int64 { return s.Handshake }),
		of("commands_total", "Commands answered.", count, func(s proxy.Stats) int64 { return s.Commands }),
		of("sessions_unbacked_total", "Sessions refused because the backend could not be reached.", count,
			func(s proxy.Stats) int64 { return s.Unbacked }),
	}
}

func logMetrics() []metric {
	const count, gauge = prometheus.CounterValue, prometheus.GaugeValue
	of := func(name, help string, kind prometheus.ValueType, f func(audit.Health) int64) metric {
		return metric{describe(name, help), kind, func(_ proxy.Stats, h audit.Health) float64 { return float64(f(h)) }}
	}
	used := metric{describe("log_space_used_ratio", "The part of the log's space that is used, from 0 to 1."), gauge,
		func(_ proxy.Stats, h audit.Health) float64 { return h.Space.Used }}
	return []metric{
		used,
		of("log_space_free_octets", "Octets that are free for the log.", gauge, func(h audit.Health) int64 { return h.Space.Free }),
		of("log_reserve_octets", "Octets that are kept for a full disk; 0 when they are given away.", gauge,
			func(h audit.Health) int64 { return h.Space.Reserve }),
		of("log_slow", "1 while commits take long.", gauge, func(h audit.Health) int64 { return flag(h.Slow) }),
		of("log_failures_total", "How often the log began to fail.", count, func(h audit.Health) int64 { return h.Failures }),
		of("log_up", "1 while the log can be written.", gauge, func(h audit.Health) int64 { return flag(h.OK) }),
		of("log_queue", "Events that wait for the next commit.", gauge, func(h audit.Health) int64 { return int64(h.Queue) }),
		of("log_last_seq", "The number of the newest record.", gauge, func(h audit.Health) int64 { return h.LastSeq }),
		of("log_records_total", "Records written.", count, func(h audit.Health) int64 { return h.Records }),
		of("log_commits_total", "Commits made.", count, func(h audit.Health) int64 { return h.Commits }),
		of("log_lost_total", "Events that could not be recorded.", count, func(h audit.Health) int64 { return h.Lost }),
	}
}

// retentionMetrics tell what the log forgets. Sizes and ages may be a minute old.
func retentionMetrics() []metric {
	of := func(name, help string, kind prometheus.ValueType, f func(audit.Retention) float64) metric {
		return metric{describe(name, help), kind, func(_ proxy.Stats, h audit.Health) float64 { return f(h.Retention) }}
	}
	const count, gauge = prometheus.CounterValue, prometheus.GaugeValue
	return []metric{
		of("retention_last_run_seconds", "When retention last ran to its end, in Unix seconds; 0 before the first run since the start.", gauge,
			func(r audit.Retention) float64 { return unix(r.LastRun) }),
		of("retention_failed", "1 when the last run of retention went wrong.", gauge,
			func(r audit.Retention) float64 { return float64(flag(r.Err != "")) }),
		of("retention_blocked", "1 when the log is larger than its rule by size allows and nothing may be deleted.", gauge,
			func(r audit.Retention) float64 { return float64(flag(r.Blocked != "")) }),
		of("retention_records_deleted_total", "Records that retention deleted.", count,
			func(r audit.Retention) float64 { return float64(r.Deleted) }),
		of("retention_records_thinned_total", "Records that retention took fields out of, once for each rule.", count,
			func(r audit.Retention) float64 { return float64(r.Thinned) }),
		of("retention_holds", "Legal holds in force.", gauge, func(r audit.Retention) float64 { return float64(r.Holds) }),
		of("log_oldest_seconds", "When the oldest session in the log began, or record of none that rules may delete was made, in Unix seconds.", gauge,
			func(r audit.Retention) float64 { return unix(r.Oldest) }),
		of("log_octets", "Octets of the log's database file.", gauge, func(r audit.Retention) float64 { return float64(r.Octets) }),
	}
}

func flag(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, m := range c.metrics {
		ch <- m.desc
	}
	for _, d := range []*prometheus.Desc{c.octets, c.viewers, c.build, c.notAfter, c.daysLeft, c.errorAt, c.turns, c.commits} {
		ch <- d
	}
	c.anchors.describe(ch)
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	stats, health := c.s.o.Stats(), c.s.o.Health()
	for _, m := range c.metrics {
		ch <- prometheus.MustNewConstMetric(m.desc, m.kind, m.value(stats, health))
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	ch <- prometheus.MustNewConstMetric(c.octets, prometheus.CounterValue, float64(stats.Received), "received")
	ch <- prometheus.MustNewConstMetric(c.octets, prometheus.CounterValue, float64(stats.Sent), "sent")
	ch <- prometheus.MustNewConstHistogram(c.commits, uint64(health.Latency.Count), health.Latency.Sum.Seconds(), health.Latency.Buckets())
	gauge(c.viewers, float64(c.s.watching()))
	gauge(c.build, 1, c.s.o.Version, runtime.Version())
	for _, turn := range c.s.o.Turns() {
		ch <- prometheus.MustNewConstMetric(c.turns, prometheus.CounterValue, float64(turn.Count), turn.Kind)
	}
	c.anchors.collect(ch, c.s.o.Anchors())
	for label, f := range fates(c.s.o.Certificates()) {
		gauge(c.errorAt, unix(f.errAt), label.name, label.source)
		if !f.notAfter.IsZero() {
			gauge(c.notAfter, unix(f.notAfter), label.name, label.source)
			gauge(c.daysLeft, time.Until(f.notAfter).Hours()/24, label.name, label.source)
		}
	}
}

// served is what certificates' gauges are told apart by, and fate what they show.
type (
	served struct{ name, source string }
	fate   struct{ notAfter, errAt time.Time }
)

// fates finds for each name the end that comes first and the error that came last: beside an ECDSA certificate there
// may be an RSA one, and two values of one gauge would fail the whole answer.
func fates(certs []Certificate) map[served]fate {
	found := make(map[served]fate)
	for _, cert := range certs {
		for _, name := range cert.Names {
			label := served{name, cert.Source}
			f := found[label]
			if f.notAfter.IsZero() || !cert.NotAfter.IsZero() && cert.NotAfter.Before(f.notAfter) {
				f.notAfter = cert.NotAfter
			}
			if cert.Err != "" && cert.ErrAt.After(f.errAt) {
				f.errAt = cert.ErrAt
			}
			found[label] = f
		}
	}
	return found
}

// unix is a gauge's value of a moment; of none it is 0.
func unix(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.Unix())
}
