package web

import (
	"net/http"
	"runtime"
	"strings"
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
}

func newCollector(s *Server) *collector {
	return &collector{
		s:        s,
		metrics:  append(relayMetrics(), logMetrics()...),
		octets:   describe("octets_total", "Octets of POP3 relayed, without TLS's own.", "direction"),
		viewers:  describe("web_viewers", "Browsers that watch the dashboard."),
		build:    describe("build_info", "The version, always 1.", "version", "go"),
		notAfter: describe("certificate_not_after_seconds", "When a certificate expires, in Unix seconds.", "names"),
		daysLeft: describe("certificate_days_left", "Days until a certificate expires.", "names"),
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
	return []metric{
		of("log_up", "1 while the log can be written.", gauge, func(h audit.Health) int64 { return flag(h.OK) }),
		of("log_queue", "Events that wait for the next commit.", gauge, func(h audit.Health) int64 { return int64(h.Queue) }),
		of("log_last_seq", "The number of the newest record.", gauge, func(h audit.Health) int64 { return h.LastSeq }),
		of("log_records_total", "Records written.", count, func(h audit.Health) int64 { return h.Records }),
		of("log_commits_total", "Commits made.", count, func(h audit.Health) int64 { return h.Commits }),
		of("log_lost_total", "Events that could not be recorded.", count, func(h audit.Health) int64 { return h.Lost }),
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
	for _, d := range []*prometheus.Desc{c.octets, c.viewers, c.build, c.notAfter, c.daysLeft} {
		ch <- d
	}
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
	gauge(c.viewers, float64(c.s.watching()))
	gauge(c.build, 1, c.s.o.Version, runtime.Version())
	told := map[string]bool{} // two certificates of one set of names would fail the whole answer
	for _, cert := range c.s.o.Certificates() {
		names := strings.Join(cert.Names, ",")
		if told[names] {
			continue
		}
		told[names] = true
		gauge(c.notAfter, float64(cert.NotAfter.Unix()), names)
		gauge(c.daysLeft, time.Until(cert.NotAfter).Hours()/24, names)
	}
}
