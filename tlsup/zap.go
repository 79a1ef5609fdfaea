package tlsup

import (
	"context"
	"log/slog"
	"slices"

	"go.uber.org/zap/zapcore"
)

// slogCore lets certmagic, which logs through zap, speak through a slog.Handler.
type slogCore struct {
	handler slog.Handler
}

// slogLevel maps zap's levels. What a library finds worth telling is of use to who debugs it, so its
// information becomes debug, and its debug less than that; nothing is above an error.
func slogLevel(l zapcore.Level) slog.Level {
	switch {
	case l < zapcore.InfoLevel:
		return slog.LevelDebug - 4
	case l == zapcore.InfoLevel:
		return slog.LevelDebug
	case l == zapcore.WarnLevel:
		return slog.LevelWarn
	default:
		return slog.LevelError
	}
}

// asides are messages that need nobody's attention. A job that failed is a renewal: keeper.event has told why. The time
// that an authority suggests for a renewal is only advice, and while it is away none comes, every ten minutes.
var asides = []string{"job failed", "updating ARI", "failed updating renewal info from ACME CA",
	"ARI window or selected renewal time changed", "error while checking storage for updated ARI; updating ARI now"}

// entryLevel lowers to debug what the parties to an order say about it, once a request, a challenge, an
// authority and an attempt: keeper.event tells the operator, once and with a remedy.
func entryLevel(e zapcore.Entry) slog.Level {
	switch {
	case e.LoggerName == "obtain", e.LoggerName == "renew", e.LoggerName == ".acme_client", slices.Contains(asides, e.Message):
		return min(slogLevel(e.Level), slog.LevelDebug)
	}
	return slogLevel(e.Level)
}

// Enabled implements zapcore.LevelEnabler.
func (c *slogCore) Enabled(l zapcore.Level) bool {
	return c.handler.Enabled(context.Background(), slogLevel(l))
}

// With implements zapcore.Core.
func (c *slogCore) With(fields []zapcore.Field) zapcore.Core {
	return &slogCore{handler: c.handler.WithAttrs(attrs(fields))}
}

// Check implements zapcore.Core.
func (c *slogCore) Check(e zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if !c.handler.Enabled(context.Background(), entryLevel(e)) {
		return checked
	}
	return checked.AddCore(e, c)
}

// Write implements zapcore.Core.
func (c *slogCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	r := slog.NewRecord(e.Time, entryLevel(e), e.Message, 0)
	if e.LoggerName != "" {
		r.AddAttrs(slog.String("logger", e.LoggerName))
	}
	r.AddAttrs(attrs(fields)...)
	return c.handler.Handle(context.Background(), r)
}

// Sync implements zapcore.Core; handlers have nothing to flush.
func (c *slogCore) Sync() error { return nil }

// secretFields are the names under which certmagic and its ACME client log nonces, challenge tokens and
// the answers to them.
var secretFields = []string{"headers", "response_headers", "uri", "file_validation_url", "record_data", "expected_data"}

// attrs turns zap's fields into slog's, in their order, without the secret ones.
func attrs(fields []zapcore.Field) []slog.Attr {
	out := make([]slog.Attr, 0, len(fields))
	for _, f := range fields {
		if slices.Contains(secretFields, f.Key) {
			continue
		}
		enc := zapcore.NewMapObjectEncoder()
		f.AddTo(enc)
		for k, v := range enc.Fields {
			out = append(out, slog.Any(k, v))
		}
	}
	return out
}
